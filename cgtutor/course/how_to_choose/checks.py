"""Checks of the exercises about choosing a memory."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import FrameType
from typing import Any

import numpy as np
import torch

from cgtutor.course.how_to_choose.study import Trial, best_trial, spike
from cgtutor.course.shared.guard import guarded

#: ratio, decay -> how many later steps the large gradient takes part in
Survival = Callable[[float, float], float]


_CASES = [(100.0, 0.7), (100.0, 0.9), (100.0, 0.99), (7.0, 0.8), (1000.0, 0.95), (1.5, 0.5)]


_TIES = [(4.0, 0.5), (64.0, 0.5), (16.0, 0.25)]  # ratio · decay^n comes to exactly 1


def spike_survival(answer: Survival) -> None:
    """Notebook 06: how many steps a large gradient survives in a memory with one slot."""
    print(_spike_survival(answer))


@guarded
def _spike_survival(answer: Survival) -> str:
    try:
        found = [_counted(answer, *case) for case in _CASES]
        if wrong := _not_numbers(found):
            return wrong
        expected = [_truth(*case) for case in _CASES]
        if found != expected:
            return f"Not yet: {_which_survival(found, expected)}."
        for ratio, decay in _TIES:
            mine, goes = _counted(answer, ratio, decay), _truth(ratio, decay)
            if mine != goes:
                return (
                    "Not yet: right as long as the two priorities are never equal. With the ratio "
                    f"{ratio:g} and the decay {decay:g} they are, at step {goes - 1}: there the "
                    "newcomer is not larger and stays out, so the spike goes one step later, at "
                    f"step {goes}. Yours is {mine}. (A loop goes on while the spike's priority is "
                    ">= 1. A formula rounds down and adds 1.)"
                )
    except Exception as error:  # whatever the answer does, the notebook goes on
        return _stopped(error)
    ends: list[tuple[float, float, str]] = [
        (0.0, 1, "the spike's priority is 0 after its own step, so it goes at step 1"),
        (1.0, math.inf, "nothing fades and the spike never goes: give back math.inf"),
    ]
    for decay, right, why in ends:
        try:
            mine = _counted(answer, 100.0, decay)
        except Exception as error:  # as above; here it has to be said where
            return f"{_stopped(error)} That was with decay {decay:g}: {why}."
        if mine != right:
            return f"Not yet: with decay {decay:g} {why}. Yours is {mine}."
    by_decay = ", ".join(f"{_truth(100, d)} with decay {d:g}" for d in (0.7, 0.9, 0.99))
    others = len(_CASES) - 3 + len(_TIES) + len(ends)
    return (
        f"Right! A spike with ratio 100 goes at step {by_decay}. Also right: {others} other cases."
    )


def _truth(ratio: float, decay: float) -> int:
    survives = spike(ratio, decay).survives
    assert survives is not None
    return survives


def _stopped(error: Exception) -> str:
    if isinstance(error, _EndlessError):
        return "Not yet: the loop seems to go on for ever. When does it stop?"
    hint = ""
    if isinstance(error, ZeroDivisionError):
        hint = " (log(1) is 0.)"
    elif isinstance(error, ValueError):
        hint = " (log(0) does not exist.)"
    return f"Not yet: it stopped with {type(error).__name__}: {error}.{hint}"


class _EndlessError(Exception):
    pass


def _counted(answer: Survival, ratio: float, decay: float, most: int = 200_000) -> Any:
    """The answer, unless it takes more lines of Python than any that is right would."""
    lines = 0

    # no test can see these lines run: while they watch, whatever counts covered lines does not
    def watch(frame: FrameType, event: str, _: object) -> Any:  # pragma: no cover
        nonlocal lines
        lines += 1
        if lines > most:
            raise _EndlessError
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        found: Any = answer(ratio, decay)
    finally:
        sys.settrace(before)
    of_arrays = isinstance(found, torch.Tensor | np.ndarray) and math.prod(found.shape) == 1
    return found.item() if of_arrays else found


def _not_numbers(found: Sequence[Any]) -> str:
    for value in found:
        if value is None:
            return "Not yet: survival gives back None; is the word `return` missing?"
        if not isinstance(value, Real):
            return f"Not yet: give back a number of steps; this is a {type(value).__name__}."
    return ""


def _typical_survivals() -> Mapping[str, Survival]:
    """Wrong counts that are often made, by what to say about them."""

    def exact(ratio: float, decay: float) -> float:
        return math.log(ratio) / -math.log(decay)

    return {
        "this is the number of steps before it is a whole one. The spike goes at the first step "
        "whose number is larger": exact,
        "one too few each time: after this step the spike is still the larger. It goes when "
        "ratio · decay^n is below 1, and takes part in that step's aggregate still": (
            lambda r, d: math.floor(exact(r, d))
        ),
        "one too many each time: count the steps after the spike's own, which is number 0, and "
        "stop at the one at which it goes": lambda r, d: math.floor(exact(r, d)) + 2,
        "rounded to the nearest whole number. The spike goes at the first step at which it is "
        "smaller, so round down and add 1": lambda r, d: round(exact(r, d)),
        "the fraction is upside down: divide the logarithm of the ratio by that of the decay": (
            lambda r, d: math.floor(1 / exact(r, d)) + 1
        ),
        "the two logarithms have different bases; any base will do, if it is the same in both": (
            lambda r, d: math.floor(math.log10(r) / -math.log(d)) + 1
        ),
        "the two logarithms have different bases, 2 and e; any base will do, if it is the same "
        "in both": lambda r, d: math.floor(math.log2(r) / -math.log(d)) + 1,
        "the logarithm of the ratio alone. How much does one step take off a logarithm?": (
            lambda r, d: math.floor(math.log(r)) + 1
        ),
        "the sign: the logarithm of a decay below 1 is negative": lambda r, d: math.ceil(
            -exact(r, d)
        ),
        "a step takes the share 1 − decay of what is left, not of what there was at first": (
            lambda r, d: math.floor((r - 1) / (r * (1 - d))) + 1
        ),
        "1 / (1 − decay) is how far an average with this decay looks back. The ratio has to come "
        "in": lambda r, d: math.floor(1 / (1 - d) + 1e-9),
        "that is the approximation for decays near 1, and here they go down to 0.5: divide by "
        "log(1 / decay), not by 1 − decay": lambda r, d: math.log(r) / (1 - d),
        "rounded right, but from the approximation for decays near 1, and here they go down to "
        "0.5: divide by log(1 / decay), not by 1 − decay": lambda r, d: (
            math.floor(math.log(r) / (1 - d)) + 1
        ),
        "these steps are too many for one power of the decay a step; is it the gradient's norm "
        "that was compared, or the square of the ratio?": lambda r, d: (
            math.floor(2 * exact(r, d)) + 1
        ),
    }


def _which_survival(found: Sequence[float], expected: Sequence[int]) -> str:
    for message, wrong in _typical_survivals().items():
        others = [wrong(*case) for case in _CASES]
        if all(math.isclose(a, b) for a, b in zip(found, others)):
            return message
    k = next(k for k, (a, b) in enumerate(zip(found, expected)) if a != b)
    ratio, decay = _CASES[k]
    before, after = ratio * decay ** (expected[k] - 1), ratio * decay ** expected[k]
    return (
        f"with the ratio {ratio:g} and the decay {decay:g} the spike's priority is {before:.2f} at "
        f"step {expected[k] - 1} and {after:.2f} at step {expected[k]}, so it goes at step "
        f"{expected[k]}. Yours is {found[k]:g}"
    )


#: trials, limit in bytes -> one of the trials, or None
Choose = Callable[[list[Trial], int], Trial | None]


_TRIALS = [
    Trial("topC 20, decay 0.9", 0.001, 1.2, 176),
    Trial("topC 20, decay 0.7", 0.001, 0.3, 176),
    Trial("topC 10, decay 0.7", 0.001, 0.45, 96),
    Trial("topC 10, decay 0.99", 0.01, 2.1, 96),
    Trial("plain Adam", 0.01, 0.5, 16),
    Trial("topC 5, decay 0.7", 0.01, 0.4, 56),
    Trial("topC 5, decay 0.9", 0.01, 0.55, 56),
]


def best_within(answer: Choose) -> None:
    """Notebook 06: the best trial by validation among those that fit into a limit in bytes."""
    print(_best_within(answer))


@guarded
def _best_within(answer: Choose) -> str:
    cases = {
        "with some trials above the limit": 100,
        "with a limit that the best trial meets exactly": 56,
        "where everything fits": 1000,
        "where nothing fits": 10,
    }
    try:
        for case, limit in cases.items():
            given = list(_TRIALS)
            try:
                found = answer(given, limit)
            except (IndexError, ValueError) as error:
                if limit > 10:
                    raise
                return (
                    f"Not yet: {case} it stopped with {type(error).__name__}: {error}. Give back "
                    "None there."
                )
            if given != _TRIALS:
                return "Not yet: leave the list that comes in as it is; make a new one."
            if wrong := _wrong_choice(found, limit):
                return f"Not yet: {case} (limit {limit}): {wrong}"
    except Exception as error:  # whatever the answer does, the notebook goes on
        hint = ""
        if "indices must be integers" in str(error):
            hint = ". What a trial holds comes after a dot: trial.bytes"
        return f"Not yet: it stopped with {type(error).__name__}: {error}{hint}"
    return f"Right! The best that fits, for {len(cases)} limits."


def _wrong_choice(found: Any, limit: int) -> str:
    """What is wrong with a choice; empty if nothing is."""
    right = best_trial(_TRIALS, limit)
    if found == right:
        return ""
    if found is None:
        return (
            "this gives back None, but some fit. Is the word `return` missing? Or was the best of "
            "all chosen first, and the limit looked at afterwards?"
        )
    if right is None and not isinstance(found, Trial):
        return f"nothing fits, so give back None; this is a {type(found).__name__}."
    if not isinstance(found, Trial):
        return f"give back one of the trials itself; this is a {type(found).__name__}."
    if right is None:
        return f"None is the answer, and yours keeps {found.bytes} bytes."
    fitting = [trial for trial in _TRIALS if trial.bytes <= limit]
    if found == _TRIALS[0]:
        return "this is merely the first trial of the list."
    if found.bytes > limit:
        return f"yours keeps {found.bytes} bytes, which is more than the limit."
    if right.bytes == limit:
        return (
            f"the best, with a loss of {right.validation_loss:g}, keeps exactly as many bytes as "
            "are allowed, so it fits."
        )
    if found == max(fitting, key=lambda trial: trial.validation_loss):
        return "this is the largest loss among those that fit; the smallest is wanted."
    if found == fitting[0]:
        return "this is the first that fits, or the largest memory that does, and not the best."
    if found == min(fitting, key=lambda trial: trial.bytes):
        return "this keeps the fewest bytes; all that fit are equally good in this respect."
    return (
        f"one with a loss of {right.validation_loss:g} fits as well, and that of yours is "
        f"{found.validation_loss:g}."
    )
