"""What is trained and measured of the notebook *what an optimizer remembers*."""

from cgtutor.course.shared.replay import Lifetimes, kept
from cgtutor.memory import AGGREGATES


def momentum_weights(beta: float, ages: int) -> list[float]:
    """The weight of the gradients 0, 1, ... ``ages - 1`` steps ago in a step of momentum.

    That is ``beta ** k``, as in torch's SGD without dampening; ``beta=0`` is plain SGD.
    """
    return [beta**k for k in range(ages)]


def first_moment_weights(beta: float, ages: int, steps: int) -> list[float]:
    """The weight of the gradients of age 0, 1, ... in Adam's first moment, bias-corrected.

    Args:
        beta: Adam's first beta, below 1.
        ages: how many weights to give. Beyond ``steps - 1`` they are 0.
        steps: how many gradients were seen so far, that at hand included.
    """
    scale = (1 - beta) / (1 - beta**steps)
    return [scale * beta**k if k < steps else 0.0 for k in range(ages)]


def memory_weights(lives: Lifetimes, ages: int, aggr: str = "mean", first: int = 0) -> list[float]:
    """The weight of the gradients of age 0, 1, ... in the aggregate, as a mean over the steps.

    Args:
        lives: what a memory did with the norms of a training.
        ages: how many weights to give.
        aggr: how the gradient at hand and the kept ones combine, with kappa 1 (see
            :meth:`.CriticalGradients.aggregate`).
        first: the first step of the mean. An age that is larger can come up only later.
    """
    weights = [0.0] * ages
    steps = range(first, len(lives.norms))
    for step, born in enumerate(kept(lives)):
        if step >= first:
            own, each = AGGREGATES[aggr](len(born)) if born else (1, 0)
            for age, weight in [(0, own), *((step - b, each) for b in born)]:
                if age < ages:
                    weights[age] += weight / len(steps)
    return weights
