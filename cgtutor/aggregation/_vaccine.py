"""Gradient Vaccine on Gramians: the calculation itself, with nothing around it.

All that the vaccine asks about gradients is how long they are and what angle is between them,
and that stands in the Gramian G = J Jᵀ of their dot products. So the gradients, with their
millions of entries, are not touched: a changed gradient g'ᵢ = Σₖ cᵢₖ gₖ is held as its T
coefficients, and g'ᵢ·gₖ = (cᵢ G)ₖ.

Source: Wang, Tsvetkov, Firat, Cao, *Gradient Vaccine*, ICLR 2021, arXiv 2010.05874, section 3,
equation 4 and algorithm 1.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

#: The guard follows no target beyond the cosine whose sine is 1e-3: a correction divides by it.
HIGHEST_TARGET = sqrt(1 - 1e-6)

#: With fewer gradients than this plain Python is faster than numpy.
FEW = 16


def vaccinate(
    gramian: Array, target: Array, order: NDArray[np.int64], eps: float, guard: bool
) -> tuple[Array, Array]:
    """Vaccinate B independent groups of T task gradients each.

    Args:
        gramian: Shape (B, T, T), the dot products of the task gradients of each group.
        target: Shape (B, T, T): φ̂ᵢⱼ, the cosine that g'ᵢ is to have with gⱼ at least.
        order: Shape (B, T, T - 1): the tasks j ≠ i in the order in which task i meets them.
        eps: Is added to both denominators.
        guard: Keep to what is bounded where the published arithmetic breaks down. Needs float64.

    Returns:
        The coefficients c of the changed gradients, and φᵢⱼ, the cosine of g'ᵢ and gⱼ when they
        met, zero for i = j. Both have shape (B, T, T).
    """
    if guard and gramian.shape[0] * gramian.shape[1] < FEW:
        return _one_by_one(gramian, target, order, eps)
    return _side_by_side(gramian, target, order, eps, guard)


def _longest(tasks: int) -> float:
    """How many times as long the guard lets all corrections together make a gradient.

    Each alone could make it a thousand times as long, and the next a thousand times longer than
    that. So limited, the sum of all T is at most 1000 times as long as the Jacobian's norm.
    """
    return 1e3 / sqrt(max(tasks, 1))


def _one_by_one(
    gramian: Array, target: Array, order: NDArray[np.int64], eps: float
) -> tuple[Array, Array]:
    """Read this one: the guarded vaccine in numbers."""
    tasks = gramian.shape[1]
    longest = _longest(tasks)
    tiny = tasks * np.finfo(np.float64).eps
    coefficients, cosines = [], []
    for G, wanted, orders in zip(gramian.tolist(), target.tolist(), order.tolist()):
        norm = [sqrt(max(G[i][i], 0.0)) for i in range(tasks)]
        for i in range(tasks):
            c = [0.0] * tasks  # g'ᵢ = Σₖ c[k] gₖ
            c[i] = 1.0
            dot = G[i]  # g'ᵢ·gₖ
            square = dot[i]  # g'ᵢ·g'ᵢ
            reach = norm[i]  # Σₖ c[k] ‖gₖ‖: rounding errors of dot products scale with it
            cosine = [0.0] * tasks
            for j in orders[i]:
                if square <= tiny * reach * reach or norm[j] == 0:
                    continue  # one of the two is zero: no angle, no correction
                length = sqrt(square)
                phi = max(-1.0, min(1.0, dot[j] / (length * norm[j] + eps)))
                cosine[j] = phi
                phi_hat = min(wanted[i][j], HIGHEST_TARGET)
                if phi < phi_hat:
                    sine, sine_hat = sqrt(1 - phi * phi), sqrt(max(1 - phi_hat * phi_hat, 0.0))
                    weight = length * (phi_hat * sine - phi * sine_hat)
                    weight /= norm[j] * sine_hat + eps
                    weight = min(weight, (longest * norm[i] - reach) / norm[j])
                    c[j] = weight
                    square += weight * (2 * dot[j] + weight * G[j][j])
                    dot = [old + weight * new for old, new in zip(dot, G[j])]
                    reach += weight * norm[j]
            coefficients.append(c)
            cosines.append(cosine)
    shape = gramian.shape
    return np.array(coefficients).reshape(shape), np.array(cosines).reshape(shape)


def _side_by_side(
    gramian: Array, target: Array, order: NDArray[np.int64], eps: float, guard: bool
) -> tuple[Array, Array]:
    """The same for all B·T gradients ("lanes") at a time, which meet their T - 1 others in step.

    They can, because each is compared with the *original* gradients of the others.
    """
    groups, tasks, _ = gramian.shape
    lanes = groups * tasks
    lane = np.arange(lanes)
    j = order.reshape(lanes, -1).T
    pair = lane * tasks + j  # where (i, j) stands in an array of shape (lanes, tasks)
    lane_j = lane // tasks * tasks + j
    G = gramian.reshape(lanes, tasks)
    c = np.tile(np.eye(tasks, dtype=gramian.dtype), (groups, 1))
    dot = G.copy()
    cosine = np.zeros_like(G)
    square_j = np.einsum("bii->bi", gramian).reshape(lanes)
    square, norm = square_j.copy(), np.sqrt(np.maximum(square_j, 0))
    reach, longest = norm.copy(), _longest(tasks) * norm
    tiny = tasks * np.finfo(gramian.dtype).eps

    square_j, norm_j, phi_hat = square_j[lane_j], norm[lane_j], target.reshape(-1)[pair]
    if guard:
        phi_hat = np.minimum(phi_hat, HIGHEST_TARGET)
    sine_hat = np.sqrt(np.maximum(1 - phi_hat * phi_hat, 0))
    with np.errstate(all="ignore"):  # unguarded, anything may overflow
        for step in range(tasks - 1):
            dot_j = dot.reshape(-1)[pair[step]]
            length = np.sqrt(np.maximum(square, 0))
            phi = dot_j / (length * norm_j[step] + eps)
            if guard:
                zero = (square <= tiny * reach * reach) | (norm_j[step] == 0)
                phi = np.where(zero, 0, np.clip(phi, -1, 1))
            sine = np.sqrt(np.maximum(1 - phi * phi, 0))
            weight = length * (phi_hat[step] * sine - phi * sine_hat[step])
            weight /= norm_j[step] * sine_hat[step] + eps
            act = phi < phi_hat[step]
            if guard:
                act &= ~zero
                weight = np.minimum(weight, (longest - reach) / norm_j[step])
                reach += np.where(act, weight * norm_j[step], 0)
            weight = np.where(act, weight, 0)
            c.reshape(-1)[pair[step]] = weight
            cosine.reshape(-1)[pair[step]] = phi
            square += weight * (2 * dot_j + weight * square_j[step])
            dot += weight[:, None] * G[lane_j[step]]
    return c.reshape(gramian.shape), cosine.reshape(gramian.shape)
