"""One call of a vaccine."""

import math
from collections.abc import Hashable

import numpy as np
import torch

from cgtutor.aggregation._draws import orders_of_others
from cgtutor.aggregation._report import Report
from cgtutor.aggregation._vaccine import Array, vaccinate


class Step:
    """One call of a vaccine on B groups, all at once or as their Gramians become known.

    The orders are drawn at the start, group by group, so that it does not matter when each
    group's turn comes. The vaccine changes when it commits the step, and not before.

    Args:
        old: Shape (…, T, T), the targets before the call.
        precision: The dtype or dtypes of the Jacobians.
        beta: The weight of the newest cosine in the targets.
        eps: Added to denominators.
        guard: See :class:`~cgtutor.aggregation.GradVacWeighting`.
        generator: Draws the orders of tasks.
    """

    def __init__(
        self,
        old: Array,
        precision: Hashable,
        *,
        beta: float,
        eps: float,
        guard: bool,
        generator: torch.Generator | None,
    ) -> None:
        self.precision = precision
        self._beta, self._eps, self._guard = beta, eps, guard
        tasks = old.shape[-1]
        groups = math.prod(old.shape[:-2])
        self._order = orders_of_others(groups, tasks, generator)
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
