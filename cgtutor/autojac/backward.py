"""``backward`` and ``mtl_backward``."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check
from cgtutor.autojac.fields import (
    add_to_grad,
    add_to_jac,
    check_accepts,
    check_rows,
    tensor_list,
)
from cgtutor.autojac.graph import explore, release
from cgtutor.autojac.rows import jacobians


def backward(
    tensors: Sequence[Tensor] | Tensor,
    /,
    *,
    jac_tensors: Sequence[Tensor] | Tensor | None = None,
    inputs: Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
) -> None:
    """Accumulate the Jacobian of some tensors into the ``.jac`` of what they were made from.

    Args:
        tensors: What to differentiate, of any shape: T losses, for example. Each of their m
            numbers has a row of the Jacobian.
        jac_tensors: Jacobians of what comes after ``tensors``, to be carried on by the chain
            rule: for each tensor one of shape (m, *tensor.shape). By default the identity.
        inputs: Parameters, or other tensors that have a ``.grad``. By default all leaves that
            ``tensors`` were made from.
        retain_graph: Keep the graph for another backward pass.
        parallel_chunk_size: How many rows to calculate in one vectorised pass; by default all.
            Less takes less memory. Where a graph cannot be vectorised, and with 1, there is one
            pass for each row.

    In a vectorised pass, hooks on intermediate tensors see gradients of all rows in one, and what
    they store, or ``retain_grad()`` on such a tensor, cannot be used later; with
    ``parallel_chunk_size=1`` it can.

    After it each input has a ``.jac`` of shape (m, *input.shape): the sum of what it had and of
    the Jacobian, which is zero if ``tensors`` do not depend on it.

    Raises:
        ValueError: There is nothing to differentiate, or shapes do not fit; nothing has changed
            then.

    >>> parameter = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> backward([parameter.sum(), parameter.square().sum()])
    >>> parameter.jac
    tensor([[1., 1.],
            [2., 4.]])
    """
    chunk = _check_chunk(parallel_chunk_size)
    outputs = check_outputs("tensors", tensors)
    if inputs is None:
        inputs = explore(outputs).leaves
    leaves = tensor_list("inputs", inputs)
    check_accepts("inputs", leaves)
    owners = None
    if jac_tensors is None:
        directions = _identity(outputs)
        owners = [k for k, output in enumerate(outputs) for _ in range(output.numel())]
    else:
        directions = _check_directions(outputs, jac_tensors)
    check_rows("inputs", leaves, len(directions[0]))
    found = jacobians(outputs, leaves, directions, retain_graph, chunk, owners)
    add_to_jac(leaves, found, not_ours=directions)


def mtl_backward(
    tensors: Sequence[Tensor],
    /,
    features: Sequence[Tensor] | Tensor,
    *,
    grad_tensors: Sequence[Tensor] | None = None,
    tasks_params: Sequence[Iterable[Tensor]] | None = None,
    shared_params: Iterable[Tensor] | None = None,
    retain_graph: bool = False,
    parallel_chunk_size: int | None = None,
) -> None:
    """Backward pass of T tasks with a head each on shared features.

    The heads' parameters get the gradient of their own task in ``.grad``, ready for the
    optimizer (one that several heads use gets the sum). The parameters that the features were
    made from get one gradient for each task, in ``.jac`` of shape (T, *parameter.shape), for
    :func:`jac_to_grad`. Both are added to what is there. For hooks and ``retain_grad()`` on tensors
    below the features the same holds as for :func:`backward`.

    Args:
        tensors: The T losses, or with ``grad_tensors`` tensors of any shape, one for each task.
        features: The tensor or tensors through which, and only through which, the losses depend
            on the shared parameters.
        grad_tensors: For each tensor its gradient, of its shape; needed unless all are scalars.
        tasks_params: For each task the parameters of its head. By default all leaves that its
            tensor was made from after the features.
        shared_params: By default all leaves that the features were made from.
        retain_graph: Keep the graph for another backward pass.
        parallel_chunk_size: How many tasks to carry through the shared part in one vectorised
            pass; by default all. Less takes less memory. Where a graph cannot be vectorised,
            and with 1, there is one pass for each task.

    Raises:
        ValueError: There is no tensor or feature, shapes do not fit, a parameter is frozen, no
            loss depends on the features, or one depends on a shared parameter by another way.
            Nothing has changed then.

    >>> shared, head = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> features = 2 * shared
    >>> mtl_backward([features.sum(), (head * features).prod()], features)
    >>> shared.jac, head.grad
    (tensor([[2., 2.],
            [4., 4.]]), tensor([8.]))
    """
    chunk = _check_chunk(parallel_chunk_size)
    trunk = check_outputs("features", features)
    if shared_params is None:
        shared_params = explore(trunk).leaves
    shared = tensor_list("shared_params", shared_params, may_be_empty=True)
    check_accepts("shared_params", shared)
    losses = check_outputs("tensors", tensors)
    check_rows("shared_params", shared, len(losses))
    heads = Heads(losses, trunk, grad_tensors, tasks_params, shared, retain_graph)
    found = jacobians(trunk, shared, heads.directions, retain_graph, chunk) if shared else []
    heads.add_to_grad()
    add_to_jac(shared, found)


class Heads:
    """What happens between the losses and the features, task by task.

    Nothing is written before :meth:`add_to_grad`. The arguments are those of
    :func:`mtl_backward`; the first two and the shared parameters are checked already, the others
    are here.

    Attributes:
        directions: For each feature the T tasks' gradients, shape (T, *feature.shape).
    """

    def __init__(
        self,
        losses: list[Tensor],
        trunk: list[Tensor],
        grad_tensors: Sequence[Tensor] | None,
        tasks_params: Sequence[Iterable[Tensor]] | None,
        shared: list[Tensor],
        retain_graph: bool,
    ) -> None:
        starts = _check_starts(losses, grad_tensors)
        for k, feature in enumerate(trunk):
            others = [other for other in trunk if other is not feature]
            if others and explore([feature], stop=others).stopped:
                raise ValueError(
                    "features must not be made from one another, got "
                    f"features[{k}] made from another one: leave one of them out"
                )
        seen_by = [explore([loss], stop=trunk) for loss in losses]
        if tasks_params is None:
            heads = [seen.leaves for seen in seen_by]
        else:
            heads = [
                tensor_list(f"tasks_params[{task}]", parameters, may_be_empty=True)
                for task, parameters in enumerate(
                    _one_for_each(losses, "tasks_params", tasks_params)
                )
            ]
        for task, (head, seen) in enumerate(zip(heads, seen_by)):
            check_accepts(f"tasks_params[{task}]", head)
            bypass = set(shared) & {*head, *seen.leaves}
            if bypass:
                raise ValueError(
                    "features must be all through which tensors depend on shared_params, but "
                    f"tensors[{task}] reaches one of shape {tuple(bypass.pop().shape)} by "
                    "another way"
                )
        if not any(seen.stopped for seen in seen_by):
            raise ValueError(
                "features must be what tensors were made from, but none of them depends on any"
            )
        nodes = [seen.nodes for seen in seen_by]
        # tasks that have a part above the features in common need it in turn
        entangled = sum(map(len, nodes)) > len(set().union(*nodes))
        results = [
            torch.autograd.grad(
                loss,
                [*head, *trunk],
                start,
                retain_graph=retain_graph or entangled,
                allow_unused=True,
            )
            for loss, head, start in zip(losses, heads, starts)
        ]
        if entangled and not retain_graph:
            for loss, head in zip(losses, heads):
                release([loss], [*head, *trunk])
        at_trunk = [result[len(head) :] for result, head in zip(results, heads)]
        self.directions = [
            torch.stack([torch.zeros_like(feature) if g is None else g for g in column])
            for feature, column in zip(trunk, zip(*at_trunk))
        ]
        self._pairs = [(p, g) for head, result in zip(heads, results) for p, g in zip(head, result)]

        # the pass below the features would add the same once more
        self._retained = [(f, f.grad) for f in trunk if f.retains_grad]

    def add_to_grad(self) -> None:
        """Accumulate what was found for the heads' own parameters."""
        for feature, gradient in self._retained:
            feature.grad = gradient
        # in copies, because autograd may hand out one tensor for two parameters
        add_to_grad(
            [p for p, _ in self._pairs],
            [torch.zeros_like(p) if g is None else g.detach().clone() for p, g in self._pairs],
        )


def _check_chunk(value: int | None) -> int | None:
    return None if value is None else _check.positive_integer("parallel_chunk_size", value)


def _several(name: str, value: Iterable[Any] | Tensor) -> list[Any]:
    """As a list, of one if it is a tensor."""
    if isinstance(value, Tensor):
        return [value]
    if not isinstance(value, Iterable):
        raise ValueError(f"{name} must be one or several, got {value!r}")
    return list(value)


def _one_for_each(tensors: list[Tensor], name: str, value: Iterable[Any] | Tensor) -> list[Any]:
    """As a list, if it has as many entries as there are tensors; otherwise a ValueError."""
    result = _several(name, value)
    if len(result) != len(tensors):
        raise ValueError(
            f"{name} must have one entry for each of the {len(tensors)} tensors, got {len(result)}"
        )
    return result


def check_outputs(name: str, value: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Tensors that can be differentiated, none of them twice."""
    given = _several(name, value)
    result = tensor_list(name, given)
    if len(result) < len(given):
        raise ValueError(f"{name} must not hold a tensor twice, got {len(given)} with repetitions")
    for i, tensor in enumerate(result):
        if not tensor.requires_grad:
            raise ValueError(
                f"{name}[{i}] must have been made from something that requires gradients, got a "
                f"tensor of shape {tuple(tensor.shape)} that was not (detached, or all frozen)"
            )
    return result


def _identity(outputs: list[Tensor]) -> list[Tensor]:
    """The directions that single out each number of each output in turn."""
    rows = sum(output.numel() for output in outputs)
    result, start = [], 0
    for output in outputs:
        direction = output.new_zeros(rows, output.numel())
        direction[start : start + output.numel()].fill_diagonal_(1)
        result.append(direction.view(rows, *output.shape))
        start += output.numel()
    return result


def _check_directions(
    outputs: list[Tensor], jac_tensors: Sequence[Tensor] | Tensor
) -> list[Tensor]:
    result = _one_for_each(outputs, "jac_tensors", jac_tensors)
    for i, (direction, output) in enumerate(zip(result, outputs)):
        if not isinstance(direction, Tensor) or direction.dtype != output.dtype:
            kind = direction.dtype if isinstance(direction, Tensor) else repr(direction)
            raise ValueError(
                f"jac_tensors[{i}] must be a tensor of {output.dtype}, as tensors[{i}] is, got "
                f"{kind}"
            )
        rows = result[0].shape[:1]
        if direction.ndim == 0 or tuple(direction.shape) != (*rows, *output.shape):
            expected = ", ".join(["m", *map(str, output.shape)])
            raise ValueError(
                f"jac_tensors[{i}] must have shape ({expected}) with the same m for all, got "
                f"{tuple(direction.shape)}"
            )
    return result


def _check_starts(
    losses: list[Tensor], grad_tensors: Sequence[Tensor] | None
) -> Sequence[Tensor | None]:
    if grad_tensors is None:
        for i, loss in enumerate(losses):
            if loss.ndim > 0:
                raise ValueError(
                    f"grad_tensors must be given unless all tensors are scalars, got None and "
                    f"tensors[{i}] of shape {tuple(loss.shape)}"
                )
        return [None] * len(losses)
    starts = _one_for_each(losses, "grad_tensors", grad_tensors)
    for i, (start, loss) in enumerate(zip(starts, losses)):
        if not isinstance(start, Tensor) or start.shape != loss.shape:
            got = tuple(start.shape) if isinstance(start, Tensor) else repr(start)
            raise ValueError(
                f"grad_tensors[{i}] must be a tensor of shape {tuple(loss.shape)}, as tensors[{i}] "
                f"has, got {got}"
            )
    return starts
