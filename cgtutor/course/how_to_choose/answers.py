"""Right answers to the exercises: what stands in while they are open, and what checks go by."""

import math

import numpy as np

Array = np.ndarray


def drift_by_hand(P: int, C: float, decay: float, kappa: float) -> float:
    """A right answer to the exercise ``drift``."""
    stay = min(P, math.floor(math.log(C) / math.log(1 / decay)) + 1)
    now = C - (P - 1)
    remembered = stay * C - (P - stay)
    return now + kappa * remembered


def weigh_by_bisection(norms: Array, a: float, kappa: float) -> Array:
    """A right answer to the exercise ``weigh``."""
    logs = np.log(norms)
    low, high = logs.min() - a, logs.max()
    for _ in range(60):
        middle = (low + high) / 2
        if np.maximum(logs - middle, 0).mean() > a:
            low = middle
        else:
            high = middle
    excess = np.maximum(logs - low, 0)
    weights: Array = 1 + kappa * excess / a
    return weights


def compare_fairly(tune: Array, fresh: Array, base: Array) -> tuple[int, float, float]:
    """A right answer to the exercise ``compare``."""
    best = tune.mean(0).argmin()
    if best in (0, tune.shape[1] - 1):
        raise ValueError(f"the best rate, number {best}, is at the grid's edge")
    lead = fresh[:, best] - base
    return int(best), lead.mean(), 2.262 * lead.std(ddof=1) / math.sqrt(len(lead))
