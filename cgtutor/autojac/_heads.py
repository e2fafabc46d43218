"""What happens between the losses and the features."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from cgtutor.autojac._arguments import check_accepts, one_for_each, tensor_list
from cgtutor.autojac._fields import add_to_grad
from cgtutor.autojac._graph import edge, explore, needed_later


class Heads:
    """What happens between the losses and the features, task by task.

    Nothing is written before :meth:`add_to_grad`. The arguments are those of
    :func:`mtl_backward`; the first two and the shared parameters are checked already, the others
    are here.

    Attributes:
        directions: For each feature the T tasks' gradients, shape (T, *feature.shape).
    """

    def __init__(
        self,
        losses: list[Tensor],
        trunk: list[Tensor],
        grad_tensors: Sequence[Tensor] | None,
        tasks_params: Sequence[Iterable[Tensor]] | None,
        shared: list[Tensor],
        retain_graph: bool,
    ) -> None:
        starts = _check_starts(losses, grad_tensors)
        for k, feature in enumerate(trunk):
            others = [other for other in trunk if other is not feature]
            if others and explore([feature], stop=others).stopped:
                raise ValueError(
                    "features must not be made from one another, got "
                    f"features[{k}] made from another one: leave one of them out"
                )
        seen_by = [explore([loss], stop=trunk) for loss in losses]
        if tasks_params is None:
            heads = [seen.leaves for seen in seen_by]
        else:
            heads = [
                tensor_list(f"tasks_params[{task}]", parameters, may_be_empty=True)
                for task, parameters in enumerate(
                    one_for_each(losses, "tasks_params", tasks_params)
                )
            ]
        for task, (head, seen) in enumerate(zip(heads, seen_by)):
            check_accepts(f"tasks_params[{task}]", head)
            bypass = set(shared) & {*head, *seen.leaves}
            if bypass:
                shape = tuple(bypass.pop().shape)
                raise ValueError(
                    "features must be all through which tensors depend on shared_params, but "
                    f"tensors[{task}] reaches one of shape {shape} by another way: "
                    + _how(trunk, seen.nodes)
                )
        if not any(seen.stopped for seen in seen_by):
            raise ValueError(
                "features must be what tensors were made from, but none of them depends on any"
            )
        # tasks that have a part above the features in common need it in turn
        keep = needed_later([seen.nodes for seen in seen_by])
        results = [
            torch.autograd.grad(
                loss,
                [*head, *trunk],
                start,
                retain_graph=retain_graph or keep[task],
                allow_unused=True,
            )
            for task, (loss, head, start) in enumerate(zip(losses, heads, starts))
        ]
        at_trunk = [result[len(head) :] for result, head in zip(results, heads)]
        self.directions = [
            torch.stack([torch.zeros_like(feature) if g is None else g for g in column])
            for feature, column in zip(trunk, zip(*at_trunk))
        ]
        self._pairs = [(p, g) for head, result in zip(heads, results) for p, g in zip(head, result)]

        # the pass below the features would add the same once more
        self._retained = [(f, f.grad) for f in trunk if f.retains_grad]

    def add_to_grad(self) -> None:
        """Accumulate what was found for the heads' own parameters."""
        for feature, gradient in self._retained:
            feature.grad = gradient
        # in copies, because autograd may hand out one tensor for two parameters
        add_to_grad(
            [p for p, _ in self._pairs],
            [torch.zeros_like(p) if g is None else g.detach().clone() for p, g in self._pairs],
        )


def _how(trunk: list[Tensor], nodes: set[Any]) -> str:
    """What may have led past the features, and what to do."""
    for k, feature in enumerate(trunk):
        node = edge(feature)[0]
        kind = type(node).__name__
        if node in nodes and kind in ("CompiledFunctionBackward", "_DDPSinkBackward"):
            return (
                f"both features[{k}] and it come out of one {kind}. Have encoder and heads been "
                "joined in one graph, by torch.compile or DistributedDataParallel? Then compile or "
                "wrap the encoder alone, or call backward(losses) and jac_to_grad. Otherwise name "
                "every output of the encoder in features"
            )
    return (
        "have the features been changed in place after they were made, as by a head that begins "
        "with ReLU(inplace=True)? Or is there one more feature?"
    )


def _check_starts(
    losses: list[Tensor], grad_tensors: Sequence[Tensor] | None
) -> Sequence[Tensor | None]:
    if grad_tensors is None:
        for i, loss in enumerate(losses):
            if loss.ndim > 0:
                raise ValueError(
                    f"grad_tensors must be given unless all tensors are scalars, got None and "
                    f"tensors[{i}] of shape {tuple(loss.shape)}"
                )
            if loss.is_complex():
                raise ValueError(
                    f"grad_tensors must be given unless all tensors are real, got None and "
                    f"tensors[{i}] of {loss.dtype}"
                )
        return [None] * len(losses)
    starts = one_for_each(losses, "grad_tensors", grad_tensors)
    for i, (start, loss) in enumerate(zip(starts, losses)):
        if not isinstance(start, Tensor) or start.shape != loss.shape:
            got = tuple(start.shape) if isinstance(start, Tensor) else repr(start)
            raise ValueError(
                f"grad_tensors[{i}] must be a tensor of shape {tuple(loss.shape)}, as tensors[{i}] "
                f"has, got {got}"
            )
    return starts
