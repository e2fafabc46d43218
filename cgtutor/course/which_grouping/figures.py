"""Figures about groups of parameters. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from cgtutor.course.shared.style import (
    BLUE,
    GREY,
    ORANGE,
    STYLE,
    WITH_BASELINE,
    Picture,
    band,
    named,
    subplots,
)
from cgtutor.course.which_grouping.runs import SceneRun


def partitions(
    names: Sequence[str],
    sizes: Sequence[int],
    strategies: Mapping[str, Sequence[Sequence[int]]],
) -> Picture:
    """Which parameters belong together: a row of boxes for each way to group them.

    Tensors stand side by side. Those next to each other in one group share a box, which says
    which group it is and how many numbers it has; neighbouring groups differ in their shade.
    What is in no group is hatched.

    Args:
        names: of the tensors.
        sizes: how many numbers each has.
        strategies: for each the groups, as indices of tensors.
    """
    shades = ["#BFDDF0", "#F6D5BF"]
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 1.6 + 0.55 * len(strategies)))
        for row, groups in enumerate(strategies.values()):
            group_of = {k: b for b, group in enumerate(groups) for k in group}
            start = 0
            for end in range(1, len(names) + 1):
                if end < len(names) and group_of.get(end) == group_of.get(start):
                    continue
                b = group_of.get(start)
                look: dict[str, Any] = {"facecolor": "white", "hatch": "///"}
                if b is not None:
                    look = {"facecolor": shades[b % 2]}
                    here = sum(sizes[k] for k in range(start, end))
                    text = f"group {b + 1}: {here:,} numbers" if end - start > 2 else f"{here:,}"
                    ax.text((start + end) / 2, row, text, ha="center", va="center", fontsize=9)
                ax.barh(row, end - start, left=start, height=0.8, edgecolor=GREY, **look)
                start = end
        ax.set_yticks(range(len(strategies)), list(strategies))
        ax.set_xticks([k + 0.5 for k in range(len(names))], names, rotation=40, ha="left")
        ax.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
        ax.tick_params(length=0, labelsize=9)
        ax.set(xlim=(-0.05, len(names) + 0.05), ylim=(len(strategies) - 0.5, -0.5))
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    counts = {name: str(len(groups)) for name, groups in strategies.items()}
    figure.alt = (
        f"A row of boxes for each way to group {len(names)} tensors, which have {sum(sizes):,} "
        f"numbers in all; tensors in one box belong together. Number of groups. {named(counts)}."
    )
    return figure


#: For each quantity of a report: its name, the ends of its scale, the colours.
QUANTITIES: dict[str, tuple[str, float, float, str]] = {
    "strength": ("change of the tasks' gradients, as a share of their length", 0, 1, "cividis"),
    "frequency": ("share of pairs of tasks that are corrected", 0, 1, "cividis"),
    "cosine": ("cosine of two tasks' gradients", -1, 1, "PuOr"),
}


def interventions(
    values: Tensor, rows: Sequence[str], quantity: str = "strength", window: int = 5
) -> Picture:
    """A heat map, group by step, each row with its mean over all steps beside it.

    Args:
        values: shape (steps, groups).
        rows: the groups' names.
        quantity: what the values are, one of ``QUANTITIES``.
        window: how many steps are averaged into one column.
    """
    title, low, high, colours = QUANTITIES[quantity]
    columns = torch.stack([part.mean(0) for part in values.split(window)], dim=1)
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 1.7 + 0.3 * len(rows)))
        image = ax.imshow(
            columns.numpy(),
            aspect="auto",
            cmap=colours,
            vmin=low,
            vmax=high,
            interpolation="nearest",
            extent=(0, window * columns.shape[1], len(rows) - 0.5, -0.5),
        )
        ax.set(xlabel=f"step (each column: mean of {window})", yticks=[])
        beside = ax.get_yaxis_transform()
        ax.text(1.01, -0.55, "mean", va="bottom", transform=beside)
        longest = max(rows, key=len)
        for row, (name, value) in enumerate(zip(rows, values.mean(0))):
            # plain texts, of which only the longest is measured: an explorer has to be quick
            for x, side, word in ((-0.01, "right", name), (1.01, "left", f"{value:.2f}")):
                text = ax.text(x, row, word, ha=side, va="center", transform=beside)
                text.set_in_layout(word == longest)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
        ax.hlines(
            [k - 0.5 for k in range(1, len(rows))], *ax.get_xlim(), color="white", linewidth=2
        )
        more = (
            "max" if quantity == "strength" else "neither"
        )  # only a strength can exceed its scale
        bar = figure.colorbar(image, location="top", aspect=40, fraction=0.06, extend=more)
        bar.set_label(title, fontsize="medium")
    means = {name: f"{value:.2f}" for name, value in zip(rows, values.mean(0))}
    figure.alt = (
        f"Heat map, group by step, over {len(values)} steps: {title}. Means over the steps. "
        f"{named(means)}."
    )
    return figure


def compare_runs(runs: Mapping[str, Sequence[SceneRun]]) -> Picture:
    """Validation loss by step, and the test loss of each seed; the first name is the baseline."""
    if len(runs) > len(WITH_BASELINE):
        raise ValueError(f"a figure takes at most {len(WITH_BASELINE)} names, got {list(runs)}")
    with plt.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, figsize=(8, 4), width_ratios=(3, 2))
        for row, ((name, of_name), look) in enumerate(zip(runs.items(), WITH_BASELINE)):
            band(
                left,
                of_name[0].steps,
                zip(*(run.validation_loss for run in of_name)),
                label=name,
                **look,
            )
            final = [run.test_loss for run in of_name]
            dots = {"color": look["color"], "marker": look["marker"], "linestyle": "none"}
            right.plot(final, [row] * len(final), markersize=5, alpha=0.8, **dots)
            mean = sum(final) / len(final)
            right.plot([mean] * 2, [row - 0.3, row + 0.3], color=look["color"], linewidth=2.5)
        left.set(xlabel="step", ylabel="validation loss (nats, sum of three tasks)")
        right.set(xlabel="test loss (nats)", ylim=(len(runs) - 0.5, -0.5))
        right.set_yticks(range(len(runs)), list(runs))
        right.tick_params(axis="y", length=0)
        right.grid(visible=False, axis="y")
        figure.legend(
            loc="outside upper center",
            ncols=len(runs),
            fontsize="small",
            handletextpad=0.4,
            columnspacing=1.0,
            title="left, line: mean over the seeds; band: from the worst to the best. "
            "Right, mark: one seed; bar: mean",
            title_fontsize="small",
        )
    finals = {
        name: f"{sum(run.test_loss for run in of_name) / len(of_name):.1f}"
        for name, of_name in runs.items()
    }
    figure.alt = (
        "Left, the validation loss over the steps, lines for the means of several seeds with bands "
        "for their range; right, the test loss of each seed and its mean, the baseline on top. "
        f"Mean test losses in nats. {named(finals)}."
    )
    return figure


def cosine_steps(panels: Mapping[str, Sequence[float]]) -> Picture:
    """The cosine of two tasks' gradients at each step, one panel for each group."""
    with plt.rc_context(STYLE):
        figure, axes = subplots(
            1,
            len(panels),
            figsize=(8, 2.9),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for ax, (name, cosines) in zip(axes[0], panels.items()):
            for color, marker, negative in ((BLUE, "o", False), (ORANGE, "v", True)):
                steps = [k for k, c in enumerate(cosines, start=1) if (c < 0) is negative]
                ax.scatter(steps, [cosines[k - 1] for k in steps], s=9, color=color, marker=marker)
            ax.axhline(0, color=GREY, linewidth=0.8)
            ax.set_title(name, fontsize="medium")
            ax.set(xlabel="step", ylim=(-1.1, 1.1))
        axes[0, 0].set(ylabel="cosine of two tasks")
    ranges = {
        name: f"from {min(cosines):.1f} to {max(cosines):.1f}" for name, cosines in panels.items()
    }
    figure.alt = (
        "The cosine of two tasks' gradients at each step, one panel for each group, dots above "
        f"zero and triangles below. {named(ranges)}."
    )
    return figure
