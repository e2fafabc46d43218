"""The rows of a Jacobian: all in one vectorised backward pass, or one pass for each."""

import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from cgtutor.autojac._front import Front
from cgtutor.autojac._graph import explore, needed_later


def jacobians(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
    chunk: int | None,
    owners: Sequence[int] | None = None,
) -> list[Tensor]:
    """Differentiate ``outputs`` along m directions.

    A vectorised pass (``torch.vmap``) usually costs less than m plain ones.

    Args:
        outputs: What to differentiate.
        inputs: With respect to what.
        directions: For each output a tensor of shape (m, *output.shape).
        retain_graph: Keep the graph.
        chunk: How many rows at a time, 1 for plain passes; ``None`` for what should be fastest.
        owners: If each direction has to do with one output only: which, in ascending order.

    Returns:
        For each input a contiguous tensor of shape (m, *input.shape), zero where the outputs do
        not depend on it.
    """
    rows = len(directions[0])
    if any(tensor.retains_grad for tensor in (*outputs, *inputs)):
        chunk = 1  # their .grad would get something that exists in vectorised passes only
    elif chunk is None:
        chunk = 1 if _plain_is_faster(outputs, rows) else rows
    if min(chunk, rows) <= 1:
        if owners is None:
            return one_by_one(outputs, inputs, directions, retain_graph)
        return owner_by_owner(outputs, inputs, directions, retain_graph, owners)
    return [
        tensor.new_zeros(rows, *tensor.shape) if jacobian is None else jacobian
        for tensor, jacobian in zip(
            inputs, vectorised(outputs, inputs, directions, retain_graph, chunk)
        )
    ]


def _plain_is_faster(outputs: Sequence[Tensor], rows: int) -> bool:
    """On a CPU: with two rows, or if there are convolutions, which are vectorised badly there."""
    if outputs[0].device.type != "cpu":
        return False
    return rows <= 2 or any(
        type(node).__name__.startswith("Convolution") for node in explore(outputs).nodes
    )


def vectorised(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
    chunk: int,
    on_failure: Callable[[], None] = lambda: None,
) -> Sequence[Tensor | None]:
    """Vectorised passes over ``chunk`` rows at a time; ``None`` for what gets no gradient.

    Not every graph can be vectorised: not the output of ``torch.compile``, sparse embeddings,
    checkpoints with dropout, functions that call ``.item()``. Which ones, only trying shows. From
    where it fails, plain passes go on, which raise the error of a user's own function again. The
    last vectorised pass frees the graph as it goes along, so that no part of it runs twice.

    Args:
        outputs: What to differentiate.
        inputs: With respect to what.
        directions: For each output a tensor of shape (m, *output.shape).
        retain_graph: Keep the graph.
        chunk: How many rows at a time.
        on_failure: Is called before plain passes begin.
    """
    rows = len(directions[0])
    nodes = explore(outputs).nodes
    if any(type(node).__name__ == "CompiledFunctionBackward" for node in nodes):
        # it may free what it has saved before it finds out that it is vectorised
        on_failure()
        plain = one_by_one(outputs, inputs, directions, retain_graph)
        _warn_once("what torch.compile has compiled can only be differentiated row by row")
        return plain
    result: list[Tensor | None] = [None] * len(inputs)

    def put(start: int, found: Sequence[Tensor | None]) -> None:
        for k, piece in enumerate(found):
            if piece is not None and len(piece) == rows:
                result[k] = piece
            elif piece is not None:
                if result[k] is None:
                    result[k] = piece.new_zeros(rows, *piece.shape[1:])
                result[k][start : start + len(piece)] = piece  # type: ignore[index]

    for start in range(0, rows, chunk):
        stop = start + chunk
        part = [direction[start:stop] for direction in directions]
        keep = retain_graph or stop < rows
        front = Front()
        with front.follows(nodes):
            found, cause = _vectorised_pass(outputs, inputs, part, keep, front, on_failure)
        if cause is None:
            put(start, found)
            continue
        places, waiting = front.take()
        put(start, one_by_one(places, inputs, waiting, keep))
        if stop < rows:
            rest = [direction[stop:] for direction in directions]
            put(stop, one_by_one(outputs, inputs, rest, retain_graph))
        _warn_once(cause)
        break
    return result


def _vectorised_pass(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
    front: Front,
    on_failure: Callable[[], None],
) -> tuple[list[Tensor | None], str | None]:
    """One vectorised pass over all directions.

    Returns:
        For each input what it gets, and ``None``; or, if the pass has failed, why.
    """
    reached: list[int] = []
    rows = len(directions[0])

    def pull_back(*directions: Tensor) -> tuple[Tensor, ...]:
        front.begin(outputs, directions)
        try:
            gradients = torch.autograd.grad(
                outputs, inputs, directions, retain_graph=retain_graph, allow_unused=True
            )
        except RuntimeError:
            front.separate_rows(rows)  # while vmap can tell them apart
            raise
        reached[:] = [k for k, gradient in enumerate(gradients) if gradient is not None]
        # the first direction keeps the result from being empty, which vmap does not allow
        return (directions[0], *(gradient for gradient in gradients if gradient is not None))

    try:
        with _no_warning_of_slowness():
            _, *gradients = torch.vmap(pull_back)(*directions)
    except RuntimeError as error:  # what cannot be vectorised raises nothing else
        if _is_out_of_memory(error) or front.is_empty():  # nothing is left to be done otherwise
            raise
        on_failure()
        return [], f"{type(error).__name__}: {error}"
    front.take()  # nothing waits any more but what the inputs have got
    found: list[Tensor | None] = [None] * len(inputs)
    for k, gradient in zip(reached, gradients):
        found[k] = gradient.detach().contiguous()
    return found, None


#: Torch loops over an operation for which it has no rule, and warns, which is all right here.
_SLOWNESS = ("ignore", re.compile("There is a performance drop"), UserWarning, None, 0)


@contextmanager
def _no_warning_of_slowness() -> Iterator[None]:
    """Leave it to the user's own filters elsewhere.

    Torch's switch for this warning cannot be read, and ``warnings.catch_warnings`` would make
    every warning that is shown once appear again.
    """
    filters: Any = warnings.filters
    filters.insert(0, _SLOWNESS)
    try:
        yield
    finally:
        if _SLOWNESS in filters:
            filters.remove(_SLOWNESS)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether plain passes might hide it, because they need less memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    return any(sign in text for sign in signs)


_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_warned: set[str] = set()


def _warn_once(cause: str) -> None:
    """Say why passes are slower than they could be, once for each kind of cause."""
    cause = textwrap.shorten(cause.splitlines()[0], 160, placeholder=" …")
    kind = re.sub(r"\d+", "", cause)
    if kind in _warned:
        return
    _warned.add(kind)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"this graph cannot be differentiated in a vectorised pass ({cause}), so there was one "
        "pass for each row, which takes longer; parallel_chunk_size=1 asks for this from the "
        "start, and ends the warning",
        UserWarning,
        stacklevel=level,
    )


def one_by_one(
    outputs: Sequence[Tensor] | Sequence[GradientEdge],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
) -> list[Tensor]:
    """A plain backward pass for each row, over all outputs."""
    rows = len(directions[0])
    passes = (
        torch.autograd.grad(
            outputs,
            inputs,
            [direction[row] for direction in directions],
            retain_graph=retain_graph or row < rows - 1,
            allow_unused=True,
        )
        for row in range(rows)
    )
    return _stacked(passes, inputs, rows)


def _stacked(
    passes: Iterable[Sequence[Tensor | None]], inputs: Sequence[Tensor], rows: int
) -> list[Tensor]:
    """For each input what it gets in each pass."""
    result = [tensor.new_empty(rows, *tensor.shape) for tensor in inputs]
    for row, gradients in enumerate(passes):
        for jacobian, gradient in zip(result, gradients):
            if gradient is None:
                jacobian[row].zero_()
            else:
                jacobian[row] = gradient.to_dense()
    return result


def owner_by_owner(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    directions: Sequence[Tensor],
    retain_graph: bool,
    owners: Sequence[int],
) -> list[Tensor]:
    """The same where each direction has to do with one output only, its owner.

    The last pass over an output frees the graph unless a later output needs a part of it. Where
    one does, what belongs to this output alone is freed with the output.
    """
    rows = len(owners)
    last = [row == rows - 1 or owners[row + 1] != owners[row] for row in range(rows)]
    shared = [True] * len(outputs)
    if not retain_graph:
        shared = needed_later([explore([output]).nodes for output in outputs])
    return _stacked(
        (
            torch.autograd.grad(
                outputs[owner],
                inputs,
                directions[owner][row],
                retain_graph=shared[owner] or not last[row],
                allow_unused=True,
            )
            for row, owner in enumerate(owners)
        ),
        inputs,
        rows,
    )
