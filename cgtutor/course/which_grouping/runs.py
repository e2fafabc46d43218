"""Trainings to compare groupings with, and what a pass costs."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cgtutor.aggregation import GradVac
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.course.shared.speed import median_times
from cgtutor.course.shared.training import every_trial
from cgtutor.course.which_grouping.scenes import SIDE, TASKS, SceneData, SceneNet, Scenes, scene_net
from cgtutor.grouping import GroupedGradVac, Groups, all_layer, all_matrix, enc_dec, whole_model
from cgtutor.streaming import StreamingGradVac

#: Makes groups of the parameters of some modules.
Strategy = Callable[..., Groups]


#: From the coarsest to the finest.
STRATEGIES: dict[str, Strategy] = {
    f.__name__: f for f in (whole_model, enc_dec, all_layer, all_matrix)
}


class Run(NamedTuple):
    """One training. Losses are sums of the three tasks' mean cross-entropies, in nats."""

    steps: list[int]  #: at which the loss was taken
    loss: list[float]  #: on the validation part, one number for each of ``steps``
    test_loss: float
    test_accuracy: list[float]  #: fraction of right answers, for each task


def batches(data: SceneData, steps: int, seed: int, size: int = 50) -> Iterator[Scenes]:
    """Mini-batches of the training part, in an order that the seed sets, as many as steps."""
    order = torch.Generator().manual_seed(seed)
    left: list[Tensor] = []
    for _ in range(steps):
        left = left or list(torch.randperm(len(data.train.y), generator=order).split(size))
        batch = left.pop()
        yield Scenes(data.train.x[batch], data.train.y[batch])


def train(
    strategy: Strategy | None,
    data: SceneData,
    lr: float = 0.02,
    seed: int = 0,
    steps: int = 150,
    beta: float = 0.5,
    after_step: Callable[[GroupedGradVac], object] | None = None,
) -> Run:
    """Train a fresh :class:`SceneNet` with Adam on mini-batches of 50.

    Args:
        strategy: makes the groups that GradVac treats apart; ``None`` for the plain sum of the
            losses.
        data: what to train and evaluate on.
        lr: Adam's learning rate.
        seed: for initial weights, order of the pictures and the vaccine's draws.
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
    run = Run([], [], 0.0, [])
    for step, batch in enumerate(batches(data, steps, seed), start=1):
        optimizer.zero_grad()
        features = net(batch.x)
        losses = net.losses(features, batch.y)
        if vaccine is None:
            torch.stack(losses).sum().backward()
        else:
            mtl_backward(losses, features=features)
            vaccine.jac_to_grad()
        optimizer.step()
        if vaccine is not None and after_step is not None:
            after_step(vaccine)
        if step % 15 == 0 or step == steps:
            run.steps.append(step)
            run.loss.append(_evaluate(net, data.validation)[0])
    loss, accuracy = _evaluate(net, data.test)
    return run._replace(test_loss=loss, test_accuracy=accuracy)


@torch.no_grad()
def _evaluate(net: SceneNet, part: Scenes) -> tuple[float, list[float]]:
    features = net(part.x)
    hits = [head(features).argmax(1) == t for head, t in zip(net.heads, part.y.T)]
    loss = torch.stack(net.losses(features, part.y)).sum().item()
    return loss, [hit.double().mean().item() for hit in hits]


#: By name and learning rate one run for each seed.
Results = dict[str, dict[float, list[Run]]]


def sweep(
    strategies: Mapping[str, Strategy | None],
    data: SceneData,
    learning_rates: Sequence[float],
    seeds: Sequence[int],
    steps: int = 150,
) -> Results:
    """Train for each strategy, learning rate and seed; the same seeds for all."""

    def run(name: str, lr: float, seed: int) -> Run:
        return train(strategies[name], data, lr, seed, steps)

    return every_trial(strategies, learning_rates, seeds, run)


def best_runs(results: Results) -> dict[str, tuple[float, list[Run]]]:
    """For each name the learning rate whose mean last validation loss is smallest, and its runs.

    A learning rate at which a run ended in NaN counts as the worst.
    """

    def last(runs: Sequence[Run]) -> float:
        loss = mean(run.loss[-1] for run in runs)
        return math.inf if math.isnan(loss) else loss

    best = {name: min(trials, key=lambda lr: last(trials[lr])) for name, trials in results.items()}
    return {name: (lr, results[name][lr]) for name, lr in best.items()}


class Difference(NamedTuple):
    """Test losses of some runs minus those of a baseline, seed by seed, in nats."""

    mean: float
    spread: float  #: standard deviation over the seeds
    higher: int  #: seeds at which the loss is higher than the baseline's


def difference(runs: Sequence[Run], baseline: Sequence[Run]) -> Difference:
    """Compare runs of the same seeds in pairs, which leaves out what a seed does to both."""
    gaps = [run.test_loss - other.test_loss for run, other in zip(runs, baseline)]
    return Difference(mean(gaps), stdev(gaps), sum(gap > 0 for gap in gaps))


def table(results: Results) -> str:
    """What a sweep found, a line for each name; the first is what the others are compared with.

    The validation loss at each learning rate; then, at the one that is best there, the test loss
    with its standard deviation, and its difference from the first line's.
    """
    rates = list(next(iter(results.values())))
    best = best_runs(results)
    baseline = next(iter(best.values()))[1]
    width = max(16, 8 * len(rates))
    rows = "".join(f"{rate:<8g}" for rate in rates)
    lines = [
        f"{'':14s}{'validation loss':{width}s}  test loss      above the first line,",
        f"{'':14s}{rows:{width}s}  at the best    seed by seed",
    ]
    for name, (_, runs) in best.items():
        losses = [mean(run.loss[-1] for run in results[name][rate]) for rate in rates]
        final = [run.test_loss for run in runs]
        row = "".join(f"{loss:<8.2f}" for loss in losses)
        line = f"{name:14s}{row:{width}s}  {mean(final):.2f} ± {stdev(final):.2f}"
        if runs is not baseline:
            gap = difference(runs, baseline)
            line += f"    {gap.mean:.2f} ± {gap.spread:.2f}, {gap.higher} of {len(runs)} higher"
        lines.append(line)
    return "\n".join(lines)


def step_times(repeats: int = 30, warm_up: int = 5, batch: int = 50) -> dict[str, float]:
    """Median time in seconds from the pictures to the gradients, for each way of making them.

    Args:
        repeats: timed passes of each.
        warm_up: passes of each before that.
        batch: number of pictures.
    """
    net = scene_net()
    x, y = torch.rand(batch, SIDE * SIDE), torch.zeros(batch, len(TASKS), dtype=torch.long)

    def plain() -> None:
        torch.stack(net.losses(net(x), y)).sum().backward()

    def grouped(vaccine: GroupedGradVac) -> None:
        features = net(x)
        mtl_backward(net.losses(features, y), features=features)
        vaccine.jac_to_grad()

    def looped(pairs: list[tuple[list[nn.Parameter], GradVac]]) -> None:
        features = net(x)
        mtl_backward(net.losses(features, y), features=features)
        for group, vaccine in pairs:
            jac_to_grad(group, vaccine)

    def streamed(vaccine: StreamingGradVac) -> None:
        with vaccine.tap(net.encoder, net.decoder):
            features = net(x)
        vaccine.mtl_backward(net.losses(features, y), features=features)

    ways: dict[str, Callable[[], None]] = {"plain sum": plain}
    for name, strategy in STRATEGIES.items():
        vaccine = GroupedGradVac(strategy(net.encoder, net.decoder))
        ways[name] = lambda vaccine=vaccine: grouped(vaccine)  # type: ignore[misc]
    pairs = [(group, GradVac()) for group in all_matrix(net.encoder, net.decoder)]
    ways["all_matrix, a loop"] = lambda: looped(pairs)
    streaming = StreamingGradVac(all_layer(net.encoder, net.decoder))
    ways["all_layer, streaming"] = lambda: streamed(streaming)
    return median_times(ways, repeats, warm_up, before=net.zero_grad)
