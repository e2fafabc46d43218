"""The checks of the exercises of the notebook *which gradients to keep*."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgtutor.course.shared.check import NotYet, case, check
from cgtutor.course.which_gradients_to_keep import stages
from cgtutor.course.which_gradients_to_keep.mistakes import INSERTS, REMEMBERS
from cgtutor.course.which_gradients_to_keep.study import Remember

#: memory, norm, gradient, topC -> the new memory
Keep = Callable[[list[Any], float, Tensor, int], list[Any]]
#: By name: topC, decay and the norms, one a step.
Stories = Mapping[str, tuple[int, float, list[float]]]
#: For each story and each step of it: priorities with their gradients, smallest first.
Trace = dict[tuple[str, int], list[list[float]]]

_PLAIN: Stories = {
    "the norms 4, 1, 3, 2": (2, 1, [4, 1, 3, 2]),
    "more slots than gradients": (5, 1, [2, 1, 3]),
    "three slots": (3, 1, [3, 5, 1, 2, 4, 0.5, 1.9, 6, 0.1]),
    "a single slot": (1, 1, [1, 8, 3, 0.5, 9, 2]),
}
_TIES: Stories = {
    "decay 0, where every old priority is 0": (2, 0, [3, 5, 4, 1, 2]),
    "the pencil example": (2, 0.5, [6, 2, 4, 2, 1, 0.6]),
    "a norm equal to the smallest priority": (2, 0.5, [8, 2, 1, 0.5, 3]),
    "two equal priorities in the memory": (2, 0.5, [4, 2, 1.5, 3]),
    "decay 1, equal norms": (3, 1, [2, 2, 2, 3, 2, 3, 3, 3, 4]),
}
_HARD: Stories = {
    "a NaN": (2, 0.5, [4, math.nan, 3, math.nan, 2.5]),
    "an infinite norm": (2, 0.5, [math.inf, 4, 1, math.inf, 0.6]),
    "a norm of zero": (3, 0.5, [2, 0, 3, 0, 0.5]),
}
_PAIRS = {
    "ambiguous": "Something compares gradients. Of two pairs with equal priorities, min, sort, "
    "remove and heapq compare the tensors: compare the priorities alone, as with "
    "key=lambda entry: entry[0], and remove by place.",
    "item assignment": "A tuple cannot be changed: make a new one, (priority, gradient).",
}


@check(
    hints=[
        "With len(memory) < topC there is a free slot: append the pair and return.",
        "Otherwise find the place of the smallest priority. One way: "
        "place = min(range(topC), key=lambda i: memory[i][0]).",
        "If norm > memory[place][0], put (norm, gradient) at that place. Return the list.",
    ],
    errors=_PAIRS,
)
def keep_largest(answer: Keep) -> str:
    """The largest are kept, whatever comes."""
    _judge(_decaying(answer), _decaying(stages.insert), _PLAIN, _INSERTS)
    return "The largest are kept. Of the norms 4, 1, 3 and 2, those are 4 and 3."


@check(
    hints=[
        "Go through the pairs: for priority, gradient in memory.",
        "Make a new pair for each: (priority * decay, gradient). Put them into a new list.",
    ],
    errors=_PAIRS,
)
def decayed(answer: Callable[[list[Any], float], list[Any]]) -> str:
    """Priorities are multiplied, gradients are not."""
    for priorities in ([], [8.0, 4.0, 6.0]):
        for decay in (0.5, 0.9, 1.0, 0.0):
            gradients = [torch.tensor([i + 2.0, 1.0]) for i in range(len(priorities))]
            with case(f"{len(priorities)} gradients, decay {decay:g}"):
                found = answer(list(zip(priorities, gradients)), decay)
                _check_form(found, torch.zeros(2))
                if len(found) != len(priorities):
                    raise NotYet("the number of pairs has changed. Decay evicts nothing.")
                got = [float(priority) for priority, _ in found]
                if any(
                    not torch.equal(kept, torch.tensor([i + 2.0, 1.0]))
                    for i, (_, kept) in enumerate(found)
                ):
                    raise NotYet("a gradient has changed. Only priorities decay.")
                if not np.allclose(got, [decay * p for p in priorities], rtol=1e-6):
                    raise NotYet(
                        f"the priorities {priorities} should be "
                        f"{[round(decay * p, 3) for p in priorities]}, and yours are {got}."
                    )
    return "8, 4 and 6 become 4, 2 and 3 at a decay of 0.5, and the gradients stay as they are."


@check(
    hints=[
        "If the list is in the order in which the gradients came, the first of several equal "
        "priorities is the oldest. min finds the first.",
        "So do not put the new pair in the place of the evicted one. Delete that one with "
        "del memory[place], then append the new pair at the end.",
    ],
    errors=_PAIRS,
)
def insert(answer: Keep) -> str:
    """Ties: of equal priorities the oldest is evicted, and an equal norm is rejected."""
    stories = {**_PLAIN, **_TIES}
    _judge(_decaying(answer), _decaying(stages.insert), stories, _INSERTS)
    return f"The right gradient is evicted in all of {len(stories)} sequences, ties included."


@check(
    hints=[
        "Only the insertion depends on the norm. The priorities decay in every step.",
        "A single condition stops NaN, infinity and zero: if 0 < norm < math.inf. "
        "Every comparison with NaN is false.",
        "Hand insert a copy, gradient.clone(), and no longer the tensor itself.",
    ],
    errors=_PAIRS,
)
def remember(answer: Remember) -> str:
    """A step of the whole memory."""
    stories = {**_PLAIN, **_TIES, **_HARD}
    _judge(answer, stages.remember, stories, REMEMBERS, own_copy=True)
    return f"The same as the library's memory in {len(stories)} sequences."


@check(
    hints=[
        "After k steps the priority of a norm p is p · decay^k. Set it equal to θ and solve for k "
        "with the logarithm.",
        "k = ln(p/θ) / ln(1/decay). Write the same for height · p, and subtract.",
        "θ and p cancel: ln(height) / ln(1/decay). In Python: math.log.",
    ]
)
def extra_steps(answer: Callable[[float, float], float]) -> str:
    """How much longer a spike stays."""
    for height, decay in ((10, 0.99), (10, 0.7), (2, 0.5), (100, 0.9), (1, 0.9)):
        got = answer(height, decay)
        if got is None:
            raise NotYet("extra_steps returns None; is the word `return` missing?")
        got, right = float(got), math.log(height) / math.log(1 / decay)
        if math.isclose(got, right, rel_tol=1e-4, abs_tol=1e-9):
            continue
        asked = f"extra_steps({height}, {decay}) is {got:.4g}"
        for message, wrong in {
            "negative, since ln(decay) is. Divide by ln(1/decay).": -right,
            "the other way round: divide ln(height) by ln(1/decay).": 1 / (right or math.inf),
            "rounded. Leave it as it is; a mean over many spikes has decimals too.": round(right),
            "rounded up. Leave it as it is; a mean over many spikes has decimals too.": math.ceil(
                right
            ),
            "close only where decay is close to 1: 1 - decay stands for ln(1/decay) there.": (
                math.log(height) / (1 - decay)
            ),
            "mixing two logarithms. Use the same one above and below.": (
                math.log10(height) / math.log(1 / decay)
            ),
        }.items():
            if math.isclose(got, wrong, rel_tol=1e-4, abs_tol=1e-9):
                raise NotYet(f"{asked}: that is {message}")
        raise NotYet(f"{asked}. It should be {'more' if got < right else 'less'} than that.")
    return "At a decay of 0.99 ten times the norm stays 229 steps longer, at 0.7 only 6.5."


def _decaying(keep: Keep) -> Remember:
    """Keep, and then let the priorities decay."""

    def step(memory: list[Any], norm: float, gradient: Tensor, topC: int, decay: float) -> Any:
        entries = keep(memory, norm, gradient, topC)
        _check_form(entries, gradient)
        return [(priority * decay, kept) for priority, kept in entries]

    return step


_INSERTS = {message: _decaying(mistake) for message, mistake in INSERTS.items()}


def _judge(
    answer: Remember,
    right: Remember,
    stories: Stories,
    mistakes: Mapping[str, Remember],
    own_copy: bool = False,
) -> None:
    """Compare with the right answer; name the mistake if it is a known one."""
    found, wanted = (_trace(one, stories, own_copy) for one in (answer, right))
    different = [step for step in wanted if not _alike(found[step], wanted[step])]
    if not different:
        return
    for message, mistake in mistakes.items():
        trace = _trace(mistake, stories, own_copy=False)
        if all(_alike(found[step], trace[step]) for step in wanted):
            raise NotYet(message)
    name, step = different[0]
    topC, decay, norms = stories[name]
    mine, should = ([round(row[0], 4) for row in t[name, step]] for t in (found, wanted))
    reads = f"the priorities should be {should}, and yours are {mine}."
    if mine == should:
        reads = (
            f"the priorities {should} are right, but stand with other gradients. Of equal "
            "priorities, is the oldest evicted? (A new pair put in the place of the evicted one "
            "upsets the order in which they came.)"
        )
    raise NotYet(
        f"{name} (topC = {topC}, decay = {decay:g}): after gradient {step + 1}, of norm "
        f"{norms[step]:g}, {reads}"
    )


def _trace(answer: Remember, stories: Stories, own_copy: bool) -> Trace:
    found: Trace = {}
    arrives = torch.zeros(2, dtype=torch.float64)  # each gradient in the same tensor, as in .grad
    for name, (topC, decay, norms) in stories.items():
        entries: list[Any] = []
        for step, norm in enumerate(norms):
            # tells its step whatever its norm is, NaN and infinity included
            gradient = torch.tensor([step + 1.0, 2.0], dtype=torch.float64)
            given = arrives.copy_(gradient) if own_copy else gradient.clone()
            entries = answer(entries, norm, given, topC, decay)
            if not torch.equal(given, gradient):
                raise NotYet("the gradient that came in was changed. Only priorities decay.")
            _check_form(entries, given)
            if own_copy and any(kept.data_ptr() == given.data_ptr() for _, kept in entries):
                raise NotYet(
                    "a pair holds the very tensor that came in, and the next gradient will be "
                    "written into it. Keep a copy: gradient.clone()."
                )
            rows = [[float(priority), *kept.tolist()] for priority, kept in entries]
            found[name, step] = sorted(
                [round(x, 9) if math.isfinite(x) else -1.0 for x in row] for row in rows
            )
    return found


def _check_form(entries: Any, arrives: Tensor) -> None:
    if entries is None:
        raise NotYet("your function returns None; is the word `return` missing?")
    if not isinstance(entries, list) or not all(
        isinstance(entry, tuple | list)
        and len(entry) == 2
        and isinstance(entry[1], Tensor)
        and entry[1].shape == arrives.shape
        for entry in entries
    ):
        raise NotYet("return a list of pairs (priority, gradient).")


def _alike(mine: list[list[float]], other: list[list[float]]) -> bool:
    """Equal as far as float32 can tell, which priorities in a tensor are by default."""
    return len(mine) == len(other) and np.allclose(mine, other, rtol=1e-5, atol=1e-9)
