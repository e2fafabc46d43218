"""What is trained and measured of the notebook *which gradients to keep*."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, repeat
from statistics import mean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cgtutor import CriticalGradients
from cgtutor.course.shared.data import Data, Split, mini_batches, network
from cgtutor.course.shared.training import MakeOptimizer, evaluate, train_on

#: The reader's memory: entries (priority, gradient), norm, gradient, topC, decay -> the new entries
Remember = Callable[[list[Any], float, Tensor, int, float], list[Any]]


class Played(NamedTuple):
    """What a memory did with a sequence of gradients, given by their norms alone.

    Attributes:
        norms: the norm of the gradient of each step.
        size: how many slots there are.
        held: after each step, by the step that a gradient came in, its priority.
    """

    norms: list[float]
    size: int
    held: list[dict[int, float]]

    def stays(self, born: int) -> int:
        """After how many steps, its own included, the gradient of a step was in the memory."""
        return sum(born in held for held in self.held)

    @property
    def rejected(self) -> int:
        """How many gradients were never in the memory."""
        return sum(born not in held for born, held in enumerate(self.held))

    @property
    def oldest(self) -> int:
        """The largest age in steps that a gradient in the memory ever had."""
        return max((step - min(held) for step, held in enumerate(self.held) if held), default=0)


def play(remember: Remember, norms: Sequence[float], topC: int = 10, decay: float = 0.7) -> Played:
    """Show a memory gradients of the given norms, one a step.

    Args:
        remember: the memory, as the reader writes it.
        norms: of the gradients, whatever they are.
        topC: how many slots there are.
        decay: factor for every priority in each step.
    """
    memory: list[Any] = []
    held = []
    for step, norm in enumerate(norms):
        gradient = torch.tensor([float(step)])  # so that it tells its step
        memory = remember(memory, norm, gradient, topC, decay)
        held.append({int(kept): float(priority) for priority, kept in memory})
    return Played(list(norms), topC, held)


def play_library(norms: Sequence[float], topC: int = 10, decay: float = 0.7) -> Played:
    """The same with the library's memory."""
    memory = CriticalGradients(topC, decay)
    held = []
    for step, norm in enumerate(norms):
        memory.insert(norm, torch.tensor([float(step)]))
        memory.fade()
        held.append({int(g): p for p, g in zip(memory.priorities, memory.gradients)})
    return Played(list(norms), topC, held)


def difference(played: Played, other: Played) -> str:
    """The first step after which two memories hold something else, in words; or an empty string."""
    for step, (one, two) in enumerate(zip(played.held, other.held)):
        if sorted(one) != sorted(two):
            return (
                f"After step {step} one holds the gradients of steps {sorted(one)}, "
                f"the other those of {sorted(two)}."
            )
        if not all(math.isclose(one[born], two[born], rel_tol=1e-12) for born in one):
            return f"After step {step} they hold the same gradients with other priorities."
    return ""


def hard_norms(count: int, seed: int = 0) -> list[float]:
    """Random norms with all that is hard for a memory: many ties, zero, NaN and infinity."""
    draws = torch.Generator().manual_seed(seed)
    norms = torch.randint(17, (count,), generator=draws).double() / 8
    special = torch.rand(count, generator=draws)
    norms[special < 0.02] = math.nan
    norms[special > 0.98] = math.inf
    found: list[float] = norms.tolist()
    return found


def slots(played: Played) -> Tensor:
    """What is in each slot after each step: the age of its gradient, NaN if it is empty.

    A gradient takes the slot of the one that is evicted, or the first empty one, and stays there.

    Returns:
        shape (topC, steps).
    """
    ages = [[math.nan] * len(played.norms) for _ in range(played.size)]
    there: list[int | None] = [None] * played.size
    for step, held in enumerate(played.held):
        there = [born if born in held else None for born in there]
        for born in sorted(held.keys() - set(there)):
            there[there.index(None)] = born
        for slot, at in enumerate(there):
            if at is not None:
                ages[slot][step] = step - at
    return torch.tensor(ages)


def with_spike(norms: Sequence[float], step: int, height: float) -> list[float]:
    """The norms, that of one step multiplied by ``height``."""
    return [norm * height if i == step else norm for i, norm in enumerate(norms)]


def extra_stays(
    remember: Remember,
    norms: Sequence[float],
    decays: Sequence[float],
    steps: Sequence[int],
    height: float = 10,
) -> dict[float, list[int]]:
    """How many steps longer a gradient stays when its norm is multiplied.

    Args:
        remember: the memory.
        norms: of a training.
        decays: tried in turn.
        steps: whose norms are multiplied, one at a time.
        height: by what.

    Returns:
        for each decay one number for each of the steps.
    """
    found: dict[float, list[int]] = {}
    for decay in decays:
        before = play(remember, norms, decay=decay)
        found[decay] = [
            play(remember, with_spike(norms, step, height), decay=decay).stays(step)
            - before.stays(step)
            for step in steps
        ]
    return found


class Course(NamedTuple):
    """The course of a training.

    Attributes:
        steps: at which the validation loss was taken, before that step; those right after the
            spoilt mini-batch are among them.
        validation_loss: at each of them, and at the end the final one; in nats.
    """

    steps: list[int]
    validation_loss: list[float]


def course(
    make: MakeOptimizer,
    lr: float,
    seed: int,
    data: Data,
    bad: int | None = 80,
    steps: int = 200,
    factor: float = 3.0,
    every: int = 10,
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
    model, found, done = network(seed=seed), Course([], []), 0
    order = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[Split]:
        endless = chain.from_iterable(mini_batches(data.train, 50, order) for _ in repeat(None))
        for step, (x, y) in enumerate(islice(endless, steps)):
            if step == bad:
                x, y = factor * x, torch.randint(10, y.shape, generator=order)
            yield Split(x, y)

    def look() -> None:
        after_bad = bad is not None and bad < done <= bad + every
        if done % every == 0 or after_bad or done == steps:
            found.steps.append(done)
            found.validation_loss.append(evaluate(model, data.validation)[0])

    def after_step() -> None:
        nonlocal done
        done += 1
        look()

    look()
    train_on(model, make(model.parameters(), lr), batches(), after_step)
    return found


def steps_until_back(runs: Sequence[Course], bad: int = 80) -> int | None:
    """How many steps until the mean loss stays as low as it was before the bad mini-batch.

    None: it is higher at the end.
    """
    means = [mean(losses) for losses in zip(*(run.validation_loss for run in runs))]
    steps = runs[0].steps
    before = means[steps.index(bad)]
    if means[-1] > before:
        return None
    higher = [s for s, loss in zip(steps, means) if s >= bad and loss > before]
    return next(s for s in steps if s > max(higher, default=bad)) - bad
