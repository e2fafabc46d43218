"""Optimizers on their way down a surface, alone and in a sweep over learning rates.

Nothing is random on a surface: a run is given by its start, its optimizer and the number of steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from tqdm.auto import tqdm

from cgtutor.course.how_old_and_new_combine.surfaces import SURFACES, Function
from cgtutor.course.shared.training import MakeOptimizer, best_learning_rate

#: Builds an optimizer from parameter groups, one for each start; its learning rate is settled.
Build = Callable[[list[dict[str, Any]]], Optimizer]


def descend(
    function: Function,
    start: Tensor,
    optimizers: Mapping[str, Build],
    steps: int,
) -> dict[str, Tensor]:
    """Let several optimizers go down a function, each from the same start or starts.

    Every start is a parameter of its own, in a group of its own, so that runs have nothing to do
    with each other: not even a priority, which optimizers with a memory take over a group.

    Args:
        function: points of shape (..., 2) to values of shape (...).
        start: shape (2,), or (n, 2) for n runs with each optimizer.
        optimizers: by name, how to build each from parameter groups.
        steps: how many.

    Returns:
        By name the points passed, the start among them: shape (steps + 1, 2), or
        (steps + 1, n, 2). Where a run is lost, NaN or infinite.

    >>> import torch
    >>> bowl = lambda points: (points**2).sum(-1) / 2  # its gradient is the point itself
    >>> sgd = lambda groups: torch.optim.SGD(groups, lr=0.5)
    >>> descend(bowl, torch.tensor([8.0, 0.0]), {"SGD": sgd}, steps=2)["SGD"].tolist()
    [[8.0, 0.0], [4.0, 0.0], [2.0, 0.0]]
    """
    rows = start.detach().reshape(-1, 2)
    every = {name: [row.clone().requires_grad_() for row in rows] for name in optimizers}
    made = [make([{"params": [p]} for p in every[name]]) for name, make in optimizers.items()]
    points = [p for those in every.values() for p in those]
    passed = [torch.stack(points).detach()]
    for _ in range(steps):
        here = passed[-1].clone().requires_grad_()  # all points: one gradient costs as much as many
        (gradient,) = torch.autograd.grad(function(here).sum(), here)
        for p, g in zip(points, gradient):
            p.grad = g
        for optimizer in made:
            optimizer.step()
        passed.append(torch.stack(points).detach())
    parts = torch.stack(passed).split(len(rows), dim=1)
    return {name: part.reshape(steps + 1, *start.shape) for name, part in zip(every, parts)}


def stretch(function: Function, path: Tensor, rate: float) -> Tensor:
    """How many times as long each step of a path is as a step of SGD from the same point.

    Args:
        function: that was descended.
        path: shape (steps + 1, 2).
        rate: the learning rate.

    Returns:
        Shape (steps,): the step's length over ``rate`` times the norm of the gradient.
    """
    here = path[:-1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(here).sum(), here)
    return (path[1:] - path[:-1]).norm(dim=-1) / (rate * gradient.norm(dim=-1))


def near(point: Tensor, n: int = 5, spread: float = 0.25, seed: int = 0) -> Tensor:
    """Points drawn evenly from a square around a point.

    Args:
        point: shape (2,).
        n: how many.
        spread: half the side of the square.
        seed: which draw.

    Returns:
        Shape (n, 2).
    """
    draws = torch.Generator().manual_seed(seed)
    return point + spread * (2 * torch.rand(n, 2, generator=draws, dtype=point.dtype) - 1)


#: name of the surface -> name of the optimizer -> learning rate -> final heights, one a start
Heights = dict[str, dict[str, dict[float, list[float]]]]


def heights_by_rate(
    optimizers: Mapping[str, MakeOptimizer],
    learning_rates: Mapping[str, Sequence[float]],
    steps: int = 200,
    starts: int = 5,
) -> Heights:
    """Every optimizer at every learning rate on several surfaces, from points near start A.

    All optimizers and starts go down together, which is much quicker than one after the other.

    Args:
        optimizers: by name, how to build each from parameter groups and a learning rate.
        learning_rates: by the surface's name, those that all optimizers are tried at.
        steps: of each run.
        starts: from how many points (:func:`near`).

    Returns:
        ``result[surface][optimizer][learning_rate]``: for each start how far above the lowest
        minimum the run ends, infinite if it is lost.
    """
    trials = [(SURFACES[name], rate) for name, rates in learning_rates.items() for rate in rates]
    result: Heights = {name: {o: {} for o in optimizers} for name in learning_rates}
    for surface, rate in tqdm(trials, desc="surfaces and learning rates"):
        at_rate: dict[str, Build] = {
            name: partial(_at_rate, make, rate) for name, make in optimizers.items()
        }
        paths = descend(surface.function, near(surface.start(), starts), at_rate, steps)
        for name, path in paths.items():
            result[surface.name][name][rate] = surface.height(path[-1]).tolist()
    return result


def _at_rate(make: MakeOptimizer, rate: float, groups: list[dict[str, Any]]) -> Optimizer:
    return make(groups, rate)


#: Heights below this count as zero: the digits further down differ from machine to machine.
FLOOR = 1e-6


def lowest_rate(trials: Mapping[float, Sequence[float]]) -> float:
    """The learning rate with the lowest median of final heights.

    Medians below ``FLOOR`` are equal, and of equal ones the smallest learning rate is taken.
    """
    in_order = {rate: trials[rate] for rate in sorted(trials)}
    return best_learning_rate(in_order, lambda heights: max(median(heights), FLOOR))


def heights_table(trials: Heights) -> str:
    """What :func:`heights_by_rate` found: by optimizer the best rate and the median height there.

    A star marks a learning rate that is the smallest or the largest of those tried.
    """
    lines = ["best learning rate, and how far above the lowest minimum the median run ends there"]
    lines.append((f"{'':20s}" + "".join(f"{name:<22s}" for name in trials)).rstrip())
    for optimizer in next(iter(trials.values())):
        line = f"{optimizer:20s}"
        for runs in trials.values():
            rate = lowest_rate(runs[optimizer])
            end = "*" if rate in (min(runs[optimizer]), max(runs[optimizer])) else ""
            height = in_words(median(runs[optimizer][rate]))
            line += f"{_decimal(rate) + end:9s}{height:13s}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def in_words(height: float) -> str:
    """A height above the lowest minimum with one digit, as other machines will tell it too."""
    if math.isinf(height):
        return "lost"
    if height > 1e4:
        return "> 10000"
    if height < FLOOR:
        return "< 0.000001"
    return _decimal(float(f"{height:.1g}"))


def _decimal(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
