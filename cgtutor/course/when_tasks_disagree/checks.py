"""The checks of the exercises of the notebook *when tasks disagree*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor.course.shared.guard import guarded
from cgtutor.course.shared.tasks import cosines


def cosine_matrix(answer: Callable[[Tensor], Tensor]) -> None:
    """Notebook 08: the cosines of all rows of a Jacobian with each other."""
    print(_cosine_matrix(answer))


@guarded
def _cosine_matrix(answer: Callable[[Tensor], Tensor]) -> str:
    by_hand = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 2.0]])
    try:
        found = answer(by_hand.clone())
        wrong = _not_a_square(found, *by_hand.shape)
        if wrong:
            return wrong
        expected = cosines(by_hand @ by_hand.T)
        if not _close(found, expected):
            return "Not yet: for the rows (3, 4), (4, −3) and (0, 2) " + _which_cosines(
                found, by_hand
            )
        given = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
        found = answer(given.clone())
        if found.isnan().any():
            return (
                "Not yet: right as long as no gradient is zero. With one, there is a NaN, which is "
                "0 divided by 0. Make it 0: torch.where, nan_to_num or clamp(min=...) can."
            )
        if not _close(found, cosines(given @ given.T)):
            return (
                "Not yet: right as long as no gradient is zero. Next to a zero gradient every "
                f"cosine should be 0, on the diagonal too, and yours are {_rounded(found)}."
            )
        small = 1e-5 * by_hand.double()
        if not _close(answer(small.clone()), expected.double()):
            return (
                "Not yet: right for ordinary gradients, but cosines must not depend on length, and "
                "for gradients 100,000 times as short yours are others. Was a fixed number added "
                "to the denominator?"
            )
        keep = by_hand.clone()
        answer(keep)
        if not torch.equal(keep, by_hand):
            return "Not yet: the numbers are right, but the Jacobian itself was changed."
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: it stopped with {type(error).__name__}: {error}"
    return "Right! The case by hand, a zero gradient and very short gradients all come out."


def _not_a_square(found: Any, tasks: int, parameters: int) -> str:
    """What is wrong with the kind or the shape of an answer; empty if nothing is."""
    if found is None:
        return "Not yet: cosine_matrix gives back None; is the word `return` missing?"
    if not isinstance(found, Tensor):
        return f"Not yet: give back a tensor; this is a {type(found).__name__}."
    if found.shape == (parameters, parameters):
        return (
            "Not yet: this compares columns, that is, parameters. Tasks are rows: "
            "jacobian @ jacobian.T has their dot products."
        )
    if found.shape != (tasks, tasks):
        return (
            f"Not yet: for {tasks} tasks and {parameters} parameters came back the shape "
            f"{tuple(found.shape)}; a cosine for each pair of tasks makes ({tasks}, {tasks})."
        )
    return ""


def _which_cosines(found: Tensor, rows: Tensor) -> str:
    gramian = rows @ rows.T
    norms = rows.norm(dim=1)
    right = cosines(gramian)
    columns = rows / rows.norm(dim=0)
    whole = rows / rows.norm()
    typical: list[tuple[Tensor, str]] = [
        (gramian, "these are dot products. Divide each by the lengths of its two gradients."),
        (
            columns @ columns.T,
            "each column was divided by its length. Gradients are rows: norm(dim=1, keepdim=True).",
        ),
        (
            whole @ whole.T,
            "all was divided by the length of the whole matrix. Each row has a length of its own.",
        ),
        (gramian / norms[:, None], "you divided by the length of one gradient only, not of both."),
        (gramian / norms, "you divided by the length of one gradient only, not of both."),
        (
            gramian / (norms[:, None] * norms).square(),
            "you divided by squared lengths; the diagonal of J Jᵀ needs a square root.",
        ),
        (
            right - right.diag().diag(),
            "all is right but the diagonal: the cosine of a gradient with itself is 1.",
        ),
        (right.abs(), "signs got lost; they tell agreement from conflict."),
        (1 - right, "these are 1 − cosine. The cosine itself is wanted."),
        (right.clamp(-1, 1).acos(), "these are angles. Their cosines are wanted."),
    ]
    for wrong, message in typical:
        if _close(found, wrong):
            return message
    return f"the cosines are {_rounded(right)}, and yours {_rounded(found)}."


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(
        found.to(expected.dtype), expected, atol=1e-5
    )


def _rounded(values: Tensor) -> str:
    return str([[round(x, 2) for x in row] for row in values.tolist()])
