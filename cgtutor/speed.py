"""What a step costs: a model of a queue, a count of words, and a stopwatch."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from cgtutor.training import MakeOptimizer


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


def words(topC: int = 20, inserting: bool = True, update: int = 7) -> dict[str, int]:
    """Numbers moved between memory and processor for each parameter of a model, in one step.

    Args:
        topC: gradients kept; the memory is full.
        inserting: whether this step's gradient enters.
        update: numbers that torch's update alone moves. Adam: it reads the gradient, and it
            reads and writes the parameter and two averages, 7.

    Returns:
        By name, for an aggregate made by adding all rows and for one made with a running sum.
    """
    norm = 1  # read the gradient to take its norm
    adding_all = update + norm + topC + (1 if inserting else 0)  # write a row
    running_sum = update + norm + 1 + (3 if inserting else 0)  # read and write a row, write the sum
    return {"adding all rows": adding_all, "running sum": running_sum}


def step_times(
    optimizers: Mapping[str, MakeOptimizer],
    shapes: Sequence[Sequence[int]],
    device: str = "cpu",
    repeats: int = 15,
    fill: int = 12,
) -> dict[str, float]:
    """Median time of a step, in seconds, of optimizers that take turns.

    Every one gets the same gradient in each of its steps.

    Args:
        optimizers: by name, how to build each from parameters and a learning rate.
        shapes: of the parameters.
        device: "cpu" or "cuda".
        repeats: timed steps of each.
        fill: steps of each before that, which fill its memory.
    """
    built = {}
    for name, make in optimizers.items():
        parameters = [
            nn.Parameter(torch.zeros(tuple(shape), dtype=torch.float32, device=device))
            for shape in shapes
        ]
        for p in parameters:
            p.grad = torch.ones_like(p)
        built[name] = make(parameters, 1e-3)
    jobs = {name: partial(_finished_step, optimizer, device) for name, optimizer in built.items()}
    return median_times(jobs, repeats, fill, before=partial(_finish, device))


def _finished_step(optimizer: Optimizer, device: str) -> None:
    optimizer.step()
    _finish(device)


def median_times(
    jobs: Mapping[str, Callable[[], object]],
    repeats: int,
    warm_up: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median time of each job, in seconds.

    They take turns, because other work on the machine then falls on all alike.

    Args:
        jobs: by name, what is timed.
        repeats: timed runs of each.
        warm_up: runs of each before that.
        before: done before each run, untimed.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(warm_up + repeats):
        for name, job in jobs.items():
            before()
            start = time.perf_counter()
            job()
            if turn >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured) for name, measured in times.items()}


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


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
