"""The step where a look at a value costs nothing: on the CPU.

Decisions are taken in Python, rows that stay as they are stay untouched, and the work goes piece
by piece, so that each element is fetched from memory as few times as possible.
"""

import threading
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cgtutor import stack
from cgtutor.memory import AGGREGATES, norms, sum_of_norms
from cgtutor.optim_eff.pieces import Piece, cut

if TYPE_CHECKING:
    from cgtutor.optim_eff.base import StackedOptimizer

#: Elements of a piece of work: what it touches stays in the caches.
PIECE = 2**20

_FULL = (torch.float32, torch.float64)

_local = threading.local()


def step_on_cpu(
    optimizer: "StackedOptimizer", group: dict[str, Any], lists: list[list[Any]], special: bool
) -> None:
    """Where a look at a value costs nothing: rows that stay as they are stay untouched."""
    memories = [optimizer.state[p]["critical"] for p in lists[0]]
    ledgers = [stack.in_python(memory["ledger"]) for memory in memories]
    lengths = norms(lists[1])
    priorities = [sum_of_norms(lengths)] * len(lengths) if group["synced"] else lengths
    decay, largest, units = stack.limits(group, memories)
    outcomes = stack.offer(ledgers, priorities, lengths, decay, largest, units)
    how = _kernels(group, lists, memories)

    # with kappa=0 the same bits as torch's, which in half precision depend on where a slice ends
    whole = group["kappa"] == 0 and any(p.dtype not in _FULL for p in lists[0])
    for piece in cut(lists, memories, 2**63 if whole else PIECE):
        gradients = piece.lists[1]
        fed = _aggregates(group, piece, [outcomes[i][2] for i in piece.indices])
        optimizer._update(group, [piece.lists[0], fed, *piece.lists[2:]], special, **how)
        entering, rows, sums, stale = [], [], [], []
        for k, i in enumerate(piece.indices):
            slot, enters, _, due, _ = outcomes[i]
            if enters:
                entering.append(gradients[k])
                rows.append(piece.rows[k][slot])
                sums.append(piece.sums[k])
                if due:
                    stale.append(k)
        if entering:
            torch._foreach_sub_(sums, rows)
            torch._foreach_copy_(rows, entering)
            torch._foreach_add_(sums, rows)
        for k in stale:
            stack.resum(piece.rows[k], piece.sums[k])
    for memory, (*_, ledger) in zip(memories, outcomes):
        if isinstance(memory["ledger"], Tensor):  # as a compiled step left it, and wants it
            memory["ledger"].copy_(stack.on_device(ledger, memory["sum"].device))
        else:
            memory["ledger"] = ledger


def _aggregates(group: dict[str, Any], piece: Piece, kept: list[int]) -> list[Tensor]:
    """What the update is fed, in scratch that is used again and again."""
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

    fed = []
    start = 0
    scratch = _scratch(sums[0].dtype)
    for p, g, total, n in zip(piece.lists[0], gradients, sums, kept):
        if n == 0:
            fed.append(g)
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
        fed.append(out.to(g.dtype))
    return fed


def _small(gradients: list[Tensor], sums: list[Tensor]) -> bool:
    """So few elements, and of one dtype, that a call for all of them is faster than scratch."""
    dtype, elements = sums[0].dtype, 0
    for g, total in zip(gradients, sums):
        elements += g.numel()
        if g.dtype != dtype or total.dtype != dtype:
            return False
    return elements <= 2**15


def _scratch(dtype: torch.dtype) -> Tensor:
    """Memory for PIECE elements, one for each thread: fresh memory is slow at its first use."""
    if not hasattr(_local, "scratch"):
        _local.scratch = {}
    if dtype not in _local.scratch:
        with torch.inference_mode(False):
            _local.scratch[dtype] = torch.empty(PIECE, dtype=dtype)
    return _local.scratch[dtype]


def _kernels(
    group: dict[str, Any], lists: list[list[Any]], memories: list[dict[str, Any]]
) -> dict[str, Any]:
    """On a CPU torch's fused kernels are the fastest, but are not its default.

    With kappa=0 the default stays, to be torch's update bit for bit. So it does in half
    precision, where the fused kernels round less often and so go another way than ``_C``, and
    unless all that belongs to a parameter lies in memory as it does, for they do not look at that.
    """
    if group.get("fused", False) is not None or group["foreach"] is not None or not group["kappa"]:
        return {}
    columns = [*lists[1:], [memory["sum"] for memory in memories]]
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
