"""The figures of the notebook *from a heap to a gpu*."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from cgtutor.course.from_a_heap_to_a_gpu.study import Task
from cgtutor.course.shared.style import BLUE, GREY, ORANGE, STYLE, Picture, looks, named, subplots


def timelines(runs: Mapping[str, Sequence[Task]]) -> Picture:
    """What two processors do and when, one panel for each run, on a common scale."""
    looks: dict[str, dict[str, Any]] = {
        "launch": {"facecolor": BLUE},
        "wait": {"facecolor": "white", "edgecolor": GREY, "hatch": "////"},
        "norm": {"facecolor": "#E69F00", "hatch": ".."},
        "insert": {"facecolor": ORANGE},
    }
    names = {
        "launch": "CPU launches a job",
        "wait": "CPU waits for a number",
        "norm": "GPU takes a norm",
        "insert": "GPU inserts",
    }
    with plt.rc_context(STYLE):
        figure, axes = subplots(
            len(runs),
            1,
            figsize=(8, 0.6 + 1.3 * len(runs)),
            sharex=True,
            squeeze=False,
        )
        for ax, (title, tasks) in zip(axes[:, 0], runs.items()):
            for kind, look in looks.items():
                chosen = [task for task in tasks if task.kind == kind]
                ax.barh(
                    [task.processor for task in chosen],
                    [task.end - task.start for task in chosen],
                    left=[task.start for task in chosen],
                    height=0.6,
                    **{"edgecolor": "white", **look},
                )
            end = max(task.end for task in tasks)
            ax.set_title(f"{title}: {end:g} microseconds", loc="left", fontsize="medium")
            ax.set(ylim=(1.6, -0.6))
            ax.grid(visible=False, axis="y")
        axes[-1, 0].set(xlabel="microseconds")
        handles = [
            Patch(label=names[kind], **{"edgecolor": "white", **look})
            for kind, look in looks.items()
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize="small")
    times = {
        title: f"{max(task.end for task in tasks):g} microseconds, of which the CPU waits "
        f"{sum(task.end - task.start for task in tasks if task.kind == 'wait'):g}"
        for title, tasks in runs.items()
    }
    figure.alt = (
        "Time lines of CPU and GPU, one panel for each way to insert: the CPU launches jobs and "
        f"waits for numbers, the GPU takes norms and inserts. {named(times)}."
    )
    return figure


def relative_errors(errors: Mapping[str, Sequence[float]]) -> Picture:
    """Relative errors after each insertion, on a logarithmic scale."""
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(7, 3.6))
        for name, look in looks(errors):
            ax.plot(
                range(1, len(errors[name]) + 1),
                errors[name],
                label=name,
                color=look["color"],
                linestyle=look["linestyle"],
            )
        ax.set(xlabel="insertions", ylabel="relative error of the sum", yscale="log")
        figure.legend(loc="outside upper center", ncols=2)
    largest = {name: f"{max(error):.0e}" for name, error in errors.items()}
    figure.alt = (
        "Relative error of the sum over the insertions, on a logarithmic scale. "
        f"The largest error of each way. {named(largest)}."
    )
    return figure
