"""RMSprop on critical gradients, GPU-efficient."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import RMSprop
from torch.optim.optimizer import ParamsT
from torch.optim.rmsprop import rmsprop

from cgtutor.optim._base import Aggr
from cgtutor.optim._docs import documented
from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff._pieces import Lists


@documented
class RMSprop_C_eff(StackedOptimizer, RMSprop):
    """RMSprop on critical gradients, GPU-efficient.

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
        {buffer_dtype}
        capturable, foreach, maximize: as in torch.

    {raises}

    {source}
    """

    _lists = 6

    def _update(
        self, group: dict[str, Any], lists: Lists, has_complex: bool, **kernels: Any
    ) -> None:
        """Torch's functional RMSprop, as :meth:`torch.optim.RMSprop.step` calls it."""
        params, gradients, squares, momenta, means, steps = lists  # _init_group's order
        rmsprop(
            params,
            gradients,
            squares,
            means,
            momenta,
            steps,
            foreach=kernels.get("foreach", group["foreach"]),
            maximize=group["maximize"],
            differentiable=False,
            capturable=group["capturable"],
            has_complex=has_complex,
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            centered=group["centered"],
        )

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        decay: float = 0.99,
        kappa: float = 1.0,
        topC: int = 20,
        aggr: Aggr = "sum",
        synced: bool = True,
        buffer_dtype: torch.dtype | None = None,
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "decay": decay,
                "kappa": kappa,
                "topC": topC,
                "aggr": aggr,
                "synced": synced,
                "buffer_dtype": buffer_dtype,
            },
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
