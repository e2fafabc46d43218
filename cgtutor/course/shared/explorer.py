"""The class that all explorers are made of, and the controls they have."""

import base64
import html
import re
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from IPython.display import publish_display_data

from cgtutor.course.shared.style import Picture, in_words

_STYLE: Any = {"description_width": "9em"}
_LAYOUT: Any = {"width": "34em", "max_width": "100%"}


def slider(
    text: str,
    value: float,
    low: float,
    high: float,
    step: float,
    kind: type[ipywidgets.Widget] = ipywidgets.FloatSlider,
) -> ipywidgets.Widget:
    """A slider with room for a long description, which reports while it is dragged."""
    return kind(
        value=value,
        min=low,
        max=high,
        step=step,
        description=text,
        continuous_update=True,
        style=_STYLE,
        layout=_LAYOUT,
    )


def choices(text: str, value: float, options: Iterable[float]) -> ipywidgets.SelectionSlider:
    """A slider over listed numbers, each with the same room: for decays and learning rates."""
    return ipywidgets.SelectionSlider(
        options=[(f"{option:g}", option) for option in options],
        value=value,
        description=text,
        continuous_update=True,
        style=_STYLE,
        layout=_LAYOUT,
    )


class Explorer(ipywidgets.VBox):
    """Controls above a figure that follows them, and a goal that lights up when it is reached.

    While a control is dragged, its widget sends one value at a time, waits until the figure is
    drawn, and then sends the latest; so the last value is always drawn. To keep up, ``draw`` has
    to be fast: all that takes long is computed before, and the axes have fixed limits.

    Where no kernel runs (a static page, a printed notebook) the figure of the moment stays
    visible as a plain picture, with its words below.

    Args:
        draw: makes the figure from the values of the controls, given by name.
        controls: a widget with a ``value`` for each argument of ``draw``.
        goal: something to reach with the controls, shown above them.
        reached: from the same values, what was found if they reach the goal, and otherwise an
            empty string.
    """

    def __init__(
        self,
        draw: Callable[..., Picture],
        controls: dict[str, ipywidgets.Widget],
        goal: str,
        reached: Callable[..., str] | None = None,
    ) -> None:
        self._draw, self._controls, self._reached = draw, controls, reached
        self._goal, self.goal = goal, ipywidgets.HTML()
        self.picture = ipywidgets.HTML()  # not Image, which has no alternative text
        super().__init__([self.goal, *controls.values(), self.picture])
        for control in controls.values():
            control.observe(self._redraw, names="value")
        self._redraw()

    @property
    def values(self) -> dict[str, Any]:
        """The values of the controls, by name."""
        return {name: control.value for name, control in self._controls.items()}

    def set(self, **values: Any) -> None:
        """Move controls, as a reader would."""
        for name, value in values.items():
            self._controls[name].value = value

    def _redraw(self, change: object = None) -> None:
        self._figure = self._drawn()
        png = base64.b64encode(self._figure.png(scale=1, colours=None)).decode()
        width = round(self._figure.get_figwidth() * 100)
        self.picture.value = (
            f'<img style="max-width: 100%" width="{width}" '
            f'alt="{html.escape(self._figure.alt)}" src="data:image/png;base64,{png}">'
        )
        found = self._reached(**self.values) if self._reached else ""
        lit = "background: #009E73; color: white; " if found else "border-color: #888; "
        said = f"<b>✓ Reached:</b> {found}" if found else f"<b>Goal:</b> {self._goal}"
        goal = (
            f'<div role="status" style="{lit}border: 1px solid; border-radius: 4px; '
            f'padding: 2px 10px; line-height: 1.5; white-space: normal">{said}</div>'
        )
        if goal != self.goal.value:  # a screen reader says it once
            self.goal.value = goal

    def _drawn(self) -> Picture:
        with plt.ioff():  # or Jupyter would show the figure a second time, below the cell
            figure = self._draw(**self.values)
        plt.close(figure)
        return figure

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"Explorer({values})"

    # Under this name ipywidgets 7 and IPython both look first; with it, both versions do the same.
    def _ipython_display_(self, **_: Any) -> None:
        data, metadata = self._figure.bundle()
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        shown = {"text/plain": repr(self), "application/vnd.jupyter.widget-view+json": view}
        publish_display_data(data | shown, metadata)
        goal = re.sub(r"<[^>]+>", "", self._goal)
        publish_display_data(in_words(f"Goal: {goal} Where it starts: {self._figure.alt}"))
