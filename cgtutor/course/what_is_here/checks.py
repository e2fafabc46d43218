"""The checks of notebook 00."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cgtutor.course.shared.check import NotYet, case, check
from cgtutor.course.what_is_here import study
from cgtutor.course.what_is_here.study import NORMS

DECAYS = (0.0, 0.5, 0.87, 1.0)


@check(
    hints=[
        "PyTorch's optimizers read a gradient from parameter.grad.",
        "parameter.grad = torch.tensor([norm]) makes a gradient of this norm.",
        "Write a loop over the norms. In it, set parameter.grad, then call optimizer.step().",
    ],
    errors={"size": "give the gradient the shape of the parameter: torch.tensor([norm])"},
)
def kept(answer: Callable[[float], Sequence[float]]) -> str:
    """A function from the decay to the two gradients in the memory after the eight steps."""
    for decay in DECAYS:
        with case(f"decay = {decay:g}"):
            _judge_kept(answer(decay), decay)
    return f"The optimizer's memory keeps the right two with all of {len(DECAYS)} decays."


def _judge_kept(found: object, decay: float) -> None:
    right = study.kept(decay)
    if found is None:
        raise NotYet("your function returns nothing.")
    if isinstance(found, Tensor):
        found = found.tolist()
    if not isinstance(found, list | tuple):
        raise NotYet(f"it should return a list of numbers, and not {type(found).__name__}.")
    values = [round(float(value), 5) for value in found]  # in single precision, too
    if not values:
        raise NotYet("the memory is empty. Does each gradient get a step of its own?")
    if len(values) == 1:
        how = "the last gradient" if values == [NORMS[-1]] else "only one gradient"
        raise NotYet(f"the memory has seen {how}. Does each gradient get a step of its own?")
    if len(values) > 2:
        raise NotYet(f"there are {len(values)} gradients, and the memory has two slots.")
    if sorted(values) != sorted(right):
        raise NotYet(f"the memory keeps {right}, and yours has {values}.")


@check(
    hints=[
        "Two gradients are in conflict where their dot product g @ other is negative.",
        "The part of g along other is (g @ other) / (other @ other) * other.",
        "Return g itself if g @ other >= 0, and otherwise g minus that part.",
    ],
    errors={"ambiguous": "compare the dot product g @ other, which is one number"},
)
def without_conflict(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """A function that takes from a gradient the part that points against another's."""
    for name, g, other in _pairs():
        with case(name):
            _judge_without(answer, g, other)
    return "Where the two are in conflict, a right angle is left; elsewhere nothing changes."


def _pairs() -> list[tuple[str, Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(0)
    long = torch.randn(2, 50, generator=draws, dtype=torch.float64)
    if long[0] @ long[1] > 0:
        long[1].neg_()

    def pair(*rows: list[float]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64)

    return [
        ("g = (2, 0) and other = (-1, 1)", *pair([2, 0], [-1, 1])),
        ("g = (1, 0) and other = (-3, 3)", *pair([1, 0], [-3, 3])),
        ("g = (2, 0) and other = (1, 1)", *pair([2, 0], [1, 1])),
        ("two gradients of 50 numbers", *long),
    ]


def _judge_without(answer: Callable[[Tensor, Tensor], Tensor], g: Tensor, other: Tensor) -> None:
    before = g.clone(), other.clone()
    found = answer(g, other)
    if not (torch.equal(g, before[0]) and torch.equal(other, before[1])):
        raise NotYet("your function changes its arguments. Return a new tensor: g - ..., not -=.")
    if found is None:
        raise NotYet("your function returns nothing.")
    if not isinstance(found, Tensor):
        raise NotYet(f"it should return a tensor, and not {type(found).__name__}.")
    if found.shape != g.shape:
        raise NotYet(
            f"it returns the shape {tuple(found.shape)}, and g has {tuple(g.shape)}. The dot "
            "product g @ other is one number; the part along other is that number times other."
        )
    found, right = found.to(g.dtype), study.without_conflict(g, other)
    if torch.allclose(found, right, atol=1e-9):
        return
    dot = g @ other
    if dot > 0:
        raise NotYet("these two agree, so g should stay as it is.")
    if torch.equal(found, g):
        raise NotYet("these two are in conflict (g @ other < 0), and g stayed as it is.")
    if torch.allclose(found, g + dot / (other @ other) * other, atol=1e-9):
        raise NotYet("the part along other was added. Subtract it.")
    if torch.allclose(found, g - dot * other, atol=1e-9):
        raise NotYet("divide the dot product by other @ other: a long other counts too much.")
    if torch.allclose(found, g - dot / other.norm() * other, atol=1e-9):
        raise NotYet("divide by the square of other's length, other @ other.")
    if torch.allclose(found, other - dot / (g @ g) * g, atol=1e-9):
        raise NotYet("this is other without its part along g. It should be g that changes.")
    left = (found @ other).item()
    raise NotYet(f"the dot product with other should be 0 afterwards, and it is {left:.3g}.")
