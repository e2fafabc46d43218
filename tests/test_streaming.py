"""Streaming: the numbers of the grouped form, without the Jacobian."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from test_autojac import (
    IN_A_LOOP,
    MODELS,
    ReadsItsGradient,
    clear,
    losses_of,
    setting,
    warns_of_a_loop,
)
from torch import nn
from torch.testing import assert_close

from cgtutor import autojac, streaming
from cgtutor.autojac import _rows as rows
from cgtutor.autojac._graph import explore
from cgtutor.grouping import GroupedGradVac, all_layer, all_matrix, enc_dec, whole_model
from cgtutor.streaming import StreamingGradVac


@pytest.fixture(autouse=True)
def _nothing_has_been_warned_of(monkeypatch):
    monkeypatch.setattr(rows, "_warned", set())


PARTITIONS = [whole_model, enc_dec, all_layer, all_matrix]


def step(vaccine, encoder, heads, forward, seed):
    """One step of either kind."""
    if isinstance(vaccine, StreamingGradVac):
        with vaccine.tap(encoder):
            features = forward()
        torch.manual_seed(seed)
        return vaccine.mtl_backward(losses_of(heads, features), features)
    features = forward()
    shared = [p for group in vaccine.groups for p in group]
    torch.manual_seed(seed)
    autojac.mtl_backward(losses_of(heads, features), features, shared_params=shared)
    return vaccine.jac_to_grad()


def gradients(*modules):
    result = [p.grad for module in modules for p in module.parameters()]
    clear(*modules)
    return result


@pytest.mark.parametrize("small", [0, 1 << 20])
@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("name", MODELS)
def test_same_numbers(name, partition, small, monkeypatch):
    monkeypatch.setattr(streaming, "_SMALL", small)
    with warns_of_a_loop(name):
        check_same_numbers(name, partition)


def check_same_numbers(name, partition):
    encoder, heads, forward = setting(name)
    groups = partition(encoder)
    streaming_vaccine, grouped = StreamingGradVac(groups), GroupedGradVac(groups)
    for seed in range(3):
        expected = step(grouped, encoder, heads, forward, seed)
        after, want = torch.get_rng_state(), gradients(encoder, heads)
        weights = step(streaming_vaccine, encoder, heads, forward, seed)
        assert torch.equal(torch.get_rng_state(), after)
        assert_close(weights, expected, rtol=1e-5, atol=1e-5)
        assert not any(hasattr(p, "jac") for p in encoder.parameters())
        assert_close(gradients(encoder, heads), want, rtol=1e-5, atol=1e-5)
        assert_close(streaming_vaccine.targets, grouped.targets, rtol=1e-5, atol=1e-5)
        assert_close(streaming_vaccine.report.gramian, grouped.report.gramian, rtol=1e-5, atol=1e-7)


def combined_in_time(monkeypatch, name, partition=all_matrix):
    """Which parameters' groups were combined during the backward pass."""
    monkeypatch.setattr(streaming, "_SMALL", 0)  # no waiting
    encoder, heads, forward = setting(name)
    vaccine = StreamingGradVac(partition(encoder))
    before_finish = []
    honest = streaming._Pass.finish
    monkeypatch.setattr(
        streaming._Pass, "finish", lambda s, r: before_finish.extend(s.gradients) or honest(s, r)
    )
    step(vaccine, encoder, heads, forward, 0)
    names = {p: n for n, p in encoder.named_parameters()}
    return [names[p] for p in before_finish], set(names.values())


@pytest.mark.parametrize("name", MODELS)
def test_what_is_streamed(name, monkeypatch):
    """All that can be; the last layer first."""
    with warns_of_a_loop(name):
        streamed, every = combined_in_time(monkeypatch, name)
    late = {
        "attention": {"module.out_proj.weight", "module.out_proj.bias"},  # a child not called
        "transformer": {"self_attn.out_proj.weight", "self_attn.out_proj.bias"},
        "tied": {"layer.weight"},
        "several": every,  # used by the outermost module, the list's without a call; see below
    }.get(name, every if name in IN_A_LOOP else set())
    if name == "several":
        late = every - {"scale", "shift", "unused"}
    assert set(streamed) == every - late
    if name == "linear":
        assert [n.split(".")[0] for n in streamed] == ["2", "2", "0", "0"]


def test_a_jacobian_is_dropped_as_soon_as_its_group_is_complete(monkeypatch):
    """How many there are after each layer; small ones wait for one another."""
    kept = []
    honest = streaming._Pass.receive

    def receive(self, parameters, jacobians):
        honest(self, parameters, jacobians)
        if parameters:
            kept.append(len(self._parts))

    monkeypatch.setattr(streaming._Pass, "receive", receive)
    encoder, heads, forward = setting("linear")
    for partition, small, expected in (
        (all_matrix, 0, [0, 0]),
        (all_layer, 0, [0, 0]),
        (all_layer, 1 << 20, [2, 4]),
        (whole_model, 0, [2, 0]),
    ):
        monkeypatch.setattr(streaming, "_SMALL", small)
        step(StreamingGradVac(partition(encoder)), encoder, heads, forward, 0)
        assert kept == expected
        kept.clear()


def test_taps_leave_no_trace():
    encoder, heads, forward = setting("linear")
    parameters = dict(encoder.named_parameters())
    vaccine = StreamingGradVac(all_layer(encoder))

    class StopError(Exception):
        pass

    def fail(module, args, output):
        raise StopError

    handle = encoder[2].register_forward_hook(fail)
    with pytest.raises(StopError), vaccine.tap(encoder):
        forward()
    handle.remove()
    assert dict(encoder.named_parameters()) == parameters
    with vaccine.tap(encoder):
        with vaccine.tap(encoder):  # as well as once
            features = forward()
        assert dict(encoder.named_parameters()) == parameters
    assert dict(encoder.named_parameters()) == parameters
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())
    weights = vaccine.mtl_backward(losses_of(heads, features), features)
    assert weights.shape == (2, 3)
    copy.deepcopy(encoder)
    freed = weakref.ref(features)
    del features
    gc.collect()
    assert freed() is None


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_stopped_within_a_layer(error):
    encoder, _, forward = setting("linear")
    parameters = dict(encoder.named_parameters())

    def stop(module, args):
        raise error

    def run():
        with StreamingGradVac(all_layer(encoder)).tap(encoder):
            encoder[2].register_forward_pre_hook(stop)  # after the vaccine's own
            forward()

    with pytest.raises(error):
        run()
    assert dict(encoder.named_parameters()) == parameters
    assert all(p.is_leaf for p in encoder.parameters())


def test_features_that_retain_their_gradient():
    encoder, heads, forward = setting("linear")
    groups = all_layer(encoder)
    expected = step(GroupedGradVac(groups), encoder, heads, forward, 3)
    want = gradients(encoder, heads)
    vaccine = StreamingGradVac(groups)
    with vaccine.tap(encoder):
        features = forward()
    features.retain_grad()
    torch.manual_seed(3)
    assert_close(vaccine.mtl_backward(losses_of(heads, features), features), expected)
    assert_close(gradients(encoder, heads), want)
    assert features.grad.norm() > 0


def test_tapped_graphs_can_be_differentiated_otherwise():
    """By torch, by mtl_backward, by another vaccine's tap, with or without the vaccine's own."""
    encoder, heads, forward = setting("linear")
    groups = all_layer(encoder)
    one, other = StreamingGradVac(groups), StreamingGradVac(groups)
    sum(losses_of(heads, forward())).backward()
    plain = gradients(encoder, heads)
    with one.tap(encoder), other.tap(encoder):
        features = forward()
    sum(losses_of(heads, features)).backward()
    assert_close(gradients(encoder, heads), plain)
    expected = step(GroupedGradVac(groups), encoder, heads, forward, 3)
    want = gradients(encoder, heads)
    for vaccine in (one, other, StreamingGradVac(groups)):
        with one.tap(encoder):
            features = forward()
        torch.manual_seed(3)
        weights = vaccine.mtl_backward(losses_of(heads, features), features)
        assert_close(weights, expected)
        assert_close(gradients(encoder, heads), want)


def test_without_a_tap_all_groups_wait():
    encoder, heads, forward = setting("linear")
    groups = all_layer(encoder)
    expected = step(GroupedGradVac(groups), encoder, heads, forward, 3)
    want = gradients(encoder, heads)
    features = forward()
    torch.manual_seed(3)
    weights = StreamingGradVac(groups).mtl_backward(losses_of(heads, features), features)
    assert_close(weights, expected)
    assert_close(gradients(encoder, heads), want)


@pytest.mark.parametrize("name", ["linear", "item"])
def test_graph_is_freed_unless_asked_otherwise(name):
    with warns_of_a_loop(name):
        check_freed(name)


def check_freed(name):
    encoder, heads, forward = setting(name)
    vaccine = StreamingGradVac(all_matrix(encoder))
    with vaccine.tap(encoder):
        features = forward()
    losses = losses_of(heads, features)
    vaccine.mtl_backward(losses, features, retain_graph=True)
    first = gradients(encoder, heads)
    vaccine.reset()
    torch.manual_seed(0)
    vaccine.mtl_backward(losses, features, retain_graph=False)
    torch.manual_seed(0)
    for got, want in zip(gradients(encoder, heads), first):
        assert got.shape == want.shape
    targets = vaccine.targets.clone()
    with pytest.raises(RuntimeError, match="second time"):
        vaccine.mtl_backward(losses, features)
    assert all(p.grad is None for p in [*encoder.parameters(), *heads.parameters()])
    assert torch.equal(vaccine.targets, targets)


def record_combined(monkeypatch):
    """What is received during the backward pass."""
    received = []
    honest = streaming._Pass.receive

    def receive(self, parameters, jacobians):
        received.extend(parameters)
        honest(self, parameters, jacobians)

    monkeypatch.setattr(streaming._Pass, "receive", receive)
    return received


def agree(encoder, heads, forward, prepare=lambda vaccine: None, vaccine_class=StreamingGradVac):
    """Both kinds, prepared alike, give the same weights, gradients and targets."""
    groups, results = all_layer(encoder), []
    for base in (GroupedGradVac, StreamingGradVac):
        kind = vaccine_class if base is StreamingGradVac else base
        vaccine = kind(groups)
        prepare(vaccine)
        weights = [step(vaccine, encoder, heads, forward, seed) for seed in range(3)]
        results.append([weights, gradients(encoder, heads), vaccine.targets])
    assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def ones(module, args, output):
    return torch.ones_like(output)


def doubled(module, args):
    return (args[0] * 2, *args[1:])


def test_hooks_on_the_vaccine_run(monkeypatch):
    received = record_combined(monkeypatch)
    setup = setting("linear")
    agree(*setup, lambda vaccine: vaccine.register_forward_hook(ones))
    agree(*setup, lambda vaccine: vaccine.register_forward_pre_hook(doubled))
    assert not received
    agree(*setup)
    assert received


class Ones(StreamingGradVac):
    def forward(self, gramian, /, precision=None):
        return torch.ones(gramian.shape[:-1])


class NumpyOnes(StreamingGradVac):
    def weigh(self, gramian, precision, /):
        return np.ones(gramian.shape[:-1])


@pytest.mark.parametrize("kind", [Ones, NumpyOnes])
def test_a_subclass_does_as_it_says(kind):
    encoder, heads, forward = setting("linear")
    weights = step(kind(all_layer(encoder)), encoder, heads, forward, 0)
    assert torch.equal(weights, torch.ones(2, 3))


def test_hooks_on_parameters_run(monkeypatch):
    """Their groups wait, because torch runs such a hook when it has the gradient."""
    encoder, heads, forward = setting("linear")
    encoder[2].bias.register_hook(lambda gradient: gradient * 3)
    received = record_combined(monkeypatch)
    agree(encoder, heads, forward)
    assert set(received) == set(encoder[0].parameters())


def test_a_jac_that_is_there_is_added_to():
    """As grouped does, which would otherwise be another result in silence."""
    encoder, heads, forward = setting("linear")
    groups, results = all_layer(encoder), []
    for kind in (GroupedGradVac, StreamingGradVac):
        features = forward()
        autojac.mtl_backward(losses_of(heads, features), features)
        weights = step(kind(groups), encoder, heads, forward, 0)
        assert not any(hasattr(p, "jac") for p in encoder.parameters())
        results.append([weights, *gradients(encoder, heads)])
    assert_close(*results)
    encoder[0].weight.jac = torch.ones(2, 8, 6)
    with pytest.raises(ValueError, match=r"shared_params\[0\]\.jac must have shape \(3, 8, 6\)"):
        step(StreamingGradVac(groups), encoder, heads, forward, 0)
    assert all(p.grad is None for p in encoder.parameters())


def test_an_encoder_compiled_as_a_whole_is_not_tapped(monkeypatch):
    """Although it is compiled while it is tapped."""
    received, results = record_combined(monkeypatch), []
    encoder, heads, _ = setting("linear")
    x = torch.randn(7, 6)
    for kind in (StreamingGradVac, GroupedGradVac):
        torch._dynamo.reset()
        compiled = torch.compile(encoder, backend="aot_eager")
        vaccine = kind(all_layer(encoder))
        with warns_of_a_loop("compiled") as caught:
            rows._warned.clear()
            weights = step(vaccine, encoder, heads, lambda compiled=compiled: compiled(x), 0)
        assert "what torch.compile has compiled" in str(caught[0].message)
        results.append([weights, *gradients(encoder, heads)])
    assert_close(*results, rtol=1e-4, atol=1e-5)
    assert not received
    torch._dynamo.reset()
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    with StreamingGradVac(all_layer(encoder)).tap(encoder):
        (node,) = explore([compiled(x)]).nodes  # a tap would break the graph
    assert type(node).__name__ == "CompiledFunctionBackward"


class LastGated(nn.Module):
    """A layer with one parameter, whose gradient is the same for all tasks."""

    def __init__(self):
        super().__init__()
        self.gate, self.last = nn.Linear(6, 1, bias=False), nn.Linear(6, 4)

    def forward(self, x):
        return Auxiliary.apply(self.last(x), self.gate(x).mean())


def test_a_lone_parameter_with_the_same_gradient_for_all_tasks_is_streamed(monkeypatch):
    monkeypatch.setitem(MODELS, "gated", LastGated)
    streamed, every = combined_in_time(monkeypatch, "gated")
    assert set(streamed) == every


def test_streaming_ends_where_a_pass_cannot_be_vectorised(monkeypatch):
    """What has been received counts, also a part of what a parameter used twice gets."""
    monkeypatch.setitem(MODELS, "ends", Ends)
    monkeypatch.setattr(streaming, "_SMALL", 0)
    encoder, heads, forward = setting("ends")
    received = record_combined(monkeypatch)
    with warns_of_a_loop("item"):
        agree(encoder, heads, forward)
    assert set(received) == {*encoder.last.parameters(), *encoder.layer.parameters()}


class Ends(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = ReadsItsGradient.apply(self.layer(self.first(x).tanh()).tanh())
        return self.last(self.layer(x).tanh())


def test_bad_arguments():
    encoder, heads, forward = setting("linear")
    vaccine = StreamingGradVac(all_layer(encoder))
    with vaccine.tap(encoder):
        features = forward()
    losses = losses_of(heads, features)
    for match, call in [
        ("tensors must hold at least one", lambda: vaccine.mtl_backward([], features)),
        (r"features\[0\] must have been", lambda: vaccine.mtl_backward(losses, features.detach())),
        (
            "grad_tensors must have one entry",
            lambda: vaccine.mtl_backward(losses, features, grad_tensors=[]),
        ),
        ("features must be all through", lambda: vaccine.mtl_backward(losses, forward())),
    ]:
        with pytest.raises(ValueError, match=match):
            call()
    for match, modules in [
        ("modules must have parameters that are in a group, got none", []),
        ("modules must have parameters that are in a group", [heads]),
        (r"modules\[1\] must be a Module, got 3", [encoder, 3]),
    ]:
        with pytest.raises(ValueError, match=match), vaccine.tap(*modules):
            pass
    assert vaccine.targets.shape == (2, 0, 0)
    vaccine.mtl_backward(losses, features)
    with pytest.raises(ValueError, match="groups must be disjoint"):
        StreamingGradVac([[encoder[0].weight]] * 2)
    with pytest.raises(ValueError, match="beta must be"):
        StreamingGradVac([[encoder[0].weight]], beta=-1)


class Auxiliary(torch.autograd.Function):
    """Adds a loss of its own in passing: its gradient does not depend on the incoming one."""

    @staticmethod
    def forward(ctx, x, loss):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, torch.ones(())


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.last = nn.Linear(6, 2), nn.Linear(6, 4)

    def forward(self, x):
        x = Auxiliary.apply(x, self.gate(x).square().mean())
        return Auxiliary.apply(self.last(x), self.gate(x * 2).mean())


class Clamps(nn.Linear):
    def forward(self, x):
        with torch.no_grad():
            self.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


class SetsData(nn.Linear):
    def forward(self, x):
        self.weight.data = torch.renorm(self.weight.data, 2, 0, 0.3)
        return super().forward(x)


class Replaces(nn.Linear):
    """As lazy modules do."""

    def forward(self, x):
        if self.bias is not None:
            self.weight = nn.Parameter(self.weight.detach() * 2)
            del self.bias
            self.bias = None
        return super().forward(x)


class Transformed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        return torch.func.vmap(self.layer)(x)


ODD = {
    "same gradient for all tasks": Gated,
    "clamped": lambda: nn.Sequential(Clamps(6, 5), nn.Linear(5, 4)),
    "data set": lambda: nn.Sequential(SetsData(6, 5), nn.Linear(5, 4)),
    "max norm": lambda: nn.Sequential(Words(), nn.Flatten(), nn.Linear(24, 4)),
    "transformed": Transformed,
}


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 4, max_norm=0.5)

    def forward(self, x):
        return self.words((x.abs() * 3).long().clamp(max=8))


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("name", ODD)
def test_odd_modules(name, partition, monkeypatch):
    """Modules that do something to their parameters, over steps of an optimizer."""
    monkeypatch.setattr(streaming, "_SMALL", 0)
    monkeypatch.setitem(MODELS, name, ODD[name])
    results = []
    for kind in (GroupedGradVac, StreamingGradVac):
        encoder, heads, forward = setting(name)
        vaccine = kind(partition(encoder))
        optimizer = torch.optim.SGD([*encoder.parameters(), *heads.parameters()], 0.1)
        for seed in range(3):
            step(vaccine, encoder, heads, forward, seed)
            optimizer.step()
            optimizer.zero_grad()
        results.append([p.detach().clone() for p in encoder.parameters()])
    assert_close(*results, rtol=1e-4, atol=1e-5)


def test_a_module_that_replaces_its_parameters_keeps_the_new_ones():
    module = Replaces(3, 2)
    before = module.weight
    with StreamingGradVac(all_layer(module)).tap(module):
        module(torch.ones(1, 3))
    assert type(module.weight) is nn.Parameter
    assert_close(module.weight, 2 * before)
    assert module.bias is None


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
def test_scripted_layers_wait():
    scripted = torch.jit.script(nn.Linear(6, 5))
    encoder = nn.Sequential(scripted, nn.Linear(5, 4))
    vaccine = StreamingGradVac(all_layer(encoder))
    with vaccine.tap(encoder):
        features = encoder(torch.randn(7, 6))
    vaccine.mtl_backward([features.sum(), features.square().sum()], features)
    assert all(p.is_leaf and p.grad is not None for p in encoder.parameters())


def test_accumulates_and_passes_options_on():
    encoder, heads, forward = setting("linear")
    vaccine = StreamingGradVac(all_layer(encoder), 0.0, generator=torch.Generator().manual_seed(0))
    assert vaccine.beta == 0
    results = []
    for _ in range(2):
        vaccine.generator.manual_seed(0)
        with vaccine.tap(encoder):
            features = forward()
        vaccine.mtl_backward(
            [head(features) for head in heads],
            [features],
            grad_tensors=[torch.ones(7, 2)] * 3,
            tasks_params=[head.parameters() for head in heads],
        )
        results.append([p.grad.clone() for p in [*encoder.parameters(), *heads.parameters()]])
    assert_close(results[1], [2 * g for g in results[0]])
