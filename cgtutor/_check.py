"""Checks of what a caller passes in: one short function for each kind of value.

Each returns the value as a plain Python object, so that it can be saved with
``torch.save`` and loaded with ``weights_only=True``, or raises a ValueError that names
the argument, the value it got and what it takes.
"""

import math
import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, NoReturn

import torch
from torch import Tensor

_LARGEST = sys.float_info.max


def _refuse(name: str, value: object, takes: str) -> NoReturn:
    raise ValueError(f"{name} must be {takes}, got {value!r}")


def boolean(name: str, value: Any) -> bool:
    """``True`` or ``False`` and nothing that merely behaves like one."""
    if not isinstance(value, bool):
        _refuse(name, value, "True or False")
    return value


def optional_boolean(name: str, value: Any) -> bool | None:
    """``True``, ``False``, or ``None`` for "let torch decide"."""
    if value is not None and not isinstance(value, bool):
        _refuse(name, value, "True, False or None")
    return value


def positive_integer(name: str, value: Any) -> int:
    """1, 2, 3, … (a bool is not a count, and neither is 2.5)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        _refuse(name, value, "a positive integer")
    return int(value)


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> int | float:
    """A finite real number in [low, high]."""
    if low == -math.inf:
        takes = "a finite number"
    elif high == math.inf:
        takes = f"a finite number >= {low:g}"
    else:
        takes = f"a number in [{low:g}, {high:g}]"
    if not isinstance(value, Real) or isinstance(value, bool):
        _refuse(name, value, takes)
    plain = int(value) if isinstance(value, Integral) else float(value)
    if not (low <= plain <= high and abs(plain) <= _LARGEST):
        _refuse(name, value, takes)
    return plain


def number_or_tensor(name: str, value: Any, low: float = -math.inf) -> int | float | Tensor:
    """As :func:`number`; a one-element tensor, which torch can capture, is taken too."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            _refuse(name, value, "a number or a tensor with one element")
        number(name, value.item(), low)
        return value
    return number(name, value, low)


def betas(name: str, value: Any) -> tuple[float | Tensor, float | Tensor]:
    """Two decay rates in [0, 1), numbers or, if torch's Adam takes them, one-element tensors."""
    pair = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if len(pair) != 2:
        _refuse(name, value, "a pair of numbers in [0, 1)")
    for i, beta in enumerate(pair):
        number_or_tensor(f"{name}[{i}]", beta, low=0.0)
        if not beta < 1:
            _refuse(f"{name}[{i}]", beta, "a number in [0, 1)")
    first, second = (beta if isinstance(beta, Tensor) else float(beta) for beta in pair)
    return first, second


def one_of(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of the words in ``choices``."""
    words = list(choices)
    if not isinstance(value, str) or value not in words:
        _refuse(name, value, "one of " + ", ".join(map(repr, words)))
    return str(value)


def optional_dtype(name: str, value: Any) -> torch.dtype | None:
    """A floating-point dtype that torch can calculate in, or ``None`` for "as the parameter"."""
    takes = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    if value is None or (isinstance(value, torch.dtype) and value in takes):
        return value
    _refuse(name, value, "None or one of " + ", ".join(map(str, takes)))


def floating_tensor(name: str, value: Any, *dims: int) -> Tensor:
    """A tensor of real floating-point numbers with one of these numbers of dimensions."""
    takes = f"a floating-point tensor of dimension {' or '.join(map(str, dims))}"
    if not isinstance(value, Tensor):
        _refuse(name, value, takes)
    if value.ndim not in dims or not value.is_floating_point():
        raise ValueError(f"{name} must be {takes}, got shape {tuple(value.shape)}, {value.dtype}")
    return value


def distinct(name: str, params: Iterable[Any]) -> list[Any]:
    """Parameters, or pairs of a name and a parameter, none of which comes twice."""
    listed, seen = list(params), set()
    for entry in listed:
        p = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
        if id(p) in seen:
            found = repr(p) if not isinstance(p, Tensor) else f"one of shape {tuple(p.shape)}"
            found += f", {entry[0]!r}," if p is not entry else ""
            raise ValueError(f"{name} must hold each parameter once, got {found} twice")
        seen.add(id(p))
    return listed


def optional_generator(name: str, value: Any) -> torch.Generator | None:
    """A CPU generator, or ``None`` for torch's global one."""
    if value is None or (isinstance(value, torch.Generator) and value.device.type == "cpu"):
        return value
    _refuse(name, value, "None or a torch.Generator of the CPU")
