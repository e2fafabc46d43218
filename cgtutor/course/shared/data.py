"""Small data sets and networks that the notebooks train on; nothing is downloaded."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn


class Split(NamedTuple):
    """Inputs ``x`` of shape (n, features); labels ``y`` of shape (n,), or (n, T) for T tasks."""

    x: Tensor
    y: Tensor


class Data(NamedTuple):
    """Three disjoint parts: to fit on, to choose hyperparameters on, to report on once."""

    train: Split
    validation: Split
    test: Split


def digits(validation: int = 400, test: int = 397, seed: int = 0) -> Data:
    """Scikit-learn's 1797 pictures of handwritten digits, 8 by 8 pixels in [0, 1], 10 classes.

    Each part holds every class in the same proportion.

    Args:
        validation: number of pictures to choose hyperparameters on.
        test: number of pictures to report on; the rest is the training part.
        seed: which pictures go where.
    """
    x, y = load_digits(return_X_y=True)
    x_rest, x_test, y_rest, y_test = train_test_split(
        x / 16, y, test_size=test, stratify=y, random_state=seed
    )
    x_train, x_validation, y_train, y_validation = train_test_split(
        x_rest, y_rest, test_size=validation, stratify=y_rest, random_state=seed
    )
    parts = (x_train, y_train), (x_validation, y_validation), (x_test, y_test)
    dtype = torch.get_default_dtype()
    return Data(*(Split(torch.tensor(a, dtype=dtype), torch.tensor(b)) for a, b in parts))


def network(widths: Sequence[int] = (64, 32, 10), seed: int = 0) -> nn.Sequential:
    """A fully connected ReLU network with initial weights of torch's default dtype.

    Args:
        widths: inputs, hidden units of each layer, outputs.
        seed: for the initial weights; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def mini_batches(split: Split, size: int, order: torch.Generator) -> Iterator[Split]:
    """One pass over a split, in mini-batches of this size and in an order that is drawn."""
    for rows in torch.randperm(len(split.y), generator=order).split(size):
        yield Split(split.x[rows], split.y[rows])


def drawn(split: Split, size: int, draws: torch.Generator) -> Split:
    """A mini-batch of this size, drawn with replacement."""
    rows = torch.randint(len(split.y), (size,), generator=draws)
    return Split(split.x[rows], split.y[rows])
