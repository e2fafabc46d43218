"""The rows of a Jacobian: all in one vectorised backward pass, or one pass for each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from cgtutor.autojac.graph import explore, release


def jacobians(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
    chunk: int | None,
    owners: Sequence[int] | None = None,
) -> list[Tensor]:
    """Differentiate ``outputs`` along m directions.

    A vectorised pass (``torch.vmap``) usually costs less than m plain ones, but not every graph
    can be differentiated so: not the output of ``torch.compile``, sparse embeddings, checkpoints
    with dropout, functions that call ``.item()``. Which ones, only trying shows. Where it
    fails, one plain pass for each direction takes over.

    Args:
        outputs: What to differentiate.
        inputs: With respect to what.
        directions: For each output a tensor of shape (m, *output.shape).
        retain_graph: Keep the graph.
        chunk: How many rows at a time, 1 for plain passes; ``None`` for what should be fastest.
        owners: If each direction has to do with one output only: which.

    Returns:
        For each input a contiguous tensor of shape (m, *input.shape), zero where the outputs do
        not depend on it.
    """
    rows = len(directions[0])
    if any(tensor.retains_grad for tensor in (*outputs, *inputs)):
        chunk = 1  # their .grad would get something that exists in vectorised passes only
    elif chunk is None:
        chunk = 1 if _plain_is_faster(outputs, rows) else rows
    if min(chunk, rows) > 1:
        try:
            result = vectorised(outputs, inputs, directions, chunk)
        except Exception:  # whatever it is: plain passes work, or say what is wrong
            pass
        else:
            if not retain_graph:
                release(outputs, inputs)
            return [
                tensor.new_zeros(rows, *tensor.shape) if jacobian is None else jacobian
                for tensor, jacobian in zip(inputs, result)
            ]
    return one_by_one(outputs, inputs, directions, retain_graph, owners)


def _plain_is_faster(outputs: Sequence[Tensor], rows: int) -> bool:
    """On a CPU: with two rows, or if there are convolutions, which are vectorised badly there."""
    if outputs[0].device.type != "cpu":
        return False
    return rows <= 2 or any(
        type(node).__name__.startswith("Convolution") for node in explore(outputs).nodes
    )


def vectorised(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], directions: Sequence[Tensor], chunk: int
) -> list[Tensor | None]:
    """Vectorised passes over ``chunk`` rows at a time; ``None`` for what gets no gradient.

    The graph is kept.
    """
    reached: list[int] = []

    def pull_back(*directions: Tensor) -> tuple[Tensor, ...]:
        gradients = torch.autograd.grad(
            outputs, inputs, directions, retain_graph=True, allow_unused=True
        )
        reached[:] = [k for k, gradient in enumerate(gradients) if gradient is not None]
        # the first direction keeps the result from being empty, which vmap does not allow
        return (directions[0], *(gradient for gradient in gradients if gradient is not None))

    rows = len(directions[0])
    result: list[Tensor | None] = [None] * len(inputs)
    for start in range(0, rows, chunk):
        piece = [direction[start : start + chunk] for direction in directions]
        with _no_warning_of_slowness():
            _, *gradients = torch.vmap(pull_back)(*piece)
        for k, gradient in zip(reached, gradients):
            if chunk >= rows:
                result[k] = gradient.detach().contiguous()
                continue
            if result[k] is None:
                result[k] = inputs[k].new_zeros(rows, *inputs[k].shape)
            result[k][start : start + chunk] = gradient  # type: ignore[index]
    return result


@contextmanager
def _no_warning_of_slowness() -> Iterator[None]:
    """Where torch has no rule for an operation it loops over it, which is all right here."""
    switch = torch._C._functorch._set_vmap_fallback_warning_enabled  # type: ignore[attr-defined]
    switch(False)
    try:
        yield
    finally:
        switch(True)


def one_by_one(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
    owners: Sequence[int] | None = None,
) -> list[Tensor]:
    """A plain backward pass for each row."""
    rows = len(directions[0])
    result = [tensor.new_empty(rows, *tensor.shape) for tensor in inputs]
    for row in range(rows):
        last = row == rows - 1  # goes through all of the graph, and frees it
        used = range(len(outputs)) if owners is None or last else [owners[row]]
        gradients = torch.autograd.grad(
            [outputs[k] for k in used],
            inputs,
            [directions[k][row] for k in used],
            retain_graph=retain_graph or not last,
            allow_unused=True,
        )
        for jacobian, gradient in zip(result, gradients):
            if gradient is None:
                jacobian[row].zero_()
            else:
                jacobian[row] = gradient.to_dense()
    return result
