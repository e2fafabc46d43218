"""Figures about how old and new gradients combine. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from torch import Tensor

from cgtutor.course.how_old_and_new_combine.descent import FLOOR, Heights, in_words, lowest_rate
from cgtutor.course.how_old_and_new_combine.surfaces import SURFACES, Function, Surface
from cgtutor.course.shared.style import BLUE, BY_HAND, GREY, ORANGE, Picture, arrow, looks, subplots
from cgtutor.memory import CriticalGradients

#: Of curves, in turn: where two coincide, the one below is seen on both sides.
WIDTHS = [3.0, 2.2, 1.6, 1.1]


RULES = {
    "sum": "sum: g + κ · mean(M)",
    "mid": "mid: half of that",
    "mean": "mean: (g + κ · ΣM) / (n + 1)",
}


def _memory(slots: Sequence[Tensor]) -> CriticalGradients:
    memory = CriticalGradients(max(len(slots), 1), 0.7)
    for slot in slots:
        memory.insert(1.0, slot)
    return memory


def _pair(point: Tensor) -> str:
    """A vector with two digits after the point, and a true minus."""
    return "({:.2f}, {:.2f})".format(*(x + 0.0 for x in point.tolist())).replace("-", "−")


def aggregate_arrows(gradient: Tensor, slots: Sequence[Tensor], kappa: float = 1.0) -> Picture:
    """The gradient, the memory and the aggregate of every rule as arrows in the plane.

    A fourth panel shows an empty memory. The thin line leads from what is left of the gradient
    to the aggregate: it is the memory's share.

    Args:
        gradient: shape (2,).
        slots: the n >= 1 remembered gradients, each of shape (2,).
        kappa: weight of the memory.
    """
    mean = torch.stack(list(slots)).mean(0)
    results = {rule: _memory(slots).aggregate(gradient, rule, kappa) for rule in RULES}
    own = {"sum": 1.0, "mid": 0.5, "mean": 1 / (len(slots) + 1)}
    every = torch.stack([gradient, *slots, *results.values(), torch.zeros(2)])
    low, high = every.amin(0), every.amax(0)
    half = 0.58 * (high - low).max().item()
    x, y = ((low + high) / 2).tolist()
    with plt.rc_context(BY_HAND):
        figure, axes = subplots(1, 4, figsize=(8, 3.5), sharex=True, sharey=True)
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.25, top=0.75, wspace=0.06)
        for ax, (rule, title) in zip(axes, {**RULES, "empty": "no memory: g"}.items()):
            ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
            if rule == "empty":
                arrow(ax, gradient, color="black", linewidth=2.8, mutation_scale=15)
                arrow(ax, gradient, color=BLUE, linewidth=1.5, mutation_scale=10)
                result = gradient
            else:
                for slot in slots:
                    arrow(ax, slot, color="0.6", linewidth=1, mutation_scale=10)
                result = results[rule]
                kept = own[rule] * gradient if kappa else gradient
                ax.plot(*zip(kept.tolist(), result.tolist()), color=GREY, linewidth=1)
                ax.plot(*kept.tolist(), marker="o", markersize=4, color=BLUE)
                arrow(
                    ax,
                    mean,
                    color=ORANGE,
                    linestyle=(0, (4, 1.5)),
                    linewidth=1.8,
                    mutation_scale=10,
                )
                arrow(ax, result, color="black", linewidth=2.8, mutation_scale=15)
                arrow(ax, gradient, color=BLUE, linewidth=1.8, mutation_scale=10)
            name, _, formula = title.partition(": ")
            ax.set_title(f"{name}\n{formula}", fontsize="small")
            length = f"{result.norm():.2f}"
            told = f"first parameter\n{_pair(result)}\nlength {length}"
            ax.set_xlabel(told, fontsize="small")
            ax.tick_params(labelsize="small")
        axes[0].set_ylabel("second parameter", fontsize="small")
        handles = [
            Line2D([], [], color=BLUE, linewidth=1.8, marker="o", markersize=4),
            Line2D([], [], color="0.6", linewidth=1),
            Line2D([], [], color=ORANGE, linestyle=(0, (4, 1.5)), linewidth=1.8),
            Line2D([], [], color="black", linewidth=2.8),
        ]
        figure.legend(
            handles,
            ["g (dot: what the rule leaves of it)", "slots of M", "mean(M)", "aggregate"],
            loc="upper center",
            ncols=4,
            fontsize="small",
            columnspacing=1.2,
            handletextpad=0.5,
            title=f"κ = {kappa:.2f}, n = {len(slots)}; below each panel: the aggregate",
            title_fontsize="small",
        )
    figure.alt = (
        f"Arrows in the plane in four panels: the gradient g = {_pair(gradient)}, the memory's "
        f"{len(slots)} gradients with mean {_pair(mean)}, and their aggregate with κ = "
        f"{kappa:.2f}. "
        + ", ".join(
            f"{rule} gives {_pair(result)} of length {result.norm():.2f}"
            for rule, result in results.items()
        )
        + "; with an empty memory it is g itself."
    )
    return figure


@cache  # an explorer draws the same ones again and again
def _heights(function: Function, window: tuple[float, ...], lowest: float) -> tuple[Any, ...]:
    """A grid on the window, the heights there, and levels for contour lines: three a decade."""
    x = torch.linspace(window[0], window[1], 90, dtype=torch.float64)
    y = torch.linspace(window[2], window[3], 90, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    heights = (function(points) - lowest).numpy()
    top = float(heights.max())
    return x.numpy(), y.numpy(), heights, np.geomspace(1e-6 * top, top, 19)


def trajectories(
    panels: Mapping[str, Mapping[str, Tensor]],
    title: str = "",
    notes: Mapping[str, str] | None = None,
) -> Picture:
    """Paths on contour lines of surfaces, and how far above the lowest minimum they are.

    For each surface a map and, with several surfaces below it and with one beside it, the heights
    step by step. Markers stand on the map and on the curves after every tenth of the steps. With
    one surface the legend has the heights at the end.

    Args:
        panels: by the name of the surface (one of ``SURFACES``), by the name of the curve, the
            points of a run, shape (steps + 1, 2), the same start for all curves of a surface.
        title: stands above the legend.
        notes: by the name of the surface, a line to stand below it.
    """
    count = len(panels)
    steps = len(next(iter(next(iter(panels.values())).values()))) - 1
    ends = {
        name: [f"{c} ({in_words(SURFACES[name].height(p[-1]).item())})" for c, p in paths.items()]
        for name, paths in panels.items()
    }
    with plt.rc_context(BY_HAND):
        if count == 1:
            figure, axes = subplots(1, 2, figsize=(8, 3.9))
            figure.subplots_adjust(left=0.09, right=0.985, bottom=0.13, top=0.75, wspace=0.27)
            grid = [tuple(axes)]
        else:
            figure, axes = subplots(2, count, figsize=(8, 6))
            figure.subplots_adjust(
                left=0.1,
                right=0.985,
                bottom=0.085,
                top=0.81 if notes else 0.83,
                wspace=0.2,
                hspace=0.28,
            )
            grid = list(zip(*axes))
        limits = _limits(panels)
        for k, ((name, paths), (above, below)) in enumerate(zip(panels.items(), grid)):
            _map(above, SURFACES[name], paths)
            note = (notes or {}).get(name)
            above.set_title(f"{name}\n{note}" if note else name, fontsize="medium", y=1.0)
            _descent(below, SURFACES[name], paths, limits, labels=k == 0)
        grid[0][0].set_ylabel("second parameter", fontsize="small")
        grid[0][1].set_ylabel("height above lowest minimum", fontsize="small")
        names = list(next(iter(panels.values())))
        handles = [Line2D([], [], markersize=5, **look) for _, look in looks(names)]
        shown = "★ lowest minimum   + other minimum   ● start"
        if count == 1:
            names = ends[next(iter(panels))]
            shown += f"   (height after {steps} steps)"
        legend = figure.legend(
            handles,
            names,
            loc="upper center",
            ncols=4,
            fontsize="small",
            columnspacing=1.2,
            title=f"{title}\n{shown}",
            title_fontsize="small",
        )
        legend.get_title().set_multialignment("center")
    told = []
    for name, paths in panels.items():
        start = _pair(next(iter(paths.values()))[0])
        told.append(f"{name} from {start}: " + ", ".join(ends[name]))
    figure.alt = (
        f"Paths on contour lines, and height above the lowest minimum by step. Heights after "
        f"{steps} steps, " + "; ".join(told) + "."
    )
    return figure


def _map(ax: Axes, surface: Surface, paths: Mapping[str, Tensor]) -> None:
    window = surface.window
    x, y, heights, levels = _heights(surface.function, window, surface.lowest)
    greys = [str(shade) for shade in np.linspace(0.5, 0.85, len(levels))]
    ax.contour(x, y, heights, levels=levels, colors=greys, linewidths=0.7)
    for (name, look), width in zip(looks(paths), WIDTHS):
        path = paths[name]
        marks: Any = {"markersize": 2.5 + width, "markevery": max(1, (len(path) - 1) // 10)}
        ax.plot(*_until_far(path).T.tolist(), linewidth=width, **marks, **look)
    ax.plot(*next(iter(paths.values()))[0].tolist(), "o", color="black", markersize=7)
    for *point, value in surface.minima:
        look = {"marker": "+", "markersize": 9, "markeredgewidth": 2}
        if value == surface.lowest:
            look = {"marker": "*", "markersize": 14, "markeredgecolor": "white"}
        ax.plot(*point, color="black", linestyle="", zorder=5, **look)
    ax.set(xlim=window[:2], ylim=window[2:])
    ax.set_xlabel("first parameter", fontsize="small")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize="small")
    ax.grid(visible=False)


def _until_far(path: Tensor) -> Tensor:
    """A path up to the first point that is lost or very far away."""
    far = ~(path.abs().amax(-1) < 100)
    if not far.any():
        return path
    end = int(far.int().argmax()) + 1
    return path[:end].nan_to_num(1e3, 1e3, -1e3).clamp(-1e3, 1e3)


def _limits(panels: Mapping[str, Mapping[str, Tensor]]) -> tuple[float, float]:
    """For all height curves: room for the lowest point, and a factor of 30 above the starts."""
    lowest, highest = 1.0, 0.0
    for name, paths in panels.items():
        for path in paths.values():
            heights = SURFACES[name].height(path)
            lowest = min(lowest, heights.min().item())
            highest = max(highest, heights[0].item())
    return 0.5 * max(lowest, FLOOR), 30 * highest


def _descent(
    ax: Axes,
    surface: Surface,
    paths: Mapping[str, Tensor],
    limits: tuple[float, float],
    labels: bool,
) -> None:
    for (name, look), width in zip(looks(paths), WIDTHS):
        heights = surface.height(paths[name]).clamp(min=FLOOR).tolist()
        marks: Any = {"markersize": 2.5 + width, "markevery": max(1, (len(heights) - 1) // 10)}
        ax.plot(range(len(heights)), heights, linewidth=width, **marks, **look)
    ax.set(yscale="log", ylim=limits)
    ax.set_xlabel("step", fontsize="small")
    decades = 2 if limits[1] > 1e6 * limits[0] else 1
    ax.set_yticks([10.0**k for k in range(-6, 6, decades) if limits[0] < 10.0**k < limits[1]])
    ax.yaxis.set_major_formatter(FuncFormatter(_decimal) if labels else NullFormatter())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize="small")


def _decimal(value: float, _: object = None) -> str:
    return "< 10⁻⁶" if value <= FLOOR else f"{value:.5f}".rstrip("0").rstrip(".")


def final_heights(families: Mapping[str, Heights]) -> Picture:
    """How far above the lowest minimum runs end, by learning rate.

    A row of panels for each family of optimizers, a column for each surface. Lines join medians
    over the starts, thin bars reach from the lowest to the highest. What is lost stands at the
    upper edge, what is below ``FLOOR`` at the lower one.

    Args:
        families: by title, what :func:`.surfaces.sweep` found.
    """
    rows, columns = len(families), len(next(iter(families.values())))
    top = 1e5
    with plt.rc_context(BY_HAND):
        high = 0.4 + 2.9 * rows
        figure, axes = subplots(rows, columns, figsize=(8, high), sharey=True, squeeze=False)
        figure.subplots_adjust(
            left=0.1, right=0.985, bottom=0.5 / high, top=1 - 0.9 / high, wspace=0.1, hspace=0.55
        )
        for row, (family, trials) in zip(axes, families.items()):
            for ax, (name, runs) in zip(row, trials.items()):
                _by_rate(ax, runs, top)
                ax.set_title(name, fontsize="medium")
            row[0].set_ylabel("final height", fontsize="small")
            handles, names = row[0].get_legend_handles_labels()
            row[len(row) // 2].legend(
                handles,
                names,
                loc="lower center",
                bbox_to_anchor=(0.5, 1.1),
                ncols=len(names),
                fontsize="small",
                title=family,
                title_fontsize="medium",
            )
        for ax in axes[-1]:
            ax.set_xlabel("learning rate", fontsize="small")
    told = []
    for trials in families.values():
        for name, runs in trials.items():
            best = [f"{o} ({in_words(median(r[lowest_rate(r)]))})" for o, r in runs.items()]
            told.append(f"{name}: " + ", ".join(best))
    figure.alt = (
        "Height above the lowest minimum at the end of runs, by learning rate: curves fall to a "
        "best learning rate and then rise until runs are lost. Medians at the best one. "
        + "; ".join(told)
        + "."
    )
    return figure


def _by_rate(ax: Axes, runs: Mapping[str, Mapping[float, Sequence[float]]], top: float) -> None:
    for k, (optimizer, look) in enumerate(looks(runs)):
        rates = [rate * 1.07 ** (k - 1.5) for rate in runs[optimizer]]  # side by side
        ends = [[min(max(h, FLOOR), top) for h in heights] for heights in runs[optimizer].values()]
        lowest, highest = list(map(min, ends)), list(map(max, ends))
        ax.plot(rates, list(map(median, ends)), markersize=4.5, label=optimizer, **look)
        ax.vlines(rates, lowest, highest, color=look["color"], linewidth=1, alpha=0.7)
    ax.set(xscale="log", yscale="log", ylim=(0.4 * FLOOR, 2.5 * top))
    ax.set_yticks([10.0**k for k in range(-6, 4, 2)] + [top])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: "lost" if v >= top else _decimal(v)))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.tick_params(labelsize="small")
