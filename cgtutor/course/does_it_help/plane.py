"""Classifiers of points in the plane: small enough to train while a slider moves."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import make_blobs, make_classification, make_moons

from cgtutor.course.does_it_help.alone import Array, UpdateRule, rounded_weights
from cgtutor.course.does_it_help.batch import scores, train_together
from cgtutor.course.does_it_help.problems import Part, noisy_labels
from cgtutor.course.does_it_help.studies import accuracy

#: The data sets that :func:`points` knows.
SHAPES = ("moons", "blobs", "two features")


def points(shape: str, noise: float = 0.0, seed: int = 0) -> tuple[Part, Part]:
    """Points in the plane to train on (100, with noisy labels) and to test on (1000, right labels).

    Args:
        shape: one of :data:`SHAPES`, scikit-learn's ``make_moons``, ``make_blobs`` and
            ``make_classification`` with two features.
        noise: share of the training labels that are redrawn, by a coin.
        seed: of points and labels.
    """
    count = 1100
    if shape == "moons":
        x, y = make_moons(count, noise=0.2, random_state=seed)
    elif shape == "blobs":
        centers = [(-1.0, -1.0), (1.0, 1.0)]
        x, y = make_blobs(count, centers=centers, cluster_std=1.0, random_state=seed)
    else:
        x, y = make_classification(
            count, n_features=2, n_redundant=0, class_sep=1.0, flip_y=0, random_state=seed
        )
    x = ((x - x[:100].mean(0)) / x[:100].std(0)).round(6)  # the same on all machines
    return Part(x[:100], noisy_labels(y[:100], noise, seed)), Part(x[100:], y[100:])


class Boundary(NamedTuple):
    """Where R trained models draw the line between two classes.

    Attributes:
        train: the points that they were trained on.
        ticks: coordinates of a square grid, shape (k,).
        scores: of class 1 at the grid's points, shape (R, k, k): the second index goes up.
        accuracy: share of right answers on the test points, shape (R,).
    """

    train: Part
    ticks: Array
    scores: Array
    accuracy: Array


def boundary(
    shape: str,
    noise: float,
    rule: UpdateRule,
    lr: float,
    hidden: int = 8,
    runs: int = 5,
    epochs: int = 4,
) -> Boundary:
    """Train on points in the plane, one sample a step, from several initial weights at once.

    Args:
        shape: one of :data:`SHAPES`.
        noise: share of the training labels that are redrawn.
        rule: the optimizer.
        lr: its learning rate.
        hidden: number of hidden units; 0 for logistic regression.
        runs: number of initial weights.
        epochs: passes over the points, each in an order of its own.
    """
    train, test = points(shape, noise)
    start = rounded_weights(hidden, 2, range(runs))
    x, y = (np.broadcast_to(a, (runs, *a.shape)) for a in train)
    trained = train_together(x, y, start, np.full(runs, lr), rule, epochs, seed=0)
    last = [w[-1] for w in trained.weights]
    ticks = np.linspace(-3, 3, 41)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    return Boundary(
        train,
        ticks,
        scores(last, grid).reshape(runs, len(ticks), len(ticks)),
        accuracy(scores(last, test.x), test.y),
    )
