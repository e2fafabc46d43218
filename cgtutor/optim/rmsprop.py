"""RMSprop on critical gradients."""

from torch import Tensor
from torch.optim import RMSprop
from torch.optim.optimizer import ParamsT

from cgtutor.optim._base import Aggr, CriticalGradientOptimizer
from cgtutor.optim._docs import documented


@documented
class RMSprop_C(CriticalGradientOptimizer, RMSprop):
    """RMSprop on critical gradients.

    {step}

    Args:
        {params}
        {lr}
        alpha: smoothing constant of the squared aggregates, in [0, 1].
        eps: added to the denominator, >= 0.
        {l2}
        momentum: momentum factor, >= 0.
        centered: divide by an estimate of the standard deviation instead.
        {decay}
        {kappa}
        {topC}
        {aggr_synced}
        capturable, foreach, maximize: as in torch.

    {raises}

    {source}
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        aggr: Aggr = "mean",
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
