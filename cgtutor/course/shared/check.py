"""What makes a function the check of an exercise."""

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib.pyplot as plt
import numpy as np
import torch

P = ParamSpec("P")
T = TypeVar("T")


class NotYet(Exception):  # noqa: N818, it is no error
    """An answer is not right yet; the message says what is wrong with it."""


class Check:
    """The check of an exercise, made by :func:`check`.

    Attributes:
        hints: what it says, step by step, to those who ask.
        name: the function's name.
    """

    def __init__(
        self, function: Callable[..., str], hints: Sequence[str], errors: Mapping[str, str]
    ) -> None:
        self._function, self.hints, self._errors = function, hints, errors
        self.name = function.__name__
        update_wrapper(self, function)

    def __call__(self, *args: Any, hint: int | None = None) -> None:
        """Print a verdict on the answer, or only the hint of this number.

        Args:
            args: the answer.
            hint: which hint is wanted, from 1 on.
        """
        count = len(self.hints)
        if hint is not None:
            if hint in range(1, count + 1):
                print(f"Hint {hint} of {count}: {self.hints[hint - 1]}")
            else:
                print(f"There are {count} hints: hint=1 is the first. You asked for hint={hint!r}.")
            return
        right, verdict = self._judged(*args)
        more = "" if right or not count else f"\nHints: add hint=1 to the call, up to hint={count}."
        print(f"{'Right!' if right else 'Not yet:'} {verdict}{more}")

    def passes(self, *args: Any) -> bool:
        """Whether the answer is right; nothing is printed."""
        return self._judged(*args)[0]

    def _judged(self, *args: Any) -> tuple[bool, str]:
        with _as_it_was():
            try:
                return True, self._function(*args)
            except NotYet as reason:
                return False, str(reason)
            except (Exception, SystemExit, GeneratorExit) as error:
                said = _in_words(error, self._errors)
                return False, f"{getattr(error, 'case', '')}it stopped with {said}"


def check(
    hints: Sequence[str] = (), errors: Mapping[str, str] | None = None
) -> Callable[[Callable[..., str]], Check]:
    """Make a function the check of an exercise: called with an answer, it prints a verdict.

    The function raises :class:`NotYet` with a reason, or returns what there is to say about a
    right answer. Printed is "Not yet: " and the reason, or "Right! " and what was returned.
    Whatever the answer raises, ``exit()`` included, is printed as a reason as well, so that "Run
    all" works on an unfinished notebook. Afterwards torch's default dtype and gradient mode, the
    global random generators (of torch on the CPU, NumPy and Python), the filters of warnings and
    the open figures are what they were before. Who interrupts the kernel still interrupts the
    check.

    Args:
        hints: steps to the answer, for those who ask for one by its number, ``hint=1``.
        errors: by a part of what is printed of an exception, "KeyError: 'momentum'", what to say
            beside it.

    >>> @check(hints=["What comes after 1?"])
    ... def two(answer):
    ...     if answer != 2:
    ...         raise NotYet(f"{answer} is not one more than 1.")
    ...     return "2 is one more than 1."
    >>> two(2)
    Right! 2 is one more than 1.
    >>> two(3)
    Not yet: 3 is not one more than 1.
    Hints: add hint=1 to the call, up to hint=1.
    >>> two(3, hint=1)
    Hint 1 of 1: What comes after 1?
    """

    def decorate(function: Callable[..., str]) -> Check:
        return Check(function, hints, errors or {})

    return decorate


def use(answer: T, check: Check, instead: T) -> T:
    """The reader's answer where its check passes, and otherwise what stands in for it.

    Prints which of the two the cells that follow use.

    Args:
        answer: what the reader wrote.
        check: of the exercise; called with the answer alone.
        instead: the library's part, or a right answer.

    >>> @check()
    ... def two(answer):
    ...     if answer != 2:
    ...         raise NotYet("it is one more than 1.")
    ...     return ""
    >>> use(3, two, instead=2)
    The exercise "two" is still open, so a stand-in does its work from here on.
    2
    """
    if check.passes(answer):
        print(f'From here on your own "{check.name}" does the work.')
        return answer
    print(f'The exercise "{check.name}" is still open, so a stand-in does its work from here on.')
    return instead


@contextmanager
def case(name: str) -> Iterator[None]:
    """A case that an answer is tried in; what is said of the answer there starts with its name."""
    try:
        yield
    except NotYet as hint:
        raise NotYet(f"{name}: {hint}") from hint
    except Exception as error:
        error.case = f"{name}: "  # type: ignore[attr-defined]  # for the verdict
        raise


def edited(function: Callable[P, T], edits: Mapping[str, str]) -> Callable[P, T]:
    """A right answer with parts of its source replaced: a mistake that is often made."""
    source = inspect.getsource(function)
    for part, other in edits.items():
        if part not in source:
            raise ValueError(f"edits must be of the source of {function.__name__}, got {part!r}")
        source = source.replace(part, other)
    exec(source, names := dict(function.__globals__))
    return cast("Callable[P, T]", names[function.__name__])


@contextmanager
def _as_it_was() -> Iterator[None]:
    dtype, gradients, figures = torch.get_default_dtype(), torch.is_grad_enabled(), _figures()
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(gradients)
            random.setstate(python)
            np.random.set_state(numpy)
            for number in _figures() - figures:
                plt.close(number)


def _figures() -> set[int]:
    return set(plt.get_fignums())


def _in_words(error: BaseException, hints: Mapping[str, str]) -> str:
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        return f"{kind}. Leave exit() out; it would end the notebook as well."
    try:
        message = str(error)
    except Exception:  # an exception of the answer's own, which cannot say what it is
        return f"{kind}."
    said = f"{kind}: {message}"
    return said + next((f" ({hint})" for part, hint in hints.items() if part in said), "")
