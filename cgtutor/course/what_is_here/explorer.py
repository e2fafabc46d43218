"""The explorer of notebook 00."""

from collections.abc import Callable, Sequence

from cgtutor.course.shared.explorer import Explorer, slider
from cgtutor.course.shared.style import Picture
from cgtutor.course.what_is_here.figures import memory, outcome
from cgtutor.course.what_is_here.study import NORMS, moments


def decays(kept: Callable[[float], Sequence[float]]) -> Explorer:
    """Drag the decay, and see which of the eight gradients are in the memory at the end.

    Args:
        kept: what the memory of two keeps with a decay, as the reader wrote it.
    """

    def draw(decay: float) -> Picture:
        last = moments(decay=decay)[-1]
        figure = memory(last, title="After eight steps", quick=True)
        figure.alt = f"After eight steps with the decay {decay:g}. {outcome(last)}"
        return figure

    def reached(decay: float) -> str:
        below = round(decay - 0.01, 2)
        if 4 not in kept(decay) or below < 0 or 4 in kept(below):
            return ""
        return (
            f"with {decay:g} the memory evicts the 3 in step 6, and the 4 stays. With {below:g} it "
            "is the other way round."
        )

    return Explorer(
        draw,
        {"decay": slider("decay", 0.5, 0, 1, 0.01)},
        f"find the smallest decay that keeps the {NORMS[0]:g} to the end.",
        reached,
    )
