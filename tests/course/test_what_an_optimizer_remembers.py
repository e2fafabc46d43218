"""What an optimizer remembers."""

import math
import re
from itertools import accumulate, pairwise
from types import SimpleNamespace

import nbformat
import pytest
import torch
from checking import accepts, rejects, said
from looking import NOTEBOOKS, defined_in
from torch.optim import SGD, Adam

from cgtutor.course.shared.check import edited
from cgtutor.course.shared.data import digits, network
from cgtutor.course.shared.training import train
from cgtutor.course.what_an_optimizer_remembers import (
    checks,
    explorer,
    figures,
    mistakes,
    study,
)

NUMBER = "02"


def solved():
    """What the notebook's solutions define, by name."""
    (path,) = NOTEBOOKS.glob(f"{NUMBER}_*.ipynb")
    shell = {"checks": SimpleNamespace(**dict.fromkeys(vars(checks), lambda answer: None))}
    for cell in nbformat.read(path, as_version=4).cells:
        if "solution" in cell.metadata.get("tags", []):
            (source,) = re.findall(r"```python\n(.+?)\n```", cell.source, re.DOTALL)
            exec(source, shell)
    return SimpleNamespace(**shell)


SOLVED = solved()


def made_of(momentum_step):
    """The notebook's class Momentum, with this step in it."""
    (path,) = NOTEBOOKS.glob(f"{NUMBER}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    (source,) = [c.source for c in cells if "class Momentum" in c.source]
    (definition,) = re.findall(r"^class Momentum.+?(?=\n\n\n)", source, re.DOTALL | re.MULTILINE)
    shell = {"torch": torch, "momentum_step": momentum_step}
    exec(definition, shell)
    return shell["Momentum"]


@pytest.fixture
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


# ------------------------------------------------------------- what the notebook claims


@pytest.mark.parametrize("step", [SOLVED.momentum_step, study.torch_step], ids=["own", "torch"])
def test_momentum_trains_as_torchs(step, double):
    """On the digits, to 1e-12, in the notebook's own class."""
    data, models = digits(), [network(seed=0), network(seed=0)]
    parameters = [list(model.parameters()) for model in models]
    train(models[0], made_of(step)(parameters[0], lr=0.03, beta=0.9), data, epochs=2)
    train(models[1], SGD(parameters[1], lr=0.03, momentum=0.9), data, epochs=2)
    for mine, torchs in zip(*parameters):
        torch.testing.assert_close(mine, torchs, rtol=1e-12, atol=1e-12)


def weight_by_torch(make, state, k):
    """The weight of the gradient of age k: a kick, and k steps later what is left of it."""
    p = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = make([p])
    for gradient in [1.0] + [0.0] * k:
        p.grad = torch.full_like(p, gradient)
        optimizer.step()
    return optimizer.state[p][state].item()


@pytest.mark.parametrize("weights", [SOLVED.weights, study.weights])
@pytest.mark.parametrize("k", [0, 1, 5, 9, 10, 40])
def test_weights_are_torchs(weights, k):
    momentum, moving, plain = weights(k, 0.9, 10)
    by_torch = weight_by_torch(lambda p: SGD(p, lr=1, momentum=0.9), "momentum_buffer", k)
    assert momentum == pytest.approx(by_torch, rel=1e-12)
    by_torch = weight_by_torch(lambda p: Adam(p, betas=(0.9, 0.999)), "exp_avg", k)
    assert moving == pytest.approx(by_torch, rel=1e-9)
    assert plain == defined_in(NUMBER, "plain_average")([1.0] + [0.0] * k)
    assert moving == pytest.approx(defined_in(NUMBER, "moving_average")([1.0] + [0.0] * k))


@pytest.mark.parametrize("beta_for", [SOLVED.beta_for, study.beta_for])
def test_beta_for_a_half_life(beta_for):
    assert beta_for(7) == pytest.approx(0.9057, abs=1e-4)
    assert beta_for(70) ** 70 == pytest.approx(0.5)


@pytest.mark.parametrize("moments", [SOLVED.moments, study.torch_moments, mistakes.moments])
def test_moments_are_adams(moments):
    gradients, p = [1.0, -2.0, 0.5, 3.0], torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer, moved = Adam([p], lr=1, betas=(0.8, 0.9), eps=0), []
    for g in gradients:
        before, p.grad = p.item(), torch.full_like(p, g)
        optimizer.step()
        moved.append(before - p.item())
    firsts, seconds = moments(gradients, 0.8, 0.9)
    assert [m / v**0.5 for m, v in zip(firsts, seconds)] == pytest.approx(moved, rel=1e-12)


SPIKE = [1.0] * 50 + [100.0] + [1.0] * 350


def test_the_numbers_of_the_spike():
    """14.2 with bias correction, 3.2 without, a fifth of the step 350 steps later."""
    firsts, seconds = SOLVED.moments(SPIKE)
    assert seconds[50] ** 0.5 == pytest.approx(14.2, abs=0.05)
    assert (seconds[50] * (1 - 0.999**51)) ** 0.5 == pytest.approx(3.2, abs=0.05)
    assert firsts[-1] / seconds[-1] ** 0.5 == pytest.approx(0.21, abs=0.005)


def test_less_than_a_hundredth_in_step_44():
    rolling = list(accumulate(0.9**k for k in range(45)))
    found = defined_in(NUMBER, "positions")([-1.0] + [0.0] * 44, 0.9)
    assert found == pytest.approx(rolling, rel=1e-5)
    moved = [b - a for a, b in pairwise(rolling)]
    assert moved[42] > 0.01 > moved[43]


# ------------------------------------------------------------------------------ figures


def shown_by(figure):
    return " ".join(text.get_text() for ax in figure.axes for text in ax.texts)


def test_kick():
    rolling = list(accumulate(0.9**k for k in range(45)))
    player = figures.kick([1.0] * 45, rolling)
    assert player.count == 27
    assert player.size < 300_000
    words = player._data["text/plain"]
    assert "SGD stands at 1 since step 0" in words
    assert "by 0.35 in step 10 and 0.0097 in step 44" in words
    assert (
        "Step 44: the gradient is 0. Momentum moves its ball by 0.010, to 9.91."
        in (player._data["text/html"])
    )


def test_weights_by_age():
    ages = range(30)
    figure = figures.weights_by_age(
        {
            name: [study.weights(k, 0.5, 4)[i] for k in ages]
            for i, name in enumerate(["momentum", "moving", "plain"])
        }
    )
    heights = [[bar.get_height() for bar in ax.patches] for ax in figure.axes]
    assert heights[0][:3] == [1, 0.5, 0.25]
    assert heights[1][:3] == [0.5, 0.25, 0.125]
    assert heights[2][:5] == [0.25] * 4 + [0]
    assert "at age 4" in shown_by(figure)
    assert "plain: 0.25, 0.25, 0, 0 and 0" in figure.alt
    assert figure.get_suptitle()


def test_spike():
    figure = figures.spike(SPIKE, *study.torch_moments(SPIKE), beta2=0.999)
    above, below = figure.axes
    gradient, first, root, plain = (line.get_ydata() for line in above.lines)
    assert gradient[50] == 100
    assert first[0] == pytest.approx(1)
    assert root[50] == pytest.approx(14.2, abs=0.05)
    assert plain[50] == pytest.approx(3.17, abs=0.01)
    assert below.lines[0].get_ydata()[-1] == pytest.approx(first[-1] / root[-1])
    assert "350 steps after the spike: 0.21" in shown_by(figure)
    assert "jumps to 14.2, uncorrected to 3.2, and is still 4.7 at the end" in figure.alt
    assert figure.get_suptitle()


def test_longer_memories():
    losses = {"none": {0.1: 0.5, 1: 0.2}, "short": {0.1: 0.4, 1: 0.3}, "long": {0.1: 0.7, 1: 0.8}}
    results = {
        name: {
            lr: [SimpleNamespace(validation_loss=[9, loss + seed]) for seed in (-0.1, 0.1)]
            for lr, loss in by_rate.items()
        }
        for name, by_rate in losses.items()
    }
    figure = figures.longer_memories(results)
    assert "long at its best: 0.70" in shown_by(figure)
    assert "none: 0.50 and 0.20; short: 0.40 and 0.30; long: 0.70 and 0.80" in figure.alt
    assert figure.get_suptitle()


def test_newest_or_largest():
    norms = [5.0, *[1.0 + i / 100 for i in range(19)], 0.1]
    figure = figures.newest_or_largest(norms, count=3)
    colors = [[bar.get_facecolor() for bar in ax.patches] for ax in figure.axes]
    marked = [[i for i in range(21) if of[i] != of[1]] for of in colors]
    assert marked == [[18, 19, 20], [0, 18, 19]]
    assert "below the largest 3, which have the ages 1, 2 and 20" in figure.alt
    assert figure.get_suptitle()


# ---------------------------------------------------------------------------- explorers


def test_half_explorer():
    made = explorer.half_explorer(study.weights)
    assert "Reached" not in made.goal.value
    made.set(beta=0.9, n=14)
    assert "Reached" in made.goal.value
    assert "momentum 77%" in made.goal.value
    assert made._figure.alt.count("half spent after 7 steps") == 2
    for beta, n in ((0.88, 14), (0.9, 12), (0.9, 15), (0.92, 14)):
        made.set(beta=beta, n=n)
        assert "Reached" not in made.goal.value
    made.set(beta=0.99, n=40)
    assert "momentum, β = 0.99: later than 60 steps" in made._figure.alt


def test_half_explorer_draws_what_the_reader_wrote():
    made = explorer.half_explorer(lambda k, beta, n: (float(k == 3), 0.0, float(k == 5)))
    drawn = [line.get_ydata() for line in made._figure.axes[0].lines if len(line.get_ydata()) > 2]
    assert [list(shares).index(max(shares)) for shares in drawn] == [4, 6]


def test_half_spent():
    assert explorer.half_spent([0, 0.3, 0.5, 1]) == 2
    assert explorer.half_spent([0, 0.1]) is None


def test_spike_explorer():
    made = explorer.spike_explorer(SOLVED.moments, SPIKE)
    assert "Reached" not in made.goal.value
    reached = []
    for beta2 in explorer.SECOND_BETAS:
        made.set(beta2=beta2)
        reached += [beta2] if "Reached" in made.goal.value else []
    assert reached == [0.9]
    made.set(beta2=0.5)
    assert "at most 2.86" in made._figure.alt
    assert "half of 1 again after 5 steps" in shown_by(made._figure)


def test_careful_for():
    assert explorer.careful_for([1, 0.2, 0.3, 0.6], peak=2) == 2
    assert explorer.careful_for([1, 0.2, 0.3], peak=2) is None
    assert explorer.careful_for([1, 0.9, 0.8], peak=2) == 0


def test_explorers_keep_their_axes():
    for made, values in (
        (explorer.half_explorer(study.weights), {"beta": 0.99, "n": 40}),
        (explorer.spike_explorer(study.torch_moments, SPIKE), {"beta2": 0.5}),
    ):
        limits = [ax.axis() for ax in made._figure.axes]
        made.set(**values)
        assert [ax.axis() for ax in made._figure.axes] == limits


# ------------------------------------------------------------------ exercise 1, momentum


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


@pytest.mark.parametrize(
    "right", [momentum_in_place, SOLVED.momentum_step, mistakes.momentum_step, study.torch_step]
)
def test_momentum_step_accepts(right):
    accepts(checks.momentum_step, right)


@pytest.mark.parametrize("why", mistakes.MOMENTUM, ids=lambda why: why[:60])
def test_momentum_step_knows(why):
    wrong = edited(mistakes.momentum_step, mistakes.MOMENTUM[why])
    rejects(checks.momentum_step, wrong, f"Not yet: {why}\n")


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


# ------------------------------------------------------------------- exercise 2, weights


@pytest.mark.parametrize(
    "right",
    [
        SOLVED.weights,
        lambda k, beta, n: [math.exp(k * math.log(beta)), (1 - beta) * beta**k, (k < n) / n],
        lambda k, beta, n: torch.tensor(study.weights(k, beta, n), dtype=torch.float64),
    ],
)
def test_weights_accepts(right):
    accepts(checks.weights, right)


def weight(which, value):
    """An answer that is right but for one of the three."""

    def answer(k, beta, n):
        found = list(study.weights(k, beta, n))
        found[which] = value(k, beta, n)
        return found

    return answer


WEIGHTS = {
    "in momentum the weight is 0.9. The gradient of this step has the age 0": weight(
        0, lambda k, beta, n: beta ** (k + 1)
    ),
    "so k steps multiply k times: a power": weight(0, lambda k, beta, n: beta * k if k else 1),
    "Momentum adds all of the gradient": weight(0, lambda k, beta, n: (1 - beta) * beta**k),
    "This is SGD. Momentum still has the gradient": weight(0, lambda k, beta, n: float(k == 0)),
    "and a kick shows another": weight(0, lambda k, beta, n: 3 * beta**k),
    "It takes only a part 1 − β of each gradient": weight(1, lambda k, beta, n: beta**k),
    "β and 1 − β have changed places": weight(1, lambda k, beta, n: beta * (1 - beta) ** k),
    "in the moving average the weight is 0.09. The gradient": weight(
        1, lambda k, beta, n: (1 - beta) * beta ** (k + 1)
    ),
    "k = 4, β = 0.5, n = 4: in the plain average the weight is 0.25. A gradient of age n": weight(
        2, lambda k, beta, n: 1 / n if k <= n else 0
    ),
    "k = 3, β = 0.5, n = 4: in the plain average the weight is 0. The newest n": weight(
        2, lambda k, beta, n: 1 / n if k < n - 1 else 0
    ),
    "Each of the n gradients counts 1 / n": weight(2, lambda k, beta, n: float(k < n)),
    "return 3 numbers, separated by commas, not 0.5": lambda k, beta, n: 0.5,
    "return 3 numbers, separated by commas, not None": lambda k, beta, n: None,
    "return 3 numbers, not 2": lambda k, beta, n: (1.0, 2.0),
}


@pytest.mark.parametrize("why", WEIGHTS)
def test_weights_rejects(why):
    rejects(checks.weights, WEIGHTS[why], why)


# ------------------------------------------------------------------ exercise 3, beta_for


@pytest.mark.parametrize(
    "right",
    [SOLVED.beta_for, lambda half: math.exp(-math.log(2) / half), lambda half: 2 ** -(half**-1)],
)
def test_beta_for_accepts(right):
    accepts(checks.beta_for, right)


BETAS = {
    "for half = 7 you return 0.9. After 7 steps it leaves 0.478": lambda half: 0.9,
    "This β has the horizon `half`": lambda half: 1 - 1 / half,
    "This is what β = 0.5 leaves": lambda half: 0.5**half,
    "Does your function return the number?": lambda half: None,
}


@pytest.mark.parametrize("why", BETAS)
def test_beta_for_rejects(why):
    rejects(checks.beta_for, BETAS[why], why)


# ------------------------------------------------------------------- exercise 4, moments


def moments_by_sums(gradients, beta1=0.9, beta2=0.999):
    """Without a loop over the moments: a weighted mean of all gradients so far."""

    def mean(values, beta, t):
        weights = [beta ** (t - 1 - i) for i in range(t)]
        return sum(w * x for w, x in zip(weights, values)) / sum(weights)

    steps, squares = range(1, len(gradients) + 1), [g * g for g in gradients]
    return [mean(gradients, beta1, t) for t in steps], [mean(squares, beta2, t) for t in steps]


@pytest.mark.parametrize(
    "right",
    [
        SOLVED.moments,
        moments_by_sums,
        lambda *args: [torch.tensor(row) for row in study.torch_moments(*args)],
    ],
)
def test_moments_accepts(right, double):
    accepts(checks.moments, right)


@pytest.mark.parametrize("why", mistakes.MOMENTS, ids=lambda why: why[:60])
def test_moments_knows(why):
    rejects(checks.moments, edited(mistakes.moments, mistakes.MOMENTS[why]), f"Not yet: {why}\n")


MOMENTS = {
    "The first step is t = 1": edited(mistakes.moments, {"start=1": "start=0"}),
    "return two lists": lambda gradients, *betas: gradients,
    "return 6 numbers, not 5": lambda gradients, *betas: (gradients[1:], gradients),
    "β₁ = 0.9, β₂ = 0.999: after step 2 the first moment is 1, and Adam's": edited(
        mistakes.moments, {"firsts.append(m / (1 - beta1**t))": "firsts.append(1.0)"}
    ),
}


@pytest.mark.parametrize("why", MOMENTS)
def test_moments_rejects(why):
    rejects(checks.moments, MOMENTS[why], why)


@pytest.mark.parametrize("name", ["momentum_step", "weights", "beta_for", "moments"])
def test_hints_come_in_steps(name):
    check = getattr(checks, name)
    assert 2 <= len(check.hints) <= 4
    assert said(lambda: check(hint=1)).startswith("Hint 1 of ")
