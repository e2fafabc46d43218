"""The explorers of the notebook *first steps*."""

from collections.abc import Sequence

import ipywidgets

from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.figures import lifetimes
from cgtutor.course.shared.replay import replay


def memory_explorer(norms: Sequence[float]) -> Explorer:
    """Which of the gradients with these norms a memory keeps, by ``topC`` and ``decay``."""
    return Explorer(
        lambda topC, decay: lifetimes(replay(norms, topC, decay)),
        {
            "topC": ipywidgets.IntSlider(5, 1, 20, description="topC", continuous_update=False),
            "decay": ipywidgets.FloatSlider(
                value=0.7, min=0, max=1, step=0.01, description="decay", continuous_update=False
            ),
        },
        goal="with topC = 5, keep one gradient for 25 steps or more.",
    )
