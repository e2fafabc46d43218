"""Trainings to compare groupings with, and what a pass costs."""

from collections.abc import Callable, Iterator, Sequence
from statistics import mean, stdev
from typing import NamedTuple

import torch

from cgtutor.aggregation import GradVac
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.course.shared.data import Data, Split, mini_batches
from cgtutor.course.shared.tasks import multi_task_step
from cgtutor.course.shared.training import Columns, plus_minus
from cgtutor.course.which_grouping.scenes import SIDE, TASKS, SceneNet, scene_net
from cgtutor.grouping import GroupedGradVac, Groups, all_layer, all_matrix, enc_dec, whole_model
from cgtutor.streaming import StreamingGradVac

#: Makes groups of the parameters of some modules.
Strategy = Callable[..., Groups]


#: From the coarsest to the finest.
STRATEGIES: dict[str, Strategy] = {
    f.__name__: f for f in (whole_model, enc_dec, all_layer, all_matrix)
}


class SceneRun(NamedTuple):
    """One training. Losses are sums of the three tasks' mean cross-entropies, in nats."""

    steps: list[int]  #: at which the loss was taken
    validation_loss: list[float]  #: one number for each of ``steps``
    test_loss: float
    test_accuracy: list[float]  #: fraction of right answers, for each task


def batches(data: Data, steps: int, seed: int, size: int = 50) -> Iterator[Split]:
    """Mini-batches of the training part, in an order that the seed sets, as many as steps."""
    order = torch.Generator().manual_seed(seed)
    left: list[Split] = []
    for _ in range(steps):
        left = left or list(mini_batches(data.train, size, order))
        yield left.pop()


def train_grouped(
    strategy: Strategy | None,
    lr: float,
    seed: int,
    data: Data,
    steps: int = 150,
    beta: float = 0.5,
    after_step: Callable[[GroupedGradVac], object] | None = None,
) -> SceneRun:
    """Train a fresh :class:`SceneNet` with Adam on mini-batches of 50; for :func:`.sweep`.

    Args:
        strategy: makes the groups that GradVac treats apart; ``None`` for the plain sum of the
            losses.
        lr: Adam's learning rate.
        seed: for initial weights, order of the pictures and the vaccine's draws.
        data: what to train and evaluate on.
        steps: number of mini-batches.
        beta: the vaccine's.
        after_step: is given the vaccine after each step.
    """
    net = scene_net(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    vaccine = None
    if strategy is not None:
        groups = strategy(net.encoder, net.decoder)
        draws = torch.Generator().manual_seed(seed)
        vaccine = GroupedGradVac(groups, beta, generator=draws)
    aggregate = None if vaccine is None else vaccine.jac_to_grad
    run = SceneRun([], [], 0.0, [])
    for step, (x, y) in enumerate(batches(data, steps, seed), start=1):
        features = net(x)
        multi_task_step(optimizer, net.losses(features, y), features, aggregate)
        if vaccine is not None and after_step is not None:
            after_step(vaccine)
        if step % 15 == 0 or step == steps:
            run.steps.append(step)
            run.validation_loss.append(_evaluate(net, data.validation)[0])
    loss, accuracy = _evaluate(net, data.test)
    return run._replace(test_loss=loss, test_accuracy=accuracy)


@torch.no_grad()
def _evaluate(net: SceneNet, part: Split) -> tuple[float, list[float]]:
    features = net(part.x)
    hits = [head(features).argmax(1) == t for head, t in zip(net.heads, part.y.T)]
    loss = torch.stack(net.losses(features, part.y)).sum().item()
    return loss, [hit.double().mean().item() for hit in hits]


class Difference(NamedTuple):
    """Test losses of some runs minus those of a baseline, seed by seed, in nats."""

    mean: float
    spread: float  #: standard deviation over the seeds
    higher: int  #: seeds at which the loss is higher than the baseline's


def difference(runs: Sequence[SceneRun], baseline: Sequence[SceneRun]) -> Difference:
    """Compare runs of the same seeds in pairs, which leaves out what a seed does to both."""
    gaps = [run.test_loss - other.test_loss for run, other in zip(runs, baseline)]
    return Difference(mean(gaps), stdev(gaps), sum(gap > 0 for gap in gaps))


def columns(baseline: Sequence[SceneRun]) -> Columns:
    """For :func:`.table`: the test loss, and by how much it is above a baseline's."""

    def test_loss(runs: Sequence[SceneRun]) -> str:
        return plus_minus([run.test_loss for run in runs])

    def above(runs: Sequence[SceneRun]) -> str:
        if runs is baseline:
            return ""
        gap = difference(runs, baseline)
        return f"{gap.mean:.2f} ± {gap.spread:.2f}, {gap.higher} of {len(runs)} higher"

    return {"test loss": test_loss, "above the first line, seed by seed": above}


def ways_to_gradients(net: SceneNet, batch: int = 50) -> dict[str, Callable[[], None]]:
    """By name, each way from a batch of pictures to gradients: jobs for :func:`.median_times`."""
    x, y = torch.rand(batch, SIDE * SIDE), torch.zeros(batch, len(TASKS), dtype=torch.long)
    shared = net.encoder, net.decoder
    of_each = [(group, GradVac()) for group in all_matrix(*shared)]
    streaming = StreamingGradVac(all_layer(*shared))

    def plain() -> None:
        torch.stack(net.losses(net(x), y)).sum().backward()

    def by_way_of_jacobians(aggregate: Callable[[], object]) -> Callable[[], None]:
        def way() -> None:
            features = net(x)
            mtl_backward(net.losses(features, y), features=features)
            aggregate()

        return way

    def loop() -> None:
        for group, vaccine in of_each:
            jac_to_grad(group, vaccine)

    def streamed() -> None:
        with streaming.tap(*shared):
            features = net(x)
        streaming.mtl_backward(net.losses(features, y), features=features)

    grouped = {
        name: by_way_of_jacobians(GroupedGradVac(strategy(*shared)).jac_to_grad)
        for name, strategy in STRATEGIES.items()
    }
    return {
        "plain sum": plain,
        **grouped,
        "all_matrix, a loop": by_way_of_jacobians(loop),
        "all_layer, streaming": streamed,
    }
