"""What all figures have in common.

Colours are those of Okabe and Ito, told apart by colour-blind readers; line styles, markers and
labels differ too, for print in grey. The background is opaque white, so that figures read in dark
themes as well.
"""

import base64
import html
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import matplotlib.pyplot as plt
from IPython.display import publish_display_data
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image
from torch import Tensor

#: How wide every figure is, in inches.
WIDTH = 8.0

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

#: Figures of explorers and players are laid out by hand: a redraw then takes half the time.
BY_HAND: Any = STYLE | {"figure.constrained_layout.use": False}


class Picture(Figure):
    """A figure with alternative text: what it shows, in words, for those who cannot see it.

    A notebook stores it once, as PNG at twice the resolution, which everything shows that shows
    notebooks. Hardly any of them reads alternative text from a PNG's metadata, so the words follow
    in a folded line, where JupyterLab, nbconvert, GitHub, Colab and VS Code have them alike.

    Attributes:
        alt: the alternative text. A picture without one is not shown.
    """

    alt = ""

    def png(self, scale: float = 2, colours: int | None = 256) -> bytes:
        """The picture as PNG.

        Args:
            scale: pixels for each pixel of a plain screen.
            colours: how many there are; 256 take a third of the bytes of all, and None takes less
                time.
        """
        dpi = self.dpi
        self.dpi = scale * dpi
        try:
            canvas = FigureCanvasAgg(self)
            canvas.draw()
            width, height = canvas.get_width_height()
            pixels = Image.frombuffer("RGBA", (width, height), canvas.buffer_rgba()).convert("RGB")
        finally:
            self.dpi = dpi
        packed = io.BytesIO()
        if colours is None:
            pixels.save(packed, format="png", compress_level=1)
        else:
            pixels.quantize(colours).save(packed, format="png")
        return packed.getvalue()

    def bundle(self) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        """The picture by MIME type, and metadata with its alternative text and width.

        Raises:
            ValueError: ``alt`` is empty.
        """
        if not self.alt:
            raise ValueError(f"alt: a picture needs alternative text, got {self.alt!r}")
        width = round(self.get_figwidth() * 100)  # in pixels of a plain screen
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt, "width": width}}

    def _ipython_display_(self) -> None:  # or IPython would put a PNG of its own into the bundle
        plt.close(self)  # or it would be shown once more at the end of the cell
        publish_display_data(*self.bundle())
        publish_display_data(in_words(self.alt))


def in_words(alt: str) -> dict[str, str]:
    """The alternative text of a picture as a folded line below it, by MIME type."""
    folded = f"<details><summary>In words</summary>{html.escape(alt)}</details>"
    return {"text/html": folded, "text/plain": f"In words: {alt}"}


def subplots(
    rows: int = 1, columns: int = 1, height: float = 3.6, **settings: Any
) -> tuple[Picture, Any]:
    """What ``plt.subplots`` gives, :data:`WIDTH` wide, the figure being a :class:`Picture`.

    Args:
        rows: of panels.
        columns: of panels.
        height: of the whole figure, in inches.
        settings: as ``plt.subplots`` takes them.
    """
    settings.setdefault("figsize", (WIDTH, height))
    figure, axes = plt.subplots(rows, columns, FigureClass=Picture, **settings)
    return cast(Picture, figure), axes


def finding(figure: Figure, text: str) -> None:
    """Put what the figure shows above it, in bold: the finding and not the settings."""
    figure.suptitle(
        textwrap.fill(text, 68), x=0.01, ha="left", fontsize=13, fontweight="bold", linespacing=1.3
    )


_HALO = [patheffects.withStroke(linewidth=3, foreground="white")]


def label(ax: Axes, x: float, y: float, text: str, color: str, **look: Any) -> None:
    """Write what a line is beside it, in its colour, on a white halo.

    Args:
        ax: where to.
        x: of the text, in the axes' data units, like y.
        y: of the text.
        text: the label.
        color: that of the line.
        look: as ``Axes.text`` takes it, ``ha="right"`` for one.
    """
    ax.text(x, y, text, **{"color": color, "va": "center", "path_effects": _HALO} | look)


def annotate(
    ax: Axes, text: str, xy: tuple[float, float], xytext: tuple[float, float], **look: Any
) -> None:
    """The one note of a figure: an arrow to where the eye should go.

    Args:
        ax: where to.
        text: what to see there.
        xy: where the arrow points, in the axes' data units, like xytext.
        xytext: the text's middle.
        look: as ``Axes.annotate`` takes it.
    """
    box = {"facecolor": "white", "edgecolor": "0.35", "boxstyle": "round,pad=0.35"}
    arrowprops = {"arrowstyle": "-|>", "color": "0.2", "shrinkB": 4}
    settings = {"ha": "center", "va": "center", "bbox": box, "arrowprops": arrowprops}
    ax.annotate(text, xy, xytext, **settings | look)


BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "0.35"


#: One look for each curve of a figure, in this order.
LOOKS: list[dict[str, Any]] = [
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": ORANGE, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
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
