"""The checks of the exercises of the notebook *what the vaccine changes*."""

import math
from collections.abc import Callable, Mapping

from cgtutor.aggregation.vaccine import HIGHEST_TARGET
from cgtutor.course.shared.guard import guarded
from cgtutor.course.shared.tasks import plane
from cgtutor.course.what_the_vaccine_changes.study import trace

#: ‖g_i‖, ‖g_j‖, φ, φ̂ -> the weight of g_j
Weight = Callable[[float, float, float, float], float]


_CASES = [
    (1.0, 1.0, -0.3, 0.5),
    (2.0, 0.5, -0.8, 0.0),
    (0.5, 3.0, 0.2, 0.9),
    (3.0, 1.5, 0.0, 0.4),
    (1.0, 2.0, -0.6, -0.1),
]


def _typical_weights() -> Mapping[str, Weight]:
    """Wrong weights that are often written, by what to say about them."""

    def sine(cosine: float) -> float:
        return math.sqrt(1 - cosine * cosine)

    def exact(a: float, b: float, p: float, q: float) -> float:
        return a * (q * sine(p) - p * sine(q)) / (b * sine(q))

    return {
        "the sign is turned around: g_j is taken away, and the two agree less than before": (
            lambda a, b, p, q: -exact(a, b, p, q)
        ),
        "between the two products stands a minus: what g_i already has of g_j is taken off": (
            lambda a, b, p, q: a * (q * sine(p) + p * sine(q)) / (b * sine(q))
        ),
        "the lengths are missing: the weight has to grow with ‖g_i‖ and shrink with ‖g_j‖": (
            lambda a, b, p, q: exact(1, 1, p, q)
        ),
        "the lengths are the wrong way up: ‖g_i‖ belongs above the line, ‖g_j‖ below": (
            lambda a, b, p, q: exact(b, a, p, q)
        ),
        "‖g_i‖ is missing": lambda a, b, p, q: exact(1, b, p, q),
        "‖g_j‖ is missing": lambda a, b, p, q: exact(a, 1, p, q),
        "√(1 − φ̂²) is missing in the denominator": (
            lambda a, b, p, q: a * (q * sine(p) - p * sine(q)) / b
        ),
        "the root in the denominator is to be of φ̂, and yours is of φ": (
            lambda a, b, p, q: a * (q * sine(p) - p * sine(q)) / (b * sine(p))
        ),
        "1 − φ² and 1 − φ̂² need square roots": (
            lambda a, b, p, q: a * (q * (1 - p * p) - p * (1 - q * q)) / (b * (1 - q * q))
        ),
        "the roots are swapped: φ̂ should go with √(1 − φ²), and φ with √(1 − φ̂²)": (
            lambda a, b, p, q: a * (q * sine(q) - p * sine(p)) / (b * sine(q))
        ),
        "this is φ̂ − φ times the lengths, but adding g_j also makes g_i longer, so that its "
        "cosine does not grow in proportion": lambda a, b, p, q: a * (q - p) / b,
        "this is PCGrad, which goes to a right angle whatever φ̂ is": lambda a, b, p, q: -a * p / b,
    }


def vaccine_weight(weight: Weight) -> None:
    """Notebook 09: how much of g_j to add to g_i so that their cosine becomes φ̂."""
    print(_vaccine_weight(weight))


@guarded
def _vaccine_weight(weight: Weight) -> str:
    try:
        found = [weight(*case) for case in _CASES]
        if None in found:
            return "Not yet: weight gives back None in some case; is the word `return` missing?"
        values = [float(w) for w in found]
        for message, wrong in _typical_weights().items():
            if _agree(values, [wrong(*case) for case in _CASES]):
                return f"Not yet: {message}."
        for case, value in zip(_CASES, values):
            cosine = _cosine_after(case, value)
            if not math.isclose(cosine, case[3], abs_tol=1e-4):
                return (
                    f"Not yet: {_in_words(case)}, your weight is {value:.3g}, and it makes the "
                    f"cosine {cosine:.2f}. At φ̂ = 0 it should be PCGrad's −φ ‖g_i‖ / ‖g_j‖."
                )
        for case in ((1.0, 1.0, 0.6, 0.2), (2.0, 0.5, 0.1, 0.0), (1.0, 1.0, -0.2, -0.5)):
            value = float(weight(*case))
            if value != 0:
                return (
                    f"Not yet: {_in_words(case)}, the two agree more than they have to, and g_i "
                    f"stays as it is: weight 0, not {value:.3g}. The vaccine never turns away."
                )
        for phi_hat in (1.0, 1 - 1e-9):
            case = (2.0, 0.5, 0.3, phi_hat)
            try:
                value = float(weight(*case))
            except ZeroDivisionError:
                value = math.inf
            right = _highest_weight(case)
            if not math.isclose(value, right, rel_tol=0.1):  # float32 is 2 % off
                return (
                    f"Not yet: right for ordinary targets. With φ̂ = {phi_hat:.10g} the weight is "
                    f"{value:.3g} and should be {right:.0f}. Let φ̂ count as √(1 − 10⁻⁶) = "
                    f"{HIGHEST_TARGET:.7f} if it is higher, and only then."
                )
    except Exception as error:  # whatever the answer does, the notebook goes on
        hint = ". Is a `return` missing in some case?" if "not 'NoneType'" in str(error) else ""
        return f"Not yet: it stopped with {type(error).__name__}: {error}{hint}"
    return (
        f"Right! In {len(_CASES)} cases the new cosine is φ̂, what agrees is left alone, and "
        "the weight stays bounded up to φ̂ = 1."
    )


def _highest_weight(case: tuple[float, float, float, float]) -> float:
    norm_i, norm_j, phi, _ = case
    sine, sine_hat = (math.sqrt(1 - cosine**2) for cosine in (phi, HIGHEST_TARGET))
    return norm_i * (HIGHEST_TARGET * sine - phi * sine_hat) / (norm_j * sine_hat)


def _cosine_after(case: tuple[float, float, float, float], weight: float) -> float:
    norm_i, norm_j, phi, _ = case
    one, other = plane([math.degrees(math.acos(phi)), 0], [norm_i, norm_j])
    new = one + weight * other
    return (new @ other / (new.norm() * other.norm())).item()


def _in_words(case: tuple[float, float, float, float]) -> str:
    norm_i, norm_j, phi, phi_hat = case
    return f"with ‖g_i‖ = {norm_i:g}, ‖g_j‖ = {norm_j:g}, φ = {phi:g}, φ̂ = {phi_hat:g}"


def _agree(found: list[float], others: list[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(found, others))


#: φ̂, φ, β -> the target of the next step
Target = Callable[[float, float, float], float]


_TYPICAL_TARGETS: dict[str, Target] = {
    "β is the weight of the new cosine, and 1 − β that of the old target; yours are swapped": (
        lambda old, phi, beta: beta * old + (1 - beta) * phi
    ),
    "this forgets the old target": lambda old, phi, beta: phi,
    "the target never moves": lambda old, phi, beta: old,
    "the old target has to be multiplied by 1 − β": lambda old, phi, beta: old + beta * phi,
    "the new cosine has to be multiplied by β": lambda old, phi, beta: (1 - beta) * old + phi,
    "the target should follow the cosine down as well as up": (
        lambda old, phi, beta: max(old, (1 - beta) * old + beta * phi)
    ),
    "the target should move in every step, not only when the gradient is corrected": (
        lambda old, phi, beta: (1 - beta) * old + beta * phi if phi < old else old
    ),
}


def next_target(answer: Target) -> None:
    """Notebook 09: the running mean that the targets are."""
    print(_next_target(answer))


@guarded
def _next_target(answer: Target) -> str:
    seen = [0.8, -0.2, 0.5, 0.9, -0.6, 0.0]
    try:
        for beta in (0.3, 0.9, 0.0):
            mine = [0.0]
            for phi in seen:
                target = answer(mine[-1], phi, beta)
                if target is None:
                    return "Not yet: next_target gives back None; is the word `return` missing?"
                mine.append(float(target))
            wanted = trace([*seen, 0.0], beta).targets
            if not _agree(mine, wanted):
                return f"Not yet: {_which_target(mine, seen, beta, wanted)}."
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: it stopped with {type(error).__name__}: {error}"
    return f"Right! The same targets as GradVac's, over {len(seen)} steps and for three β."


def _which_target(mine: list[float], seen: list[float], beta: float, wanted: list[float]) -> str:
    for message, wrong in _TYPICAL_TARGETS.items():
        other = [0.0]
        for phi in seen:
            other.append(wrong(other[-1], phi, beta))
        if _agree(mine, other):
            return message
    step = next(k for k, (a, b) in enumerate(zip(mine, wanted)) if not _agree([a], [b]))
    return (
        f"with β = {beta:g}, φ̂ = {wanted[step - 1]:.3g} and φ = {seen[step - 1]:g} the next target "
        f"is {wanted[step]:.3g}, and yours {mine[step]:.3g}"
    )
