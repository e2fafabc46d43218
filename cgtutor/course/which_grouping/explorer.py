"""Explorers about groups of parameters."""

import ipywidgets

from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.style import Picture
from cgtutor.course.which_grouping.figures import interventions
from cgtutor.course.which_grouping.recording import Gramians, labels, replay_vaccine


def grouping_explorer(recorded: Gramians) -> Explorer:
    """What a vaccine would do at each step of a recorded training, by grouping and ``beta``."""

    def draw(strategy: str, beta: float, shows: str) -> Picture:
        groups = recorded.groups[strategy]
        report = replay_vaccine(recorded, groups, beta)
        values = {
            "strength": report.strength.mean(-1),
            "frequency": report.frequency,
            "cosine": report.cosines[..., 0, 1],
        }
        rows = labels(groups, recorded.names, recorded.sizes)
        return interventions(values[shows], rows, shows)

    return Explorer(
        draw,
        {
            "strategy": ipywidgets.Dropdown(
                options=list(recorded.groups), value="enc_dec", description="strategy"
            ),
            "beta": ipywidgets.FloatSlider(
                value=0.5, min=0, max=1, step=0.05, description="beta", continuous_update=False
            ),
            "shows": ipywidgets.Dropdown(
                options=[
                    ("strength of the change", "strength"),
                    ("share of pairs corrected", "frequency"),
                    ("cosine of the first two tasks", "cosine"),
                ],
                value="strength",
                description="shows",
            ),
        },
        goal="find a strategy and a beta for which some row's mean strength is above 1. "
        "With which strategies is that out of reach?",
    )
