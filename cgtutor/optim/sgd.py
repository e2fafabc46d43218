"""SGD on critical gradients."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import SGD

from cgtutor.optim._base import CriticalGradientOptimizer


class SGD_C(CriticalGradientOptimizer, SGD):
    """Stochastic gradient descent, with or without momentum, on critical gradients.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim` says more)::

        m = aggregate of g and the gradients in memory      # aggr, kappa
        p = torch.optim.SGD's update with m in place of g
        offer (priority of g, g) to the memory              # topC, synced
        multiply every priority in the memory by decay

    Args:
        params: parameters, named parameters, or dictionaries that define parameter groups.
        lr: learning rate, >= 0. Mind that ``aggr="sum"`` steps along about two gradients.
        kappa: weight of the memory, >= 0. With 0 this is :class:`torch.optim.SGD`, bit for
            bit; the memory still fills, so that kappa may be raised later.
        dampening: dampening of the momentum.
        weight_decay: weight decay (L2 penalty), >= 0; it does not enter the memory.
        momentum: momentum factor, >= 0.
        decay: factor for every stored priority after each step, in [0, 1]: the nearer to 1, the
            longer a gradient is kept.
        topC: number of gradients to keep for each parameter, >= 1. Each costs as much memory as
            the parameter itself.
        aggr: how current gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``
            (:meth:`.CriticalGradients.aggregate`).
        synced: one priority for the whole group (the sum of its gradients' norms) instead of
            one for each parameter (its own norm).
        nesterov: Nesterov momentum, as in torch.
        maximize, foreach, fused: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.SGD` names.

    >>> import torch
    >>> from cgtutor import SGD_C
    >>> w = torch.nn.Parameter(torch.tensor(4.0))
    >>> optimizer = SGD_C([w], lr=0.25)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     loss = w**2 / 2
    ...     loss.backward()         # the gradient is w
    ...     optimizer.step()
    >>> w.item()                    # 4 - 0.25 · 4 = 3, then 3 - 0.25 · (3 + 4)
    1.25
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        kappa: float = 1.0,
        dampening: float = 0.0,
        weight_decay: float = 0,
        momentum: float = 0.0,
        decay: float = 0.7,
        topC: int = 10,
        aggr: str = "sum",
        synced: bool = True,
        *,
        nesterov: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {"decay": decay, "kappa": kappa, "topC": topC, "aggr": aggr, "synced": synced},
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            foreach=foreach,
            fused=fused,
        )
