"""Adam and AdamW on critical gradients."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import Adam, AdamW

from cgtutor.optim._base import CriticalGradientOptimizer


class Adam_C(CriticalGradientOptimizer, Adam):
    """Adam on critical gradients.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim` says more)::

        m = aggregate of g and the gradients in memory      # aggr, kappa
        p = torch.optim.Adam's update with m in place of g
        offer (priority of g, g) to the memory              # topC, synced
        multiply every priority in the memory by decay

    Args:
        params: parameters, named parameters, or dictionaries that define parameter groups.
        lr: learning rate, >= 0. The method's authors advise trying the one that is best for
            Adam and a tenth of it.
        betas: decay rates of the running averages of the aggregate and of its square, in
            [0, 1).
        eps: added to the denominator, >= 0.
        decay: factor for every stored priority after each step, in [0, 1]: the nearer to 1, the
            longer a gradient is kept.
        kappa: weight of the memory, >= 0. With 0 this is :class:`torch.optim.Adam`, bit for
            bit; the memory still fills, so that kappa may be raised later.
        topC: number of gradients to keep for each parameter, >= 1. Each costs as much memory as
            the parameter itself.
        weight_decay: weight decay (L2 penalty), >= 0; it does not enter the memory.
        amsgrad: use the AMSGrad variant.
        aggr: how current gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``
            (:meth:`.CriticalGradients.aggregate`).
        synced: one priority for the whole group (the sum of its gradients' norms) instead of
            one for each parameter (its own norm).
        maximize, foreach, capturable, fused: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.Adam` names.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        weight_decay: float = 0,
        amsgrad: bool = False,
        aggr: str = "mean",
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


class AdamW_C(CriticalGradientOptimizer, AdamW):
    """AdamW, Adam with decoupled weight decay, on critical gradients.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim` says more)::

        m = aggregate of g and the gradients in memory      # aggr, kappa
        p = torch.optim.AdamW's update with m in place of g
        offer (priority of g, g) to the memory              # topC, synced
        multiply every priority in the memory by decay

    Args:
        params: parameters, named parameters, or dictionaries that define parameter groups.
        lr: learning rate, >= 0. The method's authors advise trying the one that is best for
            AdamW and a tenth of it.
        betas: decay rates of the running averages of the aggregate and of its square, in
            [0, 1).
        eps: added to the denominator, >= 0.
        decay: factor for every stored priority after each step, in [0, 1]: the nearer to 1, the
            longer a gradient is kept.
        kappa: weight of the memory, >= 0. With 0 this is :class:`torch.optim.AdamW`, bit for
            bit; the memory still fills, so that kappa may be raised later.
        topC: number of gradients to keep for each parameter, >= 1. Each costs as much memory as
            the parameter itself.
        weight_decay: decoupled weight decay, >= 0: it shrinks the parameters directly.
        amsgrad: use the AMSGrad variant.
        aggr: how current gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``
            (:meth:`.CriticalGradients.aggregate`).
        synced: one priority for the whole group (the sum of its gradients' norms) instead of
            one for each parameter (its own norm).
        maximize, foreach, capturable, fused: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.AdamW` names.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.7,
        kappa: float = 1.0,
        topC: int = 10,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        aggr: str = "mean",
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
