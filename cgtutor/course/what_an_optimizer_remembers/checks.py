"""The checks of the exercises of the notebook *what an optimizer remembers*."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from cgtutor.course.shared.check import NotYet, case, check, edited
from cgtutor.course.what_an_optimizer_remembers import mistakes, study

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
    hints=[
        "The velocity has to live longer than one step. The dictionary does: velocities[p] is the "
        "place for that of p, and velocities.get(p, 0) is 0 as long as there is none.",
        "Two lines do it. The first makes the new velocity: beta times the old one, plus p.grad.",
        "The first line is velocities[p] = beta * velocities.get(p, 0) + p.grad. The second is the "
        "step of SGD with velocities[p] in place of p.grad.",
    ],
    errors={
        "KeyError": "At first velocities is empty: `if p not in velocities`, or velocities.get.",
        "NoneType": "A parameter that the loss does not depend on has p.grad None: skip it.",
    },
)
def momentum_step(step: Step) -> str:
    """A step with momentum that is torch's, for all parameters, at every step."""
    for name, training in _TRAININGS.items():
        with case(name):
            found, wanted = _trained(step, *training), _trained(study.torch_step, *training)
        wrong = ~torch.isclose(found, wanted, rtol=1e-12, atol=1e-12)
        if not wrong.any():
            continue
        for message, edits in mistakes.MOMENTUM.items():
            mistaken = _trained(edited(mistakes.momentum_step, edits), *training)
            if torch.allclose(found, mistaken, rtol=1e-12, atol=1e-12):
                raise NotYet(message)
        i, which, _ = wrong.nonzero()[0].tolist()
        mine, torchs = ([round(x, 4) for x in p[i, which].tolist()] for p in (found, wanted))
        raise NotYet(
            f"{name}: after step {i + 1}, with the learning rate {training[1][i]:g}, parameter "
            f"{which + 1} of 3 is {mine}, and torch's {torchs}."
        )
    trainings = len(_TRAININGS)
    return f"Equal to torch.optim.SGD to twelve digits, at every step of {trainings} trainings."


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


#: Age, β and the n of the plain average.
_AGES = [(0, 0.9, 10), (1, 0.9, 10), (3, 0.5, 4), (4, 0.5, 4), (9, 0.9, 10), (10, 0.9, 10)]
_MEMORIES = ("momentum", "the moving average", "the plain average")


@check(
    hints=[
        "Read the first bars. In momentum they are 1, 0.9, 0.81: what does each step do to them?",
        "The bars of the moving average are those of momentum, all multiplied by the same number. "
        "For β = 0.9 it is 0.1.",
        "The plain average has two cases: 1 / n if k < n else 0.",
    ]
)
def weights(answer: Callable[[int, float, int], Sequence[float]]) -> str:
    """The weights of the gradient of age k in three memories."""
    for k, beta, n in _AGES:
        with case(f"k = {k}, β = {beta:g}, n = {n}"):
            found = _numbers(answer(k, beta, n), 3)
            wanted = study.weights(k, beta, n)
            for name, mine, right in zip(_MEMORIES, found, wanted):
                if not math.isclose(mine, right, rel_tol=1e-9, abs_tol=1e-12):
                    raise NotYet(_weight_mistake(name, mine, k, beta, n))
    return "These are the bars of all three memories, at every age."


def _weight_mistake(name: str, mine: float, k: int, beta: float, n: int) -> str:
    """What to say of a weight that is wrong."""
    known = {
        "momentum": {
            beta ** (k + 1): "The gradient of this step has the age 0 and the weight 1.",
            beta * k: "Each step multiplies by β, so k steps multiply k times: a power.",
            (1 - beta) * beta**k: "Momentum adds all of the gradient, not a part 1 − β of it.",
            float(k == 0): "This is SGD. Momentum still has the gradient k steps later.",
        },
        "the moving average": {
            beta**k: "It takes only a part 1 − β of each gradient.",
            beta * (1 - beta) ** k: "β and 1 − β have changed places.",
            (1 - beta) * beta ** (k + 1): "The gradient of this step has the age 0.",
            float(k == 0): "This is SGD. It takes only a part 1 − β of each gradient.",
        },
        "the plain average": {
            1 / n: "A gradient of age n or more is no longer one of the newest n.",
            0.0: "The newest n gradients have the ages 0 to n − 1, and this is one of them.",
            1.0: "Each of the n gradients counts 1 / n.",
        },
    }
    for value, said in known[name].items():
        if math.isclose(mine, value, rel_tol=1e-9, abs_tol=1e-12):
            return f"in {name} the weight is {mine:.4g}. {said}"
    return f"in {name} the weight is {mine:.4g}, and a kick shows another."


def _numbers(answer: object, count: int) -> list[float]:
    try:
        found = [float(number) for number in cast("Sequence[float]", answer)]
    except TypeError:
        raise NotYet(f"return {count} numbers, separated by commas, not {answer!r}.") from None
    if len(found) != count:
        raise NotYet(f"return {count} numbers, not {len(found)}.")
    return found


@check(
    hints=[
        "After k steps the weight is β to the power k. So β to the power half has to be 0.5.",
        "Which number, multiplied by itself half times, is 0.5? The root of order half of 0.5.",
    ],
    errors={"NoneType": "Does your function return the number?"},
)
def beta_for(answer: Callable[[float], float]) -> str:
    """The β with which half of the weight is left after so many steps."""
    for half in (7, 1, 2, 20, 69):
        found, wanted = float(answer(half)), study.beta_for(half)
        if math.isclose(found, wanted, rel_tol=1e-9):
            continue
        said = f"for half = {half} you return {found:.4g}. "
        if math.isclose(found, 1 - 1 / half, rel_tol=1e-9):
            said += "This β has the horizon `half`: about 63 % is spent by then, not half."
        elif math.isclose(found, 0.5**half, rel_tol=1e-9):
            said += "This is what β = 0.5 leaves after so many steps. Wanted is the β."
        else:
            said += f"After {half} steps it leaves {found**half:.3g} of the weight, not 0.5."
        raise NotYet(said)
    return "Each β leaves half of the weight after the steps that you asked for."


_GRADIENTS = [1.0, -2.0, 0.5, 3.0, 0.0, -1.0]
_BETAS = [(0.9, 0.999), (0.8, 0.95), (0.5, 0.9)]


@check(
    hints=[
        "Both are moving averages as in the cell above: that of g, and that of g squared.",
        "m = beta1 * m + (1 - beta1) * g, and the same for v with beta2 and g**2.",
        "The weights that m has after t steps add up to 1 - beta1**t. Divide by that where you "
        "append m, and leave m itself as it is.",
    ],
    errors={"ZeroDivisionError": "The first step is t = 1; 1 − β⁰ would be 0."},
)
def moments(answer: Callable[..., tuple[Sequence[float], Sequence[float]]]) -> str:
    """Adam's two corrected moments after each step."""
    for betas in _BETAS:
        with case(f"β₁ = {betas[0]:g}, β₂ = {betas[1]:g}"):
            found = _moments(answer(list(_GRADIENTS), *betas))
            wanted = _moments(study.torch_moments(_GRADIENTS, *betas))
        if torch.allclose(found, wanted, rtol=1e-9, atol=1e-12):
            continue
        for message, edits in mistakes.MOMENTS.items():
            mistaken = _moments(edited(mistakes.moments, edits)(_GRADIENTS, *betas))
            if torch.allclose(found, mistaken, rtol=1e-9, atol=1e-12):
                raise NotYet(message)
        which, step = (~torch.isclose(found, wanted, rtol=1e-9, atol=1e-12)).nonzero()[0].tolist()
        raise NotYet(
            f"β₁ = {betas[0]:g}, β₂ = {betas[1]:g}: after step {step + 1} the "
            f"{('first', 'second')[which]} moment is {found[which, step]:.4g}, and Adam's "
            f"{wanted[which, step]:.4g}."
        )
    return "The moments of torch.optim.Adam, to nine digits, at every step."


def _moments(answer: object) -> Tensor:
    """Both moments in one tensor, of shape (2, steps)."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise NotYet("return two lists, the first moments and the second.")
    rows = [_numbers(row, len(_GRADIENTS)) for row in answer]
    return torch.tensor(rows, dtype=torch.float64)
