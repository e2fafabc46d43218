"""The checks of the exercises of the notebook *how old and new combine*."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from cgtutor import SGD_C, Adam_C, AdamW_C, CriticalGradients, RMSprop_C
from cgtutor.course.how_old_and_new_combine.mistakes import MISTAKES, critical, wrong_aggregates
from cgtutor.course.shared.check import NotYet, case, check, edited
from cgtutor.memory import AGGREGATES

#: gradient, the memory's gradients, rule, κ -> aggregate
Aggregate = Callable[[Tensor, list[Tensor], str, float], Tensor]

_OVER_GRADIENTS = (
    "A mean over the memory is one over its gradients, whatever their shape: "
    "torch.stack(memory).mean(0)."
)


@check(
    hints=[
        "Treat the two exceptions first: if the list is empty, or kappa is 0, return gradient.",
        "total = torch.stack(memory).sum(0) is the sum ΣM, and total / len(memory) is mean(M).",
        "For mean, return (gradient + kappa * total) / (n + 1). For the other two, compute "
        "gradient + kappa * total / n, and halve it if the rule is mid.",
    ],
    errors={
        "non-empty": "With nothing remembered, return g itself.",
        "RuntimeError": _OVER_GRADIENTS,
    },
)
def aggregate_of_old_and_new(answer: Aggregate) -> str:
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
    for message, wrong in wrong_aggregates(g, torch.stack(slots), rule, kappa).items():
        if is_found(wrong):
            raise NotYet(message)
    for other in AGGREGATES:
        if is_found(memory.aggregate(g, other, kappa)):
            raise NotYet(f"this is what the rule {other!r} returns; {numbers}")
    raise NotYet(numbers)


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    equal = (torch.allclose(a, b, 0, 0, equal_nan=True) for a, b in zip(one, other))
    return len(one) == len(other) and all(equal)


def _rounded(values: Tensor) -> str:
    return str((torch.round(values.detach().double(), decimals=3) + 0.0).tolist())


#: What makes a critical-gradient optimizer of one of torch's.
Critical = Callable[[type[Optimizer]], Any]

#: The library's critical-gradient optimizer of each of torch's.
LIBRARY: dict[type[Optimizer], Any] = {
    SGD: SGD_C,
    RMSprop: RMSprop_C,
    Adam: Adam_C,
    AdamW: AdamW_C,
}
_STEPS = 25


@check(
    hints=[
        "Visit each group of self.param_groups, and in it the parameters whose grad is not None.",
        "The priority of a group: sum(p.grad.norm().item() for p in its parameters).",
        "For each p: memory = self.memories[p] and g = p.grad. Then p.grad = aggregate(g, "
        "memory.gradients, self.aggr, self.kappa), and then memory.insert(priority, g) and "
        "memory.fade().",
        "Keep the pairs (p, g) in a list. After super().step(), set p.grad = g for each pair.",
    ],
    errors={"KeyError": "self.memories has an entry for each parameter: self.memories[p]."},
)
def my_sgd_c(answer: Any) -> str:
    """A class that trains as SGD_C does."""
    _compare(lambda base: answer, SGD, "sum", 1.0)
    _compare(lambda base: answer, SGD, "mean", 0.5, weight_decay=0.1, momentum=0.9)
    _compare(lambda base: answer, SGD, "mid", 2.0)
    _compare(lambda base: answer, SGD, "sum", 0.0, momentum=0.9)
    return f"Four trainings of {_STEPS} steps as the library's SGD_C; with κ = 0 as torch's SGD."


@check(
    hints=[
        "Indent your class by four, below def critical(Base):, and end with return Critical.",
        "The class inherits from Base: class Critical(Base). SGD stands nowhere in it any more.",
    ],
    errors={"'aggr'": "Return your own class with its __init__, not Base itself."},
)
def my_critical(answer: Critical) -> str:
    """A function that makes a critical-gradient optimizer of any of torch's."""
    for base in LIBRARY:
        with case(f"critical({base.__name__})"):
            made = answer(base)
            if made is None:
                raise NotYet("it returns None; end with return Critical.")
            if not isinstance(made, type):
                raise NotYet("return the class itself, without calling it.")
            if not issubclass(made, base):
                raise NotYet(f"the class must inherit from Base, which is {base.__name__} here.")
            for rule, kappa in (("mean", 1.0), ("sum", 0.5), ("mean", 0.0)):
                _compare(answer, base, rule, kappa, weight_decay=0.1)
    return "SGD, RMSprop, Adam and AdamW, each as the library's; with κ = 0 as torch's."


def _compare(answer: Critical, base: type[Optimizer], rule: str, kappa: float, **more: Any) -> None:
    """Raise if an answer does not train as the library's does, with what is wrong with it."""
    options = {"lr": 0.02, "aggr": rule, "kappa": kappa, "topC": 3, "decay": 0.7, **more}
    name = LIBRARY[base].__name__ if kappa else f"torch's {base.__name__}"
    with case(f"rule {rule!r}, κ = {kappa:g}"):
        found = _trained(answer(base), options)
        if kappa:
            if torch.allclose(found, _trained(LIBRARY[base], options), rtol=1e-12, atol=1e-12):
                return
        elif torch.equal(found, _trained(base, {"lr": 0.02, **more})):
            return
        if torch.equal(found, found[:1].expand_as(found)):
            raise NotYet("the parameters do not move. Call super().step().")
        for message, edits in MISTAKES.items():
            wrong = _trained(edited(critical, edits)(base), options, strict=False)
            if torch.allclose(found, wrong, rtol=1e-9, atol=1e-9):
                raise NotYet(message)
        apart = (found - _trained(LIBRARY[base], options)).abs().amax(-1)
        step = int((apart > 1e-12).int().argmax())
        raise NotYet(f"it leaves the path of {name} at step {step} of {_STEPS}.")


def _trained(make: Any, options: dict[str, Any], strict: bool = True) -> Tensor:
    """Two groups, of two parameters and one, after each step on given gradients."""
    draws = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.full((n,), 1.0, dtype=torch.float64)) for n in (2, 3, 2)]
    unused = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))  # never has a gradient
    optimizer = make([{"params": [*params[:2], unused]}, {"params": params[2:]}], **options)
    passed = []
    for _ in range(_STEPS):
        given = []
        for p in params:
            loud = (1.5 * torch.randn(1, generator=draws, dtype=torch.float64)).exp()
            p.grad = loud * torch.randn(p.shape, generator=draws, dtype=torch.float64)
            given.append(p.grad.clone())
        optimizer.step()
        if strict and not _same([p.grad for p in params if p.grad is not None], given):
            raise NotYet("afterwards p.grad must hold the gradient again, unchanged.")
        passed.append(torch.cat([p.detach().clone() for p in params]))
    return torch.stack(passed)


#: rate, topC -> whether the run converges
Converges = Callable[[float, int], Any]


@check(
    hints=[
        'x = torch.nn.Parameter(torch.tensor([1.0])) and an optimizer with aggr="mean", topC=topC.',
        "In each of the 400 steps: x.grad = x.detach().clone(), then optimizer.step().",
        "return abs(x.item()) < 1",
    ]
)
def converges_in_the_bowl(answer: Converges) -> str:
    """Whether SGD_C with the rule mean comes nearer to the bowl's bottom."""
    for rate, slots, right in (
        (0.45, 5, True),
        (1.0, 5, False),
        (1.85, 1, True),
        (0.35, 20, False),
        (0.75, 3, True),
        (0.65, 5, False),
    ):
        with case(f"rate {rate:g}, topC = {slots}"):
            found = answer(rate, slots)
            if found is None:
                raise NotYet("it returns None; is the word `return` missing?")
            if bool(found) is not right:
                came = "nearer to the bottom" if right else "farther away from the bottom"
                raise NotYet(
                    f"after 400 steps x is {came} than at the start, so return {right}. Is the "
                    "gradient x itself, as it is in this step? Are rate, topC and the rule mean "
                    "passed on? Is abs(x) compared with 1?"
                )
    return "Six rates and sizes, each as it should be."
