"""Explorers about the gradients of several tasks."""

import math

from cgtutor import plots
from cgtutor.surgery import plane
from cgtutor.widgets.explorer import Explorer, slider


def aggregates_explorer() -> Explorer:
    """Two or three gradients in the plane, and what four aggregators make of them."""

    def draw(
        angle2: float, length2: float, angle3: float, length3: float, phi_hat: float
    ) -> plots.Picture:
        angles, lengths = [0, angle2, angle3], [1, length2, length3]
        tasks = 3 if length3 > 0 else 2
        return plots.four_aggregates(plane(angles[:tasks], lengths[:tasks]), phi_hat)

    return Explorer(
        draw,
        {
            "angle2": slider("angle of g₂", 130, -180, 180, 5),
            "length2": slider("length of g₂", 1.2, 0, 3, 0.1),
            "angle3": slider("angle of g₃", -100, -180, 180, 5),
            "length3": slider("length of g₃", 0, 0, 3, 0.1),
            "phi_hat": slider("φ̂ of GradVac", 0.5, -0.95, 0.95, 0.05),
        },
        goal="make the vaccine double the length of g₁ (it starts as 1). Then try it with PCGrad.",
    )


def vaccine_explorer() -> Explorer:
    """One gradient turned towards another, by cosine, target, length and β."""

    def draw(phi: float, phi_hat: float, length: float, beta: float) -> plots.Picture:
        jacobian = plane([math.degrees(math.acos(phi)), 0], [1, length])
        return plots.rotation(jacobian, [phi_hat], beta=beta, curve=True)

    return Explorer(
        draw,
        {
            "phi": slider("cosine φ", -0.3, -0.99, 0.99, 0.01),
            "phi_hat": slider("target φ̂", 0.5, -0.99, 0.99, 0.01),
            "length": slider("length of g_j", 1.5, 0.1, 3, 0.1),
            "beta": slider("β", 0.5, 0, 1, 0.05),
        },
        goal="at a right angle (φ = 0) and with a g_j of length 1, find the target for which "
        "the weight is exactly 1.",
    )
