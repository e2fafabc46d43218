"""Which parameters are aggregated together: four partitions, and GradVac over all groups at once.

Cosines of task gradients can be taken over a whole model or over parts of it, and gradients that
agree on the whole may well fight in one layer. The four partitions are those of the Gradient
Vaccine paper (arXiv 2010.05874, section 4.1, "parameter granularity").

A partition is a list of lists of parameters: each parameter that requires gradients is in exactly
one. A parameter tied into two modules belongs to the first of them.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from cgtutor.aggregation import GradVacWeighting
from cgtutor.aggregation._gramian import Jacobians, common_dtype
from cgtutor.autojac._arguments import check_accepts
from cgtutor.autojac._fields import add_to_grad, check_jacobians, remove_jac

Groups = list[list[nn.Parameter]]


def whole_model(*modules: nn.Module) -> Groups:
    """One group with all parameters.

    >>> [len(group) for group in whole_model(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))]
    [4]
    """
    return _partition([[p for module in check_modules(modules) for p in module.parameters()]])


def enc_dec(*modules: nn.Module) -> Groups:
    """One group for each module given: an encoder and a decoder, for example.

    >>> [len(group) for group in enc_dec(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3)))]
    [2, 2]
    """
    return _partition([list(module.parameters()) for module in check_modules(modules)])


def all_layer(*modules: nn.Module) -> Groups:
    """One group for each layer: each module that has parameters of its own.

    These are the leaves of the tree of modules, and also a module that has parameters beside
    children, such as :class:`torch.nn.MultiheadAttention`, for what its children do not hold.
    A ``ParameterList`` or ``ParameterDict`` is a layer.

    >>> [len(group) for group in all_layer(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))]
    [2, 2]
    """
    layers = [layer for module in check_modules(modules) for layer in module.modules()]
    return _partition([list(layer.parameters(recurse=False)) for layer in layers])


def all_matrix(*modules: nn.Module) -> Groups:
    """One group for each parameter tensor.

    >>> [len(group) for group in all_matrix(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)))]
    [1, 1, 1, 1]
    """
    return _partition([[p] for module in check_modules(modules) for p in module.parameters()])


def check_partition(groups: Sequence[Sequence[Tensor]], *modules: nn.Module) -> None:
    """Check that each parameter of some modules that requires gradients is in exactly one group.

    Raises:
        ValueError: One is in no group or in two, a group is empty, or has something that is not
            such a parameter. The message names it, or its place in ``groups``.
    """
    _check_disjoint(groups)
    names: dict[Tensor, str] = {}
    for i, module in enumerate(check_modules(modules)):
        for name, p in module.named_parameters():
            if p.requires_grad:
                names.setdefault(p, f"modules[{i}].{name}")
    grouped = {
        p: f"groups[{b}][{k}]" for b, group in enumerate(groups) for k, p in enumerate(group)
    }
    missing = [name for p, name in names.items() if p not in grouped]
    if missing:
        raise ValueError(f"groups must hold every parameter, got none with {', '.join(missing)}")
    foreign = [place for p, place in grouped.items() if p not in names]
    if foreign:
        raise ValueError(
            f"groups must hold parameters of the modules alone, got others as {', '.join(foreign)}"
        )


class GroupedGradVac(GradVacWeighting):
    """GradVac for groups of parameters, each with targets of its own, all in one batch.

    The numbers are those of one :class:`~cgtutor.aggregation.GradVac` for each group, called
    group after group; formulas, source and guard stand in
    :class:`~cgtutor.aggregation.GradVacWeighting`.

    Args:
        groups: B groups of parameters, disjoint, such as the four functions of this module give.
        beta: The weight of the newest cosine in the targets, in [0, 1].
        eps: Is added to denominators, ≥ 0.
        guard: ``False`` for the published arithmetic in the precision of the input.
        generator: Draws the orders of tasks; by default torch's global generator does. Its state
            is in ``state_dict()``.

    Attributes:
        groups: The groups.
        targets: φ̂, shape (B, T, T), float64, on the CPU; (B, 0, 0) before the first call. It
            is in ``state_dict()``.
        report: What the last call saw and did in each group; ``None`` before it.

    Raises:
        ValueError: A group is empty, a parameter is in two, or an argument is not of its kind.

    >>> from cgtutor.autojac import mtl_backward
    >>> encoder, heads = nn.Linear(2, 3), [nn.Linear(3, 1), nn.Linear(3, 1)]
    >>> vaccine = GroupedGradVac(all_matrix(encoder))
    >>> features = encoder(torch.randn(8, 2))
    >>> mtl_backward([head(features).square().mean() for head in heads], features=features)
    >>> vaccine.jac_to_grad().shape
    torch.Size([2, 2])
    >>> encoder.weight.grad.shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        groups: Iterable[Iterable[Tensor]],
        beta: float = 0.5,
        eps: float = 1e-8,
        *,
        guard: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        self.groups = [list(group) for group in groups]
        _check_disjoint(self.groups)
        self._places = [
            f"groups[{b}][{k}]" for b, g in enumerate(self.groups) for k in range(len(g))
        ]
        check_accepts(self._places, self._members)
        super().__init__(beta, eps, guard=guard, generator=generator)

    def reset(self) -> None:
        """Forget the targets: the next call starts from zeros."""
        super().reset()
        self.targets = self.targets.new_zeros(len(self.groups), 0, 0)

    def jac_to_grad(self, *, retain_jac: bool = False) -> Tensor:
        """Aggregate the ``.jac`` of each group into the ``.grad`` of its parameters.

        Args:
            retain_jac: Keep each ``.jac``, which is deleted otherwise.

        Returns:
            The weights of the T tasks in each group, shape (B, T).

        Raises:
            ValueError: A parameter has no ``.jac``, or one of the wrong shape. Nothing has
                changed then.
        """
        parameters = self._members
        jacobians = check_jacobians(self._places, parameters)
        rows = Jacobians(jacobians, self.guard, [len(group) for group in self.groups])
        gramian = torch.from_numpy(rows.gramians())
        weights: Tensor = self(gramian, tuple(jacobian.dtype for jacobian in jacobians))
        add_to_grad(parameters, rows.combine(weights.numpy()))
        if not retain_jac:
            remove_jac(parameters)
        return weights.to(jacobians[0].device, self._dtype_of_weights())

    def _dtype_of_weights(self) -> torch.dtype:
        """The parameters', but not half precision, which large weights would not fit into."""
        return torch.promote_types(common_dtype(self._members), torch.float32)

    @property
    def _members(self) -> list[Tensor]:
        """The parameters of all groups, group after group."""
        return [p for group in self.groups for p in group]

    def __repr__(self) -> str:
        sizes = [sum(p.numel() for p in group) for group in self.groups]
        count = f"{len(sizes)} groups" if len(sizes) > 1 else "1 group"
        few = len(sizes) <= 6
        of = ", ".join(map(str, sizes)) if few else f"{min(sizes)} to {max(sizes)}"
        return f"{super().__repr__()[:-1]}, {count} of {of} numbers)"

    def _shape_in_words(self) -> str:
        return f"({len(self.groups)}, T, T), for {len(self.groups)} groups"

    def _fits(self, targets: Tensor) -> bool:
        return targets.shape[:-2] == (len(self.groups),) and super()._fits(targets)


def check_modules(modules: Sequence[nn.Module]) -> Sequence[nn.Module]:
    """The same, if all are modules; otherwise a ValueError."""
    for i, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise ValueError(f"modules[{i}] must be a Module, got {module!r}")
    return modules


def _partition(candidates: list[list[nn.Parameter]]) -> Groups:
    """Each parameter that requires gradients where it comes first; empty groups left out."""
    seen: set[nn.Parameter] = set()
    groups = []
    for candidate in candidates:
        group = [p for p in dict.fromkeys(candidate) if p.requires_grad and p not in seen]
        seen.update(group)
        if group:
            groups.append(group)
    if not groups:
        raise ValueError("modules must have parameters that require gradients, got none")
    return groups


def _check_disjoint(groups: Sequence[Sequence[Tensor]]) -> None:
    """Raise a ValueError for an empty group, or a parameter that is in two."""
    if not groups:
        raise ValueError("groups must hold at least one group, got none")
    place: dict[Tensor, tuple[int, int]] = {}
    for b, group in enumerate(groups):
        if not group:
            raise ValueError(f"groups[{b}] must hold at least one parameter, got none")
        for k, p in enumerate(group):
            if not isinstance(p, Tensor):
                raise ValueError(f"groups[{b}][{k}] must be a parameter, got {p!r}")
            if p in place:
                i, j = place[p]
                raise ValueError(
                    f"groups must be disjoint, got one parameter of shape {tuple(p.shape)} as "
                    f"groups[{i}][{j}] and as groups[{b}][{k}]"
                )
            place[p] = (b, k)
