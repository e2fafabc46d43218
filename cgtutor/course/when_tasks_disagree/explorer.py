"""The explorers of the notebook *when tasks disagree*."""

from cgtutor.course.shared.explorer import Explorer, slider
from cgtutor.course.shared.style import Picture
from cgtutor.course.shared.tasks import plane
from cgtutor.course.when_tasks_disagree.figures import four_aggregates


def aggregates_explorer() -> Explorer:
    """Two or three gradients in the plane, and what four aggregators make of them."""

    def draw(
        angle2: float, length2: float, angle3: float, length3: float, phi_hat: float
    ) -> Picture:
        angles, lengths = [0, angle2, angle3], [1, length2, length3]
        tasks = 3 if length3 > 0 else 2
        return four_aggregates(plane(angles[:tasks], lengths[:tasks]), phi_hat)

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
