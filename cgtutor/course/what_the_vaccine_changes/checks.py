"""The checks of the exercises of the notebook *what the vaccine changes*."""

from collections.abc import Callable
from math import acos, degrees, inf, isclose, sqrt

from cgtutor.aggregation import HIGHEST_TARGET
from cgtutor.course.shared.check import NotYet, check
from cgtutor.course.shared.tasks import plane
from cgtutor.course.what_the_vaccine_changes.study import trace

#: ‖g_i‖, ‖g_j‖, φ, φ̂ -> the weight of g_j
Weight = Callable[[float, float, float, float], float]
Case = tuple[float, float, float, float]

_CASES: list[Case] = [
    (1.0, 1.0, -0.3, 0.5),
    (2.0, 0.5, -0.8, 0.0),
    (0.5, 3.0, 0.2, 0.9),
    (3.0, 1.5, 0.0, 0.4),
    (1.0, 2.0, -0.6, -0.1),
]
#: The two agree more than they have to.
_AGREE: list[Case] = [(1.0, 1.0, 0.6, 0.2), (2.0, 0.5, 0.1, 0.0), (1.0, 1.0, -0.2, -0.5)]
_LIMIT = f"Let φ̂ count as √(1 − 10⁻⁶) = {HIGHEST_TARGET:.7f} if it is higher"


def _sine(cosine: float) -> float:
    return sqrt(1 - cosine * cosine)


def _exact(a: float, b: float, p: float, q: float) -> float:
    return a * (q * _sine(p) - p * _sine(q)) / (b * _sine(q))


#: Wrong weights that are often written, by what to say about them.
_WEIGHTS: dict[str, Weight] = {
    "the sign is turned around: g_j is taken away, and the two agree less than before": (
        lambda a, b, p, q: -_exact(a, b, p, q)
    ),
    "between the two products stands a minus: what g_i already has of g_j is taken off": (
        lambda a, b, p, q: a * (q * _sine(p) + p * _sine(q)) / (b * _sine(q))
    ),
    "the lengths are missing: the weight has to grow with ‖g_i‖ and shrink with ‖g_j‖": (
        lambda a, b, p, q: _exact(1, 1, p, q)
    ),
    "the lengths are the wrong way up: ‖g_i‖ belongs above the line, ‖g_j‖ below": (
        lambda a, b, p, q: _exact(b, a, p, q)
    ),
    "‖g_i‖ is missing": lambda a, b, p, q: _exact(1, b, p, q),
    "‖g_j‖ is missing": lambda a, b, p, q: _exact(a, 1, p, q),
    "√(1 − φ̂²) is missing in the denominator": lambda a, b, p, q: _exact(a, b, p, q) * _sine(q),
    "the root in the denominator is to be of φ̂, and yours is of φ": (
        lambda a, b, p, q: _exact(a, b, p, q) * _sine(q) / _sine(p)
    ),
    "1 − φ² and 1 − φ̂² need square roots": (
        lambda a, b, p, q: a * (q * (1 - p * p) - p * (1 - q * q)) / (b * (1 - q * q))
    ),
    "the roots are swapped: φ̂ should go with √(1 − φ²), and φ with √(1 − φ̂²)": (
        lambda a, b, p, q: a * (q * _sine(q) - p * _sine(p)) / (b * _sine(q))
    ),
    "this is φ̂ − φ times the lengths, but adding g_j also makes g_i longer, so that its cosine "
    "does not grow in proportion": lambda a, b, p, q: a * (q - p) / b,
    "this is PCGrad, which goes to a right angle whatever φ̂ is": lambda a, b, p, q: -a * p / b,
}


@check(errors={"NoneType": "weight returns None; is the word `return` missing in some case?"})
def vaccine_weight(weight: Weight) -> str:
    """How much of g_j to add to g_i so that their cosine becomes φ̂."""
    values = [float(weight(*case)) for case in _CASES]
    for message, wrong in _WEIGHTS.items():
        if _agree(values, [wrong(*case) for case in _CASES]):
            raise NotYet(f"{message}.")
    for case, value in zip(_CASES, values):
        if not isclose(cosine := _cosine_after(case, value), case[3], abs_tol=1e-4):
            raise NotYet(
                f"{_in_words(case)}, your weight is {value:.3g}, and it makes the cosine "
                f"{cosine:.2f}. At φ̂ = 0 it should be PCGrad's −φ ‖g_i‖ / ‖g_j‖."
            )
    for case in _AGREE:
        if (value := float(weight(*case))) != 0:
            raise NotYet(
                f"{_in_words(case)}, the two agree more than they have to, and g_i stays as it is: "
                f"weight 0, not {value:.3g}. The vaccine never turns away."
            )
    for phi_hat in (1.0, 1 - 1e-9):
        try:
            value = float(weight(2.0, 0.5, 0.3, phi_hat))
        except ZeroDivisionError:
            value = inf
        right = _exact(2.0, 0.5, 0.3, HIGHEST_TARGET)
        if not isclose(value, right, rel_tol=0.1):  # float32 is 2 % off
            raise NotYet(
                f"right for ordinary targets. With φ̂ = {phi_hat:.10g} the weight is {value:.3g} "
                f"and should be {right:.0f}. {_LIMIT}, and only then."
            )
    above = (1.0, 1.0, 1 - 1e-7, 1.0)  # φ is lower than φ̂, and higher than the limit
    if not (value := float(weight(*above))) >= 0:
        raise NotYet(
            f"{_in_words(above)}, your weight is {value:.3g}, which turns g_i away from g_j. "
            f"{_LIMIT}, and compare φ with it only after that."
        )
    return (
        f"In {len(_CASES)} cases the new cosine is φ̂, what agrees is left alone, and the weight "
        "stays bounded up to φ̂ = 1."
    )


def _cosine_after(case: Case, weight: float) -> float:
    norm_i, norm_j, phi, _ = case
    one, other = plane([degrees(acos(phi)), 0], [norm_i, norm_j])
    new = one + weight * other
    return float(new @ other / (new.norm() * other.norm()))


def _in_words(case: Case) -> str:
    return "with ‖g_i‖ = {:g}, ‖g_j‖ = {:g}, φ = {:.8g}, φ̂ = {:g}".format(*case)


def _agree(found: list[float], others: list[float]) -> bool:
    return all(isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(found, others))


#: φ̂, φ, β -> the target of the next step
Target = Callable[[float, float, float], float]

_SEEN = [0.8, -0.2, 0.5, 0.9, -0.6, 0.0]

#: Wrong targets that are often written, by what to say about them.
_TARGETS: dict[str, Target] = {
    "β is the weight of the new cosine, and 1 − β that of the old target; yours are swapped": (
        lambda old, phi, beta: beta * old + (1 - beta) * phi
    ),
    "this forgets the old target": lambda old, phi, beta: phi,
    "the target never moves": lambda old, phi, beta: old,
    "the old target has to be multiplied by 1 − β": lambda old, phi, beta: old + beta * phi,
    "the new cosine has to be multiplied by β": lambda old, phi, beta: (1 - beta) * old + phi,
    "the target should follow the cosine down as well as up": (
        lambda old, phi, beta: max(old, old + beta * (phi - old))
    ),
    "the target should move in every step, not only when the gradient is corrected": (
        lambda old, phi, beta: old + beta * min(phi - old, 0)
    ),
}


@check(errors={"NoneType": "next_target returns None; is the word `return` missing?"})
def next_target(answer: Target) -> str:
    """The running mean that the targets are."""
    for beta in (0.3, 0.9, 0.0):
        mine, wanted = _run(answer, beta), trace([*_SEEN, 0.0], beta).targets
        if _agree(mine, wanted):
            continue
        for message, wrong in _TARGETS.items():
            if _agree(mine, _run(wrong, beta)):
                raise NotYet(f"{message}.")
        step = next(k for k in range(len(mine)) if not _agree(mine[k : k + 1], wanted[k:]))
        raise NotYet(
            f"with β = {beta:g}, φ̂ = {wanted[step - 1]:.3g} and φ = {_SEEN[step - 1]:g} the next "
            f"target is {wanted[step]:.3g}, and yours {mine[step]:.3g}."
        )
    return f"The same targets as GradVac's, over {len(_SEEN)} steps and for three β."


def _run(rule: Target, beta: float) -> list[float]:
    targets = [0.0]
    for phi in _SEEN:
        targets.append(float(rule(targets[-1], phi, beta)))
    return targets
