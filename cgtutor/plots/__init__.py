"""The figures of the course."""

from cgtutor.plots.choosing import age_histogram, memory_costs, settings_map, spike_priorities
from cgtutor.plots.classification import boundaries, leads, rate_panels, study_panels
from cgtutor.plots.course import course_map
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
from cgtutor.plots.own_project import leftovers, schedules
from cgtutor.plots.remembering import (
    after_bad_batch,
    agreement_by_decay,
    moments,
    slots_over_time,
    weights_by_age,
)
from cgtutor.plots.style import BLUE, GREY, LOOKS, ORANGE, STYLE, Picture
from cgtutor.plots.surfaces import aggregate_arrows, final_heights, trajectories
from cgtutor.plots.tasks import four_aggregates, growth, layer_cosines, rotation, targets

__all__ = [
    "BLUE",
    "GREY",
    "LOOKS",
    "ORANGE",
    "STYLE",
    "Picture",
    "after_bad_batch",
    "age_histogram",
    "aggregate_arrows",
    "agreement_by_decay",
    "bars",
    "boundaries",
    "compare_runs",
    "cosine_steps",
    "course_map",
    "final_heights",
    "four_aggregates",
    "growth",
    "interventions",
    "layer_cosines",
    "leads",
    "learning_curves",
    "learning_rates",
    "leftovers",
    "lifetimes",
    "memory_costs",
    "moments",
    "partitions",
    "pictures",
    "rate_panels",
    "relative_errors",
    "rotation",
    "schedules",
    "settings_map",
    "slots_over_time",
    "spike_priorities",
    "study_panels",
    "targets",
    "timelines",
    "trajectories",
    "weights_by_age",
]
