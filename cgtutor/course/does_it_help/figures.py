"""Figures about classifiers with and without a memory. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)

from cgtutor.course.does_it_help.plane import Boundary
from cgtutor.course.does_it_help.tables import Curve
from cgtutor.course.shared.style import BLUE, GREY, LOOKS, ORANGE, STYLE, Picture, subplots

#: Curves by row, column and name.
Panels = Mapping[str, Mapping[str, Mapping[str, Curve]]]


def _draw(ax: Axes, curve: Curve, **look: Any) -> None:
    edge = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 0.6}
    ax.fill_between(curve.x, curve.low, curve.high, facecolor=look["color"], alpha=0.2)
    ax.plot(curve.x, curve.low, curve.x, curve.high, **edge)
    ax.plot(curve.x, curve.mean, markersize=3.5, linewidth=1.5, **look)


def _grid(panels: Panels, height: float, title: str) -> tuple[Picture, Any]:
    """A panel for each row and column; a legend of the names, which are the same in all."""
    columns = next(iter(panels.values()))
    figure, axes = subplots(
        len(panels),
        len(columns),
        figsize=(9, 0.9 + height * len(panels)),
        sharey="row",
        squeeze=False,
    )
    for ax, column in zip(axes[0], columns):
        ax.set_title(column, fontsize="medium")
    for row, of_row in zip(axes, panels.values()):
        for ax, curves in zip(row, of_row.values()):
            for (name, curve), look in zip(curves.items(), LOOKS):
                _draw(ax, curve, label=name, **look)
            ax.tick_params(labelsize="small")
    names = next(iter(columns.values()))
    handles, _ = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        list(names),
        loc="outside upper center",
        ncols=len(names),
        title=title,
        title_fontsize="small",
        fontsize="small",
    )
    return figure, axes


def study_panels(
    panels: Panels, measure: str, band: str, trivial: Mapping[str, Sequence[float]]
) -> Picture:
    """Small multiples: a row for each study, a column for each optimizer, level against result.

    Args:
        panels: curves by study, optimizer and name; the first name is what the others are
            compared with. Results are shares.
        measure: what the results are.
        band: what lines and bands are.
        trivial: for each study and level, what always naming the larger class would give.
    """
    with plt.rc_context(STYLE):
        figure, axes = _grid(
            panels, 1.75, f"line: mean; band: {band}. Dotted: always the larger class"
        )
        for row, (study, of_row) in zip(axes, panels.items()):
            for ax, curves in zip(row, of_row.values()):
                levels = next(iter(curves.values())).x
                ax.plot(levels, trivial[study], color=GREY, linestyle=":", linewidth=1.2)
                ax.set_xlabel(study, fontsize="small")
                ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            row[0].set_ylabel(measure, fontsize="small")
    rows = []
    for study, of_row in panels.items():
        words = []
        for column, curves in of_row.items():
            base, memory = list(curves.values())[:2]
            words.append(f"{column} {round(100 * np.mean(memory.mean - base.mean)):+d}")
        rows.append(f"{study}: {', '.join(words)}")
    figure.alt = (
        f"{measure} by {', '.join(panels)} (rows) for {', '.join(next(iter(panels.values())))} "
        f"(columns). Lead of the curve with memory over the one without, in percentage points, "
        f"mean over the levels: {'; '.join(rows)}."
    )
    return figure


def leads(results: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> Picture:
    """Leads with their confidence intervals: a panel for each model, a row for each optimizer.

    Args:
        results: by model, optimizer and study the mean difference and half its interval's
            width, in percentage points.
    """
    with plt.rc_context(STYLE):
        figure: Any
        # one scale for all models: a lead of ten points must not look like one of one point
        figure, axes = subplots(
            1, len(results), figsize=(8, 3.6), sharex=True, sharey=True, squeeze=False
        )
        for ax, (model, by_optimizer) in zip(axes[0], results.items()):
            ax.axvline(0, color=GREY, linewidth=1)
            studies = list(next(iter(by_optimizer.values())))
            for k, (study, look) in enumerate(zip(studies, LOOKS)):
                found = [cells[study] for cells in by_optimizer.values()]
                ax.errorbar(
                    [mean for mean, _ in found],
                    [row + 0.22 * (k - (len(studies) - 1) / 2) for row in range(len(found))],
                    xerr=[half for _, half in found],
                    label=study,
                    color=look["color"],
                    marker=look["marker"],
                    linestyle="none",
                    markersize=5,
                    capsize=3,
                )
            ax.set_title(model, fontsize="medium")
            ax.set(xlabel="lead of the memory (percentage points)")
            ax.xaxis.set_major_locator(MaxNLocator(6))
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
        axes[0, 0].set_yticks(range(len(by_optimizer)), list(by_optimizer))
        axes[0, 0].set(ylim=(len(by_optimizer) - 0.5, -0.5))
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles,
            names,
            loc="outside upper center",
            ncols=len(names),
            title="mark: mean over the data sets; bar: its 95 % confidence interval",
            title_fontsize="small",
        )
    every = [c for by in results.values() for cells in by.values() for c in cells.values()]
    above = sum(mean > half for mean, half in every)
    below = sum(mean < -half for mean, half in every)
    figure.alt = (
        f"{len(every)} leads of the memory with 95 % confidence intervals, for "
        f"{' and '.join(results)}. {above} intervals lie above zero, {below} below, and "
        f"{len(every) - above - below} reach across it. The means go from "
        f"{min(mean for mean, _ in every):.1f} to {max(mean for mean, _ in every):.1f} "
        "percentage points."
    )
    return figure


def _below(curve: Curve, highest: float) -> Curve:
    """The curve without a band where its mean is higher than that, or no number."""
    wild = ~(curve.mean <= highest)
    low, high = (np.where(wild, np.nan, edge) for edge in (curve.low, curve.high))
    return Curve(curve.x, np.where(wild, 10 * highest, curve.mean), low, high)


def rate_panels(panels: Panels, highest: float = 0.8) -> Picture:
    """Small multiples: a row for each model, a column for each optimizer, loss by learning rate.

    Args:
        panels: curves of the validation loss by model, optimizer and name.
        highest: where the scale of the loss ends.
    """
    with plt.rc_context(STYLE):
        drawn = {
            model: {
                column: {name: _below(curve, 2 * highest) for name, curve in curves.items()}
                for column, curves in of_row.items()
            }
            for model, of_row in panels.items()
        }
        figure, axes = _grid(
            drawn, 2.2, "line: mean over the data sets; band: its 95 % confidence interval"
        )
        for row, model in zip(axes, panels):
            for ax in row:
                ax.set(xscale="log", ylim=(0, highest))
                ax.xaxis.set_major_locator(LogLocator(base=100))
                ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                ax.xaxis.set_minor_locator(NullLocator())
                ax.set_xlabel("learning rate", fontsize="small")
            row[0].set_ylabel(f"{model}\nvalidation loss (nats)", fontsize="small")
    words = []
    for model, of_row in panels.items():
        for column, curves in of_row.items():
            best = [curve.x[int(np.nanargmin(curve.mean))] for curve in curves.values()]
            words.append(f"{model}, {column}: " + " and ".join(f"{rate:g}" for rate in best))
    names = " and ".join(next(iter(next(iter(panels.values())).values())))
    figure.alt = (
        "Validation loss by learning rate; each curve falls and then rises. The "
        f"lowest points of {names} are at the learning rates " + "; ".join(words) + "."
    )
    return figure


def boundaries(results: Mapping[str, Boundary]) -> Picture:
    """Where classifiers draw the line between two classes of points: a panel for each optimizer.

    The shade of the ground is what most of the models say; each line is one model's boundary.
    """
    shades = ListedColormap(["#BFDDF0", "#F6D5BF"])
    words = []
    # A fixed layout: to compute one takes long for a figure that follows a slider.
    with plt.rc_context(STYLE | {"figure.constrained_layout.use": False}):
        figure: Any
        figure, axes = subplots(1, len(results), figsize=(8, 4.1), sharey=True, squeeze=False)
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.12, top=0.86, wspace=0.05)
        for ax, (name, result) in zip(axes[0], results.items()):
            ticks, count = result.ticks, len(result.scores)
            ends = (ticks[0], ticks[-1])
            votes = (result.scores > 0).sum(0) * 2 > count
            ax.imshow(
                votes,
                extent=(*ends, *ends),
                origin="lower",
                cmap=shades,
                vmin=0,
                vmax=1,
                aspect="auto",
                interpolation="nearest",
            )
            # as ax.contour would, but with one artist for all models, which is quicker
            lines: list[Any] = [
                line
                for scored in result.scores
                for line in contour_generator(ticks, ticks, scored).lines(0)
            ]
            ax.add_collection(LineCollection(lines, colors="0.25", linewidths=0.8), autolim=False)
            for k, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
                here = result.train.x[result.train.y == k]
                look: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.5, "s": 24}
                ax.scatter(here[:, 0], here[:, 1], color=color, marker=marker, **look)
            low, mean, high = (100 * f(result.accuracy) for f in (np.min, np.mean, np.max))
            ax.set_title(
                f"{name}\n{mean:.0f} % right on test points ({low:.0f} to {high:.0f})",
                fontsize="medium",
            )
            ax.set(
                xlim=ends, ylim=ends, xlabel="first feature", xticks=[-2, 0, 2], yticks=[-2, 0, 2]
            )
            ax.grid(visible=False)
            words.append(f"{name}: {mean:.0f} %")
        axes[0, 0].set(ylabel="second feature")
    figure.alt = (
        "Points of two classes in the plane, and the lines that "
        f"{len(next(iter(results.values())).scores)} trained models draw between them, for each "
        f"optimizer. Right answers on test points, mean over the models: {', '.join(words)}."
    )
    return figure
