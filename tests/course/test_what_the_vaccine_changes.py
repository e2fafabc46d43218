"""What the vaccine changes."""

import math

import pytest
import torch
from checking import accepts, rejects
from looking import defined_in, shows

from cgtutor.aggregation import HIGHEST_TARGET, GradVac
from cgtutor.course.shared.tasks import plane, vaccinated
from cgtutor.course.what_the_vaccine_changes import checks, figures
from cgtutor.course.what_the_vaccine_changes.explorer import vaccine_explorer
from cgtutor.course.what_the_vaccine_changes.study import (
    Trace,
    multiplications,
    numbers_moved,
    trace,
)

pytestmark = pytest.mark.usefixtures("double_precision", "one_thread")


def test_trace_of_nothing_and_of_beta():
    assert trace([], 0.5) == Trace([], [])
    assert trace([0.5, -1.0, 1.0], 0).targets == [0, 0, 0]
    assert trace([0.5, -1.0, 1.0], 1) == Trace([0, 0.5, -1], [False, True, False])


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_vaccinate_rows_is_gradvac(tasks):
    vaccinate_rows = defined_in("09", "vaccinate_rows")
    draws, targets = torch.Generator().manual_seed(3), torch.zeros(tasks, tasks)
    vaccine, corrections = GradVac(0.3, generator=torch.Generator().manual_seed(3)), 0
    for _ in range(4):
        jacobian = torch.randn(tasks, 40) + 0.3
        total, targets, corrected = vaccinate_rows(jacobian, targets, 0.3, draws)
        torch.testing.assert_close(total, vaccine(jacobian))
        torch.testing.assert_close(targets, vaccine.targets, rtol=1e-6, atol=1e-6)
        assert corrected == vaccine.report.corrected.sum()
        corrections += corrected
    assert corrections > 0


def test_highest_target_is_that_of_the_guard():
    pair = plane([30, 0], [1, 1])
    for target, reached in ((1.0, HIGHEST_TARGET), (1 - 1e-9, HIGHEST_TARGET), (0.999, 0.999)):
        new = vaccinated(pair, target, eps=0)[0]
        assert new @ pair[1] / new.norm() == pytest.approx(reached, abs=1e-12)


def test_counts_by_hand():
    """Three tasks, one parameter, two of six meetings corrected."""
    assert multiplications(3, 1, 2) == {
        "on the gradients": 3 + 6 * 2 + 2,
        "by way of the Gramian": 9 + 3 + 2 * 6,
    }
    assert numbers_moved(3, 1, 2) == {
        "on the gradients": 6 + 3 + 6 * 2 + 2 * 3 + 4,
        "by way of the Gramian": 3 + 3 + 1,
    }


def words(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_rotation():
    pair = plane([110, 0], [1, 1.5])
    figure = figures.rotation(pair, [0, 0.9])
    said = words(figure)
    assert said[0] == "gᵢ: cosine −0.34, length 1.00"
    assert said[3] == "gᵢ′ for φ̂ = 0.90: length 2.16, weight 1.52"
    assert figure.axes[0].patches[2].get_path().get_extents().xmax == pytest.approx(0, abs=0.1)
    assert len(figure.axes) == 1
    assert f"{said[0]}; {said[1]}; {said[2]}; {said[3]}." in figure.alt
    explorable = figures.rotation(pair, [0.9], beta=0.25, curve=True)
    assert explorable.legends[0].get_title().get_text() == (
        "target after this step, with β = 0.25: 0.59"
    )
    assert "The target after this step, with β = 0.25: 0.59." in explorable.alt
    curve, dot = explorable.axes[1].lines
    assert dot.get_ydata() == pytest.approx([2.156], abs=1e-3)
    assert curve.get_ydata()[0] == pytest.approx(1)


def test_targets():
    seen = [1.0, 0.0, 0.5]
    figure = figures.targets(seen, {"β = 0.5": trace(seen, 0.5)})
    dots, line, _ = figure.axes[0].lines
    assert list(dots.get_ydata()) == seen
    assert list(line.get_ydata()) == [0, 0.5, 0.25]
    assert words(figure) == ["cosine φ seen", "β = 0.5"]
    assert figure.alt.endswith("β = 0.5: 0.25.")


def test_growth():
    figure = figures.growth({"one": ([1, 0.1, 0.01], [1, 2, 7])})
    (ax,) = figure.axes
    assert list(ax.lines[0].get_ydata()) == [1, 2, 7]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(1 - HIGHEST_TARGET)
    assert ax.get_xlim()[0] > ax.get_xlim()[1], "1 is on the right"
    assert words(figure) == ["one", "the guard's highest target"]
    assert figure.alt.endswith("one: 7e+00.")


def test_vaccine_explorer():
    explorer = vaccine_explorer()
    phi, phi_hat, length, beta = explorer.children[1:-1]
    phi.value, phi_hat.value, length.value, beta.value = 0, 0.71, 1, 0.2
    expected = figures.rotation(plane([90, 0], [1, 1]), [0.71], beta=0.2, curve=True)
    assert words(expected)[2].endswith("weight 1.01")
    assert shows(explorer, expected)


def sine(x):
    return math.sqrt(1 - x * x)


def right_weight(a, b, p, q):
    q = min(q, math.sqrt(1 - 1e-6))
    if p >= q:
        return 0.0
    return a * (q * sine(p) - p * sine(q)) / (b * sine(q))


def always(a, b, p, q):
    q = min(q, math.sqrt(1 - 1e-6))
    return a * (q * sine(p) - p * sine(q)) / (b * sine(q))


def no_limit(a, b, p, q):
    return a * (q * sine(p) - p * sine(q)) / (b * sine(q)) if p < q else 0.0


WRONG_WEIGHTS = {
    "(weight returns None": lambda a, b, p, q: None,
    "the sign is turned around": lambda a, b, p, q: -right_weight(a, b, p, q),
    "stands a minus": lambda a, b, p, q: a * (q * sine(p) + p * sine(q)) / (b * sine(q)),
    "the lengths are missing": lambda a, b, p, q: right_weight(1, 1, p, q),
    "the wrong way up": lambda a, b, p, q: right_weight(b, a, p, q),
    "‖g_i‖ is missing": lambda a, b, p, q: right_weight(1, b, p, q),
    "‖g_j‖ is missing": lambda a, b, p, q: right_weight(a, 1, p, q),
    "missing in the denominator": lambda a, b, p, q: right_weight(a, b, p, q) * sine(q),
    "and yours is of φ": lambda a, b, p, q: right_weight(a, b, p, q) * sine(q) / sine(p),
    "need square roots": lambda a, b, p, q: (
        a * (q * sine(p) ** 2 - p * sine(q) ** 2) / (b * sine(q) ** 2)
    ),
    "the roots are swapped": lambda a, b, p, q: a * (q * sine(q) - p * sine(p)) / (b * sine(q)),
    "in proportion": lambda a, b, p, q: a * (q - p) / b,
    "this is PCGrad": lambda a, b, p, q: -a * p / b,
    "it makes the cosine 0.30": lambda a, b, p, q: 0.7 * right_weight(a, b, p, q),
    "never turns away": always,
    "φ = 0.9999999, φ̂ = 1, your weight is -0.553, which turns g_i away": lambda a, b, p, q: (
        always(a, b, p, q) if p < q else 0.0
    ),
    "With φ̂ = 1 the weight is inf": no_limit,
    "With φ̂ = 1 the weight is 1.91e+08": lambda a, b, p, q: (
        a * (q * sine(p) - p * sine(q)) / (b * sine(q) + 1e-8) if p < q else 0.0
    ),
    "With φ̂ = 0.999999999 the weight is": lambda a, b, p, q: (
        right_weight(a, b, p, q) if q == 1 else no_limit(a, b, p, q)
    ),
    "With φ̂ = 1 the weight is 25.6 and should be 3815": lambda a, b, p, q: right_weight(
        a, b, p, min(q, 0.99)
    ),
    "With φ̂ = 1 the weight is 0 and should": lambda a, b, p, q: (
        right_weight(a, b, p, q) if q < 1 else 0
    ),
    "is the word `return` missing in some case?": lambda a, b, p, q: (
        right_weight(a, b, p, q) if p < q else None
    ),
    "stopped with TypeError": lambda a, b, p: 0.0,
}


@pytest.mark.parametrize("why", WRONG_WEIGHTS)
def test_vaccine_weight_rejects(why):
    rejects(checks.vaccine_weight, WRONG_WEIGHTS[why], why)


RIGHT_WEIGHTS = {
    "compared after the limit": right_weight,
    "never negative": lambda *case: max(always(*case), 0.0),
    "denominator of at least 1e-3": lambda a, b, p, q: (
        max(q * sine(p) - p * max(sine(q), 1e-3), 0) * a / (b * max(sine(q), 1e-3))
    ),
    "tensor": lambda *case: torch.tensor(right_weight(*case)),
    "lengths apart": lambda a, b, p, q: a / b * right_weight(1, 1, p, q),
}


@pytest.mark.parametrize("form", RIGHT_WEIGHTS)
def test_vaccine_weight_accepts(form):
    accepts(checks.vaccine_weight, RIGHT_WEIGHTS[form])


WRONG_TARGETS = {
    "(next_target returns None": lambda old, phi, beta: None,
    "yours are swapped": lambda old, phi, beta: beta * old + (1 - beta) * phi,
    "forgets the old target": lambda old, phi, beta: phi,
    "never moves": lambda old, phi, beta: old,
    "multiplied by 1 − β": lambda old, phi, beta: old + beta * phi,
    "has to be multiplied by β": lambda old, phi, beta: (1 - beta) * old + phi,
    "down as well as up": lambda old, phi, beta: max(old, (1 - beta) * old + beta * phi),
    "should move in every step": lambda old, phi, beta: (
        (1 - beta) * old + beta * phi if phi < old else old
    ),
    "with β = 0.3, φ̂ = 0 and φ = 0.8 the next target is 0.24, and yours 0.34": (
        lambda old, phi, beta: (1 - beta) * old + beta * phi + 0.1
    ),
    "stopped with ZeroDivisionError": lambda old, phi, beta: 1 / 0,
}


@pytest.mark.parametrize("why", WRONG_TARGETS)
def test_next_target_rejects(why):
    rejects(checks.next_target, WRONG_TARGETS[why], why)


RIGHT_TARGETS = {
    "weighted mean": lambda old, phi, beta: (1 - beta) * old + beta * phi,
    "a step towards φ": lambda old, phi, beta: old + beta * (phi - old),
}


@pytest.mark.parametrize("form", RIGHT_TARGETS)
def test_next_target_accepts(form):
    accepts(checks.next_target, RIGHT_TARGETS[form])
