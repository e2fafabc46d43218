"""What all aggregators have in common, and the two simplest."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from cgtutor import _check


class Aggregator(nn.Module, ABC):
    """Makes one vector out of the T rows of a Jacobian.

    A subclass implements ``forward(matrix)``. Calling it checks the matrix first, and runs
    forward hooks as any module does.
    """

    @abstractmethod
    def forward(self, matrix: Tensor, /) -> Tensor:
        """Aggregate a Jacobian of shape (T, N) into a vector of shape (N,)."""

    def __call__(self, matrix: Tensor, /) -> Tensor:
        """Aggregate.

        Args:
            matrix: Shape (T, N), floating-point: one row for each task.

        Returns:
            Shape (N,), of the matrix's dtype, on its device.

        Raises:
            ValueError: ``matrix`` is not such a tensor.
        """
        _check.floating_tensor("matrix", matrix, 2)
        result: Tensor = super().__call__(matrix)
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __str__(self) -> str:
        return type(self).__name__


class _Constant(nn.Module):
    """The same weight for every row of a matrix."""

    def __init__(self, total: float | None = None) -> None:
        super().__init__()
        self.total = total

    def forward(self, matrix: Tensor) -> Tensor:
        tasks = matrix.shape[0]
        value = 1.0 if self.total is None else self.total / max(tasks, 1)
        return torch.full([tasks], value, dtype=matrix.dtype, device=matrix.device)


class _WeightedAggregator(Aggregator):
    """A weighted sum of the rows; ``weighting`` gives the weights for a matrix."""

    def __init__(self, weighting: nn.Module) -> None:
        super().__init__()
        self.weighting = weighting

    def forward(self, matrix: Tensor, /) -> Tensor:
        """Sum the rows, each times its weight."""
        weights: Tensor = self.weighting(matrix)
        return weights @ matrix


class Sum(_WeightedAggregator):
    """The sum of the rows: the gradient of the sum of the losses.

    >>> Sum()(torch.tensor([[1.0, 2.0], [3.0, -2.0]]))
    tensor([4., 0.])
    """

    def __init__(self) -> None:
        super().__init__(_Constant())


class Mean(_WeightedAggregator):
    """The mean of the rows: the gradient of the mean of the losses.

    >>> Mean()(torch.tensor([[1.0, 2.0], [3.0, -2.0]]))
    tensor([2., 0.])
    """

    def __init__(self) -> None:
        super().__init__(_Constant(total=1.0))
