"""What a vaccine saw and did in one call."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Report:
    """What a vaccine saw and did in one call; every tensor is on the CPU.

    Attributes:
        gramian: Shape (…, T, T), the dot products of the task gradients as they came; zeros for a
            group in which one was not finite.
        targets: Shape (…, T, T), φ̂ before the call.
        similarities: Shape (…, T, T), the cosine φᵢⱼ of gradient i, as changed so far, and the
            original gradient j when they met; zero on the diagonal.
        coefficients: Shape (…, T, T): changed gradient i is Σⱼ ``coefficients[i, j]`` gⱼ.
    """

    gramian: Tensor
    targets: Tensor
    similarities: Tensor
    coefficients: Tensor

    @property
    def cosines(self) -> Tensor:
        """Shape (…, T, T): of the task gradients as they came, zero beside a zero gradient."""
        norms = self.gramian.diagonal(dim1=-2, dim2=-1).sqrt()
        return (self.gramian / (norms[..., :, None] * norms[..., None, :])).nan_to_num(0.0)

    @property
    def corrected(self) -> Tensor:
        """Shape (…, T, T), boolean: has gradient i been turned towards gradient j?"""
        off_diagonal = ~torch.eye(self.gramian.shape[-1], dtype=torch.bool)
        return (self.coefficients != 0) & off_diagonal

    @property
    def frequency(self) -> Tensor:
        """Shape (…): corrected pairs as a share of all T(T - 1)."""
        tasks = self.gramian.shape[-1]
        return self.corrected.sum((-2, -1)) / max(tasks * (tasks - 1), 1)

    @property
    def strength(self) -> Tensor:
        """Shape (…, T): ‖g'ᵢ - gᵢ‖ / ‖gᵢ‖, the change of each task's gradient."""
        change = self.coefficients - torch.eye(self.gramian.shape[-1], dtype=torch.float64)
        square = ((change @ self.gramian) * change).sum(-1)
        norms = self.gramian.diagonal(dim1=-2, dim2=-1)
        return (square / norms).clamp(min=0).sqrt().nan_to_num(0.0)
