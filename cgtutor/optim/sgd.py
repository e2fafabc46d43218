"""SGD on critical gradients."""

from torch import Tensor
from torch.optim import SGD
from torch.optim.optimizer import ParamsT

from cgtutor.optim._base import Aggr, CriticalGradientOptimizer
from cgtutor.optim._docs import documented


@documented
class SGD_C(CriticalGradientOptimizer, SGD):
    """Stochastic gradient descent, with or without momentum, on critical gradients.

    {step}

    Args:
        {params}
        lr: learning rate, >= 0. Mind that ``aggr="sum"`` steps along about two gradients.
        {kappa}
        dampening: dampening of the momentum.
        {l2}
        momentum: momentum factor, >= 0.
        {decay}
        {topC}
        {aggr_synced}
        nesterov: Nesterov momentum, as in torch.
        maximize, foreach, fused: as in torch.

    {raises}

    {source}

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
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        kappa: float = 1.0,
        dampening: float = 0.0,
        weight_decay: float = 0,
        momentum: float = 0.0,
        decay: float = 0.7,
        topC: int = 10,
        aggr: Aggr = "sum",
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
