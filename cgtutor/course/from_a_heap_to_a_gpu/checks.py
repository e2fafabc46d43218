"""The checks of the exercises of the notebook *from a heap to a gpu*."""

from collections.abc import Callable

import torch
from torch import Tensor

from cgtutor.course.shared.guard import guarded
from cgtutor.memory import CriticalGradients

#: priorities (topC,), rows (topC, d), a norm (), a gradient (d,) -> new priorities, new rows
Insert = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def branch_free_insert(insert: Insert) -> None:
    """Notebook 07: the heap's insertion on tensors, without a look at a value."""
    print(_branch_free_insert(insert))


@guarded
def _branch_free_insert(insert: Insert) -> str:
    cases: dict[str, list[float]] = {  # norms, one a step; topC = 2, decay = 0.5
        "with the norms 4, 1, 3, 0.2": [4, 1, 3, 0.2],
        "where nothing is large enough to enter": [8, 6, 1, 0.5],
        "where a newcomer merely equals the smallest and so must stay out": [4, 2, 1],
        "where every gradient enters": [1, 2, 3, 4, 5],
        "with a gradient that is zero": [0, 1, 0, 3],
        "with a NaN (and 0 times NaN is NaN)": [4, 1, float("nan"), 3],
        "with an infinite gradient": [4, float("inf"), 1, 3],
    }
    try:
        for case, norms in cases.items():
            memory = CriticalGradients(topC=2, decay=0.5)
            priorities, rows = torch.full((2,), -1.0), torch.zeros(2, 3)
            for step, size in enumerate(norms, start=1):
                gradient = torch.tensor([0.6, 0.0, 0.8]) * size
                norm = torch.tensor(float(size))
                memory.insert(norm.item(), gradient)
                given = priorities.clone(), rows.clone()
                answer = insert(priorities, rows, norm, gradient)
                if not isinstance(answer, tuple | list) or len(answer) != 2:
                    return "Not yet: give back two things, the new priorities and the new rows."
                if not all(torch.equal(a, b) for a, b in zip((priorities, rows), given)):
                    return "Not yet: leave the tensors that come in as they are; make new ones."
                priorities, rows = answer
                if not isinstance(priorities, Tensor) or not isinstance(rows, Tensor):
                    return "Not yet: the new priorities and the new rows must be two tensors."
                if priorities.shape != (2,) or rows.shape != (2, 3):
                    shapes = f"{tuple(priorities.shape)} and {tuple(rows.shape)}"
                    return f"Not yet: for (2,) and (2, 3) came back {shapes}."
                wrong = _against_heap(memory, priorities, rows)
                if wrong:
                    return f"Not yet: {case}: after insertion {step} {wrong}."
                memory.fade()
                priorities = torch.where(priorities < 0, priorities, priorities / 2)
    except Exception as error:  # whatever the answer does, the notebook goes on
        hint = " (For rows, write here[:, None].)" if "must match" in str(error) else ""
        return f"Not yet: it stopped with {type(error).__name__}: {error}{hint}"
    try:  # on this device tensors have shapes and no values
        insert(*(torch.empty(shape, device="meta") for shape in ((2,), (2, 3), (), (3,))))
    except Exception as error:
        return (
            "Not yet: all numbers are right, but not on a device where tensors have no values. "
            "Either a value is looked at (by `if`, `and`, `not`, `.item()`, `float(...)` or an "
            "index such as `priorities[slot]`), or a tensor was made on another device: "
            f"arange takes device=priorities.device. There it stopped with: {error}"
        )
    return f"Right! The same as the heap in {len(cases)} cases, without a look at a value."


def _against_heap(memory: CriticalGradients, priorities: Tensor, rows: Tensor) -> str:
    kept = sorted(p for p in priorities.tolist() if p != -1)
    expected = sorted(memory.priorities)
    if kept != expected:
        return f"the filled slots have the priorities {kept}, the heap {expected}"
    there = {tuple(row) for p, row in zip(priorities.tolist(), rows.tolist()) if p != -1}
    if there != {tuple(g.tolist()) for g in memory.gradients}:
        return "the priorities are right, but the rows hold other gradients than the heap"
    return ""
