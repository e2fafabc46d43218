"""SGD on critical gradients, GPU-efficient."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.optimizer import ParamsT
from torch.optim.sgd import sgd

from cgtutor.optim._base import Aggr
from cgtutor.optim._docs import documented
from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff._pieces import Lists


@documented
class SGD_C_eff(StackedOptimizer, SGD):
    """Stochastic gradient descent, with or without momentum, on critical gradients: GPU-efficient.

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
        {buffer_dtype}
        nesterov: Nesterov momentum, as in torch.
        maximize, foreach, fused: as in torch.

    {raises}

    {source}
    """

    _lists = 3

    def _update(
        self, group: dict[str, Any], lists: Lists, has_sparse: bool, **kernels: Any
    ) -> None:
        """Torch's functional SGD, as :meth:`torch.optim.SGD.step` calls it."""
        params, gradients, buffers = lists[0], lists[1], list(lists[2])
        if group["nesterov"]:  # torch's foreach form would write into them
            gradients = [g.clone() for g in gradients]
        options = {"foreach": group["foreach"], "fused": group["fused"], **kernels}
        sgd(
            params,
            gradients,
            buffers,
            **options,
            has_sparse_grad=has_sparse,
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            maximize=group["maximize"],
        )
        if any(b is None for b in lists[2]):  # the first update began them
            for p, buffer in zip(params, buffers):
                self.state[p]["momentum_buffer"] = buffer

    def _init_group(self, group: dict[str, Any], *lists: Any, compiling: bool = False) -> Any:
        has_sparse = super()._init_group(group, *lists, compiling=compiling)
        if compiling and group["dampening"] == 0:  # begin them now: nothing changes after a step
            for i, p in enumerate(lists[0][: len(lists[2])]):
                if lists[2][i] is None:
                    lists[2][i] = self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return has_sparse

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        kappa: float = 1.0,
        dampening: float = 0.0,
        weight_decay: float = 0,
        momentum: float = 0.0,
        decay: float = 0.99,
        topC: int = 20,
        aggr: Aggr = "sum",
        synced: bool = True,
        buffer_dtype: torch.dtype | None = None,
        *,
        nesterov: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
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
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            foreach=foreach,
            fused=fused,
        )
