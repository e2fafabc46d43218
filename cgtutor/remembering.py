"""What optimizers remember: the weights of past gradients, and a memory's slots over time."""

import heapq
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.optim import SGD, Optimizer

from cgtutor.memory import AGGREGATES, CriticalGradients
from cgtutor.toys import Data, network
from cgtutor.training import Lifetimes, every_trial, replay, train

# ------------------------------------------------------------------- weights by age


def momentum_weights(beta: float, ages: int) -> list[float]:
    """The weight of the gradients 0, 1, ... ``ages - 1`` steps ago in a step of momentum.

    That is ``beta ** k``, as in torch's SGD without dampening; ``beta=0`` is plain SGD.
    """
    return [beta**k for k in range(ages)]


def first_moment_weights(beta: float, ages: int, steps: int) -> list[float]:
    """The weight of the gradients of age 0, 1, ... in Adam's first moment, bias-corrected.

    Args:
        beta: Adam's first beta, below 1.
        ages: how many weights to give. Beyond ``steps - 1`` they are 0.
        steps: how many gradients were seen so far, that at hand included.
    """
    scale = (1 - beta) / (1 - beta**steps)
    return [scale * beta**k if k < steps else 0.0 for k in range(ages)]


def kept(lives: Lifetimes) -> list[list[int]]:
    """For each step, which earlier steps' gradients are in the memory when it is taken.

    That is before the step's own gradient is offered, as the optimizers aggregate.
    """
    found: list[list[int]] = [[] for _ in lives.norms]
    for born, until in enumerate(lives.until):
        if until is not None:
            for step in range(born + 1, min(until + 2, len(found))):
                found[step].append(born)
    return found


def memory_weights(lives: Lifetimes, ages: int, aggr: str = "mean", first: int = 0) -> list[float]:
    """The weight of the gradients of age 0, 1, ... in the aggregate, as a mean over the steps.

    Args:
        lives: what a memory did with the norms of a training.
        ages: how many weights to give.
        aggr: how the gradient at hand and the kept ones combine, with kappa 1 (see
            :meth:`.CriticalGradients.aggregate`).
        first: the first step of the mean. An age that is larger can come up only later.
    """
    weights = [0.0] * ages
    steps = range(first, len(lives.norms))
    for step, born in enumerate(kept(lives)):
        if step >= first:
            own, each = AGGREGATES[aggr](len(born)) if born else (1, 0)
            for age, weight in [(0, own), *((step - b, each) for b in born)]:
                if age < ages:
                    weights[age] += weight / len(steps)
    return weights


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


class Moments(NamedTuple):
    """What Adam makes of a sequence of numbers, a value for each step.

    Attributes:
        first: the running mean of the gradients, bias-corrected.
        root: the square root of the running mean of their squares, bias-corrected.
        step: ``first / root``, the step in units of the learning rate.
    """

    first: list[float]
    root: list[float]
    step: list[float]


def moments(gradients: Sequence[float], betas: tuple[float, float] = (0.9, 0.999)) -> Moments:
    """Adam's two running means over the gradients of a single parameter (epsilon left out)."""
    found = Moments([], [], [])
    first = second = 0.0
    for seen, g in enumerate(gradients, start=1):
        first = betas[0] * first + (1 - betas[0]) * g
        second = betas[1] * second + (1 - betas[1]) * g * g
        found.first.append(first / (1 - betas[0] ** seen))
        found.root.append((second / (1 - betas[1] ** seen)) ** 0.5)
        found.step.append(found.first[-1] / found.root[-1])
    return found


# ----------------------------------------------------------------- a memory's inside


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
    lines = [f"{'step':6s}{'norm':6s}{'its gradient':30s}{'priorities':24s}faded"]
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
        happens = "enters" + "".join(f", that of step {g} goes" for g in gone)
        line = f"{step:<6d}{norm:<6g}{happens if entered else 'is turned away':30s}{listed():24s}"
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

    Every gradient offered enters: its priority, drawn at random, is above the smallest by 0 to 1.
    """
    draws = torch.rand(insertions, generator=torch.Generator().manual_seed(0)).tolist()
    counts = []
    for heap in (False, True):
        there = [_Counted(i / topC) for i in range(topC)]  # sorted, and so a heap
        _Counted.count = insertions  # each newcomer with the smallest, to see whether it enters
        for draw in draws:
            smallest = there[0] if heap else min(there)
            new = _Counted(smallest.value + draw)
            if heap:
                heapq.heapreplace(there, new)
            else:
                there[there.index(smallest)] = new
        counts.append(_Counted.count / insertions)
    return counts[0], counts[1]


# ------------------------------------------------------------------- real trainings


class Recording(NamedTuple):
    """The gradients of a training, all parameters in one row.

    Attributes:
        norms: for each step the sum of its tensors' norms, which is its priority.
        gradients: shape (steps, parameters), that of each step's mini-batch.
        whole: shape (steps, parameters), that of the whole training part at the same parameters;
            no rows if it was not asked for.
    """

    norms: list[float]
    gradients: Tensor
    whole: Tensor


def record(
    model: nn.Module,
    optimizer: Optimizer,
    data: Data,
    epochs: int = 20,
    batch_size: int = 50,
    seed: int = 0,
    whole: bool = False,
) -> Recording:
    """Train a classifier as :func:`.train` does and keep the gradient of every step.

    Args:
        model: maps inputs to one logit for each class.
        optimizer: of the model's parameters; it must leave ``.grad`` as it is.
        data: what to train on.
        epochs: passes over the training part.
        batch_size: pictures in a mini-batch.
        seed: for the order of the mini-batches.
        whole: whether to take the gradient of the whole training part as well, at each step.
    """
    parameters = list(model.parameters())
    norms: list[float] = []
    rows: list[Tensor] = []
    wholes: list[Tensor] = []

    def look_ahead() -> None:
        if whole:
            loss = cross_entropy(model(data.train.x), data.train.y)
            wholes.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))

    def note() -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        norms.append(sum(g.norm().item() for g in gradients))
        rows.append(torch.cat([g.flatten() for g in gradients]))
        look_ahead()

    look_ahead()
    train(model, optimizer, data, epochs, batch_size, seed, after_step=note)
    return Recording(norms, torch.stack(rows), torch.stack(wholes[:-1] or [torch.empty(0)]))


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

    def run(_: str, lr: float, seed: int) -> Recording:
        model = network(seed=seed)
        optimizer = SGD(model.parameters(), lr=lr)
        return record(model, optimizer, data, epochs, seed=seed, whole=True)

    return every_trial(["SGD"], learning_rates, seeds, run)["SGD"]


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
