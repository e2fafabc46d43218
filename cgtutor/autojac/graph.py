"""Looking at an autograd graph, and freeing it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Edge = tuple[Any, int]


def edge(tensor: Tensor) -> Edge:
    """Where a tensor's gradient enters the graph: the node that made it, and which output it is."""
    return torch.autograd.graph.get_gradient_edge(tensor)[:2]


class Explored(NamedTuple):
    """What a walk through a graph came upon."""

    #: Leaves: parameters, and inputs that require gradients.
    leaves: list[Tensor]
    #: All nodes of the graph, but for the leaves' and those beyond a stop.
    nodes: set[Any]
    #: Whether there was a stop on the way.
    stopped: bool


def explore(roots: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> Explored:
    """Walk from some tensors towards the leaves.

    Args:
        roots: Tensors that require gradients.
        stop: Tensors beyond which not to look.
    """
    closed = {edge(tensor) for tensor in stop}
    leaves: list[Tensor] = []
    seen: set[Any] = set()  # holds the nodes, too: the identity of a dropped one is used again
    nodes: set[Any] = set()
    stopped = False
    waiting = [edge(root) for root in roots]
    while waiting:
        here = waiting.pop()
        node = here[0]
        if here in closed:
            stopped = True
        elif node is not None and node not in seen:
            seen.add(node)
            if type(node).__name__ == "AccumulateGrad":
                leaves.append(node.variable)
            else:
                nodes.add(node)
                waiting.extend(node.next_functions)
    return Explored(leaves, nodes, stopped)


class _NoGradient(torch.autograd.Function):
    """Joins tensors into one whose backward pass sends each of them no gradient at all."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.count = len(tensors)
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, ...]:
        return (None,) * ctx.count


def release(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
    """Free what the graph between ``outputs`` and ``inputs`` has saved.

    Torch frees as a backward pass goes along, which would leave nothing for a second try. So a
    pass that may fail keeps the graph, and this frees it afterwards: a backward pass without a
    gradient, which visits every node, and torch's own nodes then calculate nothing. (Functions
    written in Python see zeros, hooks see ``None``, and checkpoints calculate once more. What is
    below a hook that cannot do without a gradient is freed later, with the last tensor that
    leads there.)
    """
    with torch.enable_grad():
        nothing = _NoGradient.apply(*outputs)
    try:
        torch.autograd.grad(nothing, inputs, allow_unused=True)
    except Exception:  # from such a hook
        return
