"""A small multi-task problem, and what its gradients do."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam

from cgtutor.aggregation import Aggregator
from cgtutor.aggregation.gramian import Jacobians, as_matrix
from cgtutor.aggregation.vaccine import vaccinate
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.course.shared.data import Split, digits
from cgtutor.grouping import Groups, all_layer

#: Questions about a digit, each with the digits for which the answer is yes.
QUESTIONS: dict[str, Collection[int]] = {
    "does it have a loop?": (0, 6, 8, 9),
    "is it prime?": (2, 3, 5, 7),
}


class Answers(NamedTuple):
    """Pictures and the answers to T questions about each.

    Attributes:
        train: pictures of shape (n, 64), answers of shape (n, T), 1 for yes and 0 for no.
        validation: to choose hyperparameters on.
        test: to report on once.
    """

    train: Split
    validation: Split
    test: Split


def answers(questions: Mapping[str, Collection[int]] = QUESTIONS) -> Answers:
    """The pictures of :func:`.digits`, with answers in place of digits.

    >>> answers().train.y[:3]
    tensor([[0., 0.],
            [0., 0.],
            [1., 0.]])
    """
    yes = torch.zeros(10, len(questions), dtype=torch.get_default_dtype())
    for task, those in enumerate(questions.values()):
        yes[list(those), task] = 1
    return Answers(*(Split(split.x, yes[split.y]) for split in digits()))


class SharedEncoder(nn.Module):
    """An encoder that all tasks share, and a linear head with one output for each task.

    Args:
        widths: inputs, then the outputs of each layer of the encoder.
        tasks: how many heads.
        seed: for the initial weights; torch's global generator is left as it was.

    Attributes:
        encoder: linear layers, each followed by tanh.
        heads: one linear layer for each task.
    """

    def __init__(
        self, widths: Sequence[int] = (64, 32, 32, 3), tasks: int = 2, seed: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(widths):
                layers += [nn.Linear(inputs, outputs), nn.Tanh()]
            self.encoder = nn.Sequential(*layers)
            self.heads = nn.ModuleList(nn.Linear(widths[-1], 1) for _ in range(tasks))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n, T), for inputs of shape (n, 64)."""
        features = self.encoder(x)
        return torch.cat([head(features) for head in self.heads], dim=1)

    def losses(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """The T tasks' mean cross-entropies (nats), and the features they were made from."""
        features = self.encoder(x)
        losses = [
            binary_cross_entropy_with_logits(head(features).squeeze(1), answer)
            for head, answer in zip(self.heads, y.T)
        ]
        return losses, features


def cosines(gramian: Tensor) -> Tensor:
    """Cosine similarities, from the dot products of the gradients: 0 beside a zero gradient.

    Args:
        gramian: shape (..., T, T).

    >>> cosines(torch.tensor([[4.0, -2.0, 0.0], [-2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000,  0.0000],
            [-0.5000,  1.0000,  0.0000],
            [ 0.0000,  0.0000,  0.0000]])
    """
    norms = gramian.diagonal(dim1=-2, dim2=-1).sqrt()
    products = norms[..., :, None] * norms[..., None, :]
    return torch.where(products > 0, gramian / products, torch.zeros_like(gramian))


def gramians(groups: Groups) -> Tensor:
    """Dot products of the tasks' gradients in each group of parameters, from their ``.jac``.

    Returns:
        Shape (groups, T, T), in float64.
    """
    jacobians = [
        torch.cat([as_matrix(p.jac) for p in group], dim=1)  # type: ignore[attr-defined]
        for group in groups
    ]
    return torch.from_numpy(Jacobians(jacobians).gramians())


class Run(NamedTuple):
    """One training.

    Attributes:
        cosines: shape (steps, layers, T, T), of the tasks' gradients in each layer of the encoder.
        losses: shape (steps, T), on the mini-batch of each step, in nats.
        changed: for each step, whether the aggregate was another than the sum of the gradients.
        validation: mean loss of the tasks on the validation part after the last step.
        accuracy: shape (T,), on the test part, as fractions of pictures.
    """

    cosines: Tensor
    losses: Tensor
    changed: list[bool]
    validation: float
    accuracy: Tensor


def train(
    model: SharedEncoder,
    data: Answers,
    aggregator: Aggregator,
    lr: float = 0.01,
    steps: int = 200,
    batch_size: int = 200,
    seed: int = 0,
    note_cosines: bool = True,
) -> Run:
    """Train with Adam; the tasks' gradients for the whole encoder go through an aggregator.

    Args:
        model: the network.
        data: what to train and evaluate on.
        aggregator: makes one gradient of the T tasks' gradients.
        lr: Adam's learning rate.
        steps: number of mini-batches.
        batch_size: pictures in a mini-batch, drawn with replacement.
        seed: for the mini-batches; torch's global generator is not used.
        note_cosines: ``False`` saves a third of the time; ``cosines`` then has no rows.
    """
    draws = torch.Generator().manual_seed(seed)
    optimizer = Adam(model.parameters(), lr=lr, fused=True)  # quickest for small tensors
    layers = all_layer(model.encoder)
    seen, losses, changed = [], [], []
    for _ in range(steps):
        batch = torch.randint(len(data.train.y), (batch_size,), generator=draws)
        optimizer.zero_grad()
        parts, features = model.losses(data.train.x[batch], data.train.y[batch])
        mtl_backward(parts, features=features)
        if note_cosines:
            seen.append(cosines(gramians(layers)))
        weights = jac_to_grad(model.encoder.parameters(), aggregator)
        changed.append(weights is None or bool((weights != 1).any()))
        optimizer.step()
        losses.append(torch.stack(parts).detach())
    shape = len(layers), len(parts), len(parts)
    return Run(
        torch.stack(seen) if seen else torch.empty(0, *shape, dtype=torch.float64),
        torch.stack(losses),
        changed,
        *_evaluate(model, data),
    )


@torch.no_grad()
def _evaluate(model: SharedEncoder, data: Answers) -> tuple[float, Tensor]:
    losses, _ = model.losses(*data.validation)
    hits = (model(data.test.x) > 0) == (data.test.y > 0.5)
    return mean(loss.item() for loss in losses), hits.double().mean(0)


def plane(angles: Sequence[float], lengths: Sequence[float]) -> Tensor:
    """Gradients of two parameters: a Jacobian of shape (T, 2) in float64.

    Args:
        angles: in degrees, counterclockwise from the first axis.
        lengths: one for each angle.

    >>> plane([0, 90], [1, 2]).round(decimals=2).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    turns = torch.tensor(angles, dtype=torch.float64).deg2rad()
    directions = torch.stack([turns.cos(), turns.sin()], dim=1)
    return torch.tensor(lengths, dtype=torch.float64)[:, None] * directions


def vaccinated(jacobian: Tensor, target: float, eps: float = 1e-8, *, guard: bool = True) -> Tensor:
    """The task gradients after the vaccine, if all targets are the same.

    Each gradient meets the others in the order of their rows, not in random order.

    Args:
        jacobian: shape (T, N).
        target: the cosine φ̂ to raise lower ones to; with 0 this is what PCGrad does.
        eps: is added to denominators.
        guard: ``False`` for the published arithmetic in the Jacobian's precision.

    Returns:
        Shape (T, N); their sum is what the aggregator gives.

    >>> vaccinated(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), target=0)
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    gramian = Jacobians([jacobian], guard).gramians()
    tasks = len(jacobian)
    order = np.array([[[j for j in range(tasks) if j != i] for i in range(tasks)]])
    targets = np.full_like(gramian, target)
    coefficients, _ = vaccinate(gramian, targets, order, eps, guard)
    return torch.from_numpy(coefficients[0]).to(jacobian.dtype) @ jacobian
