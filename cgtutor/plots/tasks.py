"""Figures about the gradients of several tasks. Each function draws one and returns it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor

from cgtutor.aggregation.vaccine import HIGHEST_TARGET
from cgtutor.plots.style import (
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
from cgtutor.surgery import Trace, four_ways, vaccinated

#: One for each target of a rotation.
DASHES: list[Any] = [(0, (4, 1.5)), "-.", ":"]
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


def _window(points: Tensor, shape: float = 1.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Limits, ``shape`` times as wide as high, with room for these points and the origin."""
    low, high = points.amin(0).clamp(max=0), points.amax(0).clamp(min=0)
    wide, high_enough = (high - low).tolist()
    half = 0.58 * max(wide / shape, high_enough, 1.0)
    x, y = ((low + high) / 2).tolist()
    return (x - half * shape, x + half * shape), (y - half, y + half)


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
    xlim, ylim = _window(every)
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


def rotation(
    jacobian: Tensor, targets: Sequence[float], beta: float | None = None, curve: bool = False
) -> Picture:
    """The first of two gradients in the plane, turned towards the second until φ̂ is their cosine.

    Args:
        jacobian: shape (2, 2); the second gradient should lie along the first axis.
        targets: at most three values of φ̂, each drawn.
        beta: if given, the title also says where the target goes after this step.
        curve: add a panel with the length of the changed gradient for every target.
    """
    first, second = jacobian
    phi = (first @ second / (first.norm() * second.norm())).item()
    turned = {phi_hat: vaccinated(jacobian, phi_hat)[0] for phi_hat in targets}
    with plt.rc_context(BY_HAND):
        figure, axes = subplots(1, 2 if curve else 1, figsize=(8, 4.4), squeeze=False)
        figure.subplots_adjust(left=0.08, right=0.98, bottom=0.12, top=0.79 if curve else 0.77)
        ax = axes[0, 0]
        tips = torch.stack([first, second, *turned.values()])
        xlim, ylim = _window(tips, shape=1.0 if curve else 2.5)
        ax.set(xlim=xlim, ylim=ylim, aspect="equal")
        height = ax.axhline(first[1].item(), color=GREY, linewidth=1, linestyle=":")
        height.set_label("the height, which stays")
        arrow(ax, second, color=ORANGE, linewidth=2.2)
        arrow(ax, first, color=BLUE, linewidth=2.2)
        handles = [
            Line2D([], [], color=BLUE, label=f"gᵢ: cosine {phi:.2f}, length {first.norm():.2f}"),
            Line2D([], [], color=ORANGE, label=f"gⱼ: length {second.norm():.2f}"),
        ]
        for (phi_hat, new), dash in zip(turned.items(), DASHES):
            arrow(ax, new, color=BLUE, linestyle=dash, linewidth=1.8)
            ax.plot(
                [first[0], new[0]], [first[1], new[1]], color=ORANGE, linewidth=1.2, linestyle="--"
            )
            weight = ((new - first)[0] / second[0]).item()
            label = f"gᵢ′ for φ̂ = {phi_hat:.2f}: length {new.norm():.2f}, weight {weight:.2f}"
            handles.append(Line2D([], [], color=BLUE, linestyle=dash, label=label))
        handles.append(height)
        ax.set(xlabel="first parameter", ylabel="second parameter")
        if curve:
            _growth_curve(axes[0, 1], jacobian, targets[0])
        title = None
        if beta is not None:
            after = (1 - beta) * targets[0] + beta * phi
            title = f"target after this step, with β = {beta:.2f}: {after:.2f}"
        for handle in handles:
            handle.set_label(str(handle.get_label()).replace("-", "−"))
        figure.legend(
            handles=handles,
            loc="upper center",
            ncols=2,
            title=title and title.replace("-", "−"),
            fontsize="small" if curve else "medium",
        )
    figure.alt = (
        "The gradient gᵢ slides parallel to gⱼ, its height staying the same, until their cosine "
        f"is the target. {'; '.join(str(handle.get_label()) for handle in handles[:-1])}."
        + (f" The {figure.legends[0].get_title().get_text()}." if title else "")
        + (" Beside it, how long gᵢ′ becomes for every target." if curve else "")
    )
    return figure


def _growth_curve(ax: Axes, jacobian: Tensor, target: float) -> None:
    """How many times as long the first gradient becomes, by target."""
    grid = [k / 20 - 0.95 for k in range(39)] + [0.97, 0.98, 0.99]

    def growth(phi_hat: float) -> float:
        return (vaccinated(jacobian, phi_hat)[0].norm() / jacobian[0].norm()).item()

    ax.plot(grid, [growth(phi_hat) for phi_hat in grid], color=BLUE)
    ax.plot([target], [growth(target)], marker="o", markersize=8, color=ORANGE)
    ax.set(xlabel="target φ̂", ylabel="length of gᵢ′ / length of gᵢ", yscale="log")
    ax.set(xlim=(-1, 1), ylim=(0.05, 20))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def targets(cosines: Sequence[float], traces: Mapping[str, Trace]) -> Picture:
    """The cosine of each step, and the targets that follow it.

    Args:
        cosines: what was seen at each step.
        traces: by name, at most three.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 3.8))
        steps = range(len(cosines))
        ax.plot(
            steps, cosines, linestyle="", marker=".", color=GREY, alpha=0.6, label="cosine φ seen"
        )
        for name, look in looks(traces):
            found = traces[name].targets
            ax.plot(
                steps,
                found,
                label=name,
                color=look["color"],
                linestyle=look["linestyle"],
                linewidth=1.8,
            )
        ax.axhline(0, color=GREY, linewidth=1)
        ax.set(xlabel="step", ylabel="cosine", ylim=(-1.05, 1.05))
        figure.legend(loc="outside upper center", ncols=len(traces) + 1)
    ends = {name: f"{trace.targets[-1]:.2f}" for name, trace in traces.items()}
    figure.alt = (
        f"The cosine seen at each of {len(cosines)} steps, as dots, and the targets that follow "
        f"it, as lines. After the last step. {named(ends)}."
    )
    return figure


def growth(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Picture:
    """How many times as long a gradient becomes when its target nears 1.

    Args:
        curves: by name, the values of 1 - φ̂ and the factors.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(7, 3.8))
        for name, look in looks(curves):
            distance, factors = curves[name]
            ax.plot(distance, factors, label=name, markersize=4, markevery=4, **look)
        ax.axvline(1 - HIGHEST_TARGET, color=GREY, linewidth=1, label="the guard's highest target")
        ax.set(xlabel="1 − φ̂, how far the target is from 1")
        ax.set(ylabel="length of gᵢ′ / length of gᵢ", xscale="log", yscale="log")
        ax.invert_xaxis()
        figure.legend(loc="outside upper center", ncols=2)
    longest = {name: f"{max(factors):.0e}" for name, (_, factors) in curves.items()}
    figure.alt = (
        "How many times as long gᵢ becomes, over the distance of the target from 1, on "
        f"logarithmic scales. The largest factors. {named(longest)}."
    )
    return figure
