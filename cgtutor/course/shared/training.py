"""Training a classifier, and sweeps over names, learning rates and seeds."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer
from tqdm.auto import tqdm

from cgtutor.course.shared.data import Data, Split, network

#: Builds an optimizer from a model's parameters and a learning rate.
MakeOptimizer = Callable[[Iterable[nn.Parameter], float], Optimizer]


Run = TypeVar("Run")


class Curves(NamedTuple):
    """One training run: a value after each epoch, and the test accuracy at the very end.

    Losses are mean cross-entropies in nats, accuracies fractions of pictures.
    """

    train_loss: list[float]
    validation_loss: list[float]
    validation_accuracy: list[float]
    test_accuracy: float


def train(
    model: nn.Module,
    optimizer: Optimizer,
    data: Data,
    epochs: int = 20,
    batch_size: int = 50,
    seed: int = 0,
    after_step: Callable[[], object] | None = None,
) -> Curves:
    """Train a classifier on mini-batches and record how it goes.

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
        for batch in torch.randperm(len(data.train.y), generator=order).split(batch_size):
            optimizer.zero_grad()
            cross_entropy(model(data.train.x[batch]), data.train.y[batch]).backward()
            optimizer.step()
            if after_step is not None:
                after_step()
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


def sweep(
    optimizers: Mapping[str, MakeOptimizer],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    data: Data,
    epochs: int = 20,
) -> dict[str, dict[float, list[Curves]]]:
    """Train a fresh :func:`.network` for every optimizer, learning rate and seed.

    Args:
        optimizers: by name, how to build each from parameters and a learning rate.
        learning_rates: tried with every optimizer.
        seeds: tried with every learning rate; each sets initial weights and order of the data.
        data: pictures of 64 pixels in 10 classes, as :func:`.digits` gives them.
        epochs: passes over the training part.

    Returns:
        ``result[name][learning_rate]``, one :class:`Curves` for each seed.
    """

    def run(name: str, lr: float, seed: int) -> Curves:
        model = network(seed=seed)
        return train(model, optimizers[name](model.parameters(), lr), data, epochs, seed=seed)

    return every_trial(optimizers, learning_rates, seeds, run)


def every_trial(
    names: Collection[str],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    run: Callable[[str, float, int], Run],
) -> dict[str, dict[float, list[Run]]]:
    """What a sweep consists of: every name with every learning rate and every seed.

    Args:
        names: of what is compared.
        learning_rates: tried with every name.
        seeds: tried with every learning rate.
        run: does one training, from a name, a learning rate and a seed.

    Returns:
        ``result[name][learning_rate]``, what ``run`` gave for each seed.
    """
    trials = [(name, lr, seed) for name in names for lr in learning_rates for seed in seeds]
    result: dict[str, dict[float, list[Run]]] = {
        name: {lr: [] for lr in learning_rates} for name in names
    }
    for name, lr, seed in tqdm(trials, desc="trainings"):
        result[name][lr].append(run(name, lr, seed))
    return result


def best_learning_rate(trials: Mapping[float, Sequence[Curves]]) -> float:
    """The learning rate with the smallest mean validation loss after the last epoch.

    One at which a run ended in NaN counts as the worst.
    """

    def final(lr: float) -> float:
        loss = mean(curves.validation_loss[-1] for curves in trials[lr])
        return math.inf if math.isnan(loss) else loss

    return min(trials, key=final)


def table(results: Mapping[str, Mapping[float, Sequence[Curves]]]) -> str:
    """What a sweep found, a line for each optimizer: means over the seeds.

    First the validation loss after the last epoch at each learning rate, then the test accuracy
    (with its standard deviation) at the one that is best on the validation part.
    """
    rates = list(next(iter(results.values())))
    lines = [
        "validation loss at each learning rate, and test accuracy at the best of these",
        f"{'':22s}" + "".join(f"{rate:<8g}" for rate in rates) + "test accuracy",
    ]
    for name, trials in results.items():
        losses = [mean(run.validation_loss[-1] for run in trials[rate]) for rate in rates]
        accuracies = [run.test_accuracy for run in trials[best_learning_rate(trials)]]
        lines.append(
            f"{name:22s}"
            + "".join(f"{loss:<8.2f}" for loss in losses)
            + f"{mean(accuracies):.3f} ± {stdev(accuracies):.3f}"
        )
    return "\n".join(lines)


def step_length(
    make: MakeOptimizer, lr: float, data: Data, epochs: int = 20, seed: int = 0
) -> float:
    """Train :func:`.network`; the mean over all steps of how far the parameters move in one."""
    model = network(seed=seed)
    points = [parameters_to_vector(model.parameters()).detach()]

    def note() -> None:
        points.append(parameters_to_vector(model.parameters()).detach())

    train(model, make(model.parameters(), lr), data, epochs, seed=seed, after_step=note)
    return torch.stack(points).diff(dim=0).norm(dim=1).mean().item()
