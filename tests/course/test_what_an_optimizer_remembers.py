"""What an optimizer remembers."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from checking import accepts, rejects
from looking import defined_in, drawn_by
from torch.optim import SGD, Adam

from cgtutor import SGD_C
from cgtutor.course.shared.check import edited
from cgtutor.course.shared.replay import replay
from cgtutor.course.what_an_optimizer_remembers import checks, explorer, figures
from cgtutor.course.what_an_optimizer_remembers.study import (
    first_moment_weights,
    memory_weights,
    momentum_weights,
)

#: The trace of the docs: the 1 goes when the 3 comes, the 0.2 never gets in.
TRACE = [4.0, 1.0, 3.0, 0.2]


def traced():
    return replay(TRACE, topC=2, decay=0.5)


@pytest.mark.parametrize("beta", [0, 0.5, 0.9])
def test_momentum_weights_are_torchs(beta):
    """A kick, then zeros: what moves is the weight of the kick."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([p], lr=1, momentum=beta)
    moved = []
    for step in range(6):
        before = p.item()
        p.grad = torch.full_like(p, float(step == 0))
        optimizer.step()
        moved.append(before - p.item())
    assert momentum_weights(beta, 6) == pytest.approx(moved)


def test_first_moment_weights_are_torchs():
    """Adam's exp_avg is linear in the gradients; a kick at each age gives that age's weight."""
    steps, found = 5, []
    for age in range(steps):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = Adam([p], betas=(0.8, 0.999))
        for step in range(steps):
            p.grad = torch.full_like(p, float(step == steps - 1 - age))
            optimizer.step()
        found.append(optimizer.state[p]["exp_avg"].item() / (1 - 0.8**steps))
    weights = first_moment_weights(0.8, 7, steps=steps)
    assert weights[:steps] == pytest.approx(found)
    assert weights[steps:] == [0, 0]
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("aggr", "expected"),
    [
        # step 0: own 1; 1: own and age 1; 2: own, ages 1 and 2; 3: own, ages 1 and 3
        ("mean", [1 + 1 / 2 + 1 / 3 + 1 / 3, 1 / 2 + 1 / 3 + 1 / 3, 1 / 3, 1 / 3]),
        ("sum", [4, 1 + 1 / 2 + 1 / 2, 1 / 2, 1 / 2]),
        ("mid", [1 + 3 / 2, 1 / 2 + 1 / 4 + 1 / 4, 1 / 4, 1 / 4]),
    ],
)
def test_memory_weights_by_hand(aggr, expected):
    assert memory_weights(traced(), 4, aggr) == pytest.approx([w / 4 for w in expected])


def test_memory_weights_from_a_step_on_and_up_to_an_age():
    last = memory_weights(traced(), 2, first=3)
    assert last == pytest.approx([1 / 3, 1 / 3])
    assert memory_weights(traced(), 9, first=3)[4:] == [0] * 5


def test_memory_weights_are_the_optimizers():
    """The weights by which a step is a sum of gradients, read from SGD_C itself."""
    norms = [4.0, 1.0, 3.0, 0.2, 2.0, 2.5]
    p = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = SGD_C([p], lr=1, topC=2, decay=0.5, aggr="mean")
    by_age = [0.0] * 6
    for step, norm in enumerate(norms):  # each gradient along an axis of its own
        before = p.detach().clone()
        p.grad = torch.zeros_like(p)
        p.grad[step] = norm
        optimizer.step()
        for born, moved in enumerate((before - p.detach()).tolist()[: step + 1]):
            by_age[step - born] += moved / norms[born] / len(norms)
    assert memory_weights(replay(norms, 2, 0.5), 6) == pytest.approx(by_age)


def test_moments_are_adams():
    moments = defined_in("02", "moments")
    gradients = [1.0, -2.0, 0.5, 3.0]
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = Adam([p], lr=1, betas=(0.8, 0.9), eps=0)
    moved = []
    for g in gradients:
        before = p.item()
        p.grad = torch.full_like(p, g)
        optimizer.step()
        moved.append(before - p.item())
    first, root, step = moments(gradients, 0.8, 0.9)
    assert step == pytest.approx(moved)
    assert first[0] == pytest.approx(1)
    assert root[1] == pytest.approx(math.sqrt((0.9 * 1 + 4) / 1.9))


def test_weights_by_age():
    figure = figures.weights_by_age(
        {"one": [1.0, 0.5, 0.0, 0.5], "two": [1.0] * 4}, old=1, oldest=12
    )
    (ax,) = figure.axes
    drawn = ax.lines[0].get_ydata().tolist()
    assert drawn[:2] == [1.0, 0.5]
    assert math.isnan(drawn[2])
    assert [t.get_text() for t in figure.legends[0].texts] == [
        "one (25%)",
        "two (50%)",
    ]
    assert figure.legends[0].get_title().get_text().endswith("on gradients older than 1 steps")
    assert "one, now 1, one step ago 0.5, and 25% of the weight on gradients older than 1" in (
        figure.alt
    )
    assert figures.weights_by_age({n: [1, 1] for n in "abc"}).legends[0]._ncols == 2


def test_moments_figure():
    gradients = [1.0, 1.0, 10.0, 1.0]
    first, root, step = [1.0, 1.0, 1.9, 1.8], [1.0, 1.0, 5.0, 4.5], [1.0, 1.0, 0.38, 0.4]
    figure = figures.moments(gradients, first, root, step)
    above, below = figure.axes
    assert [list(line.get_ydata()) for line in above.lines] == [gradients, first, root]
    assert list(below.lines[0].get_ydata()) == step
    assert "a spike of 10 at step 2" in figure.alt
    assert f"{step[-1]:.1f} at the end" in figure.alt


def test_weights_explorer(monkeypatch):
    drawn = drawn_by(explorer, "weights_by_age", monkeypatch)
    norms = [1.0 + (t % 7) / 10 for t in range(150)]
    _, beta, top_c, decay, _ = explorer.weights_explorer(norms).children
    beta.value, top_c.value, decay.value = 0.5, 4, 1
    expected = figures.weights_by_age(
        {
            "momentum, β = 0.5": momentum_weights(0.5, 1000),
            "memory, topC = 4, decay = 1": memory_weights(replay(norms, 4, 1), 150, first=100),
        }
    )
    assert drawn[-1].alt == expected.alt
    assert not set(plt.get_fignums()) - {expected.number}


def momentum(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities.get(p, 0) + p.grad
            p -= lr * velocities[p]


def momentum_in_place(parameters, velocities, lr, beta):
    for i, p in enumerate(parameters):
        if p.grad is None:
            continue
        if i in velocities:
            velocities[i].mul_(beta).add_(p.grad)
        else:
            velocities[i] = p.grad.clone()
        p.data.sub_(velocities[i], alpha=lr)


@pytest.mark.parametrize("right", [momentum, momentum_in_place, checks.solution])
def test_momentum_step_accepts(right):
    accepts(checks.momentum_step, right)


@pytest.mark.parametrize("why", checks.MISTAKES, ids=lambda why: why[:60])
def test_momentum_step_knows(why):
    rejects(
        checks.momentum_step, edited(checks.solution, checks.MISTAKES[why]), f"Not yet: {why}\n"
    )


def new_tensors(parameters, velocities, lr, beta):
    for i, p in enumerate(parameters):
        if p.grad is not None:
            velocities[i] = beta * velocities.get(i, 0) + p.grad
            parameters[i] = p - lr * velocities[i]


def takes_the_gradient(parameters, velocities, lr, beta):
    momentum(parameters, velocities, lr, beta)
    parameters[0].grad = None


def aliased(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            if p in velocities:
                velocities[p].mul_(beta).add_(p.grad)
            else:
                velocities[p] = p.grad
            p -= lr * velocities[p]


def in_place_gradient(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            p.grad.add_(velocities.get(p, 0), alpha=beta) if p in velocities else None
            velocities[p] = p.grad.clone()
            p -= lr * p.grad


def local_velocity(parameters, velocities, lr, beta):
    velocities = {}
    momentum(parameters, velocities, lr, beta)


def replaces(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities.get(p, 0) + p.grad
            p = p - lr * velocities[p]


def key_error(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities[p] + p.grad
            p -= lr * velocities[p]


def none(parameters, velocities, lr, beta):
    for p in parameters:
        velocities[p] = beta * velocities.get(p, 0) + p.grad
        p -= lr * velocities[p]


def none_later(parameters, velocities, lr, beta):
    for i, p in enumerate(parameters):
        if i != 1:
            velocities[p] = beta * velocities.get(p, 0) + p.grad
            p -= lr * velocities[p]


def twice(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities.get(p, 0) + 2 * p.grad
            p -= lr * velocities[p]


def twice_when_absent(parameters, velocities, lr, beta):
    momentum(parameters, velocities, lr, beta)
    if parameters[2].grad is None:
        parameters[0].mul_(2)


def keeps_the_gradients_tensor(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities[p] + p.grad if p in velocities else p.grad
            p -= lr * velocities[p]


MOMENTUM = {
    "the list holds other tensors than before": new_tensors,
    "p.grad is None after your step": takes_the_gradient,
    "changes p.grad itself. Either": aliased,
    "velocities[p] is that very tensor": in_place_gradient,
    "velocities[p] is the gradient's own tensor": keeps_the_gradients_tensor,
    "Is the velocity there again": local_velocity,
    "p = p - ... only": replaces,
    "At first velocities is empty": key_error,
    "it stopped with TypeError": none,
    "has p.grad None: skip it": none,
    "no gradient in some steps: it stopped with TypeError": none_later,
    "after step 1, with the learning rate 0.1, parameter 1 of 3 is": twice,
    "a parameter has no gradient in some steps: after step": twice_when_absent,
    "ZeroDivisionError: division by zero": lambda *_: 1 / 0,
}


@pytest.mark.parametrize("why", MOMENTUM)
def test_momentum_step_rejects(why):
    rejects(checks.momentum_step, MOMENTUM[why], why)
