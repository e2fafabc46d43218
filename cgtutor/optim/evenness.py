"""How alike a memory weighs its gradients, from its two settings."""

import math

from cgtutor import _check


def weight_evenness(topC: int, decay: float) -> float:
    r"""How evenly a memory with these settings weighs small and large gradients.

    The number is a = topC · ln(1/decay). The larger it is, the more even are the weights. As it
    falls to 0, the memory holds the very largest gradients and nothing else.

    Where it comes from: let the parameters move slowly, so that the distribution of the norms
    ‖g‖ stays as it is, and let θ be the norm that is just too small to be inserted. A gradient
    with ‖g‖ > θ stays until its priority has decayed to θ, which takes ln(‖g‖/θ) / ln(1/decay)
    steps. The mean number of gradients that are in the memory is the mean of these times (Little's
    law), and it has to be topC, so that

        E[max(0, ln(‖g‖/θ))] = topC · ln(1/decay) = a.

    With ``aggr="sum"`` an optimizer therefore descends along

        E[g · (1 + kappa · max(0, ln(‖g‖/θ)) / a)],

    where the mean weight is 1 + kappa. (``"mid"`` is half of that; ``"mean"`` is ``"sum"`` with
    topC · kappa in place of kappa, divided by topC + 1.) The law is exact in the limit of many
    slots, and close with few. Settings with equal evenness weigh alike. They do not cost
    alike: each slot is a copy of the parameters.

    The memory is that of McRae, Parthasarathi, Assran and Chandar, *Memory Augmented Optimizers
    for Deep Learning*, ICLR 2022, arXiv:2106.10708, Section 3. The law is derived and tested in
    the course's notebook 06.

    Args:
        topC: number of gradients that the memory keeps, at least 1.
        decay: factor for every priority after each step, in [0, 1].

    Returns:
        A number from 0, for ``decay=1``, to infinity, for ``decay=0``.

    Raises:
        ValueError: ``topC`` is no positive integer, or ``decay`` no number in [0, 1].

    >>> from cgtutor import weight_evenness
    >>> round(weight_evenness(topC=5, decay=0.7), 2)      # nearly even
    1.78
    >>> round(weight_evenness(topC=5, decay=0.99), 2)     # the largest count most
    0.05
    """
    topC = _check.positive_integer("topC", topC)
    decay = _check.number("decay", decay, 0, 1)
    if decay == 0:
        return math.inf
    return topC * abs(math.log(decay))  # abs: 0.0 and not -0.0 for decay=1
