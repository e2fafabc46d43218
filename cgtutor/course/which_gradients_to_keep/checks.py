"""The check of the exercise about what a memory keeps."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor.course.shared.guard import guarded
from cgtutor.memory import CriticalGradients

#: entries (priority, gradient), norm, gradient, topC, decay -> the new entries
Remember = Callable[[list[Any], float, Tensor, int, float], Any]


#: For each story and each step of it: priorities with their gradients, smallest first.
Trace = list[list[list[tuple[float, ...]]]]


#: What stands before the message, topC, decay and the norms, one a step.
_STORIES: list[tuple[str, int, float, list[float]]] = [
    ("the norms 4, 1, 3, 0.2", 2, 0.5, [4, 1, 3, 0.2]),
    ("more room than gradients", 5, 0.5, [2, 1, 3]),
    ("three slots", 3, 0.9, [3, 5, 1, 2, 4, 0.5, 1.9, 6, 0.1]),
    ("a single slot", 1, 0.5, [1, 8, 3, 3, 0.5, 2, 1]),
    ("decay 1, where nothing fades", 2, 1, [3, 5, 4, 1, 6, 2]),
    ("decay 0, where every old priority is 0", 2, 0, [3, 5, 0, 4, 1, 2]),
    ("a newcomer that equals the smallest", 2, 0.5, [8, 2, 1, 0.5, 3]),
    ("two equal priorities in the memory", 2, 0.5, [4, 2, 1.5, 3]),
    ("a NaN", 2, 0.5, [4, math.nan, 3, math.nan, 2.5]),
    ("an infinite norm", 2, 0.5, [math.inf, 4, 1, math.inf, 0.6]),
]


def remember(answer: Remember) -> None:
    """Notebook 03: offer a gradient to a memory, then fade."""
    print(_remember(answer))


@guarded
def _remember(answer: Remember) -> str:
    try:
        mine, wrong = _told(answer)
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: it stopped with {type(error).__name__}: {error}{_hint(error)}"
    if wrong:
        return f"Not yet: {wrong}"
    wanted, _ = _told(_library())
    if _alike(mine, wanted):
        return (
            f"Right! The same as the library's memory in {len(_STORIES)} stories. 4, 1, 3 and 0.2 "
            "leave the priorities 0.25 and 0.75."
        )
    for message, typical in _TYPICAL_MEMORIES.items():
        if _alike(mine, _told(typical)[0]):
            return f"Not yet: {message}"
    return f"Not yet: {_first_difference(mine, wanted)}."


def _hint(error: Exception) -> str:
    if "ambiguous" in str(error):
        return (
            " (Something compares gradients. Of two pairs with equal priorities, min, sort, remove "
            "and heapq compare the tensors: compare the priorities alone, as with key=lambda "
            "entry: entry[0], and take out by place.)"
        )
    if "item assignment" in str(error):
        return " (A pair cannot be changed: make a new one, (priority * decay, gradient).)"
    return ""


def _first_difference(mine: Trace, wanted: Trace) -> str:
    story, step = next(
        (i, k)
        for i, steps in enumerate(wanted)
        for k, right in enumerate(steps)
        if not _alike(mine[i][k], right)
    )
    what, topC, decay, norms = _STORIES[story]
    values, others = ([round(row[0], 4) for row in t[story][step]] for t in (wanted, mine))
    reads = f"the priorities should be {values}, and yours are {others}"
    if values == others:
        reads = (
            f"the priorities {values} are right, but stand with other gradients. Of equal "
            "priorities, does the oldest go? (A newcomer put in the place of the one that goes "
            "upsets the order in which they came)"
        )
    return (
        f"{what} (topC = {topC}, decay = {decay:g}): after gradient {step + 1}, of norm "
        f"{norms[step]:g}, {reads}"
    )


def _alike(mine: Any, other: Any) -> bool:
    """Equal as far as float32 can tell, which priorities in a tensor are by default."""
    if isinstance(mine, float | int):
        return math.isclose(mine, other, rel_tol=1e-5, abs_tol=1e-9)
    return len(mine) == len(other) and all(map(_alike, mine, other))


def _library() -> Remember:
    memories: dict[int, CriticalGradients] = {}

    def remember(entries: list[Any], norm: float, gradient: Tensor, topC: int, decay: float) -> Any:
        if not entries and gradient[0] == 1:
            memories[0] = CriticalGradients(topC, decay)
        memories[0].insert(norm, gradient)
        memories[0].fade()
        return list(zip(memories[0].priorities, memories[0].gradients))

    return remember


def _told(answer: Remember) -> tuple[Trace, str]:
    """What an answer has in its memory all along, or what is wrong with the form of it."""
    found: Trace = []
    arrives = torch.zeros(2, dtype=torch.float64)  # each gradient in the same tensor, as in .grad
    for _, topC, decay, norms in _STORIES:
        entries: list[Any] = []
        found.append([])
        for step, norm in enumerate(norms):
            # tells its step whatever its norm is, NaN and infinity included
            gradient = torch.tensor([step + 1.0, 2.0], dtype=torch.float64)
            entries = answer(entries, norm, arrives.copy_(gradient), topC, decay)
            if not torch.equal(arrives, gradient):
                return found, "the gradient that came in was changed. Only priorities fade."
            wrong = _malformed(entries, arrives)
            if wrong:
                return found, wrong
            rows = [(float(priority), *kept.tolist()) for priority, kept in entries]
            found[-1].append(
                sorted(tuple(round(x, 9) if math.isfinite(x) else -1.0 for x in r) for r in rows)
            )
    return found, ""


def _malformed(entries: Any, arrives: Tensor) -> str:
    if entries is None:
        return "remember gives back None; is the word `return` missing?"
    if not isinstance(entries, list) or not all(
        isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[1], Tensor)
        for entry in entries
    ):
        return "give back a list of pairs (priority, gradient)."
    if any(gradient.data_ptr() == arrives.data_ptr() for _, gradient in entries):
        return (
            "an entry holds the very tensor that came in, and the next gradient will be written "
            "into it. Keep a copy: gradient.clone()."
        )
    return ""


def _wrong(
    *,
    room: bool = True,
    full: bool = True,
    enters: Callable[[float, float], bool] = lambda norm, smallest: norm > smallest,
    victim: Callable[[list[float]], int] = lambda priorities: priorities.index(min(priorities)),
    compare: Callable[[list[float]], float] = min,
    finite: Callable[[float], bool] = math.isfinite,
    fades: str = "all",
) -> Remember:
    """An insertion that goes wrong in the ways that are said."""

    def remember(entries: list[Any], norm: float, gradient: Tensor, topC: int, decay: float) -> Any:
        entries = list(entries)
        if fades == "before":
            entries = [(p * decay, g) for p, g in entries]
        priorities = [p for p, _ in entries]
        came = False
        if finite(norm):
            if len(entries) < topC:
                came = room
            elif full and enters(norm, compare(priorities)):
                del entries[victim(priorities)]
                came = True
            elif not full:
                came = True
        if came:
            entries.append((norm, gradient.clone()))
        priorities_fade = {"entering": came, "finite": math.isfinite(norm)}.get(
            fades, fades in ("all", "both")
        )
        gradients_fade = fades in ("both", "gradients")
        entries = [
            (p * decay if priorities_fade else p, g * decay if gradients_fade else g)
            for p, g in entries
        ]
        return entries

    return remember


_TYPICAL_MEMORIES: dict[str, Remember] = {
    "nothing is kept. With fewer than topC entries every finite gradient comes in.": _wrong(
        room=False
    ),
    "you fade before you insert, so the newcomer is not faded in its own step. First insert, "
    "then fade all, the newcomer too.": _wrong(fades="before"),
    "nothing fades. At the end multiply every priority by decay, also if nobody came in.": _wrong(
        fades="none"
    ),
    "the gradients fade as well. Only priorities are multiplied by decay; a gradient stays as it "
    "came.": _wrong(fades="both"),
    "the gradients fade, and should not; the priorities do not fade, and should.": _wrong(
        fades="gradients"
    ),
    "priorities fade only when a gradient comes in. They fade in every step.": _wrong(
        fades="entering"
    ),
    "priorities do not fade in a step whose norm is not finite. They fade in every step.": _wrong(
        fades="finite"
    ),
    "a full memory takes every newcomer. It takes one only if its norm is larger than the smallest "
    "priority.": _wrong(enters=lambda norm, smallest: True),
    "the oldest always goes, as in a queue. The one with the smallest priority goes, and only "
    "for a larger newcomer.": _wrong(enters=lambda norm, smallest: True, victim=lambda p: 0),
    "the oldest goes, whatever its priority. The one with the smallest priority goes.": _wrong(
        victim=lambda p: 0
    ),
    "the one with the largest priority goes. It is the smallest that has to make room.": _wrong(
        victim=lambda p: p.index(max(p))
    ),
    "the newcomer is compared with the largest priority. To come in it only has to be larger than "
    "the smallest.": _wrong(compare=max),
    "the comparison is the wrong way round: smaller newcomers come in.": _wrong(
        enters=lambda norm, smallest: norm < smallest
    ),
    "the memory has more than topC entries. When it is full, one has to go for a newcomer.": _wrong(
        full=False
    ),
    "once full, the memory never changes. A newcomer larger than the smallest priority takes its "
    "place.": _wrong(enters=lambda norm, smallest: False),
    "a newcomer that merely equals the smallest priority stays out: > and not >=.": _wrong(
        enters=lambda norm, smallest: norm >= smallest
    ),
    "of two equal priorities the newest goes. The oldest has to go: min finds the first of equals, "
    "so keep the entries in the order in which they came.": _wrong(
        victim=lambda p: len(p) - 1 - p[::-1].index(min(p))
    ),
    "a NaN comes in as long as there is room. Ask math.isfinite(norm) first.": _wrong(
        finite=lambda norm: norm < math.inf or math.isnan(norm)
    ),
    "an infinite norm comes in, and would stay for ever. Ask math.isfinite(norm) first.": _wrong(
        finite=lambda norm: not math.isnan(norm)
    ),
    "norms that are not finite come in. Ask math.isfinite(norm) first.": _wrong(
        finite=lambda norm: True
    ),
    "topC is taken for 2. It is an argument.": (
        lambda entries, norm, gradient, _, decay: _wrong()(entries, norm, gradient, 2, decay)
    ),
    "decay is taken for 0.5. It is an argument.": (
        lambda entries, norm, gradient, topC, _: _wrong()(entries, norm, gradient, topC, 0.5)
    ),
    "the priority is computed from the gradient. It is norm, which comes in.": (
        lambda entries, _, gradient, topC, decay: _wrong()(
            entries, gradient.norm().item(), gradient, topC, decay
        )
    ),
}
