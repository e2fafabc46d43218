"""L2 norms of gradients, exact enough to compare: none overflows, vanishes or loses digits."""

import math

import torch
from torch import Tensor


def wide(device: torch.device) -> torch.dtype:
    """The widest floating-point type of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def norm(gradient: Tensor) -> Tensor:
    """The norm of one gradient as a tensor, without reading its value."""
    real = torch.view_as_real(gradient.resolve_conj()) if gradient.is_complex() else gradient
    length: Tensor = torch.linalg.vector_norm(real, dtype=wide(gradient.device))
    return length


def _lengths(parts: list[Tensor]) -> list[float]:
    """Norms in float64, read all at once where they are on one device."""
    devices = {part.device for part in parts}
    dtype = torch.float32 if any(d.type == "mps" for d in devices) else torch.float64
    found = torch._foreach_norm(parts, 2, dtype)
    return torch.stack(found).tolist() if len(devices) == 1 else [n.item() for n in found]


def norms(gradients: list[Tensor]) -> list[float]:
    """L2 norms in float64, where no finite gradient of lower precision overflows or vanishes.

    Right to eight digits; plain float32 sums err in the fourth at 16 million elements.
    """
    parts: list[Tensor] = []
    ends = []
    if not gradients:
        return []
    reals = [torch.view_as_real(g.resolve_conj()) if g.is_complex() else g for g in gradients]
    for g in reals:
        if g.numel() <= 2**16 or g.device.type != "cpu":
            parts.append(g)
            ends.append(len(parts))
            continue
        flat = g.reshape(-1)
        if g.dtype == torch.float32:
            # Converting all to float64 takes several times as long as this: float32 in short rows.
            rows = flat.numel() // 1024
            parts.append(torch.linalg.vector_norm(flat[: rows * 1024].view(rows, 1024), dim=1))
            parts.append(flat[rows * 1024 :])
        else:  # torch converts on the CPU before it reduces: by parts, the copy stays in the cache
            parts.extend(torch.split(flat, 2**18))
        ends.append(len(parts))
    lengths = _lengths(parts)
    if len(lengths) == len(gradients):
        return lengths
    found = [math.hypot(*lengths[start:end]) for start, end in zip([0, *ends], ends)]
    for i, g in enumerate(reals):
        small = 1e-10 * g.numel() ** 0.5
        if g.dtype == torch.float32 and g.numel() > 2**16 and not small < found[i] < math.inf:
            short = torch.split(g.reshape(-1), 2**16)  # the squares of all overflowed
            found[i] = math.hypot(*_lengths(list(short)))
    return found


def sum_of_norms(terms: list[float]) -> float:
    """The sum rounded once, so that it does not depend on the parameters' order."""
    try:
        return math.fsum(terms)
    except OverflowError:
        return math.inf
