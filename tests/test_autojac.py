"""backward, mtl_backward and jac_to_grad, against torchjd and plain backward passes."""

import contextlib
import copy
import gc
import re
import weakref

import pytest
import torch
import torchjd.aggregation as their_aggregation
import torchjd.autogram
import torchjd.autojac as theirs
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from cgtutor import autojac as ours
from cgtutor.aggregation import Aggregator, GradVac, GradVacWeighting, Mean, PCGrad, Sum
from cgtutor.autojac import _rows as rows_module
from cgtutor.autojac import backward, jac_to_grad, mtl_backward
from cgtutor.grouping import GroupedGradVac


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.inner(x)


class First(nn.Module):
    """What comes first where a module returns several things."""

    def __init__(self, module, times=1):
        super().__init__()
        self.module, self.times = module, times

    def forward(self, x):
        return self.module(*[x] * self.times)[0]


class ReadsItsGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (2.0 if gradient.abs().sum().item() > 0 else 3.0)


class CallsItem(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        return ReadsItsGradient.apply(self.layer(x))


class Checkpointed(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 4))

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


class SparseWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 4, sparse=True)

    def forward(self, x):
        return self.words((x.abs() * 3).long().clamp(max=9)).sum(1)


class Conv(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 2, 3)),
            nn.Conv2d(1, 3, 2, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )


class LayerTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


class Tied(nn.Module):
    """One weight in a layer and, transposed, used by hand."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 5, bias=False)
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(torch.tanh(self.layer(x)) @ self.layer.weight)


class Compiled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
        self.call = torch.compile(self.layer, backend="aot_eager")

    def forward(self, x):
        return self.call(x)


class Several(nn.Module):
    """A parameter that takes no part, a scalar one, one used as is, and a ParameterList."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.randn(3))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.shift = nn.Parameter(torch.randn(6))
        self.list = nn.ParameterList([torch.randn(6, 2), torch.randn(6, 3)])

    def forward(self, x):
        return torch.cat([(self.scale * x + self.shift) @ w for w in self.list], dim=1)


MODELS = {
    "linear": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)),
    "layer norm": lambda: nn.Sequential(nn.LayerNorm(6), Residual(nn.Linear(6, 6), nn.GELU())),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4)),
    "in place": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)),
    "convolution": Conv,
    "rnn": lambda: First(nn.LSTM(6, 4)),
    "gru": lambda: First(nn.GRU(6, 4, num_layers=2)),
    "attention": lambda: First(nn.MultiheadAttention(6, 2), times=3),
    "transformer": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1),
    "sparse embedding": SparseWords,
    "item": CallsItem,
    "checkpoint": lambda: Checkpointed(0.0),
    "checkpoint with dropout": lambda: Checkpointed(0.5),
    "layer twice": LayerTwice,
    "tied": Tied,
    "compiled": Compiled,
    "several": Several,
}
#: Those that a vectorised pass cannot differentiate.
IN_A_LOOP = {"sparse embedding", "item", "checkpoint with dropout", "compiled"}


@pytest.fixture(autouse=True)
def _nothing_has_been_warned_of(monkeypatch):
    monkeypatch.setattr(rows_module, "_warned", set())


def warns_of_a_loop(name, chunk=None):
    """What a test of a model runs in: whether a vectorised pass is tried in vain."""
    if name not in IN_A_LOOP or chunk == 1:
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match=r"vectorised pass .*parallel_chunk_size=1")


def clear(*modules):
    for module in modules:
        for p in module.parameters():
            p.grad = None
            if hasattr(p, "jac"):
                del p.jac


def losses_of(heads, features):
    return [(head(features) * (k + 1)).square().mean() for k, head in enumerate(heads)]


def setting(name, tasks=3):
    """An encoder, heads, and a function for the features, the same at every call."""
    torch.manual_seed(1)
    encoder = MODELS[name]()
    x = torch.randn(7, 6)
    width = encoder(x).shape[-1]
    heads = nn.ModuleList(nn.Linear(width, 2) for _ in range(tasks))

    def forward():
        torch.manual_seed(2)  # for dropout
        return encoder(x)

    return encoder, heads, forward


def plain_jacobians(encoder, heads, forward):
    """One backward pass for each task, and the gradients of the heads."""
    result, own = [], []
    for k in range(len(heads)):
        clear(encoder, heads)
        losses_of(heads, forward())[k].backward()
        result.append(
            [
                torch.zeros_like(p) if p.grad is None else p.grad.to_dense()
                for p in encoder.parameters()
            ]
        )
        own.append([p.grad for p in heads[k].parameters()])
    clear(encoder, heads)
    return [torch.stack(rows) for rows in zip(*result)], own


def check_jacobians(encoder, heads, forward, run):
    expected, own = plain_jacobians(encoder, heads, forward)
    features = forward()
    run(losses_of(heads, features), features)
    for p, want in zip(encoder.parameters(), expected):
        if not hasattr(p, "jac"):
            assert not want.any()  # by default, what is not in the graph gets nothing
            continue
        assert p.jac.shape == (len(heads), *p.shape)
        assert p.jac.is_contiguous()
        assert not p.jac.requires_grad
        assert_close(p.jac, want, rtol=1e-4, atol=1e-6)
        assert p.grad is None
    for head, want in zip(heads, own):
        assert_close([p.grad for p in head.parameters()], want)
    clear(encoder, heads)


@pytest.mark.parametrize("chunk", [None, 1, 2, 10])
@pytest.mark.parametrize("name", MODELS)
def test_mtl_backward(name, chunk):
    """Each row is a task's own gradient."""

    def run(losses, features):
        mtl_backward(losses, features, parallel_chunk_size=chunk)

    with warns_of_a_loop(name, chunk):
        check_jacobians(*setting(name), run)


@pytest.mark.parametrize("name", MODELS)
def test_mtl_backward_with_parameters_given(name):
    encoder, heads, forward = setting(name)

    def run(losses, features):
        mtl_backward(
            losses,
            features=[features],
            tasks_params=[head.parameters() for head in heads],
            shared_params=encoder.parameters(),
        )
        assert all(hasattr(p, "jac") for p in encoder.parameters())

    with warns_of_a_loop(name):
        check_jacobians(encoder, heads, forward, run)


@pytest.mark.parametrize("name", MODELS)
def test_backward(name):
    encoder, heads, forward = setting(name)
    expected, _ = plain_jacobians(encoder, heads, forward)
    with warns_of_a_loop(name):
        backward(losses_of(heads, forward()), inputs=encoder.parameters())
    for p, want in zip(encoder.parameters(), expected):
        assert_close(p.jac, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_when_a_loop_takes_over(name, monkeypatch):
    """Vectorised where it works; where it fails, the graph is still whole for the loop."""
    _, heads, forward = setting(name)
    looped = []
    honest = rows_module.one_by_one
    monkeypatch.setattr(rows_module, "one_by_one", lambda *a: looped.append(1) or honest(*a))
    features = forward()
    with warns_of_a_loop(name):
        mtl_backward(losses_of(heads, features), features, parallel_chunk_size=3)
    assert bool(looped) == (name in IN_A_LOOP)


def test_which_way_by_default(monkeypatch):
    """Plain passes for two tasks and for convolutions, which a CPU does faster so."""
    ways = []
    for way in ("one_by_one", "vectorised"):
        honest = getattr(rows_module, way)
        monkeypatch.setattr(rows_module, way, lambda *a, w=way, h=honest: ways.append(w) or h(*a))
    for name, tasks in (("linear", 2), ("linear", 3), ("convolution", 3), ("layer norm", 4)):
        _, heads, forward = setting(name, tasks)
        features = forward()
        mtl_backward(losses_of(heads, features), features)
    assert ways == ["one_by_one", "vectorised", "one_by_one", "vectorised"]
    assert not rows_module._plain_is_faster([torch.empty(1, device="meta")], 2)


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("name", ["linear", "convolution", "item"])
def test_graph_is_freed_unless_asked_otherwise(name, chunk):
    with warns_of_a_loop(name, chunk):
        check_freed(name, chunk)


def check_freed(name, chunk):
    encoder, heads, forward = setting(name)
    for retain in (True, False):
        features = forward()
        losses = losses_of(heads, features)
        mtl_backward(losses, features, retain_graph=retain, parallel_chunk_size=chunk)
        if retain:
            mtl_backward(losses, features, retain_graph=retain, parallel_chunk_size=chunk)
            continue
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(losses[0], features)
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(features.sum(), list(encoder.parameters()))
        before = [p.jac.clone() for p in encoder.parameters()]
        with pytest.raises(RuntimeError, match="second time"):
            backward(losses, parallel_chunk_size=chunk)
        assert_close([p.jac for p in encoder.parameters()], before)
    clear(encoder)
    losses = losses_of(heads, forward())
    for retain in (True, True, False):
        backward(losses, retain_graph=retain, parallel_chunk_size=chunk)
    with pytest.raises(RuntimeError, match="second time"):
        backward(losses, parallel_chunk_size=chunk)


@pytest.mark.parametrize("chunk", [1, 3])
def test_what_the_graph_has_saved_is_freed(chunk):
    """Although tensors of the graph are still at hand."""
    _, heads, forward = setting("linear")
    features = forward()
    saved = weakref.ref(features.grad_fn.next_functions[1][0]._saved_result)
    losses = losses_of(heads, features)
    mtl_backward(losses, features, parallel_chunk_size=chunk)
    gc.collect()
    assert saved() is None


def test_a_hook_that_needs_a_gradient():
    """Freeing sends no gradient through the graph, which such a hook cannot stand."""
    encoder, heads, _ = setting("linear")
    middle = encoder[0](torch.randn(7, 6))
    middle.register_hook(lambda gradient: gradient * 2)
    features = encoder[2](encoder[1](middle))
    mtl_backward(losses_of(heads, features), features, parallel_chunk_size=3)
    assert encoder[0].weight.jac.shape == (3, 8, 6)


def test_freed_without_gradient_mode():
    _, heads, forward = setting("linear")
    features = forward()
    losses = losses_of(heads, features)
    with torch.no_grad():
        mtl_backward(losses, features, parallel_chunk_size=3)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(features.sum(), features.grad_fn.next_functions[0][0].variable)


@pytest.mark.parametrize("tasks", [2, 3])
def test_features_that_retain_their_gradient(tasks):
    """They get the tasks' sum, as by torch, and no remains of a vectorised pass."""
    _, heads, forward = setting("linear", tasks)
    features = forward()
    features.retain_grad()
    mtl_backward(losses_of(heads, features), features)
    got = features.grad
    features = forward()
    features.retain_grad()
    sum(losses_of(heads, features)).backward()
    assert_close(got, features.grad)
    middle = torch.ones(3, requires_grad=True) * 2
    middle.retain_grad()
    backward([middle.sum() * k for k in range(3)], inputs=[middle])
    assert middle.jac.tolist() == [[0] * 3, [1] * 3, [2] * 3]
    assert middle.grad.tolist() == [3] * 3


def test_head_parameters_out_of_reach_get_zeros():
    _, heads, forward = setting("linear")
    unused = nn.Parameter(torch.ones(2))
    features = forward()
    mtl_backward(losses_of(heads, features), features, tasks_params=[[unused], [], []])
    assert unused.grad.tolist() == [0, 0]
    assert heads[0].weight.grad is None


def test_sparse_and_dense_gradients_add_up():
    words, encoder = nn.Embedding(5, 3, sparse=True), nn.Linear(2, 3)
    index, x = torch.tensor([0, 1]), torch.randn(2, 2)

    def losses(features):
        own = (words(index) * features).sum()
        return [own, (features @ words.weight.T).sum(), 2 * own]

    for order in ([0, 1, 2], [1, 0, 2], [0, 2, 1]):
        clear(words, encoder)
        features = encoder(x)
        mtl_backward([losses(features)[k] for k in order], features)
        got = words.weight.grad.to_dense()
        clear(words)
        sum(losses(encoder(x))).backward()
        assert_close(got, words.weight.grad.to_dense())
    words.weight.jac = torch.ones(2, 5, 3)
    jac_to_grad([words.weight], Sum())


def test_a_jac_is_never_the_callers_tensor():
    rows = torch.eye(3)
    p = torch.ones(3, requires_grad=True)
    backward(p + 0, jac_tensors=rows)
    p.jac.mul_(3)
    assert torch.equal(rows, torch.eye(3))


@pytest.mark.parametrize("columns", [3, 5000])
def test_jacobians_with_a_graph_of_their_own(columns):
    parameter = nn.Parameter(torch.zeros(columns))
    parameter.jac = torch.randn(3, columns) * torch.ones(1, requires_grad=True)
    expected = parameter.jac.sum(0)
    vaccine = GradVac(0)
    vaccine.gramian_weighting.register_forward_hook(lambda m, args, out: torch.ones_like(out))
    jac_to_grad([parameter], vaccine)
    assert_close(parameter.grad, expected.detach())
    assert not parameter.grad.requires_grad


def test_subclasses_do_as_they_say():
    class Twice(GradVac):
        def forward(self, matrix, /):
            return 2 * super().forward(matrix)

    class Ones(GradVacWeighting):
        def forward(self, gramian, /):
            return torch.ones(len(gramian))

    parameters = with_jacobians()
    expected = [2 * p.jac[0] for p in with_jacobians(1)]
    single = with_jacobians(1)
    assert jac_to_grad(single, Twice()) is None  # twice the weighted sum
    assert_close([p.grad for p in single], expected)
    vaccine = GradVac()
    vaccine.gramian_weighting = Ones()
    expected = [p.jac.sum(0) for p in parameters]
    jac_to_grad(parameters, vaccine)
    assert_close([p.grad for p in parameters], expected)


def test_accumulates():
    encoder, heads, forward = setting("linear")
    for _ in range(3):
        features = forward()
        mtl_backward(losses_of(heads, features), features)
    three = [p.jac for p in encoder.parameters()], [p.grad for p in heads.parameters()]
    clear(encoder, heads)
    features = forward()
    mtl_backward(losses_of(heads, features), features)
    assert_close(three[0], [3 * p.jac for p in encoder.parameters()])
    assert_close(three[1], [3 * p.grad for p in heads.parameters()])


def test_a_head_parameter_of_several_tasks_gets_the_sum():
    _, _, forward = setting("linear")
    head = nn.Linear(4, 2)
    features = forward()
    losses = losses_of([head, head, head], features)
    mtl_backward(losses, features)
    got = [p.grad for p in head.parameters()]
    head.zero_grad()
    sum(losses_of([head, head, head], forward())).backward()
    assert_close(got, [p.grad for p in head.parameters()])


@pytest.mark.parametrize("retain", [False, True])
def test_tasks_with_a_common_part_above_the_features(retain):
    _, heads, forward = setting("linear")
    neck = nn.Linear(4, 4)
    features = forward()
    losses = losses_of(heads, neck(features))
    mtl_backward(losses, features, retain_graph=retain)
    got = [p.grad for p in neck.parameters()]
    neck.zero_grad()
    sum(losses_of(heads, neck(forward()))).backward()
    assert_close(got, [p.grad for p in neck.parameters()])
    if not retain:
        with pytest.raises(RuntimeError, match="second time"):
            losses[0].backward()


def test_several_features_some_unused():
    encoder = nn.Linear(6, 8)
    one, two, three = encoder(torch.randn(5, 6)).split([3, 3, 2], dim=1)
    mtl_backward([one.sum(), (two * one).sum(), one.mean()], features=[one, two, three])
    jacobian = encoder.weight.jac
    assert jacobian[0, :3].any()
    assert not jacobian[0, 3:].any()
    assert jacobian[1, 3:6].any()
    assert not jacobian[:, 6:].any()


def test_grad_tensors():
    encoder, heads, forward = setting("linear")
    starts = [torch.randn(7, 2) for _ in heads]
    features = forward()
    mtl_backward([head(features) for head in heads], features, grad_tensors=starts)
    got = [p.jac for p in encoder.parameters()], [p.grad for p in heads.parameters()]
    clear(encoder, heads)
    features = forward()
    mtl_backward([(h(features) * s).sum() for h, s in zip(heads, starts)], features)
    assert_close(got[0], [p.jac for p in encoder.parameters()])
    assert_close(got[1], [p.grad for p in heads.parameters()])


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_jac_tensors(chunk):
    """The chain rule by hand, with non-scalar tensors, one of them unused."""
    p, q = torch.randn(3, requires_grad=True), torch.randn(2, 2, requires_grad=True)
    a, b = p**2, q * p[0]
    da, db = torch.randn(4, 3), torch.randn(4, 2, 2)
    backward([a, b], jac_tensors=[da, db], parallel_chunk_size=chunk)
    expected = da * 2 * p.detach()
    expected[:, 0] += (db * q.detach()).sum((1, 2))
    assert_close(p.jac, expected)
    assert_close(q.jac, db * p[0].detach())
    # one tensor need not be in a list; the default is the identity
    r = torch.randn(3, requires_grad=True)
    backward(r**2, parallel_chunk_size=chunk)
    assert_close(r.jac, torch.diag(2 * r.detach()))
    del r.jac
    backward(r**2, jac_tensors=torch.eye(3), inputs=r)
    assert_close(r.jac, torch.diag(2 * r.detach()))


def test_fields_are_nobody_elses():
    """Autograd hands out one gradient for both terms of a sum, and spread views of a number."""
    a, b = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    for chunk in (1, 2, None):
        a.jac = b.jac = None
        backward([(a + b).sum(), (a + b).square().sum()], parallel_chunk_size=chunk)
        a.jac[0] += 1
        assert_close(b.jac, torch.tensor([[1.0] * 3, [0.0] * 3]))
    features = torch.zeros(2, requires_grad=True) * 1
    mtl_backward([((a + b) * torch.ones(3)).sum() + features.sum()], features)
    a.grad += 1
    assert_close(b.grad, torch.ones(3))


def test_memory_layout_and_dtype():
    """.grad is laid out as its parameter, as torch has it."""
    conv = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
    double = nn.Linear(3, 2).double()
    features = double(conv(torch.randn(4, 2, 3, 3)).mean((2, 3)).double())
    mtl_backward([features.sum(), features.square().sum(), features.exp().sum()], features)
    assert conv.weight.jac.shape == (3, 3, 2, 2, 2)
    jac_to_grad([*conv.parameters(), *double.parameters()], GradVac())
    assert conv.weight.grad.stride() == conv.weight.stride()
    assert conv.weight.grad.dtype == torch.float32
    assert double.weight.grad.dtype == torch.float64


# ----------------------------------------------------------------------------- jac_to_grad


def with_jacobians(tasks=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 2), (5,), (), (70, 70), (2, 0)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for p in parameters:
        p.jac = torch.randn(tasks, *p.shape, generator=generator)
    return parameters


@pytest.mark.parametrize("aggregator_class", [Sum, Mean, PCGrad, GradVac])
def test_jac_to_grad(aggregator_class):
    """As the aggregator says of the matrix that all Jacobians make."""
    parameters = with_jacobians()
    matrix = torch.cat([p.jac.flatten(1) if p.ndim else p.jac[:, None] for p in parameters], 1)
    torch.manual_seed(3)
    expected = aggregator_class()(matrix)
    torch.manual_seed(3)
    weights = jac_to_grad(iter(parameters), aggregator_class())
    got = torch.cat([p.grad.flatten() for p in parameters])
    assert_close(got, expected, rtol=1e-5, atol=1e-4)
    assert weights.shape == (4,)
    assert_close(weights @ matrix, expected, rtol=1e-4, atol=1e-4)
    assert not any(hasattr(p, "jac") for p in parameters)


def test_jac_to_grad_accumulates_and_retains():
    parameters = with_jacobians()
    jac_to_grad(parameters, Sum(), retain_jac=True)
    first = [p.grad for p in parameters]
    values = [g.clone() for g in first]
    jac_to_grad(parameters, Sum())
    assert all(p.grad is g for p, g in zip(parameters, first))  # in place, as torch does
    assert_close(first, [2 * g for g in values])


def test_any_function_is_an_aggregator():
    parameters = with_jacobians()
    expected = [p.jac.amax(0) for p in parameters]
    assert jac_to_grad(parameters, lambda matrix: matrix.amax(0)) is None
    assert_close([p.grad for p in parameters], expected)


def test_nothing_is_lost_when_an_aggregator_fails():
    parameters = with_jacobians()
    before = [p.jac.clone() for p in parameters]

    def fails(matrix):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        jac_to_grad(parameters, fails)
    with pytest.raises(ValueError, match=r"aggregator must return .* got shape \(4,\)"):
        jac_to_grad(parameters, lambda matrix: matrix.sum(1))
    assert_close([p.jac for p in parameters], before)
    assert all(p.grad is None for p in parameters)


def test_hooks_on_an_aggregator_run():
    """They see the whole matrix, and may change the result; those on the weighting the weights."""
    seen = []
    for mine in (GradVac(), PCGrad(), Sum()):
        parameters = with_jacobians()
        handle = mine.register_forward_hook(
            lambda m, args, out: seen.append(args[0].shape) or 2 * out
        )
        torch.manual_seed(0)
        assert jac_to_grad(parameters, mine) is None  # twice the weighted sum
        doubled = [p.grad for p in parameters]
        handle.remove()
        parameters = with_jacobians()
        torch.manual_seed(0)
        if isinstance(mine, GradVac):
            mine.reset()
        jac_to_grad(parameters, mine)
        assert_close(doubled, [2 * p.grad for p in parameters], rtol=1e-4, atol=1e-3)
    assert seen == [(4, 3 * 2 + 5 + 1 + 4900)] * 3
    vaccine = GradVac()
    vaccine.gramian_weighting.register_forward_hook(lambda m, args, out: torch.ones_like(out))
    parameters = with_jacobians()
    expected = [p.jac.sum(0) for p in parameters]
    assert torch.equal(jac_to_grad(parameters, vaccine), torch.ones(4))
    assert_close([p.grad for p in parameters], expected)


# --------------------------------------------------------------------------------- interop


@pytest.mark.parametrize("name", ["linear", "several", "tied"])
def test_torchjd_reads_our_jacobians_and_we_theirs(name):
    """Bit for bit, in all four combinations."""
    encoder, heads, forward = setting(name)
    results = []
    for make in (ours, theirs):
        for use in (ours, theirs):
            clear(encoder, heads)
            features = forward()
            make.mtl_backward(losses_of(heads, features), features, parallel_chunk_size=None)
            group = [p for p in encoder.parameters() if hasattr(p, "jac")]
            weights = use.jac_to_grad(group, their_aggregation.AlignedMTL())
            results.append(
                [weights, *(p.grad for p in group), *(p.grad for p in heads.parameters())]
            )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize(
    "name", ["AlignedMTL", "GradVac", "PCGrad", "MGDA", "Sum", "GradDrop", "Mean"]
)
def test_torchjds_aggregators(name, optimize):
    """Through our jac_to_grad bit for bit as through theirs."""
    results = []
    for module in (ours, theirs):
        torch.manual_seed(0)
        parameters, aggregator = with_jacobians(3), getattr(their_aggregation, name)()
        if optimize and name in ("Sum", "GradDrop", "Mean"):
            with pytest.raises(ValueError, match="optimize_gramian_computation"):
                module.jac_to_grad(parameters, aggregator, optimize_gramian_computation=True)
            continue
        weights = module.jac_to_grad(parameters, aggregator, optimize_gramian_computation=optimize)
        results.append((weights, [p.grad for p in parameters]))
    if not results:
        return
    (w1, g1), (w2, g2) = results
    assert (w1 is None and w2 is None) or torch.equal(w1, w2)
    assert all(torch.equal(a, b) for a, b in zip(g1, g2))


@pytest.mark.parametrize("aggregator_class", [Sum, Mean, PCGrad, GradVac])
def test_our_aggregators_in_torchjd(aggregator_class):
    results = []
    for module in (ours, theirs):
        parameters = with_jacobians()
        torch.manual_seed(1)
        module.jac_to_grad(parameters, aggregator_class())
        results.append([p.grad for p in parameters])
    assert_close(*results, rtol=1e-5, atol=1e-4)


def test_our_weighting_with_an_autogram_engine():
    """The engine's Gramian is that of the Jacobian, so weights and gradients are the same."""
    encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    same = copy.deepcopy(encoder)
    x = torch.randn(5, 6)
    engine = torchjd.autogram.Engine(encoder, batch_dim=0)
    one, other = GradVacWeighting(), GradVac()
    for _ in range(3):
        clear(encoder)
        torch.manual_seed(0)
        losses = encoder(x).square().squeeze(1)
        losses.backward(one(engine.compute_gramian(losses)))
        expected = [p.grad for p in encoder.parameters()]
        clear(same)
        torch.manual_seed(0)
        backward(same(x).square().squeeze(1))
        jac_to_grad(same.parameters(), other)
        assert_close([p.grad for p in same.parameters()], expected, rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------- errors

ONE = torch.ones(1, dtype=torch.long)


def check_refused(match, call, *modules):
    """A ValueError with this text, and nothing changed."""
    with pytest.raises(ValueError, match=match):
        call()
    for module in modules:
        for p in module.parameters():
            assert p.grad is None
            assert not hasattr(p, "jac")


def test_bad_arguments():
    encoder, heads, forward = setting("linear")
    features = forward()
    losses = losses_of(heads, features)
    shared, own = list(encoder.parameters()), [list(head.parameters()) for head in heads]
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    for match, call in [
        ("tensors must hold at least one tensor, got none", lambda: mtl_backward([], features)),
        ("features must hold at least one tensor, got none", lambda: mtl_backward(losses, [])),
        ("tensors must not hold a tensor twice", lambda: mtl_backward([losses[0]] * 2, features)),
        (r"tensors\[1\] must be a tensor, got 3", lambda: mtl_backward([losses[0], 3], features)),
        (r"tensors\[0\] must have been made", lambda: mtl_backward([torch.ones(())], features)),
        (r"features\[0\] must have been", lambda: mtl_backward(losses, features.detach())),
        ("features must be all through", lambda: mtl_backward(losses, forward())),
        (
            "features must be what tensors were made from, but none",
            lambda: mtl_backward(losses, nn.Linear(2, 4)(torch.ones(7, 2))),
        ),
        (
            r"features must be all through .* tensors\[0\] .* shape \(8,? ?6?\)",
            lambda: mtl_backward([loss + encoder[0].weight.sum() for loss in losses], features),
        ),
        (
            "features must be all through",
            lambda: mtl_backward(losses, features, tasks_params=[shared, [], []]),
        ),
        (
            "tasks_params must have one entry for each of the 3 tensors, got 2",
            lambda: mtl_backward(losses, features, tasks_params=own[:2]),
        ),
        (
            r"tasks_params\[1\]\[0\] must require gradients, got a frozen tensor of shape \(2,\)",
            lambda: mtl_backward(losses, features, tasks_params=[own[0], [frozen], own[2]]),
        ),
        (
            r"shared_params\[4\] must require gradients",
            lambda: mtl_backward(losses, features, shared_params=[*shared, frozen]),
        ),
        (
            r"shared_params\[0\] must be a leaf",
            lambda: mtl_backward(losses, features, shared_params=[features * 2]),
        ),
        (
            r"grad_tensors must be given .* tensors\[0\] of shape \(7, 2\)",
            lambda: mtl_backward([head(features) for head in heads], features),
        ),
        (
            "grad_tensors must have one entry for each of the 3 tensors, got 1",
            lambda: mtl_backward(losses, features, grad_tensors=[torch.ones(())]),
        ),
        (
            r"grad_tensors\[0\] must be a tensor of shape \(\), as tensors\[0\] has, got \(2,\)",
            lambda: mtl_backward(losses, features, grad_tensors=[torch.ones(2)] * 3),
        ),
        *(
            (
                f"parallel_chunk_size must be a positive integer, got {bad}",
                lambda bad=bad: mtl_backward(losses, features, parallel_chunk_size=bad),
            )
            for bad in (0, -1, 1.5)
        ),
        ("parallel_chunk_size", lambda: backward(losses, parallel_chunk_size=0)),
        ("tensors must hold at least one", lambda: backward([])),
        (
            "inputs must hold at least one tensor, got none",
            lambda: backward(losses, inputs=iter([])),
        ),
        (r"inputs\[0\] must require gradients", lambda: backward(losses, inputs=[frozen])),
        (r"inputs\[0\] must be a leaf", lambda: backward(losses, inputs=[features])),
        (
            "jac_tensors must have one entry for each of the 3 tensors, got 1",
            lambda: backward(losses, jac_tensors=torch.ones(3)),
        ),
        (
            r"jac_tensors\[1\] must have shape \(m\) with the same m for all, got \(2,\)",
            lambda: backward(losses, jac_tensors=[torch.ones(3), torch.ones(2), torch.ones(3)]),
        ),
        (
            r"jac_tensors\[0\] must have shape \(m, 7, 4\)",
            lambda: backward(features, jac_tensors=[torch.ones(3, 7)]),
        ),
        (r"jac_tensors\[0\] must have", lambda: backward(losses[0], jac_tensors=torch.ones(()))),
        *(
            (match, lambda bad=bad: backward(losses[0], jac_tensors=bad))
            for match, bad in [
                (r"jac_tensors\[0\] must be a tensor of torch.float32, .* got torch.int64", ONE),
                (r"jac_tensors\[0\] must be a tensor of torch.float32, .* got None", [None]),
                ("jac_tensors must be one or several, got 3", 3),
            ]
        ),
        (
            r"features must not be made from one another, got features\[1\]",
            lambda: mtl_backward(losses, [features, features * 2]),
        ),
        *(
            (match, lambda name=name, bad=bad: mtl_backward(losses, features, **{name: bad}))
            for match, name, bad in [
                (r"shared_params\[0\] must be a tensor, got 3", "shared_params", [3]),
                ("shared_params must be a tensor or several, got 3", "shared_params", 3),
                ("tasks_params must be one or several, got 3", "tasks_params", 3),
                (r"tasks_params\[0\] must be a tensor or several", "tasks_params", [None] * 3),
                (r"grad_tensors\[0\] must be a tensor .* got None", "grad_tensors", [None] * 3),
            ]
        ),
        ("tensors must be one or several, got None", lambda: mtl_backward(None, features)),
        ("features must be one or several, got None", lambda: mtl_backward(losses, None)),
    ]:
        check_refused(match, call, encoder, heads)
    # and the graph is whole; single tensors and iterators are taken
    start = (torch.ones(()) for _ in losses)
    mtl_backward(losses, features, grad_tensors=start, shared_params=shared[0])
    backward(losses_of(heads, forward()), inputs=shared[1])
    with pytest.raises(ValueError, match=r"inputs\[0\].jac must have shape \(2, 8\) for another"):
        backward(losses_of(heads, forward())[:2], inputs=shared[1])
    with pytest.raises(ValueError, match=r"shared_params\[0\].jac must have shape \(2, 8, 6\)"):
        mtl_backward(losses_of(heads, features := forward())[:2], features, shared_params=shared[0])


class InPlace(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ReLU(inplace=True), nn.Linear(4, 2))


def test_heads_that_change_the_features_in_place():
    encoder, _, forward = setting("linear")
    heads = nn.ModuleList(InPlace() for _ in range(3))
    features = forward()
    losses = losses_of(heads, features)
    check_refused(
        r"features must be all through .* in place .*ReLU\(inplace=True\)",
        lambda: mtl_backward(losses, features),
        encoder,
        heads,
    )


class _DDPSink(torch.autograd.Function):
    """Joins outputs in one node, as the class of this name in DistributedDataParallel does."""

    @staticmethod
    def forward(ctx, *tensors):
        return tuple(tensor.clone() for tensor in tensors)

    @staticmethod
    def backward(ctx, *gradients):
        return gradients


def test_encoder_and_heads_in_one_graph():
    """What the message advises works."""
    encoder, heads, _ = setting("linear")
    x = torch.randn(7, 6)

    def together(x):
        features = encoder(x)
        return (features, *losses_of(heads, features))

    for join, name in (
        (lambda x: _DDPSink.apply(*together(x)), "_DDPSinkBackward"),
        (torch.compile(together, backend="aot_eager"), "CompiledFunctionBackward"),
    ):
        features, *losses = join(x)
        check_refused(
            rf"features\[0\] and it come out of one {name}.* joined .*backward\(losses\)",
            lambda losses=losses, features=features: mtl_backward(losses, features),
            encoder,
            heads,
        )
    features, *losses = _DDPSink.apply(*together(x))
    backward(losses)
    jac_to_grad(encoder.parameters(), Sum())
    got = [p.grad for p in encoder.parameters()]
    clear(encoder, heads)
    sum(together(x)[1:]).backward()
    assert_close(got, [p.grad for p in encoder.parameters()])


def test_no_shared_parameters():
    """The heads get their gradients as usual, and nothing has a .jac."""
    encoder, heads, forward = setting("linear")
    features = forward()
    mtl_backward(losses_of(heads, features), features, shared_params=[])
    got = [p.grad for p in heads.parameters()]
    clear(heads)
    sum(losses_of(heads, forward())).backward()
    assert_close(got, [p.grad for p in heads.parameters()])
    assert not any(hasattr(p, "jac") for p in encoder.parameters())


def test_sparse_tensors_are_refused():
    """And so is a .jac that is none, to which to add."""
    p = nn.Parameter(torch.ones(2))
    sparse = nn.Parameter(torch.eye(2).to_sparse())
    features = p * 2
    losses = [features.sum(), features.square().sum()]
    for match, call in [
        (
            r"inputs\[0\] must be a dense tensor, got one of shape \(2, 2\) with layout torch.spa",
            lambda: backward(losses, inputs=[sparse]),
        ),
        (r"tensors\[0\] must be a dense tensor", lambda: backward(sparse * 2)),
        (
            r"shared_params\[0\] must be a dense",
            lambda: mtl_backward(losses, features, shared_params=[sparse]),
        ),
        (
            r"tasks_params\[1\]\[0\] must be a dense",
            lambda: mtl_backward(losses, features, tasks_params=[[], [sparse]]),
        ),
        (r"features\[0\] must be a dense", lambda: mtl_backward(losses, sparse * 2)),
        (r"tensors\[0\] must be a dense", lambda: jac_to_grad([sparse], Sum())),
    ]:
        check_refused(match, call)
    assert p.grad is None
    p.jac = torch.eye(2).to_sparse()
    with pytest.raises(ValueError, match=r"tensors\[0\]\.jac must be a dense tensor"):
        jac_to_grad([p], Sum())
    p.jac = "text"
    with pytest.raises(ValueError, match=r"inputs\[0\]\.jac must have shape \(2, 2\).*got 'text'"):
        backward(losses)


def test_parameters_listed_twice():
    """Differentiated once; but to aggregate one twice is a mistake."""
    p = nn.Parameter(torch.ones(2))
    backward([p.sum(), p.square().sum()], inputs=[p, p])
    assert p.jac.tolist() == [[1, 1], [2, 2]]
    with pytest.raises(ValueError, match=r"shape \(2,\) as tensors\[0\] and as tensors\[2\]"):
        jac_to_grad([p, nn.Parameter(torch.ones(1)), p], Sum())
    assert p.grad is None


def test_weightings_are_no_aggregators():
    p = nn.Parameter(torch.ones(2))
    p.jac = torch.eye(2)
    for weighting, match in [
        (GroupedGradVac([[p]]), r"got GroupedGradVac\(.*vaccine\.jac_to_grad\(\)"),
        (GradVacWeighting(), r"use GramianWeightedAggregator\(GradVacWeighting\(\.\.\.\)\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            jac_to_grad([p], weighting)
    assert p.grad is None
    assert p.jac.tolist() == [[1, 0], [0, 1]]


class Reads(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, matrix):
        return self.result


class Says(Aggregator):
    """The sum of the rows; what its attribute makes of them is something else."""

    def __init__(self, result):
        super().__init__()
        self.weighting = Reads(result)

    def forward(self, matrix, /):
        self.weighting(matrix)
        return matrix.sum(0)


@pytest.mark.parametrize(
    "result",
    [
        torch.full((4,), 2.0),
        torch.tensor([1.0, 1, 1, 1.001]),
        torch.ones(4, 1),
        torch.ones(3),
        torch.ones(4, dtype=torch.complex64),
        "text",
        None,
    ],
)
def test_what_is_no_weight_is_not_returned(result):
    """Whatever an attribute of this name holds."""
    parameters = with_jacobians()
    assert jac_to_grad(parameters, Says(result)) is None
    assert_close(parameters[1].grad, with_jacobians()[1].jac.sum(0))


def test_weights_of_ones_own_are_returned(monkeypatch):
    """Compared block by block, whatever their dtype, and beside what is not finite."""
    monkeypatch.setattr("cgtutor.autojac._jac_to_grad._COLUMNS", 1000)
    for dtype in (torch.long, torch.float64):
        weights = jac_to_grad(with_jacobians(), Says(torch.ones(4, dtype=dtype)))
        assert_close(weights, torch.ones(4))
    parameters = with_jacobians()
    parameters[0].jac[0, 0, 0] = torch.nan
    parameters[0].jac[0, 0, 1] = torch.inf
    assert_close(jac_to_grad(parameters, Says(torch.ones(4))), torch.ones(4))
    empty = nn.Parameter(torch.ones(0))
    empty.jac = torch.ones(4, 0)
    assert_close(jac_to_grad([empty], Says(torch.ones(4))), torch.ones(4))


def test_hooks_on_every_module_run():
    """They may change what an aggregator returns."""
    parameters = with_jacobians()
    expected = [2 * p.jac.sum(0) for p in parameters]

    def double(module, args, output):
        return 2 * output if isinstance(module, GradVac) else None

    vaccine = GradVac(0)
    vaccine.gramian_weighting.register_forward_hook(lambda m, args, out: torch.ones_like(out))
    handle = nn.modules.module.register_module_forward_hook(double)
    try:
        assert jac_to_grad(parameters, vaccine) is None
    finally:
        handle.remove()
    assert_close([p.grad for p in parameters], expected)


def test_bad_jacobians():
    parameters = with_jacobians()
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    without = nn.Parameter(torch.zeros(2))
    wrong = nn.Parameter(torch.zeros(2))
    for match, group in [
        ("tensors must hold at least one tensor, got none", []),
        (r"tensors\[1\].jac must be a Jacobian, got none", [parameters[0], without]),
        (r"tensors\[5\] must require gradients", [*parameters, frozen]),
        (r"tensors\[0\] must be a tensor, got None", [None]),
    ]:
        with pytest.raises(ValueError, match=match):
            jac_to_grad(group, GradVac())
    for bad in (torch.zeros(3, 2), torch.zeros(4, 3), torch.zeros(4)):
        wrong.jac = bad
        message = (
            rf"tensors\[1\].jac must have shape \(4, 2\), .* got {re.escape(str(tuple(bad.shape)))}"
        )
        with pytest.raises(ValueError, match=message):
            jac_to_grad([parameters[0], wrong], GradVac())
    for bad in ([1.0, 2.0], torch.ones(4, 2, dtype=torch.long), torch.ones(4, 2) * 1j):
        wrong.jac = bad
        with pytest.raises(ValueError, match=r"tensors\[0\].jac must be a floating-point tensor"):
            jac_to_grad([wrong], GradVac())
    wrong.jac = torch.tensor(1.0)
    with pytest.raises(ValueError, match=r"tensors\[0\].jac must have shape \(T, 2\)"):
        jac_to_grad([wrong], GradVac())
    with pytest.raises(ValueError, match="aggregator must be an Aggregator or a function, got 3"):
        jac_to_grad(parameters, 3)
    with pytest.raises(ValueError, match=r"aggregator must return a vector .* got 'text'"):
        jac_to_grad(parameters, lambda matrix: "text")
    assert parameters[0].grad is None
    assert hasattr(parameters[0], "jac")
    hooked = GradVac()
    hooked.register_forward_hook(lambda *_: None)
    for aggregator in (Sum(), hooked, torch.sum):
        with pytest.raises(ValueError, match="optimize_gramian_computation must be False unless"):
            jac_to_grad(parameters, aggregator, optimize_gramian_computation=True)
    jac_to_grad(parameters, PCGrad(), optimize_gramian_computation=True)


def test_an_aggregator_of_ones_own():
    class Largest(Aggregator):
        """The row with the largest norm."""

        def forward(self, matrix, /):
            return matrix[matrix.norm(dim=1).argmax()]

    parameters = with_jacobians(1)
    expected = [p.jac[0] for p in parameters]
    assert jac_to_grad(parameters, Largest()) is None
    assert_close([p.grad for p in parameters], expected)
    assert repr(Largest()) == "Largest()"
