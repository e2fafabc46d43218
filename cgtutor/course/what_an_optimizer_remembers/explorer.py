"""The explorers of the notebook *what an optimizer remembers*."""

from collections.abc import Sequence

import ipywidgets

from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.replay import replay
from cgtutor.course.shared.style import Picture
from cgtutor.course.what_an_optimizer_remembers.figures import weights_by_age
from cgtutor.course.what_an_optimizer_remembers.study import memory_weights, momentum_weights


def weights_explorer(norms: Sequence[float]) -> Explorer:
    """The weights of past gradients, for momentum by β, for a memory by ``topC`` and ``decay``."""

    def draw(beta: float, topC: int, decay: float) -> Picture:
        lives = replay(norms, topC, decay)
        return weights_by_age(
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
