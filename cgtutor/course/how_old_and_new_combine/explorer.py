"""The explorer about how old and new gradients combine."""

from functools import cache

import ipywidgets
import torch
from torch import Tensor
from torch.optim import SGD

from cgtutor import SGD_C
from cgtutor.course.how_old_and_new_combine.figures import on_a_map
from cgtutor.course.how_old_and_new_combine.study import GOLDSTEIN_PRICE, descend, in_words
from cgtutor.course.shared.explorer import Explorer, choices
from cgtutor.course.shared.style import Picture

#: What κ can be set to.
KAPPAS = [round(0.05 * k, 2) for k in range(41)]
RATE, STEPS = 8e-5, 60
RULES = ["sum", "mid", "mean"]


@cache
def _paths() -> dict[str, Tensor]:
    """The paths of SGD, of SGD at twice the rate, and of SGD_C by rule, for every κ.

    Shape (STEPS + 1, 2), and (STEPS + 1, number of κ, 2). One optimizer takes all κ, a group each.
    """
    surface, start = GOLDSTEIN_PRICE, GOLDSTEIN_PRICE.start
    alone = {
        "SGD": lambda groups: SGD(groups, lr=RATE),
        "SGD, 2 × rate": lambda groups: SGD(groups, lr=2 * RATE),
    }

    def by_rule(rule: str) -> torch.optim.Optimizer | object:
        def make(groups: list[dict[str, object]]) -> SGD_C:
            weighted = [group | {"kappa": kappa} for group, kappa in zip(groups, KAPPAS)]
            return SGD_C(weighted, lr=RATE, aggr=rule, topC=5, decay=0.7)  # type: ignore[arg-type]

        return make

    many = start.expand(len(KAPPAS), 2)
    paths = descend(surface.function, start, alone, STEPS)
    return paths | descend(surface.function, many, {r: by_rule(r) for r in RULES}, STEPS)  # type: ignore[misc]


def _chosen(kappa: float, rule: str) -> dict[str, Tensor]:
    paths = _paths()
    own = paths[rule][:, KAPPAS.index(kappa)]
    return {"SGD": paths["SGD"], "SGD_C": own, "SGD, 2 × rate": paths["SGD, 2 × rate"]}


def kappa_explorer() -> Explorer:
    """SGD, SGD at twice the learning rate and SGD_C on Goldstein–Price, by κ and rule."""

    def draw(kappa: float, rule: str) -> Picture:
        return on_a_map(
            GOLDSTEIN_PRICE,
            _chosen(kappa, rule),
            f"{rule}, κ = {kappa:.2f}: SGD_C ends at a height of {in_words(height(kappa, rule))}",
        )

    def height(kappa: float, rule: str) -> float:
        return float(GOLDSTEIN_PRICE.height(_chosen(kappa, rule)["SGD_C"][-1]))

    def reached(kappa: float, rule: str) -> str:
        k = KAPPAS.index(kappa)
        below = height(KAPPAS[k - 1], rule) if k else 0.0
        if rule != "sum" or height(kappa, rule) >= 20 or below < 20:
            return ""
        return (
            f"with κ = {kappa:g} SGD_C ends at a height of {in_words(height(kappa, rule))}, with "
            f"κ = {KAPPAS[k - 1]:g} still at {in_words(below)}."
        )

    return Explorer(
        draw,
        {
            "kappa": choices("κ", 0.5, KAPPAS),
            "rule": ipywidgets.ToggleButtons(options=RULES, value="sum", description="rule"),
        },
        goal="SGD stops in a local minimum (+), 27 above the lowest (★). Find the smallest κ with "
        "which the rule sum ends below a height of 20.",
        reached=reached,
    )
