"""The explorers of the notebook *what the vaccine changes*."""

import math

from cgtutor.course.shared.explorer import Explorer, slider
from cgtutor.course.shared.style import Picture
from cgtutor.course.shared.tasks import plane
from cgtutor.course.what_the_vaccine_changes.figures import rotation


def vaccine_explorer() -> Explorer:
    """One gradient turned towards another, by cosine, target, length and β."""

    def draw(phi: float, phi_hat: float, length: float, beta: float) -> Picture:
        jacobian = plane([math.degrees(math.acos(phi)), 0], [1, length])
        return rotation(jacobian, [phi_hat], beta=beta, curve=True)

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
