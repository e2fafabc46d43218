"""The memory of a critical-gradient optimizer: a few past gradients, the largest.

Four rules are the whole idea (McRae, Parthasarathi, Assran and Chandar, *Memory Augmented
Optimizers for Deep Learning*, ICLR 2022, arXiv:2106.10708, Section 3):

1. a gradient's *priority* is its norm, or the sum of the norms of all gradients in its
   parameter group (``synced``);
2. a memory with room takes every gradient, a full one takes a gradient only in exchange for
   the one with the smallest priority, and only if the newcomer's is larger;
3. after each step every stored priority (never a stored gradient) is multiplied by ``decay``,
   so that what was large long ago gives way in time;
4. the optimizer steps along an *aggregate* of the gradient at hand and those remembered.

Try it by hand with room for two, halving the priorities after each step. Which two of the
norms 4, 1, 3, 0.2 are left at the end?

>>> import torch
>>> from cgtutor import CriticalGradients
>>> memory = CriticalGradients(topC=2, decay=0.5)
>>> for norm in (4.0, 1.0, 3.0, 0.2):
...     entered = memory.insert(norm, torch.tensor([norm]))
...     memory.fade()
>>> memory.priorities           # 3 · 0.5 · 0.5 and 4 · 0.5 · 0.5 · 0.5 · 0.5
[0.75, 0.25]
>>> memory.ages                 # steps since each of them came in
[1, 3]
"""

import heapq
import math
import operator
from typing import Any

import torch
from torch import Tensor

from cgtutor import _check

#: How the gradient at hand and n remembered ones combine. Each rule gives two weights: the
#: first for the gradient at hand, the second, with kappa, for every remembered gradient.
AGGREGATES = {
    "sum": lambda n: (1, 1 / n),
    "mid": lambda n: (1 / 2, 1 / (2 * n)),
    "mean": lambda n: (1 / (n + 1), 1 / (n + 1)),
}


class CriticalGradients:
    """At most ``topC`` past gradients of one parameter, those with the largest priorities.

    A binary heap (``heapq``) of ``(priority, born, gradient)``: the entry that would go next
    is always the first one. ``born`` counts the gradients seen so far; it tells an entry's
    age and settles ties: of equal priorities the oldest goes, and a newcomer that merely
    equals the smallest stays out.

    Args:
        topC: number of gradients to keep, at least 1. Each takes as much memory as the
            parameter itself.
        decay: factor for every stored priority at each :meth:`fade`, in [0, 1]: the nearer
            to 1, the longer a gradient is kept.
        state: the memory's whole content as plain numbers and tensors, as found in
            :attr:`state`; ``None`` starts an empty memory. It is not copied: the memory
            works on this very dictionary.

    Raises:
        ValueError: ``topC`` is no positive integer, or ``decay`` no number in [0, 1].
    """

    def __init__(
        self, topC: int = 10, decay: float = 0.7, state: dict[str, Any] | None = None
    ) -> None:
        self.topC = _check.positive_integer("topC", topC)
        self.decay = _check.number("decay", decay, 0, 1)
        #: ``heap`` (list of (priority, born, gradient)), ``seen`` and ``accepted`` (counts).
        self.state: dict[str, Any] = (
            {"heap": [], "seen": 0, "accepted": 0} if state is None else state
        )

    @property
    def heap(self) -> list[tuple[float, int, Tensor]]:
        """The entries, smallest (priority, born) first, as ``heapq`` orders them."""
        return self.state["heap"]

    def insert(self, priority: float, gradient: Tensor) -> bool:
        """Offer one gradient to the memory.

        Args:
            priority: the gradient's importance, its norm as a rule, not negative. One that
                is not finite (the norm of a gradient with a NaN or Inf) is never taken.
            gradient: of the shape of those already kept; the memory keeps a copy of its own.

        Returns:
            Whether the memory took it.

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
        self.state["seen"] += 1
        full = len(self) == self.topC
        if not math.isfinite(priority) or (full and not priority > self.heap[0][0]):
            return False
        entry = (priority, self.state["seen"], gradient.detach().clone())
        if full:
            heapq.heapreplace(self.heap, entry)
        else:
            heapq.heappush(self.heap, entry)
        self.state["accepted"] += 1
        return True

    def fade(self) -> None:
        """Multiply every stored priority by ``decay``; the gradients stay as they are."""
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
        total = own * gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        for past in remembered:
            total.add_(past, alpha=kappa * each)
        return total.to(gradient.dtype)

    def _check_shape(self, gradient: Tensor) -> None:
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
            f"{self.accepted} accepted, {self.refused} refused, {self.replaced} replaced"
        )

    @property
    def priorities(self) -> list[float]:
        """The stored priorities, largest first."""
        return [priority for priority, _, _ in self._ranked()]

    @property
    def ages(self) -> list[int]:
        """For each of :attr:`priorities`, how many gradients were seen since its own came in."""
        return [self.state["seen"] - born for _, born, _ in self._ranked()]

    @property
    def gradients(self) -> list[Tensor]:
        """For each of :attr:`priorities`, its gradient itself: not a copy, so do not change it."""
        return [gradient for _, _, gradient in self._ranked()]

    def _ranked(self) -> list[tuple[float, int, Tensor]]:
        return sorted(self.heap, key=lambda entry: entry[:2], reverse=True)

    @property
    def accepted(self) -> int:
        """How many gradients were taken so far."""
        return self.state["accepted"]

    @property
    def refused(self) -> int:
        """How many were turned away, for a priority too small or not finite."""
        return self.state["seen"] - self.accepted

    @property
    def replaced(self) -> int:
        """How many of the accepted have had to go since."""
        return self.accepted - len(self)


def _lengths(parts: list[Tensor]) -> list[float]:
    """Norms in float64, read all at once where they are on one device."""
    devices = {part.device for part in parts}
    wide = torch.float32 if any(d.type == "mps" for d in devices) else torch.float64  # as it has
    found = torch._foreach_norm(parts, 2, wide)
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
            parts.extend(flat.split(2**18))
        ends.append(len(parts))
    lengths = _lengths(parts)
    if len(lengths) == len(gradients):
        return lengths
    found = [math.hypot(*lengths[start:end]) for start, end in zip([0, *ends], ends)]
    for i, g in enumerate(reals):
        small = 1e-10 * g.numel() ** 0.5
        if g.dtype == torch.float32 and g.numel() > 2**16 and not small < found[i] < math.inf:
            found[i] = math.hypot(*_lengths(list(g.reshape(-1).split(2**16))))  # squares overflow
    return found


def sum_of_norms(terms: list[float]) -> float:
    """The sum rounded once, so that it does not depend on the parameters' order."""
    try:
        return math.fsum(terms)
    except OverflowError:
        return math.inf


def checked_state(name: str, state: Any, parameter: Tensor) -> dict[str, Any]:
    """The content of a parameter's memory that was saved, fit to go on with.

    Args:
        name: what the error calls it.
        state: what :attr:`CriticalGradients.state` was when it was saved.
        parameter: whose memory it is.

    Raises:
        ValueError: ``state`` is not the content of a memory, or not of this parameter's.
    """
    try:
        heap = [(float(priority), operator.index(born), g) for priority, born, g in state["heap"]]
        seen, accepted = operator.index(state["seen"]), operator.index(state["accepted"])
        shapes = {tuple(g.shape) for _, _, g in heap}
        sound = all(
            0 <= priority < math.inf
            and g.is_complex() == parameter.is_complex()
            and bool(g.isfinite().all())
            for priority, _, g in heap
        )
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise ValueError(
            f"{name} must hold heap, a list of (priority, born, gradient), seen and accepted, "
            f"got {state!r:.200}"
        ) from e
    if shapes - {tuple(parameter.shape)}:
        shape = tuple(parameter.shape)
        raise ValueError(f"{name} must hold gradients of shape {shape}, got {shapes}")
    steps = {born for _, born, _ in heap}
    if not (
        sound
        and len(steps) == len(heap) <= accepted <= seen
        and all(1 <= born <= seen for born in steps)
    ):
        raise ValueError(
            f"{name} must hold finite gradients and priorities of different steps, of no more "
            f"than were accepted and seen, got {accepted} accepted, {seen} seen, and "
            f"(priority, born) {[entry[:2] for entry in heap]!r:.200}"
        )
    heapq.heapify(heap)
    return {"heap": heap, "seen": seen, "accepted": accepted}
