"""The check of the exercise of the notebook *what an optimizer remembers*."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from cgtutor.course.shared.check import NotYet, case, check, edited

#: parameters, velocities (empty at first), learning rate, β: changes the parameters in place
Step = Callable[[list[Tensor], dict[Any, Any], float, float], object]

#: By name: β, the learning rate of each step, and when the last parameter has a gradient.
_TRAININGS: dict[str, tuple[float, list[float], Collection[int]]] = {
    "β = 0.9": (0.9, [0.1] * 8, range(8)),
    "β = 0.5": (0.5, [0.05] * 8, range(8)),
    "β = 0": (0.0, [0.1] * 4, range(4)),
    "a parameter has no gradient in some steps": (0.9, [0.1] * 8, (2, 3, 5, 6)),
    "the learning rate changes": (0.9, [0.1] * 3 + [0.02] * 3 + [0.1], range(7)),
}


@check(
    errors={
        "KeyError": "At first velocities is empty: `if p not in velocities`, or velocities.get.",
        "NoneType": "A parameter that the loss does not depend on has p.grad None: skip it.",
    }
)
def momentum_step(step: Step) -> str:
    """A step with momentum that is torch's, for all parameters, at every step."""
    for name, training in _TRAININGS.items():
        with case(name):
            found, wanted = _trained(step, *training), _trained(_torchs_step, *training)
        wrong = ~torch.isclose(found, wanted, rtol=1e-8, atol=1e-10)
        if not wrong.any():
            continue
        for message, edits in MISTAKES.items():
            mistaken = _trained(edited(solution, edits), *training)
            if torch.allclose(found, mistaken, rtol=1e-8, atol=1e-10):
                raise NotYet(message)
        i, which, _ = wrong.nonzero()[0].tolist()
        mine, torchs = ([round(x, 4) for x in p[i, which].tolist()] for p in (found, wanted))
        raise NotYet(
            f"{name}: after step {i + 1}, with the learning rate {training[1][i]:g}, parameter "
            f"{which + 1} of 3 is {mine}, and torch's {torchs}."
        )
    trainings = len(_TRAININGS)
    return f"The same as torch.optim.SGD in {trainings} trainings, every parameter at every step."


def _trained(step: Step, beta: float, rates: list[float], present: Collection[int]) -> Tensor:
    """The three parameters after each step of a small training."""
    start = torch.tensor([[2.0, -1.0], [-1.5, 0.5], [0.7, 0.3]], dtype=torch.float64)
    parameters: list[Tensor] = [torch.nn.Parameter(row.clone()) for row in start]
    one, _, other = given = tuple(parameters)  # the second never has a gradient
    velocities: dict[Any, Any] = {}
    curvature = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found = []
    for i, lr in enumerate(rates):
        loss = (curvature * (one - 0.3 * other).square()).sum()
        loss = loss + (other - 1).square().add(1).sqrt().sum()
        gradients = dict(zip((one, other), torch.autograd.grad(loss, [one, other])))
        if i not in present:
            other.grad = None
            del gradients[other]
        for p, gradient in gradients.items():
            if p.grad is None:
                p.grad = gradient.clone()
            else:  # as zero_grad(set_to_none=False) and backward() do, into the same tensor
                p.grad.copy_(gradient)
        with torch.no_grad():
            step(parameters, velocities, lr, beta)
        if len(parameters) != 3 or any(p is not q for p, q in zip(parameters, given)):
            raise NotYet(
                "the list holds other tensors than before. Change each tensor in place: p -= ..., "
                "and not parameters[i] = ...."
            )
        for p, gradient in gradients.items():
            if p.grad is None:
                raise NotYet("p.grad is None after your step. Leave p.grad as it is.")
            if not torch.allclose(p.grad, gradient, 0, 0, equal_nan=True):
                raise NotYet(
                    "your step changes p.grad itself. Either it writes into p.grad, or "
                    "velocities[p] is that very tensor: keep a copy, p.grad.clone()."
                )
        found.append(torch.stack(parameters).detach())
    return torch.stack(found)


def _torchs_step(parameters: list[Tensor], kept: dict[Any, Any], lr: float, beta: float) -> None:
    optimizer = kept.setdefault("SGD", SGD(parameters, lr=lr, momentum=beta))
    optimizer.param_groups[0]["lr"] = lr
    optimizer.step()


def solution(parameters: list[Tensor], velocities: dict[Any, Any], lr: float, beta: float) -> None:
    """The step that the exercise asks for."""
    for p in parameters:
        key, g = p, p.grad
        if g is None:
            continue
        old = velocities.get(key)
        new = g.clone() if old is None else beta * old + g
        velocities[key] = new
        p -= lr * new


#: By what to say of them, mistakes that are often made: what stands in place of which part.
MISTAKES = {
    "nothing has moved. Change each parameter in place (p -= ..., or p.sub_(...)); "
    "p = p - ... only gives the name p to a new tensor.": {"p -= lr": "p = p - lr"},
    "this is SGD without momentum. Is the velocity there again in the next step? Keep it as "
    "velocities[p].": {"velocities[key] = new": ""},
    "this is an exponential moving average, βv + (1 − β)g, as in Adam. torch's SGD does not take "
    "1 − β of the gradient, it adds all of it.": {
        "g.clone()": "(1 - beta) * g",
        "old + g": "old + (1 - beta) * g",
    },
    "the first velocity is right, and then you add only (1 − β)g, which torch calls dampening. "
    "The whole g is wanted.": {"old + g": "old + (1 - beta) * g"},
    "the parameters share one velocity. Each needs its own: velocities[p].": {"= p, p": "= 0, p"},
    "this is Nesterov's momentum, a step along g + βv. Step along v.": {
        "lr * new": "lr * (g + beta * new)"
    },
    "the first gradient is forgotten: v starts as 0, so after the first step it has to be "
    "β · 0 + g, which is g.": {"g.clone()": "0 * g"},
    "the first velocity is βg + g. Before the first step there is none: take 0 in its place, not "
    "the gradient.": {"g.clone()": "beta * g + g"},
    "what you keep is the last gradient, so the next step knows one gradient, none older. Keep "
    "the whole velocity, βv + g.": {"[key] = new": "[key] = g.clone()"},
    "the first step has no velocity to go on: it moves along g, but does not keep it.": {
        "[key] = new": "[key] = 0 * g if old is None else new"
    },
    "you step along the old velocity, one step late. First v = βv + g, then the step.": {
        "lr * new": "lr * (0 if old is None else old)"
    },
    "the sign is wrong: this goes uphill.": {"p -=": "p +="},
    "the old velocity does not decay: it has to be multiplied by β.": {"beta * old": "old"},
    "β is on the wrong side: it multiplies the velocity, βv + g, not the gradient.": {
        "g.clone()": "beta * g",
        "beta * old + g": "old + beta * g",
    },
    "β and 1 − β are not both needed: v = βv + g, with β in front of the old velocity.": {
        "g.clone()": "beta * g",
        "beta * old + g": "(1 - beta) * old + beta * g",
    },
    "the learning rate is missing.": {"lr * new": "new"},
    "velocities[p] is the gradient's own tensor, and backward writes the next gradient into it. "
    "Keep a copy: p.grad.clone().": {"g.clone()": "g"},
    "a parameter without a gradient moves on with its velocity. torch leaves it where it is, and "
    "its velocity as well.": {"continue": "g = torch.zeros_like(p)"},
    "a parameter without a gradient loses its velocity. torch leaves both as they are.": {
        "continue": "velocities.pop(key, None); continue"
    },
    "the parameters after the one without a gradient stay where they are. Go on with the next "
    "one: continue, not break or return.": {"continue": "return"},
    "right as long as the learning rate stays the same. torch keeps v without the learning rate, "
    "and multiplies by the current one when it steps.": {
        "g.clone()": "lr * g",
        "old + g": "old + lr * g",
        "lr * new": "new",
    },
}
