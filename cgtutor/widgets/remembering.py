"""Explorers about what optimizers remember."""

from collections.abc import Sequence

import ipywidgets

from cgtutor import plots
from cgtutor.plots.style import Picture
from cgtutor.remembering import memory_weights, momentum_weights, with_spike
from cgtutor.training import replay
from cgtutor.widgets.explorer import Explorer, slider


def weights_explorer(norms: Sequence[float]) -> Explorer:
    """The weights of past gradients, for momentum by β, for a memory by ``topC`` and ``decay``."""

    def draw(beta: float, topC: int, decay: float) -> Picture:
        lives = replay(norms, topC, decay)
        return plots.weights_by_age(
            {
                f"momentum, β = {beta:g}": momentum_weights(beta, 1000),
                f"memory, topC = {topC}, decay = {decay:g}": memory_weights(
                    lives, len(norms), first=100
                ),
            }
        )

    return Explorer(
        draw,
        {
            "beta": ipywidgets.FloatSlider(
                value=0.9, min=0, max=0.99, step=0.01, description="β", continuous_update=False
            ),
            "topC": ipywidgets.IntSlider(10, 1, 20, description="topC", continuous_update=False),
            "decay": ipywidgets.FloatSlider(
                value=0.99, min=0, max=1, step=0.01, description="decay", continuous_update=False
            ),
        },
        goal="find the β with which momentum has as large a share of its weight on gradients "
        "older than ten steps as the memory has.",
    )


def slots_explorer(norms: Sequence[float]) -> Explorer:
    """A memory's slots over time, by ``topC``, ``decay`` and the height and step of a spike."""

    def draw(topC: int, decay: float, height: float, step: int) -> Picture:
        lives = replay(with_spike(norms, step, height), topC, decay)
        return plots.slots_over_time({f"topC = {topC}, decay = {decay:g}": lives}, mark=step)

    return Explorer(
        draw,
        {
            "topC": slider("topC", 10, 1, 20, 1, ipywidgets.IntSlider),
            "decay": slider("decay", 0.99, 0, 1, 0.01),
            "height": slider("times its norm", 10, 0, 100, 1),
            "step": slider("step of the spike", 40, 0, len(norms) - 1, 1, ipywidgets.IntSlider),
        },
        goal="the spike of height 10 at step 40 shall be gone after at most 30 steps, and still at "
        "least 12 of the 120 gradients shall be turned away.",
    )
