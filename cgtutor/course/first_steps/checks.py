"""The checks of the exercises of the notebook *first steps*."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from cgtutor import Adam_C
from cgtutor.course.first_steps import study
from cgtutor.course.first_steps.study import Make, Outcome
from cgtutor.course.shared.check import NotYet, case, check, edited


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-6)


@check(
    hints=[
        "Two lines differ from a loop that you would trust. One builds the optimizer, the other is "
        "missing.",
        "The name `SGD` and the number 0.03 are written into the loop. The arguments `make` and "
        "`lr` belong there: make(model.parameters(), lr=lr).",
        "`backward()` adds to the gradients that are there. Clear them before it, in every step, "
        "with a method of the optimizer.",
    ],
    errors={"got an unexpected keyword": "pass the learning rate by its name, lr=lr"},
)
def trained(answer: Callable[[Make, float, int], Any]) -> str:
    """A training loop that takes any optimizer, and clears the gradients."""
    made: list[type] = []

    def noted(params: Any, **options: Any) -> torch.optim.Optimizer:
        made.append(Adam_C)
        return Adam_C(params, **options)

    for make, lr, seed, name in ((noted, 0.002, 1, "Adam_C"), (SGD, 0.05, 2, "SGD")):
        with case(f"with {name} and lr={lr:g}"):
            path = answer(make, lr, seed)
            if not isinstance(path, Tensor):
                raise NotYet(f"it returned {type(path).__name__}, and not the stacked weights.")
            if not made:
                raise NotYet("`make` was never called, so another optimizer did the training.")
            right = study.trained(make, lr, seed)
            if _same(path, right):
                continue
            if path.shape != right.shape:
                raise NotYet(
                    f"the path has the shape {tuple(path.shape)}, and {tuple(right.shape)} is "
                    "right: the weights before training, and after each of 200 steps."
                )
            if _same(path, path[:1].expand_as(path)):
                raise NotYet(
                    "the weights never move. Are the gradients cleared between backward() and "
                    "step(), or is a step missing?"
                )
            if not _same(path[0], right[0]):
                raise NotYet("the initial weights are others. Use network(seed=seed).")
            if not _same(path[1], right[1]):
                raise NotYet("the very first step is another. Which learning rate did it take?")
            raise NotYet(
                "the first step is right and the second is not. What is in the gradients when "
                "backward() comes for the second time?"
            )
    return "It trains with whatever it is given, each step on its own gradients."


@check(
    hints=[
        "A tensor's own norm is gradient.norm(). `.item()` makes a float of it.",
        "With synced=False the norms are the answer: one float for each tensor.",
        "With synced=True add the norms first. Every tensor gets this same number: "
        "[sum(norms)] * len(norms).",
    ],
    errors={
        "cannot be converted to Scalar": "`.item()` belongs behind a norm, which is one number"
    },
)
def priorities(answer: Callable[[Sequence[Tensor], bool], Any]) -> str:
    """The priorities of the tensors of one step, synced and not."""
    first, second = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([0.0, -4.0])
    third = torch.full((4,), 1.0)
    for gradients, alone in (([first, second], [3.0, 4.0]), ([first, second, third], [3, 4, 2])):
        for synced in (False, True):
            right = [float(sum(alone))] * len(alone) if synced else [float(a) for a in alone]
            text = ", ".join(f"{a:g}" for a in alone)
            with case(f"gradients with the norms {text}, synced={synced}"):
                found = answer(gradients, synced)
                if found is None or found is Ellipsis:
                    raise NotYet("it returns no list yet.")
                if isinstance(found, int | float) or (
                    isinstance(found, Tensor) and found.dim() == 0
                ):
                    raise NotYet(
                        f"it returns one number, {float(found):g}. A list is wanted, with a number "
                        "for each tensor."
                    )
                _compare([float(f) for f in found], right, alone, synced)
    return "3 and 4 give 7 and 7 when synced, and stay 3 and 4 when not."


def _compare(found: list[float], right: list[float], alone: Sequence[float], synced: bool) -> None:
    def close(other: Sequence[float]) -> bool:
        return len(found) == len(other) and all(abs(f - o) < 1e-5 for f, o in zip(found, other))

    if close(right):
        return
    said = ", ".join(f"{f:g}" for f in found)
    count = len(alone)
    together = sum(a * a for a in alone) ** 0.5
    if len(found) != count:
        raise NotYet(f"it returns {len(found)} numbers for {count} tensors.")
    if close([together] * count):
        raise NotYet(
            f"{together:.3g} is the norm of all the gradients laid end to end. The library adds "
            "the tensors' norms."
        )
    if close([sum(alone) / count] * count):
        raise NotYet(f"{said}: this is the mean of the norms, and their sum is wanted.")
    if close([a * a for a in alone]):
        raise NotYet(f"{said}: these are squares. The norm is the root.")
    if close(list(alone)):
        raise NotYet("these are the single norms. With synced=True their sum is wanted.")
    if close([float(sum(alone))] * count) and not synced:
        raise NotYet("with synced=False nothing is added up: each tensor has its own norm.")
    raise NotYet(f"it returns {said}, and {', '.join(f'{r:g}' for r in right)} is right.")


@check(
    hints=[
        "path[i] holds the weights after i steps. A step is the difference of two rows.",
        "path[1:] - path[:-1] are all steps at once, and path.diff(dim=0) is the same.",
        "For the distances subtract the first row from all later ones: path[1:] - path[0].",
        "The length of each row is .norm(dim=1).",
    ],
)
def pace(answer: Callable[[Tensor], Any]) -> str:
    """The lengths of the steps, and the distances from the start."""
    corner = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
    away = torch.tensor([[1.0, 1.0, 1.0], [1.0, 3.0, 1.0], [1.0, 3.0, 2.5], [1.0, 1.0, 1.0]])
    for path in (corner, away):
        lengths, distances = study.pace(path)
        points = "; ".join(", ".join(f"{x:g}" for x in point) for point in path.tolist())
        with case(f"the path {points}"):
            found = answer(path.clone())
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise NotYet("it is to return two things: the lengths, and the distances.")
            if any(f is None or f is Ellipsis for f in found):
                raise NotYet("there are still `...` in it.")
            steps, far = (torch.as_tensor(f, dtype=path.dtype).flatten() for f in found)
            if len(far) == len(path) and far[0] == 0:
                raise NotYet(
                    "the distances start with that of the start itself, 0. One number for each "
                    "step is wanted, so leave it out."
                )
            if _same(steps, far) or (_same(steps, distances) and _same(far, lengths)):
                raise NotYet("lengths of single steps first, distances from the start second.")
            if not _same(steps, lengths):
                raise NotYet(f"the lengths are {_written(lengths)}, and it says {_written(steps)}.")
            if _same(far, lengths.cumsum(0)):
                raise NotYet(
                    "these are the steps' lengths added up, the way that was walked. Wanted is how "
                    "far from the start one is, in a straight line."
                )
            if not _same(far, distances):
                raise NotYet(
                    f"the distances are {_written(distances)}, and it says {_written(far)}."
                )
    return "Two steps of 5 lead 8 away, and not 10: they turn."


def _written(values: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())


def _outcomes(pairs: Mapping[float, Sequence[tuple[float, float]]]) -> dict[float, list[Outcome]]:
    return {lr: [Outcome(*pair) for pair in seeds] for lr, seeds in pairs.items()}


#: The best rates are 0.2 and 0.1. On the test part 0.4 and 0.4 look best; by the single best seed
#: 0.4 and 0.2; at one rate for both 0.2 or 0.1. Rates are in no order.
TRIALS = {
    "A": _outcomes(
        {
            0.4: [(0.10, 0.93), (0.90, 0.99)],
            0.2: [(0.30, 0.90), (0.20, 0.92)],
            0.1: [(0.50, 0.80), (0.60, 0.82)],
            0.8: [(0.90, 0.50), (0.95, 0.52)],
        }
    ),
    "B": _outcomes(
        {
            0.1: [(0.30, 0.91), (0.32, 0.89)],
            0.05: [(0.70, 0.70), (0.72, 0.72)],
            0.2: [(0.20, 0.85), (0.60, 0.87)],
            0.4: [(0.80, 0.95), (0.90, 0.97)],
        }
    ),
}

Fair = Callable[[Mapping[str, Mapping[float, Sequence[Outcome]]]], Mapping[str, tuple[float, Any]]]

#: Typical mistakes, and what to say of them.
MISTAKES = {
    "run.validation_loss": (
        "1 - run.test_accuracy",
        "it chooses the rate on the test part. Then the test accuracy flatters: the best of "
        "several numbers is partly luck. Choose by the validation loss.",
    ),
    "min(loss, key": (
        "max(loss, key",
        "it chooses the largest validation loss. Small is good.",
    ),
    "sum(run.validation_loss for run in runs) / len(runs)": (
        "min(run.validation_loss for run in runs)",
        "it goes by the best seed. Take the mean of the seeds, or luck chooses.",
    ),
}


@check(
    hints=[
        "results['SGD'][0.1] is a list of runs, one for each seed. Each has .validation_loss and "
        ".test_accuracy.",
        "For each side, first make a dictionary of the mean validation loss by rate. The best rate "
        "is min(loss, key=loss.get).",
        "Then take the test accuracies of the runs at this rate, all of them: "
        "[run.test_accuracy for run in trials[best]].",
        "best in (min(loss), max(loss)) says whether the best rate is at an edge of the grid. Then "
        "raise ValueError.",
    ],
)
def fair(answer: Fair) -> str:
    """Choose each side's rate on the validation part, then look at the test part."""
    found = answer(TRIALS)
    if not isinstance(found, Mapping) or set(found) != set(TRIALS):
        raise NotYet("it is to return a dictionary with an entry for each side of results.")
    right = study.fair(TRIALS)
    for change, (to, why) in MISTAKES.items():
        mistaken = edited(study.fair, {change: to, "raise": "pass  # raise"})
        if _agree(found, mistaken(TRIALS)):
            raise NotYet(why)
    for name in TRIALS:
        rate, accuracies = found[name]
        if rate == right["B" if name == "A" else "A"][0]:
            raise NotYet(
                f"side {name} gets the other side's rate, {rate:g}. Each side may have its own."
            )
        if rate != right[name][0]:
            raise NotYet(
                f"the mean validation loss of side {name} is smallest at {right[name][0]:g}, and "
                f"it chooses {rate:g}."
            )
        if not _close(accuracies, right[name][1]):
            raise NotYet(
                f"the rate of side {name} is right, but what comes with it is {accuracies!r}. "
                f"Wanted are the test accuracies of its seeds, {right[name][1]}."
            )
    for edge, kept in (("smallest", (0.2, 0.4, 0.8)), ("largest", (0.1, 0.2))):
        narrow = {"A": {lr: TRIALS["A"][lr] for lr in kept}}
        try:
            answer(narrow)
        except ValueError:
            continue
        raise NotYet(
            f"with the rates {', '.join(f'{lr:g}' for lr in kept)} the best is the {edge}, and an "
            "even better one may lie outside. Raise ValueError there."
        )
    return "Each side has its own best rate, chosen without a look at the test part."


def _close(found: Any, right: Sequence[float]) -> bool:
    try:
        values = [float(f) for f in found]
    except TypeError:
        return False
    return len(values) == len(right) and all(abs(f - r) < 1e-9 for f, r in zip(values, right))


def _agree(found: Mapping[str, Any], other: Mapping[str, tuple[float, list[float]]]) -> bool:
    return all(found[name][0] == rate for name, (rate, _) in other.items())
