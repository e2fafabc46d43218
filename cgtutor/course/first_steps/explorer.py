"""The explorer of the notebook *first steps*: two curves to lay on each other."""

from functools import partial

from torch.optim import SGD

from cgtutor import SGD_C
from cgtutor.course.first_steps.figures import levelled
from cgtutor.course.first_steps.study import Trained, losses
from cgtutor.course.shared.data import Split
from cgtutor.course.shared.explorer import Explorer, choices
from cgtutor.course.shared.style import Picture

RATE = 0.03
KAPPAS = (1.0, 2.0, 3.0)
DECAYS = (0.7, 0.99)
TIMES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)

#: Curves lie on each other if they are nowhere further apart.
CLOSE = 0.12


def rate_explorer(trained: Trained, split: Split, seed: int = 0) -> Explorer:
    """The curve of SGD at a rate to drag, and that of SGD_C with a ``kappa`` and a ``decay``.

    Args:
        trained: does one training.
        split: the part of the data that it trains on, for the curves.
        seed: of all trainings, which are done here and not while the reader drags.
    """
    memory = {
        (kappa, decay): losses(trained(partial(SGD_C, kappa=kappa, decay=decay), RATE, seed), split)
        for kappa in KAPPAS
        for decay in DECAYS
    }
    plain = {times: losses(trained(SGD, times * RATE, seed), split) for times in TIMES}

    def draw(kappa: float, decay: float, times: float) -> Picture:
        names = f"SGD_C, kappa={kappa:g}, decay={decay:g}", f"SGD at {times:g} times the rate"
        return levelled(memory[kappa, decay], plain[times], names)

    def reached(kappa: float, decay: float, times: float) -> str:
        pairs = zip(memory[kappa, decay], plain[times])
        if kappa != 2 or max(abs(a - b) for a, b in pairs) > CLOSE:
            return ""
        return (
            f"with kappa = 2 the lead is gone at {times:g} times the rate, whatever the decay. "
            "Which rate does kappa = 3 need?"
        )

    return Explorer(
        draw,
        {
            "kappa": choices("kappa of SGD_C", 1.0, KAPPAS),
            "decay": choices("decay of SGD_C", 0.7, DECAYS),
            "times": choices("rate of SGD, times", 1.0, TIMES),
        },
        goal="set kappa to 2, and lay the curve of SGD on that of SGD_C.",
        reached=reached,
    )
