"""The explorer of the notebook *from a heap to a gpu*."""

import ipywidgets

from cgtutor.course.from_a_heap_to_a_gpu.figures import queues
from cgtutor.course.from_a_heap_to_a_gpu.study import Task, finished, heap_step, queue, stacked_step
from cgtutor.course.shared.explorer import Explorer, choices, slider
from cgtutor.course.shared.style import Picture

#: How long the GPU is still busy with the backward pass, and where the axis ends.
BACKWARD, END = 300.0, 4700.0

#: From which part of the time on the GPU counts as busy.
BUSY = 0.9


def busy(tasks: list[Task]) -> float:
    """The part of the time after the backward pass in which the GPU works."""
    working = sum(t.end - t.start for t in tasks if t.processor == "GPU" and t.kind != "backward")
    return working / (finished(tasks) - BACKWARD)


def launch_explorer() -> Explorer:
    """A step of SGD_C and one of the notebook's class in the queue of a GPU, behind a backward."""

    def runs(tensors: int, topC: int, parameters: float) -> dict[str, list[Task]]:
        return {
            "SGD_C": queue(heap_step(tensors, topC, parameters), BACKWARD),
            "Stacked": queue(stacked_step(parameters), BACKWARD),
        }

    def draw(**values: float) -> Picture:
        return queues(runs(**values), BACKWARD, END)  # type: ignore[arg-type]

    def reached(**values: float) -> str:
        heap, one = runs(**values).values()  # type: ignore[arg-type]
        if busy(heap) < BUSY:
            return ""
        times = (finished(heap) - BACKWARD) / (finished(one) - BACKWARD)
        return (
            f"operations now take longer than their launches, so launches hardly count. Stacked "
            f"is still {times:.1f} times as fast, because it moves fewer words."
        )

    return Explorer(
        draw,
        {
            "tensors": slider("tensors", 16, 1, 32, 1, ipywidgets.IntSlider),
            "topC": slider("topC", 10, 1, 20, 1, ipywidgets.IntSlider),
            "parameters": choices(
                "parameters", 1e5, (1e4, 1e5, 3e5, 1e6, 3e6, 5e6, 1e7, 1.5e7, 2e7)
            ),
        },
        goal=f"keep SGD_C's GPU busy for {BUSY:.0%} of the time after the backward pass. "
        "Which sliders help, and which one does nothing?",
        reached=reached,
    )
