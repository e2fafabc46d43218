"""What all figures have in common.

Colours are those of Okabe and Ito, told apart by colour-blind readers; line styles and markers
differ too, for print in grey. The background is opaque white, so that figures read in dark
themes as well.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes

STYLE: Any = {  # matplotlib's own type is a literal of all its settings
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 11,
    "grid.color": "0.9",
    "legend.frameon": False,
    "savefig.facecolor": "white",
}
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.35"
#: One look for each curve of a figure, in this order.
LOOKS: list[dict[str, Any]] = [
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": ORANGE, "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
]


def looks(names: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Each name with a look of its own."""
    names = list(names)
    if len(names) > len(LOOKS):
        raise ValueError(f"a figure takes at most {len(LOOKS)} curves, got {len(names)}: {names}")
    return list(zip(names, LOOKS))


def band(ax: Axes, x: Sequence[float], values: Iterable[Sequence[float]], **look: Any) -> None:
    """For each x the mean of its values, as a line, and their range, as a band."""
    values = list(values)
    means = [sum(column) / len(column) for column in values]
    ax.plot(x, means, markersize=4, markevery=max(1, len(means) // 10), **look)
    lowest, highest = [min(column) for column in values], [max(column) for column in values]
    edge = {"linestyle": look["linestyle"], "linewidth": 0.6}  # tells bands apart in grey
    ax.fill_between(x, lowest, highest, facecolor=look["color"], alpha=0.2)
    ax.plot(x, lowest, x, highest, color=look["color"], **edge)
