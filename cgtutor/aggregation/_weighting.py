"""Weights for the rows of a Jacobian, found from its Gramian: PCGrad's and the vaccine's."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cgtutor import _check
from cgtutor.aggregation._draws import permutations
from cgtutor.aggregation._report import Report
from cgtutor.aggregation._step import Step
from cgtutor.aggregation._vaccine import Array, vaccinate


class GramianWeighting(nn.Module, ABC):
    """Finds the weight of each row of a Jacobian J from its Gramian J Jᵀ.

    A subclass implements :meth:`weigh`. The calculation runs on the CPU, where a few hundred
    numbers belong: one transfer there, one back. Nothing is recorded for differentiation.
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
        weights = self.weigh(host.numpy(), gramian.dtype if precision is None else precision)
        return torch.from_numpy(weights).to(gramian.device, gramian.dtype)

    @abstractmethod
    def weigh(self, gramian: Array, precision: Hashable, /) -> Array:
        """Find the weights in numpy.

        Args:
            gramian: Shape (T, T) or (B, T, T), float32 or float64, T ≥ 1.
            precision: The dtype or dtypes of the Jacobians.

        Returns:
            Shape (T,) or (B, T).
        """


class _RandomWeighting(GramianWeighting):
    """One that draws random numbers; those of its own generator go along in ``state_dict()``."""

    def __init__(self, generator: torch.Generator | None) -> None:
        super().__init__()
        self.generator = _check.optional_generator("generator", generator)

    def get_extra_state(self) -> Tensor:
        """The generator's state, a tensor that ``torch.load(weights_only=True)`` takes.

        Torch's global generator is not this module's to save: without a generator of its own,
        the tensor is empty, and ``state_dict()`` leaves it out.
        """
        return (
            torch.empty(0, dtype=torch.uint8)
            if self.generator is None
            else (self.generator.get_state())
        )

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the draws of the generator whose state was saved."""
        if self.generator is not None:
            self.generator.set_state(state.cpu())

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.generator is None:
            del destination[prefix + _EXTRA_STATE]

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, *rest: Any
    ) -> None:
        """Take a state without a generator's, as saved by an earlier version, too.

        A generator's state with no generator to take it is an unexpected key.
        """
        _, unexpected_keys, error_messages = rest
        name = prefix + _EXTRA_STATE
        given = state_dict.get(name)
        state_dict = {**state_dict, name: self.get_extra_state()}
        if given is not None and self.generator is None:
            unexpected_keys += [name] * strict
        elif given is not None and _is_state_of_a_generator(given):
            state_dict[name] = given
        elif given is not None:
            error_messages.append(
                f"{name} must be the state of a torch.Generator of the CPU, got {given!r}"
            )
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *rest)


_EXTRA_STATE = "_extra_state"  # torch's name


def _is_state_of_a_generator(value: object) -> bool:
    if not isinstance(value, Tensor) or value.dtype != torch.uint8:
        return False
    try:
        torch.Generator().set_state(value.cpu())
    except RuntimeError:
        return False
    return True


class PCGradWeighting(_RandomWeighting):
    """The weights of :class:`~cgtutor.aggregation.PCGrad`.

    Args:
        generator: Draws the orders of tasks; by default torch's global generator does. Its state
            is in ``state_dict()``.
    """

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__(generator)

    def weigh(self, gramian: Array, precision: Hashable, /) -> Array:
        """Project: a vaccine whose target is a right angle."""
        groups = gramian.reshape(-1, *gramian.shape[-2:]).astype(np.float64)
        count, tasks, _ = groups.shape
        order = permutations(count * tasks, tasks, self.generator).reshape(count, tasks, tasks)
        others = order[order != np.arange(tasks)[:, None]].reshape(count, tasks, -1)
        coefficients, _ = vaccinate(groups, np.zeros_like(groups), others, eps=0.0, guard=True)
        weights: Array = coefficients.sum(1).reshape(gramian.shape[:-1])
        return weights


class GradVacWeighting(_RandomWeighting):
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
        generator: Draws the orders of tasks; by default torch's global generator does. Its state
            is in ``state_dict()``, so that training resumes with the same draws.

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
        super().__init__(generator)
        self.beta = beta
        self.eps = eps
        self.guard = _check.boolean("guard", guard)
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

    def _begin(self, shape: tuple[int, ...], precision: Hashable) -> Step:
        """Draw the orders of one call on Gramians of this shape; see :class:`Step`."""
        known = self.targets.shape == shape and self._precision in (None, precision)
        return Step(
            self.targets.numpy() if known else np.zeros(shape),
            precision,
            beta=self.beta,
            eps=self.eps,
            guard=self.guard,
            generator=self.generator,
        )

    def _commit(self, step: Step) -> None:
        """Make a step this vaccine's last one."""
        self._buffers["targets"] = torch.from_numpy(step.targets)
        # quicker than a module's own setattr
        self.__dict__.update(_precision=step.precision, _last=step)

    def weigh(self, gramian: Array, precision: Hashable, /) -> Array:
        """Vaccinate, and move the targets."""
        step = self._begin(gramian.shape, precision)
        weights = step.weigh(slice(None), gramian.reshape(-1, *gramian.shape[-2:]))
        self._commit(step)
        return weights.reshape(gramian.shape[:-1])

    def _apply(self, fn: Any, recurse: bool = True) -> "GradVacWeighting":
        return self  # .to(), .half() …: the targets stay where and what they are

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Take targets of any number of tasks."""
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
