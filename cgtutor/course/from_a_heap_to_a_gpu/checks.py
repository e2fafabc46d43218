"""The checks of the exercises of the notebook *from a heap to a gpu*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cgtutor import SGD_C, CriticalGradients
from cgtutor.course.from_a_heap_to_a_gpu import study
from cgtutor.course.shared.check import NotYet, case, check

#: priorities (topC,), births (topC,), a priority () -> a slot (), whether it is inserted ()
Choose = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
#: rows (topC, N) and their sum (N,), to be changed; a slot (), a condition (), a gradient (N,)
Replace = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Any]

_ON_META = (
    "all numbers are right, but not on the device meta, where tensors have no values. Either a "
    "value is looked at, by `if`, `and`, `not`, `.item()`, `float(...)` or an index such as "
    "`rows[slot]`, or a tensor was made on another device"
)
_LOOKS = {"meta": _ON_META, "Meta": _ON_META}


@check(
    hints=[
        "Some operations are there once in a step, some once a tensor, and one of them once for "
        "each kept gradient of each tensor. Which is which in the table?",
        "Once a step: _foreach_norm, stack, _foreach_add_. Once a tensor: mul and clone.",
        "add_ is there tensors * topC times. Add the three kinds up.",
    ],
)
def launches(answer: Callable[[int, int], int]) -> str:
    """The operations of a step of SGD_C, as a formula."""
    for tensors, topC in ((2, 3), (1, 1), (5, 3), (2, 7), (16, 10)):
        got = answer(tensors, topC)
        optimizer = SGD_C(study.tensors_of(tensors), topC=topC, foreach=True)
        names = study.launched(optimizer, fill=topC + 1)
        if got is None:
            raise NotYet("it returns None. Return the number of operations.")
        if got != len(names):
            once = sum(names.count(name) for name in set(names) if name.startswith(("_", "s")))
            missing = f" Did you count the {once} that are there once a step?"
            raise NotYet(
                f"with {tensors} tensors and topC = {topC} it returns {got}, "
                f"but a step launches {len(names)} operations."
                + (missing if got == len(names) - once else "")
            )
    return "The formula counts what torch counts, for five pairs of tensors and topC."


#: Norms, one a step, for topC = 2, and the decay.
_CASES: dict[str, tuple[list[float], float]] = {
    "with the norms 4, 1, 3, 0.2": ([4, 1, 3, 0.2], 0.5),
    "where nothing is large enough": ([8, 6, 1, 0.5], 0.5),
    "where a gradient merely equals the smallest priority, and so is rejected": ([4, 2, 1], 0.5),
    "where both priorities are equal, and the oldest is evicted": ([2, 3, 3, 4], 1.0),
    "with decay = 0": ([1, 2, 3, 4], 0.0),
    "with a gradient that is zero": ([0, 4, 0, 6], 0.5),
    "with a NaN": ([4, float("nan"), 1, float("nan"), 3], 0.5),
    "with an infinite gradient": ([4, float("inf"), 1, float("inf")], 0.5),
}


@check(
    hints=[
        "The smallest priority is priorities.amin(), a tensor without dimensions. Compare with it.",
        "Of the slots with the smallest priority the one with the smallest birth: give all other "
        "slots the birth infinity, torch.where(condition, births, torch.inf), and take argmin().",
        "Inserted is what is larger than the smallest priority and smaller than infinity: join two "
        "conditions with &. A NaN is neither larger nor smaller than anything.",
    ],
    errors=_LOOKS,
)
def choose(answer: Choose) -> str:
    """In which slot a gradient would go, and whether it is inserted, without a look."""
    for name, (norms, decay) in _CASES.items():
        memory = CriticalGradients(topC=2, decay=decay)
        priorities, births = torch.zeros(2, 2, dtype=torch.float64)
        for step, norm in enumerate(norms, start=1):
            with case(f"{name}, gradient {step}"):
                slot, enters = _chosen(answer, priorities, births, torch.tensor(float(norm)))
                full, oldest = len(memory) == 2, memory.heap[0][1] if memory.heap else 0
                expected = memory.insert(norm, torch.zeros(1))
                if bool(enters) is not expected:
                    said = [("rejects", "inserts")[flag] for flag in (bool(enters), expected)]
                    raise NotYet(f"it {said[0]} the norm {norm:g}, and the heap {said[1]} it.")
                if expected:
                    at = int(slot)
                    if at not in (0, 1):
                        raise NotYet(f"it takes slot {at}, and there are 0 and 1.")
                    if births[at] != (oldest if full else 0):
                        other = births.tolist().index(oldest if full else 0)
                        raise NotYet(
                            f"it takes slot {at}, and should take {other}: the priorities are "
                            f"{priorities.tolist()}, the births {births.int().tolist()}."
                        )
                    priorities[at], births[at] = float(norm), step
            memory.fade()
            priorities *= decay
    small = torch.empty(2, dtype=torch.float64, device="meta")
    found = _chosen(answer, small, small.clone(), torch.empty((), device="meta"))
    if any(part.device.type != "meta" for part in found):
        raise NotYet(_ON_META + ".")
    return f"The heap's decisions in {len(_CASES)} cases, without a look at a value."


def _chosen(answer: Choose, *given: Tensor) -> tuple[Tensor, Tensor]:
    before = [t.clone() for t in given]
    found = answer(*given)
    if given[0].device.type != "meta" and any(
        not torch.equal(t, b) for t, b in zip(given[:2], before)
    ):
        raise NotYet("leave the tensors that come in as they are.")
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise NotYet("return two things, the slot and whether the gradient is inserted.")
    slot, enters = found
    for what, part in (("slot", slot), ("whether the gradient is inserted", enters)):
        if not isinstance(part, Tensor):
            kind = type(part).__name__
            raise NotYet(f"the second step needs tensors: {what} is of type {kind}.")
        if part.shape != ():
            raise NotYet(f"{what} has the shape {tuple(part.shape)}, and should have ().")
    if slot.is_floating_point() or enters.dtype != torch.bool:
        raise NotYet("the slot is an integer tensor (argmin makes one), the other True or False.")
    return slot, enters


@check(
    hints=[
        "at = slot.reshape(1) is an index that PyTorch does not turn into a Python integer. "
        "rows.index_select(0, at)[0] is a copy of the row in that slot.",
        "new = torch.where(enters, gradient, old) picks the gradient if it is inserted, and "
        "otherwise the old row.",
        "The sum changes by new - old. Do that before or after, but with a copy of the old row.",
        "rows.index_copy_(0, at, new[None]) writes the row in place, total += ... the sum.",
    ],
    errors=_LOOKS,
)
def replace(answer: Replace) -> str:
    """Write one row where the gradient is inserted, and keep the sum up to date, in place."""
    rows, total = torch.zeros(3, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    expected, nan = rows.clone(), float("nan")
    steps = (
        ("the first insertion", 1, True, 3.0),
        ("a second one", 0, True, 5.0),
        ("a gradient that is rejected", 2, False, 7.0),
        ("an insertion that evicts", 1, True, 2.0),
        ("a NaN that is rejected (0 times NaN is NaN)", 0, False, nan),
    )
    for name, slot, enters, size in steps:
        gradient = size * torch.tensor([1.0, -2.0, 0.5, 4.0], dtype=torch.float64)
        _replaced(answer, rows, total, slot, enters, gradient)
        if enters:
            expected[slot] = gradient
        with case(name):
            if not torch.equal(rows, expected):
                raise NotYet(_about_rows(rows, expected, slot))
            if not torch.allclose(total, rows.sum(0)):
                raise NotYet(_about_total(total, rows))
    total += 1  # an error, which a running sum keeps
    _replaced(answer, rows, total, 1, True, torch.full((4,), 9.0, dtype=torch.float64))
    if torch.allclose(total, rows.sum(0)):
        raise NotYet(
            "the numbers are right, but it adds up all rows again. Add only what has changed."
        )
    shapes = ((3, 4), (4,), (), (), (4,))
    parts = [torch.empty(shape, device="meta") for shape in shapes]
    parts[2], parts[3] = parts[2].long(), parts[3].bool()
    answer(*parts)
    return "Rows and sum are right, a rejected NaN leaves no trace, and no value is looked at."


def _replaced(
    answer: Replace, rows: Tensor, total: Tensor, slot: int, enters: bool, gradient: Tensor
) -> None:
    before = gradient.clone()
    answer(rows, total, torch.tensor(slot), torch.tensor(enters), gradient)
    if not torch.equal(gradient.nan_to_num(), before.nan_to_num()):
        raise NotYet("leave the gradient as it is.")


def _about_rows(rows: Tensor, expected: Tensor, slot: int) -> str:
    wrong = [i for i in range(3) if not torch.equal(rows[i], expected[i])]
    start = f"slot {wrong[0]} holds {rows[wrong[0]].tolist()}"
    if wrong == [slot] and not rows[slot].any():
        return f"{start}: nothing was written. Change rows in place, by index_copy_."
    return f"{start}, and should hold {expected[wrong[0]].tolist()}."


def _about_total(total: Tensor, rows: Tensor) -> str:
    said = f"the sum is {total.tolist()}, and the rows add up to {rows.sum(0).tolist()}."
    if not total.any():
        said += " Change total in place, by += or add_."
    return f"{said} Add the new row and subtract the one that was there before."
