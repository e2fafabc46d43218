r"""What a memory looks like in a checkpoint: one form for all optimizers.

In ``optimizer.state_dict()["state"][i]``, beside the entries of the torch optimizer, there are
for a parameter p, on its device:

==========================  ===============  ================================================
``critical_gradients``      (topC, \*shape)  a row for each kept gradient, zeros where none is
``critical_priorities``     (topC,) float64  their priorities
``critical_births``         (topC,) int64    at which gradient each was inserted, 0: none is
``critical_norms``          (topC,) float64  their norms
``critical_counts``         (2,) int64       gradients seen, and gradients inserted
``critical_sum``            (\*shape)        the sum of the rows, in float32 or wider
``critical_drift``          () float64       a bound on the rounding error of that sum
==========================  ===============  ================================================

Tensors of fixed shapes under plain names are all that torch's checkpoint functions ask for.
These functions also read the names from ``optimizer.state`` itself, so the same names stand
there, whatever is under them while a training runs. (Where a device has no float64, float32
takes its place.)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cgtutor._norms import norms, wide
from cgtutor.memory import CriticalGradients

GRADIENTS = "critical_gradients"
PRIORITIES = "critical_priorities"
BIRTHS = "critical_births"
NORMS = "critical_norms"
COUNTS = "critical_counts"
SUM = "critical_sum"
DRIFT = "critical_drift"
NAMES = (GRADIENTS, PRIORITIES, BIRTHS, NORMS, COUNTS, SUM, DRIFT)


class Content(NamedTuple):
    """What was saved of one memory: checked, and still the caller's own tensors."""

    rows: Sequence[Tensor]  #: one for each slot
    priorities: list[float]
    births: list[int]
    norms: list[float]
    seen: int
    inserted: int
    total: Tensor | None  #: the sum, where it was saved
    drift: float

    def kept(self) -> list[tuple[float, int, Tensor]]:
        """(priority, born, row) of the slots that hold a gradient, the next to go first."""
        entries = [e for e in zip(self.priorities, self.births, self.rows) if e[1]]
        return sorted(entries, key=lambda entry: entry[:2])


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """In what precision gradients of a dtype are added up."""
    return torch.promote_types(dtype, torch.float32)


def empty_rows(p: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    r"""Zeros of shape (count, \*p.shape), each row in the layout of p itself."""
    strides, numel = torch.empty_like(p, device="meta").stride(), p.numel()
    flat = torch.zeros(count * numel, dtype=dtype, device=p.device)
    return flat.as_strided((count, *p.shape), (numel, *strides))


def small_tensors(state: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    """The entries other than rows and sum as tensors: those that are none are made ones."""
    kinds = {PRIORITIES: wide(device), BIRTHS: torch.int64, NORMS: wide(device)}
    kinds |= {COUNTS: torch.int64, DRIFT: wide(device)}
    return {
        name: state[name]
        if isinstance(state[name], Tensor)
        else torch.tensor(state[name], dtype=dtype, device=device)
        for name, dtype in kinds.items()
    }


def as_heap(memory: CriticalGradients) -> dict[str, Any]:
    """A memory's content under the names of a checkpoint: its heap as it is, and its counts."""
    # the other names only have to be there
    return {
        **dict.fromkeys(NAMES),
        GRADIENTS: memory.heap,
        COUNTS: [memory.seen, memory.inserted],
    }


def from_heap(state: dict[str, Any], memory: CriticalGradients) -> CriticalGradients:
    """Fill an empty memory with such a content; it shares the gradients, and not the heap."""
    memory.heap = state[GRADIENTS][:]
    memory.seen, memory.inserted = state[COUNTS]
    return memory


def stacked(memory: CriticalGradients, p: Tensor) -> dict[str, Tensor]:
    """What is saved of a heap: its ``topC`` largest, stacked."""
    topC, gradients = memory.topC, memory.gradients[: memory.topC]
    dtype = gradients[0].dtype if gradients else p.dtype
    for gradient in gradients:
        dtype = torch.promote_types(dtype, gradient.dtype)
    rows = empty_rows(p, topC, dtype)
    for row, gradient in zip(rows, gradients):
        row.copy_(gradient)
    absent = topC - len(gradients)
    small = {
        PRIORITIES: memory.priorities[:topC] + absent * [0.0],
        BIRTHS: [memory.seen - age for age in memory.ages[:topC]] + absent * [0],
        NORMS: norms(gradients) + absent * [0.0],
        COUNTS: [memory.seen, memory.inserted],
        DRIFT: 0.0,
    }
    total = rows.sum(0, dtype=sum_dtype(dtype))
    return {GRADIENTS: rows, SUM: total, **small_tensors(small, p.device)}
