"""Explorers about optimizers."""

from collections.abc import Sequence

import ipywidgets

from cgtutor import plots
from cgtutor.speed import words
from cgtutor.training import replay
from cgtutor.widgets.explorer import Explorer


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

    def draw(topC: int, inserting: bool, update: int) -> plots.Picture:
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
