"""``jac_to_grad``: from Jacobians to gradients."""

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from cgtutor.aggregation.base import Aggregator
from cgtutor.aggregation.gradvac import GramianWeightedAggregator
from cgtutor.aggregation.gramian import as_matrix
from cgtutor.autojac.fields import add_to_grad, check_jacobians, remove_jac, tensor_list


def jac_to_grad(
    tensors: Iterable[Tensor],
    /,
    aggregator: Callable[[Tensor], Tensor],
    *,
    retain_jac: bool = False,
    optimize_gramian_computation: bool = False,
) -> Tensor | None:
    """Aggregate the ``.jac`` of some tensors, taken together, into their ``.grad``.

    Args:
        tensors: One group of parameters, each with a ``.jac`` of shape (T, *parameter.shape).
        aggregator: Makes one vector out of a Jacobian of shape (T, N): one of
            :mod:`cgtutor.aggregation`, one of torchjd's, or any function that does.
        retain_jac: Keep each ``.jac``, which is deleted otherwise.
        optimize_gramian_computation: For torchjd's aggregators that look at the Gramian only:
            sum the Gramians of the tensors instead of putting their Jacobians together into one.
            For ``GradVac`` and ``PCGrad`` of this package it is done anyway.

    Returns:
        The weights, shape (T,), if the result is a weighted sum of the rows and the aggregator
        says so (this package's and torchjd's do); otherwise ``None``.

    Raises:
        ValueError: There is no tensor, one has no ``.jac`` or one of the wrong shape, or
            the aggregator cannot do with a Gramian alone. Nothing has changed then.

    >>> from cgtutor.aggregation import GradVac
    >>> parameter = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> parameter.jac = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> jac_to_grad([parameter], GradVac())
    tensor([2.0000, 1.5000])
    >>> parameter.grad
    tensor([0.5000, 1.5000])
    """
    group = tensor_list("tensors", tensors)
    jacobians = check_jacobians("tensors", group)
    if not callable(aggregator):
        raise ValueError(f"aggregator must be an Aggregator or a function, got {aggregator!r}")
    hooked = isinstance(aggregator, nn.Module) and _has_hooks(aggregator)
    if _is_plain(aggregator) and not hooked:
        weights: Tensor | None
        weights, gradients = aggregator.weigh_and_combine(jacobians)
    elif optimize_gramian_computation:
        inner = getattr(aggregator, "gramian_weighting", None)
        if inner is None or hooked or _has_hooks(getattr(aggregator, "weighting", inner)):
            raise ValueError(
                "optimize_gramian_computation must be False unless the aggregator weighs rows by "
                f"their Gramian and has no forward hooks, got True for {aggregator}"
            )
        weights, gradients = _from_gramian(inner, jacobians)
    else:
        weights, gradients = _from_matrix(aggregator, jacobians)
    add_to_grad(group, gradients)
    if not retain_jac:
        remove_jac(group)
    return weights


def _is_plain(aggregator: object) -> TypeGuard[GramianWeightedAggregator]:
    """Whether it is a weighted sum and no more: a subclass may make something else of it."""
    return (
        isinstance(aggregator, GramianWeightedAggregator)
        and type(aggregator).forward is GramianWeightedAggregator.forward
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _from_gramian(
    weighting: Callable[[Tensor], Tensor], jacobians: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """In the Jacobians' own precision, which is what torchjd's weightings expect."""
    matrices = [as_matrix(jacobian) for jacobian in jacobians]
    weights = weighting(sum(matrix @ matrix.T for matrix in matrices))  # type: ignore[arg-type]
    gradients = [torch.tensordot(weights.to(j.dtype), j, dims=1) for j in jacobians]
    return weights, gradients


def _from_matrix(
    aggregator: Callable[[Tensor], Tensor], jacobians: list[Tensor]
) -> tuple[Tensor | None, list[Tensor]]:
    """What any aggregator understands: one matrix in, one vector out."""
    matrix = torch.cat([as_matrix(jacobian) for jacobian in jacobians], dim=1)
    weights: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> None:
        weights.append(output)

    weighting = getattr(aggregator, "weighting", getattr(aggregator, "gramian_weighting", None))
    handle = weighting.register_forward_hook(keep) if isinstance(weighting, nn.Module) else None
    try:
        vector = aggregator(matrix)
    finally:
        if handle is not None:
            handle.remove()
    if not isinstance(vector, Tensor) or vector.shape != matrix.shape[1:]:
        got = f"shape {tuple(vector.shape)}" if isinstance(vector, Tensor) else repr(vector)
        raise ValueError(
            f"aggregator must return a vector of shape {tuple(matrix.shape[1:])} for a matrix of "
            f"shape {tuple(matrix.shape)}, got {got} from {aggregator}"
        )
    sizes = [jacobian.shape[1:].numel() for jacobian in jacobians]
    gradients = [
        part.detach().view(jacobian.shape[1:]).to(jacobian.dtype)
        for part, jacobian in zip(vector.split(sizes), jacobians)
    ]
    if not weights:
        return None, gradients
    if isinstance(aggregator, Aggregator):  # ours calculate in float64
        weights[-1] = weights[-1].to(torch.promote_types(matrix.dtype, torch.float32))
    return weights[-1], gradients
