"""RMSprop on critical gradients."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import RMSprop

from cgtutor.optim._base import CriticalGradientOptimizer


class RMSprop_C(CriticalGradientOptimizer, RMSprop):
    """RMSprop on critical gradients.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim` says more)::

        m = aggregate of g and the gradients in memory      # aggr, kappa
        p = torch.optim.RMSprop's update with m in place of g
        offer (priority of g, g) to the memory              # topC, synced
        multiply every priority in the memory by decay

    Args:
        params: parameters, named parameters, or dictionaries that define parameter groups.
        lr: learning rate, >= 0. The method's authors advise trying the one that is best for
            RMSprop and a tenth of it.
        alpha: smoothing constant of the squared aggregates, in [0, 1].
        eps: added to the denominator, >= 0.
        weight_decay: weight decay (L2 penalty), >= 0; it does not enter the memory.
        momentum: momentum factor, >= 0.
        centered: divide by an estimate of the standard deviation instead.
        decay: factor for every stored priority after each step, in [0, 1]: the nearer to 1, the
            longer a gradient is kept.
        kappa: weight of the memory, >= 0. With 0 this is :class:`torch.optim.RMSprop`, bit for
            bit; the memory still fills, so that kappa may be raised later.
        topC: number of gradients to keep for each parameter, >= 1. Each costs as much memory as
            the parameter itself.
        aggr: how current gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``
            (:meth:`.CriticalGradients.aggregate`).
        synced: one priority for the whole group (the sum of its gradients' norms) instead of
            one for each parameter (its own norm).
        capturable, foreach, maximize: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.RMSprop` names.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        aggr: str = "mean",
        synced: bool = True,
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {"decay": decay, "kappa": kappa, "topC": topC, "aggr": aggr, "synced": synced},
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            capturable=capturable,
            foreach=foreach,
            maximize=maximize,
        )
