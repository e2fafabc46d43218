"""What a step computes, and that our optimizers live where torch's live."""

import copy
import inspect
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizers import (
    CLASSES,
    TWINS,
    as_version_0_1_0,
    assert_equal,
    feed,
    gradients,
    parameters,
    params_of,
    run,
    small,
    twin,
)
from torch.optim import lr_scheduler, swa_utils
from torch.optim.optimizer import register_optimizer_step_pre_hook

import cgtutor
from cgtutor import SGD_C, Adam_C, AdamW_C, CriticalGradients, RMSprop_C
from cgtutor.optim_eff import Adam_C_eff, AdamW_C_eff, RMSprop_C_eff, SGD_C_eff

POSITIONAL = {
    SGD_C: "lr kappa dampening weight_decay momentum decay topC aggr synced",
    RMSprop_C: "lr alpha eps weight_decay momentum centered decay kappa topC aggr synced",
    Adam_C: "lr betas eps decay kappa topC weight_decay amsgrad aggr synced",
    AdamW_C: "lr betas eps decay kappa topC weight_decay amsgrad aggr synced",
}
POSITIONAL |= {eff: POSITIONAL[readable] + " buffer_dtype" for eff, readable in TWINS.items()}
ADAM_DEFAULTS = (1e-3, (0.9, 0.999), 1e-8, 0.7, 1.0, 10)
ADAM_EFF = (1e-3, (0.9, 0.999), 1e-8, 0.99, 1.0, 20)
DEFAULTS = {
    SGD_C: (1e-3, 1.0, 0.0, 0, 0.0, 0.7, 10, "sum", True),
    RMSprop_C: (1e-2, 0.99, 1e-8, 0, 0, False, 0.7, 1.0, 10, "mean", True),
    Adam_C: (*ADAM_DEFAULTS, 0, False, "mean", True),
    AdamW_C: (*ADAM_DEFAULTS, 0.01, False, "mean", True),
    SGD_C_eff: (1e-3, 1.0, 0.0, 0, 0.0, 0.99, 20, "sum", True, None),
    RMSprop_C_eff: (1e-2, 0.99, 1e-8, 0, 0, False, 0.99, 1.0, 20, "sum", True, None),
    Adam_C_eff: (*ADAM_EFF, 0, False, "sum", True, None),
    AdamW_C_eff: (*ADAM_EFF, 0.01, False, "sum", True, None),
}


# ---------------------------------------------------------------------------- the contract


def test_signature(optimizer_class):
    signature = inspect.signature(optimizer_class).parameters.values()
    positional = [p for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    assert " ".join(p.name for p in positional) == POSITIONAL[optimizer_class]
    assert tuple(p.default for p in positional) == DEFAULTS[optimizer_class]
    torchs = inspect.signature(CLASSES[optimizer_class]).parameters.keys()
    missing = torchs - {p.name for p in signature}
    # a memory has no derivative, and decoupled weight decay is AdamW_C
    assert missing <= {"differentiable", "decoupled_weight_decay"}


def test_is_a_torch_optimizer(optimizer_class):
    _, optimizer = small(optimizer_class)
    assert isinstance(optimizer, CLASSES[optimizer_class])
    assert f"{optimizer_class.__name__} (" in repr(optimizer)
    assert f"topC: {20 if optimizer_class in TWINS else 10}" in repr(optimizer)


def test_worked_trace(optimizer_class):
    """Design §4, through the optimizer: norms 4, 1, 3, 0.2 leave {0.75, 0.25}."""
    w, optimizer = small(optimizer_class, topC=2, decay=0.5)
    feed(w, optimizer, [4, 0], [0, 1], [0, -3], [0.2, 0])
    memory = optimizer.memory(w)
    assert memory.priorities == [0.75, 0.25]
    assert [g.tolist() for g in memory.gradients] == [[0, -3], [4, 0]]
    assert memory.ages == [1, 3]
    assert (memory.inserted, memory.rejected, memory.evicted) == (3, 1, 1)


@pytest.mark.parametrize("aggr", ["sum", "mid", "mean"])
@pytest.mark.parametrize("synced", [True, False])
def test_a_step_by_hand(optimizer_class, aggr, synced):
    """torch's optimizer fed aggregates that the test computes from plain lists of gradients."""
    options = {"lr": 0.1, "weight_decay": 0.1}
    memory = {"aggr": aggr, "synced": synced, "topC": 3, "decay": 0.8, "kappa": 0.6}
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=30, missing=0.2)
    kept = [[] for _ in ps]
    aggregates = []
    for grads in fed:
        norms = [0.0 if g is None else g.norm().item() for g in grads]
        row = []
        for i, g in enumerate(grads):
            if g is None:
                row.append(None)
                continue
            M = [m for _, m in kept[i]]
            total, n = sum(M, torch.zeros_like(g)), len(M)
            combined = {
                "sum": g + 0.6 * total / max(n, 1),
                "mid": (g + 0.6 * total / max(n, 1)) / 2,
                "mean": (g + 0.6 * total) / (n + 1),
            }
            row.append(combined[aggr] if n else g)
            kept[i].append((math.fsum(norms) if synced else norms[i], g))
            kept[i] = sorted(kept[i], key=lambda entry: -entry[0])[:3]
            kept[i] = [(0.8 * priority, m) for priority, m in kept[i]]
        aggregates.append(row)
    mine = run(twin(optimizer_class, ps, **options, **memory), fed)
    theirs = run(twin(CLASSES[optimizer_class], ps, **options), aggregates)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_synced_priority_is_a_sum_of_norms(optimizer_class):
    """3 and 4 give 7, not 5; a parameter without a gradient adds nothing; groups are apart."""
    a, b, c, alone = (torch.nn.Parameter(torch.zeros(1)) for _ in range(4))
    optimizer = optimizer_class([{"params": [a, b, c]}, {"params": [alone]}], decay=1)
    a.grad, b.grad, alone.grad = torch.tensor([3.0]), torch.tensor([-4.0]), torch.tensor([2.0])
    optimizer.step()
    assert optimizer.memory(a).priorities == optimizer.memory(b).priorities == [7.0]
    assert optimizer.memory(alone).priorities == [2.0]
    assert len(optimizer.memory(c)) == 0
    assert c not in optimizer.state

    optimizer.param_groups[0]["synced"] = False
    optimizer.step()
    assert optimizer.memory(a).priorities == [7.0, 3.0]
    assert optimizer.memory(b).priorities == [7.0, 4.0]


def test_sum_of_norms_is_rounded_once(optimizer_class):
    """Added one by one, 1 + 1e16 forgets the 1, and 1e16 + 1 + 1 is not 1 + 1 + 1e16."""
    norms = [1e16, 1.0, 1.0]
    for order in itertools.permutations(norms):
        ps = [torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in order]
        for p, norm in zip(ps, order):
            p.grad = torch.full_like(p, norm)
        optimizer = optimizer_class(ps, decay=1)
        optimizer.step()
        assert optimizer.memory(ps[0]).priorities == [1e16 + 2]


@given(st.permutations(range(5)), st.integers(0, 100))
@settings(max_examples=20)
def test_order_of_parameters_does_not_matter(order, seed):
    shapes = [(3,), (2, 2), (), (7,), (1,)]
    ps = parameters(shapes, seed=seed)
    fed = gradients(ps, steps=25, seed=seed)
    straight = run(twin(Adam_C, ps, topC=3), fed)
    shuffled = run(
        twin(Adam_C, [ps[i] for i in order], topC=3), [[g[i] for i in order] for g in fed]
    )
    for one, other in zip(straight, shuffled):
        assert_equal([one[i] for i in order], other)


def test_weight_decay_stays_out_of_the_memory(optimizer_class):
    w, optimizer = small(optimizer_class, weight_decay=0.5, decay=1)
    feed(w, optimizer, [3, 4])
    assert optimizer.memory(w).gradients[0].tolist() == [3, 4]
    assert optimizer.memory(w).priorities == [5.0]


def test_maximize_climbs_where_minimize_descends(optimizer_class):
    ps = parameters()
    fed = gradients(ps, steps=30)
    down = run(twin(optimizer_class, ps), fed)
    up = run(twin(optimizer_class, ps, maximize=True), [[-g for g in grads] for grads in fed])
    assert_equal(down, up)


# ------------------------------------------------------------------- groups and parameters


def test_groups_have_their_own_hyperparameters(optimizer_class):
    """Two groups in one optimizer = two optimizers."""
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=40)
    first = {"lr": 0.1, "topC": 2, "decay": 0.5, "aggr": "mid", "kappa": 2.0, "synced": False}
    second = {"lr": 0.01, "topC": 5, "decay": 0.9, "aggr": "sum", "kappa": 0.5, "synced": True}
    both = copy.deepcopy(ps)
    together = optimizer_class([{"params": both[:1], **first}, {"params": both[1:]}], **second)
    assert_equal(
        run(together, fed)[-1],
        run(twin(optimizer_class, ps[:1], **first), [g[:1] for g in fed])[-1]
        + run(twin(optimizer_class, ps[1:], **second), [g[1:] for g in fed])[-1],
    )


def test_add_param_group_in_mid_training(optimizer_class):
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=20)
    optimizer = twin(optimizer_class, ps[:1], decay=0.8)
    run(optimizer, [g[:1] for g in fed[:7]])
    late = copy.deepcopy(ps[1:])
    optimizer.add_param_group({"params": late, "topC": 2})
    run(optimizer, fed[7:])
    assert optimizer.param_groups[1]["decay"] == 0.8
    assert [len(optimizer.memory(p)) for p in late] == [2, 2]
    alone = twin(optimizer_class, ps[1:], topC=2, decay=0.8)
    assert_equal([p.detach() for p in late], run(alone, [g[1:] for g in fed[7:]])[-1])


def test_hyperparameters_may_change_in_mid_training(optimizer_class):
    w, optimizer = small(optimizer_class, topC=4, decay=1)
    feed(w, optimizer, [1, 0], [2, 0], [3, 0], [4, 0])
    optimizer.param_groups[0]["topC"] = 2
    assert len(optimizer.memory(w)) == 4, "looking changes nothing"
    feed(w, optimizer, [0.5, 0])
    assert optimizer.memory(w).priorities == [4.0, 3.0]
    optimizer.param_groups[0]["topC"] = 3
    feed(w, optimizer, [0.5, 0])
    assert optimizer.memory(w).priorities == [4.0, 3.0, 0.5]


def test_lower_topc_counts_at_once(optimizer_class):
    """The aggregate of the very next step is already that of the smaller memory."""
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=12)
    lowered = twin(optimizer_class, ps, topC=4, decay=1)
    run(lowered, fed[:10])
    lowered.param_groups[0]["topC"] = 2
    saved = as_version_0_1_0(lowered)
    for state in saved["state"].values():
        heap = state["critical"]["heap"]
        heap[:] = sorted(heap, key=lambda entry: entry[:2])[-2:]
    emptied = copy.deepcopy(lowered)
    emptied.load_state_dict(saved)
    assert_equal(run(lowered, fed[10:]), run(emptied, fed[10:]))


def test_parameters_frozen_and_thawed(optimizer_class):
    """As in torch, what counts is the gradient, not requires_grad."""
    ps = parameters()
    fed = gradients(ps, steps=9)
    frozen, never = twin(optimizer_class, ps), twin(optimizer_class, ps)
    for t, grads in enumerate(fed):
        for p in frozen.param_groups[0]["params"]:
            p.requires_grad_(not 3 <= t < 6)
        assert_equal(run(frozen, [grads]), run(never, [grads]))


def test_models_that_change_their_dtype(optimizer_class):
    """After model.double() the memory takes float64 gradients as they are."""
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = optimizer_class([w], topC=1, lr=0)
    feed(w, optimizer, [1, 2])
    w.grad = None
    w.data = w.data.double()
    for state in optimizer.state.values():  # as model and optimizer would be converted together
        state.update({k: v.double() for k, v in state.items() if isinstance(v, torch.Tensor)})
    feed(w, optimizer, [1e100, 2])
    assert optimizer.memory(w).gradients[0].tolist() == [1e100, 2]


@pytest.mark.parametrize("optimizer_class", [SGD_C, SGD_C_eff])
def test_changed_shapes_are_refused_before_anything_changes(optimizer_class):
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    w.grad = None
    w.data = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"gradient must have the shape \(2,\)"):
        feed(w, optimizer, [1])
    assert w.tolist() == [1]


def test_parameters_without_a_gradient_stay_as_they_are(optimizer_class):
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    before = copy.deepcopy(optimizer.state_dict())
    value = w.detach().clone()
    w.grad = None
    optimizer.step()
    assert_equal(before, optimizer.state_dict())
    assert torch.equal(w, value)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_unusual_shapes(optimizer_class, shape):
    ps = parameters([shape, (2,)])
    run(optimizer := twin(optimizer_class, ps, topC=2), gradients(ps, steps=6))
    for p in optimizer.param_groups[0]["params"]:
        assert [g.shape for g in optimizer.memory(p).gradients] == [p.shape] * 2


def test_memory_layout_follows_the_gradient(optimizer_class):
    ps = [torch.nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))]
    fed = [[torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)] for _ in range(3)]
    optimizer = twin(optimizer_class, ps)
    run(optimizer, fed)
    (p,) = optimizer.param_groups[0]["params"]
    assert optimizer.memory(p).gradients[0].stride() == fed[0][0].stride()


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64]
)
def test_dtypes(optimizer_class, dtype):
    ps = parameters(dtype=dtype)
    optimizer = twin(optimizer_class, ps, topC=3)
    run(optimizer, gradients(ps, steps=10))
    for p in optimizer.param_groups[0]["params"]:
        assert p.dtype == dtype
        assert p.isfinite().all()
        assert {g.dtype for g in optimizer.memory(p).gradients} == {dtype}


@pytest.mark.parametrize(
    ("dtype", "value", "norm"),
    [
        (torch.float16, 60000.0, 60000.0 * 32),  # above float16's largest number
        (torch.float32, 1e30, 1e30 * 32),  # squares above float32's
        (torch.float32, 1e-30, 1e-30 * 32),  # squares below its smallest
        (torch.complex64, 3 + 4j, 5.0 * 32),
    ],
)
def test_priorities_in_full_range(dtype, value, norm):
    w = torch.nn.Parameter(torch.zeros(1024, dtype=dtype))
    optimizer = Adam_C([w], decay=1)
    w.grad = torch.full_like(w, value)
    optimizer.step()
    assert optimizer.memory(w).priorities == pytest.approx([norm], rel=1e-3)


@pytest.mark.parametrize("optimizer_class", [SGD_C, SGD_C_eff])
def test_priority_of_millions_of_elements(optimizer_class):
    """A plain float32 norm is off by 7e-4 here."""
    w = torch.nn.Parameter(torch.zeros(2**23))
    optimizer = optimizer_class([w], decay=1)
    w.grad = torch.rand(2**23)
    optimizer.step()
    exact = w.grad.double().square().sum().sqrt().item()
    assert optimizer.memory(w).priorities == pytest.approx([exact], rel=1e-8)


# -------------------------------------------------------------------------- not-finite input


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("full", [True, False])
def test_not_finite_never_enters(optimizer_class, bad, full):
    w, optimizer = small(optimizer_class, topC=2 if full else 9, decay=0.7)
    feed(w, optimizer, [1, 2], [3, 4])
    before = copy.deepcopy(optimizer.memory(w).heap)
    feed(w, optimizer, [bad, 1])
    after = optimizer.memory(w)
    assert [m.tolist() for m in after.gradients] == [[3, 4], [1, 2]]
    assert after.priorities == [0.7 * p for p, _, _ in sorted(before, reverse=True)]
    assert after.rejected == 1


def test_one_bad_gradient_in_a_synced_group_keeps_all_out(optimizer_class):
    ps = parameters([(2,), (2,)])
    optimizer = optimizer_class(ps)
    ps[0].grad, ps[1].grad = torch.tensor([1.0, math.nan]), torch.ones(2)
    optimizer.step()
    assert [len(optimizer.memory(p)) for p in ps] == [0, 0]


def test_overflowing_sum_of_norms(optimizer_class):
    ps = [torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2)]
    optimizer = optimizer_class(ps, lr=0)
    for p in ps:
        p.grad = torch.full_like(p, 1.7e308)
    optimizer.step()
    assert [optimizer.memory(p).rejected for p in ps] == [1, 1]


# ------------------------------------------------------------------------------ zero input


def test_a_priority_of_zero_is_rejected(optimizer_class):
    w, optimizer = small(optimizer_class, synced=False)
    feed(w, optimizer, [0, 0], [1, 2], [0, 0])
    memory = optimizer.memory(w)
    assert [g.tolist() for g in memory.gradients] == [[1, 2]]
    assert (memory.seen, memory.inserted, memory.rejected, memory.ages) == (3, 1, 2, [1])


def test_a_zero_gradient_in_a_synced_group_has_the_groups_priority(optimizer_class):
    ps = parameters([(2,), (2,)])
    optimizer = optimizer_class(ps, decay=1)
    for size in (0.0, 5.0):
        ps[0].grad, ps[1].grad = torch.zeros(2), torch.tensor([size, 0.0])
        optimizer.step()
    for p in ps:
        memory = optimizer.memory(p)
        assert (memory.priorities, memory.seen) == ([5.0], 2)
    assert optimizer.memory(ps[0]).gradients[0].tolist() == [0, 0]


# ----------------------------------------------------------------------- gradients of the caller


def test_grad_is_left_alone(optimizer_class):
    """The same tensor object with the same values, also while it is reused in place."""
    ps = parameters()
    fed = gradients(ps, steps=30)
    reused = twin(optimizer_class, ps, weight_decay=0.1, topC=3, maximize=True)
    mine = reused.param_groups[0]["params"]
    buffers = [torch.empty_like(p) for p in mine]
    for p, buffer in zip(mine, buffers):
        p.grad = buffer
    for grads in fed:
        for buffer, g in zip(buffers, grads):
            buffer.copy_(g)
        reused.step()
        for p, buffer, g in zip(mine, buffers, grads):
            assert p.grad is buffer
            assert torch.equal(buffer, g)
    fresh = twin(optimizer_class, ps, weight_decay=0.1, topC=3, maximize=True)
    assert_equal([p.detach() for p in mine], run(fresh, fed)[-1])


def test_grad_comes_back_when_the_update_fails(optimizer_class, monkeypatch):
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    before = copy.deepcopy(optimizer.state_dict())
    w.grad = mine = torch.ones(2, dtype=torch.float64)

    def fail(*args, **kwargs):
        raise RuntimeError("no such kernel")

    inner = (
        (optimizer_class, "_update")
        if optimizer_class in TWINS
        else (CLASSES[optimizer_class], "step")
    )
    monkeypatch.setattr(*inner, fail)
    with pytest.raises(RuntimeError, match="no such kernel"):
        optimizer.step()
    assert w.grad is mine
    assert_equal(before, optimizer.state_dict())


def test_a_gradient_that_knows_its_history(optimizer_class):
    """backward(create_graph=True) leaves one; the memory must not keep the graph alive."""

    class Watched(optimizer_class):
        def _base_step(self):
            fed.append(w.grad)
            super()._base_step()

        def _update(self, group, lists, has_complex, **kernels):
            fed.extend(lists[1])
            super()._update(group, lists, has_complex, **kernels)

    fed = []
    w, optimizer = small(Watched, topC=2, weight_decay=0.1)
    for factor in (1.0, 2.0, 3.0):
        (w.grad,) = torch.autograd.grad((factor * w**2).sum(), w, create_graph=True)
        assert w.grad.requires_grad
        optimizer.step()
    assert len(optimizer.memory(w)) == 2
    assert not any(g.requires_grad for g in [*fed[1:], *optimizer.memory(w).gradients])
    assert w.is_leaf


@pytest.mark.parametrize("optimizer_class", [SGD_C, SGD_C_eff])
def test_conjugate_views(optimizer_class):
    """Where torch's own update takes a gradient that is conjugated only by a flag, so do we."""
    results = []
    for resolve in (torch.Tensor.resolve_conj, lambda g: g):
        p = torch.nn.Parameter(torch.ones(2, dtype=torch.complex128))
        optimizer = optimizer_class([p], topC=2)
        for g in ([1 + 2j, 3j], [2 - 1j, 1.0], [0.5j, 4.0]):
            p.grad = resolve(torch.tensor(g, dtype=p.dtype).conj())
            optimizer.step()
        results.append((p.detach(), optimizer.memory(p).priorities))
    assert_equal(*results)


def test_steps_inside_inference_mode():
    """SGD's update leaves nothing behind there, so what the memory keeps must serve later, too."""
    w, optimizer = small(SGD_C, topC=1, decay=0.5)
    w.grad = torch.ones(2, dtype=torch.float64)
    with torch.inference_mode():
        optimizer.step()
    feed(w, optimizer, [1, 2], [3, 4])
    assert optimizer.memory(w).gradients[0].tolist() == [3, 4]


def test_sparse_gradients_are_refused_before_anything_changes(optimizer_class):
    ps = parameters([(2,), (2, 2)])
    optimizer = optimizer_class([{"params": ps[:1]}, {"params": ps[1:]}])
    ps[0].grad = torch.ones(2)
    ps[1].grad = torch.eye(2).to_sparse()
    before = [p.detach().clone() for p in ps]
    with pytest.raises(RuntimeError, match=r"takes dense gradients, got one of layout .*sparse"):
        optimizer.step()
    assert_equal([p.detach() for p in ps], before)
    assert not optimizer.state


# -------------------------------------------------------------------------- life in torch


def test_closure(optimizer_class):
    w, optimizer = small(optimizer_class)
    calls = []

    def closure():
        assert torch.is_grad_enabled()
        calls.append(1)
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert calls == [1]
    assert optimizer.step() is None


def test_hooks_run_once(optimizer_class):
    """Also after the torch class itself has been used, which wraps its step with hooks."""
    w, optimizer = small(optimizer_class)
    run(twin(CLASSES[optimizer_class], [w]), gradients([w], steps=1))
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
    optimizer.register_step_post_hook(lambda *_: seen.append("post"))
    everywhere = register_optimizer_step_pre_hook(lambda *_: seen.append("global"))
    try:
        feed(w, optimizer, [1, 2])
    finally:
        everywhere.remove()
    assert seen == ["global", "pre", "post"]


def test_hooks_run_once_in_a_subclass():
    class Mine(Adam_C):
        pass

    w, optimizer = small(Mine)
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append("post"))
    feed(w, optimizer, [1, 2], [3, 4])
    assert seen == ["post", "post"]


SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 6]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 10),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.StepLR(o, 2)], milestones=[4]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.StepLR(o, 2)]
    ),
    "SWALR": lambda o: swa_utils.SWALR(o, 0.05),
}


def momentum(optimizer_class):
    """What CyclicLR and OneCycleLR ask for in an optimizer without betas."""
    return {"momentum": 0.9} if optimizer_class in (SGD_C, RMSprop_C) else {}


def test_every_scheduler_of_torch_is_tried():
    public = {
        name
        for name, value in vars(lr_scheduler).items()
        if isinstance(value, type) and issubclass(value, lr_scheduler.LRScheduler)
        if not name.startswith("_") and name != "LRScheduler"
    }
    assert public <= SCHEDULERS.keys()


# torch warns that the epoch argument it passes itself inside SequentialLR is deprecated
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers(optimizer_class, name):
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=12)
    options = {"lr": 0.1, **momentum(optimizer_class)}
    results = []
    for optimizer in (
        twin(optimizer_class, ps, kappa=0, **options),
        twin(CLASSES[optimizer_class], ps, **options),
    ):
        scheduler = SCHEDULERS[name](optimizer)
        results.append([])
        for grads in fed:
            results[-1] += run(optimizer, [grads])
            if name == "ReduceLROnPlateau":
                scheduler.step(1.0)
            else:
                scheduler.step()
    assert_equal(*results)


@pytest.mark.parametrize("kernel", [None, "foreach", "fused"])
def test_grad_scaler(optimizer_class, kernel):
    """Gradients are unscaled before they reach the memory, and an overflow skips the step."""
    if kernel == "fused" and optimizer_class in (RMSprop_C, RMSprop_C_eff):
        kernel = "foreach"  # torch's RMSprop has no fused kernel
    kernel = {kernel: True} if kernel else {}
    ps = parameters()
    fed = gradients(ps, steps=12)
    scaled = twin(optimizer_class, ps, topC=3, **kernel)
    mine = scaled.param_groups[0]["params"]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=3)
    for t, grads in enumerate(fed):
        for attempt in ("overflow", "good") if t == 7 else ("good",):
            scaled.zero_grad()
            loss = sum((p * g).sum() for p, g in zip(mine, grads))
            scaler.scale(loss).backward()
            if attempt == "overflow":
                mine[0].grad[0, 0] = math.inf
            scaler.step(scaled)
            scaler.update()
    plain = twin(optimizer_class, ps, topC=3, **kernel)
    run(plain, fed)
    assert_equal(scaled.state_dict()["state"], plain.state_dict()["state"])
    assert_equal(mine, plain.param_groups[0]["params"])


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_a_scheduler_left_can_be_loaded(optimizer_class, name):
    """LinearLR, for one, may end on a learning rate of -2e-18."""
    w, optimizer = small(optimizer_class, lr=0.1, **momentum(optimizer_class))
    scheduler = SCHEDULERS[name](optimizer)
    for _ in range(4):
        feed(w, optimizer, [1, 2])
        scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    other = optimizer_class([torch.nn.Parameter(w.detach().clone())])
    other.load_state_dict(optimizer.state_dict())
    assert_equal(other.state_dict(), optimizer.state_dict())


def test_learning_rate_a_hair_below_zero_can_be_loaded(optimizer_class):
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    optimizer.param_groups[0]["lr"] = -2.2e-18
    small(optimizer_class)[1].load_state_dict(optimizer.state_dict())


def test_memory_is_there_to_look_into(optimizer_class):
    w, optimizer = small(optimizer_class)
    assert isinstance(optimizer.memory(w), CriticalGradients)
    assert len(optimizer.memory(w)) == 0
    assert not optimizer.state, "looking must not create state"
    with pytest.raises(ValueError, match=r"parameter must be one of .* shape \(3,\)"):
        optimizer.memory(torch.zeros(3))
    with pytest.raises(ValueError, match=r"parameter must be one of .* got 'weight'"):
        optimizer.memory("weight")


@pytest.mark.parametrize("kernel", [None, "fused"])
@pytest.mark.parametrize("set_by_hand", [{"found_inf": 1.0}, {"found_inf": 0.0, "grad_scale": 4.0}])
def test_scales_set_by_hand(optimizer_class, kernel, set_by_hand):
    """As GradScaler sets them for torch's fused optimizers: both twins do as torch does."""
    base = CLASSES[optimizer_class]
    if base is torch.optim.RMSprop:
        pytest.skip("torch's RMSprop has no fused kernel")
    kernel = {kernel: True} if kernel else {}
    fed = gradients(parameters([(3,), (2, 2)]), steps=4)
    ends = []
    for made in (optimizer_class, base):
        for options in ({"kappa": 0.0}, {}) if made is optimizer_class else ({},):
            optimizer = twin(made, parameters([(3,), (2, 2)]), **kernel, **options)
            for name, value in set_by_hand.items():
                setattr(optimizer, name, torch.tensor(value))
            if not kernel:
                with pytest.raises(AssertionError, match="grad_scale"):
                    run(optimizer, fed)
                continue
            ends.append(run(optimizer, fed[:1])[-1])
            for p, g in zip(params_of(optimizer), fed[0]):
                if made is optimizer_class:
                    assert torch.equal(p.grad, g)
                    assert torch.equal(optimizer.memory(p).gradients[0], g)
    for end in ends:
        assert_equal(end, ends[-1])
    if kernel and set_by_hand["found_inf"]:
        assert_equal(ends[0], [p.detach() for p in parameters([(3,), (2, 2)])])


@pytest.mark.parametrize("eff", TWINS)
@pytest.mark.parametrize("found_inf", [0.0, 1.0])
def test_twins_scale_alike(eff, found_inf):
    if eff is RMSprop_C_eff:
        pytest.skip("torch's RMSprop has no fused kernel")
    ps = parameters([(3,), (2, 2)])
    fed = gradients(ps, steps=6)
    options = {"fused": True, "topC": 3, "decay": 0.9, "aggr": "sum"}
    ends = []
    for made in (eff, TWINS[eff]):
        optimizer = twin(made, ps, **options)
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(found_inf)
        ends.append(run(optimizer, fed)[-1])
    torch.testing.assert_close(*ends)


# ------------------------------------------------------------------------------- bad input

NUMBERS = [math.nan, math.inf, "1", None, True, 1j]
BAD = {
    "topC": [0, -1, 2.5, True, "3", None],
    "decay": [-0.1, 1.1, 1.5, *NUMBERS],
    "kappa": [-1, *NUMBERS],
    "aggr": ["max", "", None, 1],
    "synced": [1, 0, None, "yes"],
    "lr": [-1, *NUMBERS, torch.ones(2), torch.tensor(-1.0), torch.tensor(math.nan)],
    "momentum": [-1, *NUMBERS],
    "dampening": NUMBERS,
    "weight_decay": [-1, *NUMBERS],
    "alpha": [-0.1, 1.1, *NUMBERS],
    "eps": [-1e-9, *NUMBERS],
    "betas": [(0.9,), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan), ("a", 0.9), 0.9, None, "ab"],
    "nesterov": [1, None],
    "centered": [1, None],
    "amsgrad": [1, None],
    "maximize": [1, None],
    "capturable": [1, None],
    "foreach": [1, "no"],
    "fused": [1, "no"],
    "buffer_dtype": [torch.int32, torch.complex64, "bfloat16", 16, True],
}


def bad_cases():
    for optimizer_class in CLASSES:
        for name in inspect.signature(optimizer_class).parameters:
            for value in BAD.get(name, []):
                yield optimizer_class, name, value


@pytest.mark.parametrize(("optimizer_class", "name", "value"), list(bad_cases()))
def test_bad_hyperparameters(optimizer_class, name, value):
    """In the constructor, in a group, in a group added later: named, shown, and nothing changed."""
    untouched = iter([torch.nn.Parameter(torch.ones(1))])
    said = rf"^{name}(\[\d\])? must be .+, got "
    with pytest.raises(ValueError, match=said):
        optimizer_class(untouched, **{name: value})
    assert len(list(untouched)) == 1, "the parameters were consumed before the check"

    p, q = parameters([(1,), (1,)])
    with pytest.raises(ValueError, match=said):
        optimizer_class([{"params": [p], name: value}])

    optimizer = optimizer_class([p])
    with pytest.raises(ValueError, match=said):
        optimizer.add_param_group({"params": [q], name: value})
    assert len(optimizer.param_groups) == 1


def test_every_hyperparameter_has_bad_cases(optimizer_class):
    names = set(inspect.signature(optimizer_class).parameters) - {"params"}
    assert names <= BAD.keys()


@pytest.mark.parametrize(
    "options", [{"topC": 0}, {"decay": 2}, {"kappa": -1}, {"aggr": "max"}, {"synced": 1}]
)
def test_bad_value_set_later(optimizer_class, options):
    """Also in a group that comes after one that is fine: neither steps."""
    ps = parameters([(2,), (2,)])
    optimizer = optimizer_class([{"params": p} for p in ps])
    optimizer.param_groups[1].update(options)
    before = [p.detach().clone() for p in ps]
    for p in ps:
        p.grad = torch.ones(2)
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must be"):
        optimizer.step()
    assert_equal([p.detach() for p in ps], before)
    assert not optimizer.state


@pytest.mark.parametrize(
    "options", [{"topC": 0}, {"decay": 2}, {"kappa": -1}, {"aggr": "max"}, {"synced": 1}]
)
def test_bad_value_set_after_a_good_step(optimizer_class, options):
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    good = dict(optimizer.param_groups[0])
    before = copy.deepcopy(optimizer.state_dict())
    value = w.detach().clone()
    optimizer.param_groups[0].update(options)
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must be"):
        feed(w, optimizer, [3, 4])
    optimizer.param_groups[0].update(good)
    assert_equal(optimizer.state_dict(), before)
    assert torch.equal(w, value)


def test_a_parameter_listed_twice(optimizer_class):
    w, v = (torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2))
    twice = r"params must hold each parameter once, got one of shape \(2, 3\)"
    with pytest.raises(ValueError, match=twice + " twice"):
        optimizer_class([w, v, w])
    with pytest.raises(ValueError, match=twice + ", 'tied', twice"):
        optimizer_class([("weight", w), ("tied", w)])
    optimizer = optimizer_class([v])
    with pytest.raises(ValueError, match=twice):
        optimizer.add_param_group({"params": iter([w, w])})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [v]})
    with pytest.raises(ValueError, match=r"params must hold each parameter once, got 3 twice"):
        optimizer_class([3, 3])
    with pytest.raises(TypeError, match="ordered collections"):
        optimizer.add_param_group({"params": {w}})


def test_legal_extremes(optimizer_class):
    for options in ({"lr": 0}, {"decay": 0}, {"decay": 1}, {"kappa": 0}, {"topC": 1}):
        w, optimizer = small(optimizer_class, **options)
        feed(w, optimizer, [1, 2], [2, 1], [0, 3])
        assert w.isfinite().all()
    w, optimizer = small(optimizer_class, lr=0)
    feed(w, optimizer, [1, 2], [2, 1])
    assert w.tolist() == [1, 1]


def test_numpy_numbers_are_made_plain(optimizer_class):
    np = pytest.importorskip("numpy")
    _, optimizer = small(optimizer_class, topC=np.int64(3), decay=np.float32(0.5), lr=np.float64(1))
    group = optimizer.param_groups[0]
    assert (type(group["topC"]), type(group["decay"]), type(group["lr"])) == (int, float, float)


def test_bad_params(optimizer_class):
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        optimizer_class(torch.ones(2))
    with pytest.raises(ValueError, match="empty parameter list"):
        optimizer_class([])
    w, optimizer = small(optimizer_class)
    with pytest.raises(TypeError, match="must be a dict"):
        optimizer.add_param_group([w])
    with pytest.raises(TypeError, match="must be a dict"):
        optimizer_class([{"params": [w]}, w])


def test_named_parameters(optimizer_class):
    model = torch.nn.Linear(2, 1)
    optimizer = optimizer_class(model.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]


def test_a_users_group_dictionary_is_left_alone(optimizer_class):
    group = {"params": parameters([(1,)]), "topC": 3}
    optimizer_class([group])
    assert group.keys() == {"params", "topC"}


def test_memory_is_a_snapshot(optimizer_class):
    """Whatever is done to it, the training does not notice, and it does not follow the training."""
    ps = parameters()
    fed = gradients(ps, steps=12)
    played_with, left_alone = (twin(optimizer_class, ps, topC=3, decay=0.9) for _ in range(2))
    run(played_with, fed[:6])
    run(left_alone, fed[:6])
    for p in params_of(played_with):
        memory = played_with.memory(p)
        memory.insert(1e9, torch.full_like(p, 7.0))
        memory.fade()
        for gradient in memory.gradients:
            gradient.fill_(9.0)
    memory = played_with.memory(params_of(played_with)[0])
    before = memory.priorities, copy.deepcopy(memory.gradients)
    assert_equal(run(played_with, fed[6:]), run(left_alone, fed[6:]))
    assert_equal((memory.priorities, memory.gradients), before)


def test_public_names():
    assert set(cgtutor.__all__) >= {"SGD_C", "RMSprop_C", "Adam_C", "AdamW_C"}
    for name in cgtutor.__all__:
        assert getattr(cgtutor, name).__doc__


def test_an_interrupted_insertion_leaves_the_memory_as_it_was(optimizer_class, monkeypatch):
    ps = parameters()
    optimizer = optimizer_class(ps, topC=2, lr=0.01)
    first, second = gradients(ps, steps=2)
    run(optimizer, [first])
    before = [optimizer.memory(p) for p in ps]

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(CriticalGradients, "fade", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(optimizer, [second])
    for p, was in zip(ps, before):
        memory = optimizer.memory(p)
        assert (memory.priorities, memory.ages) == (was.priorities, was.ages)
        assert (memory.seen, memory.inserted) == (was.seen, was.inserted)
