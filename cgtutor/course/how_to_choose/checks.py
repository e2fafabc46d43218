"""The checks of the exercises of the notebook *how to choose*."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from cgtutor import weight_evenness
from cgtutor.course.how_to_choose.answers import (
    compare_fairly,
    drift_by_hand,
    weigh_by_bisection,
)
from cgtutor.course.shared.check import NotYet, case, check, edited

Array = np.ndarray


def _number(found: Any, name: str) -> float:
    if isinstance(found, Tensor | np.ndarray) and math.prod(found.shape) == 1:
        found = found.item()
    if found is None:
        raise NotYet(f"{name} returns None; is the word `return` missing?")
    if not isinstance(found, Real):
        raise NotYet(f"return a number; this is a {type(found).__name__}.")
    return float(found)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


# ------------------------------------------------------------------------- one weight, by hand

#: P, C, decay, kappa -> what a period adds up
Drift = Callable[[int, float, float, float], float]


_DRIFTS: dict[str, dict[str, str]] = {
    "one step too few: C takes part in the aggregates of floor(ln C / ln(1/decay)) + 1 later "
    "steps, the last of them being the one that evicts it.": {") + 1)": "))"},
    "C cannot stay longer than P steps, for then the next C arrives: take the smaller number.": {
        "min(P, math.floor(math.log(C) / math.log(1 / decay)) + 1)": (
            "math.floor(math.log(C) / math.log(1 / decay)) + 1"
        )
    },
    "in the other P − R steps the slot is not empty: it holds a −1.": {" - (P - stay)": ""},
    "the slot holds −1 in those steps, so it pulls the other way: a minus.": {
        "- (P - stay)": "+ (P - stay)"
    },
    "this is the memory's part alone; the gradients of the steps themselves count as well.": {
        "now + kappa": "kappa"
    },
    "this is the sum of the gradients alone; where is the memory's part?": {
        " + kappa * remembered": ""
    },
    "kappa multiplies the memory's part alone.": {
        "now + kappa * remembered": "kappa * (now + remembered)"
    },
    "kappa is missing: it multiplies the memory's part.": {"kappa * ": ""},
    "this is the mean of a period; add up, and do not divide by P.": {
        "now + kappa * remembered": "(now + kappa * remembered) / P"
    },
    "this is where the weight goes; leave out the minus of −lr.": {
        "now + kappa * remembered": "-(now + kappa * remembered)"
    },
}
_DRIFT_CASES = [(10, 12.0, 0.99, 1.0), (10, 3.0, 0.7, 1.0), (20, 5.0, 0.9, 0.5), (5, 7.0, 0.5, 2.0)]


@check(
    hints=[
        "The gradients of one period, without a memory: one C and P − 1 times −1. What is their "
        "sum?",
        "C is inserted with the priority C. After n steps it is C · decay**n, and a −1 evicts C "
        "as soon as that is below 1. So C takes part in R = floor(ln C / ln(1/decay)) + 1 later "
        "steps, and in at most P, because then the next C arrives: R = min(P, …).",
        "In R of the P steps the slot holds C, in the other P − R it holds −1. With one slot the "
        "mean of the memory is what the slot holds.",
        "return (C - (P - 1)) + kappa * (R * C - (P - R))",
    ]
)
def drift(answer: Drift) -> str:
    """The drift of one weight over a period."""
    found = [_number(answer(*each), "drift") for each in _DRIFT_CASES]
    right = [drift_by_hand(*each) for each in _DRIFT_CASES]
    for message, edits in _DRIFTS.items():
        wrong = edited(drift_by_hand, edits)
        if all(_close(mine, wrong(*each)) for mine, each in zip(found, _DRIFT_CASES)):
            raise NotYet(message)
    for (P, C, decay, kappa), mine, wanted in zip(_DRIFT_CASES, found, right):
        if not _close(mine, wanted):
            raise NotYet(
                f"for P={P}, C={C:g}, decay={decay:g}, kappa={kappa:g} the sum is {wanted:g}; "
                f"yours is {mine:g}."
            )
    return "The sum of a period, in four cases. For P=10, C=3, decay=0.7 it is exactly 0."


# ---------------------------------------------------------------------------------- evenness

_SETTINGS = [(5, 0.7), (5, 0.99), (20, 0.9), (1, 0.5)]
_EVENNESSES: dict[str, Callable[[int, float], float]] = {
    "the sign: the logarithm of a decay below 1 is negative, so take that of 1/decay.": (
        lambda k, d: k * math.log(d)
    ),
    "that is its approximation for decays near 1; with 0.7 it is 16 % too small. Take the "
    "logarithm.": lambda k, d: k * (1 - d),
    "the natural logarithm is meant, math.log.": lambda k, d: k * math.log10(1 / d),
    "the time is divided by ln(1/decay), so after solving for the mean excess it is a factor.": (
        lambda k, d: k / math.log(1 / d)
    ),
    "topC is missing.": lambda k, d: math.log(1 / d),
}


@check(
    hints=[
        "The number of gradients in the memory is the mean time that one stays: "
        "mean excess / ln(1/decay). A full memory holds topC.",
        "Solve mean excess / ln(1/decay) = topC for the mean excess.",
        "math.log(1 / decay) fails at decay = 0. There a gradient stays for no time at all, "
        "however large it is: return math.inf.",
    ],
    errors={
        "ZeroDivisionError": "with decay 0 every gradient is evicted at the next step: math.inf",
        "math domain error": "with decay 0 every gradient is evicted at the next step: math.inf",
        "positive input": "with decay 0 every gradient is evicted at the next step: math.inf",
    },
)
def evenness(answer: Callable[[int, float], float]) -> str:
    """The number that says how even the weights are."""
    found = [_number(answer(*each), "evenness") for each in _SETTINGS]
    for message, wrong in _EVENNESSES.items():
        if all(_close(mine, wrong(*each)) for mine, each in zip(found, _SETTINGS)):
            raise NotYet(message)
    for topC, decay in [*_SETTINGS, (3, 1.0), (3, 0.0)]:
        wanted, mine = weight_evenness(topC, decay), _number(answer(topC, decay), "evenness")
        if not _close(mine, wanted):
            raise NotYet(
                f"for topC={topC} and decay={decay:g} it is {wanted:.4g}; yours is {mine:.4g}."
            )
    return "1.78 for topC=5 and decay=0.7, as `cgtutor.weight_evenness` says too."


# ----------------------------------------------------------------------------------- weights

#: norms, a, kappa -> a weight for each norm
Weigh = Callable[[Array, float, float], Array]


_WEIGHTS: dict[str, dict[str, str]] = {
    "the 1 of the gradient itself is missing.": {"1 + kappa": "kappa"},
    "divide the excess by a, so that its mean becomes 1.": {"excess / a": "excess"},
    "a norm below θ has the excess 0, not a negative one.": {
        "np.maximum(logs - low, 0)": "(logs - low)"
    },
    "θ is the wrong one: the bisection goes the other way. Where the mean excess is too large, θ "
    "has to grow, so `low` moves up.": {"> a": "< a"},
    "this is θ = the smallest norm; find the θ with the mean excess a.": {
        "excess = np.maximum(logs - low, 0)": "excess = logs - logs.min()"
    },
}
_NORMS = np.exp(np.random.default_rng(6).normal(size=200))
_WEIGHT_CASES = [(0.53, 1.0), (0.05, 1.0), (3.6, 2.0)]


@check(
    hints=[
        "Work with logs = np.log(norms) and with ln θ. The excess is np.maximum(logs − ln θ, 0).",
        "Find ln θ by bisection between low = logs.min() − a, where the mean excess is at least "
        "a, and high = logs.max(), where it is 0.",
        "Sixty times: middle = (low + high) / 2. If the mean excess over middle is above a, then "
        "low = middle, else high = middle.",
        "At the end: return 1 + kappa * np.maximum(logs - low, 0) / a",
    ]
)
def weigh(answer: Weigh) -> str:
    """The weight of each gradient by its norm."""
    given = _NORMS.copy()
    found = []
    for a, kappa in _WEIGHT_CASES:
        weights = answer(given, a, kappa)
        if weights is None:
            raise NotYet("weigh returns None; is the word `return` missing?")
        found.append(np.asarray(weights, dtype=float))
        if found[-1].shape != given.shape:
            raise NotYet(
                f"return one weight for each of the {given.size} norms; the shape is "
                f"{found[-1].shape}."
            )
        if not np.array_equal(given, _NORMS):
            raise NotYet("leave the norms that come in as they are.")

    def same(right: Weigh) -> bool:
        cases = zip(found, _WEIGHT_CASES)
        with np.errstate(all="ignore"):
            return all(np.allclose(mine, right(_NORMS, *each), 1e-6, 1e-6) for mine, each in cases)

    for message, edits in _WEIGHTS.items():
        if same(edited(weigh_by_bisection, edits)):
            raise NotYet(message)
    if not same(weigh_by_bisection):
        a, kappa = _WEIGHT_CASES[0]
        wanted, top = weigh_by_bisection(_NORMS, a, kappa), _NORMS.argmax()
        raise NotYet(
            f"for a={a:g} and kappa={kappa:g} the mean weight is {found[0].mean():.3f}; it has to "
            f"be 1 + kappa. The largest norm has the weight {found[0][top]:.2f}; it should have "
            f"{wanted[top]:.2f}."
        )
    return "The mean weight is 1 + kappa, and small norms have the weight 1, for three values of a."


# ---------------------------------------------------------------------------- a fair comparison

#: errors (seeds, rates) to choose by, errors (seeds, rates) to report, the baseline's errors
#: (seeds,) -> the chosen rate's index, the mean difference, half of the interval's width
Compare = Callable[[Array, Array, Array], tuple[int, float, float]]


_COMPARISONS: dict[str, dict[str, str]] = {
    "this chooses the rate by the errors that it reports. Choose by `tune` alone.": {
        "best = tune": "best = fresh"
    },
    "this takes the single luckiest run. Choose by the mean over the seeds.": {
        "tune.mean(0)": "tune.min(0)"
    },
    "the sign: minus the baseline.": {"fresh[:, best] - base": "base - fresh[:, best]"},
    "this reports the errors to choose by. Report `fresh`.": {
        "lead = fresh[:, best] - base": "lead = tune[:, best] - base[: len(tune)]"
    },
    "the standard deviation of a sample divides by n − 1: ddof=1.": {"ddof=1": "ddof=0"},
    "the interval is of the mean: divide the standard deviation by the root of the number of "
    "seeds.": {" / math.sqrt(len(lead))": ""},
    "the seeds are the same on both sides, so take the spread of the differences.": {
        "lead.std(ddof=1)": "fresh[:, best].std(ddof=1)"
    },
}


def _errors() -> tuple[Array, Array, Array]:
    draws = np.random.default_rng(11)
    base = 0.1 + 0.01 * draws.normal(size=10)
    level = np.array([0.2, 0.3, 0.08, 0.085, 0.09, 0.25])
    tune = level + 0.002 * draws.normal(size=(3, 6))
    tune[0, 3] = 0.06  # one lucky run
    tune[1, 3] = 0.12
    fresh = level + 0.002 * draws.normal(size=(10, 6)) + 0.8 * (base - 0.1)[:, None]
    fresh[:, 4] -= 0.02  # what a look at the fresh seeds would choose
    return tune, fresh, base


@check(
    hints=[
        "tune.mean(0) is the mean error of each rate over the seeds; its argmin() is the choice.",
        "Before you go on: if the choice is 0 or tune.shape[1] − 1, raise ValueError(…).",
        "The seeds are the same on both sides: lead = fresh[:, best] − base, one number a seed.",
        "return best, lead.mean(), 2.262 * lead.std(ddof=1) / len(lead) ** 0.5",
    ]
)
def compare(answer: Compare) -> str:
    """A rate chosen by some seeds, and a lead with its interval from others."""
    tune, fresh, base = _errors()

    def judged(of: Compare) -> list[float]:
        result = of(tune.copy(), fresh.copy(), base.copy())
        if not isinstance(result, tuple | list) or len(result) != 3:
            raise NotYet("return three things: the index of the rate, the mean, the half width.")
        return [_number(each, "one of the three") for each in result]

    found, right = judged(answer), judged(compare_fairly)
    for message, edits in _COMPARISONS.items():
        if all(map(_close, found, judged(edited(compare_fairly, edits)))):
            raise NotYet(message)
    for name, mine, wanted in zip(("index", "mean difference", "half width"), found, right):
        if not _close(mine, wanted):
            raise NotYet(f"the {name} is {wanted:.5g} here; yours is {mine:.5g}.")
    with case("where the best rate is at the edge of the grid"):
        for order in ([2, 0, 1, 3, 4, 5], [0, 1, 3, 4, 5, 2]):
            try:
                answer(tune[:, order], fresh[:, order], base)
            except ValueError:
                continue
            raise NotYet(
                "raise a ValueError. Beyond the edge there may be a better rate, so the "
                "comparison would be unfair."
            )
    return "Chosen by some seeds, reported by others, and a best rate at the edge is refused."
