"""Explorers: a figure of the course with sliders. No notebook needs one to be understood."""

from cgtutor.widgets.explorer import Explorer
from cgtutor.widgets.optimizers import memory_explorer, words_explorer

__all__ = ["Explorer", "memory_explorer", "words_explorer"]
