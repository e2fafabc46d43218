"""SGD on critical gradients, GPU-efficient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.sgd import sgd

from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff._pieces import Lists


class SGD_C_eff(StackedOptimizer, SGD):
    """Stochastic gradient descent, with or without momentum, GPU-efficient.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim_eff` says more)::

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
        buffer_dtype: dtype of the kept gradients; ``None`` for that of the parameter.
            ``torch.bfloat16`` halves what they take; their sum stays in float32.
        nesterov: Nesterov momentum, as in torch.
        maximize, foreach, fused: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.SGD` names.
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
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        kappa: float = 1.0,
        dampening: float = 0.0,
        weight_decay: float = 0,
        momentum: float = 0.0,
        decay: float = 0.99,
        topC: int = 20,
        aggr: str = "sum",
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
