"""What was saved of a memory, checked before anything is changed, in whatever form it was saved."""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cgtutor._norms import norms
from cgtutor._state import (
    BIRTHS,
    COUNTS,
    DRIFT,
    GRADIENTS,
    NAMES,
    NORMS,
    PRIORITIES,
    SUM,
    Content,
    sum_dtype,
)

#: What checkpoints of the first form kept everything under.
_OLD = "critical"


def loaded(name: str, saved: dict[str, Any], p: Tensor) -> Content | None:
    """What was saved of a parameter's memory, in this form or in the first one.

    Args:
        name: what errors call ``saved``.
        saved: all that was saved of the parameter.
        p: the parameter.

    Returns:
        The content, or None if there is none: a checkpoint of a torch optimizer.

    Raises:
        ValueError: an entry is missing, is not what belongs there, or is another parameter's.
    """
    if _OLD in saved:
        name = f"{name}[{_OLD!r}]"
        return _checked(name, *_of_version_0_1_0(name, saved[_OLD]), p)
    missing = [key for key in NAMES if key not in saved]
    if len(missing) == len(NAMES):
        return None
    if missing:
        raise ValueError(f"{name} must hold all of {', '.join(NAMES)}, got no {', '.join(missing)}")
    for key in NAMES:
        value = saved[key]
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            _refuse(f"{name}[{key!r}]", "a dense tensor with values", value)
    rows = saved[GRADIENTS]
    if rows.ndim == 0 or not len(rows) or saved[COUNTS].shape != (2,) or saved[DRIFT].numel() != 1:
        shapes = ", ".join(f"{k}: {tuple(saved[k].shape)}" for k in (GRADIENTS, COUNTS, DRIFT))
        raise ValueError(
            f"{name} must hold {GRADIENTS} of shape (topC, *shape), {COUNTS} of shape (2,) and "
            f"{DRIFT} of shape (), got {shapes}"
        )
    lists = {key: saved[key].tolist() for key in (PRIORITIES, BIRTHS, NORMS, COUNTS)}
    content = Content(
        rows.unbind(0),
        lists[PRIORITIES],
        lists[BIRTHS],
        lists[NORMS],
        lists[COUNTS][0],
        lists[COUNTS][1],
        saved[SUM],
        saved[DRIFT].item(),
    )
    return _checked(name, content, NAMES, p)


def without_memory(saved: dict[str, Any]) -> dict[str, Any]:
    """What was saved of a parameter, without its memory."""
    return {key: value for key, value in saved.items() if key not in (_OLD, *NAMES)}


def tensors(value: object) -> Iterator[Tensor]:
    """All tensors at any depth of lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)


def copied(value: Any, theirs: set[int]) -> Any:
    """The same, with copies in place of the tensors whose ids are given."""
    if isinstance(value, Tensor):
        return value.detach().clone() if id(value) in theirs else value
    if isinstance(value, dict):
        return {key: copied(item, theirs) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item, theirs) for item in value)
    return value


def _checked(name: str, content: Content, entries: Sequence[str], p: Tensor) -> Content:
    """Check that the parts belong together; ``entries`` are what they are called, as in NAMES."""
    called = dict(zip(NAMES, (f"{name}[{entry!r}]" for entry in entries)))
    shapes = {tuple(row.shape) for row in content.rows}
    if shapes - {tuple(p.shape)} or any(r.is_complex() != p.is_complex() for r in content.rows):
        kind = "complex" if p.is_complex() else "real"
        found = sorted({f"{tuple(row.shape)}, {row.dtype}" for row in content.rows})
        takes = f"{kind} gradients of shape {tuple(p.shape)}"
        raise ValueError(f"{called[GRADIENTS]} must hold {takes}, got {'; '.join(found)}")
    count, births = len(content.rows), [b for b in content.births if b]

    def numbers(values: Any, fits: Callable[[Any], bool]) -> bool:
        return isinstance(values, list) and len(values) == count and all(map(fits, values))

    # ordered so that each check may rely on those before it
    checks: list[tuple[str, str, object, Callable[[], bool]]] = [
        (
            COUNTS,
            "two integers, gradients seen and no more inserted",
            [content.seen, content.inserted],
            lambda: (
                _is_count(content.seen)
                and _is_count(content.inserted)
                and content.inserted <= content.seen
            ),
        ),
        (
            BIRTHS,
            f"{count} different integers from 1 to the {content.seen} gradients seen, or 0 where "
            f"no gradient is kept, of which no more than the {content.inserted} inserted",
            content.births,
            lambda: (
                numbers(content.births, lambda b: _is_count(b) and b <= content.seen)
                and len(set(births)) == len(births) <= content.inserted
            ),
        ),
        (
            PRIORITIES,
            f"{count} finite numbers >= 0, and 0 where no gradient is kept",
            content.priorities,
            lambda: (
                numbers(content.priorities, _is_size)
                and all(born or not x for x, born in zip(content.priorities, content.births))
            ),
        ),
        (
            NORMS,
            f"{count} finite numbers >= 0",
            content.norms,
            lambda: numbers(content.norms, _is_size),
        ),
        (DRIFT, "a finite number >= 0", content.drift, lambda: _is_size(content.drift)),
        (
            GRADIENTS,
            "finite gradients",
            "others",
            lambda: all(is_finite(row) for row, born in zip(content.rows, content.births) if born),
        ),
    ]
    for key, takes, value, holds in checks:
        if not holds():
            _refuse(called[key], takes, value)
    total = content.total
    if total is not None:
        dtype = sum_dtype(content.rows[0].dtype)
        if total.shape != p.shape or total.dtype != dtype or not is_finite(total):
            got = f"{tuple(total.shape)}, {total.dtype}"
            takes = f"finite numbers, {tuple(p.shape)}, {dtype}"
            raise ValueError(f"{called[SUM]} must hold {takes}, got {got}")
    return content


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _is_size(value: Any) -> bool:
    return isinstance(value, float) and 0 <= value < float("inf")


def is_finite(tensor: Tensor) -> bool:
    """Whether all elements are finite, found without another tensor of this size."""
    if not tensor.numel():
        return True
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return all(bool(bound.isfinite()) for bound in real.aminmax())  # a NaN is both


def _refuse(name: str, takes: str, value: object) -> None:
    raise ValueError(f"{name} must hold {takes}, got {value!r:.200}")


# --------------------------------------------------------------- checkpoints of the first form


def _of_version_0_1_0(name: str, saved: Any) -> tuple[Content, Sequence[str]]:
    """The content of a memory in the first form, and what that called the parts of it.

    The readable optimizers saved ``heap``, a list of (priority, born, gradient), ``seen`` and
    ``accepted``; the others ``gradients``, ``sum`` and ``ledger``, which had (priority, born,
    norm) of each slot and then (seen, accepted, drift), as a tensor or as columns in lists.
    """
    try:
        if "ledger" in saved:
            return _of_a_ledger(saved), ["gradients", *3 * ["ledger"], "ledger", "sum", "ledger"]
        heap = [(float(priority), operator.index(born), g) for priority, born, g in saved["heap"]]
        gradients = [gradient for _, _, gradient in heap]
        content = Content(
            gradients,
            [priority for priority, _, _ in heap],
            [born for _, born, _ in heap],
            norms(gradients),
            operator.index(saved["seen"]),
            operator.index(saved["accepted"]),
            None,
            0.0,
        )
        return content, [*4 * ["heap"], "seen", "heap", "heap"]
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise ValueError(
            f"{name} must hold heap, seen and accepted, or gradients, sum and ledger, as version "
            f"0.1.0 saved them, got {saved!r:.200}"
        ) from e


def _of_a_ledger(saved: dict[str, Any]) -> Content:
    ledger = saved["ledger"]
    if isinstance(ledger, Tensor):
        rows: list[list[float]] = ledger.tolist()
        ledger = [*zip(*rows[:-1]), rows[-1]]
    priorities, births, lengths, (seen, inserted, drift) = ledger
    return Content(
        saved["gradients"].unbind(0),
        [0.0 if priority == -1 else float(priority) for priority in priorities],
        list(map(int, births)),
        list(map(float, lengths)),
        int(seen),
        int(inserted),
        saved["sum"].detach(),
        float(drift),
    )
