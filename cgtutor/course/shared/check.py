"""What makes a function the check of an exercise."""

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import matplotlib.pyplot as plt
import numpy as np
import torch

P = ParamSpec("P")
T = TypeVar("T")


class NotYet(Exception):  # noqa: N818, it is no error
    """An answer is not right yet; the message says what to look at next."""


def check(
    hints: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, str]], Callable[P, None]]:
    """Make a function the check of an exercise: called with an answer, it prints a verdict.

    The function raises :class:`NotYet` with a hint, or returns what there is to say about a right
    answer. Printed is "Not yet: " and the hint, or "Right! " and what was returned. Whatever the
    answer raises, ``exit()`` included, is printed as a hint as well, so that "Run all" works on
    an unfinished notebook. Afterwards torch's default dtype and gradient mode, the global random
    generators (of torch on the CPU, NumPy and Python), the filters of warnings and the open
    figures are what they were before. Who interrupts the kernel still interrupts the check.

    Args:
        hints: by a part of what is printed of an exception, "KeyError: 'momentum'", what to say
            beside it.

    >>> @check()
    ... def two(answer):
    ...     if answer != 2:
    ...         raise NotYet(f"{answer} is not one more than 1.")
    ...     return "2 is one more than 1."
    >>> two(2)
    Right! 2 is one more than 1.
    >>> two(3)
    Not yet: 3 is not one more than 1.
    """

    def decorate(function: Callable[P, str]) -> Callable[P, None]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> None:
            with _as_it_was():
                try:
                    verdict = f"Right! {function(*args, **kwargs)}"
                except NotYet as hint:
                    verdict = f"Not yet: {hint}"
                except (Exception, SystemExit, GeneratorExit) as error:
                    said = _in_words(error, hints or {})
                    verdict = f"Not yet: {getattr(error, 'case', '')}it stopped with {said}"
            print(verdict)

        checked.is_check = True  # type: ignore[attr-defined]  # how the tests find all checks
        return checked

    return decorate


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
