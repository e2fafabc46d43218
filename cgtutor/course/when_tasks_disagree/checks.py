"""The checks of the exercises of the notebook *when tasks disagree*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor.course.shared.check import NotYet, check
from cgtutor.course.shared.tasks import cosines

#: Wrong matrices that are often made of rows, by what to say about them.
_TYPICAL: dict[str, Callable[[Tensor], Tensor]] = {
    "these are dot products. Divide each by the lengths of its two gradients.": lambda j: j @ j.T,
    "each column was divided by its length. Gradients are rows: norm(dim=1, keepdim=True).": (
        lambda j: (j / j.norm(dim=0)) @ (j / j.norm(dim=0)).T
    ),
    "all was divided by the length of the whole matrix. Each row has a length of its own.": (
        lambda j: j @ j.T / j.norm() ** 2
    ),
    "you divided by the length of one gradient only, not of both.": (
        lambda j: j @ j.T / j.norm(dim=1)
    ),
    "you divided by squared lengths; the diagonal of J Jᵀ needs a square root.": (
        lambda j: _cosines(j) / j.norm(dim=1) / j.norm(dim=1, keepdim=True)
    ),
    "all is right but the diagonal: the cosine of a gradient with itself is 1.": (
        lambda j: _cosines(j).fill_diagonal_(0)
    ),
    "signs got lost; they tell agreement from conflict.": lambda j: _cosines(j).abs(),
    "these are 1 − cosine. The cosine itself is wanted.": lambda j: 1 - _cosines(j),
    "these are angles. Their cosines are wanted.": lambda j: _cosines(j).clamp(-1, 1).acos(),
}


@check()
def cosine_matrix(answer: Callable[[Tensor], Tensor]) -> str:
    """The cosines of all rows of a Jacobian with each other."""
    by_hand = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 2.0]])
    given = by_hand.clone()
    found = _square(answer(given), *by_hand.shape)
    if not _close(found, _cosines(by_hand)):
        which = "for the rows (3, 4), (4, −3) and (0, 2)"
        for message, wrong in _TYPICAL.items():
            if _close(found, wrong(by_hand)) or _close(found.T, wrong(by_hand)):
                raise NotYet(f"{which} {message}")
        right = _rounded(_cosines(by_hand))
        raise NotYet(f"{which} the cosines are {right}, and yours {_rounded(found)}.")
    if not torch.equal(given, by_hand):
        raise NotYet("the numbers are right, but the Jacobian itself was changed.")
    with_zero = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    found = answer(with_zero.clone())
    if found.isnan().any():
        raise NotYet(
            "right as long as no gradient is zero. With one, there is a NaN, which is 0 divided by "
            "0. Make it 0: torch.where, nan_to_num or clamp(min=...) can."
        )
    if not _close(found, _cosines(with_zero)):
        raise NotYet(
            "right as long as no gradient is zero. Next to a zero gradient every cosine should be "
            f"0, on the diagonal too, and yours are {_rounded(found)}."
        )
    small = 1e-5 * by_hand.double()
    if not _close(answer(small.clone()), _cosines(small)):
        raise NotYet(
            "right for ordinary gradients, but cosines must not depend on length, and for "
            "gradients 100,000 times as short yours are others. Was a fixed number added to the "
            "denominator?"
        )
    return "The case by hand, a zero gradient and very short gradients all come out."


def _cosines(jacobian: Tensor) -> Tensor:
    return cosines(jacobian @ jacobian.T)


def _square(found: Any, tasks: int, parameters: int) -> Tensor:
    if found is None:
        raise NotYet("cosine_matrix returns None; is the word `return` missing?")
    if not isinstance(found, Tensor):
        raise NotYet(f"return a tensor; this is a {type(found).__name__}.")
    if found.shape == (parameters, parameters):
        raise NotYet(
            "this compares columns, that is, parameters. Tasks are rows: jacobian @ jacobian.T has "
            "their dot products."
        )
    if found.shape != (tasks, tasks):
        raise NotYet(
            f"for {tasks} tasks and {parameters} parameters it returns the shape "
            f"{tuple(found.shape)}; a cosine for each pair of tasks makes ({tasks}, {tasks})."
        )
    return found


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(
        found.to(expected.dtype), expected, atol=1e-5
    )


def _rounded(values: Tensor) -> str:
    return str([[round(x, 2) for x in row] for row in values.tolist()])
