"""Two surfaces, a bowl, and optimizers on their way down.

Nothing is random on a surface: a run is given by its start, its optimizer and the number of steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer
from tqdm.auto import tqdm

from cgtutor import CriticalGradients
from cgtutor.course.shared.training import MakeOptimizer, best_learning_rate

#: Points of shape (..., 2) -> values of shape (...).
Function = Callable[[Tensor], Tensor]
#: Builds an optimizer from parameter groups, one for each start; its learning rate is settled.
Build = Callable[[list[dict[str, Any]]], Optimizer]


def library_aggregate(g: Tensor, memory: Sequence[Tensor], rule: str, kappa: float) -> Tensor:
    """The library's aggregate of a gradient and a list of remembered ones."""
    kept = CriticalGradients(max(len(memory), 1))
    for past in memory:
        kept.insert(1.0, past)
    return kept.aggregate(g, rule, kappa)


def beale(points: Tensor) -> Tensor:
    """Beale's function: a flat, bent valley between steep walls. Minimum 0 at (3, 0.5).

    Args:
        points: shape (..., 2).

    Returns:
        The values, shape (...).

    Source: E. M. L. Beale, *On an Iterative Method for Finding a Local Minimum of a Function
    of More than One Variable*, Princeton, 1958.

    >>> import torch
    >>> beale(torch.tensor([[3.0, 0.5], [0.0, 0.0]])).tolist()  # 1.5² + 2.25² + 2.625²
    [0.0, 14.203125]
    """
    x, y = points.unbind(-1)
    first = 1.5 - x * (1 - y)
    second = 2.25 - x * (1 - y * y)
    third = 2.625 - x * (1 - y * y * y)
    return first * first + second * second + third * third


def goldstein_price(points: Tensor) -> Tensor:
    """Goldstein and Price's function, from 3 to about a million. Minimum 3 at (0, -1).

    Local minima are 30 at (-0.6, -0.4), 84 at (1.8, 0.2) and 840 at (1.2, 0.8).

    Args:
        points: shape (..., 2).

    Returns:
        The values, shape (...).

    Source: A. A. Goldstein and J. F. Price, *On Descent from Local Minima*, Mathematics of
    Computation 25(115), 1971.

    >>> import torch
    >>> goldstein_price(torch.tensor([[0.0, -1.0], [0.0, 0.0]])).tolist()  # (1 + 19) · 30
    [3.0, 600.0]
    """
    x, y = points.unbind(-1)
    one, two = x + y + 1, 2 * x - 3 * y
    first = 19 - 14 * x + 3 * x * x - 14 * y + 6 * x * y + 3 * y * y
    second = 18 - 32 * x + 12 * x * x + 48 * y - 36 * x * y + 27 * y * y
    return (1 + one * one * first) * (30 + two * two * second)


class Surface(NamedTuple):
    """A function to descend on, and what is known about it.

    Attributes:
        name: of the function.
        function: points of shape (..., 2) to values of shape (...).
        minima: all local minima as (x, y, value), the lowest first.
        window: what a picture of it shows, as (least x, greatest x, least y, greatest y).
        start_point: where the method's authors started.
    """

    name: str
    function: Function
    minima: tuple[tuple[float, float, float], ...]
    window: tuple[float, float, float, float]
    start_point: tuple[float, float]

    @property
    def start(self) -> Tensor:
        """Where the method's authors started, shape (2,)."""
        return torch.tensor(self.start_point)

    def height(self, points: Tensor) -> Tensor:
        """How far above the lowest minimum points of shape (..., 2) lie; infinite where lost."""
        above = self.function(points) - self.minima[0][2]
        return above.nan_to_num(math.inf, math.inf).clamp(min=0)


BEALE = Surface("Beale", beale, ((3.0, 0.5, 0.0),), (-0.3, 3.9, -0.95, 1.45), (0.75, 1.0))

GOLDSTEIN_PRICE = Surface(
    "Goldstein–Price",
    goldstein_price,
    ((0.0, -1.0, 3.0), (-0.6, -0.4, 30.0), (1.8, 0.2, 84.0), (1.2, 0.8, 840.0)),
    (-1.45, 1.25, -1.55, 0.35),
    (-1.0, 0.0),
)


def descend(
    function: Function, start: Tensor, optimizers: Mapping[str, Build], steps: int
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


#: name of the optimizer -> learning rate -> final heights, one a start
Heights = dict[str, dict[float, list[float]]]


def heights_by_rate(
    optimizers: Mapping[str, tuple[MakeOptimizer, Sequence[float]]],
    surface: Surface = BEALE,
    steps: int = 220,
    starts: int = 5,
) -> Heights:
    """Every optimizer at each of its learning rates on a surface, from points near the start.

    All of them go down together, which is much quicker than one after the other.

    Args:
        optimizers: by name, how to build each from parameter groups and a learning rate, and the
            learning rates to try.
        surface: to descend.
        steps: of each run.
        starts: from how many points (:func:`near`).

    Returns:
        ``result[optimizer][learning_rate]``: for each start how far above the lowest minimum the
        run ends, infinite if it is lost.
    """
    result: Heights = {}
    for name, (make, rates) in tqdm(optimizers.items(), desc="optimizers"):
        trials = {f"{rate}": partial(_at_rate, make, rate) for rate in rates}
        paths = descend(surface.function, near(surface.start, starts), trials, steps)
        ends = [surface.height(path[-1]).tolist() for path in paths.values()]
        result[name] = dict(zip(rates, ends))
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


def in_words(height: float) -> str:
    """A height above the lowest minimum with one digit, as other machines will tell it too."""
    if math.isinf(height):
        return "lost"
    if height > 1e4:
        return "> 10000"
    if height < FLOOR:
        return "< 0.000001"
    return f"{float(f'{height:.1g}'):.6f}".rstrip("0").rstrip(".")
