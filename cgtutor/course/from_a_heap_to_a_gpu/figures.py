"""The figures of the notebook *from a heap to a gpu*."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from cgtutor.course.from_a_heap_to_a_gpu.study import Task, finished, memories, queue
from cgtutor.course.shared.player import Player, player
from cgtutor.course.shared.style import (
    BLUE,
    BY_HAND,
    GREEN,
    GREY,
    ORANGE,
    STYLE,
    WIDTH,
    Picture,
    annotate,
    finding,
    label,
    named,
    subplots,
)

#: How each kind of task is drawn, and what it is called.
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "launch": ("launch", {"facecolor": BLUE, "edgecolor": "white"}),
    "wait": ("wait", {"facecolor": "white", "edgecolor": GREY, "hatch": "////"}),
    "backward": ("backward pass", {"facecolor": "0.75", "edgecolor": "white"}),
    "norm": ("norm", {"facecolor": "#E69F00", "edgecolor": "white", "hatch": ".."}),
    "insert": ("insert", {"facecolor": ORANGE, "edgecolor": "white"}),
    "other": ("operations", {"facecolor": GREEN, "edgecolor": "white"}),
}


def operations(counts: Mapping[str, int], tensors: int) -> Picture:
    """How many operations a step launches, a bar for each optimizer."""
    names, numbers = list(counts), list(counts.values())
    most = names[numbers.index(max(numbers))]
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=2.5)
        colours = [ORANGE if name == most else BLUE for name in names]
        drawn = ax.barh(names, numbers, color=colours, height=0.62)
        ax.bar_label(drawn, padding=5, fontsize=13, fontweight="bold")
        ax.set(xlabel="operations launched in one step", xlim=(0, 1.1 * max(numbers)))
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        finding(figure, f"{numbers[1]} operations or {numbers[2]}, and the same numbers come out")
    figure.alt = (
        f"Bars: operations launched in one step of a model of {tensors} tensors. "
        f"{named({name: str(count) for name, count in counts.items()})}."
    )
    return figure


def _lane(ax: Axes, tasks: Sequence[Task], processor: str, y: float, until: float) -> None:
    """Draw what a processor has done until then."""
    for kind in TASKS:
        spans = [
            (t.start, min(t.end, until) - t.start)
            for t in tasks
            if t.processor == processor and t.kind == kind and t.start < until
        ]
        if spans:
            ax.broken_barh(spans, (y - 0.36, 0.72), **TASKS[kind][1])


#: Microseconds from one picture of the player to the next, and where its axis ends.
_STRIDE, _END = 8, 136


def two_queues(tensors: int = 4) -> Player:
    """CPU and GPU at work, once with a look at each norm and once without a look."""
    runs = {
        "The CPU looks at each norm": queue(memories(tensors, "each")),
        "The CPU never looks": queue(memories(tensors, "never")),
    }
    kinds = ("launch", "wait", "norm", "insert")

    def draw(i: int) -> Picture:
        now = (i + 1) * _STRIDE
        with plt.rc_context(BY_HAND):
            figure, axes = subplots(2, 1, height=4.4, sharex=True)
            figure.subplots_adjust(0.075, 0.115, 0.985, 0.83, hspace=0.42)
            for ax, (title, tasks) in zip(axes, runs.items()):
                for y, processor in enumerate(("CPU", "GPU")):
                    _lane(ax, tasks, processor, y, now)
                waiting = _waiting(tasks, now)
                x = [_END + 8 + 5 * (k % 4) for k in range(waiting)]
                y_of = [0.85 + 0.4 * (k // 4) for k in range(waiting)]
                ax.scatter(x, y_of, marker="s", s=90, color=BLUE)
                ax.text(_END + 4, 0, f"queue: {waiting}", va="center")
                ax.axvline(now, color="0.2", linewidth=1.2)
                ax.set(xlim=(0, _END + 28), ylim=(1.5, -0.5), yticks=[0, 1])
                ax.set_yticklabels(["CPU", "GPU"])
                ax.set_xticks(range(0, _END, 20))
                ax.axvline(_END, color="0.6", linewidth=0.8)
                end = finished(tasks)
                done = f": done after {end:g} µs" if now >= end else ""
                ax.set_title(title + done, loc="left", fontsize=12, fontweight="bold")
                ax.grid(visible=False)
            axes[-1].set_xlabel("microseconds")
            handles = [Patch(label=TASKS[kind][0], **TASKS[kind][1]) for kind in kinds]
            figure.legend(handles=handles, loc="upper center", ncols=4)
        return figure

    count = _END // _STRIDE
    times = {title: f"{finished(tasks):g} microseconds" for title, tasks in runs.items()}
    return player(
        draw,
        count,
        [_caption((i + 1) * _STRIDE, *runs.values()) for i in range(count)],
        f"Time lines of a CPU, which launches {2 * tensors} jobs, and a GPU, which works them "
        f"off. {named(times)}. With looks the GPU's time line has gaps, and without it has none.",
        milliseconds=350,
    )


def _waiting(tasks: Sequence[Task], now: float) -> int:
    launched = sum(t.kind == "launch" and t.end <= now for t in tasks)
    return launched - sum(t.processor == "GPU" and t.start <= now for t in tasks)


def _caption(now: float, looks: Sequence[Task], never: Sequence[Task]) -> str:
    doing = {t.processor: t.kind for t in looks if t.start <= now < t.end}
    if now >= finished(looks):
        return "Both have done the same work. Each look cost the time of an answer and a launch."
    if now >= finished(never):
        return "Below, all is done. Above, every look makes the CPU wait, and then the GPU."
    if doing.get("CPU") == "wait":
        if "GPU" in doing:
            return "Above, the CPU waits for a norm and launches nothing. Below, the queue fills."
        return "Above, the answer is on its way. The GPU has nothing to do."
    if "GPU" not in doing:
        return "Above, the queue is empty: the GPU waits for the next launch."
    return "The CPU launches jobs. The GPU works them off in order."


def drift(errors: Mapping[str, Sequence[float]], stride: int) -> Picture:
    """Relative errors of running sums, on a logarithmic scale.

    Args:
        errors: after every so many insertions, for one that is never recomputed and one that is.
        stride: how many insertions that is.
    """
    (never, bad), (often, good) = errors.items()
    x = range(stride, stride * len(bad) + 1, stride)
    last = x[-1]
    with plt.rc_context(STYLE):
        figure, ax = subplots(height=3.6)
        ax.plot(x, bad, color=ORANGE)
        ax.plot(x, good, color=BLUE, linestyle="--", linewidth=0.8)
        ax.set(xlabel="insertions", ylabel="relative error of the sum", yscale="log")
        ax.set(ylim=(1e-8, 10), xlim=(0, last))
        label(ax, 0.45 * last, 6e-3, never, ORANGE, ha="right")
        label(ax, 0.97 * last, 3e-8, often, BLUE, ha="right")
        wrong = f"off by {bad[-1]:.0%}"
        annotate(ax, wrong, (last, bad[-1]), (0.78 * last, 1.5))
        finding(figure, "A running sum that is never recomputed loses every digit")
    largest = {name: f"{max(error):.0e}" for name, error in errors.items()}
    figure.alt = (
        f"Relative error of the sum over {last} insertions of ever smaller gradients, on a "
        f"logarithmic scale. The largest error of each way. {named(largest)}."
    )
    return figure


def queues(tasks: Mapping[str, Sequence[Task]], backward: float, end: float) -> Picture:
    """Time lines of two engines behind a backward pass; as fast to draw as an explorer needs."""
    with plt.rc_context(BY_HAND):
        figure = Picture(figsize=(WIDTH, 3.2))
        ax = figure.add_axes((0.19, 0.16, 0.79, 0.7))
        names = []
        for row, (name, those) in enumerate(tasks.items()):
            y = 2.4 * row
            for lane, processor in enumerate(("CPU", "GPU")):
                _merged(ax, those, processor, y + 0.9 * lane)
                names.append((y + 0.9 * lane, f"{name}, {processor}" if not lane else processor))
            last = finished(those)
            text = f"{last - backward:,.0f} µs"
            ax.text(min(last + 40, 0.86 * end), y + 0.9, text, va="center", fontweight="bold")
        ax.set(xlim=(0, end), ylim=(3.9, -0.6), xlabel="microseconds")
        ax.set_yticks([y for y, _ in names], [name for _, name in names])
        ax.set_xticks(range(0, int(end), 2000))
        ax.grid(visible=False)
        handles = [
            Patch(label=TASKS[kind][0], facecolor=TASKS[kind][1]["facecolor"], edgecolor=GREY)
            for kind in ("launch", "wait", "backward", "other")
        ]
        handles[1].set_hatch("////")
        figure.legend(handles=handles, loc="upper center", ncols=4)
    times = {name: f"{finished(those) - backward:,.0f}" for name, those in tasks.items()}
    figure.alt = (
        f"Time lines of CPU and GPU. Microseconds from the end of the backward pass to the end of "
        f"the step. {named(times)}."
    )
    return figure


def _merged(ax: Axes, tasks: Sequence[Task], processor: str, y: float) -> None:
    """Tasks that follow each other without a gap as one bar."""
    spans: dict[str, list[list[float]]] = {"launch": [], "wait": [], "backward": [], "other": []}
    for task in tasks:
        if task.processor == processor:
            of = spans[task.kind if task.kind in spans else "other"]
            if of and task.start <= of[-1][1] + 1e-6:
                of[-1][1] = task.end
            else:
                of.append([task.start, task.end])
    for kind, those in spans.items():
        look = {**TASKS[kind][1], "edgecolor": "none"}
        if kind == "wait":
            look["edgecolor"] = GREY
        if those:
            bars = [(start, stop - start) for start, stop in those]
            ax.broken_barh(bars, (y - 0.36, 0.72), **look)


def step_times(panels: Mapping[str, Mapping[str, float]], floor: float, device: str) -> Picture:
    """Measured times of a step, as multiples of the first one's, and the floor.

    The title says what came out, whatever that is.

    Args:
        panels: for small tensors and for large ones, by name; the first is without a memory.
        floor: of a step with a memory.
        device: where it was measured.
    """
    with plt.rc_context(STYLE):
        rows = max(len(panel) for panel in panels.values())
        figure, axes = subplots(1, len(panels), height=1.6 + 0.42 * rows, sharey=True)
        for ax, (title, panel) in zip(axes, panels.items()):
            values = list(panel.values())
            drawn = ax.barh(list(panel), values, color=BLUE, height=0.6)
            numbers = ax.bar_label(drawn, labels=[f"{v:.1f}" for v in values], padding=4)
            ax.axvline(floor, color=ORANGE, linestyle="--")
            for text in numbers:  # over the line
                text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
            ax.set(xlim=(0, 1.25 * max(*values, floor)))
            ax.set_title(title, fontsize=12, loc="left")
            ax.grid(visible=False, axis="y")
        label(axes[-1], floor, len(panel) - 0.35, " floor", ORANGE)
        axes[0].set_ylim(rows - 0.1, -0.6)
        figure.supxlabel(f"time of a step on {device}, SGD = 1 (measured)", fontsize=11)
        small, large = (list(panel.items())[1:] for panel in panels.values())
        best = min(small, key=lambda item: item[1])[0]
        times = min(value for _, value in large) / floor
        text = f"Small: {best} is fastest. Large: {times:.1f} times the floor at best"
        finding(figure, text)
    figure.alt = (
        f"Bars of measured times of a step, SGD's being 1, for {' and '.join(panels)}: "
        f"{', '.join(panel)}. A line at {floor:.2f} is the floor."
    )
    return figure
