"""The four partitions, and all groups in one batch."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from cgtutor.aggregation import GradVac
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.grouping import (
    GroupedGradVac,
    all_layer,
    all_matrix,
    check_partition,
    enc_dec,
    whole_model,
)
from cgtutor.streaming import StreamingGradVac

PARTITIONS = [whole_model, enc_dec, all_layer, all_matrix]


class Odd(nn.Module):
    """Parameters beside children, nested modules, lists, a tied weight, attention, a frozen one."""

    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.randn(4))
        self.scalar = nn.Parameter(torch.tensor(2.0))
        self.first = nn.Linear(4, 4)
        self.nested = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.LayerNorm(4))
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight
        self.list = nn.ParameterList([torch.randn(3), torch.randn(2, 4)])
        self.dict = nn.ParameterDict({"a": torch.randn(2)})
        self.attention = nn.MultiheadAttention(4, 2)
        self.frozen = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)
        self.nothing = nn.Identity()


def places(groups, module):
    """The groups by the names of their parameters."""
    names = {p: name for name, p in module.named_parameters()}
    return [[names[p] for p in group] for group in groups]


def test_partitions_by_hand():
    odd = Odd()
    layers = [
        ["own", "scalar"],
        ["first.weight", "first.bias"],
        ["nested.0.0.weight", "nested.0.0.bias"],
        ["nested.1.weight", "nested.1.bias"],
        ["list.0", "list.1"],
        ["dict.a"],
        ["attention.in_proj_weight", "attention.in_proj_bias"],
        ["attention.out_proj.weight", "attention.out_proj.bias"],
    ]
    assert places(all_layer(odd), odd) == layers
    every = [name for layer in layers for name in layer]
    assert places(all_matrix(odd), odd) == [[name] for name in every]
    assert places(whole_model(odd), odd) == [every]
    parts = enc_dec(odd.first, odd.tied, odd.nested)
    assert places(parts, odd) == [layers[1], [*layers[2], *layers[3]]]
    encoder, decoder = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    assert [len(group) for group in enc_dec(encoder, decoder)] == [2, 4]
    assert [len(group) for group in whole_model(encoder, decoder)] == [6]
    assert [len(group) for group in all_layer(encoder, decoder)] == [2, 2, 2]
    assert [len(group) for group in all_matrix(encoder, decoder)] == [1] * 6


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize(
    "make",
    [
        Odd,
        lambda: nn.LSTM(2, 3, num_layers=2),
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
    ],
)
def test_disjoint_and_complete(partition, make):
    module = make()
    check_partition(partition(module), module)


@pytest.mark.parametrize("partition", PARTITIONS)
def test_nothing_to_group(partition):
    for modules in ((), (nn.ReLU(),), (nn.Linear(2, 2).requires_grad_(False),)):
        with pytest.raises(ValueError, match="modules must have parameters that require gradients"):
            partition(*modules)
    for bad in (nn.Linear(2, 2).weight, [nn.Linear(2, 2)], None):
        with pytest.raises(ValueError, match=r"modules\[1\] must be a Module, got"):
            partition(nn.Linear(2, 2), bad)


def test_wrong_partitions():
    one, two = nn.Linear(2, 3), nn.Linear(3, 1)
    w, b, v, c = one.weight, one.bias, two.weight, two.bias
    for match, groups in [
        (r"got none with modules\[0\].bias, modules\[1\].weight$", [[w], [c]]),
        (r"disjoint, .* shape \(3,\) as groups\[0\]\[1\] and as groups\[1\]\[0\]", [[w, b], [b]]),
        (r"groups\[1\] must hold at least one parameter", [[w, b], [], [v, c]]),
        (r"got others as groups\[1\]\[2\]", [[w, b], [v, c, nn.Parameter(torch.ones(1))]]),
        ("groups must hold at least one group", []),
        (r"groups\[0\]\[0\] must be a parameter, got Linear", [[one]]),
    ]:
        with pytest.raises(ValueError, match=match):
            check_partition(groups, one, two)
    for match, groups in [
        ("groups must be disjoint", [[w, w]]),
        (r"groups\[0\] must hold at least one", [[]]),
        ("groups must hold at least one group", iter([])),
        (r"groups\[1\]\[0\] must require gradients", [[w], [torch.ones(2)]]),
        (r"groups\[0\]\[0\] must be a leaf", [[w * 2]]),
        (r"groups\[0\]\[1\] must be a dense", [[w, nn.Parameter(torch.eye(2).to_sparse())]]),
    ]:
        with pytest.raises(ValueError, match=match):
            GroupedGradVac(groups)
    with pytest.raises(ValueError, match="beta must be"):
        GroupedGradVac([[w]], beta=2)
    assert "GroupedGradVac(beta=0.25" in repr(GroupedGradVac([[w]], 0.25))


def test_names_its_groups():
    """How many, and how large; of many groups the smallest and the largest."""
    one, deep = nn.Linear(2, 3), nn.Sequential(*(nn.Linear(n, 2) for n in range(1, 9)))
    for groups, text in [
        (whole_model(one), "1 group of 9 numbers"),
        (all_matrix(one), "2 groups of 6, 3 numbers"),
        (all_layer(deep), "8 groups of 4 to 18 numbers"),
    ]:
        for kind in (GroupedGradVac, StreamingGradVac):
            expected = f"{kind.__name__}(beta=0.5, eps=1e-08, guard=False, {text})"
            assert repr(kind(groups, guard=False)) == expected


def network(dtype=torch.float32):
    torch.manual_seed(3)
    encoder = nn.Sequential(
        nn.Linear(5, 80), nn.ReLU(), nn.Linear(80, 80), nn.Tanh(), nn.Linear(80, 3)
    )
    heads = nn.ModuleList(nn.Linear(3, 1) for _ in range(4))
    return encoder.to(dtype), heads.to(dtype)


def differentiate(encoder, heads, step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(9, 5, generator=generator).to(heads[0].weight.dtype)
    features = encoder(x)
    losses = [(h(features) - k * x[:, :1]).square().mean() for k, h in enumerate(heads)]
    mtl_backward(losses, features)


def gradients(module):
    result = [p.grad for p in module.parameters()]
    module.zero_grad()
    return result


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("partition", PARTITIONS)
def test_grouped_is_a_loop(partition, guard):
    """Weights, gradients, targets, random numbers: as one GradVac for each group, in order."""
    encoder, heads = network(torch.float64)
    groups = partition(encoder)
    grouped = GroupedGradVac(groups, 0.3, guard=guard)
    single = [GradVac(0.3, guard=guard) for _ in groups]
    for step in range(6):
        differentiate(encoder, heads, step)
        torch.manual_seed(step)
        expected = [jac_to_grad(g, v, retain_jac=True) for g, v in zip(groups, single)]
        after, want = torch.get_rng_state(), gradients(encoder)
        torch.manual_seed(step)
        weights = grouped.jac_to_grad()
        assert torch.equal(torch.get_rng_state(), after)
        assert_close(weights, torch.stack(expected))
        assert_close(gradients(encoder), want)
        assert_close(grouped.targets, torch.stack([v.targets for v in single]))
        assert_close(grouped.report.cosines, torch.stack([v.report.cosines for v in single]))
    assert grouped.report.corrected.any()


def test_grouped_jac_to_grad_options_and_errors():
    encoder, heads = network()
    vaccine = GroupedGradVac(all_layer(encoder))
    with pytest.raises(ValueError, match=r"groups\[0\]\[0\].jac must be a Jacobian, got none"):
        vaccine.jac_to_grad()
    differentiate(encoder, heads, 0)
    one_missing = encoder[4].bias.jac
    del encoder[4].bias.jac
    with pytest.raises(ValueError, match=r"groups\[2\]\[1\].jac must be a Jacobian"):
        vaccine.jac_to_grad()
    encoder[4].bias.jac = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r"groups\[2\]\[1\].jac must have shape \(4, 3\)"):
        vaccine.jac_to_grad()
    assert all(p.grad is None for p in encoder.parameters())
    assert vaccine.targets.shape == (3, 0, 0)
    encoder[4].bias.jac = one_missing
    vaccine.jac_to_grad(retain_jac=True)
    first = [p.grad.clone() for p in encoder.parameters()]
    vaccine.reset()
    assert vaccine.targets.shape == (3, 0, 0)
    torch.manual_seed(0)
    vaccine.jac_to_grad()  # accumulates
    assert all((p.grad.norm() > g.norm()) for p, g in zip(encoder.parameters(), first))
    assert not any(hasattr(p, "jac") for p in encoder.parameters())


def test_a_bad_group_leaves_its_own_targets_alone():
    encoder, heads = network()
    vaccine = GroupedGradVac(all_layer(encoder))
    for step in range(2):
        differentiate(encoder, heads, step)
        vaccine.jac_to_grad()
    before = vaccine.targets.clone()
    differentiate(encoder, heads, 2)
    encoder[2].weight.jac[1, 0, 0] = math.nan
    encoder.zero_grad()
    vaccine.jac_to_grad()
    assert encoder[2].weight.grad.isnan().any()
    assert encoder[0].weight.grad.isfinite().all()
    assert torch.equal(vaccine.targets[1], before[1])
    assert not torch.equal(vaccine.targets[0], before[0])


def test_state_goes_along():
    encoder, heads = network()
    vaccine = GroupedGradVac(all_matrix(encoder), generator=torch.Generator().manual_seed(4))
    for step in range(3):
        differentiate(encoder, heads, step)
        vaccine.jac_to_grad()
    state = copy.deepcopy(vaccine.state_dict())
    assert list(state) == ["targets", "_extra_state"]
    assert state["targets"].shape == (6, 4, 4)
    assert state["targets"].dtype == torch.float64
    fresh = GroupedGradVac(all_matrix(encoder), generator=torch.Generator())
    fresh.generator.set_state(vaccine.generator.get_state())
    fresh.load_state_dict(state)
    results = []
    for one in (vaccine, fresh):
        encoder.zero_grad()
        differentiate(encoder, heads, 3)
        one.jac_to_grad()
        results.append(gradients(encoder))
    assert all(torch.equal(a, b) for a, b in zip(*results))
    for bad in (state["targets"][:5], state["targets"][0]):
        with pytest.raises(RuntimeError, match=r"shape \(6, T, T\), for 6 groups"):
            fresh.load_state_dict({"targets": bad})
    # a copy of model and vaccine together is independent
    both = copy.deepcopy((encoder, heads, vaccine))
    differentiate(both[0], both[1], 4)
    both[2].jac_to_grad()
    assert both[0][0].weight.grad is not None
    assert encoder[0].weight.grad is None


@pytest.mark.parametrize("kind", [GroupedGradVac, StreamingGradVac])
def test_the_draws_of_an_own_generator_resume(kind):
    """Four tasks meet in random order, which is in state_dict()."""
    results = []
    for stop in (None, 2):
        encoder, heads = network()
        vaccine = kind(all_layer(encoder), generator=torch.Generator().manual_seed(4))
        for step in range(4):
            if step == stop:
                state = vaccine.state_dict()
                vaccine = kind(all_layer(encoder), generator=torch.Generator())
                vaccine.load_state_dict(state)
            encoder.zero_grad()
            differentiate(encoder, heads, step)
            vaccine.jac_to_grad()
        results.append(gradients(encoder))
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_several_dtypes_in_one_model():
    one, two = nn.Linear(4, 6), nn.Linear(6, 3).double()
    half = nn.Parameter(torch.randn(3, dtype=torch.bfloat16))
    features = two(one(torch.randn(5, 4)).double()) * half
    vaccine = GroupedGradVac([[*one.parameters(), *two.parameters()], [half]])
    mtl_backward([features.sum(), features.square().sum(), features.exp().sum()], features)
    weights = vaccine.jac_to_grad()
    assert weights.shape == (2, 3)
    for p in (*one.parameters(), *two.parameters(), half):
        assert p.grad.dtype == p.dtype
        assert p.grad.isfinite().all()
