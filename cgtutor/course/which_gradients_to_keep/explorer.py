"""The explorers of the notebook *which gradients to keep*."""

from collections.abc import Sequence

import ipywidgets

from cgtutor.course.shared.explorer import Explorer, slider
from cgtutor.course.shared.replay import replay
from cgtutor.course.shared.style import Picture
from cgtutor.course.which_gradients_to_keep.figures import slots_over_time
from cgtutor.course.which_gradients_to_keep.study import with_spike


def slots_explorer(norms: Sequence[float]) -> Explorer:
    """A memory's slots over time, by ``topC``, ``decay`` and the height and step of a spike."""

    def draw(topC: int, decay: float, height: float, step: int) -> Picture:
        lives = replay(with_spike(norms, step, height), topC, decay)
        return slots_over_time({f"topC = {topC}, decay = {decay:g}": lives}, mark=step)

    return Explorer(
        draw,
        {
            "topC": slider("topC", 10, 1, 20, 1, ipywidgets.IntSlider),
            "decay": slider("decay", 0.99, 0, 1, 0.01),
            "height": slider("times its norm", 10, 0, 100, 1),
            "step": slider("step of the spike", 40, 0, len(norms) - 1, 1, ipywidgets.IntSlider),
        },
        goal="the memory evicts the spike of height 10 at step 40 after at most 30 steps, and "
        "still rejects at least 12 of the 120 gradients.",
    )
