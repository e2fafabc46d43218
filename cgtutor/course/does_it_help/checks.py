"""Checks of the exercises about fair comparisons of classifiers."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
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
from cgtutor.course.shared.guard import guarded

SIDES = ("SGD", "SGD_C")


KEYS = ("learning rates", "seeds", "data sets", "choose on", "look at test", "measure")


MEASURES = {"balanced accuracy": balanced_accuracy, "macro-F1": macro_f1}


#: More runs than this for one side take more than a few seconds.
MOST = 2000


def fair_comparison(plan: dict[str, Any]) -> None:
    """Notebook 05: a plan that compares SGD and SGD_C fairly on data with 10 % in one class."""
    print(_fair_comparison(plan))


@guarded
def _fair_comparison(plan: Any) -> str:
    try:
        wrong = _shape_of_plan(plan) or _unfair(plan)
        return f"Not yet: {wrong}" if wrong else _carried_out(plan)
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: it stopped with {type(error).__name__}: {error}"


def _shape_of_plan(plan: Any) -> str:
    """What is not as the exercise's text says, or nothing."""
    if not isinstance(plan, Mapping):
        return f"the plan is a {type(plan).__name__}, not a dictionary."
    if missing := [key for key in KEYS if key not in plan]:
        return f"the plan says nothing about {missing[0]!r}."
    if unknown := [key for key in plan if key not in KEYS]:
        return (
            f"the plan has the key {unknown[0]!r}, which is none of {', '.join(map(repr, KEYS))}."
        )
    for key in ("learning rates", "seeds"):
        if not isinstance(plan[key], Mapping) or set(plan[key]) != set(SIDES):
            return f"{key!r} needs an entry for each side, 'SGD' and 'SGD_C', and no other."
        for side in SIDES:
            kind = Real if key == "learning rates" else Integral
            wrong = _shape_of_list(f"{key!r} of {side}", plan[key][side], kind)
            if wrong:
                return wrong
    return _shape_of_list("'data sets'", plan["data sets"], Integral)


def _shape_of_list(name: str, values: Any, kind: Any) -> str:
    if isinstance(values, (str, Mapping)) or not hasattr(values, "__iter__"):
        return f"{name} must be a list of numbers, not {values!r}."
    if hasattr(values, "__next__"):  # empty after the first look
        return f"{name} is a {type(values).__name__}; list(...) makes a list of it."
    if len(values) > MOST:
        return f"{name} has {len(values):,} entries; stay at {MOST:,} trainings or below."
    values = values.tolist() if isinstance(values, Tensor) else list(values)
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool) or value < 0:
            takes = "positive numbers" if kind is Real else "whole numbers, 0 or more"
            return f"{name} must be {takes}, and {value!r} is none."
        if kind is Real and not 0 < value < np.inf:
            return f"{name} must be positive numbers, and {value!r} is none."
    if twice := [v for k, v in enumerate(values) if v in values[:k]]:
        return f"{name} has {twice[0]!r} twice: the same run again tells nothing new."
    return ""


def _trials(plan: Mapping[str, Any], side: str) -> int:
    lists = (plan["learning rates"][side], plan["seeds"][side], plan["data sets"])
    return int(np.prod([len(list(values)) for values in lists]))


def _unfair(plan: Mapping[str, Any]) -> str:
    """What is unfair, or too little, or nothing."""
    rates, seeds = plan["learning rates"], plan["seeds"]
    # a list in place of a word could not be looked up
    plan = {**plan, **{key: str(plan[key]) for key in ("choose on", "look at test", "measure")}}
    counts = [len(list(rates[side])) for side in SIDES]
    if counts[0] != counts[1]:
        favoured = SIDES[counts[1] > counts[0]]
        return (
            f"SGD may choose from {counts[0]} learning rates and SGD_C from {counts[1]}. The side "
            f"with more of them, {favoured}, has more chances: give both the same number."
        )
    if set(seeds["SGD"]) != set(seeds["SGD_C"]):
        return (
            f"SGD has the seeds {list(seeds['SGD'])} and SGD_C {list(seeds['SGD_C'])}. With the "
            "same seeds for both, luck with the initial weights is the same for both."
        )
    if len(list(seeds["SGD"])) < 5:
        return (
            f"{len(list(seeds['SGD']))} seeds are too few to see how much comes from the initial "
            "weights; take at least five."
        )
    if len(list(plan["data sets"])) < 2:
        return (
            "on a single data set you learn about that data set. The spread that counts is that "
            "over data sets: take several (five to ten are good)."
        )
    if plan["choose on"] != "validation":
        reasons = {
            "test": "learning rates chosen on the test part flatter both sides, and the side "
            "that varies more gains more",
            "training": "the loss on the training part does not say which model is best on new "
            "points",
        }
        known = reasons.get(plan["choose on"], "'choose on' is 'training', 'validation' or 'test'")
        return f"{known}. Which part is neither trained on nor reported on?"
    if plan["look at test"] != "once":
        reasons = {
            "every epoch": "whoever looks at the test part after every epoch and reports the "
            "best one chooses on the test part after all",
            "every learning rate": "a test result for every learning rate is a choice on the "
            "test part in waiting",
        }
        known = reasons.get(
            plan["look at test"],
            "'look at test' is 'every epoch', 'every learning rate' or 'once'",
        )
        return f"{known}. How often do you need it, when all choices are made?"
    if plan["measure"] not in MEASURES:
        if plan["measure"] in ("accuracy", "micro-F1"):
            same = (
                "with two classes micro-F1 is accuracy: " if plan["measure"] == "micro-F1" else ""
            )
            return (
                f"{same}who always names the larger class is 90 % accurate here. Which measure "
                "counts both classes alike?"
            )
        return (
            "'measure' is 'accuracy', 'micro-F1', 'macro-F1' or 'balanced accuracy', not "
            f"{plan['measure']!r}."
        )
    if counts[0] < 3:
        return (
            f"{counts[0]} learning rates for each side are hardly a choice, and the smaller the "
            "choice, the more it may suit one side by luck. Take at least three, better five."
        )
    if _trials(plan, "SGD") > MOST:
        return (
            f"this is fair, but {_trials(plan, 'SGD'):,} trainings for each side are more than a "
            f"notebook should run; stay at {MOST:,} or below."
        )
    return ""


def _carried_out(plan: Mapping[str, Any]) -> str:
    """Carry the plan out; it is right if the best learning rates lie inside the grids."""
    ten_percent = Setting(minority=0.1)
    problems = stacked([fair_problem(ten_percent, int(seed)) for seed in plan["data sets"]])
    results = {}
    for side in SIDES:
        rates = sorted(map(float, plan["learning rates"][side]))
        chosen, results[side] = tune(
            problems,
            METHODS[side],
            rates,
            [int(seed) for seed in plan["seeds"][side]],
            MEASURES[plan["measure"]],
        )
        for edge, word, where in ((0, "smallest", "below"), (len(rates) - 1, "largest", "above")):
            times = int((chosen == edge).sum())
            if 2 * times > len(chosen):
                return (
                    f"Not yet: all of this is fair, but the grid of {side} is in the wrong place. "
                    f"Its {word} learning rate, {rates[edge]:g}, was the best in {times} of "
                    f"{len(chosen)} data sets, so a better one may lie {where} it."
                )
    lead, half = interval(100 * (results["SGD_C"] - results["SGD"]))
    means = ", ".join(f"{side} {100 * results[side].mean():.1f} %" for side in SIDES)
    return (
        f"Right! {_trials(plan, 'SGD')} trainings for each side, and we have just run them. "
        f"{plan['measure']}: {means}. Lead of SGD_C: {lead:.1f} ± {half:.1f} points "
        f"(95 % confidence, {len(results['SGD'])} data sets)."
    )
