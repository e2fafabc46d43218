"""Aggregators that weigh the rows of a Jacobian by what its Gramian says."""

import torch
from torch import Tensor

from cgtutor.aggregation._base import Aggregator
from cgtutor.aggregation._gramian import Jacobians, common_dtype
from cgtutor.aggregation._report import Report
from cgtutor.aggregation._weighting import GradVacWeighting, GramianWeighting, PCGradWeighting


class GramianWeightedAggregator(Aggregator):
    """A sum of the rows with the weights that ``gramian_weighting`` gives for their Gramian."""

    gramian_weighting: GramianWeighting

    def __init__(self, gramian_weighting: GramianWeighting) -> None:
        super().__init__()
        self.gramian_weighting = gramian_weighting

    @torch.no_grad()
    def forward(self, matrix: Tensor, /) -> Tensor:
        """Sum the rows, each times its weight; nothing is recorded for differentiation."""
        _, (vector,) = self.weigh_and_combine([matrix])
        return vector

    def weigh_and_combine(self, jacobians: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Aggregate the Jacobian that has all columns of these.

        Args:
            jacobians: Each of shape (T, …), floating-point or complex.

        Returns:
            The weights, shape (T,), and for each Jacobian a tensor of the shape of one row.
        """
        dtype = common_dtype(jacobians)
        precise = getattr(self.gramian_weighting, "guard", True)
        rows = Jacobians(jacobians, precise, sizes=[len(jacobians)])
        gramian = torch.from_numpy(rows.gramians()[0])
        weighting = self.gramian_weighting
        if type(weighting).forward is GramianWeighting.forward:
            weights: Tensor = weighting(gramian, dtype)
        else:  # one that knows nothing of precision
            weights = weighting(gramian)
        gradients = rows.combine(weights.numpy()[None])
        # half precision would not do for weights, which may be large
        kind = torch.promote_types(dtype, torch.float32)
        return weights.to(jacobians[0].device, kind), gradients


class PCGrad(GramianWeightedAggregator):
    """Projecting conflicting gradients (PCGrad).

    Each task's gradient meets the others in random order; where the two make an obtuse angle,
    its part along the other is taken away. The result is the sum of all.

    Source: Yu et al., *Gradient Surgery for Multi-Task Learning*, NeurIPS 2020, arXiv
    2001.06782, algorithm 1. The order is drawn with ``torch.randperm(T)``, once for each task.

    Args:
        generator: Draws the orders of tasks; by default torch's global generator does. Its state
            is in ``state_dict()``.

    >>> PCGrad()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.5000, 1.5000])
    """

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__(PCGradWeighting(generator=generator))


class GradVac(GramianWeightedAggregator):
    """Gradient Vaccine: each task's gradient is turned until it has its usual angle to the others.

    A running mean φ̂ᵢⱼ of the cosine of each two gradients is the target; a gradient whose
    cosine is lower gets just as much of the other as raises it to the target. The result is the
    sum of all. With ``beta=0`` the targets stay zero, and this is :class:`PCGrad`. The formulas,
    their source, and the guard stand in :class:`GradVacWeighting`.

    An instance has one set of targets. Use one for each group of parameters, or a
    :class:`~cgtutor.grouping.GroupedGradVac` for all groups. A call with another number of
    tasks, or another dtype, starts with fresh targets.

    Args:
        beta: The weight of the newest cosine in the targets, in [0, 1].
        eps: Is added to denominators, ≥ 0.
        guard: ``False`` for the published arithmetic in the precision of the input.
        generator: Draws the orders of tasks; by default torch's global generator does. Its state
            is in ``state_dict()``.

    Raises:
        ValueError: An argument is not of its kind.

    >>> GradVac()(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([0.5000, 1.5000])
    """

    gramian_weighting: GradVacWeighting

    def __init__(
        self,
        beta: float = 0.5,
        eps: float = 1e-8,
        *,
        guard: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(GradVacWeighting(beta, eps, guard=guard, generator=generator))

    @property
    def beta(self) -> float:
        """The weight of the newest cosine in the targets, in [0, 1]."""
        return self.gramian_weighting.beta

    @beta.setter
    def beta(self, value: float) -> None:
        self.gramian_weighting.beta = value

    @property
    def eps(self) -> float:
        """Is added to denominators, ≥ 0."""
        return self.gramian_weighting.eps

    @eps.setter
    def eps(self, value: float) -> None:
        self.gramian_weighting.eps = value

    @property
    def targets(self) -> Tensor:
        """φ̂, shape (T, T), float64, on the CPU; (0, 0) before the first call."""
        return self.gramian_weighting.targets

    @property
    def report(self) -> Report | None:
        """What the last call saw and did; ``None`` before it."""
        return self.gramian_weighting.report

    def reset(self) -> None:
        """Forget the targets: the next call starts from zeros."""
        self.gramian_weighting.reset()

    def __repr__(self) -> str:
        return repr(self.gramian_weighting).replace("GradVacWeighting", type(self).__name__, 1)
