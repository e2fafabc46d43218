"""Three functions of two variables to watch optimizers on."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

#: Points of shape (..., 2) -> values of shape (...).
Function = Callable[[Tensor], Tensor]


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
