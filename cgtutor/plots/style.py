"""What all figures have in common.

Colours are those of Okabe and Ito, told apart by colour-blind readers; line styles and markers
differ too, for print in grey. The background is opaque white, so that figures read in dark
themes as well.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

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


class Picture(Figure):
    """A figure with alternative text: what it shows, in words, for those who cannot see it.

    Made by ``plt.subplots(..., FigureClass=Picture)``. Notebooks show it by its ``png`` and
    ``html``: JupyterLab reads alternative text from HTML alone, other programs go by the PNG.

    Attributes:
        alt: the alternative text. A picture without one is not shown.
    """

    alt = ""

    def png(self) -> str:
        """The picture, in base64. Of 128 colours, which is a third of the bytes of all."""
        drawn, reduced = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png")
        Image.open(drawn).convert("RGB").quantize(128).save(reduced, format="png")
        return base64.b64encode(reduced.getvalue()).decode()

    def html(self) -> str:
        """The picture and its alternative text as an HTML element.

        Raises:
            ValueError: ``alt`` is empty.
        """
        if not self.alt:
            raise ValueError(f"alt: a picture needs alternative text, got {self.alt!r}")
        return (
            f'<img style="max-width: 100%" alt="{html.escape(self.alt)}" '
            f'src="data:image/png;base64,{self.png()}">'
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {"text/html": self.html(), "image/png": self.png(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


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
