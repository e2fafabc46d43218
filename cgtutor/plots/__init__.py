"""The figures of the course."""

from cgtutor.plots.optimizers import (
    bars,
    learning_curves,
    learning_rates,
    lifetimes,
    pictures,
    relative_errors,
    timelines,
)
from cgtutor.plots.style import BLUE, GREY, LOOKS, ORANGE, STYLE

__all__ = [
    "BLUE",
    "GREY",
    "LOOKS",
    "ORANGE",
    "STYLE",
    "bars",
    "learning_curves",
    "learning_rates",
    "lifetimes",
    "pictures",
    "relative_errors",
    "timelines",
]
