"""What a step costs: a stopwatch whose jobs take turns."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from cgtutor.course.shared.training import MakeOptimizer


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
