"""Figures about when a memory helps. Each function draws one and returns it."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator, StrMethodFormatter

from cgtutor.course.how_to_choose.study import GRID, Array, errors, rms, worst
from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREEN,
    GREY,
    LOOKS,
    ORANGE,
    STYLE,
    WIDTH,
    Picture,
    annotate,
    finding,
    label,
    named,
    series,
    subplots,
)


def two_fits(sgd: Array, memory: Array, steps: Sequence[int]) -> Player:
    """How the error of two fits shrinks in the course of a training.

    Args:
        sgd: coefficients of SGD after each of ``steps``.
        memory: those of SGD_C.
        steps: how far the training is.
    """
    both = {"SGD": (sgd, ORANGE, "--"), "SGD_C": (memory, BLUE, "-")}

    def draw(i: int) -> Picture:
        with plt.rc_context(BY_HAND):
            figure, ax = subplots(height=3.6)
            figure.subplots_adjust(0.11, 0.16, 0.8, 0.88)
            for name, (w, color, style) in both.items():
                high = float(worst(w[i]))
                ax.plot(GRID, errors(w[i]), color=color, linestyle=style, linewidth=2)
                for edge in (high, -high):
                    ax.axhline(edge, color=color, linestyle=":", linewidth=1.5)
                place = 0.25 if name == "SGD" else -0.25  # side by side, they would overlap
                label(ax, 3.3, place, f"{name}\nworst\n{high:.3f}", color, clip_on=False)
            ax.set(xlim=(-math.pi, math.pi), ylim=(-0.38, 0.38), xlabel="x", ylabel="error at x")
            ax.set_xticks([-math.pi, 0, math.pi], ["−π", "0", "π"])
            ax.set_title(f"after {steps[i]} points", loc="left", fontsize=13, fontweight="bold")
            figure.alt = f"Errors of two fits after {steps[i]} points."
        return figure

    ends = [f"{float(worst(w[-1])):.3f}" for w in (sgd, memory)]
    captions = [
        f"After {step} points the worst error is {worst(one):.3f} with SGD and {worst(two):.3f} "
        f"with SGD_C; root mean square {rms(one):.3f} and {rms(two):.3f}."
        for step, one, two in zip(steps, sgd, memory)
    ]
    alt = (
        "The error of two fits over x from −π to π, as the training goes on. Both shrink. In the "
        f"end SGD's error peaks at {ends[0]}, in the kink of |x|, and SGD_C's lower and more even "
        f"waves at {ends[1]}."
    )
    return player(draw, len(steps), captions, alt, milliseconds=250)


def ends(
    found: Mapping[str, Mapping[str, Sequence[float]]], correct: Mapping[str, float]
) -> Picture:
    """Where one weight ends up, for each optimizer and learning rate.

    Args:
        found: by problem and optimizer, the weight's place for each rate.
        correct: by problem, the correct end, −1 or 1.
    """
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, len(found), height=3.5, sharey=True)
        said = []
        for ax, (problem, places) in zip(axes, found.items()):
            names = list(places)[::-1]
            good = correct[problem]
            ax.axvspan(min(0, 1.25 * good), max(0, 1.25 * good), color=GREEN, alpha=0.13, zorder=0)
            for y, name in enumerate(names):
                wrong = [place * good < 0 for place in places[name]]
                for k, (place, bad) in enumerate(zip(places[name], wrong)):
                    ax.plot(
                        place,
                        y + 0.18 * (k - 1),
                        "X" if bad else "o",
                        color=ORANGE if bad else BLUE,
                        markersize=8,
                        clip_on=False,
                    )
                said.append(f"{problem}, {name}: {', '.join(f'{p:+.2f}' for p in places[name])}")
            ax.set_yticks(range(len(names)), names)
            ax.set(xlim=(-1.25, 1.25), ylim=(-0.6, len(names) - 0.4), xlabel="where x ends up")
            ax.set_xticks([-1, 0, 1], ["−1", "0", "1"])
            ax.set_title(problem, fontsize=12)
            label(ax, 0.5 * good, 0.5, "correct\nside", GREEN, ha="center", fontweight="bold")
        finding(figure, "The memory follows the rare gradient, right or wrong")
        figure.alt = (
            "Where one weight ends up, at three learning rates each. "
            f"The correct end is {named({p: f'{end:+g}' for p, end in correct.items()})}. "
            f"{'; '.join(said)}."
        )
    return figure


def law(
    curve: tuple[Sequence[float], Sequence[float]],
    measured: Mapping[str, tuple[float, float, float]],
    limits: tuple[float, float],
) -> Picture:
    """The worst error over a, predicted and measured.

    Args:
        curve: values of a, and the predicted worst error for each.
        measured: by setting, a, the measured worst error and half of its interval.
        limits: the worst error of least squares, and the best possible one.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=4.4)
        ax.plot(*curve, color=BLUE, linewidth=2)
        label(ax, 0.0115, 0.0635, "predicted", BLUE)
        groups = {"5": LOOKS[1], "1": LOOKS[2], "20": LOOKS[0], "10": LOOKS[3]}
        for name, (a, height, half) in measured.items():
            slots = name.split(",")[0]
            look = groups[slots] | {"linestyle": "", "markersize": 8, "color": ORANGE}
            # Settings with one a would hide each other.
            shift = {"1": 0.93, "20": 1.07}.get(slots, 1.0)
            ax.errorbar(a * shift, height, half, capsize=3, **look)
        label(ax, 0.075, 0.0735, "measured, ± 95 %: ▲ topC 1, ■ 5, ◆ 10, ● 20", ORANGE)
        for y, text in zip(limits, ("least squares, where SGD goes", "the best possible")):
            ax.axhline(y, color=GREY, linestyle="--", linewidth=1.5)
            label(ax, 0.0052, y + 0.0017, text, GREY)
        ax.set(xscale="log", xlim=(0.005, 9), ylim=(0.052, 0.108))
        ax.set(xlabel="a = topC · ln(1/decay)", ylabel="worst error")
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        trio = [height for a, height, _ in measured.values() if a < 0.06]
        if len(trio) > 1:
            annotate(ax, f"{len(trio)} settings, one a", (0.052, max(trio) + 0.002), (0.2, 0.0945))
        finding(figure, "One number, a, decides where the training ends")
        figure.alt = (
            "Worst error over a on a logarithmic scale. The predicted curve rises from "
            f"{curve[1][0]:.3f} at a={curve[0][0]:g} to {curve[1][-1]:.3f} at a={curve[0][-1]:g}, "
            f"between the best possible {limits[1]:.3f} and least squares {limits[0]:.3f}. "
            "Measured, by topC and decay: "
            + named({n: f"a={a:.2f}, {h:.4f} ± {w:.4f}" for n, (a, h, w) in measured.items()})
            + "."
        )
    return figure


def mirror(found: Mapping[str, tuple[float, float]]) -> Picture:
    """The worst error without and with outliers, a line for each method.

    Args:
        found: by method, the mean worst error on clean data and with outliers.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.8)
        for look, (name, pair) in zip(LOOKS, found.items()):
            ax.plot([0, 1], pair, linewidth=2, markersize=8, **look)
            label(ax, 1.04, pair[1], f"{name}: {pair[1]:.3f}", look["color"])
        ax.set(yscale="log", xlim=(-0.35, 1.6), ylim=(0.06, 1), ylabel="worst error")
        ax.set_xticks([0, 1], ["clean targets", "2 % of targets wrong"])
        ax.set_yticks([0.07, 0.1, 0.2, 0.4, 0.8], ["0.07", "0.1", "0.2", "0.4", "0.8"])
        ax.yaxis.set_minor_locator(NullLocator())
        clean = min(found.items(), key=lambda item: item[1][0])
        annotate(ax, f"{clean[0]} is best: {clean[1][0]:.3f}", (0.0, clean[1][0]), (0.42, 0.0705))
        finding(figure, "What wins on clean targets loses by far when some are wrong")
        figure.alt = "Worst error on clean targets and with 2 % outliers. " + series(
            f"{name}: {one:.3f} and {two:.3f}" for name, (one, two) in found.items()
        )
    return figure


class Weights:
    """Weights over the norm for given norms; fast, for an explorer.

    Args:
        norms: of some gradients; they are sorted and divided by their median.
    """

    def __init__(self, norms: Array) -> None:
        self.norms = np.sort(norms / np.median(norms))
        self._logs = np.log(self.norms)[::-1]
        self._sums = np.cumsum(self._logs)
        self._counts = np.arange(1, len(norms) + 1)
        self.loud = self.norms[-len(norms) // 10]

    def at(self, norms: Array, a: float) -> Array:
        """The weights of these norms, with ``sum`` and kappa 1."""
        levels = (self._sums - len(self.norms) * a) / self._counts  # ln θ if so many are above
        level = levels[np.flatnonzero(self._logs > levels)[-1]]
        weights: Array = 1 + np.maximum(np.log(norms) - level, 0) / a
        return weights

    def ratio(self, a: float) -> float:
        """The mean weight of the loudest tenth over that of all others."""
        weights, count = self.at(self.norms, a), len(self.norms) // 10
        return float(weights[-count:].mean() / weights[:-count].mean())

    def draw(self, topC: int, decay: float) -> Picture:
        """The weights over the norm, beside those of clipping at the median."""
        a = topC * math.log(1 / decay)
        x = np.linspace(0.02, self.norms[-1], 300)
        with plt.rc_context(BY_HAND):
            figure = plt.figure(FigureClass=Picture, figsize=(WIDTH, 3.6))
            assert isinstance(figure, Picture)
            ax = figure.add_axes((0.1, 0.17, 0.87, 0.7))
            ax.axvspan(self.loud, x[-1], color="0.9")
            # The logarithm of the weight: a logarithmic axis takes twice as long to draw.
            ax.plot(x, np.log(self.at(x, a)), color=BLUE, linewidth=2.5)
            ax.plot(x, np.log(np.minimum(1, 1 / x)), color=ORANGE, linestyle="--", linewidth=2)
            ticks = [0.2, 0.5, 1, 2, 5, 10, 20]
            ax.set(xlim=(0, x[-1]), ylim=np.log([0.15, 40]), xticks=range(5))
            ax.set_yticks(np.log(ticks), [f"{tick:g}" for tick in ticks])
            ax.set(xlabel="norm of the gradient (median = 1)", ylabel="its weight")
            ax.set_title(
                f"a = {a:.3g}: the loudest tenth has {self.ratio(a):.1f} times the others' weight",
                loc="left",
                fontsize=13,
                fontweight="bold",
            )
            ax.text((self.loud + x[-1]) / 2, 3.35, "the loudest tenth", ha="center", color=GREY)
            label(ax, 0.08, 1.1, "memory", BLUE)
            label(ax, 1.1, -0.6, "clipping", ORANGE)
            figure.alt = (
                f"Weight over norm for topC={topC} and decay={decay:g}, a={a:.3g}. The loudest "
                f"tenth of the gradients has {self.ratio(a):.1f} times the mean weight of the "
                f"others; the largest has {self.at(x[-1:], a)[0]:.1f}. Clipping at the median "
                f"lowers the largest to {1 / x[-1]:.2f}."
            )
        return figure
