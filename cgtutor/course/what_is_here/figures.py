"""The moving pictures of notebook 00, and the map of the course."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from torch import Tensor

from cgtutor.course import NOTEBOOKS
from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREEN,
    GREY,
    ORANGE,
    STYLE,
    Picture,
    arrow,
    finding,
    label,
    series,
    subplots,
)
from cgtutor.course.what_is_here.study import ANGLES, LENGTHS, NORMS, Meeting, Moment
from cgtutor.course.what_is_here.study import meetings as _meetings
from cgtutor.course.what_is_here.study import moments as _moments

BIG = 13  #: points; a picture is still legible when it is shrunk to half its size


# ------------------------------------------------------------------------------- a memory


def memory(
    moment: Moment, norms: Sequence[float] = NORMS, title: str = "", quick: bool = False
) -> Picture:
    """A memory at a moment: each gradient a bar, as high as its norm.

    An outline is a gradient. It is filled up to its priority, as long as it is in the memory.

    Args:
        moment: what the memory holds.
        norms: of the gradients.
        title: above the picture.
        quick: leave out the words below those that are not in the memory; words take time.
    """
    with plt.rc_context(BY_HAND | {"font.size": 12.5}):
        figure, ax = subplots(height=4)
        figure.subplots_adjust(left=0.085, right=0.99, top=0.89, bottom=0.16)
        steps, colors, dashes = range(1, len(norms) + 1), [], []
        for step, norm in zip(steps, norms):
            fate, color, dash = _fate(moment, step)
            colors.append(color)
            dashes.append(dash)
            ax.text(step, norm + 0.1, f"{norm:g}", ha="center", fontsize=BIG, color=color)
            if not quick or step in moment.priorities:
                ax.text(step, -0.12, fate, ha="center", va="top", color=color)
        outline: Any = {"fill": False, "edgecolor": colors, "linewidth": 1.5}
        for bar, dash in zip(ax.bar(steps, norms, 0.6, **outline), dashes):
            bar.set_linestyle(dash)
        ax.bar([*moment.priorities], [*moment.priorities.values()], 0.6, color=ORANGE)
        if moment.arriving:
            ax.bar(moment.step, norms[moment.step - 1], 0.6, color=BLUE, alpha=0.35)
        if moment.full:
            low = min(moment.priorities.values())
            ax.axhline(low, color="0.2", linestyle=":", linewidth=1.5)
            words = f"dotted: the smallest priority, {low:.2g}"
            ax.text(len(norms) + 0.5, 4.55, words, ha="right", va="center")
        ax.set(xlim=(0.45, len(norms) + 0.55), ylim=(0, 4.8), xticks=[], yticks=[0, 2, 4])
        ax.grid(visible=False)
        ax.set_ylabel("norm, filled: priority")
        figure.text(0.01, 0.93, title, fontsize=BIG, fontweight="bold")
    return figure


def _fate(moment: Moment, step: int) -> tuple[str, str, Any]:
    """What became of a gradient, and its colour and line."""
    if step > moment.step:
        return "", "0.78", (0, (1, 1.5))
    if step in moment.priorities:
        return f"priority\n{moment.priorities[step]:.2g}", ORANGE, "-"
    if step == moment.step and moment.arriving:
        return "arrives", BLUE, "-"
    return "evicted" if step in moment.left else "rejected", GREY, (0, (3, 2))


def memory_at_work(norms: Sequence[float] = NORMS, topC: int = 2, decay: float = 0.5) -> Player:
    """Gradients come in, their priorities decay, and they are evicted or rejected."""
    moments = _moments(norms, topC, decay)
    title = f"A memory with {topC} slots. After each step priorities are multiplied by {decay:g}"
    return player(
        lambda i: memory(moments[i], norms, title),
        len(moments),
        [moment.caption for moment in moments],
        f"A memory with {topC} slots gets gradients of the norms {series(f'{n:g}' for n in norms)} "
        f"one by one. Each is a bar as high as its norm, filled up to its priority while it is in "
        f"the memory. After each step the priorities are multiplied by {decay:g}. "
        + outcome(moments[-1], norms),
        still=min(14, len(moments) - 1),  # the largest gradient of all is evicted
        milliseconds=900,
    )


def outcome(moment: Moment, norms: Sequence[float] = NORMS) -> str:
    """What became of the gradients, in words."""
    inside = (f"{norms[step - 1]:g} (priority {p:.2g})" for step, p in moment.priorities.items())
    evicted = [f"{norms[step - 1]:g} in step {at}" for step, at in moment.left.items()]
    rejected = [
        f"{norm:g}"
        for step, norm in enumerate(norms, 1)
        if step not in moment.priorities and step not in moment.left
    ]
    return (
        f"In the memory at the end: {series(inside)}. Evicted: {series(evicted or ['none'])}. "
        f"Rejected: {series(rejected or ['none'])}."
    )


# ------------------------------------------------------------------------------ a vaccine

A, B, SUM = BLUE, ORANGE, GREEN


def arrows(
    meeting: Meeting, turned: tuple[float, float] = (0, 0), total: Tensor | None = None
) -> Picture:
    """The gradients of two tasks, and where their sum makes both tasks better.

    Args:
        meeting: the gradients, before and after the vaccine.
        turned: for each task, how much of the vaccine's change is made, from 0 to 1.
        total: the sum to show.
    """
    with plt.rc_context(BY_HAND | {"font.size": 12.5}):
        figure, ax = subplots(height=4.6)
        figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01)
        ax.set(xlim=(-2.7, 4.3), ylim=(-0.38, 3.73), aspect="equal")
        ax.axis("off")
        for gradient in meeting.gradients:
            _worse(ax, gradient)
        places = {"makes A worse": (-2.6, 0.35), "helps both": (1.75, 2.3)}
        if meeting.cosine < 0:
            places["makes B worse"] = 1.45, 0.35
        for words, (x, y) in places.items():
            label(ax, x, y, f"a sum here\n{words}", "0.25", linespacing=1.3)
        changed = [
            old + share * (new - old)
            for old, new, share in zip(meeting.gradients, meeting.vaccinated, turned)
        ]
        for old, share, color in zip(meeting.gradients, turned, (A, B)):
            if share:
                arrow(ax, old, color=color, linewidth=1.5, linestyle=":", alpha=0.6)
        if total is not None:
            arrow(ax, total, color=SUM, linewidth=6, mutation_scale=26, zorder=1.5)
            _name(ax, total, f"sum, length {total.norm():.1f}", SUM)
        for tip, name, color in zip(changed, "AB", (A, B)):
            arrow(ax, tip, color=color, linewidth=3, mutation_scale=18)
            _name(ax, tip, name, color)
        words = f"angle: {angle(*changed):.0f}°"
        if turned[1]:
            words = f"B and the old A: {angle(changed[1], meeting.gradients[0]):.0f}°"
        elif turned[0]:
            words = f"A and the old B: {angle(changed[0], meeting.gradients[1]):.0f}°"
        usual = math.degrees(math.acos(meeting.target))
        words += f"\nusual angle: {usual:.0f}°"
        label(ax, -2.6, 3.35, words, "0.1", fontsize=BIG, linespacing=1.4)
    return figure


def angle(one: Tensor, other: Tensor) -> float:
    """Between two gradients, in degrees."""
    return math.degrees(math.acos(one @ other / (one.norm() * other.norm())))


def _worse(ax: Axes, gradient: Tensor) -> None:
    """Grey for every sum whose angle with a gradient is more than a right one."""
    back = -10 * gradient / gradient.norm()
    side = back[[1, 0]] * back.new_tensor([-1, 1])
    corners = [side, side + back, -side + back, -side]
    ax.add_patch(Polygon([corner.tolist() for corner in corners], zorder=0.5, color="0.9"))


def _name(ax: Axes, tip: Tensor, text: str, color: str) -> None:
    """A label beyond an arrow's tip."""
    x, y = (tip + 0.17 * tip / tip.norm()).tolist()
    side = "left" if x > 0 else "center"
    label(ax, x, y, text, color, ha=side, fontsize=BIG, fontweight="bold")


def vaccine_at_work(angles: Sequence[float] = ANGLES, lengths: Sequence[float] = LENGTHS) -> Player:
    """Two tasks agree for a while and then do not; the vaccine turns their gradients."""
    *before, last = _meetings(angles, lengths)
    frames: list[tuple[Meeting, tuple[float, float], Tensor | None]] = []
    captions = []
    for step, meeting in enumerate(before, 1):
        frames.append((meeting, (0, 0), meeting.gradients.sum(0)))
        captions.append(f"Step {step}: tasks A and B agree. Their sum helps both.")
    plain, vaccinated = last.gradients.sum(0), last.vaccinated.sum(0)
    frames.append((last, (0, 0), None))
    captions.append(f"Step {len(angles)}: suddenly {angles[-1]}° apart. The tasks are in conflict.")
    frames.append((last, (0, 0), plain))
    captions.append("The plain sum lies in the grey: it makes task A worse.")
    shares = (0.25, 0.5, 0.75, 1.0)
    frames += [(last, (share, 0), None) for share in shares]
    captions += ["The vaccine turns A until its angle with the old B is the usual one."] * 4
    frames += [(last, (1, share), None) for share in shares]
    captions += ["It turns B until its angle with the old A is the usual one."] * 4
    frames.append((last, (1, 1), vaccinated))
    captions.append("The new sum helps both tasks. It is also longer than the plain sum.")
    return player(
        lambda i: arrows(*frames[i]),
        len(frames),
        captions,
        f"The gradients of two tasks as arrows, A of length {lengths[0]} and B of length "
        f"{lengths[1]}. For {len(before)} steps they are {min(angles[:-1])} to {max(angles[:-1])} "
        f"degrees apart, then {angles[-1]}. Their plain sum has the length {plain.norm():.2f} and "
        "makes task A worse. The vaccine turns A and B towards each other; the sum then has the "
        f"length {vaccinated.norm():.2f} and makes both better.",
        milliseconds=700,
    )


# -------------------------------------------------------------------------------- the map


def course_map() -> Picture:
    """A line for each path, with a stop for each notebook."""
    tracks: dict[str, tuple[float, str, Any]] = {
        "optimizers": (1, BLUE, "-"),
        "tasks": (-1, ORANGE, (0, (4, 1.5))),
    }
    parts = (*tracks, "both")
    lanes = {part: [n.number for n in NOTEBOOKS if n.part == part] for part in parts}
    ends = lanes["both"][1:]
    span = max(len(lanes["optimizers"]), len(lanes["tasks"])) + 1
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=2.6)
        finding(figure, "Two paths from one start to one end, each complete without the other")
        for part, (height, color, dashes) in tracks.items():
            stops = [(k + 1) * span / (len(lanes[part]) + 1) for k in range(len(lanes[part]))]
            ax.plot(
                [0, 0.6, *stops, span - 0.6, span],
                [0, *[height] * (len(stops) + 2), 0],
                color=color,
                linestyle=dashes,
                linewidth=4,
                zorder=1,
            )
            for x, number in zip(stops, lanes[part]):
                _stop(ax, x, height, number, color)
        label(ax, span / 2, 2.05, "an optimizer with a memory", BLUE, ha="center", fontsize=BIG)
        label(ax, span / 2, -2, "gradients of several tasks", ORANGE, ha="center", fontsize=BIG)
        ax.plot([span, span + len(ends) - 1], [0, 0], color=GREY, linewidth=4, zorder=1)
        _stop(ax, 0, 0, lanes["both"][0], GREY)
        for k, number in enumerate(ends):
            _stop(ax, span + k, 0, number, GREY)
        ax.set(xlim=(-0.5, span + len(ends) - 0.5), ylim=(-2.5, 2.5))
        ax.axis("off")
    figure.alt = (
        f"A map of the course with two lines that both start at notebook {lanes['both'][0]}. The "
        f"line about an optimizer with a memory stops at {series(lanes['optimizers'])}, the line "
        f"about gradients of several tasks at {series(lanes['tasks'])}. Both end at "
        f"{series(ends)}."
    )
    return figure


def _stop(ax: Axes, x: float, y: float, number: str, color: str) -> None:
    ax.plot(x, y, "o", markersize=28, color="white", markeredgecolor=color, markeredgewidth=2.5)
    ax.text(x, y, number, ha="center", va="center_baseline", fontsize=BIG, color="0.1")
