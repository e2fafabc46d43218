"""What all figures have in common.

Colours are those of Okabe and Ito, told apart by colour-blind readers; line styles and markers
differ too, for print in grey. The background is opaque white, so that figures read in dark
themes as well.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import publish_display_data
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image
from torch import Tensor

STYLE: Any = {  # matplotlib's own type is a literal of all its settings
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.1,  # inches: nothing touches the edge
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 11,
    "grid.color": "0.9",
    "legend.frameon": False,
    "savefig.facecolor": "white",
}


#: Figures of explorers are laid out by hand: a redraw then takes half the time.
BY_HAND: Any = STYLE | {"figure.constrained_layout.use": False}


class Picture(Figure):
    """A figure with alternative text: what it shows, in words, for those who cannot see it.

    Notebooks get it as HTML and as PNG: JupyterLab takes alternative text from HTML alone, and
    LaTeX, for one, cannot show HTML.

    Attributes:
        alt: the alternative text. A picture without one is not shown.
    """

    alt = ""

    def png(self) -> str:
        """The picture, in base64. Of 256 colours, which is a third of the bytes of all."""
        canvas, reduced = FigureCanvasAgg(self), io.BytesIO()
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pixels.quantize(256).save(reduced, format="png")
        return base64.b64encode(reduced.getvalue()).decode()

    def bundle(self) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """The picture by MIME type, and metadata with its alternative text.

        Raises:
            ValueError: ``alt`` is empty.
        """
        if not self.alt:
            raise ValueError(f"alt: a picture needs alternative text, got {self.alt!r}")
        png = self.png()
        element = (
            f'<img style="max-width: 100%" alt="{html.escape(self.alt)}" '
            f'src="data:image/png;base64,{png}">'
        )
        data = {"text/html": element, "image/png": png, "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}

    def _ipython_display_(self) -> None:  # or IPython would put a PNG of its own into the bundle
        publish_display_data(*self.bundle())


def subplots(*shape: int, **settings: Any) -> tuple[Picture, Any]:
    """What ``plt.subplots`` gives, the figure being a :class:`Picture`."""
    figure, axes = plt.subplots(*shape, FigureClass=Picture, **settings)
    return cast(Picture, figure), axes


BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.35"


#: One look for each curve of a figure, in this order.
LOOKS: list[dict[str, Any]] = [
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": ORANGE, "linestyle": "--", "marker": "s"},
    {"color": "#009E73", "linestyle": "-.", "marker": "^"},
    {"color": "#CC79A7", "linestyle": ":", "marker": "D"},
]


#: The first of several curves is what the others are compared with.
WITH_BASELINE: list[dict[str, Any]] = [
    {"color": GREY, "linestyle": (0, (5, 1, 1, 1, 1, 1)), "marker": "x"},
    *LOOKS,
]


def series(parts: Iterable[str]) -> str:
    """Parts of a sentence, one after the other: a, b and c."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def named(values: Mapping[str, str]) -> str:
    """Values with their names, the way alternative texts list them."""
    return "; ".join(f"{name}: {value}" for name, value in values.items())


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


def arrow(ax: Axes, tip: Tensor, **look: Any) -> None:
    """An arrow from the origin; a dot where it is too short to see."""
    scale = ax.get_xlim()[1] - ax.get_xlim()[0]
    if tip.norm() < 0.02 * scale:
        ax.plot(0, 0, marker="o", markersize=5, color=look["color"])
        return
    style = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11, **look}
    ax.add_patch(FancyArrowPatch((0, 0), (tip[0].item(), tip[1].item()), **style))
