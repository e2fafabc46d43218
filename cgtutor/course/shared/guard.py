"""What stands around every check, so that nothing an answer does gets out of it."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import torch

P = ParamSpec("P")


def guarded(check: Callable[P, str]) -> Callable[P, str]:
    """The same check, which gives back a message whatever the answer does.

    Afterwards torch's default dtype and gradient mode, the global random generators (of torch on
    the CPU, NumPy and Python), the filters of warnings and the open figures are what they were
    before. Who interrupts the kernel still interrupts the check.
    """

    @wraps(check)
    def inside(*args: P.args, **kwargs: P.kwargs) -> str:
        with _as_it_was():
            try:
                return check(*args, **kwargs)
            except (Exception, SystemExit, GeneratorExit) as error:
                return f"Not yet: it stopped with {_in_words(error)}"

    return inside


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


def _in_words(error: BaseException) -> str:
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        return f"{kind}. Leave exit() out; it would end the notebook as well."
    try:
        return f"{kind}: {error}"
    except Exception:  # an exception of the answer's own, which cannot say what it is
        return f"{kind}."
