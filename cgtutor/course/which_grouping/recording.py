"""How tasks' gradients met in one training: recorded once, then grouped in every way."""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cgtutor.aggregation import GradVacWeighting, Report, Sum
from cgtutor.autojac import jac_to_grad
from cgtutor.course.shared.data import Data
from cgtutor.course.shared.tasks import gramians, multi_task_step
from cgtutor.course.which_grouping.runs import STRATEGIES, batches
from cgtutor.course.which_grouping.scenes import scene_net
from cgtutor.grouping import Groups, whole_model


def places(groups: Groups, *modules: nn.Module) -> list[list[int]]:
    """Where each group's parameters stand in the list of all parameters of the modules."""
    order = {p: k for k, p in enumerate(whole_model(*modules)[0])}
    return [[order[p] for p in group] for group in groups]


def labels(
    groups: Sequence[Sequence[int]], names: Sequence[str], sizes: Sequence[int] | None = None
) -> list[str]:
    """What the dotted names in each group begin with, and how many numbers it has.

    >>> labels([[0, 1], [2]], ["net.0.weight", "net.0.bias", "net.1.weight"], [12, 4, 1])
    ['net.0 (16)', 'net.1.weight (1)']
    """
    result = []
    for group in groups:
        columns = zip(*(names[k].split(".") for k in group))
        common = takewhile(lambda parts: len(set(parts)) == 1, columns)
        name = ".".join(parts[0] for parts in common)
        if not name:
            rest = f"{names[group[0]]} and {len(group) - 1} more"
            name = "whole model" if len(group) == len(names) else rest
        count = "" if sizes is None else f" ({sum(sizes[k] for k in group):,})"
        result.append(name + count)
    return result


class Gramians(NamedTuple):
    """Dot products of the tasks' gradients along one training with the plain sum."""

    names: list[str]  #: of the P shared tensors
    sizes: list[int]  #: how many numbers each has
    groups: dict[str, list[list[int]]]  #: for each strategy the groups, as indices of tensors
    gramians: Tensor  #: shape (steps, P, 3, 3)

    def regroup(self, groups: Sequence[Sequence[int]]) -> Tensor:
        """The Gramians of groups of tensors, shape (steps, B, 3, 3): the sums of their members'."""
        return torch.stack([self.gramians[:, list(group)].sum(1) for group in groups], dim=1)


def record_gramians(data: Data, lr: float = 0.02, seed: int = 0, steps: int = 150) -> Gramians:
    """Train with the plain sum, and note the Gramian of each shared tensor at each step."""
    net = scene_net(seed)
    shared = whole_model(net.encoder, net.decoder)[0]
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    noted = []

    def aggregate() -> None:
        noted.append(gramians([[p] for p in shared]))
        jac_to_grad(shared, Sum())

    for x, y in batches(data, steps, seed):
        features = net(x)
        multi_task_step(optimizer, net.losses(features, y), features, aggregate)
    groups = {
        name: places(strategy(net.encoder, net.decoder), net.encoder, net.decoder)
        for name, strategy in STRATEGIES.items()
    }
    sizes = [p.numel() for p in shared]
    return Gramians(net.shared_names(), sizes, groups, torch.stack(noted))


def replay_vaccine(
    recorded: Gramians, groups: Sequence[Sequence[int]], beta: float = 0.5
) -> Report:
    """What GradVac would have done at each step of a recorded training, without doing it.

    Returns:
        A report whose tensors have the steps in front: frequency has the shape (steps, B).
    """
    weighting = GradVacWeighting(beta, generator=torch.Generator().manual_seed(0))
    reports = []
    for gramian in recorded.regroup(groups):
        weighting(gramian)
        reports.append(weighting.report)
    return stack_reports(reports)


def stack_reports(reports: Sequence[Report | None]) -> Report:
    """The reports of several steps as one, with the steps in front."""
    fields = ("gramian", "targets", "similarities", "coefficients")
    return Report(*(torch.stack([getattr(r, field) for r in reports]) for field in fields))
