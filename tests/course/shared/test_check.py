"""Whatever an answer does, a check says something and leaves everything as it was."""

import importlib
import inspect
import random
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from checking import said

from cgtutor.course import NOTEBOOKS
from cgtutor.course.shared.check import Check, NotYet, case, check, edited, use

#: Every check of the course, by its notebook's folder and its name.
CHECKS = {
    f"{notebook.folder}.{name}": function
    for notebook in NOTEBOOKS
    for module in [importlib.import_module(f"cgtutor.course.{notebook.folder}.checks")]
    for name, function in vars(module).items()
    if isinstance(function, Check) and function.__module__ == module.__name__
}
NO_FUNCTIONS = ["hidden_conflict", "plan"]
#: Those whose answer is a function, or two.
CALLERS = [name for name in CHECKS if name.partition(".")[2] not in NO_FUNCTIONS]


def ask(name, answer):
    parameters = inspect.signature(CHECKS[name]).parameters.values()
    return said(CHECKS[name], *[answer for p in parameters if p.default is p.empty])


class SpeechlessError(Exception):
    def __str__(self):
        raise ValueError("no words")


def ends_the_notebook(*_, **__):
    sys.exit(1)


def closes(*_, **__):
    raise GeneratorExit


def speechless(*_, **__):
    raise SpeechlessError


def test_all_checks_are_found():
    assert len(CHECKS) >= 18
    assert {name.partition(".")[0] for name in CHECKS} == {n.folder for n in NOTEBOOKS}


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ends_the_notebook, "SystemExit. Leave exit() out; it would end the notebook as well."),
        (closes, "it stopped with GeneratorExit: "),
        (speechless, "it stopped with SpeechlessError."),
    ],
    ids=["exit", "GeneratorExit", "speechless"],
)
def test_no_exception_gets_out(name, answer, why):
    verdict = ask(name, answer)
    assert verdict.startswith("Not yet: ")
    assert why in verdict


def changes_everything(*_, **__):
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    plt.figure()
    warnings.simplefilter("ignore")


def everything():
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        plt.get_fignums(),
        list(warnings.filters),
    )


@pytest.mark.parametrize("name", CALLERS)
def test_all_is_as_it_was(name):
    before = everything()
    assert ask(name, changes_everything).startswith("Not yet: ")
    assert everything() == before


def test_a_figure_that_was_open_stays_open():
    figure = plt.figure()
    check()(changes_everything)()
    assert plt.get_fignums() == [figure.number]
    plt.close(figure)


def test_who_interrupts_the_kernel_interrupts_the_check():
    @check()
    def interrupted():
        torch.set_default_dtype(torch.float64)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.get_default_dtype() is torch.float32


def test_a_hint_goes_with_an_exceptions_message():
    @check(errors={"ambiguous": "Compare one number."})
    def compares(message):
        if message is None:
            raise NotYet("none.")
        raise ValueError(message)

    assert said(compares, "it is ambiguous") == (
        "Not yet: it stopped with ValueError: it is ambiguous (Compare one number.)\n"
    )
    assert said(compares, "other") == "Not yet: it stopped with ValueError: other\n"
    assert said(compares, None) == "Not yet: none.\n"


def test_a_hint_goes_with_an_exceptions_name():
    @check(errors={"KeyError": "It is empty at first."})
    def looks_up(keys):
        raise KeyError(*keys)

    assert said(looks_up, "a").endswith("KeyError: 'a' (It is empty at first.)\n")


def test_a_case_stands_before_what_is_said_in_it():
    @check(errors={"division": "Leave it out."})
    def halves(numbers):
        for number in numbers:
            with case(f"the half of {number}"):
                if number < 0:
                    raise NotYet("a number from 0 on is wanted.")
                if 1 // number:
                    raise ValueError("broken")
        raise ValueError("the end")

    assert said(halves, [2, -3]) == "Not yet: the half of -3: a number from 0 on is wanted.\n"
    assert said(halves, [2, 0]).startswith("Not yet: the half of 0: it stopped with ZeroDivision")
    assert said(halves, [0]).endswith("(Leave it out.)\n")
    assert said(halves, [2]) == "Not yet: it stopped with ValueError: the end\n"


def one_more(number):
    return number + 1


def test_a_right_answer_with_an_edit():
    assert edited(one_more, {"+": "-", "- 1": "- 2"})(7) == 5
    assert one_more(7) == 8
    with pytest.raises(ValueError, match="of the source of one_more, got 'two'"):
        edited(one_more, {"two": "1"})


def test_an_input_that_is_no_answer():
    @check()
    def doubles(number):
        return f"{2 * number + 1}"

    assert said(doubles, None).startswith("Not yet: it stopped with TypeError: ")


@check(hints=["What is its half?", "Divide by 2."])
def half_of_six(answer):
    """Three."""
    if answer != 3:
        raise NotYet("it is not the half.")
    return "3 it is."


def test_hints_come_in_steps():
    assert said(half_of_six, 2) == (
        "Not yet: it is not the half.\nHints: add hint=1 to the call, up to hint=2.\n"
    )
    assert half_of_six(2, hint=1) is None
    assert half_of_six.__doc__ == "Three."


@pytest.mark.parametrize(
    ("hint", "printed"),
    [
        (1, "Hint 1 of 2: What is its half?\n"),
        (2, "Hint 2 of 2: Divide by 2.\n"),
        (3, "There are 2 hints: hint=1 is the first. You asked for hint=3.\n"),
        (0, "There are 2 hints: hint=1 is the first. You asked for hint=0.\n"),
        ("one", "There are 2 hints: hint=1 is the first. You asked for hint='one'.\n"),
    ],
)
def test_a_hint(capsys, hint, printed):
    half_of_six(2, hint=hint)
    assert capsys.readouterr().out == printed


def test_a_right_answer_needs_no_hint():
    assert said(half_of_six, 3) == "Right! 3 it is.\n"


def test_what_is_used(capsys):
    assert use(3, half_of_six, instead="library's") == 3
    assert capsys.readouterr().out == 'From here on your own "half_of_six" does the work.\n'
    assert use(4, half_of_six, instead="library's") == "library's"
    assert '"half_of_six" is still open, so a stand-in does' in capsys.readouterr().out
    assert use(lambda: exit(), half_of_six, instead=None) is None, "what it raises stays inside"
