"""Checks of what the functions of this package are called with."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check


def check_chunk(value: int | None) -> int | None:
    """A number of rows, or ``None``."""
    return None if value is None else _check.positive_integer("parallel_chunk_size", value)


def tensor_list(
    name: str,
    value: Iterable[Tensor] | Tensor,
    may_be_empty: bool = False,
    once: bool = False,
) -> list[Tensor]:
    """One tensor or several as a list without repetitions.

    Args:
        name: Of the argument.
        value: What it got.
        may_be_empty: Whether it may hold no tensor.
        once: Whether one may not be listed twice. (Sets of parameters may: torchjd takes them.)

    Raises:
        ValueError: There is none, one twice, or something else than a tensor among them.
    """
    if not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a tensor or several, got {value!r}")
    tensors = [value] if isinstance(value, Tensor) else list(value)
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}[{i}] must be a tensor, got {tensor!r}")
    if not tensors and not may_be_empty:
        raise ValueError(f"{name} must hold at least one tensor, got none (a used-up iterator?)")
    first: dict[Tensor, int] = {}
    for i, tensor in enumerate(tensors):
        if first.setdefault(tensor, i) != i and once:
            raise ValueError(
                f"{name} must not hold a tensor twice, got one of shape {tuple(tensor.shape)} as "
                f"{name}[{first[tensor]}] and as {name}[{i}]"
            )
    return list(first)


def check_accepts(name: str | Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Raise a ValueError for the first tensor that cannot have a ``.grad`` and a ``.jac``.

    Args:
        name: Of the argument that holds the tensors, or one for each tensor.
        tensors: The tensors.
    """
    for i, tensor in enumerate(tensors):
        if not tensor.requires_grad:
            raise ValueError(
                f"{called(name, i)} must require gradients, got a frozen tensor of shape "
                f"{tuple(tensor.shape)}: leave it out, or unfreeze it before the forward pass"
            )
        if not (tensor.is_leaf or tensor.retains_grad):
            raise ValueError(
                f"{called(name, i)} must be a leaf, such as a parameter, or have had "
                f"retain_grad() called, got an intermediate tensor of shape {tuple(tensor.shape)}"
            )
        check_dense(called(name, i), tensor)


def check_dense(name: str, tensor: Tensor) -> None:
    """Raise a ValueError for a sparse tensor."""
    if tensor.layout != torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor, got one of shape {tuple(tensor.shape)} with layout "
            f"{tensor.layout}"
        )


def called(name: str | Sequence[str], i: int) -> str:
    """Entry i by name: of an argument, or by its own."""
    return f"{name}[{i}]" if isinstance(name, str) else name[i]


def several(name: str, value: Iterable[Any] | Tensor) -> list[Any]:
    """As a list, of one if it is a tensor."""
    if isinstance(value, Tensor):
        return [value]
    if not isinstance(value, Iterable):
        raise ValueError(f"{name} must be one or several, got {value!r}")
    return list(value)


def one_for_each(tensors: list[Tensor], name: str, value: Iterable[Any] | Tensor) -> list[Any]:
    """As a list, if it has as many entries as there are tensors; otherwise a ValueError."""
    result = several(name, value)
    if len(result) != len(tensors):
        raise ValueError(
            f"{name} must have one entry for each of the {len(tensors)} tensors, got {len(result)}"
        )
    return result


def check_outputs(name: str, value: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Tensors that can be differentiated, none of them twice."""
    result = tensor_list(name, several(name, value), once=True)
    for i, tensor in enumerate(result):
        if not tensor.requires_grad:
            raise ValueError(
                f"{name}[{i}] must have been made from something that requires gradients, got a "
                f"tensor of shape {tuple(tensor.shape)} that was not (detached, or all frozen)"
            )
        check_dense(f"{name}[{i}]", tensor)
    return result
