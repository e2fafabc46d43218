"""Speed."""

import torch
from torch.optim import SGD

from cgtutor import SGD_C
from cgtutor.course.shared.speed import step_times


def test_step_times(monkeypatch):
    """The median, of steps that take turns, after those that fill the memory."""
    clock = iter(range(10_000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    order = []

    class Watched(SGD):
        def step(self):
            order.append(self.param_groups[0]["name"])
            for _ in range(self.param_groups[0]["ticks"]):
                next(clock)

    def maker(name, ticks):
        def make(params, lr):
            return Watched([{"params": params, "name": name, "ticks": ticks}], lr)

        return make

    times = step_times({"a": maker("a", 1), "b": maker("b", 4)}, [(2, 3), ()], repeats=3, fill=2)
    assert times == {"a": 2.0, "b": 5.0}
    assert order == ["a", "b"] * 5


def test_step_times_of_real_steps():
    times = step_times({"SGD_C": lambda p, lr: SGD_C(p, lr)}, [(2,)], repeats=3, fill=1)
    assert times["SGD_C"] > 0


def test_step_times_on_a_gpu_wait_for_it(monkeypatch):
    """Before and after each step; here the device is a stand-in."""
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    monkeypatch.setattr("torch.zeros", lambda *_, device, **__: torch.ones(2))
    step_times({"SGD": lambda p, lr: SGD(p, lr)}, [(2,)], "cuda", repeats=3, fill=1)
    assert len(waits) == 8
