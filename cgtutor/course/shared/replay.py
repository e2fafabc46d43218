"""What a memory keeps of a sequence of gradients, and the gradients of a training."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from cgtutor.course.shared.data import Data
from cgtutor.course.shared.training import train
from cgtutor.memory import CriticalGradients


class Lifetimes(NamedTuple):
    """What a memory did with a sequence of gradients, given by their norms alone.

    Attributes:
        norms: the norm of the gradient of each step.
        until: for each step, the last step after which its gradient was still remembered,
            or None if it never was.
        oldest: after each step, the age in steps of the oldest gradient remembered (0: it came
            in at this step).
        memory: the memory at the end.
    """

    norms: list[float]
    until: list[int | None]
    oldest: list[int]
    memory: CriticalGradients


def replay(norms: Sequence[float], topC: int = 10, decay: float = 0.7) -> Lifetimes:
    """Offer a memory gradients of the given norms and record which it keeps, and how long.

    Args:
        norms: the gradient norm of each step.
        topC: number of gradients to keep, at least 1.
        decay: factor for every stored priority after each step, in [0, 1].

    Raises:
        ValueError: ``topC`` or ``decay`` is out of range.
    """
    memory = CriticalGradients(topC, decay)
    until: list[int | None] = [None] * len(norms)
    oldest = []
    for step, norm in enumerate(norms):
        memory.insert(norm, torch.tensor(step))  # in place of a gradient, the step it came in
        memory.fade()
        for kept in memory.gradients:
            until[int(kept)] = step
        oldest.append(max(memory.ages, default=0))
    return Lifetimes(list(norms), until, oldest, memory)


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


def sum_of_norms(parameters: Iterable[nn.Parameter]) -> float:
    """The priority of a step's gradient: the norms of the tensors in ``.grad``, added up."""
    return sum(p.grad.norm().item() for p in parameters if p.grad is not None)


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
        norms.append(sum_of_norms(parameters))
        rows.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        look_ahead()

    look_ahead()
    train(model, optimizer, data, epochs, batch_size, seed, after_step=note)
    return Recording(norms, torch.stack(rows), torch.stack(wholes[:-1] or [torch.empty(0)]))
