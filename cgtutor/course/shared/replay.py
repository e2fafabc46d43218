"""The gradients of a training."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from cgtutor.course.shared.data import Data
from cgtutor.course.shared.training import train


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
