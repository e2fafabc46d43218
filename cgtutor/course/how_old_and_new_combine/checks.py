"""The checks of the exercises of the notebook *how old and new combine*."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from cgtutor import AdamW_C, CriticalGradients
from cgtutor.course.shared.check import NotYet, case, check, edited
from cgtutor.memory import AGGREGATES

#: gradient, the memory's gradients, rule, κ -> aggregate
Aggregate = Callable[[Tensor, list[Tensor], str, float], Tensor]

_OVER_GRADIENTS = (
    "A mean over the memory is one over its gradients, whatever their shape: "
    "torch.stack(memory).mean(0)."
)


@check(
    errors={
        "non-empty": "With nothing remembered, return g itself.",
        "RuntimeError": _OVER_GRADIENTS,
    }
)
def aggregate_by_rule(answer: Aggregate) -> str:
    """The aggregate of a gradient and a memory, by every rule."""
    g, matrix = torch.tensor([4.0, -2.0]), torch.tensor([[1.0, -2.0], [3.0, 0.5], [4.0, -1.0]])
    three = [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 6.0]), torch.tensor([6.0, 12.0])]
    two = [torch.tensor([[2.0, 0.0], [1.0, 4.0], [1.0, 3.0]]), torch.full((3, 2), -3.0)]
    cases: list[tuple[Tensor, list[Tensor], float]] = [
        (g, three, 1.0),
        (g, three, 0.25),
        (g, three[:1], 2.0),
        (g, [], 1.0),
        (g, three, 0.0),
        (matrix, two, 0.25),
    ]
    for gradient, slots, kappa in cases:
        memory = "an empty memory, which needs a case of its own"
        if slots:
            memory = f"{len(slots)} gradients of shape {tuple(gradient.shape)} in the memory"
        for rule in AGGREGATES:
            with case(f"rule {rule!r}, κ = {kappa:g}, {memory}"):
                _check_aggregate(answer, gradient, slots, rule, kappa)
    return f"All {3 * len(cases)} cases: three rules, four values of κ, an empty memory."


def _check_aggregate(
    answer: Aggregate, g: Tensor, slots: list[Tensor], rule: str, kappa: float
) -> None:
    given, kept = g.clone(), [slot.clone() for slot in slots]
    found: Any = answer(given, kept, rule, kappa)
    if found is None:
        raise NotYet("it returns None; is the word `return` missing?")
    if not isinstance(found, Tensor):
        raise NotYet(f"return a tensor; this is a {type(found).__name__}.")
    if not _same([given, *kept], [g, *slots]):
        raise NotYet(
            "the gradient or the memory was changed. Make new tensors: += and methods that end in "
            "_ write into the old ones, and `memory.append` into the list."
        )
    if found.shape != g.shape:
        raise NotYet(
            f"the aggregate must have the gradient's shape {tuple(g.shape)}, yours has "
            f"{tuple(found.shape)}. {_OVER_GRADIENTS}"
        )

    def is_found(value: Tensor) -> bool:
        return torch.allclose(found.to(value.dtype), value, atol=1e-5)

    memory = CriticalGradients(max(len(slots), 1))
    for slot in slots:
        memory.insert(1.0, slot)
    right = memory.aggregate(g, rule, kappa)
    if is_found(right):
        return
    numbers = f"it should be {_rounded(right)}, and yours is {_rounded(found)}."
    if not slots:
        if found.isnan().any():
            raise NotYet("NaN. The mean of nothing is 0/0; with nothing remembered, return g.")
        raise NotYet(f"with nothing remembered the aggregate is g by every rule; {numbers}")
    if kappa == 0:
        raise NotYet(f"κ = 0 takes the memory out, and what is left is g, undivided; {numbers}")
    for message, wrong in _wrong_aggregates(g, torch.stack(slots), rule, kappa).items():
        if is_found(wrong):
            raise NotYet(message)
    for other in AGGREGATES:
        if is_found(memory.aggregate(g, other, kappa)):
            raise NotYet(f"this is what the rule {other!r} returns; {numbers}")
    raise NotYet(numbers)


def _wrong_aggregates(g: Tensor, M: Tensor, rule: str, kappa: float) -> dict[str, Tensor]:
    """What is often computed in place of a rule, by what to say of it."""
    n, total, mean = len(M), M.sum(0), M.mean(0)
    if rule == "mean":
        past, share = total, n + 1
        wrong = {
            "it divides by n; g counts too: divide by n + 1.": (g + kappa * total) / n,
            "it adds the mean of M; ΣM, the sum, is wanted.": (g + kappa * mean) / (n + 1),
            "the division by n + 1 is missing.": g + kappa * total,
            "it divides by the weights; n + 1 is wanted.": (g + kappa * total) / (1 + n * kappa),
        }
    else:
        past, share = mean, 1 if rule == "sum" else 2
        halved = "" if rule == "sum" else " (and halve it all)"
        instead = {
            f"this adds the sum of M. Take its mean, the sum divided by n = {n}{halved}.": total,
            "the mean of M divides by n + 1; M has n gradients, g is none of them.": total
            / (n + 1),
            "the mean ran over all numbers; it must run over the gradients: mean(0).": M.mean(),
        }
        wrong = {message: (g + kappa * other) / share for message, other in instead.items()}
    if rule == "mid":
        wrong |= {
            "only g is halved; halve it all.": g / 2 + kappa * mean,
            "only the memory's part is halved; halve it all.": g + kappa * mean / 2,
            "this is g; the memory is left out, and nothing is halved.": g,
        }
    return wrong | {
        "κ is missing: it multiplies the memory's part.": (g + past) / share,
        "κ multiplies g as well; only the memory's part is weighted.": kappa * (g + past) / share,
        "κ multiplies g; it belongs to the memory's part.": (kappa * g + past) / share,
        "the memory is left out altogether.": g / share,
        "the memory is subtracted from g; it must be added.": (g - kappa * past) / share,
    }


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    equal = (torch.allclose(a, b, 0, 0, equal_nan=True) for a, b in zip(one, other))
    return len(one) == len(other) and all(equal)


def _rounded(values: Tensor) -> str:
    return str((torch.round(values.detach().double(), decimals=3) + 0.0).tolist())


#: p, g, the memory, avg, avg_sq, step, lr, weight decay, κ -> new p, avg, avg_sq
Step = Callable[..., tuple[Tensor, Tensor, Tensor]]

_START, _STEPS = (2.0, -3.0, 1.0), 4


@check()
def adamw_with_memory(answer: Step) -> str:
    """A step of AdamW_C, with its memory and its decoupled weight decay."""
    for kappa, decay in ((1.0, 0.5), (0.5, 0.5), (0.0, 0.5), (1.0, 0.0)):
        states, right = _states(answer, kappa, decay), _library(kappa, decay)
        if _close(states[:, 0], right):
            continue
        with case(f"κ = {kappa:g}, weight_decay = {decay:g}"):
            for message, edits in MISTAKES.items():
                if _close(states, _states(edited(solution, edits), kappa, decay)):
                    raise NotYet(message)
            if _close(states[0, 0], right[0]):
                raise NotYet(
                    "the first step is right, a later one is not. The memory is empty in the "
                    "first. Are all of avg and avg_sq returned?"
                )
            other = "AdamW_C" if kappa else "torch's AdamW"
            raise NotYet(
                f"after the first step {other} is at "
                f"{_rounded(right[0])}, and you are at {_rounded(states[0, 0])}."
            )
    return f"{_STEPS} steps like AdamW_C, and with κ = 0 like torch's AdamW."


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-7, atol=1e-9)


def _gradients() -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, generator=draws, dtype=torch.float64) * 2.0 / step
        for step in range(1, _STEPS + 1)
    ]


def _rate(decay: float) -> float:
    """The learning rate; with one for all cases, a step with that one written in would pass."""
    return 0.1 if decay else 0.05


def _states(answer: Step, kappa: float, decay: float) -> Tensor:
    """p, avg and avg_sq after each step of an answer."""
    p = torch.tensor(_START, dtype=torch.float64)
    avg, avg_sq = torch.zeros_like(p), torch.zeros_like(p)
    memory, states = CriticalGradients(topC=3), []
    for step, g in enumerate(_gradients(), 1):
        given = [x.clone() for x in (p, g, avg, avg_sq)]
        slots, priorities = [slot.clone() for slot in memory.gradients], memory.priorities
        found: Any = answer(*given[:2], memory, *given[2:], step, _rate(decay), decay, kappa)
        if not isinstance(found, tuple | list) or len(found) != 3:
            raise NotYet("return three things: p, avg and avg_sq.")
        if not all(isinstance(x, Tensor) and x.shape == p.shape for x in found):
            raise NotYet("p, avg and avg_sq must be tensors of the shape they came in.")
        if any(x.dtype != p.dtype for x in found):
            raise NotYet(f"p, avg and avg_sq came in as {p.dtype}, and must stay that.")
        if not _same(given, [p, g, avg, avg_sq]):
            raise NotYet("a tensor that came in was changed. Make new ones: p = p - ..., not -=.")
        if not _same(memory.gradients, slots) or memory.priorities != priorities:
            raise NotYet(
                "the memory was changed. Only its aggregate is wanted here: the check itself "
                "inserts g afterwards."
            )
        states.append(torch.stack(tuple(found)).detach())
        p, avg, avg_sq = states[-1].clone()
        memory.insert(g.norm().item(), g)
        memory.fade()
    return torch.stack(states)


def _library(kappa: float, decay: float) -> Tensor:
    """Where AdamW_C takes p, by the same gradients; with κ = 0 where torch's AdamW does."""
    p = torch.nn.Parameter(torch.tensor(_START, dtype=torch.float64))
    options: dict[str, Any] = {"lr": _rate(decay), "weight_decay": decay}
    optimizer = AdamW_C([p], kappa=kappa, topC=3, **options) if kappa else AdamW([p], **options)
    passed = []
    for p.grad in _gradients():
        optimizer.step()
        passed.append(p.detach().clone())
    return torch.stack(passed)


def solution(
    p: Tensor,
    g: Tensor,
    memory: CriticalGradients,
    avg: Tensor,
    avg_sq: Tensor,
    t: int,
    lr: float,
    weight_decay: float,
    kappa: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The step that the second exercise asks for."""
    a = memory.aggregate(g, "mean", kappa)
    p = p * (1 - lr * weight_decay)
    avg = 0.9 * avg + 0.1 * a
    avg_sq = 0.999 * avg_sq + 0.001 * a**2
    change = avg / (1 - 0.9**t) / ((avg_sq / (1 - 0.999**t)).sqrt() + 1e-8)
    p = p - lr * change
    return p, avg, avg_sq


#: By what to say of them, mistakes that are often made: what stands in place of which part.
MISTAKES = {
    "this is Adam's step: neither the memory nor weight decay is in it yet.": {
        'memory.aggregate(g, "mean", kappa)': "g",
        " * (1 - lr * weight_decay)": "",
    },
    "the decay has the wrong sign: it makes the parameters larger. Weight decay shrinks them: "
    "p · (1 − lr · weight_decay).": {"1 - lr": "1 + lr"},
    "the decay is not multiplied by the learning rate: p · (1 − lr · weight_decay).": {
        "lr * weight_decay": "weight_decay"
    },
    "all is right but for the weight decay, which is missing.": {" * (1 - lr * weight_decay)": ""},
    "the decay was added to the aggregate. That is Adam's L2 penalty, and the two averages see "
    "it; AdamW's is decoupled: it shrinks p directly.": {
        " * (1 - lr * weight_decay)": "",
        '"mean", kappa)': '"mean", kappa) + weight_decay * p',
    },
    "the parameter was shrunk after the step. It is shrunk first, as torch does it, so that the "
    "step itself is not.": {
        " * (1 - lr * weight_decay)": "",
        "p - lr * change": "(p - lr * change) * (1 - lr * weight_decay)",
    },
    "this is AdamW without a memory: the aggregate has to take the place of g.": {
        'memory.aggregate(g, "mean", kappa)': "g"
    },
    "the aggregate goes into avg alone; torch's update has it in place of g, so it goes into "
    "avg_sq as well.": {"a**2": "g**2"},
    "the aggregate goes into avg_sq alone; it goes into avg as well.": {"0.1 * a": "0.1 * g"},
    "this is the rule 'sum'; the exercise asks for 'mean'.": {'"mean"': '"sum"'},
    "this is the rule 'mid'; the exercise asks for 'mean'.": {'"mean"': '"mid"'},
    "κ is left out; without it, memory.aggregate takes κ = 1.": {'"mean", kappa': '"mean"'},
    "the step goes uphill: p minus lr times the ratio.": {"p - lr * change": "p + lr * change"},
}
