"""The explorer of the notebook *which gradients to keep*."""

from collections.abc import Sequence
from functools import lru_cache

import ipywidgets

from cgtutor.course.shared.explorer import Explorer, choices, slider
from cgtutor.course.shared.style import Picture
from cgtutor.course.which_gradients_to_keep.figures import explored
from cgtutor.course.which_gradients_to_keep.study import Played, Remember, play, with_spike

SPIKE = 40  #: the step of the spike
DECAYS = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1)


def slots_explorer(remember: Remember, norms: Sequence[float]) -> Explorer:
    """A memory's slots over time, by ``topC``, ``decay`` and the height of a spike."""

    @lru_cache(maxsize=1)
    def played(topC: int, decay: float, height: float) -> Played:
        return play(remember, with_spike(norms, SPIKE, height), topC, decay)

    def draw(topC: int, decay: float, height: float) -> Picture:
        return explored(played(topC, decay, height), SPIKE, f"topC {topC}, decay {decay:g}")

    def reached(topC: int, decay: float, height: float) -> str:
        life = played(topC, decay, height)
        stays, rejected = life.stays(SPIKE), life.rejected
        if height != 10 or stays > 30 or rejected < 12:
            return ""
        return (
            f"with {topC} slot{'s' * (topC > 1)} the spike stays {stays} steps, and "
            f"{rejected} gradients are rejected. Few slots choose even at a fast decay."
        )

    return Explorer(
        draw,
        {
            "topC": slider("topC", 10, 1, 20, 1, ipywidgets.IntSlider),
            "decay": choices("decay", 0.99, DECAYS),
            "height": slider("spike, times its norm", 10, 1, 30, 1, ipywidgets.IntSlider),
        },
        goal=f"a spike of ten times its norm stays at most 30 steps, and at least 12 of the "
        f"{len(norms)} gradients are rejected, so that the memory still chooses.",
        reached=reached,
    )
