"""The GPU-efficient optimizers against their readable twins, and what is theirs alone.

What both kinds have in common is tested for both in test_optim.py, test_kappa_zero.py and
test_golden.py.
"""

import copy
import math
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers import TWINS, assert_equal, drift, gradients, parameters, params_of, run, twin
from torch._dynamo.testing import CompileCounter

from cgtutor import SGD_C, Adam_C
from cgtutor.optim_eff import (
    Adam_C_eff,
    RMSprop_C_eff,
    SGD_C_eff,
    _base,
    _on_cpu,
    _on_device,
    _rows,
)


@pytest.fixture(params=TWINS, ids=lambda c: c.__name__)
def eff(request):
    return request.param


def sync_free(group, lists, memories, update, scaled=False):
    """The step of an accelerator, on the CPU."""
    for p, memory in zip(lists[0], memories):
        _rows.on_device(memory, p.device)
    _on_device.step_on_device(group, lists, memories, update, lambda lists: lists, scaled)


@pytest.fixture(params=["reading", "sync_free"])
def path(request, monkeypatch):
    if request.param == "sync_free":
        monkeypatch.setattr(_base, "step_on_cpu", sync_free)
    return request.param


# ----------------------------------------------------------------------- the same trajectory

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
TOLERANCES = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}


@st.composite
def cases(draw):
    shapes = st.lists(
        st.sampled_from([(), (1,), (3,), (2, 3), (2, 0), (2, 1, 2)]), min_size=1, max_size=3
    )
    groups = draw(st.lists(shapes, min_size=1, max_size=3))
    options = st.fixed_dictionaries(
        {
            "topC": st.integers(1, 4),
            "decay": st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]),
            "aggr": st.sampled_from(["sum", "mid", "mean"]),
            "kappa": st.sampled_from([0.0, 0.3, 1.0]),
            "synced": st.booleans(),
        }
    )
    return {
        "groups": groups,
        "options": [draw(options) for _ in groups],
        "dtype": draw(st.sampled_from(FLOATS)),
        "missing": draw(st.sampled_from([0.0, 0.2])),
        "seed": draw(st.integers(0, 2**16)),
    }


def tied(ps, steps, seed, missing):
    """Gradients with one element in {0, ±1, ±2, ±4}, so that priorities are exact and often tie."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        grads = []
        for p in ps:
            g = torch.zeros_like(p)
            if g.numel():
                at = torch.randint(g.numel(), (), generator=generator)
                sizes = torch.tensor([0, 1, -1, 2, -2, 4, -4], dtype=p.dtype)
                g.view(-1)[at] = sizes[torch.randint(7, (), generator=generator)]
            absent = torch.rand((), generator=generator) < missing
            grads.append(None if absent else g)
        yield grads


@pytest.mark.parametrize("ties", [False, True])
@given(cases())
@settings(max_examples=25)
def test_same_as_the_readable_twin(ties, case):
    """The same gradients kept at every step, and the same parameters up to rounding."""
    dtype, seed = case["dtype"], case["seed"]
    for eff, readable in TWINS.items():
        built = []
        for optimizer_class in (eff, readable):
            ps = [parameters(shapes, dtype, seed) for shapes in case["groups"]]
            groups = [{"params": g, **o} for g, o in zip(ps, case["options"])]
            built.append(optimizer_class(groups, lr=0.01))
        ours, theirs = built
        flat = [p for group in ps for p in group]
        if ties:
            fed = list(tied(flat, 24, seed, case["missing"]))
        else:
            fed = gradients(flat, 24, seed, case["missing"])
        for grads in fed:
            mine, others = run(ours, [grads])[0], run(theirs, [grads])[0]
            for p, q in zip(params_of(ours), params_of(theirs)):
                one, other = ours.memory(p), theirs.memory(q)
                assert one.priorities == other.priorities
                assert one.ages == other.ages
                assert_equal(one.gradients, other.gradients)
                assert (one.inserted, one.rejected) == (other.inserted, other.rejected)
            tolerance = TOLERANCES[dtype]
            torch.testing.assert_close(
                mine, others, rtol=tolerance, atol=tolerance, equal_nan=dtype == torch.float16
            )


@pytest.mark.parametrize("aggr", ["sum", "mid", "mean"])
@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128])
def test_both_paths_are_the_readable_twin(eff, path, aggr, synced, dtype):
    ps = parameters([(3, 4), (5,), (), (40, 50)], dtype)
    options = {"topC": 3, "decay": 0.9, "aggr": aggr, "synced": synced, "kappa": 0.7, "lr": 0.01}
    for fed in (gradients(ps, 24, missing=0.2), list(tied(ps, 24, 3, 0.2))):
        ours, theirs = twin(eff, ps, **options), twin(TWINS[eff], ps, **options)
        tolerance = 1e-4 if dtype == torch.float32 else 1e-11
        torch.testing.assert_close(run(ours, fed), run(theirs, fed), rtol=tolerance, atol=tolerance)
        for p, q in zip(params_of(ours), params_of(theirs)):
            assert ours.memory(p).ages == theirs.memory(q).ages
            assert ours.memory(p).priorities == pytest.approx(theirs.memory(q).priorities)
            assert isinstance(ours.state[p]["critical_births"], torch.Tensor) == (
                path == "sync_free"
            )


def offered_both_ways(priorities, topC, decay, rows=2, dtype=torch.float32):
    """Offer gradients of these priorities to memories, by heap and by tensors; yield both."""
    group = {"topC": topC, "decay": decay, "buffer_dtype": None}
    p = torch.zeros(2, dtype=dtype)
    here = [_rows.in_python(_rows.empty(p, topC, p.dtype)) for _ in range(rows)]
    there = [_rows.empty(p, topC, p.dtype) for _ in range(rows)]
    for memory in here:
        memory["critical_sum"] = p
    for priority in priorities:
        both = [priority * (1 + i) for i in range(rows)]
        largest, units = _rows.limits(group, there)
        outcomes = _on_cpu.decide(group, here, both, both)
        new = torch.tensor(both, dtype=torch.float64)
        choice = _rows.choose(_rows.together(there), new, new, decay, largest, units[0])
        for memory, outcome in zip(here, outcomes):
            memory.update(outcome.ledger)
        _rows.apart(there, choice.ledger)
        yield outcomes, choice, here, there


DRAWN = st.lists(
    st.one_of(
        st.sampled_from([0.0, 1.0, 2.0, 5e-324, 1e-300, 1e30, 1e39, math.nan, math.inf]),
        st.floats(0, 10),
    ),
    max_size=40,
)


@given(DRAWN, st.integers(1, 5), st.sampled_from([0.0, 0.5, 0.9, 1.0, 1e-200]))
def test_tensors_decide_as_the_heap_does(priorities, topC, decay):
    """The rule, and the bound on the error of the sum, step by step."""
    for outcomes, choice, here, there in offered_both_ways(priorities, topC, decay):
        assert choice.enters.tolist() == [outcome.slot is not None for outcome in outcomes]
        for i, outcome in enumerate(outcomes):
            assert outcome.slot in (None, choice.slot[i])
            assert (outcome.kept, outcome.stale) == (choice.kept[i], choice.stale[i])
        for mine, theirs in zip(here, there):
            mine, theirs = _rows.by_slot(mine), _rows.by_slot(theirs)
            for name in _rows.LEDGER:
                assert theirs[name].tolist() == pytest.approx(mine[name], rel=1e-14, abs=0)


def test_the_bound_on_the_sums_error_grows_with_what_is_evicted():
    """A spike that goes leaves an error of its own size, whatever comes after it."""
    steps = list(offered_both_ways([1e6, 1.0, 1.0, 1.0], topC=1, decay=0.0, rows=1))
    assert [outcomes[0].stale for outcomes, *_ in steps] == [False, True, False, False]


def test_the_default_dtype_does_not_matter(path):
    """In float16, a unit of float64's roundoff would be zero, and no sum ever stale."""
    torch.set_default_dtype(torch.float16)
    options = {"topC": 1, "decay": 0.0, "rows": 1, "dtype": torch.float64}
    steps = list(offered_both_ways([1e14, 1.0, 1.0], **options))
    assert [choice.stale.item() for _, choice, *_ in steps] == [False, True, False]
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float32))
    optimizer = SGD_C_eff([p], lr=0.1, topC=2, decay=0.5, aggr="mean")
    for size in (1e6, 1.0, 3.0, 2.0):
        p.grad = torch.full((3,), size, dtype=torch.float32)
        optimizer.step()
    assert optimizer.state[p]["critical_sum"].dtype == torch.float32
    assert drift(optimizer) < 1e-6
    assert all(isinstance(x, float) for x in optimizer.memory(p).priorities)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_leaves_no_trace(eff, path, bad):
    """In particular not in the running sum, where a mask that is multiplied would leave it."""
    ps = parameters()
    optimizer = twin(eff, ps, topC=2, lr=0)
    fed = gradients(ps, steps=9)
    fed[4][0][1, 1] = bad
    run(optimizer, fed)
    for p in params_of(optimizer):
        memory = optimizer.state[p]
        assert memory["critical_sum"].isfinite().all()
        assert memory["critical_gradients"].isfinite().all()
        assert optimizer.memory(p).rejected >= 1
    assert drift(optimizer) < 1e-6


# ---------------------------------------------------------------------------- pieces of work


@pytest.mark.parametrize("options", [{}, {"kappa": 0}, {"aggr": "mean"}, {"foreach": True}])
def test_pieces_change_nothing(eff, path, options, monkeypatch):
    """Tensors cut into slices, or in several batches, give the same bits as in one go."""
    shapes = [(5, 7), (300,), (2,), (1000,), (10, 10), ()]
    ps = parameters(shapes)
    fed = gradients(ps, steps=12, missing=0.1)
    if eff in (SGD_C_eff, RMSprop_C_eff):
        options = {**options, "momentum": 0.9}
    if eff is SGD_C_eff:
        options["dampening"] = 0.5
    whole = twin(eff, ps, topC=3, weight_decay=0.1, **options)
    expected = run(whole, fed)
    for size in (64, 333):
        monkeypatch.setattr(_on_cpu, "PIECE", size)
        monkeypatch.setattr(_on_device, "PIECE", size)
        monkeypatch.setattr(_on_cpu, "_scratch", _on_cpu._Scratch())
        cut = twin(eff, ps, topC=3, weight_decay=0.1, **options)
        torch.testing.assert_close(run(cut, fed), expected, rtol=1e-6, atol=1e-7)
        assert_equal(
            [s.get("step") for s in cut.state.values()],
            [s.get("step") for s in whole.state.values()],
        )


def test_kappa_zero_in_slices(eff, monkeypatch):
    """Torch's update bit for bit, also where it is done slice by slice."""
    monkeypatch.setattr(_on_cpu, "PIECE", 512)
    ps = parameters([(3000,), (40,)])
    fed = gradients(ps, steps=9)
    ours, theirs = twin(eff, ps, kappa=0, lr=0.01), twin(eff.__mro__[3], ps, lr=0.01)
    assert type(theirs).__module__.startswith("torch.optim")
    assert_equal(run(ours, fed), run(theirs, fed))


def test_layouts_that_cannot_be_cut(eff, monkeypatch):
    monkeypatch.setattr(_on_cpu, "PIECE", 16)
    ps = [torch.nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))]
    fed = [[torch.randn(1, 3, 1, 1).expand(2, 3, 4, 4)] for _ in range(6)]
    straight = [[g.contiguous() for g in grads] for grads in fed]
    torch.testing.assert_close(
        run(twin(eff, ps), fed),
        run(twin(TWINS[eff], ps, decay=0.99, topC=20, aggr="sum"), straight),
    )


def odd_gradient(kind):
    """A gradient whose memory is not that of its parameter."""
    g = torch.arange(6.0).view(2, 3)
    if kind == "expanded":
        return torch.ones(1, 1).expand(2, 3)
    if kind == "transposed":
        return torch.arange(6.0).view(3, 2).t()
    return torch._neg_view(g) if kind == "negated" else g


@pytest.mark.parametrize("kind", ["expanded", "transposed", "negated", "strided parameter"])
def test_whatever_lies_where(eff, kind):
    """Torch's fused kernels look at memory alone; by default they are used only where it fits."""
    results = []
    for optimizer_class in (eff, TWINS[eff]):
        buffer = torch.zeros(2, 6)
        p = torch.nn.Parameter(
            buffer[:, ::2] if kind == "strided parameter" else buffer[:, :3].clone()
        )
        optimizer = optimizer_class([p], lr=0.1, topC=3, decay=0.9, aggr="sum")
        for _ in range(4):
            p.grad = odd_gradient(kind)
            optimizer.step()
        results.append((p.detach().clone(), buffer))
    torch.testing.assert_close(*results)


def test_state_of_another_layout(eff):
    """A checkpoint of a contiguous model goes on in channels_last, also in slices."""
    ps = parameters([(4, 3, 5, 5)])
    fed = gradients(ps, steps=12)
    results = []
    for optimizer_class in (eff, TWINS[eff]):
        first = twin(optimizer_class, ps, topC=3, decay=0.9, aggr="sum", lr=0.01)
        (p,) = run(first, fed[:6])[-1]
        q = torch.nn.Parameter(p.to(memory_format=torch.channels_last))
        second = optimizer_class([q])
        second.load_state_dict(first.state_dict())
        for (g,) in fed[6:]:
            q.grad = g.to(memory_format=torch.channels_last)
            second.step()
        results.append(q.detach())
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_memory_of_another_layout_is_not_cut(eff, monkeypatch):
    monkeypatch.setattr(_on_cpu, "PIECE", 50)
    p = torch.nn.Parameter(torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last))
    first = eff([p], topC=2, lr=0.01)
    p.grad = torch.randn_like(p)
    first.step()
    q = torch.nn.Parameter(p.detach().contiguous())
    second = eff([q])
    second.load_state_dict(first.state_dict())
    q.grad = torch.randn_like(q)
    second.step()
    assert drift(second) < 1e-6


def test_nesterov_leaves_the_gradient_alone():
    """Torch's foreach form adds to the gradients it is given."""
    for optimizer_class in (SGD_C, SGD_C_eff):
        for options in ({}, {"kappa": 0}):
            p = torch.nn.Parameter(torch.zeros(3))
            optimizer = optimizer_class(
                [p], lr=0.1, momentum=0.9, nesterov=True, foreach=True, decay=1, **options
            )
            for _ in range(2):
                p.grad = torch.ones(3)
                optimizer.step()
                assert p.grad.tolist() == [1, 1, 1]
            assert optimizer.memory(p).gradients[0].tolist() == [1, 1, 1]


def test_a_sum_that_would_overflow(path):
    """What would make the sum infinite stays out, and the parameters stay finite."""
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = SGD_C_eff([p], lr=1e-30, topC=3, decay=0.5)
    for size in (2e38, 2e38, 2e38, 1.0):
        p.grad = torch.full((2,), size)
        optimizer.step()
    assert p.isfinite().all()
    assert len(optimizer.memory(p)) == 1


@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_scaled_steps_leave_the_gradient_alone(path, kappa):
    """Torch's fused kernels write back what they have unscaled."""
    p = torch.nn.Parameter(torch.zeros(3))
    optimizer = SGD_C_eff([p], lr=1.0, kappa=kappa, fused=True, decay=1)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(0.0)
    for _ in range(2):
        p.grad = torch.full((3,), 4.0)
        optimizer.step()
        assert p.grad.tolist() == [4, 4, 4]
    assert [g.tolist() for g in optimizer.memory(p).gradients] == [[4, 4, 4]] * 2
    assert p.tolist() == [-4 - 2 * kappa] * 3


def test_float64_with_rows_of_less(path):
    """The gradient at hand keeps all its digits."""
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = SGD_C_eff([p], lr=1.0, buffer_dtype=torch.float32)
    for g in (1.0, 1e100):
        p.grad = torch.full((3,), g, dtype=torch.float64)
        optimizer.step()
    assert p.tolist() == [-1e100] * 3


def test_ties_do_not_depend_on_the_order(path):
    """The priority of a group is the same whichever parameter has which gradient."""
    values = torch.randn(5, 3)
    ps = [torch.nn.Parameter(torch.zeros(3)) for _ in range(5)]
    optimizer = SGD_C_eff(ps, lr=0, topC=1, decay=1)
    for _ in range(12):
        for p, i in zip(ps, torch.randperm(5)):
            p.grad = values[i].clone()
        optimizer.step()
    assert optimizer.memory(ps[0]).inserted == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_with_kappa_zero(eff, dtype, monkeypatch):
    """The same bits as torch's: these depend on where a slice ends, so there are none."""
    monkeypatch.setattr(_on_cpu, "PIECE", 100)
    ps = parameters([(1237,)], dtype)
    fed = gradients(ps, steps=3)
    base_class = eff.__mro__[3]
    assert_equal(run(twin(eff, ps, kappa=0), fed), run(twin(base_class, ps), fed))


def test_threads_have_their_own_scratch():
    ps = parameters([(300, 300)])
    fed = gradients(ps, steps=30)
    expected = run(twin(Adam_C_eff, ps), fed)[-1]
    results = []
    optimizers = [twin(Adam_C_eff, ps) for _ in range(4)]
    workers = [
        threading.Thread(target=lambda o=o: results.append(run(o, fed)[-1])) for o in optimizers
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------------------- the running sum

NOISE = torch.Generator().manual_seed(0)


def shrinking(t):
    return torch.randn(50, generator=NOISE) * 1e-6 ** (t / 10_000)


def spiky(t):
    return torch.randn(50, generator=NOISE) * (1e8 if t % 30 == 7 else 1)


def steep(t):
    return torch.randn(50, generator=NOISE) * 0.5 ** (t % 100)


def constant(t):
    return torch.full((50,), 0.1) * 0.999**t


@pytest.mark.parametrize(
    ("kind", "steps", "decay"),
    [
        (shrinking, 10_000, 0.9),
        (spiky, 600, 0.0),
        (spiky, 600, 0.5),
        (steep, 600, 0.0),
        (constant, 2000, 0.9),
    ],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_the_sum_does_not_drift(kind, steps, decay):
    """After 10,000 insertions of gradients that shrink a millionfold a sum that only adds and
    subtracts is off by two thirds."""
    w = torch.nn.Parameter(torch.zeros(50))
    optimizer = SGD_C_eff([w], decay=decay, lr=0)
    worst, naive, rows = 0.0, torch.zeros(50), []
    for t in range(steps):
        w.grad = kind(t)
        optimizer.step()
        worst = max(worst, drift(optimizer))
        rows.append(w.grad)
        naive += w.grad
        if len(rows) > 20:
            naive -= rows.pop(0)
    assert optimizer.memory(w).inserted > steps / 2
    assert worst < 1e-5
    if kind in (shrinking, spiky, steep):
        exact = torch.stack(rows).double().sum(0)
        assert (naive - exact).norm() / exact.norm() > 1e-3, "the case tests nothing"


def test_the_sum_drifts_back_where_nothing_is_looked_at(monkeypatch):
    """There a part is made anew at every step, so a spike's traces are gone after PARTS steps."""
    monkeypatch.setattr(_base, "step_on_cpu", sync_free)
    ps = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((100, 50), (5000,))]
    optimizer = SGD_C_eff(ps, decay=0, lr=0, topC=3)
    for t in range(8 + _on_device.PARTS):
        for p in ps:
            p.grad = torch.randn_like(p) * (1e8 if t == 4 else 1)
        optimizer.step()
        if t == 8:
            assert drift(optimizer) > 1e-3, "the case tests nothing"
    assert drift(optimizer) < 1e-6


# ---------------------------------------------------------------------------------- compiled


def compiled(optimizer, backend):
    return torch.compile(optimizer.step, fullgraph=True, backend=backend)


@pytest.fixture
def fresh_graphs():
    """No graph of another test counts, and none is left behind."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("fresh_graphs")
@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("conditions", [True, False])
def test_compiled_is_one_graph(eff, synced, conditions, monkeypatch):
    """One graph, no break and no other graph later, with the numbers of the eager step."""
    if conditions and not _on_device.CONDITIONS:
        pytest.skip("this torch's branches may not update tensors")
    monkeypatch.setattr(_on_device, "CONDITIONS", conditions)
    ps = parameters(dtype=torch.float64)
    options = {"topC": 3, "decay": 0.9, "synced": synced, "lr": 0.01, "weight_decay": 0.1}
    if eff in (SGD_C_eff, RMSprop_C_eff):
        options["momentum"] = 0.9
    fed = gradients(ps, steps=25)
    eager, ours = twin(eff, ps, **options), twin(eff, ps, **options)
    for grads in fed[:2]:
        run(eager, [grads])
        run(ours, [grads])
    counter = CompileCounter()
    step = compiled(ours, counter)
    for t, grads in enumerate(fed[2:]):
        if t == 8:
            grads[0] = grads[0] * math.nan
            before = [p.detach().clone() for p in params_of(ours)]
        for p, g in zip(params_of(ours), grads):
            p.grad = g.clone()
        step()
        run(eager, [grads])
        if t == 8:  # the base update cannot be saved from a NaN, but the memory can
            for optimizer in (ours, eager):
                for p, value in zip(params_of(optimizer), before):
                    p.data.copy_(value)
                    for name, state in optimizer.state[p].items():
                        if not name.startswith("critical") and state.dim():
                            state.zero_()
        for p, q in zip(params_of(ours), params_of(eager)):
            assert ours.memory(p).ages == eager.memory(q).ages
    assert counter.frame_count == 1
    torch.testing.assert_close(params_of(ours), params_of(eager), rtol=1e-9, atol=1e-9)
    assert drift(ours) < 1e-12


@pytest.mark.parametrize("conditions", [True, False])
@pytest.mark.parametrize("synced", [True, False])
def test_what_is_compiled_run_as_python(eff, synced, conditions, monkeypatch):
    """The same code without a compiler, which leaves its branches to Python's ``if``."""
    ps = parameters()
    options = {"topC": 3, "decay": 0.5, "synced": synced, "lr": 0.01}
    if eff is SGD_C_eff:  # with dampening, torch's first update begins the momentum
        options |= {"momentum": 0.9, "dampening": 0.0 if conditions else 0.5}
    fed = gradients(ps, steps=40)
    fed[20] = [g * 1e6 for g in fed[20]]  # so that a sum grows stale
    expected = run(twin(eff, ps, **options), fed)[-1]
    monkeypatch.setattr(_on_device, "CONDITIONS", conditions)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(torch, "cond", lambda p, yes, no, _: yes() if p else no())
    ours = twin(eff, ps, **options)
    got = run(ours, fed)[-1]
    monkeypatch.undo()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    assert drift(ours) < 1e-5


def test_ledger_stays_with_its_parameter():
    """Where a look would cost something, the ledger is a tensor."""
    p = torch.nn.Parameter(torch.zeros(2, device="meta"))
    optimizer = SGD_C_eff([p])
    assert isinstance(
        optimizer._placed(_rows.empty(p, 3, p.dtype))["critical_births"], torch.Tensor
    )


def test_tensor_betas_are_left_to_torch():
    betas = (torch.tensor(0.9), torch.tensor(0.999))
    optimizer = twin(Adam_C_eff, parameters(), betas=betas, capturable=True)
    lists = [[] for _ in range(6)]
    for p in params_of(optimizer):
        p.grad = torch.ones_like(p)
    group = optimizer.param_groups[0]
    optimizer._init_group(group, *lists)
    assert optimizer._precomputed(group, lists) is lists


def test_numbers_are_those_of_the_graph():
    group = {"lr": 0.1, "betas": (0.9, 0.99), "topC": 3, "synced": True, "aggr": "sum"}
    numbers = _base._numbers(group)
    assert dict(numbers) == {"lr": 0.1, "betas": (0.9, 0.99), "topC": 3}
    assert _base._with_constants(group, numbers) == group
    with pytest.raises(RuntimeError, match="topC changed"):
        _base._with_constants({**group, "topC": 4}, numbers)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("fresh_graphs")
def test_compiled_from_the_first_step():
    """State comes to be before the graph is taken, so that the first step's is everyone's."""
    for eff in (Adam_C_eff, SGD_C_eff):
        ps = parameters()
        optimizer = twin(eff, ps, **({"momentum": 0.9} if eff is SGD_C_eff else {}))
        counter = CompileCounter()
        step = compiled(optimizer, counter)
        for grads in gradients(ps, steps=6):
            for p, g in zip(params_of(optimizer), grads):
                p.grad = g
            step()
        assert counter.frame_count == 1
        assert len(optimizer.memory(params_of(optimizer)[0])) == 6


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("fresh_graphs")
def test_compiled_with_the_default_backend():
    """Once with generated code: the numbers of the eager step, and no drift after spikes."""
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    except Exception as error:  # of many kinds: no C++ compiler, no headers of Python's
        pytest.skip(f"this machine cannot compile: {type(error).__name__}")
    ps = parameters([(30, 40), (7,)])
    options = {"topC": 3, "decay": 0.5, "lr": 0.001}
    eager, ours = twin(Adam_C_eff, ps, **options), twin(Adam_C_eff, ps, **options)
    step = compiled(ours, "inductor")
    for t, grads in enumerate(gradients(ps, steps=30)):
        grads = [g * (1e8 if t == 9 else 1) for g in grads]
        for p, g in zip(params_of(ours), grads):
            p.grad = g.clone()
        step()
        run(eager, [grads])
        assert drift(ours) < 1e-5
    torch.testing.assert_close(params_of(ours), params_of(eager), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("fresh_graphs")
def test_compiled_and_eager_steps_in_turn():
    ps = parameters(dtype=torch.float64)
    eager, mixed = twin(Adam_C_eff, ps, topC=3), twin(Adam_C_eff, ps, topC=3)
    counter = CompileCounter()
    step = compiled(mixed, counter)
    for t, grads in enumerate(gradients(ps, steps=24)):
        for p, g in zip(params_of(mixed), grads):
            p.grad = g.clone()
        (step if t % 2 else mixed.step)()
        run(eager, [grads])
        if t == 15:
            saved = pickle.dumps(mixed.state_dict())
            mixed.load_state_dict(pickle.loads(saved))
    torch.testing.assert_close(params_of(mixed), params_of(eager), rtol=1e-9, atol=1e-9)
    assert counter.frame_count <= 2, "one more after the load"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.usefixtures("fresh_graphs")
def test_compiled_with_groups_and_changes(eff):
    """Two groups, from the first step on, and numbers that change between steps."""
    ps = parameters([(3,), (4,)], torch.float64)
    fed = gradients(ps, steps=20)
    pair = []
    for _ in range(2):
        mine = copy.deepcopy(ps)
        pair.append(
            eff([{"params": mine[:1], "lr": 0.02}, {"params": mine[1:], "topC": 3}], topC=2)
        )
    ours, eager = pair
    step = compiled(ours, "eager")
    changes = {4: {"lr": 0.01}, 8: {"topC": 5}, 12: {"topC": 1, "kappa": 0.5, "decay": 0.5}}
    for t, grads in enumerate(fed):
        for optimizer in pair:
            optimizer.param_groups[0].update(changes.get(t, {}))
        for p, g in zip(params_of(ours), grads):
            p.grad = g.clone()
        step()
        run(eager, [grads])
        for p, q in zip(params_of(ours), params_of(eager)):
            assert ours.memory(p).ages == eager.memory(q).ages
            assert len(ours.state[p]["critical_gradients"]) == len(
                eager.state[q]["critical_gradients"]
            )
    torch.testing.assert_close(params_of(ours), params_of(eager), rtol=1e-9, atol=1e-9)
    ours.param_groups[0]["topC"] = -4
    with pytest.raises(Exception, match="topC must be a positive integer, got -4"):
        step()


# ----------------------------------------------------------------------------- what it takes


def test_bytes_of_the_state(eff):
    p = torch.nn.Parameter(torch.zeros(1000))
    for dtype, words in ((None, 7 + 1), (torch.bfloat16, 7 / 2 + 1)):
        optimizer = eff([p], topC=7, buffer_dtype=dtype)
        p.grad = torch.ones(1000)
        optimizer.step()
        memory = {k: v for k, v in optimizer.state[p].items() if k.startswith("critical")}
        tensors = [v for v in memory.values() if isinstance(v, torch.Tensor)]
        assert sum(t.nbytes for t in tensors) == words * p.nbytes
        assert sum(t.untyped_storage().nbytes() for t in tensors) == words * p.nbytes


PEAK = """
import pathlib, torch
from cgtutor.optim_eff import Adam_C_eff
torch.set_num_threads(1)
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
def steps(p, optimizer):
    for _ in range(8):
        p.grad.normal_()
        optimizer.step()
def made(n):
    p = torch.nn.Parameter(torch.zeros(n))
    p.grad = torch.zeros(n)
    return p, Adam_C_eff([p], topC=4, decay=0.5)
steps(*made(2_000_000))  # libraries, and scratch, which is the same for all
p, optimizer = made(24_000_000)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # begin anew, from what is in use
before = peak()
steps(p, optimizer)
print((peak() - before) / p.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_peak_memory_of_a_step():
    """Two buffers for Adam, topC rows and their sum, and hardly more while it works."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 6 < float(done.stdout) < 2 + 4 + 1 + 0.3


def test_buffer_dtype(eff, path):
    ps = parameters([(40, 50)])
    fed = gradients(ps, steps=30)
    options = {"topC": 4, "decay": 0.9, "lr": 0.001}
    half, full = twin(eff, ps, buffer_dtype=torch.bfloat16, **options), twin(eff, ps, **options)
    torch.testing.assert_close(run(half, fed), run(full, fed), rtol=0.05, atol=0.02)
    (p,) = params_of(half)
    memory = half.state[p]
    assert (memory["critical_gradients"].dtype, memory["critical_sum"].dtype) == (
        torch.bfloat16,
        torch.float32,
    )
    assert half.memory(p).ages == full.memory(params_of(full)[0]).ages
    assert drift(half) < 1e-6, "the sum is that of the rows as they are kept"


def test_what_a_row_cannot_hold_stays_out(eff, path):
    w = torch.nn.Parameter(torch.zeros(2))
    optimizer = eff([w], lr=0, buffer_dtype=torch.float16)
    for g in ([1e6, 0.0], [3.0, 4.0]):
        w.grad = torch.tensor(g)
        optimizer.step()
    assert optimizer.memory(w).priorities == pytest.approx([5 * 0.99])
    assert optimizer.state[w]["critical_sum"].tolist() == [3, 4]


def test_buffer_dtype_is_for_real_parameters(eff):
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(
        ValueError, match=r"buffer_dtype must be None for complex parameters, got torch.bf"
    ):
        eff([p], buffer_dtype=torch.bfloat16)
    q = torch.nn.Parameter(torch.zeros(2))
    optimizer = eff([q], buffer_dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="buffer_dtype must be None"):
        optimizer.add_param_group({"params": p})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": p, "buffer_dtype": None})
    p.grad = torch.ones(2, dtype=torch.complex64) * (1 + 1j)
    optimizer.step()
    optimizer.param_groups[1]["buffer_dtype"] = torch.float32
    with pytest.raises(ValueError, match="buffer_dtype must be None"):
        optimizer.step()
    assert optimizer.memory(p).gradients[0].tolist() == [1 + 1j, 1 + 1j]


def test_buffer_dtype_may_change_in_mid_training(eff, path):
    ps = parameters([(4,)])
    optimizer = twin(eff, ps, topC=3)
    run(optimizer, gradients(ps, steps=5))
    (p,) = params_of(optimizer)
    kept = optimizer.memory(p).gradients
    optimizer.param_groups[0]["buffer_dtype"] = torch.bfloat16
    p.grad = torch.zeros(4)
    optimizer.step()
    memory = optimizer.state[p]
    assert memory["critical_gradients"].dtype == torch.bfloat16
    assert_equal(optimizer.memory(p).gradients, [g.bfloat16() for g in kept])
    assert drift(optimizer) < 1e-6


def test_what_was_looked_at_stays_as_it_was(eff):
    """The rows change in place, and what memory() gave does not."""
    optimizer = twin(eff, parameters([(2,)]), topC=1, decay=0)
    run(optimizer, [[torch.ones(2)]])
    (p,) = params_of(optimizer)
    (kept,) = optimizer.memory(p).gradients
    run(optimizer, [[torch.zeros(2) + 5]])
    assert kept.tolist() == [1, 1]
    assert optimizer.memory(p).gradients[0].tolist() == [5, 5]


def test_public_names():
    from cgtutor import optim_eff

    for name in optim_eff.__all__:
        assert getattr(optim_eff, name).__doc__
    assert Adam_C_eff.__mro__[1] is _base.StackedOptimizer
    assert not issubclass(Adam_C_eff, Adam_C)
