"""The check of the exercise of the notebook *which gradients to keep*."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgtutor import CriticalGradients
from cgtutor.course.shared.check import NotYet, check, edited

#: entries (priority, gradient), norm, gradient, topC, decay -> the new entries
Remember = Callable[[list[Any], float, Tensor, int, float], Any]

#: By name: topC, decay and the norms, one a step.
_STORIES: dict[str, tuple[int, float, list[float]]] = {
    "the norms 4, 1, 3, 0.2": (2, 0.5, [4, 1, 3, 0.2]),
    "more room than gradients": (5, 0.5, [2, 1, 3]),
    "three slots": (3, 0.9, [3, 5, 1, 2, 4, 0.5, 1.9, 6, 0.1]),
    "a single slot": (1, 0.5, [1, 8, 3, 3, 0.5, 2, 1]),
    "decay 1, where no priority decays": (2, 1, [3, 5, 4, 1, 6, 2]),
    "decay 0, where every old priority is 0": (2, 0, [3, 5, 0, 4, 1, 2]),
    "a newcomer that equals the smallest": (2, 0.5, [8, 2, 1, 0.5, 3]),
    "two equal priorities in the memory": (2, 0.5, [4, 2, 1.5, 3]),
    "a NaN": (2, 0.5, [4, math.nan, 3, math.nan, 2.5]),
    "an infinite norm": (2, 0.5, [math.inf, 4, 1, math.inf, 0.6]),
}
#: For each story and each step of it: priorities with their gradients, smallest first.
Trace = dict[tuple[str, int], list[list[float]]]


@check(
    errors={
        "ambiguous": "Something compares gradients. Of two pairs with equal priorities, min, "
        "sort, remove and heapq compare the tensors: compare the priorities alone, as with "
        "key=lambda entry: entry[0], and remove by place.",
        "item assignment": "A tuple cannot be changed: make a new one, "
        "(priority * decay, gradient).",
    }
)
def remember(answer: Remember) -> str:
    """A memory is offered a gradient, and then its priorities decay."""
    found, wanted = _trace(answer), _trace(_Library())
    different = [step for step in wanted if not _alike(found[step], wanted[step])]
    if not different:
        return (
            f"The same as the library's memory in {len(_STORIES)} stories. 4, 1, 3 and 0.2 leave "
            "the priorities 0.25 and 0.75."
        )
    for message, edits in MISTAKES.items():
        trace = _trace(edited(solution, edits))
        if all(_alike(found[step], trace[step]) for step in wanted):
            raise NotYet(message)
    name, step = different[0]
    topC, decay, norms = _STORIES[name]
    mine, right = ([round(row[0], 4) for row in t[name, step]] for t in (found, wanted))
    reads = f"the priorities should be {right}, and yours are {mine}."
    if mine == right:
        reads = (
            f"the priorities {right} are right, but stand with other gradients. Of equal "
            "priorities, is the oldest evicted? (A newcomer put in the place of the evicted one "
            "upsets the order in which they came.)"
        )
    raise NotYet(
        f"{name} (topC = {topC}, decay = {decay:g}): after gradient {step + 1}, of norm "
        f"{norms[step]:g}, {reads}"
    )


def _trace(answer: Remember) -> Trace:
    found: Trace = {}
    arrives = torch.zeros(2, dtype=torch.float64)  # each gradient in the same tensor, as in .grad
    for name, (topC, decay, norms) in _STORIES.items():
        entries: list[Any] = []
        for step, norm in enumerate(norms):
            # tells its step whatever its norm is, NaN and infinity included
            gradient = torch.tensor([step + 1.0, 2.0], dtype=torch.float64)
            entries = answer(entries, norm, arrives.copy_(gradient), topC, decay)
            if not torch.equal(arrives, gradient):
                raise NotYet("the gradient that came in was changed. Only priorities decay.")
            _check_form(entries, arrives)
            rows = [[float(priority), *kept.tolist()] for priority, kept in entries]
            found[name, step] = sorted(
                [round(x, 9) if math.isfinite(x) else -1.0 for x in row] for row in rows
            )
    return found


def _check_form(entries: Any, arrives: Tensor) -> None:
    if entries is None:
        raise NotYet("remember returns None; is the word `return` missing?")
    if not isinstance(entries, list) or not all(
        isinstance(entry, tuple | list)
        and len(entry) == 2
        and isinstance(entry[1], Tensor)
        and entry[1].shape == arrives.shape
        for entry in entries
    ):
        raise NotYet("return a list of pairs (priority, gradient).")
    if any(gradient.data_ptr() == arrives.data_ptr() for _, gradient in entries):
        raise NotYet(
            "an entry holds the very tensor that came in, and the next gradient will be written "
            "into it. Keep a copy: gradient.clone()."
        )


def _alike(mine: list[list[float]], other: list[list[float]]) -> bool:
    """Equal as far as float32 can tell, which priorities in a tensor are by default."""
    return len(mine) == len(other) and np.allclose(mine, other, rtol=1e-5, atol=1e-9)


class _Library:
    """The library's memory, which has entries of its own: it begins where a story does."""

    def __call__(
        self, entries: list[Any], norm: float, gradient: Tensor, topC: int, decay: float
    ) -> list[Any]:
        if gradient[0] == 1:  # the first step of a story
            self.memory = CriticalGradients(topC, decay)
        self.memory.insert(norm, gradient)
        self.memory.fade()
        return list(zip(self.memory.priorities, self.memory.gradients))


def solution(
    entries: list[Any], norm: float, gradient: Tensor, topC: int, decay: float
) -> list[Any]:
    """The function that the exercise asks for."""
    entries, priorities = list(entries), [p for p, _ in entries]
    full, inserts = len(entries) >= topC, math.isfinite(norm)
    if inserts and full:
        inserts = norm > min(priorities)
        if inserts:
            del entries[priorities.index(min(priorities))]
    if inserts:
        entries.append((norm, gradient.clone()))
    return [(p * decay, g) for p, g in entries]


#: By what to say of them, mistakes that are often made: what stands in place of which part.
MISTAKES = {
    "nothing is kept. With fewer than topC entries the memory inserts every gradient whose norm "
    "is finite.": {"math.isfinite(norm)": "False"},
    "priorities decay before you insert, so the newcomer's does not decay in its own step. First "
    "insert, then let all decay, the newcomer's too.": {
        "list(entries)": "[(p * decay, g) for p, g in entries]",
        "[p for p": "[p * decay for p",
        "return [(p * decay": "return [(p",
    },
    "no priority decays. At the end multiply each by decay, even if nothing was inserted.": {
        "p * decay": "p"
    },
    "the gradients decay as well. Only priorities are multiplied by decay; a gradient stays as it "
    "came.": {"decay, g)": "decay, g * decay)"},
    "the gradients decay, and should not; the priorities do not decay, and should.": {
        "p * decay, g": "p, g * decay"
    },
    "priorities decay only when a gradient is inserted. They decay in every step.": {
        "p * decay": "p * decay if inserts else p"
    },
    "priorities do not decay where the norm is not finite. They decay in every step.": {
        "p * decay": "p * decay if math.isfinite(norm) else p"
    },
    "a full memory inserts every newcomer. It inserts one only if its norm is larger than the "
    "smallest priority.": {"norm > min(priorities)": "True"},
    "the oldest is always evicted, as in a queue. The one with the smallest priority has to go, "
    "and only for a larger newcomer.": {
        "norm > min(priorities)": "True",
        "priorities.index(min(priorities))": "0",
    },
    "the oldest is evicted, whatever its priority. The one with the smallest priority has to go.": {
        "priorities.index(min(priorities))": "0"
    },
    "the one with the largest priority is evicted. It is the smallest that has to make room.": {
        "index(min": "index(max"
    },
    "the newcomer is compared with the largest priority. To be inserted it only has to be larger "
    "than the smallest.": {"norm > min": "norm > max"},
    "the comparison is the wrong way round: smaller newcomers are inserted.": {"norm >": "norm <"},
    "the memory has more than topC entries. When it is full, it has to evict one for a newcomer.": {
        "inserts and full": "False"
    },
    "once full, the memory never changes. A newcomer larger than the smallest priority takes its "
    "place.": {"norm > min(priorities)": "False"},
    "a newcomer that merely equals the smallest priority is rejected: > and not >=.": {
        "norm >": "norm >="
    },
    "of two equal priorities the newest is evicted. The oldest has to go: min finds the first of "
    "equals, so keep the entries in the order in which they came.": {
        "priorities.index": "-1 - priorities[::-1].index"
    },
    "a NaN is inserted as long as there is room. Ask math.isfinite(norm) first.": {
        "math.isfinite": "not math.isinf"
    },
    "an infinite norm is inserted, and would stay for ever. Ask math.isfinite(norm) first.": {
        "math.isfinite": "not math.isnan"
    },
    "norms that are not finite are inserted. Ask math.isfinite(norm) first.": {
        "math.isfinite(norm)": "True"
    },
    "topC is taken for 2. It is an argument.": {">= topC": ">= 2"},
    "decay is taken for 0.5. It is an argument.": {"p * decay": "p * 0.5"},
    "the priority is computed from the gradient. It is norm, which comes in.": {
        "    full,": "    norm = gradient.norm().item()\n    full,"
    },
}
