"""The memory of a critical-gradient optimizer: a few past gradients, the largest.

Four rules are the whole idea (McRae, Parthasarathi, Assran and Chandar, *Memory Augmented
Optimizers for Deep Learning*, ICLR 2022, arXiv:2106.10708, Section 3):

1. a gradient's *priority* is its norm, or the sum of the norms of all gradients in its
   parameter group (``synced``);
2. a memory with room inserts a gradient; a full one inserts it only if its priority is larger
   than the smallest stored one, and evicts the gradient with that smallest priority;
3. after each step every stored priority (never a stored gradient) *decays*: it is multiplied
   by ``decay``, so that what was large long ago can be evicted in time;
4. the optimizer steps along an *aggregate* of the current gradient and those remembered.

Two kinds of gradient are always rejected, even where there is room: one whose priority is not
finite, because a NaN or an Inf would stay for many steps, and one whose priority is zero,
because it has no information and would only fill a slot.

Try it by hand with room for two, halving the priorities after each step. Which two of the
norms 4, 1, 3, 0.2 are left at the end?

>>> import torch
>>> from cgtutor import CriticalGradients
>>> memory = CriticalGradients(topC=2, decay=0.5)
>>> for norm in (4.0, 1.0, 3.0, 0.2):
...     inserted = memory.insert(norm, torch.tensor([norm]))
...     memory.fade()
>>> memory.priorities           # 3 · 0.5 · 0.5 and 4 · 0.5 · 0.5 · 0.5 · 0.5
[0.75, 0.25]
>>> memory.ages                 # steps since each of them was inserted
[1, 3]
"""

import heapq
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check

#: How the gradient at hand and n remembered ones combine. Each rule gives two weights: the
#: first for the gradient at hand, the second, with kappa, for every remembered gradient.
AGGREGATES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "sum": lambda n: (1, 1 / n),
    "mid": lambda n: (1 / 2, 1 / (2 * n)),
    "mean": lambda n: (1 / (n + 1), 1 / (n + 1)),
}


class CriticalGradients:
    """At most ``topC`` past gradients of one parameter, those with the largest priorities.

    A binary heap (``heapq``) of ``(priority, born, gradient)``: the entry that would be evicted
    next is always the first one. ``born`` counts the gradients seen so far; it tells an entry's
    age and settles ties: of equal priorities the oldest goes, and a newcomer that merely
    equals the smallest is rejected.

    Args:
        topC: number of gradients to keep, at least 1. Each takes as much memory as the
            parameter itself.
        decay: factor for every stored priority at each :meth:`fade`, in [0, 1]: the nearer
            to 1, the longer a gradient is kept.

    Raises:
        ValueError: ``topC`` is no positive integer, or ``decay`` no number in [0, 1].
    """

    def __init__(self, topC: int = 10, decay: float = 0.7) -> None:
        self.topC = _check.positive_integer("topC", topC)
        self.decay = _check.number("decay", decay, 0, 1)
        #: The entries, smallest (priority, born) first, as ``heapq`` orders them.
        self.heap: list[tuple[float, int, Tensor]] = []
        #: How many gradients were offered so far.
        self.seen = 0
        #: How many of them were inserted.
        self.inserted = 0

    def insert(self, priority: float, gradient: Tensor) -> bool:
        """Offer one gradient to the memory.

        Args:
            priority: the gradient's importance, its norm as a rule, not negative. One that is
                zero or not finite (the norm of a gradient with a NaN or Inf) is rejected.
            gradient: of the shape of those already kept; the memory keeps a copy of its own.

        Returns:
            Whether the gradient was inserted.

        Raises:
            ValueError: ``priority`` is negative, or ``gradient`` has another shape than those
                already kept. Nothing was changed.
        """
        priority = float(priority)
        if priority < 0:
            raise ValueError(f"priority must be a number >= 0, got {priority!r}")
        self._check_shape(gradient)
        while len(self) > self.topC:  # topC was lowered since the last step
            heapq.heappop(self.heap)
        self.seen += 1
        full = len(self) == self.topC
        to_beat = self.heap[0][0] if full else 0.0
        if not to_beat < priority < math.inf:  # NaN is neither
            return False
        entry = (priority, self.seen, self._own(gradient))
        if full:
            heapq.heapreplace(self.heap, entry)
        else:
            heapq.heappush(self.heap, entry)
        self.inserted += 1
        return True

    def fade(self) -> None:
        """Let the priorities decay: multiply each by ``decay``; the gradients stay as they are."""
        self.heap[:] = [(priority * self.decay, born, g) for priority, born, g in self.heap]
        heapq.heapify(self.heap)  # rounding to zero makes ties, and those go by age

    def aggregate(self, gradient: Tensor, aggr: str = "mean", kappa: float = 1.0) -> Tensor:
        """Combine a gradient with the n remembered ones (see :data:`AGGREGATES`).

        ========  ==============================================
        ``aggr``  result
        ========  ==============================================
        sum       ``gradient + kappa * mean``
        mid       ``(gradient + kappa * mean) / 2``
        mean      ``(gradient + kappa * sum) / (n + 1)``
        ========  ==============================================

        where *mean* and *sum* run over the remembered gradients. With an empty memory, or
        with ``kappa=0``, which switches the memory off under every rule, the result is
        ``gradient`` itself; otherwise a new tensor of its shape and dtype (half precision is
        summed in float32).

        Raises:
            ValueError: ``aggr`` is none of the three, ``kappa`` is negative or not finite, or
                ``gradient`` has another shape than those remembered.
        """
        _check.one_of("aggr", aggr, AGGREGATES)
        _check.number("kappa", kappa, 0)
        self._check_shape(gradient)
        if not self.heap or kappa == 0:
            return gradient
        remembered = self.gradients[: self.topC]
        own, each = AGGREGATES[aggr](len(remembered))
        total: Tensor = own * gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        for past in remembered:
            total.add_(past, alpha=kappa * each)
        return total.to(gradient.dtype)

    def _own(self, gradient: Any) -> Any:
        """What an entry keeps of a gradient."""
        return gradient.detach().clone()

    def _check_shape(self, gradient: Any) -> None:
        if self.heap and gradient.shape != self.heap[0][2].shape:  # or torch would broadcast it
            kept = tuple(self.heap[0][2].shape)
            raise ValueError(
                f"gradient must have the shape {kept} of those kept, got {tuple(gradient.shape)}"
            )

    def __len__(self) -> int:
        """How many gradients are kept; more than ``topC`` only until the next :meth:`insert`."""
        return len(self.heap)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(topC={self.topC}, decay={self.decay}): {len(self)} kept, "
            f"{self.inserted} inserted, {self.rejected} rejected, {self.evicted} evicted"
        )

    @property
    def priorities(self) -> list[float]:
        """The stored priorities, largest first."""
        return [priority for priority, _, _ in self._ranked()]

    @property
    def ages(self) -> list[int]:
        """For each of :attr:`priorities`, how many gradients were seen since its own."""
        return [self.seen - born for _, born, _ in self._ranked()]

    @property
    def gradients(self) -> list[Tensor]:
        """For each of :attr:`priorities`, its gradient itself: not a copy, so do not change it."""
        return [gradient for _, _, gradient in self._ranked()]

    def _ranked(self) -> list[tuple[float, int, Tensor]]:
        return sorted(self.heap, key=lambda entry: entry[:2], reverse=True)

    @property
    def rejected(self) -> int:
        """How many were rejected, for a priority too small, zero or not finite."""
        return self.seen - self.inserted

    @property
    def evicted(self) -> int:
        """How many of the inserted have been evicted since."""
        return self.inserted - len(self)
