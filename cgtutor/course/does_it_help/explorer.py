"""The explorer of the learning rates of two sides."""

from collections.abc import Sequence

from cgtutor.course.does_it_help.alone import Array
from cgtutor.course.does_it_help.figures import rates_and_lead
from cgtutor.course.does_it_help.study import interval
from cgtutor.course.shared.explorer import Explorer, choices
from cgtutor.course.shared.style import Picture


def rate_explorer(rates: Sequence[float], base: Array, memory: Array) -> Explorer:
    """The lead of SGD_C by the learning rates of both sides.

    Args:
        rates: the learning rates.
        base: results of SGD in percent, by data set and learning rate, shape (D, L).
        memory: those of SGD_C.
    """
    rates = list(rates)
    found = {
        (i, j): interval(memory[:, j] - base[:, i])
        for i in range(len(rates))
        for j in range(len(rates))
    }

    def draw(rival: float, ours: float) -> Picture:
        i, j = rates.index(rival), rates.index(ours)
        return rates_and_lead(rates, [found[k, j] for k in range(len(rates))], i, j)

    def reached(rival: float, ours: float) -> str:
        mean, half = found[rates.index(rival), rates.index(ours)]
        if ours > 0.001 or abs(mean) > min(half, 1):
            return ""
        return (
            f"SGD at {rival:g} against SGD_C at {ours:g}: {mean:.1f} ± {half:.1f} points. At "
            f"{rival / ours:g} times its learning rate nobody leads."
        )

    return Explorer(
        draw,
        {
            "rival": choices("learning rate, SGD", 0.001, rates),
            "ours": choices("learning rate, SGD_C", 0.001, rates),
        },
        goal="leave SGD_C at 0.001 and find the learning rate of SGD at which nobody leads.",
        reached=reached,
    )
