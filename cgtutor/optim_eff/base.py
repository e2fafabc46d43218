"""What the GPU-efficient optimizers share: a step that waits for nothing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check, stack
from cgtutor.memory import CriticalGradients, checked_state
from cgtutor.optim.base import MEMORY, CriticalGradientOptimizer
from cgtutor.optim_eff.on_cpu import step_on_cpu
from cgtutor.optim_eff.on_device import step_on_device


class StackedOptimizer(CriticalGradientOptimizer):
    """The step of :class:`.CriticalGradientOptimizer` on stacked tensors.

    A subclass names the torch optimizer as its second base, and defines ``_update``, which
    calls that optimizer's functional form on lists of tensors.
    """

    _hyperparameters = MEMORY | {"buffer_dtype": _check.optional_dtype}
    _lists: int  #: how many lists the torch optimizer's _init_group fills

    #: ``_update(group, lists, special, **how)``: torch's update of ``lists[0]`` by ``lists[1]``;
    #: ``special`` is what ``_init_group`` gave back, and ``how`` overrules the group's kernels.
    _update: Callable[..., None]

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
            _refuse_complex(dtype)

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
        compiling = torch.compiler.is_compiling()
        todo = []
        for group in self.param_groups:
            lists: list[list[Any]] = [[] for _ in range(self._lists)]
            special = self._init_group(group, *lists, compiling=compiling)
            if compiling:
                special, numbers = special
                group = _with_constants(group, numbers)
            if lists[0]:
                todo.append((group, lists, special))
        for group, lists, special in todo:
            unseeing = compiling or _elsewhere(lists[0])
            (step_on_device if unseeing else step_on_cpu)(self, group, lists, special)
        return loss

    def _init_group(self, group: dict[str, Any], *lists: Any, compiling: bool = False) -> Any:
        """Fill the lists as torch does, and see to it that every memory is there and fits.

        torch.compile runs this once, before it traces a step, so here state may come to be. Then
        it also gives back the group's numbers, by name (:func:`_with_constants`).
        """
        if group is self.param_groups[0]:
            self._checked_gradients()  # of all groups, before anything is changed
            if compiling:  # all state has to be there before any of it is looked up
                for other in self.param_groups[1:]:
                    self._init_group(other, *([] for _ in lists), compiling=True)
        special = super()._init_group(group, *lists)  # type: ignore[misc]
        topC, chosen = group["topC"], group["buffer_dtype"]
        unseeing = compiling or _elsewhere(lists[0])
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
            if unseeing:
                memory["ledger"] = stack.on_device(memory["ledger"], p.device)
        return (special, _numbers(group)) if compiling else special

    def _checked_gradients(self) -> list[tuple[dict[str, Any], list[tuple[Tensor, Tensor]]]]:
        found = super()._checked_gradients()
        for group, pairs in found:
            for p, gradient in pairs:
                if group["buffer_dtype"] is not None and p.is_complex():
                    _refuse_complex(group["buffer_dtype"])
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


def _elsewhere(params: list[Tensor]) -> bool:
    return any(p.device.type != "cpu" for p in params)


def _numbers(group: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    def is_number(value: Any) -> bool:
        if isinstance(value, tuple):
            return all(map(is_number, value))
        return type(value) in (int, float)

    return tuple((name, value) for name, value in group.items() if is_number(value))


def _with_constants(group: dict[str, Any], numbers: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """The group with numbers that are constants of the graph.

    Once one has changed between steps, torch.compile takes it for a variable, which branches of
    the graph cannot use, and which no longer makes ``_init_group`` run. The comparison ties the
    graph to the numbers it was made with.
    """
    for name, value in numbers:
        if group[name] != value:
            raise RuntimeError(f"{name} changed while a step was compiled")
    return {**group, **dict(numbers)}


def _refuse_complex(dtype: torch.dtype) -> None:
    raise ValueError(f"buffer_dtype must be None for complex parameters, got {dtype}")
