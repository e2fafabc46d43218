"""Whatever an answer does, a check says something and leaves everything as it was."""

import importlib
import random
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cgtutor import exercises
from cgtutor.exercises.guard import guarded

#: How to hand an answer, a function, to each check that takes one.
CHECKS = {
    name: getattr(exercises, name)
    for name in exercises.__all__
    if name not in ("choosy_memory", "environment", "fair_comparison", "hidden_conflict")
}
CHECKS["save_and_resume"] = lambda answer: exercises.save_and_resume(answer, answer)


class SpeechlessError(Exception):
    def __str__(self):
        raise ValueError("no words")


def ends_the_notebook(*_):
    sys.exit(1)


def closes(*_):
    raise GeneratorExit


def speechless(*_):
    raise SpeechlessError


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ends_the_notebook, "SystemExit. Leave exit() out; it would end the notebook as well."),
        (closes, "it stopped with GeneratorExit: "),
        (speechless, "it stopped with ValueError: no words"),
    ],
)
def test_no_exception_gets_out(check, answer, says, capsys):
    CHECKS[check](answer)
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert says in said


def test_an_exception_that_cannot_say_what_it_is(capsys):
    assert guarded(speechless)() == "Not yet: it stopped with SpeechlessError."


def changes_everything(*_):
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


@pytest.mark.parametrize("check", CHECKS)
def test_all_is_as_it_was(check, capsys):
    before = everything()
    CHECKS[check](changes_everything)
    assert everything() == before
    assert capsys.readouterr().out.startswith("Not yet: ")


def test_a_figure_that_was_open_stays_open():
    figure = plt.figure()
    guarded(changes_everything)()
    assert plt.get_fignums() == [figure.number]
    plt.close(figure)


def test_who_interrupts_the_kernel_interrupts_the_check():
    def interrupted(*_):
        torch.set_default_dtype(torch.float64)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exercises.momentum_step(interrupted)
    assert torch.get_default_dtype() is torch.float32


def test_every_check_is_guarded():
    for name in exercises.__all__:
        module = importlib.import_module(getattr(exercises, name).__module__)
        assert hasattr(getattr(module, f"_{name}"), "__wrapped__"), name


def test_an_input_that_is_no_answer(capsys):
    exercises.choosy_memory(None, 1)
    exercises.environment(torch.empty(3, device="meta"))
    one, other = capsys.readouterr().out.splitlines()
    assert one.startswith("Not yet: it stopped with TypeError: ")
    assert other.startswith("Not yet: it stopped with NotImplementedError: ")
