"""Checks of the exercises about groups of parameters."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cgtutor.course.shared.guard import guarded


def one_group_for_each_block(partition: Callable[[nn.Sequential], Any]) -> None:
    """Notebook 10: one group of parameters for each direct child of an ``nn.Sequential``."""
    print(_one_group_for_each_block(partition))


def _blocks(change: str) -> nn.Sequential:
    """A network of four blocks; the third is nested, the second has no parameters."""
    inner = nn.Sequential(nn.Linear(3, 3), nn.PReLU(), nn.Linear(3, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), inner, nn.Linear(3, 2))
    if change == "with frozen parameters":
        net[0].weight.requires_grad_(False)
        net[3].requires_grad_(False)
    if change == "with a tied weight":
        inner[2].weight = net[0].weight
    return net


@guarded
def _one_group_for_each_block(partition: Callable[[nn.Sequential], Any]) -> str:
    cases = ("as it comes", "with frozen parameters", "with a tied weight")
    for case in cases:
        net = _blocks(case)
        frozen = {p for p in net.parameters() if not p.requires_grad}  # before anything changes it
        try:
            wrong = _against_blocks(partition(net), net, frozen)
        except Exception as error:  # whatever the answer does, the notebook goes on
            list_in = isinstance(error, RuntimeError) and "ensor" in str(error)
            hint = " (`p in seen` compares numbers if seen is a list; with a set it does not)"
            wrong = f"it stopped with {type(error).__name__}: {error}{hint if list_in else ''}"
        if wrong:
            end = "" if wrong.endswith("?") else "."
            return f"Not yet: with the network {case}, {wrong}{end}"
    return f"Right! Disjoint, complete, one group for each block, in {len(cases)} networks."


def _against_blocks(groups: Any, net: nn.Sequential, frozen: set[nn.Parameter]) -> str:
    """What is wrong with the groups, or nothing."""
    shape = _shape_of_answer(groups)
    if shape:
        return shape
    every: dict[Tensor, list[str]] = {}  # a tied parameter has two names
    for name, p in net.named_parameters(remove_duplicate=False):
        every.setdefault(p, []).append(name)
    place: dict[Tensor, int] = {}
    for b, group in enumerate(groups):
        for k, p in enumerate(group):
            if p not in every:
                return f"groups[{b}][{k}] is none of its parameters; was it copied?"
            if p in frozen:
                return f"{every[p][0]} is frozen, and yet in groups[{b}]"
            if p in place:
                tied = f" (tied: it is {every[p][1]} as well)" if every[p][1:] else ""
                return f"{every[p][0]}{tied} is in groups[{place[p]}] and again in groups[{b}]"
            place[p] = b
    missing = [names[0] for p, names in every.items() if p not in place and p not in frozen]
    if missing:
        return f"no group has {' and '.join(missing)}"
    block = {p: names[0].partition(".")[0] for p, names in every.items()}  # the first that has it
    for tensor, names in every.items():
        later = names[-1].partition(".")[0]
        group = groups[place[tensor]] if tensor in place else []
        if later != block[tensor] and {block[p] for p in group if p is not tensor} == {later}:
            return f"{names[0]} belongs to its first block, not to that of {names[-1]}"
    blocks = dict.fromkeys(block[p] for p in place)
    expected = {frozenset(p for p in place if block[p] == name) for name in blocks}
    counts, right = sorted(map(len, groups)), sorted(map(len, expected))
    if counts != right:
        hint = " (a block may have blocks inside)" if len(counts) > len(right) else ""
        hint = {1: " (this is whole_model)", len(place): " (this is all_matrix)"}.get(
            len(counts), hint
        )
        found = ", ".join(map(str, counts))
        return f"the groups have {found} parameters, the blocks {', '.join(map(str, right))}{hint}"
    if {frozenset(group) for group in groups} != expected:
        return "the counts are right, but parameters of different blocks share a group"
    return ""


def _shape_of_answer(groups: Any) -> str:
    if groups is None:
        return "it gives back None; is the word `return` missing?"
    if not isinstance(groups, list):
        return f"it gives back a {type(groups).__name__}, not a list of lists of parameters"
    for b, group in enumerate(groups):
        if not isinstance(group, list):
            hint = "; list(...) makes a list of it" if hasattr(group, "__next__") else ""
            return f"groups[{b}] is a {type(group).__name__}, not a list of parameters{hint}"
        if not group:
            return (
                f"groups[{b}] is empty; a block without parameters, or with frozen ones only, "
                "gets no group"
            )
        for k, p in enumerate(group):
            if not isinstance(p, Tensor):
                hint = "; parameters() gives them without names" if isinstance(p, tuple) else ""
                return f"groups[{b}][{k}] is a {type(p).__name__}, not a parameter{hint}"
    return "" if groups else "it gives back an empty list"


def hidden_conflict(g1: Tensor, g2: Tensor) -> None:
    """Notebook 10: gradients that agree over four numbers and oppose each other in the last two."""
    print(_hidden_conflict(g1, g2))


@guarded
def _hidden_conflict(g1: Any, g2: Any) -> str:
    for name, g in (("g1", g1), ("g2", g2)):
        if not isinstance(g, Tensor) or g.shape != (4,):
            got = f"shape {tuple(g.shape)}" if isinstance(g, Tensor) else type(g).__name__
            return f"Not yet: {name} must be a tensor of four numbers, not {got}."
        if not g.isfinite().all():
            return f"Not yet: {name} has a number that is not finite."
        for group, part in (("first", g[:2]), ("second", g[2:])):
            if not part.any():
                return f"Not yet: {name} is zero in the {group} group, where no cosine is left."
    a, b = g1.double(), g2.double()
    whole, second = (_cosine(a[k:], b[k:]) for k in (0, 2))
    found = f"the cosine is {whole:.2f} over all four numbers and {second:.2f} in the second group"
    if not second <= -0.9:  # NaN neither
        return f"Not yet: {found}, and should be below -0.9 there. Which signs do that?"
    if not whole >= 0.9:
        return (
            f"Not yet: {found}, and should be above 0.9 over all four. Dot products add up: how "
            "can the first group's outweigh the second's?"
        )
    return f"Right! {found[0].upper()}{found[1:]}."


def _cosine(a: Tensor, b: Tensor) -> float:
    """Also of very large and very small numbers, whose squares float64 does not have."""
    a, b = a / a.abs().max(), b / b.abs().max()
    return torch.nn.functional.cosine_similarity(a, b, dim=0, eps=0).item()
