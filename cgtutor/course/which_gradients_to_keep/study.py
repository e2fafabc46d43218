"""What is trained and measured of the notebook *which gradients to keep*."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.optim import SGD

from cgtutor.course.shared.data import Data, Split, mini_batches, network
from cgtutor.course.shared.replay import (
    Lifetimes,
    Recording,
    kept,
    record,
    replay,
    sum_of_norms,
)
from cgtutor.course.shared.training import MakeOptimizer, evaluate, sweep, train_on
from cgtutor.memory import AGGREGATES, CriticalGradients


class Course(NamedTuple):
    """The course of a training.

    Attributes:
        steps: at which the validation loss was taken, before that step; those right after the
            spoilt mini-batch are among them.
        validation_loss: at each of them, and at the end the final one; in nats.
        norms: for each step the sum of the norms of its gradient's tensors.
    """

    steps: list[int]
    validation_loss: list[float]
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
    model, found = network(seed=seed), Course([], [], [])
    order = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Split]:
        endless = chain.from_iterable(mini_batches(data.train, 50, order) for _ in repeat(None))
        for step, (x, y) in enumerate(islice(endless, steps)):
            if step == bad:
                x, y = factor * x, torch.randint(10, y.shape, generator=order)
            yield Split(x, y)

    def look() -> None:
        done = len(found.norms)
        after_bad = bad is not None and bad < done <= bad + every
        if done % every == 0 or after_bad or done == steps:
            found.steps.append(done)
            found.validation_loss.append(evaluate(model, data.validation)[0])

    def after_step() -> None:
        found.norms.append(sum_of_norms(model.parameters()))
        look()

    look()
    train_on(model, make(model.parameters(), lr), batches(), after_step)
    return found


def total_weight(lives: Lifetimes, born: int, aggr: str = "mean") -> float:
    """The weights of one gradient in the aggregates of all steps, added up.

    Args:
        lives: what a memory did with the norms of a training.
        born: the step of the gradient.
        aggr: how the gradient at hand and the kept ones combine, with kappa 1.
    """
    total = 0.0
    for step, others in enumerate(kept(lives)):
        own, each = AGGREGATES[aggr](len(others)) if others else (1, 0)
        total += own if step == born else each if born in others else 0
    return total


def slots(lives: Lifetimes) -> Tensor:
    """What is in each slot after each step: the age of its gradient, NaN if it is empty.

    A gradient takes the slot of the one that goes, or the first empty one, and stays there.

    Returns:
        shape (topC, steps).
    """
    ages = torch.full((lives.memory.topC, len(lives.norms)), float("nan"))
    taken = [-1] * lives.memory.topC  # for each slot the last step at which it is
    for born, until in enumerate(lives.until):
        if until is not None:
            slot = next(i for i, last in enumerate(taken) if last < born)
            ages[slot, born : until + 1] = torch.arange(until + 1.0 - born)
            taken[slot] = until
    return ages


def steps_kept(lives: Lifetimes, born: int) -> int:
    """After how many steps, its own included, the gradient of a step was in the memory."""
    until = lives.until[born]
    return 0 if until is None else until + 1 - born


def with_spike(norms: Sequence[float], step: int, height: float) -> list[float]:
    """The norms, that of one step multiplied by ``height``."""
    return [norm * height if i == step else norm for i, norm in enumerate(norms)]


def story(norms: Sequence[float], topC: int, decay: float) -> str:
    """What a memory does with gradients of the given norms, a line for each."""
    lines = [f"{'step':6s}{'norm':6s}{'its gradient':34s}{'priorities':24s}decayed"]
    memory = CriticalGradients(topC, decay)

    def listed() -> str:
        return ", ".join(
            f"{priority:g} (of {int(g)})"
            for priority, g in zip(memory.priorities, memory.gradients)
        )

    for step, norm in enumerate(norms):
        before = {int(g) for g in memory.gradients}
        entered = memory.insert(norm, torch.tensor(step))
        gone = before - {int(g) for g in memory.gradients}
        happens = "inserted" + "".join(f", that of step {g} evicted" for g in gone)
        line = f"{step:<6d}{norm:<6g}{happens if entered else 'rejected':34s}{listed():24s}"
        memory.fade()
        lines.append(line + listed())
    return "\n".join(lines)


class _Counted:
    """A number that counts how often it is compared."""

    count = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __lt__(self, other: "_Counted") -> bool:
        _Counted.count += 1
        return self.value < other.value


def comparisons(topC: int, insertions: int = 1000) -> tuple[float, float]:
    """How many comparisons an insertion takes, on average: looking through a list, and a heap.

    Every gradient is inserted: its priority, drawn at random, is above the smallest by 0 to 1.
    """
    draws = torch.rand(insertions, generator=torch.Generator().manual_seed(0)).tolist()
    counts = []
    for heap in (False, True):
        there = [_Counted(i / topC) for i in range(topC)]  # sorted, and so a heap
        _Counted.count = insertions  # each newcomer with the smallest, as an insertion has to
        for draw in draws:
            smallest = there[0] if heap else min(there)
            new = _Counted(smallest.value + draw)
            if heap:
                heapq.heapreplace(there, new)
            else:
                there[there.index(smallest)] = new
        counts.append(_Counted.count / insertions)
    return counts[0], counts[1]


def recordings(
    learning_rates: Sequence[float], seeds: Sequence[int], data: Data, epochs: int = 15
) -> dict[float, list[Recording]]:
    """Trainings of :func:`.network` with plain SGD, recorded with ``whole=True``.

    Args:
        learning_rates: tried in turn.
        seeds: for each learning rate; each sets the initial weights and the order of the data.
        data: pictures of 64 pixels in 10 classes.
        epochs: passes over the training part.

    Returns:
        for each learning rate one recording for each seed.
    """

    def run(make: MakeOptimizer, lr: float, seed: int) -> Recording:
        model = network(seed=seed)
        return record(model, make(model.parameters(), lr), data, epochs, seed=seed, whole=True)

    return sweep({"SGD": SGD}, learning_rates, seeds, run)["SGD"]


def agreement(run: Recording, topC: int, decay: float, first: int = 100) -> tuple[float, float]:
    """How well the mean of what a memory keeps agrees with the whole training part's gradient.

    Args:
        run: a training, recorded with ``whole=True``.
        topC: number of gradients to keep.
        decay: factor for every stored priority after each step.
        first: the first step to look at.

    Returns:
        The cosine of the two and the age of what is kept, both as means over the steps.
    """
    born = kept(replay(run.norms, topC, decay))
    steps = range(first, len(run.norms))
    means = torch.stack([run.gradients[born[t]].mean(dim=0) for t in steps])
    cosine = cosine_similarity(means, run.whole[first:]).mean().item()
    return cosine, mean(t - b for t in steps for b in born[t])
