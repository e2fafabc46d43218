"""Reading and writing the fields ``.jac`` and ``.grad`` of parameters."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from cgtutor.autojac._arguments import called, check_accepts, check_dense


def check_jacobians(name: str | Sequence[str], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The Jacobians of these tensors, with as many rows each.

    Args:
        name: Of the argument that holds the tensors, or one for each tensor.
        tensors: The tensors.

    Raises:
        ValueError: One is missing, or has the wrong shape.
    """
    check_accepts(name, tensors)
    result: list[Tensor] = []
    for i, tensor in enumerate(tensors):
        jacobian = getattr(tensor, "jac", None)
        if jacobian is None:
            raise ValueError(
                f"{called(name, i)}.jac must be a Jacobian, got none for the tensor of shape "
                f"{tuple(tensor.shape)}: backward or mtl_backward has to be called first (with "
                "shared_params= if the features may not depend on it), and once for each "
                "jac_to_grad, which uses Jacobians up unless retain_jac=True"
            )
        kind = "complex" if tensor.is_complex() else "floating-point"
        if not isinstance(jacobian, Tensor) or not (
            jacobian.is_complex() if tensor.is_complex() else jacobian.is_floating_point()
        ):
            raise ValueError(f"{called(name, i)}.jac must be a {kind} tensor, got {jacobian!r}")
        check_dense(f"{called(name, i)}.jac", jacobian)
        rows = (result[0] if result else jacobian).shape[:1]
        if jacobian.ndim == 0 or jacobian.shape != (*rows, *tensor.shape):
            expected = ", ".join(map(str, [*(rows or "T"), *tensor.shape]))
            raise ValueError(
                f"{called(name, i)}.jac must have shape ({expected}), one row for each task, got "
                f"{tuple(jacobian.shape)}"
            )
        result.append(jacobian)
    return result


def check_rows(name: str, tensors: Sequence[Tensor], rows: int) -> None:
    """Raise a ValueError for a ``.jac`` to which one of so many rows cannot be added."""
    for i, tensor in enumerate(tensors):
        old = getattr(tensor, "jac", None)
        shape = getattr(old, "shape", None)
        if old is not None and shape != (rows, *tensor.shape):
            got = repr(old) if shape is None else tuple(shape)
            raise ValueError(
                f"{name}[{i}].jac must have shape {(rows, *tensor.shape)} for another Jacobian to "
                f"be added to it, got {got}: use it up with jac_to_grad, or delete it"
            )


def add_to_jac(
    tensors: Iterable[Tensor], jacobians: Iterable[Tensor], not_ours: Iterable[Tensor] = ()
) -> None:
    """Accumulate into ``.jac``; what is there is replaced, not changed in place.

    Args:
        tensors: What has the field.
        jacobians: What to add.
        not_ours: Tensors whose memory must not be used.
    """
    memory = {tensor.untyped_storage().data_ptr() for tensor in not_ours}
    for tensor, jacobian in zip(tensors, jacobians):
        if getattr(tensor, "jac", None) is not None:
            tensor.jac = tensor.jac + jacobian  # type: ignore[attr-defined]
            continue
        place = jacobian.untyped_storage().data_ptr()
        # a + b gives both parameters one and the same gradient: a field of its own for each
        tensor.jac = jacobian.clone() if place in memory else jacobian  # type: ignore[attr-defined]
        memory.add(place)


def add_to_grad(tensors: Iterable[Tensor], gradients: Iterable[Tensor]) -> None:
    """Accumulate into ``.grad`` as torch does, in the parameter's dtype and memory layout."""
    with torch.no_grad():
        for tensor, gradient in zip(tensors, gradients):
            if tensor.grad is not None:
                if tensor.grad.layout != torch.strided and gradient.layout == torch.strided:
                    tensor.grad = gradient + tensor.grad
                else:
                    tensor.grad += gradient
                continue
            dense = gradient.layout == torch.strided  # that of an embedding may be sparse
            if dense and (gradient.stride(), gradient.dtype) != (tensor.stride(), tensor.dtype):
                gradient = torch.empty_like(tensor, requires_grad=False).copy_(gradient)
            tensor.grad = gradient


def remove_jac(tensors: Iterable[Tensor]) -> None:
    """Delete every ``.jac``."""
    for tensor in tensors:
        del tensor.jac  # type: ignore[attr-defined]
