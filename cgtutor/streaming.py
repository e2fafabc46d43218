"""GradVac during the backward pass: no Jacobian of the whole model ever exists.

After ``mtl_backward`` the Jacobian of all shared parameters lies in memory, T times the model.
But a group of parameters needs nothing from the others. As the backward pass goes from the
last layer to the first, a group's T gradients are combined as soon as they are complete, and
freed before those of the next are made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cgtutor.aggregation.gramian import Jacobians
from cgtutor.autojac.backward import Heads, check_outputs
from cgtutor.autojac.fields import add_to_grad, check_accepts
from cgtutor.autojac.graph import explore, release
from cgtutor.autojac.rows import one_by_one, vectorised
from cgtutor.grouping import GroupedGradVac


class StreamingGradVac(GroupedGradVac):
    """A :class:`~cgtutor.grouping.GroupedGradVac` that aggregates during the backward pass.

    It gives the same numbers, and takes less memory the finer the groups are (with one group it
    can save nothing). The forward pass has to run inside :meth:`tap`, which puts a tap between
    each parameter and the layer that uses it. A group waits for the end of the backward pass if a
    parameter of it is used by another way (a tied weight used by hand, an element of a
    ``ParameterList``, ``MultiheadAttention.out_proj``), and all groups do if the graph
    cannot be differentiated for all tasks at once. Forward hooks of the vaccine itself do not run,
    and hooks on intermediate tensors see gradients of all tasks in one.

    Arguments, attributes and errors are those of ``GroupedGradVac``.

    >>> from cgtutor.grouping import all_layer
    >>> encoder = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> heads = [nn.Linear(3, 1), nn.Linear(3, 1)]
    >>> vaccine = StreamingGradVac(all_layer(encoder))
    >>> with vaccine.tap(encoder):
    ...     features = encoder(torch.randn(16, 2))
    >>> losses = [head(features).square().mean() for head in heads]
    >>> vaccine.mtl_backward(losses, features=features).shape
    torch.Size([2, 2])
    >>> encoder[0].weight.grad.shape
    torch.Size([8, 2])
    """

    def __init__(self, groups: Iterable[Iterable[Tensor]], *args: Any, **keywords: Any) -> None:
        super().__init__(groups, *args, **keywords)
        self._group_of = {p: b for b, group in enumerate(self.groups) for p in group}
        self._pass: _Pass | None = None

    @contextmanager
    def tap(self, *modules: nn.Module) -> Iterator[None]:
        """Run the forward pass of the shared part inside this context.

        Args:
            modules: What the groups' parameters belong to, such as the encoder. Layers inside
                something that ``torch.compile`` has compiled are not tapped.
        """
        taken_out: dict[nn.Module, list[tuple[str, Any, Any]]] = {}

        def before(module: nn.Module, args: Any) -> None:
            transformed = torch._C._are_functorch_transforms_active()
            if module in taken_out or transformed or torch.compiler.is_compiling():
                return
            own = [(n, p) for n, p in module._parameters.items() if p in self._group_of]
            taken_out[module] = [(name, p, _Tap.apply(p, self)) for name, p in own]
            for name, _, tap in taken_out[module]:
                module._parameters[name] = tap

        def after(module: nn.Module, args: Any, output: Any) -> None:
            for name, p, tap in taken_out.pop(module, []):
                if tap.data_ptr() != p.data_ptr():
                    p.data = tap.data  # as the module has done
                if module._parameters.get(name) is tap:  # and not one the module has put there
                    module._parameters[name] = p

        layers = {layer for module in modules for layer in module.modules()}
        handles = [
            handle
            for layer in layers
            if not isinstance(layer, torch.jit.ScriptModule)
            and any(p in self._group_of for p in layer.parameters(recurse=False))
            for handle in (
                layer.register_forward_pre_hook(before),
                layer.register_forward_hook(after, always_call=True),
            )
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module in list(taken_out):
                after(module, (), None)

    def mtl_backward(
        self,
        tensors: Sequence[Tensor],
        /,
        features: Sequence[Tensor] | Tensor,
        *,
        grad_tensors: Sequence[Tensor] | None = None,
        tasks_params: Sequence[Iterable[Tensor]] | None = None,
        retain_graph: bool = False,
    ) -> Tensor:
        """:func:`~cgtutor.autojac.mtl_backward` and :meth:`jac_to_grad` in one.

        The heads' parameters and the groups' parameters get their ``.grad``; there is no ``.jac``.

        Args:
            tensors: As for ``mtl_backward``.
            features: As for ``mtl_backward``.
            grad_tensors: As for ``mtl_backward``.
            tasks_params: As for ``mtl_backward``.
            retain_graph: Keep the graph for another backward pass.

        Returns:
            The weights of the T tasks in each group, shape (B, T).

        Raises:
            ValueError: As ``mtl_backward``; nothing has changed then.
        """
        trunk = check_outputs("features", features)
        shared = list(self._group_of)
        check_accepts(self._places, shared)
        losses = check_outputs("tensors", tensors)
        heads = Heads(losses, trunk, grad_tensors, tasks_params, shared, retain_graph)
        this = self._pass = _Pass(self, trunk, len(losses))
        try:
            rest = self._differentiate(this, trunk, heads.directions, retain_graph)
        finally:
            self._pass = None
        this.finish(dict(zip(shared, rest)))
        self.commit(this.step)
        heads.add_to_grad()
        add_to_grad(shared, [this.gradients[p] for p in shared])
        return torch.from_numpy(this.weights).to(shared[0].device, self._dtype_of_weights())

    def _differentiate(
        self, this: "_Pass", trunk: list[Tensor], directions: list[Tensor], retain_graph: bool
    ) -> Sequence[Tensor | None]:
        """The backward pass. Returns the Jacobians of what has not been streamed."""
        shared = list(self._group_of)
        if not any(feature.retains_grad for feature in trunk):  # see jacobians
            try:
                rest = vectorised(trunk, shared, directions, len(directions[0]))
            except Exception:  # whatever it is: plain passes work, or say what is wrong
                pass
            else:
                self._pass = None
                if not retain_graph:
                    release(trunk, shared)
                return rest
        this.stream_nothing()
        return one_by_one(trunk, shared, directions, retain_graph)


class _Pass:
    """One backward pass: which gradients are still to come, and what was made of the others."""

    def __init__(self, vaccine: StreamingGradVac, trunk: list[Tensor], tasks: int) -> None:
        self._vaccine = vaccine
        self._tasks = tasks
        uses, elsewhere = _uses(vaccine, trunk)
        #: For each group that can be streamed: how many gradients are to come.
        self.open = {
            b: sum(uses[p] for p in group)
            for b, group in enumerate(vaccine.groups)
            if all(uses[p] and p not in elsewhere for p in group)
        }
        precision = tuple(p.dtype for group in vaccine.groups for p in group)
        self.step = vaccine.begin((len(vaccine.groups), tasks, tasks), precision)
        self.weights = np.zeros((len(vaccine.groups), tasks))
        self.gradients: dict[Tensor, Tensor] = {}
        self._parts: dict[Tensor, Tensor] = {}

    def receive(self, parameter: Tensor, jacobian: Tensor | None) -> None:
        """Take what one use of a parameter contributes; combine its group if that was all.

        Args:
            parameter: The parameter.
            jacobian: Shape (T, *parameter.shape); or the parameter's own shape, if all tasks'
                gradients are the same.
        """
        if jacobian is not None:
            jacobian = jacobian.detach().expand(self._tasks, *parameter.shape).contiguous()
            before = self._parts.get(parameter)
            self._parts[parameter] = jacobian if before is None else before + jacobian
        b = self._vaccine._group_of[parameter]
        self.open[b] -= 1
        if self.open[b] == 0:
            self._combine(b, self._parts)

    def stream_nothing(self) -> None:
        """Start again, with all groups left to :meth:`finish`."""
        for collected in (self.open, self.gradients, self._parts):
            collected.clear()

    def finish(self, rest: dict[Tensor, Tensor | None]) -> None:
        """Combine the groups that could not be streamed."""
        for b, group in enumerate(self._vaccine.groups):
            if group[0] not in self.gradients:
                self._combine(b, {p: j for p in group if (j := rest[p]) is not None} | self._parts)

    def _combine(self, b: int, parts: dict[Tensor, Tensor]) -> None:
        group = self._vaccine.groups[b]
        rows = Jacobians(
            [parts.pop(p) if p in parts else p.new_zeros(self._tasks, *p.shape) for p in group],
            precise=self._vaccine.guard,
        )
        weights = self.step.weigh(slice(b, b + 1), rows.gramians().sum(0, keepdims=True))
        self.weights[b] = weights[0]
        self.gradients.update(zip(group, rows.combine(weights.repeat(len(group), 0))))


def _uses(vaccine: StreamingGradVac, trunk: list[Tensor]) -> tuple[Counter[Tensor], set[Tensor]]:
    """How many taps of each parameter the graph has, and which parameters it uses without one."""
    taps: Counter[Tensor] = Counter()
    elsewhere = {feature for feature in trunk if feature.is_leaf}
    for node in explore(trunk).nodes:
        if getattr(node, "vaccine", None) is vaccine:
            taps[node.parameter] += 1
            continue
        for child, _ in node.next_functions:
            if type(child).__name__ == "AccumulateGrad":
                elsewhere.add(child.variable)
    return taps, elsewhere


class _Tap(torch.autograd.Function):
    """Hands a parameter on, and its gradient to the vaccine."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, vaccine: StreamingGradVac) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.parameter, ctx.vaccine = parameter, vaccine
        return parameter.detach()  # no view, or the module could not change it in place

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        (gradient,) = gradients
        this = ctx.vaccine._pass
        if this is None or ctx.vaccine._group_of[ctx.parameter] not in this.open:
            return gradient, None
        if gradient is None:
            this.receive(ctx.parameter, None)
        else:
            _Rows.apply(gradient, partial(this.receive, ctx.parameter))
        return None, None


class _Rows(torch.autograd.Function):
    """What a vectorised pass holds as one gradient, as the T that it is."""

    @staticmethod
    def forward(gradient: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        receive(gradient)  # it is the same for all tasks: vectorised, vmap would be called
        return gradient.new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        return

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, gradient: Tensor, receive: Callable[[Tensor], None]
    ) -> tuple[Tensor, None]:
        receive(gradient.movedim(in_dims[0], 0))
        return gradient.new_zeros(()), None
