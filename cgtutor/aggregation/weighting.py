"""Weights for the rows of a Jacobian, found from its Gramian: PCGrad's and the vaccine's."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cgtutor import _check
from cgtutor.aggregation.draws import orders_of_others, permutations
from cgtutor.aggregation.vaccine import Array, vaccinate


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


class GramianWeighting(nn.Module, ABC):
    """Gives the weight of each row of a Jacobian J for its Gramian J Jᵀ.

    The calculation runs on the CPU, where a few hundred numbers belong: one transfer there, one
    back. Nothing is recorded for differentiation.
    """

    @torch.no_grad()
    def forward(self, gramian: Tensor, /, precision: Hashable = None) -> Tensor:
        """Weigh.

        Args:
            gramian: Shape (T, T), floating-point; or (B, T, T), for B groups with a state each.
            precision: The dtype or dtypes of the Jacobians, if not the Gramian's. With another
                one than in the last call, a state starts afresh.

        Returns:
            Shape (T,) or (B, T), of the Gramian's dtype, on its device.

        Raises:
            ValueError: ``gramian`` is not of such a shape or dtype.
        """
        _check.floating_tensor("gramian", gramian, 2, 3)
        if gramian.shape[-1] != gramian.shape[-2]:
            raise ValueError(
                f"gramian must be square (T, T) or (B, T, T), got shape {tuple(gramian.shape)}"
            )
        if gramian.shape[-1] == 0:
            return gramian.new_ones(gramian.shape[:-1])
        host = gramian.detach().cpu()
        if host.dtype in (torch.float16, torch.bfloat16):
            host = host.float()
        weights = self._weights(host.numpy(), gramian.dtype if precision is None else precision)
        return torch.from_numpy(weights).to(gramian.device, gramian.dtype)

    @abstractmethod
    def _weights(self, gramian: Array, precision: Hashable) -> Array: ...


class PCGradWeighting(GramianWeighting):
    """The weights of :class:`~cgtutor.aggregation.PCGrad`.

    Args:
        generator: Draws the orders of tasks; by default torch's global generator does.
    """

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = _check.optional_generator("generator", generator)

    def _weights(self, gramian: Array, precision: Hashable) -> Array:
        """A projection is a vaccine whose target is a right angle."""
        groups = gramian.reshape(-1, *gramian.shape[-2:]).astype(np.float64)
        count, tasks, _ = groups.shape
        order = permutations(count * tasks, tasks, self.generator).reshape(count, tasks, tasks)
        others = order[order != np.arange(tasks)[:, None]].reshape(count, tasks, -1)
        coefficients, _ = vaccinate(groups, np.zeros_like(groups), others, eps=0.0, guard=True)
        return coefficients.sum(1).reshape(gramian.shape[:-1])


class GradVacWeighting(GramianWeighting):
    r"""The weights of :class:`~cgtutor.aggregation.GradVac`, found from the Gramian alone.

    For each task i, in random order of the others j, with g'ᵢ the gradient of i as changed so
    far, φ the cosine of g'ᵢ and gⱼ, and φ̂ᵢⱼ the running target::

        if φ < φ̂ᵢⱼ:  g'ᵢ += gⱼ ‖g'ᵢ‖ (φ̂ᵢⱼ √(1 - φ²) - φ √(1 - φ̂ᵢⱼ²)) / (‖gⱼ‖ √(1 - φ̂ᵢⱼ²) + eps)
        φ̂ᵢⱼ ← (1 - β) φ̂ᵢⱼ + β φ

    after which the cosine of g'ᵢ and gⱼ is φ̂ᵢⱼ. The result is Σᵢ g'ᵢ = Σⱼ wⱼ gⱼ.

    Source: arXiv 2010.05874, section 3, equations 4 and 5, algorithm 1. The order is drawn with
    ``torch.randperm(T - 1)``, once for each i.

    The published arithmetic breaks down for nearly parallel gradients and for gradients of one
    number: by rounding φ leaves [-1, 1], or φ̂ reaches 1 and the denominator is zero. ``guard``
    calculates in float64, keeps φ in [-1, 1] and φ̂ from exceeding √(1 - 1e-6) in a correction
    (so that √(1 - φ̂²) is at least 1e-3), makes no correction from or to a zero gradient, and no
    gradient more than 1000 / √T times as long. If a gradient is not finite, every weight is 1 and
    the targets stay as they were. On ordinary input the numbers are the same.

    Args:
        beta: β, the weight of the newest cosine in the targets, in [0, 1].
        eps: Is added to denominators, ≥ 0.
        guard: ``False`` for the published arithmetic in the precision of the input.
        generator: Draws the orders of tasks; by default torch's global generator does.

    Attributes:
        targets: φ̂, float64, on the CPU: shape (T, T), or (B, T, T) where Gramians come as a
            batch; (0, 0) before the first call. It is in ``state_dict()``.
        report: What the last call saw and did, a :class:`Report`; ``None`` before it.

    Raises:
        ValueError: An argument is not of its kind.
    """

    targets: Tensor

    def __init__(
        self,
        beta: float = 0.5,
        eps: float = 1e-8,
        *,
        guard: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.beta = beta
        self.eps = eps
        self.guard = _check.boolean("guard", guard)
        self.generator = _check.optional_generator("generator", generator)
        self.register_buffer("targets", None)
        self.reset()

    @property
    def beta(self) -> float:
        """The weight of the newest cosine in the targets, in [0, 1]."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._beta = _check.number("beta", value, 0, 1)

    @property
    def eps(self) -> float:
        """Is added to denominators, ≥ 0."""
        return self._eps

    @eps.setter
    def eps(self, value: float) -> None:
        self._eps = _check.number("eps", value, 0)

    def reset(self) -> None:
        """Forget the targets: the next call starts from zeros."""
        self.targets = torch.zeros(0, 0, dtype=torch.float64, device="cpu")
        self._last: Step | None = None
        self._precision: Hashable = None

    @property
    def report(self) -> Report | None:
        """What the last call saw and did; ``None`` before it."""
        return None if self._last is None else self._last.report()

    def begin(self, shape: tuple[int, ...], precision: Hashable) -> "Step":
        """Draw the orders of one call on Gramians of this shape; see :class:`Step`."""
        known = self.targets.shape == shape and self._precision in (None, precision)
        return Step(self, self.targets.numpy() if known else np.zeros(shape), precision)

    def commit(self, step: "Step") -> None:
        """Make a step this vaccine's last one."""
        self._buffers["targets"] = torch.from_numpy(step.targets)
        # quicker than a module's own setattr
        self.__dict__.update(_precision=step.precision, _last=step)

    def _weights(self, gramian: Array, precision: Hashable) -> Array:
        step = self.begin(gramian.shape, precision)
        weights = step.weigh(slice(None), gramian.reshape(-1, *gramian.shape[-2:]))
        self.commit(step)
        return weights.reshape(gramian.shape[:-1])

    def _apply(self, fn: Any, recurse: bool = True) -> "GradVacWeighting":
        return self  # .to(), .half() …: the targets stay where and what they are

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Take targets of any number of tasks; the rest is torch's."""
        *_, error_messages = rest
        name = prefix + "targets"
        targets = state_dict.get(name)
        if isinstance(targets, Tensor):
            if self._fits(targets):
                self.reset()
                self.targets = targets.detach().to("cpu", torch.float64, copy=True)
            else:
                error_messages.append(
                    f"{name} must be finite, floating-point and of shape "
                    f"{self._shape_in_words()}, got shape {tuple(targets.shape)}, {targets.dtype}"
                )
            state_dict = {**state_dict, name: self.targets}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _shape_in_words(self) -> str:
        return "(T, T) or (B, T, T)"

    def _fits(self, targets: Tensor) -> bool:
        square = targets.ndim in (2, 3) and targets.shape[-1] == targets.shape[-2]
        finite = not self.guard or bool(targets.isfinite().all())
        return square and targets.is_floating_point() and finite

    def __repr__(self) -> str:
        guard = "" if self.guard else ", guard=False"
        return f"{type(self).__name__}(beta={self.beta!r}, eps={self.eps!r}{guard})"


class Step:
    """One call of a vaccine on B groups, all at a time or as their Gramians become known.

    The orders are drawn at once, group by group, so that it does not matter when each group's
    turn comes. The vaccine changes when it commits the step, and not before.
    """

    def __init__(self, vaccine: GradVacWeighting, old: Array, precision: Hashable) -> None:
        self.precision = precision
        self._beta, self._eps, self._guard = vaccine.beta, vaccine.eps, vaccine.guard
        tasks = old.shape[-1]
        groups = math.prod(old.shape[:-2])
        self._order = orders_of_others(groups, tasks, vaccine.generator)
        self._shape = old.shape
        self._old = old.reshape(groups, tasks, tasks)
        parts = np.zeros((4, groups, tasks, tasks))
        self._new, self._gramian, self._cosine, self._coefficients = parts

    def weigh(self, groups: slice | list[int], gramian: Array) -> Array:
        """The weights, shape (B', T), of some of the groups, whose Gramians are (B', T, T)."""
        whole = True
        if self._guard:
            finite = np.isfinite(gramian).all((1, 2), keepdims=True)
            whole = bool(finite.all())
            gramian = gramian.astype(np.float64) if whole else np.where(finite, gramian, 0.0)
        old = self._old[groups].astype(gramian.dtype)
        coefficients, cosine = vaccinate(gramian, old, self._order[groups], self._eps, self._guard)
        new = (1 - self._beta) * old + self._beta * cosine
        self._new[groups] = new if whole else np.where(finite, new, old)
        self._gramian[groups] = gramian
        self._cosine[groups] = cosine
        self._coefficients[groups] = coefficients
        weights: Array = coefficients.sum(1)
        return weights

    @property
    def targets(self) -> Array:
        """φ̂ after the step."""
        return self._new.reshape(self._shape)

    def report(self) -> Report:
        """What the step saw and did."""
        parts = (self._gramian, self._old, self._cosine, self._coefficients)
        return Report(*(torch.from_numpy(part.reshape(self._shape)) for part in parts))
