"""The check of the exercise of the notebook *does it help*."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from cgtutor.course.does_it_help.studies import (
    METHODS,
    Setting,
    balanced_accuracy,
    fair_problem,
    interval,
    macro_f1,
    stacked,
    tune,
)
from cgtutor.course.shared.check import NotYet, check

SIDES = ("SGD", "SGD_C")
MEASURES = {"balanced accuracy": balanced_accuracy, "macro-F1": macro_f1}
#: More trainings than this for one side take more than a few seconds.
MOST = 2000

#: For each choice of a word: what is unfair about the wrong ones, and the question to ask.
UNFAIR = {
    "choose on": (
        {
            "training": "the loss on the training part does not say which model is best on new "
            "points",
            "test": "learning rates chosen on the test part flatter both sides, and the side that "
            "varies more gains more",
        },
        "Which part is neither trained on nor reported on?",
    ),
    "look at test": (
        {
            "every epoch": "looking at the test part after every epoch and reporting the best one "
            "is choosing on the test part after all",
            "every learning rate": "a test result for every learning rate invites a choice on the "
            "test part",
        },
        "How often do you need it, when all choices are made?",
    ),
    "measure": (
        {
            "accuracy": "always naming the larger class is 90 % accurate here",
            "micro-F1": "with two classes micro-F1 is accuracy, and always naming the larger "
            "class is 90 % accurate here",
        },
        "Which measure counts both classes alike?",
    ),
}
FAIR = {"choose on": ("validation",), "look at test": ("once",), "measure": tuple(MEASURES)}
KEYS = ("learning rates", "seeds", "data sets", *FAIR)


@check()
def fair_comparison(plan: Any) -> str:
    """A plan that compares SGD and SGD_C fairly on data with 10 % in one class."""
    rates, seeds, data_sets = _lists(plan)
    _check_fairness(plan, rates, seeds, data_sets)
    trainings = len(rates["SGD"]) * len(seeds["SGD"]) * len(data_sets)
    if trainings > MOST:
        raise NotYet(
            f"this is fair, but {trainings:,} trainings for each side are more than a notebook "
            f"should run; stay at {MOST:,} or below."
        )
    problems = stacked([fair_problem(Setting(minority=0.1), seed) for seed in data_sets])
    measure, results = MEASURES[plan["measure"]], {}
    for side in SIDES:
        grid = sorted(map(float, rates[side]))
        chosen, results[side] = tune(problems, METHODS[side], grid, seeds[side], measure)
        for edge, word, where in ((0, "smallest", "below"), (-1, "largest", "above")):
            times = int((chosen == edge % len(grid)).sum())
            if 2 * times > len(chosen):
                raise NotYet(
                    f"all of this is fair, but the grid of {side} is in the wrong place. Its "
                    f"{word} learning rate, {grid[edge]:g}, was the best in {times} of "
                    f"{len(chosen)} data sets, so a better one may lie {where} it."
                )
    lead, half = interval(100 * (results["SGD_C"] - results["SGD"]))
    means = ", ".join(f"{side} {100 * found.mean():.1f} %" for side, found in results.items())
    return (
        f"{trainings} trainings for each side, and we have just run them. {plan['measure']}: "
        f"{means}. Lead of SGD_C: {lead:.1f} ± {half:.1f} points (95 % confidence, "
        f"{len(data_sets)} data sets)."
    )


Lists = dict[str, list[Any]]


def _lists(plan: Any) -> tuple[Lists, Lists, list[int]]:
    """The learning rates and the seeds of each side, and the data sets."""
    if not isinstance(plan, Mapping):
        raise NotYet(f"the plan is a {type(plan).__name__}, not a dictionary.")
    for key in KEYS:
        if key not in plan:
            raise NotYet(f"the plan says nothing about {key!r}.")
    for key in plan:
        if key not in KEYS:
            names = ", ".join(map(repr, KEYS))
            raise NotYet(f"the plan has the key {key!r}, which is none of {names}.")
    for key in ("learning rates", "seeds"):
        if not isinstance(plan[key], Mapping) or set(plan[key]) != set(SIDES):
            raise NotYet(f"{key!r} needs an entry for each side, 'SGD' and 'SGD_C', and no other.")
    rates, seeds = (
        {side: _numbers(f"{key!r} of {side}", plan[key][side], kind) for side in SIDES}
        for key, kind in (("learning rates", Real), ("seeds", Integral))
    )
    return rates, seeds, _numbers("'data sets'", plan["data sets"], Integral)


def _numbers(name: str, values: Any, kind: type) -> list[Any]:
    if isinstance(values, str | Mapping) or not hasattr(values, "__iter__"):
        raise NotYet(f"{name} must be a list of numbers, not {values!r}.")
    if hasattr(values, "__next__"):  # empty after the first look
        raise NotYet(f"{name} is a {type(values).__name__}; list(...) makes a list of it.")
    if len(values) > MOST:
        raise NotYet(f"{name} has {len(values):,} entries; stay at {MOST:,} trainings or below.")
    values = values.tolist() if isinstance(values, Tensor) else list(values)
    for k, value in enumerate(values):
        number = isinstance(value, kind) and not isinstance(value, bool)
        if kind is Real and not (number and 0 < value < math.inf):
            raise NotYet(f"{name} must be positive numbers, and {value!r} is none.")
        if kind is Integral and not (number and value >= 0):
            raise NotYet(f"{name} must be whole numbers, 0 or more, and {value!r} is none.")
        if value in values[:k]:
            raise NotYet(f"{name} has {value!r} twice: the same run again tells nothing new.")
    return [int(value) for value in values] if kind is Integral else values


def _check_fairness(plan: Any, rates: Lists, seeds: Lists, data_sets: list[int]) -> None:
    sgd, sgd_c = len(rates["SGD"]), len(rates["SGD_C"])
    if sgd != sgd_c:
        raise NotYet(
            f"SGD may choose from {sgd} learning rates and SGD_C from {sgd_c}. The side with more "
            f"of them, {SIDES[sgd_c > sgd]}, has more chances: give both the same number."
        )
    if set(seeds["SGD"]) != set(seeds["SGD_C"]):
        raise NotYet(
            f"SGD has the seeds {seeds['SGD']} and SGD_C {seeds['SGD_C']}. With the same seeds for "
            "both, luck with the initial weights is the same for both."
        )
    if len(seeds["SGD"]) < 5:
        raise NotYet(
            f"{len(seeds['SGD'])} seeds are too few to see how much comes from the initial "
            "weights; take at least five."
        )
    if len(data_sets) < 2:
        raise NotYet(
            "on a single data set you learn about that data set. The spread that counts is that "
            "over data sets: take several (five to ten are good)."
        )
    for key, (reasons, question) in UNFAIR.items():
        chosen = plan[key] if isinstance(plan[key], str) else ""
        if chosen not in FAIR[key]:
            words = ", ".join(map(repr, (*reasons, *FAIR[key])))
            reason = reasons.get(chosen, f"{key!r} is one of {words}, not {plan[key]!r}")
            raise NotYet(f"{reason}. {question}")
    if sgd < 3:
        raise NotYet(
            f"{sgd} learning rates for each side are hardly a choice, and the smaller the "
            "choice, the more it may suit one side by luck. Take at least three, better five."
        )
