"""Thousands of small classifiers trained at once, each as if it were alone.

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
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from cgtutor.course.shared.data import network
from cgtutor.optim import SGD_C, Adam_C, RMSprop_C

Array = NDArray[Any]


#: So many runs take their steps together: few enough for the processor's cache.
BLOCK = 600


class Method(NamedTuple):
    """An optimizer with its options; those that are not here have torch's defaults.

    Attributes:
        base: ``"SGD"``, ``"RMSprop"`` or ``"Adam"``.
        momentum: of SGD.
        topC: number of gradients to keep; 0 for the base optimizer without a memory.
        decay: factor for every kept priority after each step.
        aggr: how gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``.
    """

    base: str
    momentum: float = 0.0
    topC: int = 0  # noqa: N815
    decay: float = 0.7
    aggr: str = "sum"

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        """The real one, of torch or of this library, for one model."""
        options: dict[str, Any] = {"momentum": self.momentum} if self.base == "SGD" else {}
        if self.topC == 0:
            plain = {"SGD": SGD, "RMSprop": RMSprop, "Adam": Adam}[self.base]
            return plain(parameters, lr=lr, **options)
        options |= {"topC": self.topC, "decay": self.decay, "aggr": self.aggr}
        critical = {"SGD": SGD_C, "RMSprop": RMSprop_C, "Adam": Adam_C}[self.base]
        return critical(parameters, lr=lr, **options)


class Trained(NamedTuple):
    """What :func:`train_together` gives back.

    Attributes:
        weights: the models' tensors in torch's order, each of shape (epochs, R, ...).
        step_length: the mean length of a step, over all parameters of a model, shape (R,); zeros
            unless asked for.
    """

    weights: list[Array]
    step_length: Array


def initial_weights(hidden: int, inputs: int, seeds: Sequence[int]) -> list[Array]:
    """Torch's initial weights for each seed: a list of tensors of shape (seeds, ...).

    They are drawn in torch's default dtype, so float32 and float64 give different weights.

    Args:
        hidden: number of hidden units; 0 for logistic regression.
        inputs: number of features.
        seeds: one for each model, as :func:`.toys.network` takes it.
    """
    widths = (inputs, hidden, 2) if hidden else (inputs, 2)
    models = [network(widths, seed).double().parameters() for seed in seeds]
    return [torch.stack(same).detach().numpy() for same in zip(*models)]


def train_alone(
    x: Array, y: Array, model: nn.Module, optimizer: Optimizer, epochs: int = 10
) -> list[Array]:
    """Train one classifier with a real optimizer: what the batch is held against.

    Args:
        x: samples, shape (n, features).
        y: classes, 0 or 1, shape (n,).
        model: maps samples to two logits each.
        optimizer: of the model's parameters.
        epochs: passes over the samples, in the order in which they stand.

    Returns:
        The model's tensors after each epoch, each of shape (epochs, ...).
    """
    after = []
    for _ in range(epochs):
        for sample, label in zip(torch.tensor(x)[:, None], torch.tensor(y)[:, None]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(sample), label).backward()
            optimizer.step()
        after.append([p.detach().numpy().copy() for p in model.parameters()])
    return [np.stack(same) for same in zip(*after)]


def scores(weights: Sequence[Array], x: Array) -> Array:
    """The score of class 1 (its logit minus that of class 0) for each sample, shape (..., n).

    Args:
        weights: the models' tensors, each of shape (..., *its own).
        x: samples of shape (..., n, features); what stands in front is broadcast.
    """
    *hidden, rows, offsets = weights
    with np.errstate(over="ignore", invalid="ignore"):  # where a run diverged
        return _scores(hidden, rows, offsets, x)


def _scores(hidden: Sequence[Array], rows: Array, offsets: Array, x: Array) -> Array:
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
    method: Method,
    epochs: int = 10,
    seed: int | None = None,
    step_lengths: bool = False,
) -> Trained:
    """Train R classifiers, one sample a step.

    Args:
        x: samples, shape (R, n, features).
        y: classes, 0 or 1, shape (R, n).
        weights: initial weights, each of shape (R, ...); not changed.
        lr: learning rates, shape (R,).
        method: the optimizer of all runs.
        epochs: passes over the samples.
        seed: of the order of the samples, drawn anew for each epoch and the same in all runs;
            by default they come as they stand, in every epoch.
        step_lengths: whether to measure the steps.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is left to do so
        parts = []
        for block in np.array_split(np.arange(len(y)), -(-len(y) // BLOCK)):
            here = slice(block[0], block[-1] + 1)
            mine = [w[here] for w in weights]
            parts.append(
                _block(x[here], y[here], mine, lr[here], method, epochs, seed, step_lengths)
            )
    every = zip(*(part.weights for part in parts))
    return Trained(
        [np.concatenate(same, axis=1) for same in every],
        np.concatenate([part.step_length for part in parts]),
    )


def _block(
    x: Array,
    y: Array,
    weights: Sequence[Array],
    lr: Array,
    method: Method,
    epochs: int,
    seed: int | None,
    step_lengths: bool,
) -> Trained:
    runs, count, _ = x.shape
    # Runs last: what belongs to one step and number lies side by side.
    bias = np.ones((count, 1, runs))
    samples = np.concatenate([np.moveaxis(x, 0, -1), bias], axis=1)  # (n, features + 1, R)
    reach = np.sqrt((samples[:, :-1] ** 2).sum(1)) + 1  # |x| for a layer's weight, 1 for its bias
    signs = np.ascontiguousarray(2.0 * y.T - 1)
    model = _Models(weights, samples.shape[1])
    optimizer = _Optimizers(method, model.flat.shape)
    rates = model.scale[:, None] * lr
    order = np.arange(count)
    shuffle = None if seed is None else np.random.default_rng(seed)
    path, after = np.zeros(runs), []
    for _ in range(epochs):
        if shuffle is not None:
            order = shuffle.permutation(count)
        for i in order:
            gradient, priority = model.gradient(samples[i], signs[i], reach[i])
            step = optimizer.direction(gradient, priority)
            step *= rates
            model.flat -= step
            if step_lengths:  # of the score's weights: half of the square is that of two rows
                path += np.sqrt((1 / model.scale) @ step**2)
        after.append(model.weights())
    return Trained([np.stack(same) for same in zip(*after)], path / (epochs * count))


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
    """R models in one array ``flat`` of shape (P, R): hidden layer, then the score's weights."""

    def __init__(self, weights: Sequence[Array], columns: int) -> None:
        self._start = [w.astype(np.float64) for w in weights]
        *hidden, rows, offsets = self._start
        score = np.concatenate(
            [rows[:, 1] - rows[:, 0], (offsets[:, 1] - offsets[:, 0])[:, None]], 1
        )
        parts = [score.T]
        if hidden:
            layer = np.concatenate([hidden[0], hidden[1][..., None]], -1)  # (R, H, columns)
            parts.insert(0, layer.reshape(len(layer), -1).T)
        self.flat = np.concatenate(parts)
        self._first = self.flat.copy()
        self._units = hidden[0].shape[1] if hidden else 0
        cut = self._units * columns
        shape = (self._units, columns, self.flat.shape[1])
        self._gradient = np.empty_like(self.flat)
        self._product = np.empty(shape if hidden else shape[1:])
        self._hidden, self._score = self.flat[:cut].reshape(shape), self.flat[cut:]
        self._hidden_gradient = self._gradient[:cut].reshape(shape)
        self._score_gradient = self._gradient[cut:]
        #: how many times its own gradient's step a number moves
        self.scale = np.repeat([1.0, 2.0], [cut, len(score[0])])

    def gradient(self, x: Array, sign: Array, reach: Array) -> tuple[Array, Array]:
        """The gradient for one sample a run, and its priority: the sum of its tensors' norms."""
        if not self._units:
            score = np.multiply(self._score, x, out=self._product).sum(0)
            slope = -sign / (1 + exponential(sign * score))
            np.multiply(slope, x, out=self._gradient)
            return self._gradient, math.sqrt(2) * np.abs(slope) * reach
        before = np.multiply(self._hidden, x, out=self._product).sum(1)
        features = np.maximum(before, 0)
        score = (self._score[:-1] * features).sum(0) + self._score[-1]
        slope = -sign / (1 + exponential(sign * score))
        np.multiply(slope, features, out=self._score_gradient[:-1])
        self._score_gradient[-1] = slope
        back = slope * self._score[:-1] * (before > 0)
        np.multiply(back[:, None], x, out=self._hidden_gradient)
        length = np.sqrt((features**2).sum(0)) + 1
        return self._gradient, (
            math.sqrt(2) * np.abs(slope) * length + np.sqrt((back**2).sum(0)) * reach
        )

    def weights(self) -> list[Array]:
        """The models' tensors as they are now, in torch's order and shapes, runs first."""
        moved = (self.flat - self._first)[self.scale == 2].T / 2
        *_, rows, offsets = self._start
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

    def __init__(self, method: Method, shape: tuple[int, ...]) -> None:
        self._method, self._steps = method, 0
        self._first, self._second = np.zeros(shape), np.zeros(shape)
        self._spare, self._other = np.empty(shape), np.empty(shape)
        self._memory = _Memories(method, shape) if method.topC else None

    def direction(self, gradient: Array, priority: Array) -> Array:
        """What is to be subtracted, but for the learning rate; the array is the caller's to use."""
        out, other = self._spare, self._other
        if self._memory is None:
            out[:] = gradient
        else:
            self._memory.aggregate(gradient, out)
            self._memory.offer(gradient, priority)
        self._steps += 1
        if self._method.base == "SGD":
            if self._method.momentum:
                self._first *= self._method.momentum
                out += self._first
                self._first[:] = out
            return out
        decay = 0.99 if self._method.base == "RMSprop" else 0.999
        np.multiply(out, out, out=other)
        other *= 1 - decay
        self._second *= decay
        self._second += other
        np.sqrt(self._second, out=other)
        if self._method.base == "Adam":
            self._first *= 0.9
            out *= 0.1
            self._first += out
            np.divide(self._first, 1 - 0.9**self._steps, out=out)
            other /= math.sqrt(1 - 0.999**self._steps)
        other += 1e-8
        out /= other
        return out


class _Memories:
    """The memories of R runs; rules and numbers are those of :class:`.CriticalGradients`."""

    def __init__(self, method: Method, shape: tuple[int, ...]) -> None:
        size, runs = method.topC, shape[-1]
        self._method = method
        # One slot more than there are, the last: there goes what is turned away.
        self._rows = np.zeros((size + 1, *shape))
        self._priorities = np.full((size + 1, runs), -1.0)  # -1: an empty slot
        self._born = np.zeros((size + 1, runs))
        self._place = np.arange(math.prod(shape)).reshape(shape)
        self._kept, self._seen = np.zeros(runs), 0
        self._run = np.arange(runs)

    def aggregate(self, gradient: Array, out: Array) -> None:
        """Gradient and memory combined, into ``out``."""
        np.add.reduce(self._rows[:-1], axis=0, out=out)
        if self._method.aggr == "mean":
            out += gradient
            out /= self._kept + 1
            return
        out /= np.maximum(self._kept, 1)
        out += gradient
        if self._method.aggr == "mid":
            out /= np.where(self._kept > 0, 2, 1)

    def offer(self, gradient: Array, priority: Array) -> None:
        """Insert where it is allowed, without a branch, and fade."""
        stored = self._priorities[:-1]
        lowest = stored.min(0)
        oldest = np.where(stored == lowest, self._born[:-1], np.inf).argmin(0)
        enters = (priority > lowest) & (priority < np.inf)  # NaN: no
        slot = np.where(enters, oldest, self._method.topC)
        self._seen += 1
        self._kept += enters & (lowest < 0)
        here = slot * len(slot) + self._run
        self._priorities.reshape(-1)[here] = priority
        self._born.reshape(-1)[here] = self._seen
        self._rows.reshape(-1)[self._place + slot * self._place.size] = gradient
        np.multiply(stored, self._method.decay, out=stored, where=stored > 0)
