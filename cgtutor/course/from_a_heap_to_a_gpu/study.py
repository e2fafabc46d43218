"""What is trained and measured of the notebook *from a heap to a gpu*."""

from typing import NamedTuple


class Task(NamedTuple):
    """Something that a processor does, and when, in microseconds."""

    processor: str  #: "CPU" or "GPU"
    kind: str  #: "launch" or "wait" on the CPU, "norm" or "insert" on the GPU
    start: float
    end: float


def queue(
    tensors: int, looks: str, launch: float = 5, work: float = 8, answer: float = 10
) -> list[Task]:
    """A memory at work on a GPU, in a model that fits on one page.

    For each tensor two jobs: take the norm, then put the gradient into the memory. The CPU
    launches jobs; the GPU works them off in order, each as soon as it is launched.

    Args:
        tensors: number of parameter tensors.
        looks: when the CPU waits for norms: "each" before it launches the insertion, "once"
            for all of them before it launches the first insertion, or "never".
        launch: how long the CPU takes to launch a job (microseconds, like all times here).
        work: how long the GPU takes for a job.
        answer: how long a number is on its way from the GPU to the CPU.
    """
    one_by_one = [job for _ in range(tensors) for job in ("norm", "insert")]
    jobs = one_by_one if looks == "each" else ["norm"] * tensors + ["insert"] * tensors
    tasks = []
    cpu = gpu = 0.0
    for i, job in enumerate(jobs):
        tasks.append(Task("CPU", "launch", cpu, cpu + launch))
        cpu += launch
        start = max(cpu, gpu)
        gpu = start + work
        tasks.append(Task("GPU", job, start, gpu))
        last_norm = job == "norm" and jobs[i + 1] == "insert"
        if looks != "never" and last_norm:
            tasks.append(Task("CPU", "wait", cpu, gpu + answer))
            cpu = gpu + answer
    return tasks
