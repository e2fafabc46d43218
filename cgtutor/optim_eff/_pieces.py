"""A group's parameters cut into pieces of work that fit in the caches."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from cgtutor._state import GRADIENTS, SUM
from cgtutor.optim_eff._rows import Memory

#: Parameters, gradients and state, as the torch optimizer's ``_init_group`` fills them.
Lists = list[list[Any]]


class Piece(NamedTuple):
    """Whole tensors, or a slice of one: what is worked on before anything else is touched."""

    indices: list[int]  #: which of the group's parameters
    lists: Lists  #: parameters, gradients and the base optimizer's state
    rows: list[Tensor]  #: the kept gradients of each, shape (topC, ...)
    sums: list[Tensor]  #: their sums


def cut(lists: Lists, memories: list[Memory], size: int) -> Iterator[Piece]:
    """Pieces of about ``size`` elements: small tensors together, large ones in slices.

    Args:
        lists: parameters, gradients and state, as the torch optimizer's ``_init_group`` fills
            them; a list that it does not use is empty.
        memories: for each parameter its memory (:mod:`cgtutor.optim_eff._rows`).
        size: number of elements.
    """
    batch: list[int] = []
    elements = 0
    # torch begins a momentum buffer in its first update, and only for all tensors of a call
    begins = [False] * len(memories)
    for column in lists[2:]:
        for i, t in enumerate(column):
            if t is None:
                begins[i] = True
    for i, p in enumerate(lists[0]):
        count = p.numel()
        if count > size and not begins[i] and _sliceable(i, lists, memories[i]):
            yield from _slices(i, lists, memories[i], size)
            continue
        if batch and (elements + count > size or begins[i] != begins[batch[0]]):
            yield whole(batch, lists, memories)
            batch, elements = [], 0
        batch.append(i)
        elements += count
    if batch:
        yield whole(batch, lists, memories)


def _sliceable(i: int, lists: Lists, memory: Memory) -> bool:
    count = lists[0][i].numel()
    state = [column[i] for column in lists if column and column[i].numel() == count]
    return all(t.is_contiguous() for t in (*state, memory[GRADIENTS], memory[SUM]))


def whole(batch: list[int], lists: Lists, memories: list[Memory]) -> Piece:
    """The whole of some parameters as one piece."""
    if len(batch) < len(memories):
        lists = [[column[i] for i in batch] if column else [] for column in lists]
        memories = [memories[i] for i in batch]
    return Piece(
        batch,
        lists,
        [memory[GRADIENTS] for memory in memories],
        [memory[SUM] for memory in memories],
    )


def _slices(i: int, lists: Lists, memory: Memory, size: int) -> Iterator[Piece]:
    count = lists[0][i].numel()
    # For each list its slices, once. The update counts a parameter's steps, and its slices
    # are one step: all but the last count on a copy.
    parts = -(-count // size)
    columns = [
        []
        if not column
        else column[i].view(-1).split(size)
        if column[i].numel() == count
        else [*(column[i].clone() for _ in range(parts - 1)), column[i]]
        for column in lists
    ]
    rows = memory[GRADIENTS].view(-1, count).split(size, 1)
    sums = memory[SUM].view(-1).split(size)
    for k in range(parts):
        yield Piece([i], [[c[k]] if c else [] for c in columns], [rows[k]], [sums[k]])
