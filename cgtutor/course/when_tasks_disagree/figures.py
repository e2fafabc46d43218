"""The figures of the notebook *when tasks disagree*."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from matplotlib.lines import Line2D
from torch import Tensor

from cgtutor.course.shared.figures import limits
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREY,
    ORANGE,
    STYLE,
    Picture,
    arrow,
    band,
    looks,
    named,
    series,
    subplots,
)
from cgtutor.course.when_tasks_disagree.study import four_ways

#: One colour and one name for each task.
TASKS = [BLUE, ORANGE, "#009E73"]


NAMES = ["g₁", "g₂", "g₃"]


def smooth(values: Tensor, window: int) -> Tensor:
    """Means of ``window`` neighbours along the second to last dimension."""
    return values.unfold(-2, window, 1).mean(-1)


def layer_cosines(panels: Mapping[str, Tensor], window: int = 10) -> Picture:
    """Cosine of two tasks' gradients in each layer, over a training; one panel for each network.

    Args:
        panels: by the panel's title, cosines of shape (seeds, steps, layers).
        window: so many steps are averaged.
    """
    with plt.rc_context(STYLE):
        figure, axes = subplots(
            1,
            len(panels),
            figsize=(8, 4),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for ax, (title, cosines) in zip(axes[0], panels.items()):
            means = smooth(cosines, window)
            steps = [window / 2 + k for k in range(means.shape[1])]
            ax.axhline(0, color=GREY, linewidth=1)
            for layer, (name, look) in enumerate(
                looks(f"layer {k + 1}" for k in range(means.shape[2]))
            ):
                band(ax, steps, means[:, :, layer].T.tolist(), label=name, **look)
            ax.set(xlabel="step", ylim=(-1.05, 1.05))
            ax.set_title(title, fontsize="medium")
        axes[0, 0].set(ylabel="cosine of the two gradients")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper center",
            ncols=len(labels),
            title=f"means of {window} steps; line: mean over the seeds; "
            "band: from the lowest to the highest of them",
            title_fontsize="small",
        )
    late = {}
    for title, cosines in panels.items():
        of_layers = cosines[:, cosines.shape[1] // 2 :].mean((0, 1)).tolist()
        late[title] = series(f"{mean + 0:.1f}" for mean in of_layers)
    figure.alt = (
        "Cosine of the two tasks' gradients over the steps of a training, a line for each layer "
        "with a band for the range of the seeds, and a panel for each network. Means of the "
        f"second half, layer by layer. {named(late)}."
    )
    return figure


def _angle(vector: Tensor) -> float:
    return math.degrees(math.atan2(vector[1], vector[0]))


def _in_words(vector: Tensor) -> str:
    """Length and direction."""
    length = vector.norm().item()
    if length < 5e-3:
        return "0"
    return f"{length:.2f} at {_angle(vector) + 0:.0f}°".replace("-", "−").replace("−0°", "0°")


def four_aggregates(jacobian: Tensor, target: float) -> Picture:
    """Mean, Sum, PCGrad and GradVac of a few gradients in the plane, side by side.

    Args:
        jacobian: shape (T, 2), T at most 3.
        target: GradVac's φ̂, the same for all pairs.
    """
    results = four_ways(jacobian, target)
    every = torch.cat([torch.cat([result.rows, result.total[None]]) for result in results.values()])
    xlim, ylim = limits(every)
    with plt.rc_context(BY_HAND):
        figure, axes = subplots(1, 4, figsize=(8, 3.7), sharex=True, sharey=True)
        figure.subplots_adjust(left=0.06, right=0.99, bottom=0.29, top=0.8, wspace=0.06)
        for ax, (name, result) in zip(axes, results.items()):
            ax.set(xlim=xlim, ylim=ylim, aspect="equal")
            for color, row in zip(TASKS, jacobian):
                arrow(ax, row, color=color, linewidth=1.3)
            for color, row, new in zip(TASKS, jacobian, result.rows):
                if not torch.allclose(row, new, atol=1e-6):
                    look = {"color": color, "linestyle": (0, (3, 1.5)), "linewidth": 1.8}
                    arrow(ax, new, **look)
            arrow(ax, result.total, color="black", linewidth=2.6, mutation_scale=15)
            title = f"{name}, φ̂ = {target:.2f}" if name == "GradVac" else name
            ax.set_title(title.replace("-", "−"), fontsize="medium")
            lines = [f"result {_in_words(result.total)}"] + [
                g + ("′ " if name in ("PCGrad", "GradVac") else " ") + _in_words(row)
                for g, row in zip(NAMES, result.rows)
            ]
            ax.set_xlabel("\n".join(lines), loc="left", fontsize="small")
            ax.tick_params(labelsize="small")
        looks_of = [Line2D([], [], color=c, linewidth=1.3) for c in TASKS[: len(jacobian)]]
        names = NAMES[: len(jacobian)]
        looks_of += [Line2D([], [], color=GREY, linestyle=(0, (3, 1.5)), linewidth=1.8)]
        looks_of += [Line2D([], [], color="black", linewidth=2.6)]
        figure.legend(
            looks_of,
            [*names, "changed gradient", "result"],
            loc="upper center",
            ncols=len(looks_of),
            title="length and direction stand below each panel",
            title_fontsize="small",
        )
    given = named({g: _in_words(row) for g, row in zip(NAMES, jacobian)})
    totals = named({name: _in_words(result.total) for name, result in results.items()})
    figure.alt = (
        "Arrows in four panels: the gradients, and the result that each aggregator makes of them, "
        f"by length and direction. {given}. {totals} (its target is {target:.2f})."
    ).replace("-0.", "−0.")
    return figure
