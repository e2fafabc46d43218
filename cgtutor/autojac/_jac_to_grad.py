"""``jac_to_grad``: from Jacobians to gradients."""

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from cgtutor.aggregation import Aggregator, GramianWeightedAggregator, GramianWeighting
from cgtutor.aggregation._gramian import as_matrix, as_row
from cgtutor.autojac._arguments import tensor_list
from cgtutor.autojac._fields import add_to_grad, check_jacobians, remove_jac

#: Columns that are compared in one go.
_COLUMNS = 1 << 20


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
            :mod:`cgtutor.aggregation`, one of torchjd's, or any function that does. A complex
            number counts as two real ones.
        retain_jac: Keep each ``.jac``, which is deleted otherwise.
        optimize_gramian_computation: For torchjd's aggregators that look at the Gramian only:
            sum the Gramians of the tensors instead of putting their Jacobians together into one.
            For ``GradVac`` and ``PCGrad`` of this package it is done anyway.

    Returns:
        The weights, shape (T,), if the aggregator finds them by a module in its attribute
        ``weighting`` or ``gramian_weighting``, as this package's and torchjd's do, and the result
        is the sum of the rows so weighted; otherwise ``None``.

    Raises:
        ValueError: There is no tensor, one is listed twice or is frozen, one has no ``.jac`` or one
            of the wrong shape; the aggregator returns no such vector, cannot do with a Gramian
            alone, or is a weighting. Nothing has changed then.

    >>> from cgtutor.aggregation import GradVac
    >>> parameter = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> parameter.jac = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    >>> jac_to_grad([parameter], GradVac())
    tensor([2.0000, 1.5000])
    >>> parameter.grad
    tensor([0.5000, 1.5000])
    """
    group = tensor_list("tensors", tensors, once=True)
    jacobians = check_jacobians("tensors", group)
    if not callable(aggregator):
        raise ValueError(f"aggregator must be an Aggregator or a function, got {aggregator!r}")
    if isinstance(aggregator, GramianWeighting):
        grouped = hasattr(aggregator, "jac_to_grad")
        raise ValueError(
            "aggregator must make a vector out of a Jacobian, but a weighting makes weights out "
            f"of a Gramian, got {aggregator}: "
            + (
                "a grouped vaccine has its own method, vaccine.jac_to_grad()"
                if grouped
                else f"use GramianWeightedAggregator({type(aggregator).__name__}(...))"
            )
        )
    hooked = isinstance(aggregator, nn.Module) and has_hooks(aggregator)
    if _is_plain(aggregator) and not hooked:
        weights: Tensor | None
        weights, gradients = aggregator.weigh_and_combine(jacobians)
    elif optimize_gramian_computation:
        inner = getattr(aggregator, "gramian_weighting", None)
        if inner is None or hooked or has_hooks(getattr(aggregator, "weighting", inner)):
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


def has_hooks(module: nn.Module) -> bool:
    """Whether something else runs when the module is called: its own hooks, or every module's."""
    every: Any = nn.modules.module
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or every._global_forward_hooks
        or every._global_forward_pre_hooks
    )


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
    parts = [as_matrix(jacobian) for jacobian in jacobians]
    matrix = torch.cat(parts, dim=1)
    found: list[object] = []

    def keep(module: nn.Module, args: Any, output: object) -> None:
        found.append(output)

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
    rows = torch.split(vector.detach(), [part.shape[1] for part in parts])
    gradients = [
        as_row(row.to(part.dtype), jacobian) for row, part, jacobian in zip(rows, parts, jacobians)
    ]
    weights = found[-1] if found else None
    if not isinstance(weights, Tensor) or not _are_weights(weights, matrix, vector):
        return None, gradients
    if isinstance(aggregator, Aggregator):  # ours calculate in float64
        weights = weights.to(torch.promote_types(matrix.dtype, torch.float32))
    return weights, gradients


@torch.no_grad()
def _are_weights(weights: Tensor, matrix: Tensor, vector: Tensor) -> bool:
    """Whether the vector is the sum of the rows so weighted, but for rounding."""
    if weights.shape != matrix.shape[:1] or weights.is_complex():
        return False
    # half precision would not do for large weights, nor for a sum
    kind = torch.promote_types(matrix.dtype, torch.float32)
    weights = weights.to(matrix.device, kind)
    rounding = torch.finfo(matrix.dtype).eps * 64
    for start in range(0, max(matrix.shape[1], 1), _COLUMNS):
        rows = matrix[:, start : start + _COLUMNS].to(kind)
        part = vector[start : start + _COLUMNS].to(kind)
        largest = weights.abs() @ rows.abs()
        near = (part - weights @ rows).abs() <= rounding * largest
        # what is not finite tells nothing
        if not bool((near | ~part.isfinite() | ~largest.isfinite()).all()):
            return False
    return True
