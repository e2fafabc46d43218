"""What happens in the moving pictures of notebook 00, step by step."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cgtutor import SGD_C, CriticalGradients
from cgtutor.aggregation import GradVac
from cgtutor.course.shared.tasks import plane

#: The norms of the eight gradients that a memory gets.
NORMS = (4.0, 1.0, 3.0, 0.2, 0.5, 2.0, 0.1, 0.3)


class Moment(NamedTuple):
    """A memory while a gradient comes in.

    Attributes:
        step: of the newest gradient, from 1 on; 0 before the first.
        arriving: whether it is not yet decided what becomes of it.
        priorities: of the gradients in the memory, by their step.
        left: for each gradient that was evicted, by its step, the step in which that happened.
        full: whether every slot is taken.
        caption: what happens, in a sentence.
    """

    step: int
    arriving: bool
    priorities: dict[int, float]
    left: dict[int, int]
    full: bool
    caption: str


def moments(norms: Sequence[float] = NORMS, topC: int = 2, decay: float = 0.5) -> list[Moment]:
    """Three moments for each gradient, and one before: it arrives, its fate is decided, decay.

    >>> [round(p, 3) for p in moments()[12].priorities.values()]  # the trace 4, 1, 3, 0.2
    [0.75, 0.25]
    """
    memory, left, found = CriticalGradients(topC, decay), dict[int, int](), list[Moment]()

    def note(step: int, caption: str, arriving: bool = False) -> None:
        steps = [int(gradient) for gradient in memory.gradients]
        priorities = dict(zip(steps, memory.priorities))
        full = len(priorities) == topC
        found.append(Moment(step, arriving, priorities, dict(left), full, caption))

    note(0, f"The memory is empty. It has {topC} slots.")
    for step, norm in enumerate(norms, 1):
        note(step, f"Step {step}: a gradient of norm {norm:g} arrives.", arriving=True)
        before = found[-1].priorities
        smallest = f"{min(before.values(), default=0):.3g}, the smallest priority in the memory"
        inserted = memory.insert(norm, torch.tensor(step))  # in place of the gradient, its step
        gone = before.keys() - {int(gradient) for gradient in memory.gradients}
        for other in gone:
            left[other] = step
            note(
                step,
                f"{norm:g} is more than {smallest}. So the memory inserts the new gradient and "
                f"evicts the {norms[other - 1]:g}.",
            )
        if not gone:
            note(
                step,
                "A slot is free, so the memory inserts it."
                if inserted
                else f"{norm:g} is not more than {smallest}. The memory rejects the new gradient.",
            )
        memory.fade()
        how = "is halved" if decay == 0.5 else f"is multiplied by {decay:g}"
        note(step, f"Priorities decay: each one in the memory {how}. The gradients stay as long.")
    return found


def kept(decay: float) -> list[float]:
    """The gradients in an optimizer's memory of two after the eight steps; largest priority first.

    >>> kept(0.5)
    [2.0, 0.3]
    """
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD_C([parameter], lr=0.1, topC=2, decay=decay)
    for norm in NORMS:
        parameter.grad = torch.full_like(parameter, norm)
        optimizer.step()
    return [gradient.item() for gradient in optimizer.memory(parameter).gradients]


def without_conflict(g: Tensor, other: Tensor) -> Tensor:
    """A task's gradient without the part that points against another's.

    >>> without_conflict(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0]))
    tensor([0.5000, 0.5000])
    """
    return g - min((g @ other) / (other @ other), torch.zeros(())) * other


#: Angles between the gradients of two tasks: five steps of usual agreement, then a conflict.
ANGLES = (80, 75, 70, 65, 70, 120)
#: The lengths of the two gradients.
LENGTHS = (1, 3)


class Meeting(NamedTuple):
    """What the vaccine did in a step.

    Attributes:
        gradients: shape (2, 2), a row for each task.
        vaccinated: shape (2, 2), the same after the vaccine.
        cosine: of the two gradients as they came.
        target: the cosine that the two tasks usually have, before this step.
    """

    gradients: Tensor
    vaccinated: Tensor
    cosine: float
    target: float


def meetings(
    angles: Sequence[float] = ANGLES, lengths: Sequence[float] = LENGTHS, beta: float = 0.5
) -> list[Meeting]:
    """Send the gradients of two tasks through the vaccine, step by step."""
    vaccine, found = GradVac(beta=beta), []
    for angle in angles:
        gradients = plane([0, angle], lengths)
        vaccine(gradients)
        report = vaccine.report
        assert report is not None  # there has been a call
        vaccinated = report.coefficients @ gradients
        target = report.targets[0, 1].item()
        found.append(Meeting(gradients, vaccinated, math.cos(math.radians(angle)), target))
    return found
