"""Figures about how old and new gradients combine. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator, NullLocator
from torch import Tensor

from cgtutor.course.how_old_and_new_combine.study import (
    BEALE,
    FLOOR,
    Heights,
    Surface,
    in_words,
    lowest_rate,
)
from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    ORANGE,
    STYLE,
    Picture,
    arrow,
    finding,
    label,
    looks,
    subplots,
)

#: The rules, as their panels are headed.
RULES = {"sum": "g + κ · mean(M)", "mid": "half of that", "mean": "(g + κ · ΣM) / (n + 1)"}


def pair(point: Tensor) -> str:
    """A vector with two digits after the point, and a true minus."""
    return "({:.2f}, {:.2f})".format(*(x + 0.0 for x in point.tolist())).replace("-", "−")


# -------------------------------------------------------------------------- the arrows


def aggregate_arrows(
    gradient: Tensor, slots: Sequence[Tensor], results: Mapping[str, Tensor]
) -> Picture:
    """The gradient, the memory and the aggregate of every rule as arrows in the plane.

    Args:
        gradient: shape (2,).
        slots: the n >= 1 remembered gradients, each of shape (2,).
        results: by rule the aggregate.
    """
    every = torch.stack([gradient, *slots, *results.values(), torch.zeros(2)])
    low, high = every.amin(0), every.amax(0)
    half = 0.6 * (high - low).max().item()
    x, y = ((low + high) / 2).tolist()
    with plt.rc_context(BY_HAND):
        figure, axes = subplots(1, len(results), height=3.9, sharex=True, sharey=True)
        figure.subplots_adjust(left=0.055, right=0.985, bottom=0.14, top=0.72, wspace=0.08)
        for ax, (rule, result) in zip(axes, results.items()):
            ax.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")
            for slot in slots:
                arrow(ax, slot, color="0.65", linewidth=1.2)
            arrow(ax, result, color=ORANGE, linewidth=3.2, mutation_scale=17)
            arrow(ax, gradient, color=BLUE, linewidth=2, linestyle="--", mutation_scale=13)
            ax.set_title(f"{rule}\n{RULES[rule]}", fontsize=11)
            ax.set_xlabel(f"{pair(result)}, length {result.norm():.2f}")
        first = axes[0]
        (gx, gy), (mx, my) = gradient.tolist(), slots[0].tolist()
        ax, ay = next(iter(results.values())).tolist()
        label(first, gx + 0.06, gy - 0.12, "g", BLUE)
        label(first, mx, my + 0.14, "M", "0.45", ha="center")
        label(first, ax + 0.1, ay + 0.17, "aggregate", ORANGE, ha="right")
        finding(figure, "sum and mid share a direction; mean leans toward the memory")
    figure.alt = (
        f"Arrows in the plane, a panel for each rule: the gradient g = {pair(gradient)}, the "
        f"memory's {len(slots)} gradients, whose mean is {pair(torch.stack(list(slots)).mean(0))}, "
        "and the aggregate. "
        + ", ".join(f"{r} gives {pair(a)} of length {a.norm():.2f}" for r, a in results.items())
        + "."
    )
    return figure


# ------------------------------------------------------------------------ the surfaces

_LIGHT = LinearSegmentedColormap.from_list("heights", ["#8fa3b3", "#d5dfe6", "#fbfcfd"])


@cache  # an explorer draws the same ones again and again
def _bands(surface: Surface) -> np.ndarray:
    """The colours of a grid on the window: a band for each third of a decade of heights."""
    x0, x1, y0, y1 = surface.window
    x = torch.linspace(x0, x1, 240, dtype=torch.float64)
    y = torch.linspace(y0, y1, 240, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    heights = surface.height(points).numpy()
    decades = np.log10(np.maximum(heights, 1e-3 * heights.max() ** 0.5))
    bands = np.floor(3 * decades)
    colours = _LIGHT((bands - bands.min()) / (bands.max() - bands.min()))
    return (255 * colours[..., :3]).astype(np.uint8)


def _paths(ax: Axes, surface: Surface, paths: Mapping[str, Tensor]) -> None:
    """Draw paths on a surface, height in grey."""
    ax.imshow(
        _bands(surface),
        extent=surface.window,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    for name, look in _looks(paths):
        ax.plot(*_until_far(paths[name]).T.tolist(), label=name, **look)
    for *point, value in surface.minima:
        star: Any = {"marker": "+", "markersize": 10, "markeredgewidth": 2.5}
        if value == surface.minima[0][2]:
            star = {"marker": "*", "markersize": 15, "markeredgecolor": "white"}
        ax.plot(*point, color="black", linestyle="", zorder=5, **star)
    ax.set(xlim=surface.window[:2], ylim=surface.window[2:])
    ax.grid(visible=False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))


def _looks(paths: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Any]]]:
    """A look for each path: what lies below others is wider, and the last point has the marker."""
    return [
        (name, look | {"linewidth": width, "markersize": 3 + width, "markevery": [-1]})
        for (name, look), width in zip(looks(paths), (4.0, 2.8, 1.9))
    ]


def _ends(surface: Surface, paths: Mapping[str, Tensor]) -> str:
    steps = len(next(iter(paths.values()))) - 1
    ends = [f"{name} {in_words(surface.height(p[-1]).item())}" for name, p in paths.items()]
    return f"After {steps} steps the heights are: {', '.join(ends)}."


def on_a_map(surface: Surface, paths: Mapping[str, Tensor], heading: str) -> Picture:
    """Paths on a surface alone, which is quick to draw.

    Args:
        surface: below the paths.
        paths: by name the points of a run, shape (steps + 1, 2), with the same start.
        heading: the figure's title.
    """
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=4.0)
        figure.subplots_adjust(left=0.015, right=0.985, bottom=0.03, top=0.88)
        finding(figure, heading)
        _paths(ax, surface, paths)
        ax.set(xticks=[], yticks=[])  # a tenth of a second has no room for their labels
        ax.legend(loc="lower left", handlelength=3)
    start = pair(next(iter(paths.values()))[0])
    figure.alt = f"{heading}. Paths on {surface.name} from {start}. {_ends(surface, paths)}"
    return figure


def ways_down(
    surface: Surface, paths: Mapping[str, Tensor], heading: str, upto: int | None = None
) -> Picture:
    """Paths on a surface, and beside it how high they are, step by step.

    Args:
        surface: below the paths.
        paths: by name the points of a run, shape (steps + 1, 2), with the same start.
        heading: the figure's title.
        upto: draw the paths up to this step; the axes are those of the whole.
    """
    steps = len(next(iter(paths.values()))) - 1
    so_far = {name: path[: (steps if upto is None else upto) + 1] for name, path in paths.items()}
    with plt.rc_context(BY_HAND):
        figure, (ax, beside) = subplots(1, 2, height=4.0, width_ratios=[1.25, 1])
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.13, top=0.83, wspace=0.24)
        finding(figure, heading)
        _paths(ax, surface, so_far)
        for name, look in _looks(so_far):
            high = surface.height(so_far[name]).clamp(FLOOR, 1e6).tolist()
            beside.plot(high, label=name, **look)
        beside.set(yscale="log", xlim=(-0.03 * steps, steps), ylim=(0.4 * FLOOR, 1e3))
        beside.set_yticks([1e-6, 1e-4, 1e-2, 1, 100], ["10⁻⁶", "0.0001", "0.01", "1", "100"])
        beside.yaxis.set_minor_locator(NullLocator())
        beside.set_xlabel("step")
        beside.set_title("height", loc="left", fontsize=11)
        beside.legend(loc="lower left", fontsize=11, handlelength=2.6)
    start = pair(next(iter(paths.values()))[0])
    figure.alt = (
        f"{heading}. Paths on {surface.name} from {start}, and their height above the lowest "
        f"minimum. {_ends(surface, so_far)}"
    )
    return figure


def _until_far(path: Tensor) -> Tensor:
    """A path up to the first point that is lost or very far away."""
    far = ~(path.abs().amax(-1) < 100)
    if not far.any():
        return path
    end = int(far.int().argmax()) + 1
    return path[:end].nan_to_num(1e3, 1e3, -1e3).clamp(-1e3, 1e3)


def beale_player(paths: Mapping[str, Tensor], heading: str) -> Player:
    """Paths on Beale's function as they grow: each of the first steps, then ever fewer.

    Args:
        paths: by name the points of a run, shape (steps + 1, 2), with the same start.
        heading: the figure's title.
    """
    steps = len(next(iter(paths.values()))) - 1
    frames = [i for i in (*range(10), *range(10, 40, 6), *range(40, steps + 1, 20)) if i <= steps]
    ends = [{n: in_words(BEALE.height(p[i]).item()) for n, p in paths.items()} for i in frames]
    captions = [
        f"Step {i}. Heights: " + ", ".join(f"{name} {height}" for name, height in end.items()) + "."
        for i, end in zip(frames, ends)
    ]
    alt = f"Moving picture. {ways_down(BEALE, paths, heading).alt}"
    return player(lambda k: ways_down(BEALE, paths, heading, frames[k]), len(frames), captions, alt)


def final_heights(runs: Heights) -> Picture:
    """How far above the minimum the runs end on Beale, each optimizer at its best learning rate.

    Args:
        runs: what :func:`.study.heights_by_rate` found.
    """
    best = {name: lowest_rate(trials) for name, trials in runs.items()}
    middle = {name: median(runs[name][rate]) for name, rate in best.items()}
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=0.9 + 0.42 * len(runs))
        for row, (name, rate) in enumerate(best.items()):
            color, mark = (ORANGE, "s") if "_C" in name else (BLUE, "o")
            ends = [max(end, FLOOR) for end in runs[name][rate]]
            ax.plot(ends, [row] * len(ends), mark, color=color, markersize=8, alpha=0.55)
            ax.plot(
                max(middle[name], FLOOR), row, "|", color="black", markersize=17, markeredgewidth=2
            )
        ax.set(xscale="log", xlim=(0.5 * FLOOR, 0.1), ylim=(len(runs) - 0.5, -0.5))
        ax.set_yticks(range(len(runs)), list(runs))
        ax.set_xticks([1e-6, 1e-4, 1e-2], ["below 0.000001", "0.0001", "0.01"])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("height at the end (lower is better)")
        ax.grid(axis="y", visible=False)
        finding(figure, "On Beale sum helps SGD; Adam is better off without a memory")
    figure.alt = (
        "Heights after 220 steps on Beale from five starts, each optimizer at its own best "
        "learning rate. Medians: "
        + ", ".join(f"{n} {in_words(middle[n])} at rate {best[n]:g}" for n in runs)
        + "."
    )
    return figure
