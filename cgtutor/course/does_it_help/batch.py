"""Thousands of small classifiers trained at once, each as if it were alone: a simulator.

Training one sample at a time with an ordinary optimizer spends nearly all of its time in Python,
not on numbers. Here R runs (models with data, initial weights, learning rate, optimizer state and
memory of their own) take each step together: every number of the algorithm becomes R numbers side
by side. The results are those of torch's optimizers and of :mod:`cgtutor.optim`, up to rounding.

Two models are known: logistic regression (a linear layer with two outputs) and a network with one
hidden ReLU layer. Their loss is the cross-entropy of two classes, in nats. It depends on the two
outputs by their difference alone, the *score* of class 1, so the gradients of the output layer's
two rows are opposite at every step. Only class 1's row is computed, and the score's weights move
by twice its step.
"""

import math
from collections.abc import Sequence

import numpy as np

from cgtutor.course.does_it_help.alone import Array, UpdateRule

#: So many runs take their steps together: few enough for the processor's cache.
BLOCK = 600


def scores(weights: Sequence[Array], x: Array) -> Array:
    """The score of class 1 (its logit minus that of class 0) for each sample, shape (..., n).

    Args:
        weights: the models' tensors, each of shape (..., *its own).
        x: samples of shape (..., n, features); what stands in front is broadcast.
    """
    *hidden, rows, offsets = weights
    with np.errstate(over="ignore", invalid="ignore"):  # where a run diverged
        if hidden:
            x = np.maximum(x @ np.swapaxes(hidden[0], -1, -2) + hidden[1][..., None, :], 0)
        difference = rows[..., 1, :] - rows[..., 0, :]
        offset = offsets[..., 1] - offsets[..., 0]
        return (x @ difference[..., None])[..., 0] + offset[..., None]


def train_together(
    x: Array,
    y: Array,
    weights: Sequence[Array],
    lr: Array,
    rule: UpdateRule,
    epochs: int = 10,
    seed: int | None = None,
) -> list[Array]:
    """Train R classifiers, one sample a step.

    Args:
        x: samples, shape (R, n, features).
        y: classes, 0 or 1, shape (R, n).
        weights: initial weights, each of shape (R, ...); not changed.
        lr: learning rates, shape (R,).
        rule: the optimizer of all runs.
        epochs: passes over the samples.
        seed: of the order of the samples, redrawn for each epoch and the same in all runs;
            by default they come as they stand, in every epoch.

    Returns:
        The models' tensors in torch's order, each of shape (epochs, R, ...).
    """
    count = len(y[0])
    orders = np.tile(np.arange(count), (epochs, 1))
    if seed is not None:
        draws = np.random.default_rng(seed)
        orders = np.stack([draws.permutation(count) for _ in range(epochs)])
    parts = []
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is left to do so
        for runs in np.array_split(np.arange(len(y)), -(-len(y) // BLOCK)):
            here = slice(runs[0], runs[-1] + 1)
            mine = [w[here] for w in weights]
            parts.append(_block(x[here], y[here], mine, lr[here], rule, orders))
    return [np.concatenate(same, axis=1) for same in zip(*parts)]


def _block(
    x: Array,
    y: Array,
    weights: Sequence[Array],
    lr: Array,
    rule: UpdateRule,
    orders: Array,
) -> list[Array]:
    # Runs last: what belongs to one step and number lies side by side.
    bias = np.ones((x.shape[1], 1, len(x)))
    samples = np.concatenate([np.moveaxis(x, 0, -1), bias], axis=1)  # (n, features + 1, R)
    reach = np.sqrt((samples[:, :-1] ** 2).sum(1)) + 1  # |x| for a layer's weight, 1 for its bias
    signs = np.ascontiguousarray(2.0 * y.T - 1)
    models = _Models(weights, samples.shape[1])
    optimizers = _Optimizers(rule, models.flat.shape)
    after = []
    for order in orders:
        for i in order:
            gradient, priority = models.gradient(samples[i], signs[i], reach[i])
            models.flat -= optimizers.direction(gradient, priority) * (models.scale * lr)
        after.append(models.weights())
    return [np.stack(same) for same in zip(*after)]


def exponential(x: Array) -> Array:
    """Powers of e, of x between -700 and 700, by operations that all processors round alike.

    Numpy's own differs in the last bit from processor to processor. Where a training is chaotic
    (a large learning rate, a hidden unit about to die) it would then end elsewhere.
    """
    x = np.clip(x, -700, 700)
    twos = np.rint(x * (1 / math.log(2)))
    rest = (x - twos * 0.693147180369123816490) - twos * 1.90821492927058770002e-10  # ln 2
    rest *= 0.125
    power = np.full_like(rest, 1 / math.factorial(8))
    for k in range(7, -1, -1):
        power *= rest
        power += 1 / math.factorial(k)
    for _ in range(3):
        power *= power
    return np.ldexp(power, twos.astype(np.int32))


class _Models:
    """R models in one array ``flat`` of shape (P, R): hidden layer, then the score's weights.

    A layer's bias stands after its weights; without a hidden layer there are zero units.
    """

    def __init__(self, weights: Sequence[Array], columns: int) -> None:
        self._start = [w.astype(np.float64) for w in weights]
        *hidden, rows, offsets = self._start
        score = np.column_stack([rows[:, 1] - rows[:, 0], offsets[:, 1] - offsets[:, 0]])
        layer = np.empty((len(rows), 0, columns))
        if hidden:
            layer = np.concatenate([hidden[0], hidden[1][..., None]], -1)  # (R, units, columns)
        self.flat = np.concatenate([layer.reshape(len(rows), -1).T, score.T]).copy("C")
        self._first = self.flat.copy()
        self._gradient = np.empty_like(self.flat)
        self._units = layer.shape[1]
        self._hidden, self._score = self._layers(self.flat)
        self._hidden_gradient, self._score_gradient = self._layers(self._gradient)
        #: how many times its own gradient's step a number moves, shape (P, 1)
        self.scale = np.repeat([1.0, 2.0], [layer[0].size, len(score[0])])[:, None]

    def _layers(self, flat: Array) -> tuple[Array, Array]:
        if not self._units:
            return flat[:0], flat
        cut = len(flat) - self._units - 1
        return flat[:cut].reshape(self._units, -1, flat.shape[1]), flat[cut:]

    def gradient(self, x: Array, sign: Array, reach: Array) -> tuple[Array, Array]:
        """The gradient for one sample a run, and its priority: the sum of its tensors' norms."""
        features, length = x[:-1], reach
        if self._units:
            before = (self._hidden * x).sum(1)
            features = np.maximum(before, 0)
            length = np.sqrt((features**2).sum(0)) + 1
        score = (self._score[:-1] * features).sum(0) + self._score[-1]
        slope = -sign / (1 + exponential(sign * score))
        np.multiply(slope, features, out=self._score_gradient[:-1])
        self._score_gradient[-1] = slope
        priority = math.sqrt(2) * np.abs(slope) * length
        if self._units:
            back = slope * self._score[:-1] * (before > 0)
            np.multiply(back[:, None], x, out=self._hidden_gradient)
            priority += np.sqrt((back**2).sum(0)) * reach
        return self._gradient, priority

    def weights(self) -> list[Array]:
        """The models' tensors as they are now, in torch's order and shapes, runs first."""
        *_, rows, offsets = self._start
        moved = self._layers(self.flat - self._first)[1].T / 2
        new = [
            rows + np.stack([-moved[:, :-1], moved[:, :-1]], axis=1),
            offsets + np.stack([-moved[:, -1], moved[:, -1]], axis=1),
        ]
        if self._units:
            layer = np.moveaxis(self._hidden, -1, 0)
            new = [layer[..., :-1].copy(), layer[..., -1].copy(), *new]
        return new


class _Optimizers:
    """The optimizer states of R runs, in arrays of shape (P, R)."""

    def __init__(self, rule: UpdateRule, shape: tuple[int, ...]) -> None:
        self._rule, self._steps = rule, 0
        self._first, self._second = np.zeros(shape), np.zeros(shape)
        self._memory = _Memories(rule, shape) if rule.topC else None

    def direction(self, gradient: Array, priority: Array) -> Array:
        """What is to be subtracted, but for the learning rate."""
        self._steps += 1
        if self._memory is not None:
            plain, gradient = gradient, self._memory.aggregate(gradient)
            self._memory.insert(plain, priority)
        if self._rule.base == "SGD":
            if self._rule.momentum == 0:
                return gradient
            self._first = self._rule.momentum * self._first + gradient
            return self._first
        beta = 0.99 if self._rule.base == "RMSprop" else 0.999
        self._second = beta * self._second + (1 - beta) * gradient**2
        root = np.sqrt(self._second)
        if self._rule.base == "Adam":
            self._first = 0.9 * self._first + 0.1 * gradient
            gradient = self._first / (1 - 0.9**self._steps)
            root /= math.sqrt(1 - 0.999**self._steps)
        return gradient / (root + 1e-8)


class _Memories:
    """The memories of R runs; rules and numbers are those of :class:`.CriticalGradients`."""

    def __init__(self, rule: UpdateRule, shape: tuple[int, ...]) -> None:
        size, runs = rule.topC, shape[-1]
        self._rule = rule
        # One slot more than there are, the last: there goes what is rejected.
        self._rows = np.zeros((size + 1, *shape))
        self._priorities = np.full((size + 1, runs), -1.0)  # -1: an empty slot
        self._born = np.zeros((size + 1, runs))
        self._place = np.arange(math.prod(shape)).reshape(shape)
        self._kept, self._seen = np.zeros(runs), 0
        self._run = np.arange(runs)

    def aggregate(self, gradient: Array) -> Array:
        """Gradient and memory combined."""
        total: Array = np.add.reduce(self._rows[:-1], axis=0)
        if self._rule.aggr == "mean":
            return (total + gradient) / (self._kept + 1)
        total /= np.maximum(self._kept, 1)
        total += gradient
        return total / np.where(self._kept > 0, 2, 1) if self._rule.aggr == "mid" else total

    def insert(self, gradient: Array, priority: Array) -> None:
        """Insert or reject, without a branch; then priorities decay."""
        stored = self._priorities[:-1]
        lowest = stored.min(0)
        oldest = np.where(stored == lowest, self._born[:-1], np.inf).argmin(0)
        enters = (priority > lowest) & (priority < np.inf)  # NaN: no
        slot = np.where(enters, oldest, self._rule.topC)
        self._seen += 1
        self._kept += enters & (lowest < 0)
        here = slot * len(slot) + self._run
        self._priorities.reshape(-1)[here] = priority
        self._born.reshape(-1)[here] = self._seen
        self._rows.reshape(-1)[self._place + slot * self._place.size] = gradient
        np.multiply(stored, self._rule.decay, out=stored, where=stored > 0)
