"""Two studies of small classifiers: as the method's authors ran it, and as a fair one would be.

Four optimizers, each with a memory and without.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student
from tqdm.auto import tqdm

from cgtutor.course.does_it_help.alone import Array, UpdateRule, rounded_weights
from cgtutor.course.does_it_help.batch import scores, train_together
from cgtutor.course.does_it_help.problems import (
    AUTHORS_LEVELS,
    FAIR_LEVELS,
    Part,
    Problem,
    Setting,
    authors_problem,
    fair_problem,
    setting,
    stacked,
)

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
    "SGD": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "SGDM": (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "RMSprop": (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
    "Adam": (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
}


def accuracy(scored: Array, y: Array) -> Array:
    """Share of samples put into their class, over the last dimension: with two classes micro-F1."""
    return ((scored > 0) == y).mean(-1)


def balanced_accuracy(scored: Array, y: Array) -> Array:
    """The mean over both classes of the share of their samples that is recognised."""
    hits = (scored > 0) == y
    shares = [(hits & (y == k)).sum(-1) / (y == k).sum(-1) for k in (0, 1)]
    return sum(shares) / 2


def macro_f1(scored: Array, y: Array) -> Array:
    """The mean over both classes of F1, the harmonic mean of precision and recall."""
    guess = scored > 0
    hits = [((guess == k) & (y == k)).sum(-1) for k in (0, 1)]
    either = [(guess == k).sum(-1) + (y == k).sum(-1) for k in (0, 1)]  # never 0: y has both
    return sum(2 * h / e for h, e in zip(hits, either)) / 2


def cross_entropy(scored: Array, y: Array) -> Array:
    """Mean loss in nats, over the last dimension."""
    with np.errstate(over="ignore", invalid="ignore"):  # where a run diverged
        return np.logaddexp(0, (1 - 2 * y) * scored).mean(-1)


class AuthorsResult(NamedTuple):
    """What their protocol finds for one model.

    Attributes:
        best: for each study and optimizer, micro-F1 on the test part at the best epoch, shape
            (levels, seeds).
        last: the same after the last epoch.
        step_length: for each optimizer the mean length of a step, shape (runs,).
        travel: for each optimizer how far from its start a model is after the first epoch, shape
            (runs,).
    """

    best: dict[str, dict[str, Array]]
    last: dict[str, dict[str, Array]]
    step_length: dict[str, Array]
    travel: dict[str, Array]


def authors_study(
    model: str,
    methods: Sequence[str] = tuple(METHODS),
    lr: float = 0.001,
    seeds: Sequence[int] = range(100, 105),
    epochs: int = 10,
) -> AuthorsResult:
    """The authors' protocol, with all their levels: one data set, one split, one learning rate.

    Args:
        model: a name in :data:`MODELS`.
        methods: names in :data:`METHODS`.
        lr: the learning rate of all methods; theirs is 0.001.
        seeds: of the initial weights, and of nothing else.
        epochs: passes over the training part, always in the same order.
    """
    places = [(study, level) for study, levels in AUTHORS_LEVELS.items() for level in levels]
    data = stacked([authors_problem(*place) for place in places])
    train, _, test = (Part(*(np.repeat(a, len(seeds), axis=0) for a in part)) for part in data)
    start = [
        np.tile(w, (len(places), *[1] * (w.ndim - 1)))
        for w in rounded_weights(MODELS[model], 10, seeds)
    ]
    rates = np.full(len(train.y), lr)
    best: dict[str, dict[str, Array]] = {study: {} for study in AUTHORS_LEVELS}
    last: dict[str, dict[str, Array]] = {study: {} for study in AUTHORS_LEVELS}
    result = AuthorsResult(best, last, {}, {})
    for name in tqdm(methods, desc=f"{model}, optimizers"):
        trained = train_together(
            train.x, train.y, start, rates, METHODS[name], epochs, step_lengths=True
        )
        result.step_length[name] = trained.step_length
        moved = [(w[0] - s).reshape(len(rates), -1) for w, s in zip(trained.weights, start)]
        result.travel[name] = np.linalg.norm(np.concatenate(moved, axis=1), axis=1)
        found = accuracy(scores(trained.weights, test.x), test.y)  # (epochs, runs)
        for study in AUTHORS_LEVELS:
            here = [k for k, place in enumerate(places) if place[0] == study]
            result.best[study][name] = found.max(0).reshape(len(places), -1)[here]
            result.last[study][name] = found[-1].reshape(len(places), -1)[here]
    return result


class FairResult(NamedTuple):
    """What the fair protocol finds for one model; D data sets, L learning rates.

    Attributes:
        validation_loss: for each optimizer and setting, in nats, shape (D, L).
        test: balanced accuracy on the test part, of the same form.
    """

    validation_loss: dict[str, dict[Setting, Array]]
    test: dict[str, dict[Setting, Array]]

    def chosen(self, method: str, here: Setting) -> Array:
        """For each data set the place of the learning rate with the lowest validation loss.

        One at which a run ended in NaN counts as the worst.
        """
        losses = self.validation_loss[method][here]
        return np.where(np.isnan(losses), np.inf, losses).argmin(1)

    def report(self, method: str, here: Setting, tuned: str | None = None) -> Array:
        """Test results at the chosen learning rates, shape (D,).

        Args:
            method: whose results.
            here: the setting.
            tuned: whose choices; by default its own.
        """
        places = self.chosen(tuned or method, here)[:, None]
        return np.take_along_axis(self.test[method][here], places, axis=1)[:, 0]

    def lead(self, base: str, study: str, tuned: str | None = None) -> Array:
        """By how much the memory raises a study's test results, for each data set: shape (D,).

        Args:
            base: the optimizer without a memory.
            study: the mean over its levels is taken.
            tuned: whose learning rates both take; by default each takes its own.
        """
        return np.mean(
            [
                self.report(PAIRS[base], here, tuned) - self.report(base, here, tuned)
                for here in (setting(study, level) for level in FAIR_LEVELS[study])
            ],
            axis=0,
        )


def fair_settings() -> list[Setting]:
    """The settings of the three fair studies, each once."""
    every = [setting(study, level) for study, levels in FAIR_LEVELS.items() for level in levels]
    return list(dict.fromkeys(every))


def fair_study(
    model: str,
    data_sets: Sequence[int] = range(16),
    methods: Sequence[str] = tuple(METHODS),
    settings: Sequence[Setting] | None = None,
    epochs: int = 10,
) -> FairResult:
    """The fair protocol: many data sets, both sides tuned alike on a validation part.

    Args:
        model: a name in :data:`MODELS`.
        data_sets: seeds; each has points, noise, initial weights and order of its own.
        methods: names in :data:`METHODS`; each tries its pair's learning rates in :data:`GRIDS`.
        settings: by default :func:`fair_settings`.
        epochs: passes over the training part; the model after the last one counts.
    """
    settings = fair_settings() if settings is None else settings
    data = [stacked([fair_problem(here, seed) for seed in data_sets]) for here in settings]
    shape = (len(settings), len(data_sets), len(GRIDS["SGD"]))

    def spread(a: Array) -> Array:
        """(settings, D, ...) once more for each learning rate, as one row of runs."""
        full = np.broadcast_to(a[:, :, None], (*shape, *a.shape[2:]))
        return full.reshape(-1, *a.shape[2:])

    x = spread(np.stack([d.train.x for d in data]))
    y = spread(np.stack([d.train.y for d in data]))
    start = [
        spread(np.broadcast_to(w, (len(settings), *w.shape)))
        for w in rounded_weights(MODELS[model], 10, data_sets)
    ]
    result = FairResult({}, {})
    for name in tqdm(methods, desc=f"{model}, optimizers"):
        rates = np.broadcast_to(GRIDS[name.removesuffix("_C")], shape).reshape(-1)
        trained = train_together(x, y, start, rates, METHODS[name], epochs, seed=0)
        last = [w[-1].reshape(*shape, *w.shape[2:]) for w in trained.weights]
        result.validation_loss[name], result.test[name] = {}, {}
        for k, (here, problem) in enumerate(zip(settings, data)):
            found = [
                (scores([w[k] for w in last], part.x[:, None]), part.y[:, None])
                for part in problem[1:]
            ]
            result.validation_loss[name][here] = cross_entropy(*found[0])
            result.test[name][here] = balanced_accuracy(*found[1])
    return result


def tune(
    problems: Problem,
    rule: UpdateRule,
    rates: Sequence[float],
    seeds: Sequence[int],
    measure: Callable[[Array, Array], Array] = balanced_accuracy,
    epochs: int = 10,
) -> tuple[Array, Array]:
    """One side of a fair comparison with logistic regression on D data sets.

    Args:
        problems: a stack of D.
        rule: the optimizer.
        rates: learning rates to choose from, by validation loss (mean over the seeds).
        seeds: of initial weights; each is tried on each data set with each learning rate.
        measure: of test results, from scores and classes.
        epochs: passes over the training part.

    Returns:
        For each data set the place of the chosen learning rate, shape (D,), and the test
        result there (mean over the seeds), shape (D,).
    """
    shape = (len(problems.train.y), len(rates), len(seeds))

    def spread(a: Array, *front: int) -> Array:
        full = np.broadcast_to(a.reshape(*front, *a.shape[1:]), (*shape, *a.shape[1:]))
        return full.reshape(-1, *a.shape[1:])

    x, y = (spread(a, shape[0], 1, 1) for a in problems.train)
    start = [spread(w, 1, 1, shape[2]) for w in rounded_weights(0, 10, seeds)]
    lr = np.broadcast_to(np.asarray(rates, float)[:, None], shape).reshape(-1)
    trained = train_together(x, y, start, lr, rule, epochs, seed=0)
    last = [w[-1].reshape(*shape, *w.shape[2:]) for w in trained.weights]
    validation, test = (
        (scores(last, part.x[:, None, None]), part.y[:, None, None]) for part in problems[1:]
    )
    losses = np.nan_to_num(cross_entropy(*validation), nan=np.inf).mean(2)
    chosen = losses.argmin(1)
    return chosen, measure(*test).mean(2)[np.arange(shape[0]), chosen]


def interval(values: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Mean over the first dimension and half the width of its confidence interval (Student's t)."""
    count = len(values)
    with np.errstate(over="ignore", invalid="ignore"):  # where a run diverged
        half = student.ppf((1 + level) / 2, count - 1) * values.std(0, ddof=1) / np.sqrt(count)
        return values.mean(0), half
