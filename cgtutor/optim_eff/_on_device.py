"""The step where reading a value would make the CPU wait: on an accelerator, or compiled.

No branch depends on a value, so that the step can be queued, captured and compiled. Compiled for
the CPU it has branches again, but they are the compiled code's.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor._norms import norm
from cgtutor._state import COUNTS
from cgtutor.optim_eff import _rows
from cgtutor.optim_eff._pieces import Lists, Piece, cut, whole
from cgtutor.optim_eff._rows import Ledger, Memory

#: Elements of a piece of work: this bounds what is allocated for a moment.
PIECE = 2**22

#: Where nothing shows when a sum is stale, every step recomputes this part of it.
PARTS = 32

# Named, because a compiler cannot evaluate the annotations of the functions that it traces:
Act = Callable[[Piece], None]  #: something that is done with a piece of work
Acts = list[Act]
Branch = Callable[[], Tensor]

#: Compiled steps on a CPU branch with torch.cond, whose branches may update tensors since:
CONDITIONS = torch.torch_version.TorchVersion(torch.__version__) >= "2.13"


def step_on_device(
    group: dict[str, Any],
    lists: Lists,
    memories: list[Memory],
    update: Callable[..., None],
    precompute: Callable[[Lists], Lists],
    scaled: bool = False,
) -> None:
    """A step of one group that reads no value.

    Args:
        group: the parameter group.
        lists: its parameters that have a gradient, their gradients, and their state as the
            torch optimizer's ``_init_group`` found it.
        memories: the memories of these parameters; their ledgers are tensors.
        update: ``update(lists, **kernels)``, torch's update of ``lists[0]`` by ``lists[1]``.
        precompute: ``precompute(lists)``, lists for that update in which all is computed that is
            the same for all elements of a parameter.
        scaled: whether that update multiplies or skips (``grad_scale``, ``found_inf``).
    """
    params, gradients = lists[:2]
    lengths = [norm(g) for g in gradients]
    # sorted, so that the sum does not depend on the parameters' order
    total = torch.stack([n.to(lengths[0].device) for n in lengths]).sort().values.sum()
    choices: list[Any] = [None] * len(params)  # for each parameter a tuple of 0-d tensors
    stale = []
    written: list[tuple[list[Memory], Ledger]] = []
    for device in dict.fromkeys(p.device for p in params):
        here = [i for i, p in enumerate(params) if p.device == device]
        local = torch.stack([lengths[i] for i in here])
        priorities = total.to(device).expand(len(here)) if group["synced"] else local
        nearby = [memories[i] for i in here]
        largest, units = _rows.limits(group, nearby)
        ledger = _rows.together(nearby)
        choice = _rows.choose(ledger, priorities, local, group["decay"], largest, max(units))
        own, each = _rows.weights(choice.kept, group["aggr"], group["kappa"])
        stale.append(choice.stale)
        written.append((nearby, choice.ledger))
        for k, i in enumerate(here):
            choices[i] = (choice.slot[k], choice.enters[k], own[k], each[k])

    def resum(piece: Piece) -> None:
        for rows, total in zip(piece.rows, piece.sums):
            total.copy_(rows.sum(0, dtype=total.dtype))

    compiling = torch.compiler.is_compiling()
    # in a compiled step torch's own kernels give way to generated ones
    generated = {"fused": False, "foreach": params[0].device.type != "cpu"}
    kernels = generated if compiling else {}

    def advance(piece: Piece) -> None:
        aggregates = piece.lists[1]
        if group["kappa"] != 0:
            aggregates = [
                _rows.aggregate(g, total, *choices[i][2:])
                for g, total, i in zip(aggregates, piece.sums, piece.indices)
            ]
        elif scaled:  # the update may write into what it scales
            aggregates = [g.clone() for g in aggregates]
        update([piece.lists[0], aggregates, *piece.lists[2:]], **kernels)

    def remember(piece: Piece) -> None:
        for g, rows, total, i in zip(piece.lists[1], piece.rows, piece.sums, piece.indices):
            _rows.replace(rows, total, g, *choices[i][:2])

    def remember_all(piece: Piece) -> None:  # where every gradient enters
        for g, rows, total, i in zip(piece.lists[1], piece.rows, piece.sums, piece.indices):
            _rows.replace(rows, total, g, choices[i][0])

    def refresh(piece: Piece) -> None:
        for rows, total, i in zip(piece.rows, piece.sums, piece.indices):
            _rows.resum_part(rows, total, memories[i][COUNTS][0] + 1, PARTS)

    if not compiling:
        for piece in cut(lists, memories, PIECE):
            advance(piece)
            remember(piece)
            refresh(piece)
    else:
        branches = _on_cpu_and_begun(lists)
        if branches:
            lists = precompute(lists)
        piece = whole(list(range(len(params))), lists, memories)
        if branches and CONDITIONS:
            enter = torch.stack([c[1] for c in choices])
            _either(enter.all(), [advance, remember_all], [advance], piece)
            _either(enter.any() & ~enter.all(), [remember], [], piece)
            _either(torch.cat(stale).any(), [resum], [], piece)
        else:
            advance(piece)
            remember(piece)
            refresh(piece)
    for nearby, ledger in written:
        _rows.apart(nearby, ledger)


def _on_cpu_and_begun(lists: Lists) -> bool:
    return all(p.device.type == "cpu" for p in lists[0]) and not any(
        t is None for column in lists for t in column
    )


def _either(condition: Tensor, then: Acts, otherwise: Acts, piece: Piece) -> None:
    """Call these functions or those; compiled, a real branch."""

    def calls(functions: Acts) -> Branch:
        def branch() -> Tensor:
            for function in functions:
                function(piece)
            return torch.zeros(())  # torch.cond wants a result

        return branch

    torch.cond(condition, calls(then), calls(otherwise), ())
