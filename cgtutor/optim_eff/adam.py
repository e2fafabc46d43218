"""Adam and AdamW on critical gradients, GPU-efficient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff._pieces import Lists


class Adam_C_eff(StackedOptimizer, Adam):
    """Adam, GPU-efficient.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim_eff` says more)::

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
        buffer_dtype: dtype of the kept gradients; ``None`` for that of the parameter.
            ``torch.bfloat16`` halves what they take; their sum stays in float32.
        maximize, foreach, capturable, fused: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.Adam` names.
    """

    _lists = 6

    def _update(
        self, group: dict[str, Any], lists: Lists, has_complex: bool, **kernels: Any
    ) -> None:
        _adam(self, group, lists, has_complex, kernels)

    def _precomputed(self, group: dict[str, Any], lists: Lists) -> Lists:
        return _with_powers(group, lists)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.99,
        kappa: float = 1.0,
        topC: int = 20,
        weight_decay: float = 0,
        amsgrad: bool = False,
        aggr: str = "sum",
        synced: bool = True,
        buffer_dtype: torch.dtype | None = None,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
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
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )


class AdamW_C_eff(StackedOptimizer, AdamW):
    """AdamW, Adam with decoupled weight decay,, GPU-efficient.

    One step, for each parameter p with a gradient g (:mod:`cgtutor.optim_eff` says more)::

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
        buffer_dtype: dtype of the kept gradients; ``None`` for that of the parameter.
            ``torch.bfloat16`` halves what they take; their sum stays in float32.
        maximize, foreach, capturable, fused: as in torch.

    Raises:
        ValueError: a hyperparameter is out of range; nothing was built.

    Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
    :class:`torch.optim.AdamW` names.
    """

    _lists = 6

    def _update(
        self, group: dict[str, Any], lists: Lists, has_complex: bool, **kernels: Any
    ) -> None:
        _adam(self, group, lists, has_complex, kernels)

    def _precomputed(self, group: dict[str, Any], lists: Lists) -> Lists:
        return _with_powers(group, lists)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.99,
        kappa: float = 1.0,
        topC: int = 20,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        aggr: str = "sum",
        synced: bool = True,
        buffer_dtype: torch.dtype | None = None,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
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
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )


def _adam(
    optimizer: Adam,
    group: dict[str, Any],
    lists: Lists,
    has_complex: bool,
    kernels: dict[str, Any],
) -> None:
    """Torch's functional Adam, as :meth:`torch.optim.Adam.step` calls it."""
    # torch loads the state of an AdamW into an Adam, and this mark with it
    decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, AdamW))
    options = {
        "foreach": group["foreach"],
        "fused": group["fused"],
        "capturable": group["capturable"] or torch.compiler.is_compiling(),
        "differentiable": False,
        "has_complex": has_complex,
        **kernels,
    }
    params, gradients, averages, squares, largest_squares, steps = lists
    (adamw if decoupled else adam)(
        params,
        gradients,
        averages,
        squares,
        largest_squares,
        steps,
        **options,
        grad_scale=getattr(optimizer, "grad_scale", None),
        found_inf=getattr(optimizer, "found_inf", None),
        amsgrad=group["amsgrad"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=group["maximize"],
    )


class _Step:
    """A step count, already counted up, whose powers are known.

    Compiled for the CPU, torch's update would compute them again for every few elements, which
    doubles the time of a step.
    """

    def __init__(self, step: Tensor, betas: tuple[float, float]) -> None:
        self.powers = {beta: beta ** step.double() for beta in betas}

    def __iadd__(self, _: int) -> "_Step":
        return self

    def __rpow__(self, beta: float) -> Tensor:
        return self.powers[beta]


def _with_powers(group: dict[str, Any], lists: Lists) -> Lists:
    *others, steps = lists
    if any(isinstance(beta, Tensor) for beta in group["betas"]):
        return lists
    for step in steps:
        step.add_(1)
    return [*others, [_Step(step, group["betas"]) for step in steps]]
