"""What is trained and measured of the notebook *what the vaccine changes*."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cgtutor.aggregation import GradVac
from cgtutor.course.shared.tasks import plane


class Trace(NamedTuple):
    """How a vaccine's target follows the cosine of two gradients.

    Attributes:
        targets: φ̂ before each step.
        corrected: for each step, whether the cosine was lower than the target.
    """

    targets: list[float]
    corrected: list[bool]


def trace(cosines: Sequence[float], beta: float) -> Trace:
    """Show a vaccine two unit gradients with the given cosine at each step.

    Args:
        cosines: in [-1, 1].
        beta: the weight of the newest cosine in the target.

    >>> trace([1.0, 0.0, 0.5], beta=0.5)
    Trace(targets=[0.0, 0.5, 0.25], corrected=[False, True, False])
    """
    vaccine = GradVac(beta)
    targets, corrected = [], []
    for cosine in cosines:
        vaccine(plane([0, math.degrees(math.acos(cosine))], [1, 1]))
        report = vaccine.report
        assert report is not None  # there has been a call
        targets.append(round(report.targets[0, 1].item(), 6))
        corrected.append(bool(report.corrected[0, 1]))
    return Trace(targets, corrected)


def multiplications(tasks: int, parameters: int, corrected: int) -> dict[str, int]:
    """Multiplications that the vaccine takes in one call, square roots and such left out.

    On the gradients themselves: T squared norms; at each of the T(T - 1) meetings g'ᵢ·gⱼ and
    ‖g'ᵢ‖², and N more for a correction. By way of the Gramian: all its T² products (the symmetric
    half is calculated too), at each meeting at most 2T for a correction, and a weighted sum of
    the rows.

    Args:
        tasks: T.
        parameters: N.
        corrected: how many of the T(T - 1) meetings lead to a correction.

    >>> multiplications(tasks=2, parameters=100, corrected=2)
    {'on the gradients': 800, 'by way of the Gramian': 608}
    """
    meetings = tasks * (tasks - 1)
    return {
        "on the gradients": (tasks + 2 * meetings + corrected) * parameters,
        "by way of the Gramian": (tasks**2 + tasks) * parameters + corrected * 2 * tasks,
    }


def numbers_moved(tasks: int, parameters: int, corrected: int) -> dict[str, int]:
    """Numbers that the vaccine reads and writes in one call.

    On the gradients themselves: a copy of all (read and written), their norms; at each meeting g'ᵢ
    and gⱼ are read, for a correction they are read once more and g'ᵢ is written; last, the sum.
    By way of the Gramian: all gradients are read for it, and once more for the weighted sum.
    The T×T matrices are left out.

    >>> numbers_moved(tasks=2, parameters=100, corrected=2)
    {'on the gradients': 1900, 'by way of the Gramian': 500}
    """
    meetings = tasks * (tasks - 1)
    around = 2 * tasks + tasks + (tasks + 1)
    return {
        "on the gradients": (around + 2 * meetings + 3 * corrected) * parameters,
        "by way of the Gramian": (2 * tasks + 1) * parameters,
    }
