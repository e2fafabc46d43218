"""Explorers about classifiers with and without a memory."""

from functools import lru_cache

import ipywidgets

from cgtutor.course.does_it_help.figures import boundaries
from cgtutor.course.does_it_help.plane import SHAPES, boundary
from cgtutor.course.does_it_help.studies import METHODS, PAIRS
from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.style import Picture

#: Learning rates to choose from.
RATES = (0.001, 0.002, 0.003, 0.004, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def boundary_explorer() -> Explorer:
    """Boundaries without and with a memory, each side with a learning rate of its own."""
    trained = lru_cache(maxsize=64)(boundary)  # a move of one side's slider leaves the other's

    def draw(shape: str, noise: float, base: str, lr: float, lr_C: float) -> Picture:
        rates = {base: lr, PAIRS[base]: lr_C}
        return boundaries(
            {
                f"{name}, lr {rate:g}": trained(shape, noise, METHODS[name], rate)
                for name, rate in rates.items()
            }
        )

    def rate(name: str) -> ipywidgets.Widget:
        return ipywidgets.SelectionSlider(
            options=RATES, value=0.002, description=name, continuous_update=False
        )

    return Explorer(
        draw,
        {
            "shape": ipywidgets.Dropdown(options=SHAPES, value="blobs", description="data set"),
            "noise": ipywidgets.FloatSlider(
                value=0.0, min=0, max=1, step=0.1, description="noise", continuous_update=False
            ),
            "base": ipywidgets.Dropdown(options=list(PAIRS), value="SGD", description="optimizer"),
            "lr": rate("lr, plain"),
            "lr_C": rate("lr of _C"),
        },
        goal="with SGD on blobs without noise, leave SGD_C at 0.002 and find the smallest "
        "learning rate at which plain SGD is right as often.",
    )
