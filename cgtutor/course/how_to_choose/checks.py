"""The checks of the exercises of the notebook *how to choose*."""

from collections.abc import Callable
from math import ceil, floor, inf, isclose, log, log2, log10, prod
from numbers import Real
from operator import attrgetter
from typing import Any

import numpy as np
import torch

from cgtutor.course.how_to_choose.study import Trial, best_trial, spike
from cgtutor.course.shared.check import NotYet, check

#: ratio, decay -> how many later steps the large gradient takes part in
Survival = Callable[[float, float], float]

_CASES = [(100.0, 0.7), (100.0, 0.9), (100.0, 0.99), (7.0, 0.8), (1000.0, 0.95), (1.5, 0.5)]
_TIES = [(4.0, 0.5), (64.0, 0.5), (16.0, 0.25)]  # ratio · decay^n comes to exactly 1
_AT_0 = "with decay 0 the spike's priority is 0 after its own step, so it goes at step 1"
_AT_1 = "with decay 1 nothing decays and the spike never goes: return math.inf"


def _exact(ratio: float, decay: float) -> float:
    return log(ratio) / -log(decay)


#: Wrong counts that are often made, by what to say about them.
_SURVIVALS: dict[str, Survival] = {
    "this is the number of steps before it is a whole one. The spike goes at the first step whose "
    "number is larger.": _exact,
    "one too few each time: after this step the spike is still the larger. It goes when "
    "ratio · decay^n is below 1, and still takes part in that step's aggregate.": (
        lambda r, d: floor(_exact(r, d))
    ),
    "one too many each time: count the steps after the spike's own, which is number 0, and stop at "
    "the one at which it goes.": lambda r, d: floor(_exact(r, d)) + 2,
    "rounded to the nearest whole number. The spike goes at the first step at which it is "
    "smaller, so round down and add 1.": lambda r, d: round(_exact(r, d)),
    "the fraction is upside down: divide the logarithm of the ratio by that of the decay.": (
        lambda r, d: floor(1 / _exact(r, d)) + 1
    ),
    "the two logarithms have different bases, 10 and e; any base will do, if it is the same in "
    "both.": lambda r, d: floor(log10(r) / -log(d)) + 1,
    "the two logarithms have different bases, 2 and e; any base will do, if it is the same in "
    "both.": lambda r, d: floor(log2(r) / -log(d)) + 1,
    "the logarithm of the ratio alone. How much does one step take off a logarithm?": (
        lambda r, d: floor(log(r)) + 1
    ),
    "the sign: the logarithm of a decay below 1 is negative.": lambda r, d: ceil(-_exact(r, d)),
    "a step takes the share 1 − decay of what is left, not of what there was at first.": (
        lambda r, d: floor((r - 1) / (r * (1 - d))) + 1
    ),
    "1 / (1 − decay) is how far an average with this decay looks back. The ratio has to come in.": (
        lambda r, d: floor(1 / (1 - d) + 1e-9)
    ),
    "that is the approximation for decays near 1, and here they go down to 0.5: divide by "
    "log(1 / decay), not by 1 − decay.": lambda r, d: log(r) / (1 - d),
    "rounded right, but from the approximation for decays near 1, and here they go down to 0.5: "
    "divide by log(1 / decay), not by 1 − decay.": lambda r, d: floor(log(r) / (1 - d)) + 1,
    "these steps are too many for one power of the decay a step; is it the gradient's norm that "
    "was compared, or the square of the ratio?": lambda r, d: floor(2 * _exact(r, d)) + 1,
}


@check(
    errors={
        "division by zero": f"log(1) is 0; {_AT_1}",
        "math domain error": f"log(0) does not exist; {_AT_0}",
        "positive input": f"log(0) does not exist; {_AT_0}",  # the same from Python 3.14 on
    }
)
def spike_survival(answer: Survival) -> str:
    """How many steps a large gradient survives in a memory with one slot."""
    found, expected = [_steps(answer(*case)) for case in _CASES], [_goes(*case) for case in _CASES]
    for message, wrong in _SURVIVALS.items():
        if all(isclose(mine, wrong(*case)) for mine, case in zip(found, _CASES)):
            raise NotYet(message)
    for (ratio, decay), mine, goes in zip(_CASES, found, expected):
        if mine != goes:
            before, after = ratio * decay ** (goes - 1), ratio * decay**goes
            raise NotYet(
                f"with the ratio {ratio:g} and the decay {decay:g} the spike's priority is "
                f"{before:.2f} at step {goes - 1} and {after:.2f} at step {goes}, so it goes at "
                f"step {goes}. Yours is {mine:g}."
            )
    for ratio, decay in _TIES:
        goes = _goes(ratio, decay)
        if (mine := _steps(answer(ratio, decay))) != goes:
            raise NotYet(
                "right as long as the two priorities are never equal. With the ratio "
                f"{ratio:g} and the decay {decay:g} they are, at step {goes - 1}: there the "
                "newcomer is not larger and stays out, so the spike goes one step later, at "
                f"step {goes}. Yours is {mine:g}. (A loop goes on while the spike's priority is "
                ">= 1. A formula rounds down and adds 1.)"
            )
    for decay, right, why in (0.0, 1, _AT_0), (1.0, inf, _AT_1):
        if (mine := _steps(answer(100.0, decay))) != right:
            raise NotYet(f"{why}. Yours is {mine:g}.")
    by_decay = ", ".join(
        f"{goes} with decay {case[1]:g}" for case, goes in zip(_CASES[:3], expected)
    )
    return f"A spike with ratio 100 goes at step {by_decay}. Also right: 8 other cases."


def _goes(ratio: float, decay: float) -> int:
    survives = spike(ratio, decay).survives
    assert survives is not None
    return survives


def _steps(found: Any) -> float:
    """The number of steps that an answer is, which may be an array's only element."""
    if isinstance(found, torch.Tensor | np.ndarray) and prod(found.shape) == 1:
        found = found.item()
    if found is None:
        raise NotYet("survival returns None; is the word `return` missing?")
    if not isinstance(found, Real):
        raise NotYet(f"return a number of steps; this is a {type(found).__name__}.")
    return float(found)


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
_LIMITS = {
    "with some trials above the limit": 100,
    "with a limit that the best trial meets exactly": 56,
    "where everything fits": 1000,
    "where nothing fits": 10,
}
_NOTHING_FITS = "where nothing fits, return None"


@check(
    errors={
        "empty": _NOTHING_FITS,
        "index out of range": _NOTHING_FITS,
        "indices must be integers": "what a trial holds comes after a dot: trial.bytes",
    }
)
def best_within(answer: Choose) -> str:
    """The best trial by validation among those that fit into a limit in bytes."""
    for case, limit in _LIMITS.items():
        given = list(_TRIALS)
        found = answer(given, limit)
        if given != _TRIALS:
            raise NotYet("leave the list that comes in as it is; make a new one.")
        if found != best_trial(_TRIALS, limit):
            raise NotYet(f"{case} (limit {limit}): {_which_choice(found, limit)}")
    return f"The best that fits, for {len(_LIMITS)} limits."


def _which_choice(found: Any, limit: int) -> str:
    """What to say about a choice that is wrong."""
    right, loss = best_trial(_TRIALS, limit), attrgetter("validation_loss")
    if found is None:
        return (
            "this returns None, but some fit. Is the word `return` missing? Or was the best of "
            "all chosen first, and the limit looked at afterwards?"
        )
    if not isinstance(found, Trial):
        wanted = "one of the trials itself" if right else "None, as nothing fits"
        return f"return {wanted}; this is a {type(found).__name__}."
    if right is None:
        return f"None is the answer, and yours keeps {found.bytes} bytes."
    if found.bytes > limit and found != _TRIALS[0]:
        return f"yours keeps {found.bytes} bytes, which is more than the limit."
    if right.bytes == limit:
        return f"the best, with a loss of {loss(right):g}, keeps exactly {limit} bytes, so it fits."
    fitting = [trial for trial in _TRIALS if trial.bytes <= limit]
    typical = {
        min(fitting, key=attrgetter("bytes")): "this keeps the fewest bytes; all that fit are "
        "equally good in this respect.",
        fitting[0]: "this is the first that fits, or the largest memory that does, and not the "
        "best.",
        max(fitting, key=loss): "this is the largest loss among those that fit; the smallest is "
        "wanted.",
        _TRIALS[0]: "this is merely the first trial of the list.",
    }
    other = (
        f"one with a loss of {loss(right):g} fits as well, and that of yours is {loss(found):g}."
    )
    return typical.get(found, other)
