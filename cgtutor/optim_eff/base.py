"""What the GPU-efficient optimizers share: a step that waits for nothing."""

import math
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check, stack
from cgtutor.memory import AGGREGATES, CriticalGradients, checked_state, norms
from cgtutor.optim.base import MEMORY, CriticalGradientOptimizer, sum_of_norms
from cgtutor.optim_eff.pieces import Piece, cut, whole

#: Elements of a piece of work: on a CPU what a piece touches stays in the caches, elsewhere it
#: bounds what is allocated for a moment.
PIECE, PIECE_ELSEWHERE = 2**20, 2**22

#: Where no value is looked at, every step makes this part of each sum anew.
PARTS = 32

#: Compiled steps on a CPU branch with torch.cond, whose branches may update tensors since:
CONDITIONS = torch.torch_version.TorchVersion(torch.__version__) >= "2.13"

_UNITS = {d: torch.finfo(d).eps / 2 for d in (torch.float32, torch.float64)}
_UNITS.update({torch.complex64: _UNITS[torch.float32], torch.complex128: _UNITS[torch.float64]})

_local = threading.local()


class StackedOptimizer(CriticalGradientOptimizer):
    """The step of :class:`.CriticalGradientOptimizer` on stacked tensors.

    A subclass names the torch optimizer as its second base, and defines ``_update``, which
    calls that optimizer's functional form on lists of tensors.
    """

    _hyperparameters = {**MEMORY, "buffer_dtype": _check.optional_dtype}
    _lists: int  #: how many lists the torch optimizer's _init_group fills

    def _update(self, group: dict[str, Any], lists: list[list[Any]], special: bool, **how: Any) -> None:
        """Torch's update of ``lists[0]`` by ``lists[1]``; ``special`` is what _init_group said."""
        raise NotImplementedError

    def _hoisted(self, group: dict[str, Any], lists: list[list[Any]]) -> list[list[Any]]:
        """The lists, with what is the same for all elements of a parameter computed beforehand."""
        return lists

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it leaves out has the value given to ``__init__``.

        Raises:
            ValueError: a hyperparameter of the group is out of range; nothing was added.
        """
        super().add_param_group(param_group)
        if (dtype := self.param_groups[-1]["buffer_dtype"]) is not None and any(
            p.is_complex() for p in self.param_groups[-1]["params"]
        ):
            del self.param_groups[-1]
            raise ValueError(
                f"buffer_dtype must be None for complex parameters, got {dtype}"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; ``p.grad`` itself is left unchanged.

        On an accelerator nothing is read back, so the step queues up behind the backward pass;
        it can be captured in a CUDA graph (``capturable=True``) and compiled
        (``torch.compile(optimizer.step, fullgraph=True)``).

        Args:
            closure: evaluates the model again and returns the loss (optional).

        Returns:
            What ``closure`` returned, or None.

        Raises:
            RuntimeError: a gradient is sparse. Nothing was changed.
            ValueError: a hyperparameter of the memory in ``param_groups`` was set out of range
                since the last step, or a parameter's shape has changed. Nothing was changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        todo = []
        for group in self.param_groups:
            lists: list[list[Any]] = [[] for _ in range(self._lists)]
            todo.append((group, lists, self._init_group(group, *lists, compiling=torch.compiler.is_compiling())))
        for group, lists, special in todo:
            if not lists[0]:
                continue
            if torch.compiler.is_compiling() or any(p.device.type != "cpu" for p in lists[0]):
                self._step_unseeing(group, lists, special)
            else:
                self._step_on_cpu(group, lists, special)
        return loss

    def _init_group(self, group: dict[str, Any], *lists: Any, compiling: bool = False) -> bool:
        """Fill the lists as torch does, and see to it that every memory is there and fits.

        torch.compile runs this once, before it traces a step, so here state may come to be.
        """
        if group is self.param_groups[0]:
            self._checked_gradients()  # of all groups, before anything is changed
        special = super()._init_group(group, *lists)  # type: ignore[misc]
        topC, chosen = group["topC"], group["buffer_dtype"]
        for p, gradient in zip(lists[0], lists[1]):
            state = self.state[p]
            memory = state.get("critical")
            dtype = chosen or gradient.dtype
            if memory is None:
                memory = state["critical"] = self._placed(stack.empty(p, topC, dtype))
            rows = memory["gradients"]
            if rows.dtype != dtype or rows.shape[0] != topC or rows.device != p.device:
                if chosen is None:  # what is kept loses no digits
                    dtype = torch.promote_types(dtype, rows.dtype)
                if (rows.dtype, rows.shape[0], rows.device) != (dtype, topC, p.device):
                    resized = stack.resized(memory, p, topC, dtype)
                    memory = state["critical"] = self._placed(resized)
            if compiling:
                memory["ledger"] = stack.on_device(memory["ledger"], p.device)
        return special

    def _checked_gradients(self) -> list[tuple[dict[str, Any], list[tuple[Tensor, Tensor]]]]:
        found = super()._checked_gradients()
        for _, pairs in found:
            for p, gradient in pairs:
                memory = self.state[p].get("critical") if p in self.state else None
                if memory is not None and memory["sum"].shape != gradient.shape:
                    raise ValueError(
                        f"gradient must have the shape {tuple(memory['sum'].shape)} of those "
                        f"kept, got {tuple(gradient.shape)}"
                    )
        return found

    def _placed(self, memory: dict[str, Any]) -> dict[str, Any]:
        """The ledger where a step looks for it: on the CPU in Python."""
        if memory["sum"].device.type == "cpu":
            memory["ledger"] = stack.in_python(memory["ledger"])
        return memory

    def _memory(self, p: Tensor, group: dict[str, Any]) -> CriticalGradients:
        memory = self.state.get(p, {}).get("critical")
        state = None if memory is None else stack.as_heap(memory)
        return CriticalGradients(group["topC"], group["decay"], state)

    def _loaded(self, name: str, saved: Any, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """A parameter's saved memory, checked, on its device (that of a _C twin is taken)."""
        if isinstance(saved, dict) and "heap" in saved:
            heap = checked_state(name, saved, p)
            return self._placed(stack.from_heap(heap, p, group["topC"], group["buffer_dtype"]))
        return self._placed(stack.checked(name, saved, p))

    def _step_on_cpu(self, group: dict[str, Any], lists: list[list[Any]], special: bool) -> None:
        """Where a look at a value costs nothing: rows that stay as they are stay untouched."""
        memories = [self.state[p]["critical"] for p in lists[0]]
        ledgers = [stack.in_python(memory["ledger"]) for memory in memories]
        lengths = norms(lists[1])
        priorities = [sum_of_norms(lengths)] * len(lengths) if group["synced"] else lengths
        decay, largest, units = _limits(group, memories)
        outcomes = stack.offer(ledgers, priorities, lengths, decay, largest, units)
        how = _kernels(group, lists[0])

        for piece in cut(lists, memories, PIECE):
            gradients = piece.lists[1]
            fed = _aggregates(group, piece, [outcomes[i][2] for i in piece.indices])
            self._update(group, [piece.lists[0], fed, *piece.lists[2:]], special, **how)
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

    def _step_unseeing(self, group: dict[str, Any], lists: list[list[Any]], special: bool) -> None:
        """Where a look at a value would make the CPU wait, or is not possible."""
        params, gradients = lists[:2]
        memories = [self.state[p]["critical"] for p in params]
        lengths = [stack.norm(g) for g in gradients]
        total = torch.stack([n.to(lengths[0].device) for n in lengths]).sum()
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
            self._update(group, [piece.lists[0], fed, *piece.lists[2:]], special, **how)

        def remember(piece: Piece) -> None:
            for g, rows, total, i in zip(piece.lists[1], piece.rows, piece.sums, piece.indices):
                stack.replace(rows, total, g, *choices[i][:2])

        def put_in(piece: Piece) -> None:  # as remember, where every gradient enters
            for g, rows, total, i in zip(piece.lists[1], piece.rows, piece.sums, piece.indices):
                stack.put(rows, total, g, choices[i][0])

        def refresh(piece: Piece) -> None:
            for rows, total, i in zip(piece.rows, piece.sums, piece.indices):
                stack.resum_part(rows, total, choices[i][4][-1, stack.SEEN], PARTS)

        if not compiling:
            for piece in cut(lists, memories, PIECE_ELSEWHERE):
                update(piece)
                remember(piece)
                refresh(piece)
        elif CONDITIONS and _on_cpu_and_begun(lists):
            lists = self._hoisted(group, lists)
            piece = whole(list(range(len(params))), lists, memories)
            enter = torch.stack([c[1] for c in choices])
            _either(enter.all(), [update, put_in], [update], piece)
            _either(enter.any() & ~enter.all(), [remember], [], piece)
            _either(torch.cat(stale).any(), [resum], [], piece)
        else:
            piece = whole(list(range(len(params))), lists, memories)
            update(piece)
            remember(piece)
            refresh(piece)
        for m, c in zip(memories, choices):
            m["ledger"].copy_(c[4])


def _limits(
    group: dict[str, Any], memories: list[dict[str, Any]]
) -> tuple[float, float, list[float]]:
    """What :func:`.stack.choose` and :func:`.stack.offer` take beside the newcomers."""
    dtype = group["buffer_dtype"]
    largest = math.inf if dtype is None else torch.finfo(dtype).max
    return group["decay"], largest, [_UNITS[m["sum"].dtype] for m in memories]


def _choose(
    group: dict[str, Any], memories: list[dict[str, Any]], priorities: Tensor, norms: Tensor
) -> stack.Choice:
    """:func:`.stack.choose` with what the group says."""
    decay, largest, units = _limits(group, memories)
    ledgers = torch.stack([m["ledger"] for m in memories])
    return stack.choose(ledgers, priorities, norms, decay, largest, max(units))


def _aggregates(group: dict[str, Any], piece: Piece, kept: list[int]) -> list[Tensor]:
    """What the update is fed, in scratch that is used again and again."""
    kappa, rule = group["kappa"], AGGREGATES[group["aggr"]]
    gradients, sums = piece.lists[1], piece.sums
    if kappa == 0 or not any(kept):
        return gradients
    if kept.count(kept[0]) == len(kept) and _small(gradients, sums):
        own, each = rule(kept[0])
        if own == 1:
            return torch._foreach_add(gradients, sums, alpha=kappa * each)
        fed = torch._foreach_mul(sums, kappa * each)
        torch._foreach_add_(fed, gradients, alpha=own)
        return fed

    fed = []
    start = 0
    scratch = _scratch(sums[0].dtype)
    for g, total, n in zip(gradients, sums, kept):
        if n == 0:
            fed.append(g)
            continue
        end = start + g.numel()
        if end <= PIECE and total.dtype == scratch.dtype and g.is_contiguous():
            out = scratch[start:end].view(g.shape)
            start = end
        else:
            out = torch.empty_like(g, dtype=total.dtype)
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


def _kernels(group: dict[str, Any], params: list[Tensor]) -> dict[str, Any]:
    """On a CPU torch's fused kernels are the fastest, but are not its default.

    With kappa=0 the default stays, to be torch's update bit for bit, and so it does in half
    precision, where the fused kernels round less often and so go another way than ``_C``.
    """
    default = group.get("fused", False) is None and group["foreach"] is None
    full = (torch.float32, torch.float64)
    if default and group["kappa"] != 0 and all(p.dtype in full for p in params):
        return {"fused": True}
    return {}


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
