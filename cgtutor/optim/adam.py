"""Adam and AdamW on critical gradients."""

from torch import Tensor
from torch.optim import Adam, AdamW
from torch.optim.optimizer import ParamsT

from cgtutor.optim._base import Aggr, CriticalGradientOptimizer
from cgtutor.optim._docs import documented


@documented
class Adam_C(CriticalGradientOptimizer, Adam):
    """Adam on critical gradients.

    {step}

    Args:
        {params}
        {lr}
        {adam}
        {decay}
        {kappa}
        {topC}
        {l2}
        {amsgrad}
        {aggr_synced}
        maximize, foreach, capturable, fused: as in torch.

    {raises}

    {source}
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        weight_decay: float = 0,
        amsgrad: bool = False,
        aggr: Aggr = "mean",
        synced: bool = True,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {"decay": decay, "kappa": kappa, "topC": topC, "aggr": aggr, "synced": synced},
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )


@documented
class AdamW_C(CriticalGradientOptimizer, AdamW):
    """AdamW, Adam with decoupled weight decay, on critical gradients.

    {step}

    Args:
        {params}
        {lr}
        {adam}
        {decay}
        {kappa}
        {topC}
        weight_decay: decoupled weight decay, >= 0: it shrinks the parameters directly.
        {amsgrad}
        {aggr_synced}
        maximize, foreach, capturable, fused: as in torch.

    {raises}

    {source}
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        aggr: Aggr = "mean",
        synced: bool = True,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {"decay": decay, "kappa": kappa, "topC": topC, "aggr": aggr, "synced": synced},
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )
