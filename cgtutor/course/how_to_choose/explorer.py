"""Explorers about choosing a memory."""

import ipywidgets

from cgtutor.course.how_to_choose.figures import spike_priorities
from cgtutor.course.how_to_choose.study import name, spike
from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.style import Picture


def spike_explorer() -> Explorer:
    """How long one large gradient stays, by ``decay``, by its size and by ``topC``."""

    def draw(decay: float, ratio: float, topC: int) -> Picture:
        label = f"{ratio:g} times the others, {name(topC, decay)}"
        return spike_priorities({label: spike(ratio, decay, topC)})

    return Explorer(
        draw,
        {
            "decay": ipywidgets.FloatSlider(
                value=0.9,
                min=0,
                max=1,
                step=0.005,
                readout_format=".3f",
                description="decay",
                continuous_update=False,
            ),
            "ratio": ipywidgets.SelectionSlider(
                options=[1.5, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
                value=100,
                description="ratio",
                continuous_update=False,
            ),
            "topC": ipywidgets.IntSlider(1, 1, 20, description="topC", continuous_update=False),
        },
        goal="with topC = 1, find a decay with which a gradient of twice the norm of the others "
        "is kept for 20 steps or more. How long is one of 100 times their norm kept then?",
    )
