"""What a backward pass does to the user's graph, and what becomes of errors raised there."""

import contextlib
import warnings
from functools import partial

import pytest
import torch
from test_autojac import clear, losses_of, setting
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from cgtutor.autojac import _rows as rows_module
from cgtutor.autojac import backward, mtl_backward
from cgtutor.grouping import all_layer
from cgtutor.streaming import StreamingGradVac


@pytest.fixture(autouse=True)
def _nothing_has_been_warned_of(monkeypatch):
    monkeypatch.setattr(rows_module, "_warned", set())


class Counted(torch.autograd.Function):
    """The identity, which calls a function in each backward pass through it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, call):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.call = inputs[1]
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, gradient):
        ctx.call(gradient)
        return gradient * torch.ones_like(ctx.saved_tensors[0]), None


def three(features):
    return [features.sum(), features.square().sum(), features.exp().sum()]


def vaccinated(encoder, forward, losses=three):
    vaccine = StreamingGradVac(all_layer(encoder))
    with vaccine.tap(encoder):
        features = forward()
    vaccine.mtl_backward(losses(features), features)


#: Ways to differentiate three losses of an encoder's features.
WAYS = {
    "backward": lambda encoder, forward: backward(three(forward())),
    "mtl_backward": lambda encoder, forward: mtl_backward(three(f := forward()), f),
    "streaming": vaccinated,
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
def test_a_custom_function_runs_once(way):
    encoder, calls = nn.Linear(3, 4), []
    x = torch.randn(5, 3)
    way(encoder, lambda: Counted.apply(encoder(x), calls.append))
    assert len(calls) == 1


@ways
def test_a_checkpoint_is_recomputed_once(way):
    encoder, calls = nn.Linear(3, 4), []
    x = torch.randn(5, 3)

    def last(y):
        calls.append(1)
        return y.tanh()

    way(encoder, lambda: checkpoint(last, encoder(x), use_reentrant=False))
    assert len(calls) == 2  # once in the forward pass


@ways
def test_a_hook_runs_once(way):
    encoder, calls = nn.Linear(3, 4), []
    x = torch.randn(5, 3)

    def forward():
        middle = encoder(x)
        middle.register_hook(lambda gradient: calls.append(1) or gradient * 2)
        return middle.tanh()

    way(encoder, forward)
    assert len(calls) == 1


def test_chunks_run_once_each():
    p, calls = nn.Parameter(torch.ones(3)), []
    backward(three(Counted.apply(p * 1, calls.append)), parallel_chunk_size=2)
    assert len(calls) == 2


def test_what_a_loop_has_to_do_runs_no_more_than_that():
    """A pass for each row, over the row's own output."""
    p, own, common = nn.Parameter(torch.ones(3)), [], []
    features = Counted.apply(p * 1, common.append)
    losses = [Counted.apply(loss, own.append) for loss in three(features)]
    backward(losses, parallel_chunk_size=1)
    assert (len(own), len(common)) == (3, 3)
    with pytest.raises(RuntimeError, match="second time"):
        losses[0].backward()


def test_outputs_that_share_nothing_are_freed_each_by_its_own_pass():
    p, q = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    one, other = p.exp(), q.exp().sum()
    backward([one, other], parallel_chunk_size=1)
    for output in (one.sum(), other):
        with pytest.raises(RuntimeError, match="second time"):
            output.backward()


def test_entangled_heads_run_once_for_each_task():
    _, heads, forward = setting("linear")
    neck, own, common = nn.Linear(4, 4), [], []
    features = forward()
    middle = Counted.apply(neck(features), common.append)
    losses = [Counted.apply(loss, own.append) for loss in losses_of(heads, middle)]
    apart = heads[0](features).square().mean()
    mtl_backward([*losses, apart], features)
    assert (len(own), len(common)) == (3, 3)
    for loss in (losses[0], apart):
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(loss, features)


# ---------------------------------------------------------- what cannot be vectorised


class Twice(nn.Module):
    """Two layers; the gradient of what is between them goes through a function."""

    def __init__(self, call):
        super().__init__()
        self.first, self.last, self.call = nn.Linear(6, 5), nn.Linear(5, 4), call
        self.again = []

    def forward(self, x):
        middle = Counted.apply(self.first(x), self.call).tanh()
        return Counted.apply(self.last(middle), self.again.append) + self.first.bias.sum()


def reads(gradient):
    gradient.sum().item()


@ways
def test_a_pass_is_carried_on_from_where_it_stops(way):
    """What has run does not run again, and the numbers are those of plain passes."""
    x, results = torch.randn(7, 6), []
    for call in (reads, lambda gradient: None):
        torch.manual_seed(0)
        encoder = Twice(call)
        expected = contextlib.nullcontext()
        if call is reads:
            expected = pytest.warns(UserWarning, match=r"\.item\(\).*parallel_chunk_size=1")
        with expected:
            way(encoder, partial(encoder, x))
        assert len(encoder.again) == 1
        results.append([getattr(p, "jac", p.grad) for p in encoder.parameters()])
    assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [2, 3, 4])
@pytest.mark.parametrize("fails_at", [0, 1])
@pytest.mark.parametrize("retain", [False, True])
def test_a_chunk_that_fails(chunk, fails_at, retain):
    """The first, or the last, which has freed a part of the graph."""
    calls = []

    def fails(gradient):
        calls.append(1)
        if len(calls) > fails_at:
            gradient.sum().item()

    p, unused = nn.Parameter(torch.randn(3)), nn.Parameter(torch.ones(2))
    features = Counted.apply(p * torch.arange(3.0), fails)
    losses = [*three(features), features.prod()]
    wanted = [torch.autograd.grad(loss, p, retain_graph=True)[0] for loss in losses]
    calls.clear()
    several = fails_at * chunk < len(losses)
    if several:
        with pytest.warns(UserWarning, match="vectorised pass"):
            backward(losses, inputs=[p, unused], parallel_chunk_size=chunk, retain_graph=retain)
    else:
        backward(losses, inputs=[p, unused], parallel_chunk_size=chunk, retain_graph=retain)
    assert_close(p.jac, torch.stack(wanted))
    assert not unused.jac.any()
    if retain:
        backward(losses, inputs=[p], parallel_chunk_size=1)
    else:
        with pytest.raises(RuntimeError, match="second time"):
            losses[0].backward()


def test_warned_of_once_and_where_it_is_called():
    """Once for each cause, not at each step."""
    encoder = nn.Linear(3, 4)
    x = torch.randn(5, 3)

    def random(gradient):
        torch.rand_like(gradient)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in (reads, random, reads, random):
            for way in WAYS.values():
                way(encoder, lambda call=call: Counted.apply(encoder(x), call))
                clear(encoder)
    assert len(caught) == 2
    assert "item()" in str(caught[0].message)
    assert "random" in str(caught[1].message)
    assert {warning.filename for warning in caught} == {__file__}
    assert {warning.category for warning in caught} == {UserWarning}


def counts(gradient):
    """Torch has no rule for it."""
    return torch.bincount((0 * gradient).long().flatten())


def test_torchs_warning_of_a_slow_vmap_is_off_in_a_pass_only():
    """The user's filters are as they were."""
    encoder = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    before = list(warnings.filters)
    backward(three(Counted.apply(encoder(x), counts)))
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="performance drop"):
        torch.vmap(counts)(torch.rand(2, 3))


def test_filters_cleared_in_a_pass_stay_cleared():
    encoder = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    with warnings.catch_warnings():
        backward(three(Counted.apply(encoder(x), lambda g: warnings.resetwarnings())))
        assert warnings.filters == []


# ------------------------------------------------------------------------------ errors


class OwnError(Exception):
    pass


def raising(error):
    calls = []

    def call(gradient):
        calls.append(1)
        raise error

    return call, calls


@ways
@pytest.mark.parametrize(
    "error",
    [
        OwnError("of the user"),
        ValueError("of the user"),
        MemoryError(),
        KeyboardInterrupt(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_raised_at_once(way, error):
    """Users' own errors, and lack of memory, which plain passes might hide."""
    call, calls = raising(error)
    encoder = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    with pytest.raises(type(error)) as caught:
        way(encoder, lambda: Counted.apply(encoder(x), call))
    assert caught.value is error
    assert len(calls) == 1
    assert all(p.grad is None and not hasattr(p, "jac") for p in encoder.parameters())


@ways
def test_a_users_runtime_error_is_raised_by_the_plain_pass(way):
    call, calls = raising(RuntimeError("of the user"))
    encoder = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    with pytest.raises(RuntimeError, match="of the user") as caught:
        way(encoder, lambda: Counted.apply(encoder(x), call))
    assert caught.value.__context__ is None
    assert len(calls) == 2
    assert all(p.grad is None and not hasattr(p, "jac") for p in encoder.parameters())


def test_an_error_after_all_is_done_is_raised():
    """There is no pass that could be carried on."""
    encoder = nn.Linear(3, 4)
    x = torch.randn(5, 3)
    fail, _ = raising(RuntimeError("at the end"))

    def call(gradient):
        torch.autograd.Variable._execution_engine.queue_callback(lambda: fail(None))

    with pytest.raises(RuntimeError, match="at the end"):
        vaccinated(encoder, lambda: Counted.apply(encoder(x), call))
    assert all(p.grad is None for p in encoder.parameters())


def test_an_error_while_gradients_are_received_is_raised(monkeypatch):
    """After it nobody knows which of them count."""
    encoder, heads, forward = setting("linear")
    vaccine = StreamingGradVac(all_layer(encoder))
    with vaccine.tap(encoder):
        features = forward()
    monkeypatch.setattr(
        "cgtutor.streaming._Pass._combine", lambda self: raising(RuntimeError("ours"))[0](None)
    )
    monkeypatch.setattr("cgtutor.streaming._SMALL", 0)
    with pytest.raises(RuntimeError, match="ours"):
        vaccine.mtl_backward(losses_of(heads, features), features)
    assert vaccine.targets.shape == (2, 0, 0)
    assert all(p.grad is None for p in [*encoder.parameters(), *heads.parameters()])
