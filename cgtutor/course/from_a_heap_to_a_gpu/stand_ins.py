"""What does the work in the notebook *from a heap to a gpu* while an exercise is open."""

import torch
from torch import Tensor


def launches(tensors: int, topC: int) -> int:
    """The operations of a step of SGD_C that inserts its gradient into a full memory."""
    return 3 + tensors * (topC + 2)


def choose(priorities: Tensor, births: Tensor, priority: Tensor) -> tuple[Tensor, Tensor]:
    """The slot for a gradient, shape (), and whether it is inserted, without a look."""
    smallest = priorities.amin()
    slot = torch.where(priorities == smallest, births, torch.inf).argmin()
    enters = (priority > smallest) & (priority < torch.inf)
    return slot, enters


def replace(rows: Tensor, total: Tensor, slot: Tensor, enters: Tensor, gradient: Tensor) -> None:
    """Write a row if its gradient is inserted, and bring the rows' sum up to date, in place."""
    at = slot.reshape(1)
    old = rows.index_select(0, at)[0]
    new = torch.where(enters, gradient, old)
    total += new - old
    rows.index_copy_(0, at, new[None])
