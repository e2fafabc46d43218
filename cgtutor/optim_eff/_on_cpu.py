"""The step where reading a value costs nothing: on the CPU.

Decisions are taken in Python, rows that stay as they are stay untouched, and the work goes piece
by piece, so that each element is fetched from memory as few times as possible.
"""

import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cgtutor._norms import norms, sum_of_norms
from cgtutor._state import BIRTHS, COUNTS, DRIFT, NORMS, PRIORITIES, SUM, small_tensors
from cgtutor.memory import AGGREGATES, CriticalGradients
from cgtutor.optim_eff import _rows
from cgtutor.optim_eff._pieces import Lists, Piece, cut
from cgtutor.optim_eff._rows import Memory

#: Elements of a piece of work: what it touches stays in the caches.
PIECE = 2**20

_FULL = (torch.float32, torch.float64)


class _Scratch(threading.local):
    """Memory that is used again and again, for each thread its own."""

    def __init__(self) -> None:
        self.tensors: dict[torch.dtype, Tensor] = {}


_scratch = _Scratch()


class Outcome(NamedTuple):
    """What became of one parameter's gradient."""

    slot: int | None  #: where it was put; None: it was rejected
    kept: int  #: how many gradients were in memory before
    stale: bool  #: whether the sum's error may have come to TOLERANCE
    ledger: Memory  #: the entries of the ledger after this step


def step_on_cpu(
    group: dict[str, Any],
    lists: Lists,
    memories: list[Memory],
    update: Callable[..., None],
    scaled: bool = False,
) -> None:
    """A step of one group, in which rows that stay as they are stay untouched.

    Args:
        group: the parameter group.
        lists: its parameters that have a gradient, their gradients, and their state as the
            torch optimizer's ``_init_group`` found it.
        memories: the memories of these parameters.
        update: ``update(lists, **kernels)``, torch's update of ``lists[0]`` by ``lists[1]``.
        scaled: whether that update multiplies or skips (``grad_scale``, ``found_inf``).
    """
    lengths = norms(lists[1])
    priorities = [sum_of_norms(lengths)] * len(lengths) if group["synced"] else lengths
    outcomes = decide(group, memories, priorities, lengths)
    kernels = {} if scaled else _kernels(group, lists, memories)

    # with kappa=0 the same bits as torch's, which in half precision depend on where a slice ends
    whole = group["kappa"] == 0 and any(p.dtype not in _FULL for p in lists[0])
    for piece in cut(lists, memories, 2**63 if whole else PIECE):
        gradients = piece.lists[1]
        aggregates = _aggregates(group, piece, [outcomes[i].kept for i in piece.indices])
        if scaled:  # the update may write into what it scales
            aggregates = [a.clone() if a is g else a for a, g in zip(aggregates, gradients)]
        update([piece.lists[0], aggregates, *piece.lists[2:]], **kernels)
        entering, rows, sums, stale = [], [], [], []
        for k, i in enumerate(piece.indices):
            slot = outcomes[i].slot
            if slot is not None:
                entering.append(gradients[k])
                rows.append(piece.rows[k][slot])
                sums.append(piece.sums[k])
                if outcomes[i].stale:
                    stale.append(k)
        if entering:
            torch._foreach_sub_(sums, rows)
            torch._foreach_copy_(rows, entering)
            torch._foreach_add_(sums, rows)
        for k in stale:
            _rows.resum(piece.rows[k], piece.sums[k])
    for memory, outcome in zip(memories, outcomes):
        if isinstance(memory[DRIFT], Tensor):  # as a compiled step left it, and wants it
            ledger = _rows.by_slot({BIRTHS: None, **outcome.ledger})
            for name, value in small_tensors(ledger, memory[SUM].device).items():
                memory[name].copy_(value)
        else:
            memory.update(outcome.ledger)


class _Slots(CriticalGradients):
    """The rule of the memory, for the numbers of rows in place of gradients."""

    def __init__(self, group: dict[str, Any]) -> None:
        self.topC, self.decay = group["topC"], group["decay"]  # checked before

    def _own(self, gradient: Any) -> Any:
        return gradient

    def _check_shape(self, gradient: Any) -> None:
        pass


def decide(
    group: dict[str, Any], memories: list[Memory], priorities: list[float], lengths: list[float]
) -> list[Outcome]:
    """Offer one gradient, of a priority and a norm, to each memory; let all priorities decay.

    No memory is changed: parameters whose memories agree share theirs, and one decision.
    """
    largest, units = _rows.limits(group, memories)
    rule = _Slots(group)
    outcomes = []
    agreed: Any = None
    for memory, priority, length, unit in zip(memories, priorities, lengths, units):
        ledger = _rows.in_python(memory) if isinstance(memory[DRIFT], Tensor) else memory
        before = (ledger[PRIORITIES], ledger[COUNTS], priority, length <= largest)
        if agreed != before:
            agreed = before
            slot, kept, heap, counts = _decide(rule, *before)
        norms, drift, stale = ledger[NORMS], ledger[DRIFT], False
        if slot is not None:
            norms = norms[:]
            norms[slot] = length
            after = sum(norms)
            drift += 2 * unit * max(sum(ledger[NORMS]), after)  # see choose
            if stale := drift > _rows.TOLERANCE * after:
                drift = 0.0
        decided = {PRIORITIES: heap, NORMS: norms, COUNTS: counts, DRIFT: drift}
        outcomes.append(Outcome(slot, kept, stale, decided))
    return outcomes


def _decide(
    rule: _Slots, heap: list[Any], counts: list[int], priority: float, fits: bool
) -> tuple[int | None, int, list[Any], list[int]]:
    """The slot that a gradient is put into, how many were kept, and heap and counts afterwards."""
    rule.heap, (rule.seen, rule.inserted) = heap[:], counts
    kept = len(heap)
    if kept == rule.topC:
        slot = heap[0][2]
    else:
        taken = {slot for _, _, slot in heap}
        slot = next(slot for slot in range(rule.topC) if slot not in taken)
    inserted = rule.insert(priority if fits else math.inf, slot)
    rule.fade()
    return slot if inserted else None, kept, rule.heap, [rule.seen, rule.inserted]


def _aggregates(group: dict[str, Any], piece: Piece, kept: list[int]) -> list[Tensor]:
    """What the update gets in place of gradients, in scratch that is used again and again."""
    kappa, rule = group["kappa"], AGGREGATES[group["aggr"]]
    gradients, sums = piece.lists[1], piece.sums
    if kappa == 0 or not any(kept):
        return gradients
    if kept.count(kept[0]) == len(kept) and _small(gradients, sums):
        own, each = rule(kept[0])
        if own == 1:
            return list(torch._foreach_add(gradients, sums, alpha=kappa * each))
        together = list(torch._foreach_mul(sums, kappa * each))
        torch._foreach_add_(together, gradients, alpha=own)
        return together

    aggregates = []
    start = 0
    scratch = _scratch_of(sums[0].dtype)
    for p, g, total, n in zip(piece.lists[0], gradients, sums, kept):
        if n == 0:
            aggregates.append(g)
            continue
        end = start + g.numel()
        dtype = torch.promote_types(g.dtype, total.dtype)
        if end <= len(scratch) and dtype == scratch.dtype and p.is_contiguous():
            out = scratch[start:end].view(p.shape)
            start = end
        else:
            out = torch.empty_like(p, dtype=dtype)
        own, each = rule(n)
        if own == 1:
            torch.add(g, total, alpha=kappa * each, out=out)
        else:
            torch.mul(total, kappa * each, out=out).add_(g, alpha=own)
        aggregates.append(out.to(g.dtype))
    return aggregates


def _small(gradients: list[Tensor], sums: list[Tensor]) -> bool:
    """So few elements, and of one dtype, that a call for all of them is faster than scratch."""
    dtype, elements = sums[0].dtype, 0
    for g, total in zip(gradients, sums):
        elements += g.numel()
        if g.dtype != dtype or total.dtype != dtype:
            return False
    return elements <= 2**15


def _scratch_of(dtype: torch.dtype) -> Tensor:
    """Scratch for PIECE elements: fresh memory is slow at its first use."""
    if dtype not in _scratch.tensors:
        with torch.inference_mode(False):
            _scratch.tensors[dtype] = torch.empty(PIECE, dtype=dtype)
    return _scratch.tensors[dtype]


def _kernels(group: dict[str, Any], lists: Lists, memories: list[Memory]) -> dict[str, Any]:
    """On a CPU torch's fused kernels are the fastest, but are not its default.

    With kappa=0 the default stays, to be torch's update bit for bit. So it does in half
    precision, where the fused kernels round less often and so go another way than ``_C``, and
    unless all that belongs to a parameter lies in memory as it does, for they do not look at that.
    """
    if group.get("fused", False) is not None or group["foreach"] is not None or not group["kappa"]:
        return {}
    columns = [*lists[1:], [memory[SUM] for memory in memories]]
    for i, p in enumerate(lists[0]):
        if p.dtype not in _FULL:
            return {}
        plain, shape = p.is_contiguous(), p.shape
        for column in columns:
            t = column[i] if column else None
            if t is None or t.shape != shape:
                continue
            lies_alike = t.is_contiguous() if plain else t.stride() == p.stride()
            if not lies_alike or t.dtype != p.dtype or t.is_neg():
                return {}
    return {"fused": True}
