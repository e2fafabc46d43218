"""Training a classifier, and sweeps over candidates, learning rates and seeds."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT
from tqdm.auto import tqdm

from cgtutor.course.shared.data import Data, Split, mini_batches, network

#: Builds an optimizer from parameters, or groups of them, and a learning rate.
MakeOptimizer = Callable[[ParamsT, float], Optimizer]


class Run(Protocol):
    """A training that can be compared with others by its validation loss."""

    @property
    def validation_loss(self) -> Sequence[float]:
        """In the course of the training; the last one is that at its end."""


class Curves(NamedTuple):
    """One training run: a value after each epoch, and the test accuracy at the very end.

    Losses are mean cross-entropies in nats, accuracies fractions of pictures.
    """

    train_loss: list[float]
    validation_loss: list[float]
    validation_accuracy: list[float]
    test_accuracy: float


def train_on(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterable[Split],
    after_step: Callable[[], object] = lambda: None,
) -> None:
    """Train a classifier on one mini-batch after the other.

    Args:
        model: maps inputs to one logit for each class.
        optimizer: of the model's parameters.
        batches: inputs and class labels.
        after_step: called after each optimizer step, while gradients are still there.
    """
    for x, y in batches:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
        after_step()


def train(
    model: nn.Module,
    optimizer: Optimizer,
    data: Data,
    epochs: int = 20,
    batch_size: int = 50,
    seed: int = 0,
    after_step: Callable[[], object] = lambda: None,
) -> Curves:
    """Train a classifier for some epochs and record how it goes.

    Args:
        model: maps inputs to one logit for each class.
        optimizer: of the model's parameters.
        data: what to train and evaluate on.
        epochs: passes over the training part.
        batch_size: pictures in a mini-batch.
        seed: for the order of the mini-batches; torch's global generator is not used.
        after_step: called after each optimizer step, while gradients are still there.
    """
    order = torch.Generator().manual_seed(seed)
    curves = Curves([], [], [], 0.0)
    for _ in range(epochs):
        train_on(model, optimizer, mini_batches(data.train, batch_size, order), after_step)
        curves.train_loss.append(evaluate(model, data.train)[0])
        loss, accuracy = evaluate(model, data.validation)
        curves.validation_loss.append(loss)
        curves.validation_accuracy.append(accuracy)
    return curves._replace(test_accuracy=evaluate(model, data.test)[1])


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Mean cross-entropy (nats) and accuracy (fraction) of a classifier."""
    logits: Tensor = model(split.x)
    hits = logits.argmax(dim=1) == split.y
    return cross_entropy(logits, split.y).item(), hits.double().mean().item()


def train_network(
    make: MakeOptimizer, lr: float, seed: int, data: Data, epochs: int = 20
) -> Curves:
    """Train a fresh :func:`.network`; for :func:`sweep`, whose candidates are then optimizers.

    Args:
        make: builds the optimizer.
        lr: its learning rate.
        seed: for the initial weights and the order of the mini-batches.
        data: pictures of 64 pixels in 10 classes, as :func:`.digits` gives them.
        epochs: passes over the training part.
    """
    model = network(seed=seed)
    return train(model, make(model.parameters(), lr), data, epochs, seed=seed)


Candidate = TypeVar("Candidate")
Result = TypeVar("Result")
Options = ParamSpec("Options")


def sweep(
    candidates: Mapping[str, Candidate],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    run: Callable[Concatenate[Candidate, float, int, Options], Result],
    *args: Options.args,
    **options: Options.kwargs,
) -> dict[str, dict[float, list[Result]]]:
    """Train with every candidate, learning rate and seed.

    Args:
        candidates: by name, what is compared: optimizers, aggregators, groupings.
        learning_rates: tried with every candidate.
        seeds: tried with every learning rate.
        run: does one training, from a candidate, a learning rate and a seed.
        args: further arguments of ``run``, the same for all.
        options: likewise, by keyword.

    Returns:
        ``result[name][learning_rate]``, what ``run`` returns for each seed.
    """
    trials = [(name, lr, seed) for name in candidates for lr in learning_rates for seed in seeds]
    results: dict[str, dict[float, list[Result]]] = {
        name: {lr: [] for lr in learning_rates} for name in candidates
    }
    for name, lr, seed in tqdm(trials, desc="trainings"):
        results[name][lr].append(run(candidates[name], lr, seed, *args, **options))
    return results


def final_loss(runs: Iterable[Run]) -> float:
    """The validation loss at the end of a training, as a mean over the seeds."""
    return mean(run.validation_loss[-1] for run in runs)


def best_learning_rate(
    trials: Mapping[float, Any], loss: Callable[[Any], float] = final_loss
) -> float:
    """The learning rate with the smallest loss.

    Args:
        trials: what there is for each learning rate, the runs of all seeds.
        loss: of the runs at one learning rate. NaN counts as the worst.
    """

    def in_order(lr: float) -> float:
        value = loss(trials[lr])
        return math.inf if math.isnan(value) else value

    return min(trials, key=in_order)


def best_runs(results: Mapping[str, Mapping[float, list[Result]]]) -> dict[str, list[Result]]:
    """Of a sweep, for each name the runs at its :func:`best_learning_rate`."""
    return {name: trials[best_learning_rate(trials)] for name, trials in results.items()}


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the standard deviation; both are NaN if a value is."""
    if any(math.isnan(value) for value in values):  # which stdev refuses
        return math.nan, math.nan
    return mean(values), stdev(values)


def plus_minus(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation, in words.

    >>> plus_minus([1.0, 2.0, 3.0])
    '2.00 ± 1.00'
    """
    return " ± ".join(f"{value:.{digits}f}" for value in mean_and_deviation(values))


def _accuracy(runs: Sequence[Curves]) -> str:
    return plus_minus([run.test_accuracy for run in runs], 3)


#: What a :func:`table` says of the runs at the best learning rate, by its heading.
Columns = Mapping[str, Callable[[Any], str]]

_ACCURACY: Columns = {"test accuracy": _accuracy}


def table(
    results: Mapping[str, Mapping[float, Sequence[Run]]], columns: Columns = _ACCURACY
) -> str:
    """What a sweep found, a line for each name.

    First the validation loss at the end for each learning rate, a mean over the seeds; then the
    columns, at the learning rate that is best on the validation part.

    Args:
        results: as :func:`sweep` returns them.
        columns: by heading, what to say of a name's runs at its best learning rate.
    """
    rates = list(next(iter(results.values())))
    cells = {
        name: [column(trials[best_learning_rate(trials)]) for column in columns.values()]
        for name, trials in results.items()
    }
    widths = [max(map(len, column)) for column in zip(columns, *cells.values())]

    def line(start: str, numbers: Iterable[str], ends: Iterable[str]) -> str:
        padded = "   ".join(f"{end:{width}s}" for end, width in zip(ends, widths))
        return f"{start:22s}{''.join(f'{n:8s}' for n in numbers)}{padded}".rstrip()

    first = next(iter(columns))
    return "\n".join(
        [
            f"validation loss at each learning rate, and {first} at the best of these",
            line("", (f"{rate:g}" for rate in rates), columns),
            *(
                line(name, (f"{final_loss(trials[rate]):.2f}" for rate in rates), cells[name])
                for name, trials in results.items()
            ),
        ]
    )


def mean_step(points: Sequence[Tensor]) -> float:
    """How far apart two points in sequence are, as a mean over all steps between them."""
    return torch.stack(list(points)).diff(dim=0).norm(dim=1).mean().item()
