"""The simplest surface, x² / 2, whose gradient is x itself: a moving picture and a limit."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from cgtutor import SGD_C
from cgtutor.course.shared.player import Player, player
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


def library_converges(rate: float, slots: int) -> bool:
    """What stands in for the reader's answer."""
    x = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD_C([x], lr=rate, aggr="mean", topC=slots)
    for _ in range(400):
        x.grad = x.detach().clone()
        optimizer.step()
    return abs(x.item()) < 1


def signed(x: float) -> str:
    """A number with two digits after the point, and a true minus."""
    return f"{x + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def bowl_player(path: Sequence[float], rate: float) -> Player:
    """A run of SGD_C in the bowl x² / 2, step by step, with its gradient and its aggregate.

    Args:
        path: the positions, the start first. SGD's are x, then (1 − rate) · x, and so on.
        rate: the learning rate.
    """
    path = list(path)
    pushes = [(here - there) / rate for here, there in pairwise(path)]
    captions = [
        f"Step {i}: at x = {signed(x)} the gradient is {signed(x)}, the aggregate {signed(push)}."
        for i, (x, push) in enumerate(zip(path, pushes), 1)
    ]
    first = next((i for i, x in enumerate(path) if i and abs(x) > abs(path[0])), None)
    far = max(map(abs, path))
    alt = (
        f"Moving picture of {len(pushes)} steps in the bowl x²/2 at learning rate {rate:g}, with "
        f"arrows for the gradient and the aggregate. After its first step SGD_C is at "
        f"x = {signed(path[1])}, after its second at {signed(path[2])}. It swings from side to "
        f"side, is farther away than at the start after {first} steps, and {far:.2f} at most. "
        f"SGD stays at the bottom."
    )
    return player(lambda i: _bowl(path, pushes, rate, i), len(pushes), captions, alt)


def _bowl(path: Sequence[float], pushes: Sequence[float], rate: float, i: int) -> Picture:
    with plt.rc_context(BY_HAND):
        figure, (ax, course) = subplots(1, 2, height=3.7, width_ratios=[1.25, 1])
        figure.subplots_adjust(left=0.03, right=0.98, bottom=0.15, top=0.84, wspace=0.16)
        finding(figure, "An average that does not stay at the bottom")
        wide = 1.1 * max(map(abs, path))
        x = np.linspace(-wide, wide, 200)
        ax.plot(x, x**2 / 2, color="0.6", linewidth=1.5)
        here, sgd = path[i], path[0] * (1 - rate) ** i
        ax.plot(sgd, sgd**2 / 2, "o", color=BLUE, markersize=13)
        ax.plot(here, here**2 / 2, "s", color=ORANGE, markersize=10)
        label(ax, sgd, sgd**2 / 2 + 0.3, "SGD", BLUE, ha="center")
        low = -0.2 * wide**2 / 2
        for row, (name, push, color) in enumerate(
            (("−g", here, GREY), ("−aggregate", pushes[i], ORANGE)), 1
        ):
            if abs(push) < 0.03:
                ax.plot(here, row * low, ".", color=color, markersize=9)
            else:
                tip = {"arrowstyle": "-|>", "color": color, "linewidth": 3, "shrinkA": 0}
                ax.annotate("", (here - rate * push, row * low), (here, row * low), arrowprops=tip)
            label(ax, -wide, row * low, name, color)
        ax.set(xlim=(-wide, wide), ylim=(2.8 * low, 1.05 * wide**2 / 2), yticks=[])
        ax.set_xlabel("x")
        ax.spines["left"].set_visible(False)
        steps = range(i + 1)
        line = [path[0] * (1 - rate) ** k for k in range(len(path))]
        course.plot(steps, line[: i + 1], "-o", color=BLUE, markersize=3.5, linewidth=2)
        course.plot(steps, path[: i + 1], "--s", color=ORANGE, markersize=3.5)
        course.set(xlim=(-0.6, len(pushes)), ylim=(-wide, wide), xlabel="steps done")
        course.set_title("x", loc="left", fontsize=11)
        label(course, 1.2, 0.9 * wide, "SGD_C, mean", ORANGE)
    figure.alt = f"Step {i + 1}"
    return figure


def rates_by_slots(found: Mapping[int, float]) -> Picture:
    """Up to which learning rate the rule mean converges in the bowl, by the number of slots.

    Args:
        found: by topC the largest rate that converges.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.7)
        count = np.linspace(1, max(found) + 2, 200) + 1
        ax.plot(count - 1, _limit(count), color=GREY, linestyle=":", linewidth=2)
        ax.plot(list(found), list(found.values()), "s", color=ORANGE, markersize=8)
        ax.axhline(2, color=BLUE, linewidth=2)
        last = max(found)
        ax.set(xlim=(0, last + 2), ylim=(0, 2.25), xlabel="topC", xticks=sorted(found))
        ax.set_ylabel("largest learning rate")
        label(ax, 0.6 * last, 2.12, "SGD: 2", BLUE)
        text = "for the last topC gradients:\n2N sin²(π / 2N), N = topC + 1"
        label(ax, 0.16 * last, 1.62, text, GREY)
        annotate(ax, "the puzzle: 1 is too much", (5, found[5]), (9, 0.95))
        finding(figure, "Each slot of the rule mean costs learning rate")
    figure.alt = (
        "Largest learning rate with which SGD_C with the rule mean converges in the bowl, by topC: "
        + ", ".join(f"topC {slots}: {rate:g}" for slots, rate in found.items())
        + ". A dotted curve, 2N sin²(π/2N) with N = topC + 1, falls from 2 to "
        + f"{_limit(np.array(last + 1)):.2f}; SGD's limit is 2."
    )
    return figure


def _limit(count: Any) -> Any:
    """The largest rate that converges in the bowl with the mean of the last ``count`` gradients."""
    return 2 * count * np.sin(np.pi / 2 / count) ** 2
