"""The figures of the notebook *which gradients to keep*."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREY,
    LOOKS,
    ORANGE,
    STYLE,
    WIDTH,
    Picture,
    annotate,
    band,
    finding,
    label,
    named,
    subplots,
)
from cgtutor.course.which_gradients_to_keep.study import Course, Played, slots, steps_until_back

SHADES = 64  #: of ages: few enough that a picture of 128 colours has each of them


def _listed(steps: Iterable[int]) -> str:
    """Steps in words, runs of them by their ends."""
    runs: list[list[int]] = []
    for step in sorted(steps):
        if runs and step == runs[-1][1] + 1:
            runs[-1][1] = step
        else:
            runs.append([step, step])
    return ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in runs)


def held_at_the_end(played: Played, title: str, note: str, largest: bool = True) -> Picture:
    """All norms of a training, and which of them a memory holds after the last step.

    Args:
        played: what the memory did.
        title: the finding.
        note: what to see at the gradients that it holds.
        largest: whether to mark the largest norms of all as well.
    """
    norms, held = played.norms, sorted(played.held[-1])
    top = sorted(range(len(norms)), key=lambda step: -norms[step])[: played.size]
    height = 1.3 * max(norms)
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.4)
        ax.plot(range(len(norms)), norms, ".", color="0.65", markersize=4)
        if largest:
            ax.plot(top, [norms[t] for t in top], "s", color=ORANGE, fillstyle="none", markersize=9)
            left = min(top, key=lambda step: step)
            label(ax, left - 4, norms[left] + 0.1, f"the {len(top)} largest", ORANGE, ha="right")
        ax.plot(held, [norms[t] for t in held], "o", color=BLUE, markersize=7)
        ax.set(xlabel="step", ylabel="norm", xlim=(-4, len(norms) + 4), ylim=(0, height))
        middle = held[len(held) // 2]
        at = (middle, min(norms[t] for t in held))
        annotate(ax, note, at, (min(max(middle, 90), len(norms) - 75), 0.17 * height))
        finding(figure, title)
    figure.alt = (
        f"{title}. The norms of {len(norms)} steps as dots. In the memory at the end are those of "
        f"the steps {_listed(held)}; the {len(top)} largest norms are those of the steps "
        f"{_listed(top)}."
    )
    return figure


def _map(ax: Any, played: Played, oldest: float) -> Any:
    return ax.imshow(
        slots(played).numpy(),
        aspect="auto",
        interpolation="none",
        cmap=plt.get_cmap("cividis", SHADES),
        vmin=0,
        vmax=oldest,
        extent=(-0.5, len(played.norms) - 0.5, played.size + 0.5, 0.5),
    )


def slots_over_time(runs: Mapping[str, Played], title: str) -> Picture:
    """What is in each of a memory's slots after each step, coloured by its age.

    Args:
        runs: by name, what memories did with the same norms.
        title: the finding.
    """
    oldest = max(1, *(played.oldest for played in runs.values()))
    said = {}
    with plt.rc_context(STYLE):
        figure, axes = subplots(
            len(runs), 1, height=1.1 + 1.75 * len(runs), sharex=True, squeeze=False
        )
        for ax, (name, played) in zip(axes[:, 0], runs.items()):
            image = _map(ax, played, oldest)
            count = f"{played.rejected} of {len(played.norms)} rejected"
            ax.set_title(f"{name}: {count}", loc="left", fontsize=12)
            ax.set(ylabel="slot", yticks=[1, 5, 10])
            ax.grid(visible=False)
            said[name] = f"{count}, the oldest {played.oldest} steps old"
        ax.set(xlabel="step")
        figure.colorbar(image, ax=list(axes[:, 0]), label="age in steps", ticks=MaxNLocator(4))
        finding(figure, title)
    figure.alt = (
        f"{title}. A grid of slots by {len(played.norms)} steps for each memory, coloured by the "
        "age of the gradient in the slot, dark when it is inserted and lighter with age. "
        f"{named(said)}."
    )
    return figure


def _event(played: Played, step: int) -> str:
    before = played.held[step - 1] if step else {}
    now, norm = played.held[step], f"Step {step}, norm {played.norms[step]:.2f}: "
    if step not in now:
        return f"{norm}rejected; the smallest priority was {min(before.values()):.2f}."
    gone = before.keys() - now.keys()
    return norm + (
        f"inserted, and the gradient of step {min(gone)} is evicted."
        if gone
        else "inserted into a free slot."
    )


def memory_player(played: Played) -> Player:
    """What a memory holds after each step: gradients enter, their priorities decay, they leave."""
    norms, steps = played.norms, len(played.norms)

    def draw(step: int) -> Picture:
        held = played.held[step]
        gone = [born for born in range(step + 1) if born not in held]
        with plt.rc_context(BY_HAND):
            figure, ax = subplots(height=3.1)
            figure.subplots_adjust(left=0.08, right=0.99, top=0.89, bottom=0.17)
            heights = [norms[born] for born in held]
            colors = [ORANGE if born == step else BLUE for born in held]
            ax.plot(gone, [norms[born] for born in gone], "x", color="0.55", markersize=5)
            ax.bar(list(held), heights, 0.7, facecolor="white", edgecolor=colors)
            ax.bar(list(held), list(held.values()), 0.7, color=colors)
            if len(held) == played.size:
                ax.axhline(min(held.values()), color=GREY, linestyle="--", linewidth=1)
            ax.set(xlim=(-1, steps), ylim=(0, 1.1 * max(norms)), xlabel="step", ylabel="norm")
            ax.set_title("bar: priority    box: norm    × not in the memory", fontsize=12)
            ax.grid(visible=False)
        figure.alt = _event(played, step)
        return figure

    longest = max(range(steps), key=played.stays)
    return player(
        draw,
        steps,
        [_event(played, step) for step in range(steps)],
        f"{played.size} slots over {steps} steps. A bar for each gradient in the memory is its "
        "priority, the box around it the norm that it started from. The bars get shorter from step "
        "to step, and the shortest is evicted when a larger gradient comes. "
        f"{played.rejected} of {steps} gradients are rejected; that of step {longest} stays "
        f"longest, {played.stays(longest)} steps.",
    )


def extra_stay(
    measured: Mapping[float, Sequence[int]], law: Callable[[float, float], float], height: float
) -> Picture:
    """How many steps longer a spike stays, measured and as the law says.

    Args:
        measured: by decay, one number for each spike.
        law: from height and decay, what is expected.
        height: of the spikes.
    """
    places = range(len(measured))
    expected = [law(height, decay) for decay in measured]
    means = [mean(found) for found in measured.values()]
    title = "A spike stays as many steps longer as the law says, at every decay"
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.5)
        ax.plot(places, expected, color=GREY, linestyle="--")
        low, high = ([f(found) for found in measured.values()] for f in (min, max))
        ax.vlines(places, low, high, color=BLUE, linewidth=2)
        ax.plot(places, means, "o", color=BLUE)
        label(ax, places[1], expected[1] * 2.1, "the law", GREY, ha="center")
        label(ax, places[2] + 0.15, means[2] * 0.72, "measured", BLUE)
        annotate(
            ax,
            f"ten times the norm:\n{means[-1]:.0f} more steps",
            (places[-1], means[-1]),
            (places[-1] - 1.6, means[-1] * 1.05),
        )
        ax.set_xticks(places, [f"{decay:g}" for decay in measured])
        ticks = [3, 10, 30, 100, 300]
        ax.set(xlabel="decay", ylabel="more steps", yscale="log", ylim=(2, 500))
        ax.set_yticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
        finding(figure, title)
    rows = {
        f"decay {decay:g}": f"{value:.0f} measured ({min(found)} to {max(found)}), {e:.1f} expected"
        for (decay, found), value, e in zip(measured.items(), means, expected)
    }
    figure.alt = (
        f"{title}. How many steps longer a gradient stays when its norm is {height:g} times as "
        f"large, by decay. {named(rows)}."
    )
    return figure


def after_bad_batch(runs: Mapping[str, Sequence[Course]], title: str, bad: int = 80) -> Picture:
    """Validation loss over the steps of trainings with a bad mini-batch: mean and range of seeds.

    Args:
        runs: by name, at most four, one course for each seed.
        title: the finding.
        bad: the step with the bad mini-batch.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.9)
        said, lowest = {}, -math.inf
        ends = {name: mean(run.validation_loss[-1] for run in runs[name]) for name in runs}
        colors = {}
        for (name, courses), look in zip(runs.items(), LOOKS):
            band(ax, courses[0].steps, zip(*(run.validation_loss for run in courses)), **look)
            back, colors[name] = steps_until_back(courses, bad), look["color"]
            said[name] = f"{ends[name]:.2f} at the end, " + (
                "never as low again as right before it"
                if back is None
                else f"as low as right before it after {back} step{'s' * (back > 1)}"
            )
        for name in sorted(ends, key=ends.__getitem__):  # labels that do not overlap
            lowest = max(ends[name], lowest + 0.22)
            label(ax, 1.02 * courses[0].steps[-1], lowest, name, colors[name])
        ax.axvline(bad, color=GREY, linewidth=1, linestyle=":", zorder=0)
        steps = courses[0].steps[-1]
        annotate(ax, "one spoilt\nmini-batch", (bad, 2.9), (0.62 * bad, 2.75))
        ax.set(xlabel="step", ylabel="validation loss", ylim=(0, None), xlim=(0, 1.24 * steps))
        ax.set_xticks(range(0, steps + 1, 50))
        finding(figure, title)
    figure.alt = (
        f"{title}. Validation loss over {steps} steps, mean and range of {len(courses)} seeds, "
        f"with a spoilt mini-batch at step {bad}. {named(said)}."
    )
    return figure


def explored(played: Played, mark: int, name: str) -> Picture:
    """The slots over time for the explorer: axes that stay, drawn fast."""
    shown = 120
    kept, rejected = played.stays(mark), played.rejected
    with plt.rc_context(BY_HAND):
        figure = Picture(figsize=(WIDTH, 3.4))
        ax = figure.add_axes((0.075, 0.16, 0.905, 0.72))
        _map(ax, played, 80)
        ax.set(xlim=(-0.5, shown + 0.5), ylim=(20.5, 0.5), xlabel="step", ylabel="slot")
        ax.set(xticks=[0, 40, 80, 120], yticks=[1, 10, 20])
        ax.grid(visible=False)
        ax.axvline(mark, color=ORANGE, linestyle="--", linewidth=1.5)
        row = next((s for s, age in enumerate(slots(played)[:, mark].tolist()) if age == 0), None)
        if row is not None:
            ax.hlines(row + 1, mark, mark + kept - 1, color=ORANGE, linewidth=3)
        figure.text(
            0.075,
            0.92,
            f"{name}: the spike stays {kept} steps, {rejected} of {len(played.norms)} rejected",
            fontsize=13,
            fontweight="bold",
        )
    figure.alt = (
        f"{name}. Slots by steps, coloured by the age of the gradient. The spike of step {mark} "
        f"stays {kept} steps; {rejected} of {len(played.norms)} gradients are rejected."
    )
    return figure
