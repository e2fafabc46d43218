"""Three functions of two variables to watch optimizers on, and a loop that goes down them.

Nothing is random on them: a run is given by its start, its optimizer and the number of steps.
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

#: Points of shape (..., 2) -> values of shape (...).
Function = Callable[[Tensor], Tensor]


#: Builds an optimizer from parameter groups, one for each start.
MakeOptimizer = Callable[[list[dict[str, Any]]], Optimizer]


#: The same with a learning rate.
MakeAtRate = Callable[[list[dict[str, Any]], float], Optimizer]


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


def six_hump_camel(points: Tensor) -> Tensor:
    """The six-hump camel: six local minima, two of them the lowest, -1.0316 at ±(0.0898, -0.7127).

    Args:
        points: shape (..., 2).

    Returns:
        The values, shape (...).

    Source: L. C. W. Dixon and G. P. Szegö, *The Global Optimization Problem: An Introduction*,
    in *Towards Global Optimisation 2*, North-Holland, 1978.

    >>> import torch
    >>> six_hump_camel(torch.tensor([1.0, 1.0])).item()  # 4 - 2.1 + 1/3, then 1, then 0
    3.2333...
    """
    x, y = points.unbind(-1)
    xx, yy = x * x, y * y
    return (4 - 2.1 * xx + xx * xx / 3) * xx + x * y + (4 * yy - 4) * yy


def authors_camel(points: Tensor) -> Tensor:
    """What the method's authors call six-hump camel: x² multiplies one of three terms only.

    It has four local minima: 0.0619 at ±(1.2461, -0.7749) and 1.7589 at ±(1.1638, 0.6184).

    Args:
        points: shape (..., 2).

    Returns:
        The values, shape (...).

    Source: the analysis code that accompanies arXiv:2106.10708.
    """
    x, y = points.unbind(-1)
    xx, yy = x * x, y * y
    return 4 - 2.1 * xx + xx * xx / 3 * xx + x * y + (4 * yy - 4) * yy


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
        starts: letters and points to start from; A is where the method's authors started.
        authors_rate: the learning rate that they gave to all optimizers here.
        rate: a learning rate with which SGD comes down from every start in some 80 steps.
    """

    name: str
    function: Function
    minima: tuple[tuple[float, float, float], ...]
    window: tuple[float, float, float, float]
    starts: Mapping[str, tuple[float, float]]
    authors_rate: float
    rate: float

    @property
    def lowest(self) -> float:
        """The value of the lowest minimum."""
        return self.minima[0][2]

    def start(self, letter: str = "A") -> Tensor:
        """One of the starts as a tensor of shape (2,)."""
        return torch.tensor(self.starts[letter])

    def height(self, points: Tensor) -> Tensor:
        """How far above the lowest minimum points of shape (..., 2) lie; infinite where lost."""
        above = self.function(points) - self.lowest
        return above.nan_to_num(math.inf, math.inf).clamp(min=0)


BEALE = Surface(
    "Beale",
    beale,
    minima=((3.0, 0.5, 0.0),),
    window=(-0.8, 4.6, -1.7, 1.7),
    starts={"A": (0.75, 1.0), "B": (0.0, -1.0), "C": (2.0, -0.5), "D": (4.2, 0.2)},
    authors_rate=1e-3,
    rate=2e-2,
)


CAMEL = Surface(
    "six-hump camel",
    six_hump_camel,
    minima=(
        (0.089842, -0.712656, -1.0316284534898774),
        (-0.089842, 0.712656, -1.0316284534898774),
        (1.703607, -0.796084, -0.2154638243837),
        (-1.703607, 0.796084, -0.2154638243837),
        (1.607105, 0.568651, 2.1042503103113),
        (-1.607105, -0.568651, 2.1042503103113),
    ),
    window=(-3.3, 3.3, -2.8, 2.8),
    starts={"A": (3.0, 2.5), "B": (-2.5, -0.5), "C": (0.0, 0.2), "D": (-1.2, 0.2)},
    authors_rate=1e-4,
    rate=2e-3,
)


GOLDSTEIN_PRICE = Surface(
    "Goldstein–Price",
    goldstein_price,
    minima=((0.0, -1.0, 3.0), (-0.6, -0.4, 30.0), (1.8, 0.2, 84.0), (1.2, 0.8, 840.0)),
    window=(-1.9, 2.2, -1.7, 1.2),
    starts={"A": (-1.0, 0.0), "B": (0.5, -0.5), "C": (1.5, 0.4), "D": (0.0, 0.0)},
    authors_rate=1e-5,
    rate=8e-5,
)


#: By name, in the course's order.
SURFACES = {surface.name: surface for surface in (BEALE, CAMEL, GOLDSTEIN_PRICE)}


def descend(
    function: Function,
    start: Tensor,
    optimizers: Mapping[str, MakeOptimizer],
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
        here = (
            passed[-1].clone().requires_grad_()
        )  # all at once: one gradient costs as much as many
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
Trials = dict[str, dict[str, dict[float, list[float]]]]


def sweep(
    optimizers: Mapping[str, MakeAtRate],
    learning_rates: Mapping[str, Sequence[float]],
    steps: int = 200,
    starts: int = 5,
) -> Trials:
    """Every optimizer at every learning rate on several surfaces, from points near start A.

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
    result: Trials = {name: {o: {} for o in optimizers} for name in learning_rates}
    for surface, rate in tqdm(trials, desc="surfaces and learning rates"):
        makers: dict[str, MakeOptimizer] = {
            name: partial(_at_rate, make, rate) for name, make in optimizers.items()
        }
        paths = descend(surface.function, near(surface.start(), starts), makers, steps)
        for name, path in paths.items():
            result[surface.name][name][rate] = surface.height(path[-1]).tolist()
    return result


def _at_rate(make: MakeAtRate, rate: float, groups: list[dict[str, Any]]) -> Optimizer:
    return make(groups, rate)


#: Heights below this count as zero: the digits further down differ from machine to machine.
FLOOR = 1e-6


def best_rate(trials: Mapping[float, Sequence[float]]) -> float:
    """The learning rate with the lowest median of final heights.

    Medians below ``FLOOR`` are equal, and of equal ones the smallest learning rate is taken.
    """
    return min(sorted(trials), key=lambda rate: max(median(trials[rate]), FLOOR))


def table(trials: Trials) -> str:
    """What a sweep found: for each optimizer the best learning rate and the median height there.

    A star marks a learning rate that is the smallest or the largest of those tried.
    """
    lines = ["best learning rate, and how far above the lowest minimum the median run ends there"]
    lines.append((f"{'':20s}" + "".join(f"{name:<22s}" for name in trials)).rstrip())
    for optimizer in next(iter(trials.values())):
        line = f"{optimizer:20s}"
        for runs in trials.values():
            rate = best_rate(runs[optimizer])
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
