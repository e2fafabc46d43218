"""Right answers to two exercises of the notebook, and mistakes that are often made in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def momentum_step(
    parameters: list[Tensor], velocities: dict[Any, Any], lr: float, beta: float
) -> None:
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
MOMENTUM: Mapping[str, Mapping[str, str]] = {
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
    "its velocity as well.": {"continue": "g = 0 * p"},
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


def moments(
    gradients: Sequence[float], beta1: float = 0.9, beta2: float = 0.999
) -> tuple[list[float], list[float]]:
    """The moments that the exercise asks for."""
    firsts, seconds = [], []
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        firsts.append(m / (1 - beta1**t))
        seconds.append(v / (1 - beta2**t))
    return firsts, seconds


#: By what to say of them, what stands in place of which part of the solution.
MOMENTS: Mapping[str, Mapping[str, str]] = {
    "each moment knows one gradient, the last. Keep β of the old moment, take in 1 − β of g.": {
        "m = beta1 * m + (1 - beta1) * g": "m = g * (1 - beta1**t)",
        "v = beta2 * v + (1 - beta2) * g**2": "v = g**2 * (1 - beta2**t)",
    },
    "both moments are 0 all the time. Take g into m, and g squared into v.": {
        "(m / (1 - beta1**t))": "(0.0)",
        "(v / (1 - beta2**t))": "(0.0)",
    },
    "right, but for the bias correction: divide each by the sum of its weights so far.": {
        "m / (1 - beta1**t)": "m",
        "v / (1 - beta2**t)": "v",
    },
    "the first moment is right. The second still needs its bias correction.": {
        "v / (1 - beta2**t)": "v",
    },
    "the second moment is right. The first still needs its bias correction.": {
        "m / (1 - beta1**t)": "m",
    },
    "the sum of the weights after t steps is 1 − β to the power t, not 1 − β.": {
        "beta1**t": "beta1",
        "beta2**t": "beta2",
    },
    "you divide by 1 − tβ. It is β to the power t.": {
        "beta1**t": "beta1 * t",
        "beta2**t": "beta2 * t",
    },
    "both moments average g. The second is that of g squared.": {"g**2": "g"},
    "the second moment is the square of an average. Wanted is the average of squares.": {
        "g**2": "g",
        "v / (1 - beta2**t)": "(v / (1 - beta2**t)) ** 2",
    },
    "the second moment is a root. Adam takes the root later, in its step.": {
        "v / (1 - beta2**t)": "(v / (1 - beta2**t)) ** 0.5",
    },
    "β₁ and β₂ have changed places.": {
        "beta1 * m + (1 - beta1)": "beta2 * m + (1 - beta2)",
        "beta2 * v + (1 - beta2)": "beta1 * v + (1 - beta1)",
        "beta1**t": "beta2**t",
        "v / (1 - beta2**t)": "v / (1 - beta1**t)",
    },
    "β and 1 − β have changed places: β goes with the old moment.": {
        "beta1 * m + (1 - beta1) * g": "(1 - beta1) * m + beta1 * g",
        "beta2 * v + (1 - beta2) * g**2": "(1 - beta2) * v + beta2 * g**2",
    },
    "the correction goes into the next step as well. Correct what you append, not m and v.": {
        "firsts.append(m / (1 - beta1**t))": "m = m / (1 - beta1**t); firsts.append(m)",
        "seconds.append(v / (1 - beta2**t))": "v = v / (1 - beta2**t); seconds.append(v)",
    },
    "this is momentum: all of g is added. A moving average takes a part 1 − β of it.": {
        "(1 - beta1) * g": "g",
        "(1 - beta2) * g**2": "g**2",
    },
}
