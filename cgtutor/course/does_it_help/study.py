"""The optimizers that are compared, and a training of many classifiers at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from cgtutor.course.does_it_help.alone import Array, UpdateRule, rounded_weights
from cgtutor.course.does_it_help.batch import scores, train_together
from cgtutor.course.does_it_help.problems import Problem

#: Trains a side with each learning rate: validation losses and test results, both (D, L).
Run = Callable[[str, Sequence[float]], tuple[Array, Array]]

#: Number of hidden units of each model; 0 is a linear layer alone.
MODELS = {"logistic regression": 0, "tiny MLP": 1}

#: The optimizers, as the authors set them: topC is 5, and 10 with momentum.
METHODS = {
    "SGD": UpdateRule("SGD"),
    "SGD_C": UpdateRule("SGD", topC=5),
    "SGDM": UpdateRule("SGD", momentum=0.9),
    "SGDM_C": UpdateRule("SGD", momentum=0.9, topC=10),
    "RMSprop": UpdateRule("RMSprop"),
    "RMSprop_C": UpdateRule("RMSprop", topC=5, aggr="mean"),
    "Adam": UpdateRule("Adam"),
    "Adam_C": UpdateRule("Adam", topC=5, aggr="mean"),
}

#: What is compared with what: the optimizer, and the same with a memory.
PAIRS = {name: f"{name}_C" for name in METHODS if not name.endswith("_C")}

#: Learning rates that the fair protocol tries, the same for both sides of a pair.
GRIDS = {
    "SGD": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "SGDM": (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03),
    "RMSprop": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "Adam": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
}


class Runs(NamedTuple):
    """Classifiers trained on D problems, each with L learning rates.

    Attributes:
        problems: a stack of D.
        start: the models' initial tensors, each of shape (D, ...).
        weights: the same after each epoch, each of shape (epochs, D, L, ...).
    """

    problems: Problem
    start: list[Array]
    weights: list[Array]

    def guess(self, epoch: int = -1) -> Array:
        """The classes, 0 or 1, given to the test points, shape (D, L, points).

        Args:
            epoch: after which; by default the last one.
        """
        found = scores([w[epoch] for w in self.weights], self.problems.test.x[:, None])
        return (found > 0).astype(int)

    def validation_loss(self) -> Array:
        """Mean cross-entropy on the validation part after the last epoch, in nats, (D, L)."""
        x, y = self.problems.validation
        return cross_entropy(scores([w[-1] for w in self.weights], x[:, None]), y[:, None])


def train(
    method: str,
    rates: Sequence[float],
    problems: Problem,
    seeds: Sequence[int],
    model: str = "tiny MLP",
    order: int | None = None,
    epochs: int = 10,
) -> Runs:
    """Train a classifier on each problem with each learning rate, one sample a step.

    Args:
        method: a name in :data:`METHODS`.
        rates: learning rates.
        problems: a stack of D.
        seeds: of the initial weights, one for each problem.
        model: a name in :data:`MODELS`.
        order: seed of the order of the samples, redrawn for each epoch; by default they come as
            they stand, in every epoch.
        epochs: passes over the training part.
    """
    start = rounded_weights(MODELS[model], problems.train.x.shape[-1], seeds)
    shape = len(seeds), len(rates)
    x, y, *weights = (np.repeat(a, len(rates), axis=0) for a in (*problems.train, *start))
    lr = np.tile(np.asarray(rates, float), len(seeds))
    trained = train_together(x, y, weights, lr, METHODS[method], epochs, order)
    return Runs(problems, start, [w.reshape(epochs, *shape, *w.shape[2:]) for w in trained])


def cross_entropy(scored: Array, y: Array) -> Array:
    """The mean loss over the last dimension, in nats, from scores of class 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # where a run diverged
        return np.logaddexp(0, (1 - 2 * y) * scored).mean(-1)


def macro_f1(y: Array, guess: Array) -> Array:
    """The mean over both classes of F1, over the last dimension.

    F1 is 2 TP / (2 TP + FP + FN): the points given a class and those of it are 2 TP + FP + FN.
    """
    hits = [((guess == k) & (y == k)).sum(-1) for k in (0, 1)]
    either = [(guess == k).sum(-1) + (y == k).sum(-1) for k in (0, 1)]
    shares: list[Array] = [2 * h / np.maximum(e, 1) for h, e in zip(hits, either)]
    return (shares[0] + shares[1]) / 2


def interval(leads: Array, level: float = 0.95) -> tuple[float, float]:
    """Mean and half the width of its confidence interval (Student's t)."""
    count = len(leads)
    half = student.ppf((1 + level) / 2, count - 1) * leads.std(ddof=1) / np.sqrt(count)
    return float(leads.mean()), float(half)


def distance(start: Sequence[Array], after: Sequence[Array]) -> Array:
    """How far each model is from where it started, over all its tensors, shape (models,)."""
    squares = [((a - s) ** 2).reshape(len(s), -1).sum(1) for s, a in zip(start, after)]
    return np.sqrt(np.sum(squares, axis=0))


def fair_lead(run: Run, grids: Mapping[str, Sequence[float]]) -> Array:
    """The second side's lead over the first on each data set; each side chooses its own rate.

    Args:
        run: trains a side with each learning rate; returns validation losses and test results,
            each of shape (data sets, learning rates).
        grids: the learning rates of both sides, by name.
    """
    reported = []
    for side, rates in grids.items():
        losses, results = run(side, rates)
        best = np.nan_to_num(losses.mean(axis=0), nan=np.inf).argmin()
        reported.append(results[:, best])
    return reported[1] - reported[0]
