"""The explorers of the notebook *what an optimizer remembers*."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import ipywidgets
import matplotlib.pyplot as plt

from cgtutor.course.shared.explorer import Explorer, choices, slider
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREEN,
    GREY,
    ORANGE,
    Picture,
    subplots,
)

BETAS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99)
LONGEST, STEPS, GOAL = 40, 60, 7

SECOND_BETAS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
SOON = 60

#: The gradients, from step 1 on, to Adam's two moments after each step.
Moments = Callable[[Sequence[float], float, float], tuple[Sequence[float], Sequence[float]]]


def half_explorer(weights: Callable[[int, float, int], Sequence[float]]) -> Explorer:
    """How much of a kick momentum and a plain average have spent, by β and by n.

    Args:
        weights: those of the gradient of age k in momentum, in a moving average and in the plain
            average, from k, β and n. All curves are made with it at once.
    """
    by_beta = {}
    for beta in BETAS:
        moved = [weights(k, beta, 1)[0] for k in range(STEPS)]
        by_beta[beta] = [(1 - beta) * total for total in accumulate(moved, initial=0.0)]
    by_n = {
        n: list(accumulate((weights(k, 0.5, n)[2] for k in range(STEPS)), initial=0.0))
        for n in range(1, LONGEST + 1)
    }

    def draw(beta: float, n: int) -> Picture:
        return spent(by_beta[beta], by_n[n], beta, n)

    def reached(beta: float, n: int) -> str:
        if half_spent(by_beta[beta]) != GOAL or half_spent(by_n[n]) != GOAL:
            return ""
        return (
            f"half of the kick is spent after {GOAL} steps in both. But after {2 * GOAL} steps the "
            f"average has spent all of it, and momentum {by_beta[beta][2 * GOAL]:.0%}."
        )

    return Explorer(
        draw,
        {
            "beta": choices("β of momentum", 0.7, BETAS),
            "n": slider("n of the average", 4, 1, LONGEST, 1, ipywidgets.IntSlider),
        },
        f"let both memories spend half of the kick after exactly {GOAL} steps. Then look at step "
        f"{2 * GOAL}.",
        reached,
    )


def spike_explorer(moments: Moments, gradients: Sequence[float]) -> Explorer:
    """Adam's steps after a spike, by β₂.

    Args:
        moments: the two corrected moments after each step, from the gradients, β₁ and β₂. All
            curves are made with it at once.
        gradients: one for each step; the largest is the spike.
    """
    peak = max(range(len(gradients)), key=lambda i: gradients[i]) + 1
    by_beta = {
        beta2: [m / v**0.5 for m, v in zip(*moments(gradients, 0.9, beta2))]
        for beta2 in SECOND_BETAS
    }

    def draw(beta2: float) -> Picture:
        return adams_steps(by_beta[beta2], peak, beta2)

    def reached(beta2: float) -> str:
        careful = careful_for(by_beta[beta2], peak)
        if careful is None or careful > SOON or max(by_beta[beta2]) > 1 + 1e-9:
            return ""
        return (
            f"Adam is careful for {careful} steps, and no step is longer than usual. With a "
            "smaller β₂ the spike leaves the second moment before the first, and Adam leaps."
        )

    return Explorer(
        draw,
        {"beta2": choices("β₂", 0.999, SECOND_BETAS)},
        f"half of the usual step again within {SOON} steps of the spike, and no step longer than "
        "the usual 1.",
        reached,
    )


def spent(momentum: Sequence[float], average: Sequence[float], beta: float, n: int) -> Picture:
    """How much of a kick two memories have spent, by step.

    Args:
        momentum: the share of the kick that momentum has spent after 0, 1, ... steps.
        average: the same for a plain average.
        beta: of momentum.
        n: of the average.
    """
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=3.6)
        figure.subplots_adjust(left=0.1, right=0.97, top=0.95, bottom=0.15)
        said = []
        for shares, color, line, marker, name, y in (
            (momentum, BLUE, "-", "o", f"momentum, β = {beta:g}", 24),
            (average, ORANGE, "--", "s", f"plain average of the last {n}", 12),
        ):
            percent = [100 * share for share in shares]
            half = half_spent(shares)
            ax.plot(percent, color=color, linestyle=line, linewidth=2)
            when = "later than 60 steps" if half is None else f"half spent after {half}"
            if half is not None:
                ax.plot(half, percent[half], marker, color=color, markersize=9)
            ax.text(59, y, f"{name}: {when}", color=color, ha="right", va="center")
            said.append(f"{name}: {when} steps" if half is not None else f"{name}: {when}")
        ax.set(
            xlim=(0, 60),
            ylim=(0, 103),
            xticks=(0, 20, 40, 60),  # each tick takes time, and the figure follows the drag
            yticks=(0, 50, 100),
            xlabel="steps taken",
            ylabel="share of the kick spent, in %",
        )
    figure.alt = f"How much of a kick is spent, by step. {'; '.join(said)}."
    return figure


def adams_steps(adams: Sequence[float], peak: int, beta2: float) -> Picture:
    """Adam's steps around a spike.

    Args:
        adams: the step after each gradient, in learning rates.
        peak: the step of the spike, counted from 1.
        beta2: of the second moment.
    """
    careful = careful_for(adams, peak)
    again = (
        "not yet half of 1 again" if careful is None else f"half of 1 again after {careful} steps"
    )
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=3.6)
        figure.subplots_adjust(left=0.1, right=0.97, top=0.95, bottom=0.15)
        ax.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
        ax.plot(range(1, len(adams) + 1), adams, color=GREEN, linewidth=2)
        ax.set(xlim=(0, len(adams)), ylim=(0, 3), xlabel="step", ylabel="Adam's step, m̂ / √v̂")
        ax.set(xticks=range(0, len(adams), 100), yticks=(0, 1, 2, 3))
        for y, text in (
            (2.7, f"β₂ = {beta2:g}"),
            (2.35, f"longest step: {max(adams):.2f}"),
            (2.0, again),
        ):
            ax.text(len(adams) - 8, y, text, color=GREEN, ha="right", va="center")
    figure.alt = (
        f"Adam's step, in learning rates, with a spike in step {peak}, for β₂ = {beta2:g}: 1 "
        f"before it, at most {max(adams):.2f}, at least {min(adams):.2f}, and {again}."
    )
    return figure


def careful_for(adams: Sequence[float], peak: int) -> int | None:
    """How many steps after a spike Adam's steps are at least half as long as usual, for good."""
    short = [t for t, step in enumerate(adams, start=1) if t > peak and step < 0.5]
    if not short:
        return 0
    return None if short[-1] == len(adams) else short[-1] + 1 - peak


def half_spent(shares: Sequence[float]) -> int | None:
    """After how many steps half of the kick is spent; None if the shares end before that."""
    return next((step for step, share in enumerate(shares) if share >= 0.5 - 1e-9), None)
