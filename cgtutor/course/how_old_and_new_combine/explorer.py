"""Explorers about how old and new gradients combine."""

from collections.abc import Mapping
from typing import Literal

import ipywidgets
from torch.optim import SGD

from cgtutor.course.how_old_and_new_combine.descent import Build, descend, in_words
from cgtutor.course.how_old_and_new_combine.figures import trajectories
from cgtutor.course.how_old_and_new_combine.surfaces import SURFACES
from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.style import Picture
from cgtutor.memory import AGGREGATES
from cgtutor.optim import SGD_C


def rules_explorer(steps: int = 60) -> Explorer:
    """SGD, SGD with twice the learning rate and SGD_C, by κ, rule, surface and start."""

    def draw(
        kappa: float, rule: Literal["sum", "mid", "mean"], surface: str, start: str
    ) -> Picture:
        chosen = SURFACES[surface]
        rate = chosen.rate
        optimizers: Mapping[str, Build] = {
            "SGD": lambda groups: SGD(groups, lr=rate),
            "SGD, rate · 2": lambda groups: SGD(groups, lr=2 * rate),
            "SGD_C": lambda groups: SGD_C(groups, lr=rate, kappa=kappa, aggr=rule, topC=5),
        }
        paths = descend(chosen.function, chosen.start(start), optimizers, steps)
        title = (
            f"learning rate {in_words(rate)}; SGD_C: {rule}, κ = {kappa:.2f}, topC = 5, decay = 0.7"
        )
        return trajectories({surface: paths}, title)

    return Explorer(
        draw,
        {
            "kappa": ipywidgets.FloatSlider(
                value=1, min=0, max=3, step=0.05, description="κ", continuous_update=False
            ),
            "rule": ipywidgets.Dropdown(options=list(AGGREGATES), value="sum", description="rule"),
            "surface": ipywidgets.Dropdown(
                options=list(SURFACES), value="Beale", description="surface"
            ),
            "start": ipywidgets.Dropdown(options=list("ABCD"), value="A", description="start"),
        },
        goal="on Goldstein–Price from A, SGD ends in the local minimum beside the start. Find the "
        "smallest κ with which the rule sum brings SGD_C below a height of 1. Then, on Beale "
        "from D, where SGD converges: with κ = 1, which rule diverges, up to which κ does it not?",
    )
