"""What the notebook trains: one weight with a rare loud gradient, and a fit of 2|x|/π − 1."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from cgtutor import SGD_C

Array = np.ndarray
#: Builds an optimizer from parameters and a learning rate.
Make = Callable[[list[Tensor], float], Optimizer]
#: Builds one from parameter groups, each with a learning rate of its own.
MakeGroups = Callable[[list[dict[str, Any]]], Optimizer]

# ------------------------------------------------------------- one weight, a rare gradient


def stream(P: int, C: float, steps: int) -> Iterator[float]:
    """The gradients of one weight: C at every P-th step, and −1 otherwise."""
    return (-1.0 if step % P else C for step in range(1, steps + 1))


def measured_drift(P: int, C: float, decay: float, kappa: float) -> float:
    """What a real ``SGD_C`` with one slot adds up in a period, in units of −lr."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = SGD_C([x], lr=1.0, topC=1, decay=decay, kappa=kappa, aggr="sum")
    places = []
    for gradient in stream(P, C, 4 * P):
        x.grad = torch.full_like(x, gradient)
        optimizer.step()
        places.append(x.item())
    return places[-P - 1] - places[-1]


def end(make: Make, lr: float, P: int, C: float, steps: int = 800) -> float:
    """Where one weight in [−1, 1] ends up, as its mean over the last ten periods."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer, places = make([x], lr), []
    for gradient in stream(P, C, steps):
        x.grad = torch.full_like(x, gradient)
        optimizer.step()
        with torch.no_grad():
            x.clamp_(-1, 1)
        places.append(x.item())
    return float(np.mean(places[-10 * P :]))


# -------------------------------------------------------------------------- the fit of |x|

#: The norm of a point's seven features, the same everywhere: a gradient's norm is this times
#: the error.
FEATURE_NORM = math.sqrt(7)


def features(x: Array) -> Array:
    """Seven of them for each x in [−π, π]: 1, √2 cos kx and √2 sin kx for k = 1, 2, 3."""
    angles = np.multiply.outer(x, [1, 2, 3])
    ones = np.ones((*np.shape(x), 1))
    return np.concatenate(
        [ones, math.sqrt(2) * np.cos(angles), math.sqrt(2) * np.sin(angles)], axis=-1
    )


def target(x: Array) -> Array:
    """What is fitted: |x|, scaled to [−1, 1]."""
    return 2 * np.abs(x) / np.pi - 1


GRID = np.linspace(-np.pi, np.pi, 1001)[:-1]
F, Y = features(GRID), target(GRID)
LEAST_SQUARES = np.linalg.solve(F.T @ F, F.T @ Y)
#: The smallest worst error that seven such features can have; a test finds it anew.
BEST_POSSIBLE = 0.0548


def errors(w: Array) -> Array:
    """The fit minus the target at each point of the grid; ``w`` may hold many fits."""
    return w @ F.T - Y


def worst(w: Array) -> Array:
    """The largest absolute error on the grid."""
    found: Array = np.abs(errors(w)).max(-1)
    return found


def rms(w: Array) -> Array:
    """The root mean square error on the grid."""
    found: Array = np.sqrt((errors(w) ** 2).mean(-1))
    return found


def points(seed: int, outliers: float = 0.0, steps: int = 4000) -> tuple[Array, Array]:
    """A point and its target for each step; of the targets a share is 3 too high."""
    draws = np.random.default_rng(seed)
    x = draws.uniform(-np.pi, np.pi, steps)
    return x, target(x) + 3.0 * (draws.random(steps) < outliers)


def fit(make: Make, lr: float, seed: int, keep: Sequence[int], outliers: float = 0.0) -> Array:
    """Train by an optimizer, one point a step; the coefficients after each of these steps."""
    x, y = points(seed, outliers, max(keep))
    w = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    optimizer, now, kept = make([w], lr), w.detach().numpy(), []
    for step, (a, b) in enumerate(zip(features(x), y), 1):
        w.grad = torch.from_numpy((a @ now - b) * a)
        optimizer.step()
        if step in keep:
            kept.append(now.copy())
    return np.array(kept)


class Memory(NamedTuple):
    """Settings of a memory whose rule is ``sum``; with ``kappa=0`` it is switched off."""

    topC: int  # noqa: N815, the library's name
    decay: float
    kappa: float = 1.0


#: No memory: the base optimizer alone.
PLAIN = Memory(1, 0.0, 0.0)


class _Memories:
    """The memories of many runs side by side: arrays in place of heaps, the same numbers.

    The gradients have the shape (rates, settings, seeds, 7).
    """

    def __init__(self, settings: Sequence[Memory], rates: int, seeds: int) -> None:
        topC, decay, kappa = (np.array(each)[:, None] for each in zip(*settings))
        shape = (rates, len(settings), seeds)
        self.kappa = np.broadcast_to(kappa, shape)[..., None]
        self.topC = np.broadcast_to(topC, shape)[..., None]
        slots = np.arange(topC.max())
        there = (slots < self.topC).reshape(-1, len(slots))
        # A slot that a run does not have is one that no gradient is large enough for.
        self.priorities = np.where(there, 0.0, np.inf)
        self.decay = np.where(there, np.broadcast_to(decay, shape).reshape(-1, 1), 1.0)
        self.gradients = np.zeros((len(self.priorities), len(slots), 7))
        self.rows, self.seen = np.arange(len(self.priorities)), 0

    def step(self, g: Array) -> Array:
        """The aggregate for each run; then the new gradients are inserted or rejected."""
        mean = self.gradients.sum(1).reshape(g.shape) / np.clip(self.seen, 1, self.topC)
        new = g.reshape(-1, 7)
        norms = np.sqrt(np.einsum("ij,ij->i", new, new))
        at = self.priorities.argmin(1)
        larger = np.flatnonzero(norms > self.priorities[self.rows, at])
        self.priorities[larger, at[larger]] = norms[larger]
        self.gradients[larger, at[larger]] = new[larger]
        self.priorities *= self.decay
        self.seen += 1
        aggregate: Array = g + self.kappa * mean
        return aggregate


def fits(
    settings: Sequence[Memory],
    rates: Sequence[float],
    seeds: Sequence[int],
    make: MakeGroups = SGD,
    outliers: float = 0.0,
    clip: float = math.inf,
    steps: int = 4000,
) -> Array:
    """The coefficients after training, for all at once: (settings, seeds, rates, 7).

    A run is the same as :func:`fit` with the optimizer of these settings, as a test compares. The
    base optimizer is torch's own; it works entry by entry, so many runs can share a tensor.

    Args:
        settings: of the memories.
        rates: learning rates, each tried with all settings and seeds.
        seeds: of the points.
        make: builds the base optimizer from parameter groups, each with an ``lr``.
        outliers: the share of targets that are wrong.
        clip: to which norm gradients are scaled down.
        steps: of each run, with one point each.
    """
    drawn = [points(seed, outliers, steps) for seed in seeds]
    A = np.stack([features(x) for x, _ in drawn], 1)
    B = np.stack([y for _, y in drawn], 1)
    w, gradient = np.zeros((2, len(rates), len(settings), len(seeds), 7))
    parameters = [torch.from_numpy(each).requires_grad_() for each in w]
    for p, each in zip(parameters, gradient):
        p.grad = torch.from_numpy(each)
    optimizer = make([{"params": [p], "lr": lr} for p, lr in zip(parameters, rates)])
    memories = _Memories(settings, len(rates), len(seeds))
    for a, b in zip(A, B):
        g = (np.einsum("rmsk,sk->rms", w, a) - b)[..., None] * a
        if clip < math.inf:
            g *= np.minimum(1, clip / np.sqrt((g * g).sum(-1, keepdims=True)))
        gradient[:] = memories.step(g)
        optimizer.step()
    return w.transpose(1, 2, 0, 3)
