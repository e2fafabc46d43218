"""The figures of the notebook *first steps*."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from torch import Tensor

from cgtutor.course.first_steps.study import EVERY, Map, Results
from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREEN,
    LOOKS,
    ORANGE,
    STYLE,
    Picture,
    annotate,
    band,
    finding,
    label,
    named,
    series,
    subplots,
)

HALO = [patheffects.withStroke(linewidth=3, foreground="white")]

#: The loss of one training every ``EVERY`` steps, for each seed.
Losses = Sequence[Sequence[float]]

#: Blue without a memory, orange with one, green without one at another learning rate.
PLAIN, MEMORY, MATCHED = LOOKS[:3]

#: The two pairs: without and with a memory.
PAIRS = {"SGD": "SGD_C", "Adam": "Adam_C"}


def _ends(losses: Mapping[str, Losses]) -> dict[str, str]:
    return {name: f"{mean(runs[-1] for runs in of):.2f}" for name, of in losses.items()}


def _curve(ax: Axes, losses: Losses, look: Mapping[str, Any]) -> None:
    band(ax, [EVERY * i for i in range(len(losses[0]))], zip(*losses), **look)


def one_word(losses: Mapping[str, Sequence[float]]) -> Picture:
    """The training loss of one run without and one with a memory, as measured in the notebook."""
    (plain, memory) = losses
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.2)
        for name, look in zip(losses, LOOKS):
            _curve(ax, [losses[name]], look)
            label(ax, 204, losses[name][-1], name, look["color"])
        ax.set(xlabel="step", ylabel="training loss", xlim=(0, 228), ylim=(0.8, 2.5))
        ax.xaxis.set_major_locator(FixedLocator([0, 50, 100, 150, 200]))
    ends = [losses[name][-1] for name in losses]
    finding(figure, f"One word changes: the loss ends at {ends[1]:.2f} instead of {ends[0]:.2f}")
    figure.alt = (
        f"Training loss over {EVERY * (len(losses[plain]) - 1)} steps, from "
        f"{losses[plain][0]:.2f}: {plain} falls to {ends[0]:.2f}, {memory} to {ends[1]:.2f}."
    )
    return figure


def leads(losses: Mapping[str, Losses]) -> Picture:
    """Both pairs over several seeds: mean and range."""
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, 2, height=3.5, sharey=True)
        for ax, (plain, memory) in zip(axes, PAIRS.items()):
            for name, look in ((plain, PLAIN), (memory, MEMORY)):
                _curve(ax, losses[name], look)
                label(ax, 205, mean(r[-1] for r in losses[name]), name, look["color"])
            ax.set(xlabel="step", xlim=(0, 275), ylim=(0, 2.5))
            ax.xaxis.set_major_locator(FixedLocator([0, 50, 100, 150, 200]))
        axes[0].set(ylabel="training loss")
    pairs = [pair for p, m in PAIRS.items() for pair in zip(losses[p], losses[m])]
    ahead = sum(m[-1] < p[-1] for p, m in pairs)
    finding(figure, f"With a memory the loss is lower in {ahead} of {len(pairs)} pairs of runs")
    figure.alt = (
        "Training loss over 200 steps, two panels: SGD with SGD_C and Adam with Adam_C. Each line "
        f"is the mean of {len(losses['SGD'])} seeds, the band their range. Means at the end: "
        f"{named(_ends(losses))}. With a memory the loss is lower in {ahead} of {len(pairs)} pairs."
    )
    return figure


def short_steps(paces: Mapping[str, tuple[Tensor, Tensor]]) -> Picture:
    """How long the steps of two optimizers are, and how far they lead.

    Args:
        paces: by name, the length of each step and the distance from the start after it, means
            over the seeds.
    """
    typical = {name: lengths.mean().item() for name, (lengths, _) in paces.items()}
    far = {name: distances[-1].item() for name, (_, distances) in paces.items()}
    with plt.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, height=3.6)
        for (name, (lengths, distances)), look in zip(paces.items(), LOOKS):
            count = len(lengths)
            plain = look | {"marker": ""}
            left.plot(range(1, count + 1), lengths, alpha=0.5, linewidth=1, **plain)
            left.plot([1, count], [typical[name]] * 2, linewidth=2.5, **plain)
            right.plot(range(1, count + 1), distances, markevery=10, markersize=4, **look)
            for ax, y, digits in ((left, typical[name], 3), (right, far[name], 2)):
                label(ax, count * 1.04, y, f"{name} {y:.{digits}f}", look["color"])
        left.set(xlabel="step", ylabel="length of the step", ylim=(0, 0.04))
        left.yaxis.set_major_locator(FixedLocator([0, 0.01, 0.02, 0.03, 0.04]))
        right.set(xlabel="step", ylabel="distance from the start", ylim=(0, 0.9))
        for ax in (left, right):
            ax.set(xlim=(0, 1.55 * count))
            ax.xaxis.set_major_locator(FixedLocator([0, 25, 50]))
    (a, b), (c, d) = typical.values(), far.values()
    finding(figure, f"Steps {b / a:.1f} times as long take the model {d / c:.1f} times as far")
    steps = {name: f"{value:.4f}" for name, value in typical.items()}
    ends = {name: f"{value:.2f}" for name, value in far.items()}
    figure.alt = (
        f"Left, the length of each of the first {count} steps, means of the seeds: "
        f"{named(steps)}; that is {b / a:.2f} times as much. Right, the distance from the initial "
        f"weights, which grows steadily. After {count} steps: {named(ends)}; that is "
        f"{d / c:.2f} times as much."
    )
    return figure


def same_pace(
    losses: Mapping[str, Losses], matched: Mapping[str, Losses], times: Mapping[str, float]
) -> Picture:
    """Both pairs again, and the side without a memory at a larger learning rate.

    Args:
        losses: at the same learning rate, by the optimizer's name.
        matched: at the larger one, by the name of the optimizer without a memory.
        times: how many times as large it is.
    """
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, 2, height=3.7, sharey=True)
        for ax, (plain, memory) in zip(axes, PAIRS.items()):
            _curve(ax, losses[plain], PLAIN)
            _curve(ax, losses[memory], MEMORY)
            _curve(ax, matched[plain], MATCHED)
            ends = [mean(r[-1] for r in of) for of in (losses[plain], losses[memory])]
            label(ax, 205, ends[0], plain, BLUE)
            label(ax, 205, ends[1] + 0.13, memory, ORANGE)
            label(ax, 205, ends[1] - 0.13, f"{plain}, {times[plain]:g}×", GREEN)
            ax.set(xlabel="step", xlim=(0, 300), ylim=(0, 2.5))
            ax.xaxis.set_major_locator(FixedLocator([0, 50, 100, 150, 200]))
        axes[0].set(ylabel="training loss")
        annotate(axes[0], "two curves,\none line", (150, 1.46), (75, 0.8))
    finding(figure, "At the same pace the lead is gone")
    larger = {f"{name} at {times[name]:g} times the rate": of for name, of in matched.items()}
    figure.alt = (
        "The two panels of training loss again, with a third curve each: the side without a memory "
        "at a larger learning rate. It lies on the curve with a memory. Means at the end: "
        f"{named(_ends({**losses, **larger}))}."
    )
    return figure


def road(plane: Map, every: int = EVERY) -> Player:
    """The paths on their map, step by step."""
    names = list(plane.roads)
    looks = dict(zip(names, (PLAIN, MEMORY, MATCHED)))
    steps = range(0, len(plane.roads[names[0]]), every)
    beside: dict[str, Any] = dict(
        zip(
            names,
            (
                {"xytext": (0, -20), "ha": "center"},
                {"xytext": (0, 20), "ha": "center"},
                {"xytext": (12, 0), "ha": "left"},
            ),
        )
    )

    ground = [part.numpy() for part in (plane.x, plane.y, plane.loss)]
    limits = {
        "xlim": (plane.x[0].item(), plane.x[-1].item()),
        "ylim": (plane.y[0].item(), plane.y[-1].item()),
    }

    def draw(i: int) -> Picture:
        with plt.rc_context(BY_HAND):
            figure, ax = subplots(height=3.7)
            figure.subplots_adjust(0.1, 0.15, 0.985, 0.88)
            shades = ax.contourf(*ground, levels=10, cmap="Greys_r", alpha=0.4)
            ax.contour(*ground, shades.levels, colors="0.6", linewidths=0.6)
            for name in names:
                x, y = plane.roads[name][: steps[i] + 1].T.tolist()
                look = looks[name] | {"marker": ""}
                ax.plot(x, y, linewidth=2, **look)
                dot = {"marker": looks[name]["marker"], "markeredgecolor": "white"}
                ax.plot(x[-1], y[-1], color=look["color"], markersize=11, **dot)
                ax.annotate(
                    name,
                    (x[-1], y[-1]),
                    textcoords="offset points",
                    color=look["color"],
                    va="center",
                    path_effects=HALO,
                    **beside[name],
                )
            ax.text(0.02, 0.05, "darker: lower loss", color="0.25", transform=ax.transAxes)
            ax.set(xlabel="along the road", ylabel="sideways")
            ax.set(**limits)
            ax.grid(visible=False)
            finding(figure, "One road: SGD at half the pace, the two others side by side")
        return figure

    def far(name: str, i: int) -> float:
        return plane.away[name][steps[i]].item()

    captions = [
        f"{series(names)} start at the same point.",
        *(
            f"After {steps[i]} steps: "
            + series(f"{name} is {far(name, i):.2f} from the start" for name in names)
            + "."
            for i in range(1, len(steps))
        ),
    ]
    alt = (
        "A map of the training loss on a plane through the space of the weights, with three paths "
        f"that start at one point: {series(names)}. All three take the same road. After "
        f"{steps[-1]} steps their distances from the start are "
        f"{series(f'{far(name, -1):.2f}' for name in names)}."
    )
    return player(draw, len(steps), captions, alt, milliseconds=250)


def fair_test(results: Results) -> Picture:
    """The validation loss of both pairs over the learning rate: mean and range over the seeds."""
    losses = {
        name: {lr: mean(run.validation_loss for run in runs) for lr, runs in trials.items()}
        for name, trials in results.items()
    }
    best = {name: min(of, key=lambda lr: of[lr]) for name, of in losses.items()}
    places = {"SGD": (0.12, 0.75), "SGD_C": (0.12, 0.165), "Adam": (0.03, 0.15)}
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, 2, height=3.9, sharey=True)
        for ax, pair in zip(axes, PAIRS.items()):
            for name, look in zip(pair, (PLAIN, MEMORY)):
                trials = results[name]
                values = [[run.validation_loss for run in runs] for runs in trials.values()]
                band(ax, list(trials), values, **look)
                ring = {"markersize": 15, "markerfacecolor": "none", "markeredgewidth": 1.8}
                ax.plot(best[name], losses[name][best[name]], "o", color=look["color"], **ring)
                x, y = places.get(name, (0.006, 1.7))
                label(ax, x, y, name, look["color"], ha="center")
            ax.set(xlabel="learning rate", xscale="log", yscale="log", ylim=(0.12, 3))
            ax.xaxis.set_major_locator(FixedLocator(list(trials)))
            ax.yaxis.set_major_locator(FixedLocator([0.2, 0.5, 1, 2]))
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_locator(NullLocator())
        axes[0].set(ylabel="validation loss")
        annotate(axes[0], "rings: each side's\nbest rate", (0.3, losses["SGD"][0.3]), (0.27, 1.3))
    finding(figure, "Both sides tuned: SGD_C a little ahead, Adam_C far behind")
    means = {
        name: series(f"{loss:.2f} at {lr:g}" for lr, loss in of.items())
        for name, of in losses.items()
    }
    figure.alt = (
        "Validation loss after training over the learning rate, two panels: SGD with SGD_C and "
        f"Adam with Adam_C. Means of the seeds: {named(means)}. Rings mark the best: "
        f"{named({name: f'{lr:g}' for name, lr in best.items()})}."
    )
    return figure


def levelled(memory: Sequence[float], plain: Sequence[float], names: tuple[str, str]) -> Picture:
    """Two curves of training loss for the explorer, which redraws them while it is dragged."""
    steps = [EVERY * i for i in range(len(memory))]
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=3.6)
        figure.subplots_adjust(0.085, 0.15, 0.98, 0.97)
        for values, name, look, y in zip((memory, plain), names, (MEMORY, MATCHED), (0.4, 0.16)):
            ax.plot(steps, values, markersize=4, markevery=3, **look)
            ax.text(4, y, name, color=look["color"], fontweight="bold")
        ax.set(xlabel="step", ylabel="training loss", xlim=(0, 205), ylim=(0, 2.5))
        ax.set(xticks=[0, 100, 200], yticks=[0, 1, 2])  # few, to be drawn fast
    figure.alt = (
        f"Training loss over {steps[-1]} steps. {names[0]} ends at {memory[-1]:.2f}, "
        f"{names[1]} at {plain[-1]:.2f}."
    )
    return figure
