"""What all critical-gradient optimizers share: a memory in front of a torch optimizer."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from cgtutor import _check, _loading, _state
from cgtutor._norms import norms, sum_of_norms
from cgtutor.memory import AGGREGATES, CriticalGradients

Aggr = Literal["sum", "mid", "mean"]

#: How each hyperparameter is checked: those of the memory, and those of the torch optimizer.
MEMORY: dict[str, Callable[..., Any]] = {
    "decay": partial(_check.number, low=0, high=1),
    "kappa": partial(_check.number, low=0),
    "topC": _check.positive_integer,
    "aggr": partial(_check.one_of, choices=AGGREGATES),
    "synced": _check.boolean,
}
_BASE: dict[str, Callable[..., Any]] = {
    "lr": partial(_check.number_or_tensor, low=0),
    "momentum": partial(_check.number, low=0),
    "dampening": _check.number,
    "weight_decay": partial(_check.number_or_tensor, low=0),
    "alpha": partial(_check.number, low=0, high=1),
    "betas": _check.betas,
    "eps": partial(_check.number, low=0),
    "nesterov": _check.boolean,
    "centered": _check.boolean,
    "amsgrad": _check.boolean,
    "maximize": _check.boolean,
    "capturable": _check.boolean,
    "foreach": _check.optional_boolean,
    "fused": _check.optional_boolean,
}


def _checked(options: dict[str, Any], checks: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    """``options`` with every hyperparameter that ``checks`` knows checked and made plain."""
    return {k: checks[k](k, v) if k in checks else v for k, v in options.items()}


class CriticalGradientOptimizer(Optimizer):
    """A memory for each parameter, in front of a torch optimizer's update.

    To make a critical-gradient optimizer of another torch optimizer, inherit from this class
    and from that one, in this order (:class:`.SGD_C` shows how).

    Args:
        params: parameters, named parameters, or dictionaries that define parameter groups.
        memory: ``decay``, ``kappa``, ``topC``, ``aggr`` and ``synced``.
        base: the torch optimizer's own hyperparameters.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.
    """

    _known_good: dict[int, list[Any]]  # for each group, values that passed their checks
    _hyperparameters = MEMORY  #: those that are the memory's, with their checks

    def __init__(self, params: ParamsT, memory: dict[str, Any], **base: Any) -> None:
        memory = _checked(memory, self._hyperparameters)
        base = _checked(base, _BASE)
        # The torch optimizer's __init__ makes self.defaults of its own hyperparameters and
        # adds the groups at once, so these have to bring the memory's along.
        if not isinstance(params, Tensor):  # torch's own error for a bare tensor is clear
            groups: list[Any] = list(params)
            if groups and not isinstance(groups[0], dict):
                groups = [{"params": groups}]
            params = [{**memory, **g} if isinstance(g, dict) else g for g in groups]
        super().__init__(params, **base)
        self.defaults.update(memory)  # for groups added later
        # A fused base would let GradScaler hand over scaled gradients, and these must not get
        # into the memory. Without this mark the scaler unscales them before it calls step().
        self._step_supports_amp_scaling = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it leaves out has the value given to ``__init__``.

        Raises:
            ValueError: a hyperparameter of the group is out of range, or it holds a parameter
                twice; nothing was added.
        """
        if isinstance(param_group, dict):
            param_group = _checked(param_group, {**_BASE, **self._hyperparameters})
            if not isinstance(param_group["params"], (Tensor, set)):
                param_group["params"] = _check.distinct("params", param_group["params"])
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; ``p.grad`` itself is left unchanged.

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

        todo: list[tuple[Tensor, Tensor, float, CriticalGradients]] = []
        aggregates: list[Tensor] = []
        for group, pairs in self._checked_gradients():
            priorities = norms([gradient for _, gradient in pairs])
            if group["synced"]:
                priorities = [sum_of_norms(priorities)] * len(pairs)
            for (p, gradient), priority in zip(pairs, priorities):
                memory = self._memory(p, group)
                todo.append((p, gradient, priority, memory))
                aggregate = memory.aggregate(gradient, group["aggr"], group["kappa"])
                if aggregate is gradient and (group.get("nesterov") or self._scaling()):
                    aggregate = gradient.clone()  # torch's kernels would write into it
                aggregates.append(aggregate)

        try:
            for (p, _, _, _), aggregate in zip(todo, aggregates):
                p.grad = aggregate
            self._base_step()
        finally:
            for p, gradient, _, _ in todo:
                p.grad = gradient

        for p, gradient, priority, memory in todo:
            memory.insert(priority, gradient)
            memory.fade()
            # Only now: torch takes a parameter whose state is empty for a new one.
            self.state[p].update(_state.as_heap(memory))
        return loss

    def memory(self, parameter: Tensor) -> CriticalGradients:
        """The memory of one parameter as it is now: its priorities, ages and counts.

        A snapshot: it does not follow later steps, and whatever is done to it, the training
        goes on as if nothing had happened.

        Raises:
            ValueError: this optimizer does not optimize ``parameter``.
        """
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]):
                memory = self._memory(parameter, group)
                memory.heap = [(prio, born, g.detach().clone()) for prio, born, g in memory.heap]
                return memory
        shape = tuple(parameter.shape) if isinstance(parameter, Tensor) else None
        raise ValueError(
            "parameter must be one of the tensors that this optimizer optimizes, got "
            + (repr(parameter) if shape is None else f"another tensor, of shape {shape}")
        )

    def state_dict(self) -> dict[str, Any]:
        """The state as torch's: tensors and numbers, memories included.

        For each parameter, beside the torch optimizer's entries, there are its
        ``critical_gradients``, ``critical_priorities``, ``critical_births``,
        ``critical_norms``, ``critical_counts``, ``critical_sum`` and ``critical_drift``, tensors
        whose shapes depend on the parameter and on ``topC`` alone. Readable and GPU-efficient
        optimizers save the same, so each loads what the other has saved. As in torch, tensors
        may be those that the training goes on with: copy the dictionary
        (``copy.deepcopy``) to keep it in memory while you train on.
        """

        def after(_: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
            """Put each memory into the form in which it is saved."""
            state = dict(state_dict["state"])
            for group, saved in zip(self.param_groups, state_dict["param_groups"]):
                for p, key in zip(group["params"], saved["params"]):
                    if _state.COUNTS in state.get(key, {}):
                        self._check_memory_of(group)
                        state[key] = {**state[key], **self._saved(p, group)}
            groups = [self._saved_group(group) for group in state_dict["param_groups"]]
            return {**state_dict, "state": state, "param_groups": groups}

        # As a hook, before those of the user, which then find what is saved.
        hook = self.register_state_dict_post_hook(after, prepend=True)
        try:
            with torch.no_grad():
                return super().state_dict()
        finally:
            hook.remove()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state, memories included; nothing is shared with ``state_dict``.

        The state of the torch optimizer of the same kind is taken too: its training goes on
        here, with empty memories and the memory hyperparameters that this optimizer has. So are
        checkpoints of the first form, which kept everything under the key ``critical``.

        Torch's own checkpoint functions (``torch.distributed.checkpoint.state_dict``) let an
        optimizer that has no state take one step with zero gradients first. Such gradients are
        seen and rejected; loading a checkpoint overwrites that step altogether.

        Raises:
            ValueError: the groups are other groups or lack a hyperparameter that this kind of
                optimizer has, a hyperparameter of the memory is out of range, or what is
                saved of a memory does not fit its parameter. Nothing was changed.
        """
        memories: dict[Tensor, dict[str, Any]] = {}
        theirs: set[int] = set()  # the tensors of the caller

        def before(_: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
            """Check all and take the memories out: torch would cast them to p's dtype."""
            groups, state = [], dict(state_dict["state"])
            for saved, group in zip(state_dict["param_groups"], self.param_groups):
                groups.append(self._fitting(saved, group))
                for key, p in zip(saved["params"], group["params"]):
                    name = f"state_dict['state'][{key!r}]"
                    content = _loading.loaded(name, state.get(key, {}), p)
                    if content is not None:
                        memories[p] = self._loaded(content, p, groups[-1])
                        state[key] = _loading.without_memory(state[key])
            groups += state_dict["param_groups"][len(groups) :]  # too many: torch will say so
            theirs.update(map(id, _loading.tensors(state)))
            return {**state_dict, "state": state, "param_groups": groups}

        def after(_: Optimizer) -> None:
            for p, state in self.state.items():
                self.state[p] = _loading.copied(state, theirs)
            for p, memory in memories.items():
                self.state[p].update(memory)

        # As hooks, after the user's hooks that adapt the dictionary and before those that use
        # what was loaded. Torch shares tensors with the dictionary; what it shares is copied.
        hooks = [
            self.register_load_state_dict_pre_hook(before),
            self.register_load_state_dict_post_hook(after, prepend=True),
        ]
        try:
            with torch.no_grad():
                super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _memory(self, p: Tensor, group: dict[str, Any]) -> CriticalGradients:
        """The memory of a parameter; its entries are the state's own tensors."""
        memory = CriticalGradients(group["topC"], group["decay"])
        state = self.state.get(p, {})
        return _state.from_heap(state, memory) if _state.COUNTS in state else memory

    def _saved(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """What is saved of a parameter's memory."""
        return _state.stacked(self._memory(p, group), p)

    def _saved_group(self, group: dict[str, Any]) -> dict[str, Any]:
        """What is saved of a group."""
        return group

    def _loaded(self, content: _state.Content, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """A parameter's memory, in the form that it has in the state, from what was saved."""
        memory = CriticalGradients(group["topC"], group["decay"])
        memory.heap = [
            (priority, born, row.detach().to(p.device, copy=True))
            for priority, born, row in content.kept()
        ]
        memory.seen, memory.inserted = content.seen, content.inserted
        return _state.as_heap(memory)

    def _fitting(self, saved: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """A saved group, completed and checked to be one of this kind of optimizer's.

        The base's own values are not checked: some schedulers of torch's end on an lr a hair
        below zero, and what was saved must load.
        """
        checks = self._hyperparameters
        numbers = {k for k in _BASE if not isinstance(group.get(k), (bool, type(None)))}
        if missing := sorted(numbers - saved.keys()):
            raise ValueError(
                f"state_dict must be that of {type(self).__name__} or of its torch counterpart, "
                f"got one whose groups have no {', '.join(missing)}"
            )
        return _checked({**{k: group[k] for k in checks}, **saved}, checks)

    def _checked_gradients(self) -> list[tuple[dict[str, Any], list[tuple[Tensor, Tensor]]]]:
        """Each group, with (parameter, gradient) for those of its parameters that have one."""
        found = []
        for group in self.param_groups:
            self._check_memory_of(group)
            pairs = [(p, g) for p in group["params"] if (g := p.grad) is not None]
            for p, gradient in pairs:
                if gradient.layout != torch.strided:
                    raise RuntimeError(
                        f"{type(self).__name__} takes dense gradients, got one of layout "
                        f"{gradient.layout} for a parameter of shape {tuple(p.shape)}"
                    )
            found.append((group, pairs))
        return found

    def _check_memory_of(self, group: dict[str, Any]) -> None:
        """Check the memory's hyperparameters, if they are other objects than at the last check."""
        values = [group[name] for name in self._hyperparameters]
        known = self.__dict__.setdefault("_known_good", {}).get(id(group), [])
        if len(known) != len(values) or not all(map(operator.is_, values, known)):
            _checked({k: group[k] for k in self._hyperparameters}, self._hyperparameters)
            self._known_good[id(group)] = values

    def _scaling(self) -> dict[str, Tensor]:
        """What a GradScaler, or whoever acts as one, has set: torch's fused kernels heed it."""
        return {
            k: v for k in ("grad_scale", "found_inf") if (v := getattr(self, k, None)) is not None
        }

    def _base_step(self) -> None:
        """The torch optimizer's ``step``, without the hooks that our own step has run."""
        step = super().step.__func__  # type: ignore[attr-defined]
        if getattr(step, "hooked", False):  # torch wraps a class's step with its hooks once used
            step = step.__wrapped__
        step(self)
