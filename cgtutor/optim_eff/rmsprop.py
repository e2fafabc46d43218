"""RMSprop on critical gradients, GPU-efficient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import RMSprop
from torch.optim.rmsprop import rmsprop

from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff._pieces import Lists


class RMSprop_C_eff(StackedOptimizer, RMSprop):
    """RMSprop, GPU-efficient.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim_eff` says more)::

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
        buffer_dtype: dtype of the kept gradients; ``None`` for that of the parameter.
            ``torch.bfloat16`` halves what they take; their sum stays in float32.
        capturable, foreach, maximize: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.RMSprop` names.
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
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        decay: float = 0.99,
        kappa: float = 1.0,
        topC: int = 20,
        aggr: str = "sum",
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
