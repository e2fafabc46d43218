"""The map of the course."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from cgtutor.course import NOTEBOOKS
from cgtutor.course.shared.style import BLUE, GREY, ORANGE, STYLE, Picture, subplots

#: Left edge and width of a part's boxes, their colours and the style of their edges.
LANES = {
    "both": (0.0, 2.1, "0.94", GREY, "-"),
    "optimizers": (0.0, 1.0, "#E3EFF7", BLUE, "-"),
    "tasks": (1.1, 1.0, "#FBE9DD", ORANGE, "--"),
}


HALF = 0.36  #: half a box's height, where rows are 1 apart


def course_map() -> Picture:
    """A box for each notebook, and arrows in the order to read them in."""
    in_lane = {"optimizers": 0, "tasks": 0}
    bottom = 1 + max(sum(n.part == part for n in NOTEBOOKS) for part in in_lane)
    places: dict[str, tuple[float, float, int]] = {}  # left edge, width, row
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 8.4))
        for notebook in NOTEBOOKS:
            left, width, color, edge, dash = LANES[notebook.part]
            if notebook.part == "both":
                row = bottom if notebook.after else 0
            else:
                row = in_lane[notebook.part] = in_lane[notebook.part] + 1
            places[notebook.number] = left, width, row
            look: Any = {"facecolor": color, "edgecolor": edge, "linestyle": dash, "linewidth": 1.5}
            corner, style = (left, row - HALF), "round,pad=0,rounding_size=0.04"
            ax.add_patch(FancyBboxPatch(corner, width, 2 * HALF, boxstyle=style, **look))
            text = textwrap.wrap(notebook.question, width=round(33 * width))
            ax.text(left + 0.03, row, notebook.number, va="center", fontsize=15, color=edge)
            ax.text(left + 0.16, row, "\n".join(text), va="center", fontsize=10.5)
            minutes = f"{notebook.minutes} min"
            ax.text(left + width - 0.02, row + HALF - 0.06, minutes, ha="right", fontsize=8.5)
            for other in notebook.after:
                lane = min(places[other], places[notebook.number], key=lambda place: place[1])
                x, start, end = lane[0] + lane[1] / 2, places[other][2] + HALF, row - HALF
                arrow: Any = {"arrowstyle": "-|>", "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}
                ax.add_patch(FancyArrowPatch((x, start), (x, end), color=GREY, **arrow))
        ax.set(xlim=(-0.02, 2.12), ylim=(bottom + 0.42, -0.42))
        ax.axis("off")
    questions = {
        part: " ".join(f"{n.number}: {n.question}" for n in NOTEBOOKS if n.part == part)
        for part in LANES
    }
    figure.alt = (
        "A map of the course: two columns of boxes with arrows downwards, between a first and a "
        f"last box that belong to both. First and last: {questions['both']} Column about "
        f"optimizers: {questions['optimizers']} Column about tasks: {questions['tasks']}"
    )
    return figure
