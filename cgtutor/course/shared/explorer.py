"""The class that all explorers are made of."""

from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt

from cgtutor.course.shared.style import Picture


def slider(
    text: str,
    value: float,
    low: float,
    high: float,
    step: float,
    kind: type[ipywidgets.Widget] = ipywidgets.FloatSlider,
) -> ipywidgets.Widget:
    """A slider with room for a long description, which reports when it comes to rest."""
    return kind(
        value=value,
        min=low,
        max=high,
        step=step,
        description=text,
        continuous_update=False,
        style={"description_width": "9em"},
        layout={"width": "30em"},
    )


class Explorer(ipywidgets.VBox):
    """Sliders above a figure that is redrawn whenever one of them moves.

    Where no kernel runs (a static page, a printed notebook) the figure of the moment stays
    visible as a plain picture. Its alternative text is the figure's.

    Args:
        draw: makes the figure from the values of the controls, given by name.
        controls: a widget with a ``value`` for each argument of ``draw``.
        goal: something to reach with the sliders, shown above them.
    """

    # ipywidgets 7 shows a widget by this method, which knows nothing of plain pictures;
    # without it, it goes by _repr_mimebundle_ as version 8 does.
    _ipython_display_ = None

    def __init__(
        self, draw: Callable[..., Picture], controls: dict[str, ipywidgets.Widget], goal: str
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
        plt.close(figure)
        self._shown = figure.bundle()
        self._picture.value = self._shown[0]["text/html"]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={c.value}" for name, c in self._controls.items())
        return f"Explorer({values})"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = self._shown
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        shown = {"text/plain": repr(self), "application/vnd.jupyter.widget-view+json": view}
        return data | shown, metadata
