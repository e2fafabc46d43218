"""One classifier of two classes, with torch's initial weights and a real optimizer."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from cgtutor.course.shared.data import Split, network
from cgtutor.course.shared.training import train_on
from cgtutor.optim import SGD_C, Adam_C, RMSprop_C

Array = NDArray[Any]


class UpdateRule(NamedTuple):
    """An optimizer with its options; those that are not here have torch's defaults.

    Attributes:
        base: ``"SGD"``, ``"RMSprop"`` or ``"Adam"``.
        momentum: of SGD.
        topC: number of gradients to keep; 0 for the base optimizer without a memory.
        decay: factor for every kept priority after each step.
        aggr: how gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``.
    """

    base: str
    momentum: float = 0.0
    topC: int = 0  # noqa: N815
    decay: float = 0.7
    aggr: str = "sum"

    def optimizer(self, parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
        """The real one, of torch or of this library, for one model."""
        options: dict[str, Any] = {"momentum": self.momentum} if self.base == "SGD" else {}
        if self.topC == 0:
            plain = {"SGD": SGD, "RMSprop": RMSprop, "Adam": Adam}[self.base]
            return plain(parameters, lr=lr, **options)
        options |= {"topC": self.topC, "decay": self.decay, "aggr": self.aggr}
        critical = {"SGD": SGD_C, "RMSprop": RMSprop_C, "Adam": Adam_C}[self.base]
        return critical(parameters, lr=lr, **options)


def initial_weights(hidden: int, inputs: int, seeds: Sequence[int]) -> list[Array]:
    """Torch's initial weights for each seed: a list of tensors of shape (seeds, ...).

    They are drawn in torch's default dtype, so float32 and float64 give different weights.

    Args:
        hidden: number of hidden units; 0 for logistic regression.
        inputs: number of features.
        seeds: one for each model, as :func:`.network` takes it.
    """
    widths = (inputs, hidden, 2) if hidden else (inputs, 2)
    models = [network(widths, seed).double().parameters() for seed in seeds]
    return [torch.stack(same).detach().numpy() for same in zip(*models)]


def rounded_weights(hidden: int, inputs: int, seeds: Sequence[int]) -> list[Array]:
    """:func:`initial_weights` to nine decimals: their last bits differ between processors."""
    return [w.round(9) for w in initial_weights(hidden, inputs, seeds)]


def train_alone(
    x: Array, y: Array, model: nn.Module, optimizer: Optimizer, epochs: int = 10
) -> list[Array]:
    """Train one classifier with a real optimizer: what the batch is held against.

    Args:
        x: samples, shape (n, features).
        y: classes, 0 or 1, shape (n,).
        model: maps samples to two logits each.
        optimizer: of the model's parameters.
        epochs: passes over the samples, in the order in which they stand.

    Returns:
        The model's tensors after each epoch, each of shape (epochs, ...).
    """
    samples = [Split(*one) for one in zip(torch.tensor(x)[:, None], torch.tensor(y)[:, None])]
    after = []
    for _ in range(epochs):
        train_on(model, optimizer, samples)
        after.append([p.detach().numpy().copy() for p in model.parameters()])
    return [np.stack(same) for same in zip(*after)]
