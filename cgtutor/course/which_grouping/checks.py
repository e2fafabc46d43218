"""The checks of the exercises of the notebook *which grouping*."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from cgtutor.course.shared.check import NotYet, check

_CASES = ("as it comes", "with frozen parameters", "with a tied weight")
_SET = "`p in seen` compares numbers if seen is a list; with a set it does not"


@check(errors={"size of tensor": _SET, "Boolean value of Tensor": _SET})
def one_group_for_each_block(partition: Callable[[nn.Sequential], Any]) -> str:
    """One group of parameters for each direct child of an ``nn.Sequential``."""
    for case in _CASES:
        net = _blocks(case)
        # before the answer can change it
        frozen: set[Tensor] = {p for p in net.parameters() if not p.requires_grad}
        groups = partition(net)
        try:
            _check_lists(groups)
            _check_parameters(groups, net, frozen)
        except NotYet as hint:
            raise NotYet(f"with the network {case}, {hint}") from None
    return f"Disjoint, complete, one group for each block, in {len(_CASES)} networks."


def _blocks(case: str) -> nn.Sequential:
    """A network of four blocks; the third is nested, the second has no parameters."""
    inner = nn.Sequential(nn.Linear(3, 3), nn.PReLU(), nn.Linear(3, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), inner, nn.Linear(3, 2))
    if case == "with frozen parameters":
        net[0].weight.requires_grad_(False)
        net[3].requires_grad_(False)
    if case == "with a tied weight":
        inner[2].weight = net[0].weight
    return net


def _check_lists(groups: Any) -> None:
    if groups is None:
        raise NotYet("it returns None; is the word `return` missing?")
    _check_kind(groups, list, "what it returns", "list of lists of parameters")
    if not groups:
        raise NotYet("it returns an empty list.")
    for b, group in enumerate(groups):
        _check_kind(group, list, f"groups[{b}]", "list of parameters")
        if not group:
            only = "a block without parameters, or with frozen ones only, gets no group"
            raise NotYet(f"groups[{b}] is empty; {only}.")
        for k, p in enumerate(group):
            _check_kind(p, Tensor, f"groups[{b}][{k}]", "parameter")


def _check_kind(value: Any, kind: type, name: str, wanted: str) -> None:
    if not isinstance(value, kind):
        found = type(value).__name__
        hint = {"generator": "; use list(...)", "tuple": "; parameters() has them without names"}
        raise NotYet(f"{name} is a {found}, not a {wanted}{hint.get(found, '')}.")


def _check_parameters(groups: list[list[Tensor]], net: nn.Sequential, frozen: set[Tensor]) -> None:
    """The groups have to be those of the blocks, and a tied parameter in that of its first."""
    names: dict[Tensor, list[str]] = {}  # a tied parameter has two
    for name, parameter in net.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    block = {p: of_one[0].partition(".")[0] for p, of_one in names.items()}
    place: dict[Tensor, int] = {}
    for b, group in enumerate(groups):
        for k, p in enumerate(group):
            if p not in names:
                raise NotYet(f"groups[{b}][{k}] is none of its parameters; was it copied?")
            if p in frozen:
                raise NotYet(f"{names[p][0]} is frozen, and yet in groups[{b}].")
            if p in place:
                tied = f" (tied: it is {names[p][1]} as well)" if names[p][1:] else ""
                where = f"groups[{place[p]}] and again in groups[{b}]"
                raise NotYet(f"{names[p][0]}{tied} is in {where}.")
            place[p] = b
    if missing := [names[p][0] for p in names if p not in place and p not in frozen]:
        raise NotYet(f"no group has {' and '.join(missing)}.")
    for p, b in place.items():
        later, others = names[p][-1].partition(".")[0], {block[q] for q in groups[b] if q is not p}
        if later != block[p] and others == {later}:
            raise NotYet(f"{names[p][0]} belongs to its first block, not to that of {names[p][1]}.")
    found, right = sorted(map(len, groups)), sorted(Counter(block[p] for p in place).values())
    if found != right:
        inside = " (a block may have blocks inside)" if len(found) > len(right) else ""
        known = {1: " (this is whole_model)", len(place): " (this is all_matrix)"}
        mine, blocks = (", ".join(map(str, counts)) for counts in (found, right))
        hint = known.get(len(found), inside)
        raise NotYet(f"the groups have {mine} parameters, the blocks {blocks}{hint}.")
    if any(len({block[p] for p in group}) > 1 for group in groups):
        raise NotYet("the counts are right, but parameters of different blocks share a group.")


@check()
def hidden_conflict(g1: Any, g2: Any) -> str:
    """Gradients that agree over four numbers and oppose each other in the last two."""
    for name, g in (("g1", g1), ("g2", g2)):
        if not isinstance(g, Tensor) or g.shape != (4,):
            got = f"shape {tuple(g.shape)}" if isinstance(g, Tensor) else type(g).__name__
            raise NotYet(f"{name} must be a tensor of four numbers, not {got}.")
        if not g.isfinite().all():
            raise NotYet(f"{name} has a number that is not finite.")
        for group, part in (("first", g[:2]), ("second", g[2:])):
            if not part.any():
                raise NotYet(f"{name} is zero in the {group} group, where no cosine is left.")
    whole, second = (_cosine(g1.double()[k:], g2.double()[k:]) for k in (0, 2))
    found = f"he cosine is {whole:.2f} over all four numbers and {second:.2f} in the second group"
    if not second <= -0.9:  # NaN neither
        raise NotYet(f"t{found}, and should be below -0.9 there. Which signs do that?")
    if not whole >= 0.9:
        raise NotYet(
            f"t{found}, and should be above 0.9 over all four. Dot products add up: how can the "
            "first group's outweigh the second's?"
        )
    return f"T{found}."


def _cosine(a: Tensor, b: Tensor) -> float:
    """Also of very large and very small numbers, whose squares float64 does not have."""
    return cosine_similarity(a / a.abs().max(), b / b.abs().max(), dim=0, eps=0).item()
