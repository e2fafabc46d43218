"""What all critical-gradient optimizers share: a memory in front of a torch optimizer."""

import operator
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cgtutor import _check, stack
from cgtutor.memory import AGGREGATES, CriticalGradients, checked_state, norms, sum_of_norms

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

    def __init__(self, params: Iterable[Any], memory: dict[str, Any], **base: Any) -> None:
        memory = _checked(memory, self._hyperparameters)
        base = _checked(base, _BASE)
        # The torch optimizer's __init__ makes self.defaults of its own hyperparameters and
        # adds the groups at once, so these have to bring the memory's along.
        if not isinstance(params, Tensor):  # torch's own error for a bare tensor is clear
            groups = list(params)
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
            ValueError: a hyperparameter of the group is out of range; nothing was added.
        """
        if isinstance(param_group, dict):
            param_group = _checked(param_group, {**_BASE, **self._hyperparameters})
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
                if group.get("nesterov") and aggregate is gradient:
                    aggregate = gradient.clone()  # torch's foreach form would write into it
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
            self.state[p]["critical"] = memory.state
        return loss

    def memory(self, parameter: Tensor) -> CriticalGradients:
        """The memory of one parameter as it is now: its priorities, ages and counts.

        Ask again after the next step: what this returns need not follow it.

        Raises:
            ValueError: this optimizer does not optimize ``parameter``.
        """
        for group in self.param_groups:
            if any(p is parameter for p in group["params"]):
                return self._memory(parameter, group)
        shape = tuple(parameter.shape) if isinstance(parameter, Tensor) else None
        raise ValueError(
            "parameter must be one of the tensors that this optimizer optimizes, got "
            + (repr(parameter) if shape is None else f"another tensor, of shape {shape}")
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state, memories included; nothing is shared with ``state_dict``.

        The state of the torch optimizer of the same kind is taken too: its training goes on
        here, with empty memories and the memory hyperparameters that this optimizer has.

        Raises:
            ValueError: the groups are other groups or lack a hyperparameter that this kind of
                optimizer has, a hyperparameter of the memory is out of range, or what is
                saved of a memory does not fit its parameter. Nothing was changed.
        """
        memories: dict[Tensor, dict[str, Any]] = {}

        def before(_: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
            """Check all, and note the memories as they are: torch casts its copy to p's dtype."""
            groups = []
            for saved, group in zip(state_dict["param_groups"], self.param_groups):
                groups.append(self._fitting(saved, group))
                for key, p in zip(saved["params"], group["params"]):
                    memory = state_dict["state"].get(key, {}).get("critical")
                    if memory is not None:
                        name = f"state_dict['state'][{key!r}]['critical']"
                        memories[p] = self._loaded(name, memory, p, groups[-1])
            groups += state_dict["param_groups"][len(groups) :]  # too many: torch will say so
            return {**state_dict, "param_groups": groups}

        def after(_: Optimizer) -> None:
            for p, memory in memories.items():
                self.state[p]["critical"] = memory

        # As hooks, after the user's hooks that adapt the dictionary and before those that use
        # what was loaded. Torch shares tensors with the dictionary, hence the copy.
        hooks = [
            self.register_load_state_dict_pre_hook(before),
            self.register_load_state_dict_post_hook(after, prepend=True),
        ]
        try:
            super().load_state_dict(deepcopy(state_dict))
        finally:
            for hook in hooks:
                hook.remove()

    def _loaded(self, name: str, saved: Any, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """A parameter's saved memory, checked, on its device (that of an _eff twin is taken)."""
        if isinstance(saved, dict) and "ledger" in saved:
            saved = stack.as_heap(stack.checked(name, saved, p))
        memory = checked_state(name, saved, p)
        memory["heap"] = [(prio, born, g.to(p.device)) for prio, born, g in memory["heap"]]
        return memory

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

    def _memory(self, p: Tensor, group: dict[str, Any]) -> CriticalGradients:
        state = self.state.get(p, {}).get("critical")
        return CriticalGradients(group["topC"], group["decay"], state)

    def _base_step(self) -> None:
        """The torch optimizer's ``step``, without the hooks that our own step has run."""
        step = super().step.__func__  # type: ignore[attr-defined]
        if getattr(step, "hooked", False):  # torch wraps a class's step with its hooks once used
            step = step.__wrapped__
        step(self)
