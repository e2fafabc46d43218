"""Following a backward pass through its graph, so that it can be carried on where it stops."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from cgtutor.autojac._graph import Edge, edge


class Front:
    """How far a backward pass has come: the gradients that wait for nodes that have not run.

    A node that has run may have been freed and cannot run again. From its front a pass that has
    stopped can be carried on.
    """

    def __init__(self) -> None:
        self._waiting: dict[Any, list[tuple[int, Tensor]]] = {}

    def begin(self, outputs: Iterable[Tensor], directions: Iterable[Tensor]) -> None:
        """Stand at these tensors, with these gradients."""
        for output, direction in zip(outputs, directions):
            self._add(edge(output), direction)

    def _add(self, place: Edge, gradient: Tensor) -> None:
        node, index = place
        self._waiting.setdefault(node, []).append((index, gradient))

    def _has_run(self, node: Any, results: Sequence[Tensor | None], _: Any) -> None:
        self._waiting.pop(node, None)
        for place, gradient in zip(node.next_functions, results):
            if place[0] is not None and gradient is not None:
                self._add(place, gradient)

    def is_empty(self) -> bool:
        """Whether no gradient waits."""
        return not self._waiting

    def separate_rows(self, rows: int) -> None:
        """Make plain tensors of shape (rows, …) of gradients that a vectorised pass has left."""
        places, gradients = self.take()
        if not places:
            return

        def receive(separated: Sequence[Tensor]) -> None:
            for (node, index, *_), gradient in zip(places, separated):
                self._add((node, index), gradient)

        separate_rows(receive, rows, gradients)

    @contextmanager
    def follows(self, nodes: Iterable[Any]) -> Iterator[None]:
        """Follow the backward pass that runs in this context, over these nodes."""
        handles = [node.register_hook(partial(self._has_run, node)) for node in nodes]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self) -> tuple[list[GradientEdge], list[Tensor]]:
        """Where the pass can be carried on, and with which gradients; the front forgets them."""
        found = [
            (GradientEdge(node, index), gradient)
            for node, arrived in self._waiting.items()
            for index, gradient in arrived
        ]
        self._waiting.clear()
        return [place for place, _ in found], [gradient for _, gradient in found]


def separate_rows(
    receive: Callable[[Sequence[Tensor]], None], rows: int, gradients: Sequence[Tensor]
) -> None:
    """Inside ``torch.vmap``: call a function with the rows that stand behind some tensors.

    Args:
        receive: Gets for each tensor a plain one of shape (rows, *tensor.shape).
        rows: How many there are.
        gradients: The tensors, some or all of them the same in each row.
    """
    apply: Any = _Rows.apply
    apply(receive, rows, *gradients)


def _spread(tensor: Tensor, rows: int) -> Tensor:
    return tensor.to_dense().expand(rows, *tensor.shape)


class _Rows(torch.autograd.Function):
    """What a vectorised pass holds as one tensor, as the rows that it is."""

    @staticmethod
    def forward(
        receive: Callable[[Sequence[Tensor]], None], rows: int, *gradients: Tensor
    ) -> Tensor:
        # they are the same in all rows: otherwise vmap would be called
        receive([_spread(gradient, rows) for gradient in gradients])
        return gradients[0].new_zeros(())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        return

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        receive: Callable[[Sequence[Tensor]], None],
        rows: int,
        *gradients: Tensor,
    ) -> tuple[Tensor, None]:
        receive(
            [
                _spread(gradient, rows) if dim is None else gradient.movedim(dim, 0)
                for gradient, dim in zip(gradients, in_dims[2:])
            ]
        )
        return gradients[0].new_zeros(()), None
