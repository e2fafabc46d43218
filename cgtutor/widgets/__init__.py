"""Explorers: a figure of the course with sliders. No notebook needs one to be understood."""

from cgtutor.widgets.choosing import spike_explorer
from cgtutor.widgets.classification import boundary_explorer
from cgtutor.widgets.explorer import Explorer
from cgtutor.widgets.grouping import grouping_explorer
from cgtutor.widgets.optimizers import memory_explorer, words_explorer
from cgtutor.widgets.remembering import slots_explorer, weights_explorer
from cgtutor.widgets.surfaces import rules_explorer
from cgtutor.widgets.tasks import aggregates_explorer, vaccine_explorer

__all__ = [
    "Explorer",
    "aggregates_explorer",
    "boundary_explorer",
    "grouping_explorer",
    "memory_explorer",
    "rules_explorer",
    "slots_explorer",
    "spike_explorer",
    "vaccine_explorer",
    "weights_explorer",
    "words_explorer",
]
