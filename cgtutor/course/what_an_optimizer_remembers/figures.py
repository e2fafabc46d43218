"""The figures of the notebook *what an optimizer remembers*."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.ticker import StrMethodFormatter

from cgtutor.course.shared.style import BLUE, GREY, STYLE, Picture, looks, subplots


def weights_by_age(
    curves: Mapping[str, Sequence[float]], old: int = 10, oldest: int = 60
) -> Picture:
    """The weight of the gradient k steps ago in the step that is taken now.

    Args:
        curves: by name, at most four, the weights of the gradients of age 0, 1, and so on, as
            far back as there are any.
        old: in the legend stands how much of the weight lies on gradients older than this, in
            brackets.
        oldest: the age at which the axis ends.
    """
    said = []
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 4.6))
        for name, look in looks(curves):
            weights = list(curves[name])
            share = sum(weights[old + 1 :]) / sum(weights)
            ax.plot(
                range(len(weights)),
                [weight or math.nan for weight in weights],
                markevery=[*range(4), *range(oldest // 12, len(weights), oldest // 12)],
                markersize=6,
                markerfacecolor="none",
                label=f"{name} ({share:.0%})",
                **look,
            )
            said.append(
                f"{name}, now {weights[0]:.2g}, one step ago {weights[1]:.2g}, and {share:.0%} of "
                f"the weight on gradients older than {old} steps"
            )
        ax.set(xlabel="age of the gradient, in steps", ylabel="weight in the step taken now")
        ax.set(yscale="log", xlim=(-oldest / 60, 1.01 * oldest), ylim=(8e-4, 1.5))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        figure.legend(
            loc="outside upper center",
            ncols=1 if len(curves) < 3 else 2,
            title=f"in brackets: share of the weight on gradients older than {old} steps",
            title_fontsize="small",
        )
    figure.alt = (
        "Weight of a past gradient against its age, on a logarithmic scale, on which an "
        f"exponential is a straight line. The curves are: {'; '.join(said)}."
    )
    return figure


def moments(
    gradients: Sequence[float],
    first: Sequence[float],
    root: Sequence[float],
    step: Sequence[float],
) -> Picture:
    """A sequence of gradients with what Adam's two moments make of it, and the step that follows.

    Args:
        gradients: of one parameter, one for each step.
        first: the running mean of the gradients after each step, bias-corrected.
        root: the square root of the running mean of their squares, bias-corrected.
        step: ``first / root``, the step in units of the learning rate.
    """
    steps = range(len(gradients))
    with plt.rc_context(STYLE):
        figure, (above, below) = subplots(2, 1, figsize=(8, 4.8), sharex=True)
        above.plot(steps, gradients, color=GREY, linewidth=1, label="gradient g")
        names = ["first moment m̂", "root of the second moment, √v̂"]
        for (name, look), values in zip(looks(names), (first, root)):
            style = {key: look[key] for key in ("color", "linestyle")}
            above.plot(steps, values, label=name, **style)
        above.set(ylabel="size", yscale="log")
        above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        below.plot(steps, step, color=BLUE)
        below.set(xlabel="step", ylabel="m̂ / √v̂", ylim=(0, None))
        figure.legend(loc="outside upper center", ncols=3)
    peak = max(steps, key=lambda t: gradients[t])
    figure.alt = (
        f"Above, gradients with a spike of {gradients[peak]:g} at step {peak}, on a logarithmic "
        f"scale. The first moment jumps to {first[peak]:.0f} and is back at "
        f"{first[-1]:.0f} soon; the root of the second jumps to {root[peak]:.0f} and "
        f"is still {root[-1]:.1f} at the end. Below, the step: {step[peak - 1]:.1f} "
        f"before the spike, {step[-1]:.1f} at the end."
    )
    return figure
