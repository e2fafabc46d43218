"""The check of the exercise about momentum."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from cgtutor.course.shared.guard import guarded

#: parameters, velocities (empty at first), learning rate, β: changes the parameters in place
Step = Callable[[list[Tensor], dict[Any, Any], float, float], object]


#: β, the learning rate of each step, and the steps at which the last parameter has a gradient
_TRAININGS = [
    (0.9, [0.1] * 8, range(8)),
    (0.5, [0.05] * 8, range(8)),
    (0.0, [0.1] * 4, range(4)),
    (0.9, [0.1] * 8, (2, 3, 5, 6)),
    (0.9, [0.1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.1], range(7)),
]


def momentum_step(step: Step) -> None:
    """Notebook 02: a step with momentum that is torch's, for all parameters, at every step."""
    print(_momentum_step(step))


@guarded
def _momentum_step(step: Step) -> str:
    for name, trainings in {
        "": _TRAININGS[:3],
        "with a parameter that has no gradient in some steps": _TRAININGS[3:4],
        "with a learning rate that changes": _TRAININGS[4:],
    }.items():
        for beta, rates, present in trainings:
            try:
                found, touched = _trained(step, beta, rates, present)
            except Exception as error:  # whatever the answer does, the notebook goes on
                return f"Not yet: {_stopped(error, name)}"
            if touched:
                return f"Not yet: {touched}"
            wanted, _ = _trained(_torch_step(beta), beta, rates, present)
            if not _same(found, wanted):
                for message, wrong in _typical_steps().items():
                    if _same(found, _trained(wrong, beta, rates, present)[0]):
                        return f"Not yet: {message}"
                return f"Not yet: {_first_difference(found, wanted, beta, rates, name)}"
    return (
        f"Right! The same as torch.optim.SGD in {len(_TRAININGS)} trainings, for every parameter "
        "at every step."
    )


def _trained(
    step: Step, beta: float, rates: list[float], present: Any
) -> tuple[list[list[Tensor]], str]:
    """The parameters after each step of a small training, and what was touched without need."""
    start = torch.tensor([[2.0, -1.0], [-1.5, 0.5], [0.7, 0.3]], dtype=torch.float64)
    parameters: list[Tensor] = [torch.nn.Parameter(row.clone()) for row in start]
    given = list(map(id, parameters))
    velocities: dict[Any, Any] = {}
    curvature = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found: list[list[Tensor]] = []
    for i, lr in enumerate(rates):
        one, _, other = parameters  # the second never has a gradient
        loss = (curvature * (one - 0.3 * other).square()).sum()
        loss = loss + (other - 1).square().add(1).sqrt().sum()
        gradients = torch.autograd.grad(loss, [one, other])
        for p, gradient in zip((one, other), gradients):
            if p is other and i not in present:
                p.grad = None
            elif p.grad is None:
                p.grad = gradient.clone()
            else:  # as zero_grad(set_to_none=False) and backward() do, into the same tensor
                p.grad.copy_(gradient)
        with torch.no_grad():
            step(parameters, velocities, lr, beta)
        if list(map(id, parameters)) != given:
            return found, (
                "the list holds other tensors than before. Change each tensor in place: p -= ..., "
                "and not parameters[i] = ...."
            )
        for p, gradient in zip((one, other), gradients):
            if (p is one or i in present) and p.grad is None:
                return found, "p.grad is None after your step. Leave p.grad as it is."
            if p.grad is not None and not torch.allclose(p.grad, gradient, 0, 0, equal_nan=True):
                return found, (
                    "your step changes p.grad itself. Either it writes into p.grad, or "
                    "velocities[p] is that very tensor: keep a copy, p.grad.clone()."
                )
        found.append([p.detach().clone() for p in parameters])
    return found, ""


def _torch_step(beta: float) -> Step:
    optimizers: list[SGD] = []

    def step(parameters: list[Tensor], velocities: dict[Any, Any], lr: float, _: float) -> None:
        if not optimizers:
            optimizers.append(SGD(parameters, lr=lr, momentum=beta))
        optimizers[0].param_groups[0]["lr"] = lr
        optimizers[0].step()

    return step


def _step(
    new: Callable[[Tensor | None, Tensor, float, float], Tensor],
    move: Callable[[Tensor, Tensor, float, float], Tensor] = lambda v, g, beta, lr: lr * v,
    share: bool = False,
    copy: bool = True,
    without: str = "continue",
) -> Step:
    """A step with the velocity ``new(old, gradient, beta, lr)`` that takes ``move`` off."""

    def step(parameters: list[Tensor], velocities: dict[Any, Any], lr: float, beta: float) -> None:
        for p in parameters:
            key = 0 if share else id(p)
            if p.grad is None:
                if without == "stop":
                    return
                if without == "forget":
                    velocities.pop(key, None)
                if without == "coast" and key in velocities:
                    velocities[key] = new(velocities[key], torch.zeros_like(p), beta, lr)
                    p -= move(velocities[key], torch.zeros_like(p), beta, lr)
                continue
            old = velocities.get(key)
            velocities[key] = new(old, p.grad, beta, lr) if copy or old is not None else p.grad
            p -= move(velocities[key], p.grad, beta, lr)

    return step


def _or_zero(old: Tensor | None) -> Tensor | float:
    return 0.0 if old is None else old


def _typical_steps() -> Mapping[str, Step]:
    """Wrong steps that are often written, by what to say about them."""

    def right(old: Tensor | None, g: Tensor, beta: float, lr: float) -> Tensor:
        return beta * _or_zero(old) + g

    def mean(old: Tensor | None, g: Tensor, beta: float, lr: float) -> Tensor:
        return beta * _or_zero(old) + (1 - beta) * g

    return {
        "nothing has moved. Change each parameter in place (p -= ..., or p.sub_(...)); "
        "p = p - ... only gives the name p to a new tensor.": lambda *_: None,
        "this is SGD without momentum. Is the velocity there again in the next step? Keep it as "
        "velocities[p].": _step(lambda old, g, beta, lr: g),
        "this is an exponential moving average, βv + (1 − β)g, as in Adam. torch's SGD does not "
        "take 1 − β of the gradient, it adds all of it.": _step(mean),
        "the first velocity is right, and then you add only (1 − β)g, which torch calls "
        "dampening. The whole g is wanted.": _step(
            lambda old, g, beta, lr: g.clone() if old is None else mean(old, g, beta, lr)
        ),
        "the parameters share one velocity. Each needs its own: velocities[p].": _step(
            right, share=True
        ),
        "this is Nesterov's momentum, a step along g + βv. Step along v.": _step(
            right, lambda v, g, beta, lr: lr * (g + beta * v)
        ),
        "the first gradient is forgotten: v starts as 0, so after the first step it has to be "
        "β · 0 + g, which is g.": _step(
            lambda old, g, beta, lr: torch.zeros_like(g) if old is None else right(old, g, beta, lr)
        ),
        "the first velocity is βg + g. Before the first step there is none: take 0 in its place, "
        "not the gradient.": _step(
            lambda old, g, beta, lr: right(g if old is None else old, g, beta, lr)
        ),
        "what you keep is the last gradient, so the next step knows one gradient, none older. "
        "Keep the whole velocity, βv + g.": _step(
            lambda old, g, beta, lr: torch.stack(
                [g, beta * (0 * g if old is None else old[0]) + g]
            ),
            lambda v, g, beta, lr: lr * v[1],
        ),
        "the first step has no velocity to go on: it moves along g, but does not keep it.": _step(
            lambda old, g, beta, lr: (
                torch.zeros_like(g) if old is None else right(old, g, beta, lr)
            ),
            # where all of v is zero, there was none
            lambda v, g, beta, lr: lr * (v if v.any() else g),
        ),
        "you step along the old velocity, one step late. First v = βv + g, then the step.": _step(
            lambda old, g, beta, lr: torch.stack(
                [
                    right(None if old is None else old[0], g, beta, lr),
                    old[0] if old is not None else 0 * g,
                ]
            ),
            lambda v, g, beta, lr: lr * v[1],
        ),
        "the sign is wrong: this goes uphill.": _step(right, lambda v, g, beta, lr: -lr * v),
        "the old velocity is not faded: it has to be multiplied by β.": _step(
            lambda old, g, beta, lr: _or_zero(old) + g
        ),
        "β is on the wrong side: fade the velocity, βv + g, not the gradient.": _step(
            lambda old, g, beta, lr: _or_zero(old) + beta * g
        ),
        "β and 1 − β are not needed both: v = βv + g, with β in front of the old velocity.": _step(
            lambda old, g, beta, lr: (1 - beta) * _or_zero(old) + beta * g
        ),
        "the learning rate is missing.": _step(right, lambda v, g, beta, lr: v),
        "velocities[p] is the gradient's own tensor, and backward writes the next gradient into "
        "it. Keep a copy: p.grad.clone().": _step(right, copy=False),
        "a parameter without a gradient moves on with its velocity. torch leaves it where it is, "
        "and its velocity as well.": _step(right, without="coast"),
        "a parameter without a gradient loses its velocity. torch leaves both as they are.": _step(
            right, without="forget"
        ),
        "the parameters after the one without a gradient stay where they are. Go on with the next "
        "one: continue, not break or return.": _step(right, without="stop"),
        "right as long as the learning rate stays the same. torch keeps v without the learning "
        "rate, and multiplies by that of the moment when it steps.": _step(
            lambda old, g, beta, lr: beta * _or_zero(old) + lr * g, lambda v, g, beta, lr: v
        ),
    }


def _same(found: list[list[Tensor]], wanted: list[list[Tensor]]) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-8, atol=1e-10)
        for mine, others in zip(found, wanted)
        for a, b in zip(mine, others)
    )


def _first_difference(
    found: list[list[Tensor]],
    wanted: list[list[Tensor]],
    beta: float,
    rates: list[float],
    name: str,
) -> str:
    i = next(k for k in range(len(found)) if not _same([found[k]], [wanted[k]]))
    which = next(j for j in range(3) if not _same([[found[i][j]]], [[wanted[i][j]]]))
    mine, others = ([round(x, 4) for x in t[i][which].tolist()] for t in (found, wanted))
    return (
        f"{name + ', ' if name else ''}with β = {beta:g} and the learning rate {rates[i]:g}, after "
        f"step {i + 1} parameter {which + 1} of 3 is {mine}, and torch's {others}."
    )


def _stopped(error: Exception, name: str) -> str:
    said = f"it stopped with {type(error).__name__}: {error}"
    if isinstance(error, KeyError):
        said += " (At first velocities is empty: `if p not in velocities`, or velocities.get.)"
    elif "NoneType" in str(error):
        said += " (A parameter that the loss does not depend on has p.grad None: pass it by.)"
    return f"{name}: {said}" if name else said
