"""The points that the studies draw, and how hard they are to learn.

Logistic regression and a network with one hidden unit learn them, one sample a step: points that
scikit-learn's ``make_classification`` draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

from cgtutor.course.does_it_help.alone import Array

#: The authors' three studies, with all the levels that they tried.
AUTHORS_LEVELS = {
    "label noise": tuple(k / 10 for k in range(11)),
    "class imbalance": tuple(k / 10 for k in range(1, 6)),
    "class separation": tuple(k / 2 for k in range(8)),
}


#: The fair ones; one setting, without noise, balanced and with separation 1, is part of all three.
FAIR_LEVELS = {
    "label noise": (0.0, 0.25, 0.5),
    "class imbalance": (0.1, 0.25, 0.5),
    "class separation": (0.5, 1.0, 1.5),
}


class Part(NamedTuple):
    """Samples ``x`` of shape (..., n, features) and classes ``y`` (0 or 1) of shape (..., n)."""

    x: Array
    y: Array


class Problem(NamedTuple):
    """What a classifier is given, or a stack of such with the same shapes.

    The authors' protocol has no validation part; there it is empty.
    """

    train: Part
    validation: Part
    test: Part


class Setting(NamedTuple):
    """How hard the points are to learn.

    Attributes:
        noise: share of the labels that are redrawn, by a coin: half of these stay right.
        minority: share of the smaller class, up to 0.5.
        separation: of the classes: half the side of the hypercube on whose corners they lie.
    """

    noise: float = 0.0
    minority: float = 0.5
    separation: float = 1.0


def setting(study: str, level: float) -> Setting:
    """What a level of a study means: everything else is as in :class:`Setting`."""
    return {
        "label noise": Setting(noise=level),
        "class imbalance": Setting(minority=level),
        "class separation": Setting(separation=level),
    }[study]


def _points(count: int, chosen: Setting, flip: float, seed: int) -> tuple[Array, Array]:
    return make_classification(
        n_samples=count,
        n_features=10,
        n_informative=7,
        n_redundant=0,
        n_repeated=0,
        n_classes=2,
        n_clusters_per_class=1,
        weights=[1 - chosen.minority, chosen.minority],
        flip_y=flip,
        class_sep=max(chosen.separation, 1e-9),  # 0 is refused
        hypercube=True,
        shift=0.4,
        scale=1.0,
        shuffle=True,
        random_state=seed,
    )


def _standardised(train: Part, *others: Part) -> list[Part]:
    """All parts shifted and scaled so that each feature of the first has mean 0 and deviation 1.

    To six decimals, so that all machines train on the same numbers: scikit-learn multiplies
    matrices, and processors differ in the last bits of a product.
    """
    mean, deviation = train.x.mean(0), train.x.std(0)
    return [Part(((part.x - mean) / deviation).round(6), part.y) for part in (train, *others)]


def authors_problem(study: str, level: float) -> Problem:
    """The authors' data set: 400 points to train on, 100 to test on, always the same split.

    Noise is in the labels of both parts. The level of the study of class separation is not
    used: their code has 0.5 there.
    """
    chosen = setting(study, level)._replace(separation=0.5)
    x, y = _points(500, chosen, chosen.noise, seed=1403)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=1234)
    train, test = _standardised(Part(x_train, y_train), Part(x_test, y_test))
    return Problem(train, Part(x[:0], y[:0]), test)


def fair_problem(
    chosen: Setting, seed: int, train: int = 300, validation: int = 100, test: int = 1000
) -> Problem:
    """A data set of its own for each seed, in three parts.

    Labels to train and to choose on are noisy, as they would be in practice. Those of the
    test part are right, since the question is what was learned.
    """
    x, y = _points(train + validation + test, chosen, 0.0, seed)
    known = train + validation
    noisy = np.concatenate([noisy_labels(y[:known], chosen.noise, seed), y[known:]])
    ends = [train, known]
    parts = map(Part, np.split(x, ends), np.split(noisy, ends))
    return Problem(*_standardised(*parts))


def noisy_labels(y: Array, noise: float, seed: int) -> Array:
    """Labels of which a share is redrawn, by a coin: half of these stay right."""
    generator = np.random.default_rng(seed)
    redrawn = generator.random(len(y)) < noise
    return np.where(redrawn, generator.integers(0, 2, len(y)), y)


def stacked(problems: Sequence[Problem]) -> Problem:
    """Problems of the same shapes as one, with a dimension in front."""
    return Problem(*(Part(*map(np.stack, zip(*parts))) for parts in zip(*problems)))
