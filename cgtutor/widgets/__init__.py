"""Explorers: a figure of the course with sliders. No notebook needs one to be understood."""

from cgtutor.widgets.explorer import Explorer
from cgtutor.widgets.grouping import grouping_explorer
from cgtutor.widgets.optimizers import memory_explorer, words_explorer

__all__ = ["Explorer", "grouping_explorer", "memory_explorer", "words_explorer"]
