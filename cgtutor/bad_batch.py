"""What one bad mini-batch does to a training: once, or for as long as it is remembered."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from cgtutor.toys import Data, network
from cgtutor.training import MakeOptimizer, evaluate, every_trial


class Course(NamedTuple):
    """The course of a training.

    Attributes:
        steps: at which the validation loss was taken, before that step; those right after the
            spoilt mini-batch are among them.
        losses: the validation loss at each of them, and at the end the final one; in nats.
        norms: for each step the sum of the norms of its gradient's tensors.
    """

    steps: list[int]
    losses: list[float]
    norms: list[float]


def course(
    make: MakeOptimizer,
    lr: float,
    seed: int,
    data: Data,
    bad: int | None = 100,
    steps: int = 300,
    factor: float = 3.0,
    every: int = 5,
) -> Course:
    """Train a fresh :func:`.network`, with one mini-batch of 50 pictures spoilt.

    Its pictures are multiplied by ``factor`` and its labels drawn at random.

    Args:
        make: builds the optimizer.
        lr: its learning rate.
        seed: for the initial weights, the order of the pictures and the wrong labels.
        data: what to train on; 10 classes.
        bad: the step with the spoilt mini-batch; None: no step has one.
        steps: in all.
        factor: how much too bright the bad pictures are.
        every: how often the validation loss is taken, in steps. After the spoilt mini-batch it
            is taken at each of so many steps, or a short jump would not be seen.
    """
    model = network(seed=seed)
    optimizer = make(model.parameters(), lr)
    order = torch.Generator().manual_seed(seed)
    found = Course([], [], [])
    batches: list[torch.Tensor] = []
    for step in range(steps):
        if not batches:
            batches = list(torch.randperm(len(data.train.y), generator=order).split(50))
        if step % every == 0 or (bad is not None and bad < step <= bad + every):
            found.steps.append(step)
            found.losses.append(evaluate(model, data.validation)[0])
        batch = batches.pop(0)
        x, y = data.train.x[batch], data.train.y[batch]
        if step == bad:
            x, y = factor * x, torch.randint(10, y.shape, generator=order)
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.norms.append(sum(g.norm().item() for g in gradients))
        optimizer.step()
    found.steps.append(steps)
    found.losses.append(evaluate(model, data.validation)[0])
    return found


def courses(
    optimizers: Mapping[str, MakeOptimizer],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    data: Data,
    bad: int | None = 100,
) -> dict[str, dict[float, list[Course]]]:
    """One :func:`course` for every optimizer, learning rate and seed: ``result[name][lr]``."""

    def run(name: str, lr: float, seed: int) -> Course:
        return course(optimizers[name], lr, seed, data, bad)

    return every_trial(optimizers, learning_rates, seeds, run)


def best_rate(trials: Mapping[float, Sequence[Course]]) -> float:
    """The learning rate with the smallest mean validation loss at the end."""
    return min(trials, key=lambda lr: mean(run.losses[-1] for run in trials[lr]))
