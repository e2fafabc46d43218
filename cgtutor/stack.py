r"""The memory of :mod:`cgtutor.memory` without a heap: stacked tensors and one small table.

A heap takes a decision for each parameter in Python, and Python can decide only on what it can
see: on a GPU every look at a priority waits for the device. Here nothing needs to be looked at.
A parameter's memory is three tensors on the parameter's device:

``gradients``
    shape (topC, \*p.shape): one row, or *slot*, for each kept gradient, zeros where none is.
``sum``
    shape (\*p.shape), float32 or wider: the sum of the rows, kept up to date by adding what
    comes and subtracting what goes, so that an aggregate costs the same for any topC.
``ledger``
    shape (topC + 1, 3), float64: priority, step of birth and norm for each slot (an empty one
    has the priority -1), then one last row: gradients seen, accepted, and a bound on the error
    of ``sum`` so far.

:func:`choose` decides for all parameters of a group at once: of the slots with the smallest
priority the oldest, and whether the newcomer takes its place. These are the rules of
:class:`.CriticalGradients`, and the same numbers.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cgtutor.memory import AGGREGATES, checked_state

PRIORITY, BORN, NORM = range(3)  # the columns of a slot in the ledger
SEEN, ACCEPTED, DRIFT = range(3)  # and those of its last row
EMPTY = -1.0

#: A sum is made anew when its error may have come to this part of the kept gradients' norms.
TOLERANCE = 8e-6


#: A ledger in Python: priorities, births and norms of the slots, and the last row.
Ledger = list[list[float]]


class Choice(NamedTuple):
    """What :func:`choose` decided, for P parameters: tensors of shape (P,), and the new ledgers."""

    slot: Tensor  #: where the newcomer would go
    enters: Tensor  #: whether it does
    kept: Tensor  #: how many gradients were in memory before
    stale: Tensor  #: whether the sum's error may have come to TOLERANCE
    ledger: Tensor  #: the ledgers after this step, shape (P, topC + 1, 3)


def empty(p: Tensor, topC: int, dtype: torch.dtype) -> dict[str, Any]:
    """A memory for p with room for topC gradients of a dtype."""
    # in the layout of p itself
    strides, count = torch.empty_like(p, device="meta").stride(), p.numel()

    def zeros(rows: int, dtype: torch.dtype) -> Tensor:
        flat = torch.zeros(rows * count, dtype=dtype, device=p.device)
        return flat.as_strided((rows, *p.shape), (count, *strides))

    with torch.inference_mode(False):  # for what may be updated in place later
        ledger = torch.zeros(topC + 1, 3, dtype=wide(p.device), device=p.device)
        ledger[:-1, PRIORITY] = EMPTY
        total = zeros(1, _sum_dtype(dtype))[0]
        return {"gradients": zeros(topC, dtype), "sum": total, "ledger": ledger}


def wide(device: torch.device) -> torch.dtype:
    """The widest floating-point type of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def norm(gradient: Tensor) -> Tensor:
    """:func:`.memory.norms` of one gradient as a tensor, without a look at it."""
    real = torch.view_as_real(gradient.resolve_conj()) if gradient.is_complex() else gradient
    return torch.linalg.vector_norm(real, dtype=wide(gradient.device))


def choose(
    ledger: Tensor, priority: Tensor, norm: Tensor, decay: float, largest: float, unit: float
) -> Choice:
    """Offer one gradient to each of P memories, and fade all priorities.

    Nothing here depends on a value in Python, so it can be captured, compiled and queued.

    Args:
        ledger: the P ledgers, shape (P, topC + 1, 3).
        priority: of the newcomers, shape (P,).
        norm: of the newcomers, shape (P,).
        decay: factor for every stored priority.
        largest: a gradient with a larger norm stays out, because a row could not hold it.
        unit: unit roundoff of the sums.
    """
    stored, born, norms = ledger[:, :-1].unbind(-1)
    seen, accepted, drift = ledger[:, -1].unbind(-1)

    lowest = stored.amin(1, keepdim=True)
    slot = born.masked_fill(stored != lowest, torch.inf).argmin(1)
    enters = (priority > lowest[:, 0]) & (priority < torch.inf) & (norm <= largest)  # NaN: False
    seen, accepted = seen + 1, accepted + enters

    taken = torch.arange(stored.shape[1], device=slot.device) == slot[:, None]
    taken = taken & enters[:, None]
    newcomers = [
        torch.where(taken, new[:, None], old)
        for new, old in ((priority, stored), (seen, born), (norm, norms))
    ]
    faded = torch.where(newcomers[0] < 0, newcomers[0], newcomers[0] * decay)

    # One rounding of what is left of the sum and one of the new sum: neither is longer than
    # the norms together.
    before, after = norms.sum(1), newcomers[2].sum(1)
    drift = drift + enters * (2 * unit) * torch.maximum(before, after)
    stale = drift > TOLERANCE * after
    counts = torch.stack([seen, accepted, drift.masked_fill(stale, 0)], 1)
    slots = torch.stack([faded, newcomers[1], newcomers[2]], 2)
    return Choice(slot, enters, (stored >= 0).sum(1), stale, torch.cat([slots, counts[:, None]], 1))


def offer(
    ledgers: list[Ledger],
    priorities: list[float],
    norms: list[float],
    decay: float,
    largest: float,
    units: list[float],
) -> list[tuple[int, bool, int, bool, Ledger]]:
    """:func:`choose` in Python, which is the faster where looking costs nothing.

    Returns:
        For each parameter slot, enters, kept, stale and the new ledger. The lists given are not
        changed, so that parameters whose memories agree can share theirs, and one decision.
    """
    outcomes = []
    agreed: Any = None
    for (stored, born, lengths, (seen, accepted, drift)), priority, norm, unit in zip(
        ledgers, priorities, norms, units
    ):
        fits = norm <= largest
        if agreed != (stored, born, seen, priority, fits):
            agreed = (stored, born, seen, priority, fits)
            slot, kept = _smallest(stored, born), len(stored) - stored.count(EMPTY)
            enters = fits and stored[slot] < priority < math.inf  # NaN: False
            faded, births = [s * decay if s > 0 else s for s in stored], born
            if enters:
                births = born[:]
                faded[slot], births[slot] = priority * decay, seen + 1
        stale = False
        if enters:
            before, lengths = sum(lengths), lengths[:]
            lengths[slot] = norm
            after = sum(lengths)
            accepted, drift = accepted + 1, drift + 2 * unit * max(before, after)
            if stale := drift > TOLERANCE * after:
                drift = 0.0
        ledger = [faded, births, lengths, [seen + 1, accepted, drift]]
        outcomes.append((slot, enters, kept, stale, ledger))
    return outcomes


def _smallest(stored: list[float], born: list[float]) -> int:
    lowest = min(stored)
    if lowest != EMPTY and stored.count(lowest) > 1:
        return min((b, i) for i, (s, b) in enumerate(zip(stored, born)) if s == lowest)[1]
    return stored.index(lowest)


def in_python(ledger: Tensor | Ledger) -> Ledger:
    """A ledger as lists of Python numbers."""
    if not isinstance(ledger, Tensor):
        return ledger
    *slots, counts = ledger.tolist()
    return [*map(list, zip(*slots)), counts]


def on_device(ledger: Tensor | Ledger, device: torch.device) -> Tensor:
    """A ledger as a tensor."""
    if isinstance(ledger, Tensor):
        return ledger
    *columns, counts = ledger
    with torch.inference_mode(False):  # for what may be updated in place later
        return torch.tensor([*zip(*columns), counts], dtype=wide(device), device=device)


def limits(
    group: dict[str, Any], memories: list[dict[str, Any]]
) -> tuple[float, float, list[float]]:
    """What :func:`choose` and :func:`offer` take beside the newcomers.

    A gradient is too large if a row could not hold it, or the sum not a memory full of its kind.
    """
    largest = min(torch.finfo(m["sum"].dtype).max for m in memories) / group["topC"]
    if group["buffer_dtype"] is not None:
        largest = min(largest, torch.finfo(group["buffer_dtype"]).max)
    return group["decay"], largest, [torch.finfo(m["sum"].dtype).eps / 2 for m in memories]


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
    """Make a sum anew from its rows."""
    torch.sum(gradients, 0, dtype=total.dtype, out=total)


def resum_part(gradients: Tensor, total: Tensor, step: Tensor, parts: int) -> None:
    """Make one of so many parts of a sum anew, in turn with the steps: without a branch."""
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


def resized(
    memory: dict[str, Tensor], p: Tensor, topC: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The same memory with another number of slots, or another dtype of rows.

    With fewer slots the smallest priorities go, of equals the oldest.
    """
    new = empty(p, topC, dtype)
    ledger = on_device(memory["ledger"], p.device)
    slots = ledger[:-1]
    order = slots[:, BORN].argsort(descending=True)
    order = order[slots[order, PRIORITY].argsort(descending=True, stable=True)][:topC]
    new["gradients"][: len(order)] = memory["gradients"][order.to(memory["gradients"].device)]
    new["ledger"][: len(order)] = slots[order]
    new["ledger"][-1] = ledger[-1]
    resum(new["gradients"], new["sum"])
    return new


def as_heap(memory: dict[str, Any]) -> dict[str, Any]:
    """The content in the form that :class:`.CriticalGradients` has: a copy."""
    stored, born, _, (seen, accepted, _) = in_python(memory["ledger"])
    entries = [
        (priority, int(step), memory["gradients"][i].clone())
        for i, (priority, step) in enumerate(zip(stored, born))
        if priority != EMPTY
    ]
    entries.sort(key=lambda entry: entry[:2])  # a sorted list is a heap
    return {"heap": entries, "seen": int(seen), "accepted": int(accepted)}


def from_heap(
    state: dict[str, Any], p: Tensor, topC: int, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The content of a heap in this form, with room for topC, or for more if it keeps more."""
    heap = state["heap"]
    for _, _, gradient in heap if dtype is None else []:
        dtype = torch.promote_types(dtype or gradient.dtype, gradient.dtype)
    memory = empty(p, max(topC, len(heap)), dtype or p.dtype)
    for i, (priority, born, gradient) in enumerate(heap):
        memory["gradients"][i] = gradient
        memory["ledger"][i] = torch.tensor([priority, born, norm(gradient)], dtype=wide(p.device))
    counts = [state["seen"], state["accepted"], 0.0]
    memory["ledger"][-1] = torch.tensor(counts, dtype=wide(p.device))
    resum(memory["gradients"], memory["sum"])
    return memory


def checked(name: str, saved: Any, p: Tensor) -> dict[str, Tensor]:
    """A parameter's memory that was saved in this form, fit to go on with, on p's device.

    Raises:
        ValueError: it is not the content of a memory, or not of this parameter's.
    """
    try:
        memory = {k: saved[k].to(p.device).clone() for k in ("gradients", "sum")}  # none expanded
        ledger = on_device(saved["ledger"], p.device)
        memory["ledger"] = ledger = ledger.to(p.device, wide(p.device))
        filled = ledger[:-1, PRIORITY] != EMPTY
        memory["gradients"][~filled] = 0
        heap = as_heap(memory)
        sound = (
            ledger.shape == (len(memory["gradients"]) + 1, 3)
            and memory["sum"].shape == memory["gradients"].shape[1:]
            and memory["sum"].dtype == _sum_dtype(memory["gradients"].dtype)
            and bool(ledger.isfinite().all() and memory["sum"].isfinite().all())
            and bool((ledger[:-1, NORM] >= 0).all() and ledger[-1, DRIFT] >= 0)
        )
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise ValueError(
            f"{name} must hold gradients, sum and ledger, tensors that fit together, "
            f"got {saved!r:.200}"
        ) from e
    checked_state(name, heap, p)
    if not sound:
        shapes = {k: (tuple(v.shape), v.dtype) for k, v in memory.items()}
        raise ValueError(
            f"{name} must hold finite gradients (topC, *shape), a sum of this shape in float32 or "
            f"wider, and a ledger (topC + 1, 3), got {shapes} or values that are none"
        )
    # what was saved must go on to the bit, unless it was left to drift
    exact = memory["gradients"].sum(0, dtype=memory["sum"].dtype)
    if norm(memory["sum"] - exact) > TOLERANCE * ledger[:-1, NORM].sum():
        memory["sum"], ledger[-1, DRIFT] = exact, 0
    return memory
