"""What stands in for open exercises of the notebook *what an optimizer remembers*."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam


def torch_step(
    parameters: list[Tensor], velocities: dict[Any, Any], lr: float, beta: float
) -> None:
    """A step of torch's own SGD with momentum, in the form that the exercise asks for.

    Args:
        parameters: changed in place, by their gradients in ``.grad``.
        velocities: the same dictionary in every step, empty at first.
        lr: the learning rate of this step.
        beta: the momentum, the same in every step.
    """
    if "SGD" not in velocities:
        velocities["SGD"] = SGD(parameters, lr=lr, momentum=beta)
    velocities["SGD"].param_groups[0]["lr"] = lr
    velocities["SGD"].step()


def weights(k: int, beta: float, n: int) -> tuple[float, float, float]:
    """The weight of the gradient of age k in three memories.

    Args:
        k: the age, 0 for the gradient of this step.
        beta: of momentum and of the moving average, below 1.
        n: how many gradients the plain average takes.

    Returns:
        The weight in momentum, in an exponential moving average and in the plain average.
    """
    return beta**k, (1 - beta) * beta**k, (1 / n if k < n else 0.0)


def beta_for(half: float) -> float:
    """The β with which a gradient has half of its weight left after this many steps."""
    return float(0.5 ** (1 / half))


def torch_moments(
    gradients: Sequence[float], beta1: float = 0.9, beta2: float = 0.999
) -> tuple[list[float], list[float]]:
    """The two corrected moments of torch's own Adam after each step, for one parameter.

    Args:
        gradients: of the parameter, one for each step.
        beta1: of the first moment.
        beta2: of the second moment.

    Returns:
        The first moment and the second moment, a number for each step.
    """
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = Adam([p], betas=(beta1, beta2))
    firsts, seconds = [], []
    for t, gradient in enumerate(gradients, start=1):
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
        state = optimizer.state[p]
        firsts.append(state["exp_avg"].item() / (1 - beta1**t))
        seconds.append(state["exp_avg_sq"].item() / (1 - beta2**t))
    return firsts, seconds
