"""The figures of the notebook *what the vaccine changes*."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor

from cgtutor.aggregation import HIGHEST_TARGET
from cgtutor.course.shared.figures import limits
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREY,
    ORANGE,
    STYLE,
    Picture,
    arrow,
    looks,
    named,
    subplots,
)
from cgtutor.course.shared.tasks import vaccinated
from cgtutor.course.what_the_vaccine_changes.study import Trace

#: One for each target of a rotation.
DASHES: list[Any] = [(0, (4, 1.5)), "-.", ":"]


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
        xlim, ylim = limits(tips, shape=1.0 if curve else 2.5)
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
