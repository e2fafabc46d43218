"""What is trained and measured of the notebook *from a heap to a gpu*."""

from collections.abc import Iterable
from typing import NamedTuple

import torch


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


def running_sum_errors(
    norms: Iterable[float], topC: int = 20, every: int | None = None
) -> list[float]:
    """Relative error of a running sum in float32, after each insertion into a full memory.

    The memory holds the last topC of a sequence of random vectors with 50 elements.

    Args:
        norms: about the norm of each.
        topC: vectors kept.
        every: make the sum anew after so many insertions; ``None`` for never.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.zeros(topC, 50, dtype=torch.float32)
    total = torch.zeros(50, dtype=torch.float32)
    errors = []
    for t, norm in enumerate(norms):
        new = torch.randn(50, generator=generator, dtype=torch.float32) * (norm / 50**0.5)
        slot = t % topC
        total += new - rows[slot]
        rows[slot] = new
        if every and (t + 1) % every == 0:
            total = rows.sum(0)
        exact = rows.double().sum(0)
        errors.append(((total.double() - exact).norm() / exact.norm()).item())
    return errors
