"""``backward`` and ``mtl_backward``."""

from collections.abc import Iterable, Sequence

from torch import Tensor

from cgtutor.autojac._arguments import (
    check_accepts,
    check_chunk,
    check_outputs,
    one_for_each,
    tensor_list,
)
from cgtutor.autojac._fields import add_to_jac, check_rows
from cgtutor.autojac._graph import explore
from cgtutor.autojac._heads import Heads
from cgtutor.autojac._rows import jacobians


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
        inputs: Parameters, or other tensors that have a ``.grad``, each counted once. By default
            all leaves that ``tensors`` were made from. (Without any there is an error, where
            torchjd does nothing: an empty list is most often a used-up iterator.)
        retain_graph: Keep the graph for another backward pass.
        parallel_chunk_size: How many rows to calculate in one vectorised pass; by default all.
            Less takes less memory. With 1, there is one plain pass for each row.

    After it each input has a ``.jac`` of shape (m, *input.shape): the sum of what it had and of
    the Jacobian, which is zero if ``tensors`` do not depend on it. Row i for a complex input is
    what torch has as its gradient, ∂/∂Re + i ∂/∂Im.

    In a vectorised pass, hooks on intermediate tensors see gradients of all rows in one, and what
    they store, or ``retain_grad()`` on such a tensor, cannot be used later; with
    ``parallel_chunk_size=1`` it can. What cannot be vectorised (what ``torch.compile`` has
    compiled, sparse embeddings, checkpoints with dropout, functions that call ``.item()``) goes
    through plain passes, and a ``UserWarning`` says so once. No node runs twice for one row.

    Raises:
        ValueError: There is nothing to differentiate; an input is frozen, sparse or no leaf;
            ``tensors`` are complex without ``jac_tensors``; or shapes do not fit. Nothing has
            changed then.

    What a user's own function raises, and lack of memory, is raised as it is; no ``.jac`` has
    changed then, but the graph may have been freed.

    >>> import torch
    >>> parameter = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> backward([parameter.sum(), parameter.square().sum()])
    >>> parameter.jac
    tensor([[1., 1.],
            [2., 4.]])
    """
    chunk = check_chunk(parallel_chunk_size)
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
            pass; by default all. Less takes less memory. With 1, there is one plain pass for each
            task.

    Where losses share a part above the features, what is only one loss's own is freed with that
    loss. For what cannot be vectorised, and for errors raised in the graph, the same holds as for
    :func:`backward`.

    Raises:
        ValueError: There is no tensor or feature, shapes do not fit, a parameter is frozen or
            sparse, a tensor is complex without ``grad_tensors``, no loss depends on the features,
            or one depends on a shared parameter by another way (as when a head changes the
            features in place). Nothing has changed then.

    >>> import torch
    >>> shared, head = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    >>> features = 2 * shared
    >>> mtl_backward([features.sum(), (head * features).prod()], features)
    >>> shared.jac, head.grad
    (tensor([[2., 2.],
            [4., 4.]]), tensor([8.]))
    """
    chunk = check_chunk(parallel_chunk_size)
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


def _identity(outputs: list[Tensor]) -> list[Tensor]:
    """The directions that single out each number of each output in turn."""
    rows = sum(output.numel() for output in outputs)
    result, start = [], 0
    for k, output in enumerate(outputs):
        if output.is_complex():
            raise ValueError(
                f"jac_tensors must be given unless all tensors are real, got None and tensors[{k}] "
                f"of {output.dtype}"
            )
        direction = output.new_zeros(rows, output.numel())
        direction[start : start + output.numel()].fill_diagonal_(1)
        result.append(direction.view(rows, *output.shape))
        start += output.numel()
    return result


def _check_directions(
    outputs: list[Tensor], jac_tensors: Sequence[Tensor] | Tensor
) -> list[Tensor]:
    result = one_for_each(outputs, "jac_tensors", jac_tensors)
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
