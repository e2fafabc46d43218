"""What is trained and measured of the notebook *how to choose*."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from cgtutor.course.shared.data import Data, network
from cgtutor.course.shared.training import (
    Curves,
    MakeOptimizer,
    mean_and_deviation,
    plus_minus,
    train,
)
from cgtutor.memory import CriticalGradients
from cgtutor.optim import Adam_C
from cgtutor.optim_eff import Adam_C_eff


class Spike(NamedTuple):
    """How a memory treats one gradient that is larger than all others.

    Attributes:
        priorities: the spike's priority as each later gradient finds it: the first entry one
            step after it came in, the last at the step at which it goes.
        survives: that step, counted from the spike's own; also the number of later steps whose
            aggregate holds the spike. ``None`` if it is still there when the watching ends.
    """

    priorities: list[float]
    survives: int | None


def spike(ratio: float, decay: float, topC: int = 1, longest: int = 1000) -> Spike:
    """Watch a memory of ordinary gradients, all of the norm 1, with one larger gradient among them.

    The memory is full of ordinary gradients when the large one comes, and ordinary ones follow.

    Args:
        ratio: norm of the large gradient, above 1.
        decay: factor for every stored priority after each step, in [0, 1].
        topC: number of gradients to keep, at least 1.
        longest: how many later steps to watch.

    Raises:
        ValueError: ``ratio`` is not above 1, or ``topC`` or ``decay`` is out of range.
    """
    if not ratio > 1:
        raise ValueError(f"ratio must be a number > 1, got {ratio!r}")
    memory, gradient = CriticalGradients(topC, decay), torch.tensor(0.0)  # norms are all it needs
    for norm in [1.0] * topC + [ratio]:
        memory.insert(norm, gradient)
        memory.fade()
    priorities = []
    for age in range(1, longest + 1):
        priorities.append(memory.priorities[memory.ages.index(age - 1)])
        memory.insert(1.0, gradient)
        if age not in memory.ages:
            return Spike(priorities, age)
        memory.fade()
    return Spike(priorities, None)


def recorded_ages(
    make: MakeOptimizer, lr: float, data: Data, epochs: int = 20, seed: int = 0
) -> list[int]:
    """Train :func:`.network` and note the ages of all gradients in memory, after every step.

    Steps before the memory is full do not count. The memory is that of the first parameter; as
    long as priorities are ``synced``, all parameters remember the same steps.

    Args:
        make: builds a critical-gradient optimizer from parameters and a learning rate.
        lr: learning rate.
        data: pictures of 64 pixels in 10 classes, as :func:`.digits` gives them.
        epochs: passes over the training part.
        seed: for initial weights and order of the data.

    Returns:
        All ages in steps (0: it came in at this step), in one list.
    """
    model = network(seed=seed)
    optimizer: Any = make(model.parameters(), lr)
    first, found = next(model.parameters()), []

    def note() -> None:
        memory = optimizer.memory(first)
        if len(memory) == memory.topC:
            found.extend(memory.ages)

    train(model, optimizer, data, epochs, seed=seed, after_step=note)
    return found


#: Where a class of ages begins. The classes are not equally wide.
AGE_CLASSES = [0, 5, 10, 20, 50, 100]


def age_shares(ages: Sequence[int]) -> dict[str, float]:
    """Which part of the ages is in each of :data:`AGE_CLASSES`, by the class's name."""
    ends = [f"{a} to {b - 1}" for a, b in pairwise(AGE_CLASSES)]
    counts = dict.fromkeys([*ends, f"{AGE_CLASSES[-1]} or more"], 0)
    names = list(counts)
    for age in ages:
        counts[names[bisect_right(AGE_CLASSES, age) - 1]] += 1
    return {label: count / len(ages) for label, count in counts.items()}


def memories(
    topCs: Iterable[int], decays: Iterable[float], aggr: Literal["sum", "mid", "mean"] = "mean"
) -> dict[str, MakeOptimizer]:
    """How to build ``Adam_C_eff`` with each setting, by name, for :func:`.sweep`.

    Args:
        topCs: numbers of slots.
        decays: each is combined with every number of slots.
        aggr: the rule by which current gradient and memory combine. ``Adam_C`` has "mean".
    """

    def maker(topC: int, decay: float) -> MakeOptimizer:
        return lambda params, lr: Adam_C_eff(params, lr, topC=topC, decay=decay, aggr=aggr)

    decays = list(decays)
    return {name(topC, decay): maker(topC, decay) for topC in topCs for decay in decays}


def name(topC: int, decay: float) -> str:
    """What :func:`memories` calls a setting."""
    return f"topC {topC}, decay {decay:g}"


class Trial(NamedTuple):
    """One setting at one learning rate.

    Attributes:
        name: the optimizer and its setting.
        lr: the learning rate.
        validation_loss: after the last epoch, mean over the seeds.
        bytes: what the optimizer keeps between two steps.
    """

    name: str
    lr: float
    validation_loss: float
    bytes: int


def trials(
    results: Mapping[str, Mapping[float, Sequence[Curves]]], kept: Mapping[str, int]
) -> list[Trial]:
    """What a sweep found, as a flat list.

    Args:
        results: as :func:`.sweep` gives them.
        kept: by name, the bytes that each optimizer keeps.
    """
    return [
        Trial(name, lr, final(runs)[0], kept[name])
        for name, by_rate in results.items()
        for lr, runs in by_rate.items()
    ]


def best_trial(trials: Iterable[Trial], limit: float = float("inf")) -> Trial | None:
    """The smallest validation loss of those that keep at most ``limit`` bytes; None without any.

    One whose loss is NaN counts as the worst.
    """

    def loss(trial: Trial) -> float:
        return math.inf if math.isnan(trial.validation_loss) else trial.validation_loss

    return min((trial for trial in trials if trial.bytes <= limit), key=loss, default=None)


def final(runs: Sequence[Curves]) -> tuple[float, float]:
    """The mean over the seeds of the last validation loss, and its standard deviation."""
    return mean_and_deviation([run.validation_loss[-1] for run in runs])


def summary(runs: Sequence[Curves]) -> str:
    """Validation loss and test accuracy, each as mean ± standard deviation over the seeds."""
    loss = plus_minus([run.validation_loss[-1] for run in runs])
    return f"{loss}   {plus_minus([run.test_accuracy for run in runs], 3)}"


def with_one_spike(make: MakeOptimizer, at: int, factor: float) -> MakeOptimizer:
    """An optimizer that gets one gradient multiplied by a factor, and all others as they are.

    Args:
        make: builds the optimizer.
        at: which step it is, from 1.
        factor: what the gradients of all parameters are multiplied by in this step.
    """

    def made(params: ParamsT, lr: float) -> Optimizer:
        optimizer, step = make(params, lr), 0

        def enlarge(*_: object) -> None:
            nonlocal step
            step += 1
            if step == at:
                for p in (p for group in optimizer.param_groups for p in group["params"]):
                    if p.grad is not None:
                        p.grad *= factor

        optimizer.register_step_pre_hook(enlarge)
        return optimizer

    return made


def state_bytes(optimizer: Optimizer) -> int:
    """Bytes of all tensors that an optimizer keeps between two steps.

    Gradients count where they are kept, not those at hand; neither do the few Python numbers
    beside a kept gradient (its priority, the step at which it came in).
    """

    def tensors(value: Any) -> Iterable[Tensor]:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict | list | tuple):
            for part in value.values() if isinstance(value, dict) else value:
                yield from tensors(part)

    return sum(t.nbytes for state in optimizer.state.values() for t in tensors(state))


def kept_bytes(make: MakeOptimizer, shapes: Sequence[Sequence[int]], steps: int) -> int:
    """:func:`state_bytes` of an optimizer of float32 parameters after some steps.

    Args:
        make: builds the optimizer.
        shapes: of the parameters.
        steps: enough of them for a full memory. Each gradient is larger than the one before.
    """
    params = [nn.Parameter(torch.zeros(tuple(s), dtype=torch.float32)) for s in shapes]
    optimizer = make(params, 1e-3)
    for step in range(1, steps + 1):
        for p in params:
            p.grad = torch.full_like(p, step)
        optimizer.step()
    return state_bytes(optimizer)


def kinds(topC: int) -> dict[str, MakeOptimizer]:
    """``Adam_C`` and ``Adam_C_eff`` on torch's fused update, with the same memory.

    Its decay is small enough for every gradient to enter, if all have the same size.
    """
    same: Any = {"topC": topC, "decay": 0.7, "aggr": "mean", "fused": True}
    return {
        "Adam_C": lambda params, lr: Adam_C(params, lr, **same),
        "Adam_C_eff": lambda params, lr: Adam_C_eff(params, lr, **same),
    }
