r"""The memory of :mod:`cgtutor.memory` as stacked tensors, and its rule as tensor operations.

A heap decides for each parameter in Python, and Python can decide only on values it can read:
on a GPU every such read waits for the device. Here nothing needs to be read. A parameter's
memory is, in its state, under the names of :mod:`cgtutor._state`,

``critical_gradients``
    shape (topC, \*p.shape): one row, or *slot*, for each kept gradient, zeros where none is.
``critical_sum``
    shape (\*p.shape), float32 or wider: the sum of the rows, kept up to date by adding what
    is inserted and subtracting what is evicted, so that an aggregate costs the same for any topC.
priorities, births, norms, counts and drift
    the *ledger*: tensors on the parameter's device where no value is read, lists in Python
    where reading costs nothing (:func:`in_python`). A slot that is empty has the
    birth 0 and the priority 0, so it is the first to be used.

:func:`choose` decides for all parameters of a group at once: of the slots with the smallest
priority the oldest, and whether the newcomer takes its place. These are the rules of
:class:`.CriticalGradients`, and the same numbers.
"""

import heapq
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cgtutor._norms import norm, wide
from cgtutor._state import (
    BIRTHS,
    COUNTS,
    DRIFT,
    GRADIENTS,
    NORMS,
    PRIORITIES,
    SUM,
    Content,
    empty_rows,
    small_tensors,
    sum_dtype,
)
from cgtutor.memory import AGGREGATES, CriticalGradients

#: A parameter's state: what :mod:`cgtutor._state` names, beside torch's own entries.
Memory = dict[str, Any]

#: A sum is recomputed when its error may have come to this part of the kept gradients' norms.
TOLERANCE = 8e-6

#: Elements that are looked through at once when a memory is loaded.
_PART = 2**20


class Ledger(NamedTuple):
    """What is known of P parameters' slots beside the rows, each a tensor."""

    priorities: Tensor  #: shape (P, topC)
    births: Tensor  #: shape (P, topC)
    norms: Tensor  #: shape (P, topC)
    counts: Tensor  #: shape (P, 2): gradients seen, and gradients inserted
    drift: Tensor  #: shape (P,): a bound on the error of each sum


LEDGER = (PRIORITIES, BIRTHS, NORMS, COUNTS, DRIFT)  # the names of these in a memory


class Choice(NamedTuple):
    """What :func:`choose` decided, for P parameters: tensors of shape (P,), and the new ledger."""

    slot: Tensor  #: where the newcomer would be put
    enters: Tensor  #: whether it is inserted
    kept: Tensor  #: how many gradients were in memory before
    stale: Tensor  #: whether the sum's error may have come to TOLERANCE
    ledger: Ledger  #: the ledger after this step


def empty(p: Tensor, topC: int, dtype: torch.dtype) -> Memory:
    """A memory for p with room for topC gradients of a dtype."""
    with torch.inference_mode(False):  # for what may be updated in place later
        small = {PRIORITIES: topC * [0.0], BIRTHS: topC * [0], NORMS: topC * [0.0]}
        return {
            GRADIENTS: empty_rows(p, topC, dtype),
            SUM: empty_rows(p, 1, sum_dtype(dtype))[0],
            **small_tensors({**small, COUNTS: [0, 0], DRIFT: 0.0}, p.device),
        }


def in_python(memory: Memory) -> Memory:
    """The ledger of a memory as a step on the CPU has it.

    Priorities, births and slots are a heap, as in :class:`.CriticalGradients`: a list of
    (priority, birth, slot). It is never changed in place, so that memories may share it.
    """
    priorities, births, norms, counts, drift = (memory[name].tolist() for name in LEDGER)
    slots = range(len(births))
    heap = [entry for entry in zip(priorities, births, slots) if entry[1]]
    heapq.heapify(heap)
    return {PRIORITIES: heap, BIRTHS: None, NORMS: norms, COUNTS: counts, DRIFT: drift}


def by_slot(memory: Memory) -> Memory:
    """The ledger of a memory with an entry for each slot; tensors are left as they are."""
    ledger = {name: memory[name] for name in LEDGER}
    if not isinstance(memory[DRIFT], Tensor):
        count = len(memory[NORMS])
        ledger[PRIORITIES], ledger[BIRTHS] = [0.0] * count, [0] * count
        for priority, born, slot in memory[PRIORITIES]:
            ledger[PRIORITIES][slot], ledger[BIRTHS][slot] = priority, born
    return ledger


def on_device(memory: Memory, device: torch.device) -> None:
    """Make the ledger of a memory tensors, unless it is already."""
    if not isinstance(memory[DRIFT], Tensor):
        with torch.inference_mode(False):  # for what may be updated in place later
            memory.update(small_tensors(by_slot(memory), device))


def choose(
    ledger: Ledger, priority: Tensor, norm: Tensor, decay: float, largest: float, unit: float
) -> Choice:
    """Offer one gradient to each of P memories, and let all priorities decay.

    Nothing here depends on a value in Python, so it can be captured, compiled and queued.

    Args:
        ledger: of the P memories.
        priority: of the newcomers, shape (P,).
        norm: of the newcomers, shape (P,).
        decay: factor for every stored priority.
        largest: a gradient with a larger norm is rejected, because a row could not hold it.
        unit: unit roundoff of the sums.
    """
    stored, born, norms, counts, drift = ledger
    lowest = stored.amin(1, keepdim=True)
    # births as floats, for devices that cannot compare integers
    slot = born.to(stored.dtype).masked_fill(stored != lowest, torch.inf).argmin(1)
    enters = (priority > lowest[:, 0]) & (priority < torch.inf) & (norm <= largest)  # NaN: False
    counts = counts + torch.stack([torch.ones_like(enters), enters], 1)

    taken = torch.arange(stored.shape[1], device=slot.device) == slot[:, None]
    taken = taken & enters[:, None]
    priorities, births, lengths = (
        torch.where(taken, new[:, None], old)
        for new, old in ((priority, stored), (counts[:, 0], born), (norm, norms))
    )
    # One rounding of what is left of the sum and one of the new sum: neither is longer than
    # the norms together.
    before, after = norms.sum(1), lengths.sum(1)
    drift = drift + torch.where(enters, torch.maximum(before, after) * (2 * unit), 0)
    stale = drift > TOLERANCE * after
    ledger = Ledger(priorities * decay, births, lengths, counts, drift.masked_fill(stale, 0))
    return Choice(slot, enters, (born > 0).sum(1), stale, ledger)


def together(memories: list[Memory]) -> Ledger:
    """The ledgers of memories as one."""
    return Ledger(*[torch.stack([memory[name] for memory in memories]) for name in LEDGER])


def apart(memories: list[Memory], ledger: Ledger) -> None:
    """Write a ledger back into those of its memories."""
    for name, values in zip(LEDGER, ledger):
        torch._foreach_copy_([memory[name] for memory in memories], list(values.unbind(0)))


def limits(group: dict[str, Any], memories: list[Memory]) -> tuple[float, list[float]]:
    """The largest norm that is inserted, and the unit roundoff of each sum.

    A gradient is too large if a row could not hold it, or the sum not a memory full of its kind.
    """
    kinds = [torch.finfo(memory[SUM].dtype) for memory in memories]
    largest = min(kind.max for kind in kinds) / group["topC"]
    if group["buffer_dtype"] is not None:
        largest = min(largest, torch.finfo(group["buffer_dtype"]).max)
    return largest, [kind.eps / 2 for kind in kinds]


def weights(kept: Tensor, aggr: str, kappa: float) -> tuple[Tensor, Tensor]:
    """For P memories the weight of the gradient at hand and that of the sum: the aggregate's."""
    own, each = AGGREGATES[aggr](kept.clamp(min=1).to(wide(kept.device)))
    one = torch.ones_like(each)
    return torch.where(kept > 0, own * one, one), kappa * each


def aggregate(gradient: Tensor, total: Tensor, own: Tensor, each: Tensor) -> Tensor:
    """``own * gradient + each * total``, in the gradient's dtype."""
    precise = gradient.to(torch.promote_types(gradient.dtype, total.dtype))
    return torch.addcmul(precise * own, total.to(precise.dtype), each).to(gradient.dtype)


def replace(
    gradients: Tensor,
    total: Tensor,
    gradient: Tensor,
    slot: Tensor,
    enters: Tensor | None = None,
) -> None:
    """Put a gradient into a slot; if ``enters`` is given, only where it is true: without a branch.

    The condition selects values and is not multiplied with them: 0 times NaN would be NaN.
    """
    old = gradients.index_select(0, slot.reshape(1))
    new = gradient.to(old.dtype)[None]
    if enters is not None:
        new = torch.where(enters, new, old)
    total.add_((new.to(total.dtype) - old.to(total.dtype))[0])
    gradients.index_copy_(0, slot.reshape(1), new)


def resum(gradients: Tensor, total: Tensor) -> None:
    """Recompute a sum from its rows."""
    torch.sum(gradients, 0, dtype=total.dtype, out=total)


def resum_part(gradients: Tensor, total: Tensor, step: Tensor, parts: int) -> None:
    """Recompute one of so many parts of a sum, in turn with the steps: without a branch."""
    if total.numel() <= 1024:  # the sum of all is as cheap
        total.copy_(gradients.sum(0, dtype=total.dtype))
        return
    count = total.numel()
    if total.dim() > 1:  # dense, in whatever order of dimensions
        gradients = gradients.as_strided((len(gradients), count), (count, 1))
        total = total.as_strided((count,), (1,))
    width = -(-count // parts)
    index = (step.long() % parts) * width + torch.arange(width, device=total.device)
    index.clamp_(max=count - 1)  # the last part may be shorter
    total.index_copy_(0, index, gradients.index_select(1, index).sum(0, dtype=total.dtype))


def resized(memory: Memory, p: Tensor, topC: int, dtype: torch.dtype) -> Memory:
    """The same memory with another number of slots, or another dtype of rows.

    With fewer slots the smallest priorities are evicted, of equals the oldest.
    """
    new, old = empty(p, topC, dtype), small_tensors(by_slot(memory), p.device)
    order = old[BIRTHS].argsort(descending=True)
    order = order[old[PRIORITIES][order].argsort(descending=True, stable=True)][:topC]
    new[GRADIENTS][: len(order)] = memory[GRADIENTS][order.to(memory[GRADIENTS].device)]
    for name in (PRIORITIES, BIRTHS, NORMS):
        new[name][: len(order)] = old[name][order]
    for name in (COUNTS, DRIFT):
        new[name].copy_(old[name])
    resum(new[GRADIENTS], new[SUM])
    return new


def fill_heap(memory: Memory, heap: CriticalGradients) -> CriticalGradients:
    """Fill an empty heap with the content of a memory; it shares the rows."""
    ledger, rows = memory, memory[GRADIENTS]
    if isinstance(memory[DRIFT], Tensor):
        ledger = in_python(memory)
    heap.heap = [(priority, born, rows[slot]) for priority, born, slot in ledger[PRIORITIES]]
    heap.seen, heap.inserted = ledger[COUNTS]
    return heap


def from_content(content: Content, p: Tensor, topC: int) -> Memory:
    """A memory from what was saved of it; of a heap with fewer gradients, with room for topC."""
    rows = content.rows
    dtype = rows[0].dtype if rows else p.dtype
    for row in rows:
        dtype = torch.promote_types(dtype, row.dtype)
    memory = empty(p, len(rows) if content.total is not None else max(topC, len(rows)), dtype)
    for i, (row, born) in enumerate(zip(rows, content.births)):
        if born:  # whatever else is there is not taken over
            memory[GRADIENTS][i].copy_(row)
    absent = len(memory[GRADIENTS]) - len(rows)
    for name, values, zero in (
        (PRIORITIES, content.priorities, 0.0),
        (BIRTHS, content.births, 0),
        (NORMS, content.norms, 0.0),
    ):
        memory[name].copy_(torch.tensor([*values, *absent * [zero]], dtype=memory[name].dtype))
    memory[COUNTS].copy_(torch.tensor([content.seen, content.inserted]))
    if content.total is None:
        resum(memory[GRADIENTS], memory[SUM])
        return memory
    # what was saved must go on to the bit, unless it was left to drift
    memory[SUM].copy_(content.total)
    memory[DRIFT].fill_(content.drift)
    if _error(memory[GRADIENTS], memory[SUM]) > TOLERANCE * sum(content.norms):
        resum(memory[GRADIENTS], memory[SUM])
        memory[DRIFT].zero_()
    return memory


def _error(rows: Tensor, total: Tensor) -> float:
    """The norm of what a sum is off by, computed in parts: a load has no memory to waste."""
    if total.is_contiguous():
        rows, total = rows.view(len(rows), total.numel()), total.view(-1)
    parts = zip(torch.split(rows, _PART, 1), torch.split(total, _PART))
    return math.hypot(*(norm(some.sum(0, dtype=part.dtype) - part).item() for some, part in parts))
