"""Explorers: a figure of the course with sliders. No notebook needs one to be understood."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from cgtutor import plots
from cgtutor.speed import words
from cgtutor.training import replay


class Explorer(ipywidgets.VBox):
    """Sliders above a figure that is drawn anew whenever one of them moves.

    Where no kernel runs (a static page, a printed notebook) the figure of the moment stays
    visible as a plain picture.

    Args:
        draw: makes the figure from the values of the controls, given by name.
        controls: a widget with a ``value`` for each argument of ``draw``.
        goal: something to reach with the sliders, shown above them.
    """

    # ipywidgets 7 shows a widget by this method, which knows nothing of plain pictures;
    # without it, it goes by _repr_mimebundle_ as version 8 does.
    _ipython_display_ = None

    def __init__(
        self, draw: Callable[..., Figure], controls: dict[str, ipywidgets.Widget], goal: str
    ) -> None:
        self._draw, self._controls = draw, controls
        self._picture = ipywidgets.HTML()  # not Image, which has no alternative text
        super().__init__(
            [ipywidgets.HTML(f"<b>Goal:</b> {goal}"), *controls.values(), self._picture]
        )
        for control in controls.values():
            control.observe(self._redraw, names="value")
        self._redraw()

    def _redraw(self, change: object = None) -> None:
        with plt.ioff():  # or Jupyter would show the figure a second time, below the cell
            figure = self._draw(**{name: control.value for name, control in self._controls.items()})
        png = io.BytesIO()
        figure.savefig(png, format="png")
        plt.close(figure)
        self._png = base64.b64encode(png.getvalue()).decode()
        self._picture.value = (
            f'<img style="max-width: 100%" alt="Figure of {self!r}" '
            f'src="data:image/png;base64,{self._png}">'
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={c.value}" for name, c in self._controls.items())
        return f"Explorer({values})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {
            "text/plain": repr(self),
            "image/png": self._png,
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            },
        }


def memory_explorer(norms: Sequence[float]) -> Explorer:
    """Which of the gradients with these norms a memory keeps, by ``topC`` and ``decay``."""
    return Explorer(
        lambda topC, decay: plots.lifetimes(replay(norms, topC, decay)),
        {
            "topC": ipywidgets.IntSlider(5, 1, 20, description="topC", continuous_update=False),
            "decay": ipywidgets.FloatSlider(
                value=0.7, min=0, max=1, step=0.01, description="decay", continuous_update=False
            ),
        },
        goal="with topC = 5, remember one gradient for 25 steps or more.",
    )


def words_explorer() -> Explorer:
    """Words moved in a step by the two ways to an aggregate, by ``topC`` and by what happens."""

    def draw(topC: int, inserting: bool, update: int) -> Figure:
        happens = "the gradient enters" if inserting else "it does not enter"
        return plots.bars(
            {f"topC = {topC}, {happens}": words(topC, inserting, update)},
            "words moved for each parameter of the model",
            {f"torch's update alone: {update}": update},
            longest=55,
        )

    return Explorer(
        draw,
        {
            "topC": ipywidgets.IntSlider(20, 1, 40, description="topC", continuous_update=False),
            "inserting": ipywidgets.Checkbox(True, description="the gradient enters"),
            "update": ipywidgets.Dropdown(
                options=[("SGD", 3), ("RMSprop", 5), ("Adam", 7)], value=7, description="update"
            ),
        },
        goal="find the smallest topC for which the running sum moves fewer words, "
        "once with and once without the gradient entering.",
    )
