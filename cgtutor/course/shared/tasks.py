"""A small multi-task problem, and what its gradients do."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Adam, Optimizer

from cgtutor.aggregation import Aggregator, GradVac, gramian
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.course.shared.data import Data, Split, digits, drawn
from cgtutor.grouping import Groups, all_layer

#: Questions about a digit, each with the digits for which the answer is yes.
QUESTIONS: dict[str, Collection[int]] = {
    "does it have a loop?": (0, 6, 8, 9),
    "is it prime?": (2, 3, 5, 7),
}


def answers(questions: Mapping[str, Collection[int]] = QUESTIONS) -> Data:
    """The pictures of :func:`.digits`, with the answers to T questions in place of digits.

    Answers have the shape (n, T), 1 for yes and 0 for no.

    >>> answers().train.y[:3]
    tensor([[0., 0.],
            [0., 0.],
            [1., 0.]])
    """
    yes = torch.zeros(10, len(questions), dtype=torch.get_default_dtype())
    for task, those in enumerate(questions.values()):
        yes[list(those), task] = 1
    return Data(*(Split(split.x, yes[split.y]) for split in digits()))


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
    return torch.stack([gramian(p.jac for p in group) for group in groups])  # type: ignore[attr-defined]


def multi_task_step(
    optimizer: Optimizer,
    losses: Sequence[Tensor],
    features: Tensor,
    aggregate: Callable[[], object] | None = None,
) -> None:
    """One step of a training on several tasks.

    Args:
        optimizer: of shared parameters and heads.
        losses: one for each task.
        features: what all heads got from the shared parameters.
        aggregate: makes the ``.grad`` of the shared parameters of their ``.jac``, which has a row
            for each task; by default the losses are summed, and there is no ``.jac``.
    """
    optimizer.zero_grad()
    if aggregate is None:
        torch.stack(list(losses)).sum().backward()
    else:
        mtl_backward(losses, features=features)
        aggregate()
    optimizer.step()


class TaskRun(NamedTuple):
    """One training of several tasks, as :func:`train_tasks` sees it.

    Attributes:
        cosines: shape (steps, layers, T, T), of the tasks' gradients in each layer of the encoder.
        losses: shape (steps, T), on the mini-batch of each step, in nats.
        changed: for each step, whether the aggregate was another than the sum of the gradients.
        validation_loss: the tasks' mean loss on the validation part after the last step, alone.
        accuracy: shape (T,), on the test part, as fractions of pictures.
    """

    cosines: Tensor
    losses: Tensor
    changed: list[bool]
    validation_loss: list[float]
    accuracy: Tensor


def train_tasks(
    model: SharedEncoder,
    data: Data,
    aggregator: Aggregator,
    lr: float = 0.01,
    steps: int = 200,
    batch_size: int = 200,
    seed: int = 0,
    note_cosines: bool = True,
) -> TaskRun:
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

    def aggregate() -> None:
        if note_cosines:
            seen.append(cosines(gramians(layers)))
        weights = jac_to_grad(model.encoder.parameters(), aggregator)
        changed.append(weights is None or bool((weights != 1).any()))

    for _ in range(steps):
        parts, features = model.losses(*drawn(data.train, batch_size, draws))
        multi_task_step(optimizer, parts, features, aggregate)
        losses.append(torch.stack(parts).detach())
    shape = len(layers), len(parts), len(parts)
    return TaskRun(
        torch.stack(seen) if seen else torch.empty(0, *shape, dtype=torch.float64),
        torch.stack(losses),
        changed,
        [evaluate_tasks(model, data.validation)[0]],
        evaluate_tasks(model, data.test)[1].mean(0),
    )


@torch.no_grad()
def evaluate_tasks(model: SharedEncoder, split: Split) -> tuple[float, Tensor]:
    """The tasks' mean loss (nats), and which answers are right: shape (n, T), 1 or 0."""
    losses, _ = model.losses(*split)
    hits = (model(split.x) > 0) == (split.y > 0.5)
    return mean(loss.item() for loss in losses), hits.double()


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
    vaccine = GradVac(beta=0, eps=eps, guard=guard)
    targets = {"gramian_weighting.targets": torch.full((2, 2), float(target), dtype=torch.float64)}
    changed = []
    for i, gradient in enumerate(jacobian):
        for other in (*jacobian[:i], *jacobian[i + 1 :]):  # each meeting is a vaccine of two
            pair = torch.stack([gradient, other])
            vaccine.load_state_dict(targets)
            vaccine(pair)
            report = vaccine.report
            assert report is not None  # there has been a call
            gradient = report.coefficients[0].to(pair.dtype) @ pair
        changed.append(gradient)
    return torch.stack(changed)
