"""The checks of the exercises of the notebook *from a heap to a gpu*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor import CriticalGradients
from cgtutor.course.shared.check import NotYet, check

#: priorities (topC,), rows (topC, d), a norm (), a gradient (d,) -> new priorities, new rows
Insert = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

#: Norms, one a step, for topC = 2 and decay = 0.5.
_CASES: dict[str, list[float]] = {
    "with the norms 4, 1, 3, 0.2": [4, 1, 3, 0.2],
    "where nothing is large enough to enter": [8, 6, 1, 0.5],
    "where a newcomer merely equals the smallest and so must stay out": [4, 2, 1],
    "where every gradient enters": [1, 2, 3, 4, 5],
    "with a gradient that is zero": [8, 4, 0, 6],
    "with a NaN (and 0 times NaN is NaN)": [4, 1, float("nan"), 3],
    "with an infinite gradient": [4, float("inf"), 1, 3],
}
_ON_META = (
    "all numbers are right, but not on the device meta, where tensors have no values. Either a "
    "value is looked at, by `if`, `and`, `not`, `.item()`, `float(...)` or an index such as "
    "`priorities[slot]`, or a tensor was made on another device: arange takes "
    "device=priorities.device"
)


@check(errors={"must match": "for rows, write here[:, None]", "meta": _ON_META, "Meta": _ON_META})
def branch_free_insert(insert: Insert) -> str:
    """The heap's insertion on tensors, without a look at a value."""
    for case, norms in _CASES.items():
        memory = CriticalGradients(topC=2, decay=0.5)
        priorities, rows = torch.full((2,), -1.0), torch.zeros(2, 3)
        for step, size in enumerate(norms, start=1):
            norm, gradient = torch.tensor(float(size)), torch.tensor([0.6, 0.0, 0.8]) * size
            memory.insert(norm.item(), gradient)
            given = priorities.clone(), rows.clone()
            answer = insert(priorities, rows, norm, gradient)
            if not (torch.equal(priorities, given[0]) and torch.equal(rows, given[1])):
                raise NotYet("leave the tensors that come in as they are; make new ones.")
            priorities, rows = _two_tensors(answer)
            _compare(memory, priorities, rows, f"{case}: after insertion {step}")
            memory.fade()
            priorities = torch.where(priorities < 0, priorities, priorities / 2)
    insert(*(torch.empty(shape, device="meta") for shape in ((2,), (2, 3), (), (3,))))
    return f"The same as the heap in {len(_CASES)} cases, without a look at a value."


def _two_tensors(answer: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet("return two things, the new priorities and the new rows.")
    priorities, rows = answer
    if not isinstance(priorities, Tensor) or not isinstance(rows, Tensor):
        raise NotYet("the new priorities and the new rows must be two tensors.")
    if priorities.shape != (2,) or rows.shape != (2, 3):
        shapes = f"{tuple(priorities.shape)} and {tuple(rows.shape)}"
        raise NotYet(f"for the shapes (2,) and (2, 3) it returns {shapes}.")
    return priorities, rows


def _compare(memory: CriticalGradients, priorities: Tensor, rows: Tensor, when: str) -> None:
    filled = priorities != -1
    kept, expected = sorted(priorities[filled].tolist()), sorted(memory.priorities)
    if kept != expected:
        raise NotYet(f"{when} the filled slots have the priorities {kept}, the heap {expected}.")
    if {*map(tuple, rows[filled].tolist())} != {tuple(g.tolist()) for g in memory.gradients}:
        raise NotYet(f"{when} the priorities are right, but the rows hold other gradients.")
