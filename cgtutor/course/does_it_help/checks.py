"""The checks of the exercises of the notebook *does it help*."""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from cgtutor.course.does_it_help.alone import Array
from cgtutor.course.does_it_help.problems import Setting, fair_problem, stacked
from cgtutor.course.does_it_help.study import interval, train
from cgtutor.course.does_it_help.study import macro_f1 as right_macro_f1
from cgtutor.course.shared.check import NotYet, case, check


def _numbers(found: Any, like: Array, what: str) -> Array:
    """What an answer returned, as an array of the same shape."""
    if found is None:
        raise NotYet("it returns nothing. Is there a return at the end?")
    found = np.asarray(found, float)
    if found.shape != like.shape:
        raise NotYet(f"it returns shape {found.shape}; {what}, shape {like.shape}, is wanted.")
    return found


@check(
    hints=[
        "For one class k there are three counts: np.sum((guess == k) & (y == k)) is TP, and FP "
        "and FN differ from it in one comparison each.",
        "F1 of class k is 2 * TP / (2 * TP + FP + FN). Do it for k = 0 and for k = 1.",
        "The result is the mean of the two numbers, whatever the sizes of the classes.",
    ],
    errors={"truth value of an array": "use & between comparisons of arrays, with parentheses"},
)
def macro_f1(answer: Callable[[Array, Array], Any]) -> str:
    """Mean of both classes' F1."""
    draws = np.random.default_rng(0)
    y = (draws.random(200) < 0.2).astype(int)
    noisy = np.where(draws.random(200) < 0.3, 1 - y, y)
    for name, guess in {"a classifier": noisy, "always class 0": np.zeros_like(y)}.items():
        with case(name), np.errstate(invalid="ignore", divide="ignore"):
            right = float(right_macro_f1(y, guess))
            found = float(_numbers(answer(y.copy(), guess.copy()), np.array(0.0), "one number"))
            hit = guess == y
            of_class = [2 * np.sum(hit & (y == k)) / max(1, np.sum(guess == k) + np.sum(y == k))
                        for k in (0, 1)]  # fmt: skip
            shares = np.bincount(y) / len(y)
            mistakes: dict[str, Any] = {
                "that is the accuracy, which is micro-F1": hit.mean(),
                "that is F1 of class 1 alone": of_class[1],
                "that is F1 of class 0 alone": of_class[0],
                "that is the sum of both F1, not their mean": sum(of_class),
                "each class has the same weight, however many points it has": shares @ of_class,
            }
            if math.isclose(found, right, abs_tol=1e-9):
                continue
            for words, wrong in mistakes.items():
                if math.isclose(found, wrong, abs_tol=1e-9):
                    raise NotYet(f"{words}.")
            raise NotYet(f"it is {right:.4f}, and yours gives {found:.4f}.")
    return "It agrees with scikit-learn's f1_score(y, guess, average='macro')."


@check(
    hints=[
        "The model is one long vector, whose parts are the tensors. Its squared length is the sum "
        "of all squared numbers.",
        "(after - start) ** 2 of a tensor has shape (models, ...). .reshape(len(start), -1).sum(1) "
        "adds what belongs to one model.",
        "Add these over the tensors first, and take the square root last.",
    ]
)
def distance(answer: Callable[[list[Array], list[Array]], Any]) -> str:
    """How far models went from where they started."""
    draws = np.random.default_rng(1)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "one tensor": [(3, 4)],
        "a layer with bias": [(3, 2, 4), (3, 2)],
    }
    for name, of_model in shapes.items():
        with case(name):
            start = [draws.normal(size=shape) for shape in of_model]
            after = [draws.normal(size=shape) for shape in of_model]
            squares = [((a - s) ** 2).reshape(3, -1).sum(1) for a, s in zip(after, start)]
            right = np.sqrt(sum(squares))
            found = answer([s.copy() for s in start], [a.copy() for a in after])
            found = _numbers(found, right, "one distance for each model")
            mistakes: dict[str, Any] = {
                "the square root is missing": right**2,
                "the norms of the tensors are added. Add the squares, then take the root of the "
                "whole": sum(map(np.sqrt, squares)),
            }
            if np.allclose(found, right):
                continue
            for words, wrong in mistakes.items():
                if np.allclose(found, wrong):
                    raise NotYet(f"{words}.")
            raise NotYet(f"the first model went {right[0]:.4f} far, and yours says {found[0]:.4f}.")
    return "These are Euclidean distances over all tensors of a model."


@check(
    hints=[
        "For each side: losses, results = run(side, rates). The chosen learning rate is a column.",
        "losses.mean(axis=0) is the mean over the data sets for each learning rate. A learning "
        "rate whose mean is NaN has diverged: np.nan_to_num(..., nan=np.inf) makes it the worst.",
        "results[:, best] is what is reported, one number for each data set, where best is the "
        "argmin of the mean losses.",
        "The lead is the second side's reported results minus the first side's.",
    ]
)
def fair_lead(answer: Callable[..., Any]) -> str:
    """Choose on the validation part, report the test part."""
    _fair_case(answer, "five learning rates", 5)
    _fair_case(answer, "a learning rate that diverges", 4, nan=True)
    return "Each side chose its learning rate on the validation part, and the test part only spoke."


def _fair_case(answer: Callable[..., Any], name: str, count: int, nan: bool = False) -> None:
    draws = np.random.default_rng(count)
    grids = {"A": [10.0**-k for k in range(count)], "B": [3 * 10.0**-k for k in range(count)]}
    made = {}
    for side, best in (("A", count - 1), ("B", 0)):
        losses = 1 + draws.random((6, count))
        losses[:, best] -= 0.8
        results = 50 + 30 * draws.random((6, count))
        results[:, best] -= 20  # the test part would choose another one
        if nan:
            losses[2, 1] = np.nan
        made[side] = losses, results
    asked: list[str] = []

    def run(side: str, rates: Any) -> tuple[Array, Array]:
        if side not in grids or list(rates) != grids[side]:
            raise NotYet(f"run({side!r}, {rates!r}): ask for a side and all of its own rates.")
        asked.append(side)
        return made[side][0].copy(), made[side][1].copy()

    ends = [len(grids["A"]) - 1, 0]
    (_, a), (_, b) = made["A"], made["B"]
    right = b[:, ends[1]] - a[:, ends[0]]
    with case(name):
        found = answer(run, dict(grids))
        found = _numbers(found, right, "one lead for each data set")
        if np.allclose(found, right):
            if sorted(asked) != ["A", "B"]:
                raise NotYet(f"run was called for {asked}; each side trains once.")
            return
        mistakes: dict[str, Any] = {
            "that is the first side's lead: take the second minus the first": -right,
            "the learning rate is chosen on the test part": b.max(1) - a.max(1),
            "the learning rate is chosen by the mean test result": b[:, b.mean(0).argmax()]
            - a[:, a.mean(0).argmax()],
            "both sides report at the first side's learning rate. Each chooses its own": b[
                :, ends[0]
            ]
            - a[:, ends[0]],
            "the learning rate with the largest loss is chosen": b[:, made["B"][0].mean(0).argmax()]
            - a[:, made["A"][0].mean(0).argmax()],
        }
        if nan:  # first: argmax stops there as well
            words = "argmin stops at NaN. A loss that is NaN must be the worst, not the best"
            mistakes = {words: b[:, 1] - a[:, 1]} | mistakes
        for words, wrong in mistakes.items():
            if np.allclose(found, wrong):
                raise NotYet(f"{words}.")
        raise NotYet(f"the lead on the first data set is {right[0]:.2f}, not {found[0]:.2f}.")


SIDES = ("SGD", "SGD_C")
#: More trainings than this for one side take more than a few seconds.
MOST = 400
#: For each choice of a word: what is unfair about the wrong ones, and the right one.
WORDS = {
    "choose on": (
        {
            "training": "the training loss does not say which model is best on new points",
            "test": "learning rates chosen on the test part flatter both sides, and the side that "
            "varies more gains more",
        },
        ("validation",),
    ),
    "look at test": (
        {"every epoch": "reporting the best of ten looks is choosing on the test part after all"},
        ("once",),
    ),
    "measure": (
        {"micro-F1": "with two classes that is accuracy, which hides a class that is never named"},
        ("macro-F1",),
    ),
}


@check(
    hints=[
        "Both sides get the same number of learning rates, five or more, a factor of about three "
        "apart, and the same data sets, five or more.",
        "Neither the smallest nor the largest learning rate may be the best. SGD's best lies near "
        "0.03, and that of SGD_C lower.",
        "Choose on the validation part, look at the test part once, and report macro-F1.",
    ]
)
def plan(answer: Any) -> str:
    """A fair plan to compare SGD and SGD_C."""
    if not isinstance(answer, Mapping):
        raise NotYet(f"the plan is a {type(answer).__name__}, not a dictionary.")
    keys = ("learning rates", "data sets", *WORDS)
    for key in keys:
        if key not in answer:
            raise NotYet(f"the plan says nothing about {key!r}.")
    rates = answer["learning rates"]
    if not isinstance(rates, Mapping) or set(rates) != set(SIDES):
        raise NotYet("'learning rates' needs an entry for each side, 'SGD' and 'SGD_C'.")
    grids = [_listed(f"'learning rates' of {side}", rates[side], Real) for side in SIDES]
    data_sets = _listed("'data sets'", answer["data sets"], Integral)
    if len(grids[0]) != len(grids[1]):
        more = SIDES[len(grids[1]) > len(grids[0])]
        raise NotYet(
            f"SGD may choose from {len(grids[0])} learning rates and SGD_C from {len(grids[1])}. "
            f"{more} has more chances: give both the same number."
        )
    if len(grids[0]) < 5:
        raise NotYet(f"{len(grids[0])} learning rates are hardly a choice; take at least five.")
    if len(data_sets) < 5:
        raise NotYet(
            f"with {len(data_sets)} data sets you learn about those data sets; take five or more."
        )
    for key, (reasons, right) in WORDS.items():
        said = answer[key] if isinstance(answer[key], str) else ""
        if said not in right:
            known = ", ".join(map(repr, (*reasons, *right)))
            raise NotYet(reasons.get(said, f"{key!r} is one of {known}, not {answer[key]!r}") + ".")
    trainings = len(grids[0]) * len(data_sets)
    if trainings > MOST:
        raise NotYet(f"{trainings:,} trainings for each side are too many; stay at {MOST}.")
    leads = []
    for side, grid in zip(SIDES, grids):
        losses, results = _trained(side, tuple(sorted(grid)), tuple(data_sets))
        best = int(losses.argmin())
        for edge, word, where in ((0, "smallest", "below"), (len(grid) - 1, "largest", "above")):
            if best == edge:
                raise NotYet(
                    f"all of this is fair, but the {word} learning rate of {side}, "
                    f"{sorted(grid)[edge]:g}, is its best. A better one may lie {where} it."
                )
        leads.append(results[:, best])
    mean, half = interval(leads[1] - leads[0])
    return (
        f"The plan is fair, and has been run: {trainings} trainings for each side. "
        f"SGD_C leads by {mean:.1f} ± {half:.1f} points."
    )


def _listed(name: str, values: Any, kind: type) -> list[Any]:
    if isinstance(values, str | Mapping) or not hasattr(values, "__len__"):
        raise NotYet(f"{name} must be a list of numbers, not {values!r}.")
    if len(values) > MOST:
        raise NotYet(f"{name} has {len(values):,} entries; stay at {MOST} trainings.")
    listed = values.tolist() if isinstance(values, Tensor) else list(values)
    for k, value in enumerate(listed):
        number = isinstance(value, kind) and not isinstance(value, bool)
        if not (number and 0 <= value < math.inf) or (kind is Real and value == 0):
            raise NotYet(f"{name} has {value!r}, which is not possible.")
        if value in listed[:k]:
            raise NotYet(f"{name} has {value!r} twice: the same run tells nothing new.")
    return [int(v) if kind is Integral else float(v) for v in listed]


@lru_cache(maxsize=16)  # the check runs again when the plan is used
def _trained(side: str, grid: tuple[float, ...], data_sets: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean validation loss by learning rate, and macro-F1 in percent, (D, L)."""
    problems = stacked([fair_problem(Setting(), seed) for seed in data_sets])
    runs = train(side, grid, problems, data_sets, order=0)
    losses = np.nan_to_num(runs.validation_loss().mean(0), nan=np.inf)
    return losses, 100 * right_macro_f1(problems.test.y[:, None], runs.guess())
