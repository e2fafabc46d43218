"""The figures of the course."""

from cgtutor.plots.classification import boundaries, leads, rate_panels, study_panels
from cgtutor.plots.grouping import compare_runs, cosine_steps, interventions, partitions
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
from cgtutor.plots.tasks import four_aggregates, growth, layer_cosines, rotation, targets

__all__ = [
    "BLUE",
    "GREY",
    "LOOKS",
    "ORANGE",
    "STYLE",
    "bars",
    "boundaries",
    "compare_runs",
    "cosine_steps",
    "four_aggregates",
    "growth",
    "interventions",
    "layer_cosines",
    "leads",
    "learning_curves",
    "learning_rates",
    "lifetimes",
    "partitions",
    "pictures",
    "rate_panels",
    "relative_errors",
    "rotation",
    "study_panels",
    "targets",
    "timelines",
]
