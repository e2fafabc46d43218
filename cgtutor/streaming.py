"""GradVac during the backward pass, without the Jacobian of the whole model.

After ``mtl_backward`` the Jacobian of all shared parameters lies in memory, T times the model.
But a group of parameters needs nothing from the others. As the backward pass goes from the
last layer to the first, a group's T gradients are combined as soon as they are complete, and
freed before those of the next are made. (Small groups wait for a few others.)
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cgtutor.aggregation._gramian import Jacobians
from cgtutor.aggregation._weighting import GramianWeighting
from cgtutor.autojac import mtl_backward
from cgtutor.autojac._arguments import check_accepts, check_outputs
from cgtutor.autojac._fields import add_to_grad
from cgtutor.autojac._front import separate_rows
from cgtutor.autojac._graph import explore
from cgtutor.autojac._heads import Heads
from cgtutor.autojac._jac_to_grad import has_hooks
from cgtutor.autojac._rows import one_by_one, vectorised
from cgtutor.grouping import GroupedGradVac, check_modules

#: Bytes of Jacobians that may always wait.
_SMALL = 1 << 20


class StreamingGradVac(GroupedGradVac):
    """A :class:`~cgtutor.grouping.GroupedGradVac` that aggregates during the backward pass.

    It computes the same numbers, and takes less memory the finer the groups are (with one group it
    can save nothing). It takes somewhat more time, on small models several times as much. The
    forward pass has to run inside :meth:`tap`, which puts a tap between each parameter and the
    layer that uses it. Hooks on intermediate tensors see gradients of all tasks in one.

    A group waits for the end of the backward pass if a parameter of it has a hook, or is used by
    another way (a tied weight used by hand, an element of a ``ParameterList``,
    ``MultiheadAttention.out_proj``). All groups wait from where the graph cannot be differentiated
    for all tasks at once. Nothing is streamed, and :meth:`mtl_backward` does what
    :func:`~cgtutor.autojac.mtl_backward` and ``jac_to_grad`` do, if the vaccine has forward hooks
    or a subclass its own ``forward``, or if a parameter has a ``.jac`` to which to add.

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

        Raises:
            ValueError: ``modules`` have none of the groups' parameters.
        """
        layers = {layer for module in check_modules(modules) for layer in module.modules()}
        if not any(p in self._group_of for layer in layers for p in layer.parameters(False)):
            raise ValueError("modules must have parameters that are in a group, got none")
        put_tap: Any = _Tap.apply
        taken_out: dict[nn.Module, list[tuple[str, Any, Any]]] = {}

        def before(module: nn.Module, args: Any) -> None:
            transformed = torch._C._are_functorch_transforms_active()
            if module in taken_out or transformed or torch.compiler.is_compiling():
                return
            own = {n: p for n, p in module._parameters.items() if p in self._group_of}
            taken_out[module] = list(zip(own, own.values(), put_tap(self, *own.values())))
            for name, _, tap in taken_out[module]:
                module._parameters[name] = tap

        def after(module: nn.Module, args: Any, output: Any) -> None:
            for name, p, tap in taken_out.pop(module, []):
                if tap.data_ptr() != p.data_ptr():
                    p.data = tap.data  # as the module has done
                if module._parameters.get(name) is tap:  # and not one the module has put there
                    module._parameters[name] = p

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
        shared = self._members
        check_accepts(self._places, shared)
        if self._must_wait():
            mtl_backward(
                tensors,
                features,
                grad_tensors=grad_tensors,
                tasks_params=tasks_params,
                shared_params=shared,
                retain_graph=retain_graph,
            )
            return self.jac_to_grad()
        trunk = check_outputs("features", features)
        losses = check_outputs("tensors", tensors)
        heads = Heads(losses, trunk, grad_tensors, tasks_params, shared, retain_graph)
        this = self._pass = _Pass(self, trunk, len(losses))
        try:
            rest = self._differentiate(this, trunk, heads.directions, retain_graph)
        finally:
            self._pass = None
        this.finish(dict(zip(shared, rest)))
        self._commit(this.step)
        heads.add_to_grad()
        add_to_grad(shared, [this.gradients[p] for p in shared])
        return torch.from_numpy(this.weights).to(shared[0].device, self._dtype_of_weights())

    def _must_wait(self) -> bool:
        """Whether something has to be done to the weights or Jacobians of all groups at once."""
        return (
            has_hooks(self)
            or type(self).forward is not GramianWeighting.forward
            or type(self).weigh is not GroupedGradVac.weigh
            or any(getattr(p, "jac", None) is not None for p in self._members)
        )

    def _differentiate(
        self, this: "_Pass", trunk: list[Tensor], directions: list[Tensor], retain_graph: bool
    ) -> Sequence[Tensor | None]:
        """The backward pass. Returns the Jacobians of what has not been streamed."""
        shared = self._members
        if any(feature.retains_grad for feature in trunk):  # see jacobians
            this.stream_no_more()
            return one_by_one(trunk, shared, directions, retain_graph)
        rows = len(directions[0])
        return vectorised(trunk, shared, directions, retain_graph, rows, this.stream_no_more)


class _Pass:
    """One backward pass: which gradients are still to come, and what was made of the others."""

    def __init__(self, vaccine: StreamingGradVac, trunk: list[Tensor], tasks: int) -> None:
        self._vaccine = vaccine
        self.tasks = tasks
        uses, elsewhere = _uses(vaccine, trunk)
        #: For each group that can be streamed: how many gradients are to come.
        self.open = {
            b: sum(uses[p] for p in group)
            for b, group in enumerate(vaccine.groups)
            if all(uses[p] and p not in elsewhere for p in group)
        }
        precision = tuple(p.dtype for p in vaccine._members)
        self.step = vaccine._begin((len(vaccine.groups), tasks, tasks), precision)
        self.weights = np.zeros((len(vaccine.groups), tasks))
        self.gradients: dict[Tensor, Tensor] = {}
        self._parts: dict[Tensor, Tensor] = {}
        # Complete groups wait for others until it is worth a batch: small ones cost little.
        self._ready: list[int] = []
        self._waiting = 0
        self._receiving = False
        size = sum(p.nbytes for p in vaccine._members)
        self._worth_a_batch = max(size // 8, _SMALL)

    def receive(self, parameters: Sequence[Tensor], jacobians: Sequence[Tensor | None]) -> None:
        """Take what one use of a layer's parameters contributes.

        Args:
            parameters: The parameters.
            jacobians: For each a tensor of shape (T, *parameter.shape), or ``None`` for zero.
        """
        self._receiving = True
        for p, jacobian in zip(parameters, jacobians):
            if jacobian is not None:
                jacobian = jacobian.detach().contiguous()
                before = self._parts.get(p)
                self._parts[p] = jacobian if before is None else before + jacobian
            b = self._vaccine._group_of[p]
            self.open[b] -= 1
            if self.open[b] == 0:
                self._ready.append(b)
                self._waiting += sum(q.nbytes for q in self._vaccine.groups[b]) * self.tasks
        if self._waiting >= self._worth_a_batch:
            self._combine()
        self._receiving = False

    def stream_no_more(self) -> None:
        """Leave to :meth:`finish` what has not been received.

        It is called while the error is handled that has stopped a vectorised pass.
        """
        if self._receiving:  # what has been received is not known, and the error is ours
            raise
        self.open.clear()

    def finish(self, rest: dict[Tensor, Tensor | None]) -> None:
        """Combine the groups that are left, among them those that could not be streamed."""
        for b, group in enumerate(self._vaccine.groups):
            if group[0] in self.gradients or b in self._ready:
                continue
            for p in group:
                jacobian = rest[p]
                if jacobian is not None:
                    # some uses of a parameter may have been received before streaming ended
                    self._parts[p] = jacobian + self._parts[p] if p in self._parts else jacobian
            self._ready.append(b)
        self._combine()

    def _combine(self) -> None:
        """All groups that are ready."""
        if not self._ready:
            return
        groups = [self._vaccine.groups[b] for b in self._ready]
        parameters = [p for group in groups for p in group]
        rows = Jacobians(
            [
                self._parts.pop(p) if p in self._parts else p.new_zeros(self.tasks, *p.shape)
                for p in parameters
            ],
            precise=self._vaccine.guard,
            sizes=[len(group) for group in groups],
        )
        weights = self.step.weigh(self._ready, rows.gramians())
        self.weights[self._ready] = weights
        self.gradients.update(zip(parameters, rows.combine(weights)))
        self._ready.clear()
        self._waiting = 0


def _uses(vaccine: StreamingGradVac, trunk: list[Tensor]) -> tuple[Counter[Tensor], set[Tensor]]:
    """How many taps of each parameter the graph has, and which need their gradient in the end.

    These are used without a tap, or have hooks, which torch runs when it has the gradient.
    """
    taps: Counter[Tensor] = Counter()
    elsewhere = {feature for feature in trunk if feature.is_leaf}
    elsewhere |= {p for p in vaccine._members if p._backward_hooks}
    for node in explore(trunk).nodes:
        if getattr(node, "vaccine", None) is vaccine:
            taps.update(node.parameters)
            continue
        for child, _ in node.next_functions:
            if type(child).__name__ == "AccumulateGrad":
                elsewhere.add(child.variable)
    return taps, elsewhere


class _Tap(torch.autograd.Function):
    """Hands a layer's parameters on, and their gradients to the vaccine."""

    @staticmethod
    def forward(ctx: Any, vaccine: StreamingGradVac, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.vaccine, ctx.parameters = vaccine, parameters
        # detached, not viewed, or the layer could not change them in place
        return tuple(p.detach() for p in parameters)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        this, group_of = ctx.vaccine._pass, ctx.vaccine._group_of
        if this is None:
            return None, *gradients
        streamed = [group_of[p] in this.open for p in ctx.parameters]
        ours = [(p, g) for p, g, ok in zip(ctx.parameters, gradients, streamed) if ok]
        some = [(p, g) for p, g in ours if g is not None]
        if some:
            parameters, present = zip(*some)
            separate_rows(lambda rows: this.receive(parameters, rows), this.tasks, present)
        missing = [p for p, g in ours if g is None]
        if missing:
            this.receive(missing, [None] * len(missing))
        return None, *(None if ok else g for g, ok in zip(gradients, streamed))
