"""The explorer about weights."""

import math

import ipywidgets

from cgtutor.course.how_to_choose.figures import Weights
from cgtutor.course.how_to_choose.study import FEATURE_NORM, LEAST_SQUARES, errors
from cgtutor.course.shared.explorer import Explorer, choices, slider

DECAYS = [0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, 0.9975, 0.999]


def weights_explorer() -> Explorer:
    """How much a gradient counts by its norm, for the norms that the fit has in the end."""
    weights = Weights(abs(errors(LEAST_SQUARES)) * FEATURE_NORM)

    def reached(topC: int, decay: float) -> str:
        a = topC * math.log(1 / decay)
        ratio = weights.ratio(a)
        if topC < 20 or ratio < 9:
            return ""
        return (
            f"a = {a:.3g}, and the loudest tenth has {ratio:.1f} times the others' weight. With "
            f"topC = 5 the same a needs decay = {math.exp(-a / 5):.4g} and a quarter of the bytes."
        )

    return Explorer(
        weights.draw,
        {
            "topC": slider("topC", 5, 1, 20, 1, ipywidgets.IntSlider),
            "decay": choices("decay", 0.7, DECAYS),
        },
        goal="with topC = 20, give the loudest tenth at least nine times the weight of the others.",
        reached=reached,
    )
