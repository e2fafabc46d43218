"""Figures about a training's schedule. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from cgtutor.course.shared.style import GREY, STYLE, Picture, band, looks, subplots


def schedules(rates: Mapping[str, Sequence[float]]) -> Picture:
    """The learning rate of each step, a curve for each scheduler.

    Args:
        rates: by the scheduler's name; the first step is step 1.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(7, 3.6))
        for name, look in looks(rates):
            steps = range(1, len(rates[name]) + 1)
            ax.plot(steps, rates[name], markersize=4, markevery=10, label=name, **look)
        ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
        figure.legend(loc="outside upper center", ncols=min(3, len(rates)))
    courses = (
        f"{name} starts at {values[0]:.2g}, is highest at step {1 + values.index(max(values))} "
        f"with {max(values):.2g}, and ends at {values[-1]:.2g}"
        for name, values in rates.items()
    )
    figure.alt = f"The learning rate over the steps of a training. {'; '.join(courses)}."
    return figure


def leftovers(slots: Mapping[str, Sequence[Sequence[int]]], topC: int = 10) -> Picture:
    """How many slots of a memory are still filled from before a change; mean and range over seeds.

    Args:
        slots: by the curve's name, for each seed the number after each step since the change.
        topC: how many slots there are.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(7, 3.6))
        means = {}
        for name, look in looks(slots):
            counts = list(zip(*slots[name]))
            means[name] = [sum(of_step) / len(of_step) for of_step in counts]
            band(ax, range(1, len(counts) + 1), counts, label=name, **look)
        ax.axhline(topC, color=GREY, linewidth=0.8)
        ax.set(
            xlabel="steps since the change",
            ylabel="slots filled before it",
            ylim=(-0.03 * topC, 1.05 * topC),
        )
        figure.legend(
            loc="outside upper center",
            ncols=len(slots),
            title="line: mean over the seeds; band: from the lowest to the highest of them",
            title_fontsize="small",
        )
    halves = []
    for name, of_name in means.items():
        fewer = [step for step, value in enumerate(of_name, start=1) if value < topC / 2]
        halves.append(f"{name}: {fewer[0] if fewer else f'more than {len(of_name)}'}")
    figure.alt = (
        f"Of {topC} slots, how many are left from before the change; the curves fall. Steps until "
        f"fewer than half are left on average: {'; '.join(halves)}."
    )
    return figure
