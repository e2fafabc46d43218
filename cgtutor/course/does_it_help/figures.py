"""Figures about a lead that goes away. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from cgtutor.course.does_it_help.alone import Array
from cgtutor.course.does_it_help.problems import Part
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREY,
    ORANGE,
    STYLE,
    Picture,
    annotate,
    finding,
    label,
    subplots,
)

#: A lead: its mean and half the width of its interval, in points.
Lead = tuple[float, float]
Leads = Mapping[str, Mapping[str, Mapping[str, Lead]]]


def written(lead: Lead) -> str:
    """A lead as text."""
    mean, half = lead
    return f"{round(mean, 1) + 0.0:+.1f} ± {half:.1f}"


def case(results: Mapping[str, Array]) -> Picture:
    """Two sides, seed by seed.

    Args:
        results: for both sides, by name, a result in percent for each seed.
    """
    (base, a), (memory, b) = results.items()
    lead = float((b - a).mean())
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.0)
        ax.axhspan(49.6, 50.4, color="0.85")
        label(ax, 1.36, 50, "guessing", GREY, ha="right")
        for one, other in zip(a, b):
            ax.plot([0, 1], [one, other], color="0.6", linewidth=1.2)
        ax.plot(np.zeros(len(a)), a, color=BLUE, marker="o", linestyle="none", markersize=8)
        ax.plot(np.ones(len(b)), b, color=ORANGE, marker="s", linestyle="none", markersize=8)
        for x, values, color in ((0, a, BLUE), (1, b, ORANGE)):
            ax.plot([x - 0.07, x + 0.07], [values.mean()] * 2, color=color, linewidth=3)
        label(ax, -0.1, a.mean(), f"{base}: mean {a.mean():.1f} %", BLUE, ha="right")
        label(ax, 1.1, b.mean(), f"{memory}: mean {b.mean():.1f} %", ORANGE)
        ax.set(xlim=(-0.75, 1.75), ylim=(43, 93), xticks=[], ylabel="right on the test part (%)")
        finding(figure, f"With a memory, SGD is right {lead:.1f} points more often")
    pairs = ", ".join(f"{one:.0f} and {other:.0f}" for one, other in zip(a, b))
    ahead = f"; {memory} is ahead with every seed" if (b > a).all() else ""
    figure.alt = (
        f"Percent of the test points that are right, for {len(a)} seeds, {base} and {memory}: "
        f"{pairs}. The means are {a.mean():.1f} and {b.mean():.1f}, a lead of {lead:.1f} points"
        f"{ahead}."
    )
    return figure


def autopsy(steps: Mapping[str, Lead], culprit: str) -> Picture:
    """The lead after each change of the protocol, from top to bottom.

    Args:
        steps: by what was changed, the lead.
        culprit: the step at which the lead goes away.
    """
    names = list(steps)
    at = names.index(culprit)
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.9)
        ax.axvline(0, color=GREY, linewidth=1)
        for row, (mean, half) in enumerate(steps.values()):
            color, marker = (ORANGE, "s") if row < at else (BLUE, "o")
            ax.errorbar(mean, row, xerr=half, color=color, marker=marker, capsize=4, linewidth=2)
            text = written((mean, half))
            label(ax, max(mean + half, 0) + 0.8, row, text, color)
        ax.axhline(at - 0.5, color=GREY, linewidth=1, linestyle=":")
        ax.set_yticks(range(len(names)), names)
        ax.set(xlim=(-4, 32), ylim=(len(names) - 0.5, -0.5))
        ax.set_xlabel("lead of SGD_C (points), with its 95 % interval")
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        annotate(ax, "here the lead dies", (10, at), (21, at))
        finding(figure, "The lead survives every suspect but one: the learning rate")
    figure.alt = (
        "The lead of SGD_C over SGD in points with its 95 % interval, one change of the protocol "
        "after the other: "
        + "; ".join(f"{name} {written(lead)}" for name, lead in steps.items())
        + "."
    )
    return figure


def forest(authors: Leads, fair: Leads) -> Picture:
    """All leads under two protocols: a panel for each model, a row for each pair and study.

    Args:
        authors: by model, optimizer and study the lead under the authors' protocol.
        fair: the same under the fair one.
    """
    looks = ((authors, ORANGE, "s", -0.17), (fair, BLUE, "o", 0.17))
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, len(fair), height=6.4, sharex=True, sharey=True)
        rows = [(base, study) for base, of in next(iter(fair.values())).items() for study in of]
        for ax, model in zip(axes, fair):
            ax.axvline(0, color=GREY, linewidth=1)
            for edge in range(3, len(rows), 3):
                ax.axhline(edge - 0.5, color="0.8", linewidth=1)
            for leads, color, marker, shift in looks:
                for row, (base, study) in enumerate(rows):
                    mean, half = leads[model][base][study]
                    look = {"color": color, "marker": marker, "markersize": 5, "capsize": 2}
                    ax.errorbar(mean, row + shift, xerr=half, linewidth=1.6, **look)
            ax.set_title(model, fontsize=11)
            ax.set_xlabel("lead of the memory (points)")
            ax.grid(visible=False, axis="y")
            ax.tick_params(axis="y", length=0)
        short = {"label noise": "noise", "class imbalance": "imbalance"}
        names = [f"{base}, {short.get(study, 'separation')}" for base, study in rows]
        axes[0].set_yticks(range(len(rows)), names)
        axes[0].set(xlim=(-4, 13.5), ylim=(len(rows) - 0.5, -0.7))
        base, study = rows[0]
        for leads, color, shift, text in (
            (authors, ORANGE, -0.2, "authors' protocol"),
            (fair, BLUE, 0.2, "fair protocol"),
        ):
            mean, half = leads[next(iter(fair))][base][study]
            label(axes[0], mean + half + 0.4, shift, text, color)
        model, (base, study) = list(fair)[-1], rows[2]
        mean, _ = authors[model][base][study]
        annotate(axes[-1], "the case above", (mean, 1.9), (9.2, 4.0))
        every = [lead for by in fair.values() for of in by.values() for lead in of.values()]
        most = max(abs(mean) for mean, _ in every)
        bound = "one point" if most < 1 else f"{most:.1f} points"
        finding(figure, f"Tuned alike, all {len(every)} leads shrink to less than {bound}")
    figure.alt = (
        "Leads of the memory in points with 95 % intervals, authors' protocol, then fair. "
        + " ".join(
            f"{model}: "
            + "; ".join(
                f"{base}, {study} {written(authors[model][base][study])}, then {written(lead)}"
                for base, of in by.items()
                for study, lead in of.items()
            )
            + "."
            for model, by in fair.items()
        )
    )
    return figure


def rates_and_lead(rates: Sequence[float], leads: Sequence[Lead], i: int, j: int) -> Picture:
    """The lead by the rival's learning rate, and where the rival stands.

    Args:
        rates: the learning rates of both sides.
        leads: of SGD_C, for each learning rate of SGD.
        i: the place of SGD's learning rate.
        j: the place of SGD_C's.
    """
    mean, half = leads[i]
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=3.6)
        figure.subplots_adjust(left=0.1, right=0.98, bottom=0.15, top=0.87)
        ax.axhline(0, color=GREY, linewidth=1)
        ax.plot(range(len(rates)), [lead for lead, _ in leads], color="0.65", linewidth=1.5)
        ax.axvline(j, color=ORANGE, linestyle="--", linewidth=1.5)
        ax.text(j + 0.08, -51, "SGD_C", color=ORANGE)
        color = ORANGE if mean > half else BLUE if mean < -half else "black"
        ax.errorbar(i, mean, yerr=half, color=color, marker="D", markersize=9, capsize=6, lw=2.5)
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set(xlim=(-0.5, len(rates) - 0.5), ylim=(-56, 56), xlabel="learning rate of SGD")
        ax.set_ylabel("lead of SGD_C (points)")
        leader = "SGD_C leads" if mean > half else "SGD leads" if mean < -half else "nobody leads"
        finding(figure, f"{leader}: {written((mean, half))} points")
    figure.alt = (
        f"The lead of SGD_C in points by the learning rate of SGD. SGD at {rates[i]:g}, SGD_C at "
        f"{rates[j]:g}: {written((mean, half))}, {leader}."
    )
    return figure


def race(train: Part, grounds: Mapping[str, Array], step: int) -> Picture:
    """What each of three models says of the plane after so many steps.

    Args:
        train: the points.
        grounds: for each model, by name, the class of each point of a square grid from -3 to 3.
        step: how many steps were taken.
    """
    shades = ListedColormap(["#BFDDF0", "#F6D5BF"])
    with plt.rc_context(BY_HAND):
        figure, axes = subplots(1, len(grounds), height=3.3)
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.03, top=0.8, wspace=0.04)
        for ax, (name, ground) in zip(axes, grounds.items()):
            look: dict[str, Any] = {"cmap": shades, "vmin": 0, "vmax": 1, "aspect": "auto"}
            ax.imshow(
                ground, extent=(-3, 3, -3, 3), origin="lower", interpolation="nearest", **look
            )
            for k, color, marker in ((0, BLUE, "o"), (1, ORANGE, "s")):
                here = train.x[train.y == k]
                ax.scatter(*here.T, color=color, marker=marker, s=18, edgecolor="white", lw=0.4)
            ax.set_title(name, fontsize=12)
            ax.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
            ax.grid(visible=False)
        finding(figure, "SGD_C moves like SGD at twice its learning rate")
    figure.alt = f"What models say of the plane after {step} steps: {', '.join(grounds)}."
    return figure
