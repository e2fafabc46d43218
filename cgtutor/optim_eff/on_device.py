"""The step where a look at a value would make the CPU wait: on an accelerator, or compiled.

No branch depends on a value, so that the step can be queued, captured and compiled. Compiled for
the CPU it has branches again, but they are the compiled code's.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cgtutor import stack
from cgtutor.optim_eff.pieces import Piece, cut, whole

if TYPE_CHECKING:
    from cgtutor.optim_eff.base import StackedOptimizer

#: Elements of a piece of work: this bounds what is allocated for a moment.
PIECE = 2**22

#: Where nothing shows when a sum is stale, every step makes this part of it anew.
PARTS = 32

#: Compiled steps on a CPU branch with torch.cond, whose branches may update tensors since:
CONDITIONS = torch.torch_version.TorchVersion(torch.__version__) >= "2.13"


def step_on_device(
    optimizer: "StackedOptimizer", group: dict[str, Any], lists: list[list[Any]], special: bool
) -> None:
    """Where a look at a value would make the CPU wait, or is not possible."""
    params, gradients = lists[:2]
    memories = [optimizer.state[p]["critical"] for p in params]
    lengths = [stack.norm(g) for g in gradients]
    # sorted, so that the sum does not depend on the parameters' order
    total = torch.stack([n.to(lengths[0].device) for n in lengths]).sort().values.sum()
    choices: list[Any] = [None] * len(params)  # for each parameter a tuple of 0-d tensors
    stale = []
    for device in dict.fromkeys(p.device for p in params):
        here = [i for i, p in enumerate(params) if p.device == device]
        local = torch.stack([lengths[i] for i in here])
        priorities = total.to(device).expand(len(here)) if group["synced"] else local
        choice = _choose(group, [memories[i] for i in here], priorities, local)
        own, each = stack.weights(choice.kept, group["aggr"], group["kappa"])
        stale.append(choice.stale)
        for k, i in enumerate(here):
            choices[i] = (choice.slot[k], choice.enters[k], own[k], each[k], choice.ledger[k])

    def resum(piece: Piece) -> None:
        for rows, total in zip(piece.rows, piece.sums):
            total.copy_(rows.sum(0, dtype=total.dtype))

    compiling = torch.compiler.is_compiling()
    # in a compiled step torch's own kernels give way to generated ones
    how = {"fused": False, "foreach": params[0].device.type != "cpu"} if compiling else {}

    def update(piece: Piece) -> None:
        fed = piece.lists[1]
        if group["kappa"] != 0:
            fed = [
                stack.aggregate(g, total, *choices[i][2:4])
                for g, total, i in zip(fed, piece.sums, piece.indices)
            ]
        optimizer._update(group, [piece.lists[0], fed, *piece.lists[2:]], special, **how)

    def remember(piece: Piece) -> None:
        for g, rows, total, i in zip(piece.lists[1], piece.rows, piece.sums, piece.indices):
            stack.replace(rows, total, g, *choices[i][:2])

    def remember_all(piece: Piece) -> None:  # where every gradient enters
        for g, rows, total, i in zip(piece.lists[1], piece.rows, piece.sums, piece.indices):
            stack.replace(rows, total, g, choices[i][0])

    def refresh(piece: Piece) -> None:
        for rows, total, i in zip(piece.rows, piece.sums, piece.indices):
            stack.resum_part(rows, total, choices[i][4][-1, stack.SEEN], PARTS)

    if not compiling:
        for piece in cut(lists, memories, PIECE):
            update(piece)
            remember(piece)
            refresh(piece)
    else:
        branches = _on_cpu_and_begun(lists)
        if branches:
            lists = optimizer._hoisted(group, lists)
        piece = whole(list(range(len(params))), lists, memories)
        if branches and CONDITIONS:
            enter = torch.stack([c[1] for c in choices])
            _either(enter.all(), [update, remember_all], [update], piece)
            _either(enter.any() & ~enter.all(), [remember], [], piece)
            _either(torch.cat(stale).any(), [resum], [], piece)
        else:
            update(piece)
            remember(piece)
            refresh(piece)
    for m, c in zip(memories, choices):
        m["ledger"].copy_(c[4])


def _choose(
    group: dict[str, Any], memories: list[dict[str, Any]], priorities: Tensor, norms: Tensor
) -> stack.Choice:
    """:func:`.stack.choose` with what the group says."""
    decay, largest, units = stack.limits(group, memories)
    ledgers = torch.stack([m["ledger"] for m in memories])
    return stack.choose(ledgers, priorities, norms, decay, largest, max(units))


def _on_cpu_and_begun(lists: list[list[Any]]) -> bool:
    return all(p.device.type == "cpu" for p in lists[0]) and not any(
        t is None for column in lists for t in column
    )


def _either(
    condition: Tensor, then: list[Callable], otherwise: list[Callable], piece: Piece
) -> None:
    """Call these functions or those; compiled, a real branch."""

    def calls(functions: list[Callable]) -> Callable[[], Tensor]:
        def branch() -> Tensor:
            for function in functions:
                function(piece)
            return torch.zeros(())  # torch.cond wants a result

        return branch

    torch.cond(condition, calls(then), calls(otherwise), ())
