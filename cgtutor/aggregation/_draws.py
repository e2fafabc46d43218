"""Random orders of tasks: what ``torch.randperm`` gives, for many tasks at once."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

Order = NDArray[np.int64]

_THE_OTHER_OF_TWO = np.array([[1], [0]])


def orders_of_others(groups: int, tasks: int, generator: torch.Generator | None) -> Order:
    """In which order each task meets the others: ``torch.randperm(tasks - 1)`` for each, in turn.

    Returns:
        Shape (groups, tasks, tasks - 1): for task i of a group all j ≠ i.
    """
    if tasks == 2:  # no choice, and nothing to draw
        return np.broadcast_to(_THE_OTHER_OF_TWO, (groups, 2, 1))
    places = permutations(groups * tasks, tasks - 1, generator)
    places = places.reshape(groups, tasks, tasks - 1)
    return places + (places >= np.arange(tasks)[:, None])


def permutations(count: int, length: int, generator: torch.Generator | None) -> Order:
    """What ``count`` calls of ``torch.randperm(length)`` give; the generator ends where they end.

    A call takes 5 µs, and 300 groups of 8 tasks need 2,400 of them. So the random bits of all
    are drawn at once.

    Returns:
        Shape (count, length).
    """
    if length <= 1:  # there is nothing to draw
        return np.zeros((count, length), np.int64)
    if count <= 8 or not _bulk_agrees():
        return _one_by_one(count, length, generator)
    return _in_bulk(count, length, generator)


def _one_by_one(count: int, length: int, generator: torch.Generator | None) -> Order:
    result = np.empty((count, length), np.int64)
    for row in result:
        row[:] = torch.randperm(length, generator=generator, device="cpu").numpy()
    return result


def _in_bulk(count: int, length: int, generator: torch.Generator | None) -> Order:
    """As torch shuffles: entry k changes places with entry k + (32 random bits) % (length - k)."""
    swaps = length - 1
    if count * swaps % 2:  # 64 bits come at a time: the odd row out is torch's
        head = _in_bulk(count - 1, length, generator)
        return np.concatenate([head, _one_by_one(1, length, generator)])
    words = torch.empty(count * swaps // 2, dtype=torch.int64, device="cpu")
    words.random_(-(2**63), None, generator=generator)
    high_first = np.stack([words.numpy() >> 32, words.numpy()], axis=-1) & 0xFFFFFFFF
    draws = high_first.reshape(count, swaps)
    result = np.tile(np.arange(length), (count, 1))
    row = np.arange(count)
    for k in range(swaps):
        partner = k + draws[:, k] % (length - k)
        moved = result[row, partner]
        result[row, partner] = result[:, k]
        result[:, k] = moved
    return result


@cache
def _bulk_agrees() -> bool:
    """How torch shuffles is no part of its interface, so this torch is asked, once."""
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    same = all(np.array_equal(_one_by_one(9, n, one), _in_bulk(9, n, other)) for n in (2, 7, 16))
    return same and torch.equal(one.get_state(), other.get_state())
