"""The figures of the notebook *what an optimizer remembers*."""

from collections.abc import Mapping, Sequence
from statistics import mean

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREEN,
    GREY,
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
from cgtutor.course.shared.training import Curves, best_learning_rate

PALE = "0.8"


def kick(plain: Sequence[float], rolling: Sequence[float]) -> Player:
    """Two balls after one kick, and how far the second moves in each step.

    Args:
        plain: where the ball of SGD is after each step; it starts at 0.
        rolling: the same for momentum with β = 0.9.
    """
    moved = [b - a for a, b in zip([0.0, *rolling], rolling)]

    last = len(rolling) - 1
    steps = [*range(20), *range(20, last + 1, 4)]  # what moves little is shown in larger strides

    def draw(i: int) -> Picture:
        step = steps[i]
        with plt.rc_context(BY_HAND):
            figure, (track, bars) = subplots(2, 1, height=4.2)
            figure.subplots_adjust(left=0.06, right=0.98, top=0.88, bottom=0.13, hspace=0.45)
            finding(figure, "After one kick, SGD stops at once and momentum rolls on")
            for height, name, color, places in (
                (1.1, "SGD", GREY, plain),
                (0.1, "momentum, β = 0.9", BLUE, rolling),
            ):
                behind = [0.0, *places[:step]]
                track.axhline(height - 0.22, color=PALE, linewidth=1)
                track.plot(behind, [height - 0.22] * len(behind), "|", color=color, markersize=7)
                track.plot(places[step], height, "o", color=color, markersize=15)
                track.text(10.4, height + 0.38, name, color=color, ha="right", va="center")
            track.set(xlim=(-0.4, 10.5), ylim=(-0.4, 1.75), yticks=[])
            track.set_xlabel("how far each ball is, in kicks", labelpad=1)
            track.grid(visible=False)
            track.spines["left"].set_visible(False)
            bars.vlines(range(step + 1), 0, moved[: step + 1], color=BLUE, linewidth=8)
            bars.text(last, 0.85, "how far momentum moves its ball in a step", ha="right")
            bars.set(xlim=(-0.8, last + 0.8), ylim=(0, 1.05), xlabel="step")
            bars.grid(visible=False, axis="x")
        return figure

    captions = [
        f"Step {t}: the gradient is 0. Momentum moves its ball by {moved[t]:.3f}, to "
        f"{rolling[t]:.2f}."
        for t in steps
    ]
    captions[0] = "Step 0: the kick. Both balls move by 1."
    return player(
        draw,
        len(steps),
        captions,
        f"Two balls on tracks, up to {last} steps after one kick. That of SGD stands at "
        f"{plain[-1]:.0f} since step 0. That of momentum moves in every step, each time "
        f"{moved[1] / moved[0]:.1f} times as far: by {moved[0]:.0f}, {moved[1]:.2f} and "
        f"{moved[2]:.2f} in steps 0 to 2, by {moved[10]:.2f} in step 10 and {moved[last]:.4f} in "
        f"step {last}, where it is at {rolling[last]:.1f}.",
        still=steps.index(20),
        milliseconds=350,
    )


def weights_by_age(memories: Mapping[str, Sequence[float]]) -> Picture:
    """The weight of the gradient k steps ago, a panel of bars for each memory.

    Args:
        memories: by name, momentum, a moving average and a plain average: the weights of the
            gradients of age 0, 1, and so on.
    """
    with plt.rc_context(STYLE):
        figure, axes = subplots(len(memories), 1, height=5.2, sharex=True)
        for ax, look, (name, weights) in zip(axes, LOOKS, memories.items()):
            ax.bar(range(len(weights)), weights, color=look["color"], width=0.7)
            ax.text(0.98, 0.8, name, color=look["color"], ha="right", transform=ax.transAxes)
            ax.set(ylim=(0, 1.15 * weights[0]))
            ax.set_yticks([0, weights[0]], ["0", f"{weights[0]:g}"])
            ax.grid(visible=False, axis="x")
        last = axes[-1]
        count = sum(weight > 0 for weight in weights)
        annotate(
            last,
            f"dropped at age {count}",
            (count, 0),
            (count + 8, 0.5 * weights[0]),
        )
        last.set(xlabel="age k of the gradient, in steps", xlim=(-0.8, len(weights) - 0.2))
        figure.supylabel("weight in the step taken now", fontsize=11)
        finding(figure, "A plain average drops a gradient all at once, momentum never does")
    ages = (0, 1, 5, 10, 20)
    said = {name: series(f"{weights[k]:.2g}" for k in ages) for name, weights in memories.items()}
    figure.alt = (
        "Bars of the weight of a gradient by its age, a panel for each memory. At the ages "
        f"{series(map(str, ages))}: {named(said)}."
    )
    return figure


def spike(
    gradients: Sequence[float], firsts: Sequence[float], seconds: Sequence[float], beta2: float
) -> Picture:
    """A spike among the gradients of one parameter, Adam's moments, and its step.

    Args:
        gradients: one for each step, from step 1 on.
        firsts: the corrected first moment after each step.
        seconds: the corrected second moment after each step.
        beta2: of the second moment, to show it without the correction too.
    """
    steps = range(1, len(gradients) + 1)
    roots = [v**0.5 for v in seconds]
    plain = [(v * (1 - beta2**t)) ** 0.5 for t, v in zip(steps, seconds)]
    adams = [m / root for m, root in zip(firsts, roots)]
    peak = max(steps, key=lambda t: gradients[t - 1])
    end = steps[-1]
    with plt.rc_context(STYLE):
        figure, (above, below) = subplots(2, 1, height=5.4, sharex=True, height_ratios=(3, 2))
        above.plot(steps, gradients, color=GREY, linewidth=1)
        above.plot(steps, firsts, color=BLUE)
        above.plot(steps, roots, color=ORANGE, linestyle="--")
        above.plot(steps, plain, color=ORANGE, linestyle=":")
        label(above, peak + 6, 0.85 * gradients[peak - 1], "gradient", GREY)
        label(above, peak + 110, 1.4 * roots[peak + 109], "root of the second, √v̂", ORANGE)
        label(above, peak + 180, 0.72 * plain[peak + 179], "√v, without correction", ORANGE)
        label(above, peak + 50, 1.35, "first moment m̂", BLUE)
        above.set(ylabel="size", yscale="log", ylim=(0.1, 200), xlim=(-5, end + 5))
        above.yaxis.set_major_locator(FixedLocator([1, 10, 100]))
        above.yaxis.set_minor_locator(NullLocator())
        above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        below.plot(steps, adams, color=GREEN)
        below.set(xlabel="step", ylabel="Adam's step, m̂ / √v̂", ylim=(0, 1.15))
        annotate(
            below,
            f"{end - peak} steps after the spike: {adams[-1]:.2f}",
            (end, adams[-1]),
            (end - 95, 0.75),
        )
        finding(figure, "After one spike, Adam's steps stay short for hundreds of steps")
    figure.alt = (
        f"Above, gradients of 1 with one of {gradients[peak - 1]:g} in step {peak}, on a "
        f"logarithmic scale. There the first moment jumps to {firsts[peak - 1]:.1f} and is at "
        f"{firsts[peak + 49]:.2f} fifty steps later. The root of the second jumps to "
        f"{roots[peak - 1]:.1f}, uncorrected to {plain[peak - 1]:.1f}, and is still "
        f"{roots[-1]:.1f} at the end. Below, Adam's step in learning rates: "
        f"{adams[peak - 2]:.2f} before the spike, {adams[peak - 1]:.2f} at it, "
        f"{adams[peak + 49]:.2f} fifty steps later, "
        f"{adams[-1]:.2f} at the end."
    )
    return figure


def longer_memories(results: Mapping[str, Mapping[float, Sequence[Curves]]]) -> Picture:
    """The validation loss at the end by learning rate, for three memories.

    Args:
        results: as :func:`.sweep` returns them, from the shortest memory to the longest.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=4.2)
        rates = list(next(iter(results.values())))
        for look, (name, trials) in zip(LOOKS, results.items()):
            final = [[run.validation_loss[-1] for run in trials[lr]] for lr in rates]
            band(ax, rates, final, **look)
            label(ax, 1.12 * rates[-1], mean(final[-1]), name, look["color"])
        name, trials = list(results.items())[-1]
        best = best_learning_rate(trials)
        lowest = mean(run.validation_loss[-1] for run in trials[best])
        annotate(ax, f"{name} at its best: {lowest:.2f}", (best, lowest), (best, 5 * lowest))
        ax.set(xscale="log", yscale="log", ylabel="final validation loss")
        ax.set_xlabel("learning rate of SGD; momentum's is 1 − β times that")
        ax.set(xlim=(rates[0] / 1.15, 4.2 * rates[-1]), ylim=(0.08, 4))
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
        ax.minorticks_off()
        finding(figure, "The longest memory does worst, also at its best learning rate")
    losses = {
        name: series(f"{mean(run.validation_loss[-1] for run in of):.2f}" for of in trials.values())
        for name, trials in results.items()
    }
    figure.alt = (
        "Validation loss at the end by learning rate, on logarithmic scales, a line for each "
        "memory, the mean of five seeds, with a band for their range. Means at the learning rates "
        f"{series(f'{lr:g}' for lr in rates)}: {named(losses)}."
    )
    return figure


def newest_or_largest(norms: Sequence[float], count: int = 10) -> Picture:
    """The same norms twice: marked are the newest above, the largest below.

    Args:
        norms: of the gradients up to now.
        count: how many are marked.
    """
    ages = range(len(norms) - 1, -1, -1)
    largest = sorted(range(len(norms)), key=lambda i: norms[i], reverse=True)[:count]
    newest = range(len(norms) - count, len(norms))
    with plt.rc_context(STYLE):
        figure, axes = subplots(2, 1, height=4.6, sharex=True)
        for ax, marked, color, hatch, text in (
            (axes[0], newest, BLUE, "", "by age: the newest ten"),
            (axes[1], largest, ORANGE, "////", "by size: the largest ten"),
        ):
            bars = ax.bar(ages, norms, color=PALE, width=0.75)
            for i in marked:
                bars[i].set(facecolor=color, hatch=hatch, edgecolor="white", linewidth=0)
            ax.text(0.01, 0.9, text, color=color, fontweight="bold", transform=ax.transAxes)
            ax.set(ylim=(0, 1.3 * max(norms)), ylabel="norm")
            ax.grid(visible=False, axis="x")
        axes[1].set(xlim=(len(norms) - 0.2, -0.8), xlabel="age of the gradient, in steps")
        finding(figure, "The largest gradients are not the newest")
    old = sorted(len(norms) - 1 - i for i in largest)
    figure.alt = (
        f"The norms of the last {len(norms)} gradients of a training run, as bars, twice. Above, "
        f"the newest {count} are marked, below the largest {count}, which have the ages "
        f"{series(map(str, old))}."
    )
    return figure
