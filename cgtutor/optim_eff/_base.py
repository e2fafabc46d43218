"""What the GPU-efficient optimizers share: a step that waits for nothing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check, _state
from cgtutor._state import COUNTS, GRADIENTS, SUM
from cgtutor.memory import CriticalGradients
from cgtutor.optim._base import MEMORY, CriticalGradientOptimizer
from cgtutor.optim_eff import _rows
from cgtutor.optim_eff._on_cpu import step_on_cpu
from cgtutor.optim_eff._on_device import step_on_device
from cgtutor.optim_eff._pieces import Lists
from cgtutor.optim_eff._rows import Memory


class StackedOptimizer(CriticalGradientOptimizer):
    """The step of :class:`.CriticalGradientOptimizer` on stacked tensors.

    A subclass names the torch optimizer as its second base, and defines ``_update``, which
    calls that optimizer's functional form on lists of tensors.
    """

    _hyperparameters = MEMORY | {"buffer_dtype": _check.optional_dtype}
    _lists: int  #: how many lists the torch optimizer's _init_group fills

    #: ``_update(group, lists, has_complex, **kernels)``: torch's update of ``lists[0]`` by
    #: ``lists[1]``; ``has_complex`` is what ``_init_group`` returned (for SGD, whether a
    #: gradient is sparse), and ``kernels`` overrules the group's foreach and fused.
    _update: Callable[..., None]

    def _precomputed(self, group: dict[str, Any], lists: Lists) -> Lists:
        """The lists, with what is the same for all elements of a parameter computed beforehand."""
        return lists

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it leaves out has the value given to ``__init__``.

        Raises:
            ValueError: a hyperparameter of the group is out of range, or it holds a parameter
                twice; nothing was added.
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
            lists: Lists = [[] for _ in range(self._lists)]
            has_complex = self._init_group(group, *lists, compiling=compiling)
            if compiling:
                has_complex, numbers = has_complex
                group = _with_constants(group, numbers)
            if lists[0]:
                todo.append((group, lists, has_complex))
        for group, lists, has_complex in todo:
            self._step_group(group, lists, has_complex, compiling or _elsewhere(lists[0]))
        return loss

    def _step_group(
        self, group: dict[str, Any], lists: Lists, has_complex: bool, sync_free: bool
    ) -> None:
        """Step one group; ``sync_free``: without reading a value."""

        def update(lists: Lists, **kernels: Any) -> None:
            self._update(group, lists, has_complex, **kernels)

        def precompute(lists: Lists) -> Lists:
            return self._precomputed(group, lists)

        memories = [self.state[p] for p in lists[0]]
        scaled = bool(self._scaling())
        if sync_free:
            step_on_device(group, lists, memories, update, precompute, scaled)
        else:
            step_on_cpu(group, lists, memories, update, scaled)

    def _init_group(self, group: dict[str, Any], *lists: Any, compiling: bool = False) -> Any:
        """Fill the lists as torch does, and see to it that every memory is there and fits.

        torch.compile runs this once, before it traces a step, so here state may come to be. Then
        it also returns the group's numbers, by name (:func:`_with_constants`).
        """
        if group is self.param_groups[0]:
            self._checked_gradients()  # of all groups, before anything is changed
            if compiling:  # all state has to be there before any of it is looked up
                for other in self.param_groups[1:]:
                    self._init_group(other, *([] for _ in lists), compiling=True)
        has_complex = super()._init_group(group, *lists)  # type: ignore[misc]
        topC, chosen = group["topC"], group["buffer_dtype"]
        sync_free = compiling or _elsewhere(lists[0])
        for p, gradient in zip(lists[0], lists[1]):
            memory = self.state[p]
            dtype = chosen or gradient.dtype
            if GRADIENTS not in memory:
                memory.update(self._placed(_rows.empty(p, topC, dtype)))
            rows = memory[GRADIENTS]
            if rows.dtype != dtype or rows.shape[0] != topC or rows.device != p.device:
                if chosen is None:  # what is kept loses no digits
                    dtype = torch.promote_types(dtype, rows.dtype)
                if (rows.dtype, rows.shape[0], rows.device) != (dtype, topC, p.device):
                    memory.update(self._placed(_rows.resized(memory, p, topC, dtype)))
            if sync_free:
                _rows.on_device(memory, p.device)
        return (has_complex, _numbers(group)) if compiling else has_complex

    def _checked_gradients(self) -> list[tuple[dict[str, Any], list[tuple[Tensor, Tensor]]]]:
        found = super()._checked_gradients()
        for group, pairs in found:
            for p, gradient in pairs:
                if group["buffer_dtype"] is not None and p.is_complex():
                    _refuse_complex(group["buffer_dtype"])
                total = self.state[p].get(SUM) if p in self.state else None
                if total is not None and total.shape != gradient.shape:
                    raise ValueError(
                        f"gradient must have the shape {tuple(total.shape)} of those kept, "
                        f"got {tuple(gradient.shape)}"
                    )
        return found

    def _placed(self, memory: Memory) -> Memory:
        """The ledger where a step expects it: on the CPU in Python."""
        if memory[SUM].device.type == "cpu":
            memory.update(_rows.in_python(memory))
        return memory

    def _memory(self, p: Tensor, group: dict[str, Any]) -> CriticalGradients:
        memory, heap = self.state.get(p, {}), CriticalGradients(group["topC"], group["decay"])
        return _rows.fill_heap(memory, heap) if COUNTS in memory else heap

    def _saved(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        memory = self.state[p]
        if len(memory[GRADIENTS]) != group["topC"]:  # topC was changed since the last step
            memory = _rows.resized(memory, p, group["topC"], memory[GRADIENTS].dtype)
        rest = _state.small_tensors(_rows.by_slot(memory), memory[SUM].device)
        return {GRADIENTS: memory[GRADIENTS], SUM: memory[SUM], **rest}

    def _saved_group(self, group: dict[str, Any]) -> dict[str, Any]:
        # by name, for torch's checkpoint functions know no dtypes
        dtype = group["buffer_dtype"]
        return {**group, "buffer_dtype": None if dtype is None else str(dtype)}

    def _fitting(self, saved: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        if isinstance(name := saved.get("buffer_dtype"), str):
            dtype = getattr(torch, name.removeprefix("torch."), name)
            saved = {**saved, "buffer_dtype": dtype}
        return super()._fitting(saved, group)

    def _loaded(self, content: _state.Content, p: Tensor, group: dict[str, Any]) -> Memory:
        return self._placed(_rows.from_content(content, p, group["topC"]))


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
