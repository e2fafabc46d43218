"""What is trained and measured of the notebook *when tasks disagree*."""

from collections.abc import Callable, Sequence
from statistics import mean
from typing import NamedTuple

from torch import Tensor

from cgtutor.aggregation import Aggregator, Mean, Sum
from cgtutor.course.shared.data import Data
from cgtutor.course.shared.tasks import SharedEncoder, TaskRun, train_tasks, vaccinated
from cgtutor.course.shared.training import Columns, plus_minus


def train_with(
    make: Callable[[], Aggregator],
    lr: float,
    seed: int,
    data: Data,
    widths: Sequence[int] = (64, 32, 32, 3),
) -> TaskRun:
    """Train a fresh network with an aggregator, without cosines; for :func:`.sweep`.

    Args:
        make: makes the aggregator.
        lr: Adam's learning rate.
        seed: for the initial weights and the mini-batches.
        data: what to train and evaluate on.
        widths: of the encoder's layers.
    """
    model = SharedEncoder(widths, data.train.y.shape[1], seed)
    return train_tasks(model, data, make(), lr, seed=seed, note_cosines=False)


def _accuracy(runs: Sequence[TaskRun]) -> str:
    return plus_minus([run.accuracy.mean().item() for run in runs], 3)


def _changed(runs: Sequence[TaskRun]) -> str:
    return f"{mean(sum(run.changed) / len(run.changed) for run in runs):4.0%}"


#: For :func:`.table`: the tasks' mean accuracy, and in what share of the steps the aggregate was
#: another than the sum of the gradients.
COLUMNS: Columns = {"test accuracy": _accuracy, "steps changed": _changed}


class Aggregated(NamedTuple):
    """What an aggregator makes of a Jacobian of shape (T, N).

    Attributes:
        rows: shape (T, N), the gradients that it adds up or averages.
        total: shape (N,), the result.
    """

    rows: Tensor
    total: Tensor


def four_ways(jacobian: Tensor, target: float) -> dict[str, Aggregated]:
    """Mean, Sum, PCGrad, and GradVac if every target is ``target``.

    PCGrad and GradVac take the tasks in the order of their rows, not in random order.
    """
    changed = {"PCGrad": vaccinated(jacobian, 0), "GradVac": vaccinated(jacobian, target)}
    return {
        "Mean": Aggregated(jacobian, Mean()(jacobian)),
        "Sum": Aggregated(jacobian, Sum()(jacobian)),
    } | {name: Aggregated(rows, rows.sum(0)) for name, rows in changed.items()}
