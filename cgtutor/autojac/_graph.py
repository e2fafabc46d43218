"""Looking at an autograd graph."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

Edge = tuple[Any, int]


def edge(tensor: Tensor) -> Edge:
    """Where a tensor's gradient enters the graph: the node that made it, and which output it is."""
    return get_gradient_edge(tensor)[:2]


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


def needed_later(graphs: Sequence[set[Any]]) -> list[bool]:
    """For each of some graphs that are gone through in turn: whether a later one shares a node."""
    later: set[Any] = set()
    result = []
    for nodes in reversed(graphs):
        result.append(not nodes.isdisjoint(later))
        later |= nodes
    return result[::-1]
