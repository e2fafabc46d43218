"""Checks of the exercises about how old and new gradients combine."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from cgtutor.course.shared.guard import guarded
from cgtutor.memory import AGGREGATES, CriticalGradients
from cgtutor.optim import AdamW_C

#: gradient, the memory's gradients, rule, κ -> aggregate
Aggregate = Callable[[Tensor, list[Tensor], str, float], Tensor]


def aggregate_by_rule(answer: Aggregate) -> None:
    """Notebook 04: the aggregate of a gradient and a memory, for every rule."""
    print(_aggregate_by_rule(answer))


def _right(gradient: Tensor, slots: Sequence[Tensor], rule: str, kappa: float) -> Tensor:
    memory = CriticalGradients(max(len(slots), 1))
    for slot in slots:
        memory.insert(1.0, slot)
    return memory.aggregate(gradient, rule, kappa)


_OVER_GRADIENTS = (
    "A mean over the memory is one over its gradients, whatever their shape: "
    "torch.stack(memory).mean(0)."
)


@guarded
def _aggregate_by_rule(answer: Aggregate) -> str:
    g = torch.tensor([4.0, -2.0])
    three = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 6.0]), torch.tensor([6.0, 12.0])]
    matrix = torch.tensor([[1.0, -2.0], [3.0, 0.5], [4.0, -1.0]])
    two = [torch.tensor([[2.0, 0.0], [1.0, 4.0], [1.0, 3.0]]), torch.full((3, 2), -3.0)]
    cases = [
        *((g, three, rule, kappa) for kappa in (1.0, 0.25) for rule in AGGREGATES),
        *((g, three[:1], rule, 2.0) for rule in AGGREGATES),
        *((g, [], rule, 1.0) for rule in AGGREGATES),
        *((g, three, rule, 0.0) for rule in AGGREGATES),
        *((matrix, two, rule, 0.25) for rule in AGGREGATES),
    ]
    for gradient, slots, rule, kappa in cases:
        where = f"rule {rule!r}, κ = {kappa:g}, {len(slots)} gradients in the memory"
        if gradient.dim() > 1:
            where += f", each of shape {tuple(gradient.shape)}"
        given, kept = gradient.clone(), [slot.clone() for slot in slots]
        try:
            found = answer(given, kept, rule, kappa)
        except Exception as error:  # whatever the answer does, the notebook goes on
            hint = " An empty memory needs a case of its own."
            if slots:
                shapes = gradient.dim() > 1 or isinstance(error, RuntimeError)
                hint = f" {_OVER_GRADIENTS}" if shapes else ""
            return f"Not yet: {where}: it stopped with {type(error).__name__}: {error}.{hint}"
        if found is None:
            return f"Not yet: {where}: it gives back None; is the word `return` missing?"
        if not isinstance(found, Tensor):
            return f"Not yet: {where}: give back a tensor; this is a {type(found).__name__}."
        if not torch.equal(given, gradient) or not _same(kept, slots):
            return (
                f"Not yet: {where}: the gradient or the memory was changed. Make new tensors: "
                "+= and methods that end in _ write into the old ones, and `memory.append` into "
                "the list."
            )
        right = _right(gradient, slots, rule, kappa)
        if found.shape != right.shape:
            return (
                f"Not yet: {where}: the aggregate must have the gradient's shape "
                f"{tuple(right.shape)}, yours has {tuple(found.shape)}. {_OVER_GRADIENTS}"
            )
        if not torch.allclose(found.to(right.dtype), right, atol=1e-5):
            return f"Not yet: {where}: " + _which_aggregate(found, gradient, slots, rule, kappa)
    return f"Right! All {len(cases)} cases: three rules, four values of κ, an empty memory."


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    equal = (torch.allclose(a, b, 0, 0, equal_nan=True) for a, b in zip(one, other))
    return len(one) == len(other) and all(equal)


def _which_aggregate(
    found: Tensor, g: Tensor, slots: Sequence[Tensor], rule: str, kappa: float
) -> str:
    right, n = _right(g, slots, rule, kappa), len(slots)
    numbers = f"it should be {_rounded(right)}, and yours is {_rounded(found)}."
    if n == 0:
        if found.isnan().any():
            return "NaN. The mean of nothing is 0/0; with nothing remembered, give back g itself."
        return f"with nothing remembered the aggregate is g itself under every rule; {numbers}"
    if kappa == 0:
        return f"κ = 0 takes the memory out, and what is left is g itself, whole; {numbers}"
    total = torch.stack(list(slots)).sum(0)
    mean, everything = total / n, torch.stack(list(slots)).mean()
    both = {name: _right(g, slots, name, kappa) for name in AGGREGATES}
    share = {"sum": 1.0, "mid": 2.0, "mean": n + 1.0}[rule]
    part = total if rule == "mean" else mean
    typical: list[tuple[Tensor, str]] = [
        ((g + part) / share, "κ is missing: it multiplies the memory's part."),
        (kappa * (g + part) / share, "κ multiplies g as well; only the memory's part is weighed."),
        ((kappa * g + part) / share, "κ multiplies g; it belongs to the memory's part."),
        (g / share, "the memory is left out altogether."),
        ((g - kappa * part) / share, "the memory is taken away from g; it must be added."),
    ]
    if rule == "mean":
        typical = [
            ((g + kappa * total) / n, "it divides by n; g counts too, so that makes n + 1."),
            ((g + kappa * mean) / (n + 1), "inside stands ΣM, the sum, not the mean, of M."),
            (g + kappa * total, "the division by n + 1 is missing."),
            ((g + kappa * total) / (1 + n * kappa), "it divides by the weights; n + 1 is wanted."),
            *typical,
        ]
    else:
        halved = "" if rule == "sum" else " (and halve it all)"
        typical = [
            (
                (g + kappa * total) / share,
                f"this adds the sum of M. Take its mean, the sum divided by n = {n}{halved}.",
            ),
            (
                (g + kappa * total / (n + 1)) / share,
                f"the mean of M divides by n + 1; M has n = {n} gradients, and g is not in it.",
            ),
            (
                (g + kappa * everything) / share,
                "the mean ran over all numbers; it must run over the gradients: mean(0).",
            ),
            *typical,
        ]
    if rule == "mid":
        typical = [
            (g / 2 + kappa * mean, "only g is halved; halve it all."),
            (g + kappa * mean / 2, "only the memory's part is halved; halve it all."),
            (g, "this is g; the memory is left out, and nothing is halved."),
            *typical,
        ]
    for wrong, message in typical:
        if torch.allclose(found.to(wrong.dtype), wrong, atol=1e-5):
            return message
    for name, result in both.items():
        if torch.allclose(found.to(result.dtype), result, atol=1e-5):
            return f"this is what the rule {name!r} gives; {numbers}"
    return numbers


def _rounded(values: Tensor) -> str:
    return str((torch.round(values.detach().double(), decimals=3) + 0.0).tolist())


#: p, g, the memory, avg, avg_sq, step, lr, weight decay, κ -> new p, avg, avg_sq
Step = Callable[..., tuple[Tensor, Tensor, Tensor]]


def adamw_with_memory(answer: Step) -> None:
    """Notebook 04: a step of AdamW_C, with its memory and its decoupled weight decay."""
    print(_adamw_with_memory(answer))


def _steps(answer: Step, kappa: float, decay: float, steps: int) -> list[tuple[Tensor, ...]] | str:
    """The states that an answer goes through, or what went wrong."""
    draws = torch.Generator().manual_seed(0)
    p = torch.tensor([2.0, -3.0, 1.0], dtype=torch.float64)
    avg, avg_sq = torch.zeros_like(p), torch.zeros_like(p)
    memory, lr = CriticalGradients(topC=3), _rate(decay)
    states: list[tuple[Tensor, ...]] = []
    for step in range(1, steps + 1):
        g = torch.randn(3, generator=draws, dtype=p.dtype) * 2.0 / step
        given = [x.clone() for x in (p, g, avg, avg_sq)]
        slots = [slot.clone() for slot in memory.gradients]
        priorities = list(memory.priorities)
        found: Any = answer(given[0], given[1], memory, *given[2:], step, lr, decay, kappa)
        if not isinstance(found, tuple | list) or len(found) != 3:
            return "give back three things: p, avg and avg_sq."
        if not all(isinstance(x, Tensor) and x.shape == p.shape for x in found):
            return "p, avg and avg_sq must be tensors of the shape they came in."
        if any(x.dtype != p.dtype for x in found):
            return f"p, avg and avg_sq came in as {p.dtype}, and must stay that."
        if not _same(given, [p, g, avg, avg_sq]):
            return "a tensor that came in was changed. Make new ones: p = p − …, not p −= …."
        if not _same(memory.gradients, slots) or list(memory.priorities) != priorities:
            return (
                "the memory was changed. Only its aggregate is wanted here: the check itself "
                "inserts g afterwards."
            )
        p, avg, avg_sq = (x.clone() for x in found)
        memory.insert(g.norm().item(), g)
        memory.fade()
        states.append((p, avg, avg_sq))
    return states


def _rate(decay: float) -> float:
    """The learning rate; with one for all cases, a step with that one written in would pass."""
    return 0.1 if decay else 0.05


def _library(kappa: float, decay: float, steps: int) -> list[Tensor]:
    """Where AdamW_C takes p, by the same gradients; with κ = 0 where torch's AdamW does."""
    draws = torch.Generator().manual_seed(0)
    p = torch.nn.Parameter(torch.tensor([2.0, -3.0, 1.0], dtype=torch.float64))
    optimizer = (
        AdamW_C([p], lr=_rate(decay), weight_decay=decay, kappa=kappa, topC=3)
        if kappa
        else AdamW([p], lr=_rate(decay), weight_decay=decay)
    )
    passed = []
    for step in range(1, steps + 1):
        p.grad = torch.randn(3, generator=draws, dtype=p.dtype) * 2.0 / step
        optimizer.step()
        passed.append(p.detach().clone())
    return passed


def _adamw_step(variant: str) -> Step:
    """A step of AdamW_C that is right, or wrong in one of the ways that are often written."""

    def step(
        p: Tensor,
        g: Tensor,
        memory: CriticalGradients,
        avg: Tensor,
        avg_sq: Tensor,
        t: int,
        lr: float,
        decay: float,
        kappa: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        def shrunk(p: Tensor) -> Tensor:
            rate = {"flipped": -lr, "no lr": 1.0, "forgotten": 0.0, "coupled": 0.0, "bare": 0.0}
            return p * (1 - rate.get(variant, lr) * decay)

        rule = variant if variant in ("sum", "mid") else "mean"
        a = memory.aggregate(g, rule, 1.0 if variant == "no kappa" else kappa)
        a = g if variant in ("bare", "no memory", "only square") else a
        a = a + decay * p if variant == "coupled" else a
        squared = g if variant in ("bare", "no memory", "only first") else a
        squared = memory.aggregate(g, "mean", kappa) if variant == "only square" else squared
        p = p if variant == "after" else shrunk(p)
        avg = 0.9 * avg + 0.1 * a
        avg_sq = 0.999 * avg_sq + 0.001 * squared * squared
        sign = -1 if variant == "uphill" else 1
        change = avg / (1 - 0.9**t) / ((avg_sq / (1 - 0.999**t)).sqrt() + 1e-8)
        p = p - sign * lr * change
        return shrunk(p) if variant == "after" else p, avg, avg_sq

    return step


_TYPICAL = {
    "bare": "this is Adam's step: neither the memory nor weight decay is in it yet.",
    "flipped": "the decay has its sign turned around: it makes the parameters larger. Weight decay "
    "shrinks them: p · (1 − lr · weight_decay).",
    "no lr": "the decay is not multiplied by the learning rate: p · (1 − lr · weight_decay).",
    "forgotten": "all is right but for the weight decay, which is missing.",
    "coupled": "the decay was added to the aggregate. That is Adam's L2 penalty, and the two "
    "averages see it; AdamW's is decoupled: it shrinks p directly.",
    "after": "the parameter was shrunk after the step. It is shrunk first, as torch does it, so "
    "that the step itself is not.",
    "no memory": "this is AdamW without a memory: g has to give way to the aggregate.",
    "only first": "the aggregate goes into avg alone; torch's update has it in place of g, so it "
    "goes into avg_sq as well.",
    "only square": "the aggregate goes into avg_sq alone; it goes into avg as well.",
    "sum": "this is the rule 'sum'; the exercise asks for 'mean'.",
    "mid": "this is the rule 'mid'; the exercise asks for 'mean'.",
    "no kappa": "κ is left out; without it, memory.aggregate takes κ = 1.",
    "uphill": "the step goes uphill: p minus lr times the ratio.",
}


@guarded
def _adamw_with_memory(answer: Step) -> str:
    steps = 4
    try:
        for kappa, decay in ((1.0, 0.5), (0.5, 0.5), (0.0, 0.5), (1.0, 0.0)):
            where = f"κ = {kappa:g}, weight_decay = {decay:g}"
            states = _steps(answer, kappa, decay, steps)
            if isinstance(states, str):
                return f"Not yet: {states}"
            if _agree([p for p, _, _ in states], _library(kappa, decay, steps)):
                continue
            for variant, message in _TYPICAL.items():
                if _agree_all(states, _steps(_adamw_step(variant), kappa, decay, steps)):
                    return f"Not yet: {where}: {message}"
            found, right = states[0][0], _library(kappa, decay, steps)[0]
            if torch.allclose(found, right):
                return (
                    f"Not yet: {where}: the first step is right, a later one is not. The memory "
                    "is empty in the first. Are all of avg and avg_sq given back?"
                )
            other = "torch's AdamW" if kappa == 0 else "AdamW_C"
            return (
                f"Not yet: {where}: after the first step {other} is at {_rounded(right)}, you at "
                f"{_rounded(found)}."
            )
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: it stopped with {type(error).__name__}: {error}"
    return f"Right! {steps} steps like AdamW_C, and with κ = 0 like torch's AdamW."


def _agree(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(one, other))


def _agree_all(one: Sequence[Sequence[Tensor]], other: Any) -> bool:
    return all(_agree(a, b) for a, b in zip(one, other))
