"""Adam and AdamW on critical gradients, GPU-efficient."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from cgtutor.optim._base import Aggr
from cgtutor.optim._docs import documented
from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff._pieces import Lists


@documented
class Adam_C_eff(StackedOptimizer, Adam):
    """Adam on critical gradients, GPU-efficient.

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
        {buffer_dtype}
        maximize, foreach, capturable, fused: as in torch.

    {raises}

    {source}
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
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.99,
        kappa: float = 1.0,
        topC: int = 20,
        weight_decay: float = 0,
        amsgrad: bool = False,
        aggr: Aggr = "sum",
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


@documented
class AdamW_C_eff(StackedOptimizer, AdamW):
    """AdamW, Adam with decoupled weight decay, on critical gradients: GPU-efficient.

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
        {buffer_dtype}
        maximize, foreach, capturable, fused: as in torch.

    {raises}

    {source}
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
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.99,
        kappa: float = 1.0,
        topC: int = 20,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        aggr: Aggr = "sum",
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
