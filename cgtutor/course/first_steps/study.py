"""What the notebook *first steps* measures along a training, and its stand-ins."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from cgtutor.course.shared.data import Data, Split, digits, mini_batches, network
from cgtutor.course.shared.training import evaluate

#: A loss is measured every so many steps of a path.
EVERY = 10


class Make(Protocol):
    """Builds an optimizer; classes of optimizers do."""

    def __call__(self, params: ParamsT, *, lr: float) -> Optimizer:
        """An optimizer of these parameters with this learning rate."""


class Trained(Protocol):
    """A training: see :func:`trained`."""

    def __call__(self, make: Make, lr: float, seed: int) -> Tensor:
        """The path of the weights."""


class Outcome(NamedTuple):
    """What a training came to: a number to choose the learning rate by, and one to report."""

    validation_loss: float
    test_accuracy: float


@cache
def _digits(dtype: torch.dtype) -> Data:
    return digits()


def trained(make: Make, lr: float, seed: int) -> Tensor:
    """Train :func:`.network` on the digits: two passes, ten pictures a step.

    Args:
        make: builds the optimizer.
        lr: its learning rate.
        seed: for the initial weights and the order of the pictures.

    Returns:
        The path of the weights, all tensors in one row: before training and after each step, of
        shape (201, 2410).
    """
    model = network(seed=seed)
    optimizer = make(model.parameters(), lr=lr)
    order = torch.Generator().manual_seed(seed)
    path = [parameters_to_vector(model.parameters()).detach()]
    for _epoch in range(2):
        for x, y in mini_batches(_digits(torch.get_default_dtype()).train, 10, order):
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            path.append(parameters_to_vector(model.parameters()).detach())
    return torch.stack(path)


def with_weights(weights: Tensor) -> nn.Sequential:
    """The network that has these weights, given in one row."""
    model = network()
    vector_to_parameters(weights, model.parameters())
    return model


def losses(path: Tensor, split: Split, every: int = EVERY) -> list[float]:
    """The loss on a part of the data at each ``every``-th point of a path."""
    return [evaluate(with_weights(weights), split)[0] for weights in path[::every]]


def outcome(path: Tensor, data: Data) -> Outcome:
    """What the training with this path came to in the end."""
    model = with_weights(path[-1])
    return Outcome(evaluate(model, data.validation)[0], evaluate(model, data.test)[1])


class Map(NamedTuple):
    """A plane through the space of the weights, with the loss on it.

    Attributes:
        roads: by name, the points of a path in the plane, of shape (n, 2).
        away: by name, how far each point of a path is from the start, in all directions.
        x: to the end of the longest path, in the weights' own units.
        y: at right angles to x, where the paths bend most.
        loss: the training loss at each (y, x).
    """

    roads: dict[str, Tensor]
    away: dict[str, Tensor]
    x: Tensor
    y: Tensor
    loss: Tensor


def drawn_map(paths: Mapping[str, Tensor], split: Split, size: tuple[int, int] = (11, 25)) -> Map:
    """The plane that shows most of these paths, which start at one point.

    Args:
        paths: by name, each of shape (steps + 1, parameters).
        split: the part of the data of which the loss is drawn.
        size: the number of points of the map, from bottom to top and from left to right.
    """
    start = next(iter(paths.values()))[0]
    ends = [path[-1] - start for path in paths.values()]
    along = max(ends, key=torch.linalg.vector_norm)
    along = along / along.norm()
    offsets = torch.cat([path - start for path in paths.values()])
    across = torch.linalg.svd(offsets - (offsets @ along)[:, None] * along, full_matrices=False)
    plane = torch.stack([along, across.Vh[0]])
    if (offsets @ plane[1]).mean() < 0:  # a singular vector's sign is arbitrary
        plane[1] *= -1
    roads = {name: (path - start) @ plane.T for name, path in paths.items()}
    points = torch.cat(list(roads.values()))
    low, high = points.amin(0), points.amax(0)
    room = 0.1 * (high - low).amax()
    x = torch.linspace(float(low[0] - room), float(high[0] + 2.2 * room), size[1])  # for a label
    y = torch.linspace(float(low[1] - room), float(high[1] + room), size[0])
    weights = (start + a * plane[0] + b * plane[1] for b in y for a in x)
    loss = [evaluate(with_weights(w), split)[0] for w in weights]
    away = {name: (path - start).norm(dim=1) for name, path in paths.items()}
    return Map(roads, away, x, y, torch.tensor(loss).reshape(size))


def priorities(gradients: Sequence[Tensor], synced: bool) -> list[float]:
    """The priority with which each tensor's gradient comes to its memory."""
    norms = [gradient.norm().item() for gradient in gradients]
    return [sum(norms)] * len(norms) if synced else norms


def pace(path: Tensor) -> tuple[Tensor, Tensor]:
    """The length of each step of a path, and the distance from its start after each step."""
    return path.diff(dim=0).norm(dim=1), (path[1:] - path[0]).norm(dim=1)


Results = Mapping[str, Mapping[float, Sequence[Outcome]]]


def fair(results: Results) -> dict[str, tuple[float, list[float]]]:
    """For each side its best learning rate on the validation part, and the test accuracies there.

    Args:
        results: the outcome for each seed, by the side's name and the learning rate.

    Raises:
        ValueError: a side's best rate is the smallest or the largest of its grid.
    """
    chosen = {}
    for name, trials in results.items():
        loss = {
            lr: sum(run.validation_loss for run in runs) / len(runs) for lr, runs in trials.items()
        }
        best = min(loss, key=lambda lr: loss[lr])
        if best in (min(loss), max(loss)):
            raise ValueError(f"{name}: the best rate, {best:g}, is at the edge of its grid")
        chosen[name] = best, [run.test_accuracy for run in trials[best]]
    return chosen
