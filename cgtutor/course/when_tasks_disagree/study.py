"""What is trained and measured of the notebook *when tasks disagree*."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import NamedTuple

from torch import Tensor

from cgtutor.aggregation import Aggregator, Mean, Sum
from cgtutor.course.shared.tasks import Answers, Run, SharedEncoder, train, vaccinated
from cgtutor.course.shared.training import Curves, best_learning_rate, every_trial
from cgtutor.course.shared.training import table as training_table


def sweep(
    aggregators: Mapping[str, Callable[[], Aggregator]],
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    data: Answers,
    widths: Sequence[int] = (64, 32, 32, 3),
) -> dict[str, dict[float, list[Run]]]:
    """Train a fresh network for every aggregator, learning rate and seed.

    Returns:
        ``result[name][learning_rate]``, one :class:`Run` for each seed, without cosines.
    """

    def run(name: str, lr: float, seed: int) -> Run:
        model = SharedEncoder(widths, data.train.y.shape[1], seed)
        return train(model, data, aggregators[name](), lr, seed=seed, note_cosines=False)

    return every_trial(aggregators, learning_rates, seeds, run)


def table(results: Mapping[str, Mapping[float, Sequence[Run]]]) -> str:
    """What a :func:`sweep` found, a line for each aggregator: means over the seeds.

    Loss and accuracy are means of the tasks; the last column says in what share of the steps
    the aggregate was another than the sum of the gradients, at the learning rate that is best.
    """
    curves = {
        name: {
            lr: [Curves([], [run.validation], [], run.accuracy.mean().item()) for run in runs]
            for lr, runs in trials.items()
        }
        for name, trials in results.items()
    }
    heading, columns, *lines = training_table(curves).splitlines()
    for k, (name, trials) in enumerate(results.items()):
        runs = trials[best_learning_rate(curves[name])]
        lines[k] += f"   {mean(sum(run.changed) / len(run.changed) for run in runs):4.0%}"
    return "\n".join([heading, f"{columns}   steps changed", *lines])


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
