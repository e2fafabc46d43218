"""What is saved, and what can be loaded: one form for all eight classes."""

import copy
import math
import pickle
from pathlib import Path

import pytest
import torch
from optimizers import (
    CLASSES,
    TWINS,
    as_version_0_1_0,
    assert_equal,
    drift,
    feed,
    gradients,
    parameters,
    params_of,
    run,
    small,
    twin,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import cgtutor
from cgtutor import SGD_C, Adam_C, AdamW_C, RMSprop_C, _loading, _state, optim_eff
from cgtutor.optim_eff import _rows

KINDS = {SGD_C: 0, RMSprop_C: 1, Adam_C: 2, AdamW_C: 2}  # torch loads Adam into AdamW, too
KINDS |= {eff: KINDS[readable] for eff, readable in TWINS.items()}

# ------------------------------------------------------------------------ saving and resuming


def resumed_by_state_dict(optimizer, path):
    torch.save(optimizer.state_dict(), path)
    ps = [p.detach().clone().requires_grad_() for p in optimizer.param_groups[0]["params"]]
    other = type(optimizer)(ps, lr=9.0, topC=7)
    other.load_state_dict(torch.load(path, weights_only=True))
    return other


def resumed_by_pickle(optimizer, path):
    return pickle.loads(pickle.dumps(optimizer))


def resumed_by_deepcopy(optimizer, path):
    return copy.deepcopy(optimizer)


@pytest.mark.parametrize("resume", [resumed_by_state_dict, resumed_by_pickle, resumed_by_deepcopy])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stop", [0, 2, 11])
def test_resume(optimizer_class, resume, dtype, stop, tmp_path):
    """Stop (before the first step, while the memory fills, when it is full), resume, go on."""
    ps = parameters(dtype=dtype)
    fed = gradients(ps, steps=30, missing=0.1)
    options = {"topC": 4, "decay": 0.99, "weight_decay": 0.1}
    whole = twin(optimizer_class, ps, **options)
    through = run(whole, fed)

    stopped = twin(optimizer_class, ps, **options)
    run(stopped, fed[:stop])
    other = resume(stopped, tmp_path / "state.pt")
    assert_equal(run(other, fed[stop:]), through[stop:])
    assert_equal(other.state_dict(), whole.state_dict())
    # and what it came from is untouched: nothing is shared
    assert_equal(run(stopped, fed[stop:]), through[stop:])


def test_load_shares_nothing_with_the_dict(optimizer_class):
    ps = parameters()
    fed = gradients(ps, steps=20)
    first = twin(optimizer_class, ps, topC=2)
    run(first, fed[:5])
    saved = first.state_dict()
    kept = copy.deepcopy(saved)
    other = twin(optimizer_class, ps)
    other.load_state_dict(saved)
    run(other, fed[5:])
    assert_equal(saved, kept)


def test_load_shares_nothing_at_any_depth(optimizer_class):
    """Not what a user added to a parameter's state either, nor what belongs to no parameter."""
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    saved = optimizer.state_dict()
    mine = [torch.ones(2, dtype=torch.float64) for _ in range(3)]
    saved["state"][0]["extra"] = [mine[0], (mine[1], 7)]
    saved["state"]["nobody"] = {"extra": mine[2], "count": 3}
    optimizer.load_state_dict(saved)
    listed, (nested, number) = optimizer.state[w]["extra"]
    others = optimizer.state["nobody"]
    assert (number, others["count"]) == (7, 3)
    for loaded, given in zip((listed, nested, others["extra"]), mine):
        loaded.zero_()
        assert given.tolist() == [1, 1]


def shapes(optimizer):
    """The form of what is saved of each memory."""
    return [
        {k: (tuple(v.shape), v.dtype) for k, v in state.items() if k.startswith("critical")}
        for state in optimizer.state_dict()["state"].values()
    ]


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_one_form(optimizer_class, steps):
    """The same entries, shapes and dtypes, whichever class it is and however much it keeps."""
    ps = parameters([(2, 3), ()], torch.bfloat16)
    optimizer = twin(optimizer_class, ps, topC=4)
    run(optimizer, gradients(ps, steps))
    for form, shape in zip(shapes(optimizer), [(2, 3), ()]):
        assert form == {
            "critical_gradients": ((4, *shape), torch.bfloat16),
            "critical_priorities": ((4,), torch.float64),
            "critical_births": ((4,), torch.int64),
            "critical_norms": ((4,), torch.float64),
            "critical_counts": ((2,), torch.int64),
            "critical_sum": (shape, torch.float32),
            "critical_drift": ((), torch.float64),
        }
        assert form.keys() == set(_state.NAMES)
    for p in params_of(optimizer):
        assert optimizer.state[p].keys() >= set(_state.NAMES), "torch takes the names from here"


@pytest.mark.parametrize("topC", [2, 7])
def test_the_form_follows_topc_at_once(optimizer_class, topC):
    ps = parameters([(3,)])
    fed = gradients(ps, steps=20)
    optimizer = twin(optimizer_class, ps, topC=4, decay=0.9)
    run(optimizer, fed[:8])
    optimizer.param_groups[0]["topC"] = topC
    saved = copy.deepcopy(optimizer.state_dict())
    assert saved["state"][0]["critical_gradients"].shape == (topC, 3)
    other = twin(optimizer_class, params_of(optimizer))
    other.load_state_dict(saved)
    assert_equal(run(other, fed[8:]), run(optimizer, fed[8:]))
    assert_equal(other.state_dict(), optimizer.state_dict())


def test_a_bad_topc_is_named_when_saving(optimizer_class):
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    optimizer.param_groups[0]["topC"] = 0
    with pytest.raises(ValueError, match="topC must be a positive integer, got 0"):
        optimizer.state_dict()


def test_what_is_saved_adds_up(optimizer_class):
    ps = parameters([(3, 2)])
    optimizer = twin(optimizer_class, ps, topC=4, decay=0.9)
    run(optimizer, gradients(ps, steps=9))
    (p,) = params_of(optimizer)
    saved, memory = optimizer.state_dict()["state"][0], optimizer.memory(p)
    rows = saved["critical_gradients"]
    assert_equal(sorted(saved["critical_priorities"].tolist()), sorted(memory.priorities))
    assert saved["critical_counts"].tolist() == [9, memory.inserted]
    assert sorted(9 - saved["critical_births"]) == sorted(memory.ages)
    torch.testing.assert_close(saved["critical_sum"], rows.sum(0))
    torch.testing.assert_close(saved["critical_norms"].float(), rows.flatten(1).norm(dim=1))


OPTIONS = {
    "complex": ({"dtype": torch.complex64}, {}),
    "unsynced": ({}, {"synced": False, "aggr": "mid"}),
    "tensor lr": ({}, {"lr": torch.tensor(0.01)}),
    "rows of bfloat16": ({}, {"buffer_dtype": torch.bfloat16}),
    "rows of float64": ({"dtype": torch.bfloat16}, {"buffer_dtype": torch.float64}),
    "no decay left": ({}, {"decay": 0.0}),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_resume_with(optimizer_class, case, tmp_path):
    kind, options = OPTIONS[case]
    if "buffer_dtype" in options and optimizer_class not in TWINS:
        pytest.skip("the readable optimizers keep gradients as they are")
    ps = parameters([(3, 4), (5,), (), (2, 0)], **kind)
    fed = gradients(ps, steps=20, missing=0.1)

    def made(ps):
        return optimizer_class([{"params": ps[:1], "topC": 2}, {"params": ps[1:]}], **options)

    whole = made(copy.deepcopy(ps))
    run(whole, fed[:8])
    torch.save(whole.state_dict(), tmp_path / "state.pt")
    resumed = made([p.detach().clone().requires_grad_() for p in params_of(whole)])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_equal(run(resumed, fed[8:]), run(whole, fed[8:]))
    assert_equal(resumed.state_dict(), whole.state_dict())


def test_warm_start_from_torch(optimizer_class):
    """The state of torch's own optimizer is taken: same moments, empty memories."""
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=10)
    theirs = twin(CLASSES[optimizer_class], ps, lr=0.05)
    run(theirs, fed)
    mine = optimizer_class(
        [{"params": theirs.param_groups[0]["params"], "topC": 3}], kappa=0, decay=0.9
    )
    mine.load_state_dict(theirs.state_dict())
    group = mine.param_groups[0]
    assert (group["lr"], group["topC"], group["decay"], group["kappa"]) == (0.05, 3, 0.9, 0)
    more = gradients(ps, steps=10, seed=2)
    start = copy.deepcopy(theirs)
    assert_equal(run(mine, more), run(start, more))


def test_memory_keeps_its_dtype_on_load(optimizer_class):
    """Torch would cast it to the parameter's, and what is 1e6 in float32 is Inf in float16."""
    saved = twin(optimizer_class, parameters([(2,)]), lr=0)
    run(saved, [[torch.tensor([1e6, 1.0])]])
    p = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
    optimizer = optimizer_class([p])
    optimizer.load_state_dict(saved.state_dict())
    assert optimizer.memory(p).gradients[0].tolist() == [1e6, 1.0]
    assert optimizer.memory(p).gradients[0].dtype == torch.float32
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert optimizer.memory(p).gradients[0].tolist() == [1e6, 1.0]


def test_hooks_of_the_user_run_around_the_load(optimizer_class):
    """A pre-hook may unwrap the dictionary, and what it returns is what gets checked."""
    w, optimizer = small(optimizer_class)
    feed(w, optimizer, [1, 2])
    saved = {"optimizer": optimizer.state_dict()}
    v, other = small(optimizer_class)
    seen = []
    other.register_load_state_dict_pre_hook(lambda _, state: state["optimizer"])
    other.register_load_state_dict_post_hook(lambda o: seen.append(len(o.memory(v))))
    other.load_state_dict(saved)
    assert seen == [1]
    other.load_state_dict(saved)
    assert seen == [1, 1]
    assert len(other._optimizer_load_state_dict_pre_hooks) == 1, "our own hooks stay behind"
    saved["optimizer"]["param_groups"][0]["topC"] = 0
    with pytest.raises(ValueError, match="topC must be"):
        other.load_state_dict(saved)


def test_hooks_of_the_user_run_around_the_save(optimizer_class):
    """A post-hook finds what is saved, and what it returns is the state dict."""
    w, optimizer = small(optimizer_class, topC=3)
    feed(w, optimizer, [1, 2])
    seen = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("before"))
    optimizer.register_state_dict_post_hook(
        lambda o, state_dict: seen.append(state_dict["state"][0]["critical_gradients"].shape)
    )
    optimizer.register_state_dict_post_hook(lambda o, state_dict: {"optimizer": state_dict})
    for _ in range(2):
        assert optimizer.state_dict().keys() == {"optimizer"}
    assert seen == ["before", (3, 2)] * 2
    assert len(optimizer._optimizer_state_dict_post_hooks) == 2, "our own hooks stay behind"


@pytest.mark.parametrize("other", CLASSES)
def test_load_refuses_another_kind(optimizer_class, other):
    w, optimizer = small(optimizer_class)
    for kind in (other, CLASSES[other]):
        foreign = twin(kind, [w], lr=0.1)
        run(foreign, gradients([w], steps=2))
        before = copy.deepcopy(optimizer.state_dict())
        if KINDS[optimizer_class] == KINDS[other]:
            optimizer.load_state_dict(foreign.state_dict())
        else:
            said = f"state_dict must be that of {optimizer_class.__name__} or of its torch counter"
            with pytest.raises(ValueError, match=said):
                optimizer.load_state_dict(foreign.state_dict())
            assert_equal(optimizer.state_dict(), before)
    feed(w, optimizer, [1, 2])


# ---------------------------------------------------------------------- from twin to twin


@pytest.mark.parametrize("eff", TWINS)
def test_twins_take_over_from_each_other(eff):
    """A training begun with one goes on with the other, in both directions."""
    ps = parameters(dtype=torch.float64)
    fed = gradients(ps, steps=40, missing=0.1)
    options = {"topC": 4, "decay": 0.9, "aggr": "mean", "lr": 0.01}
    expected = run(twin(TWINS[eff], ps, **options), fed)[-1]
    for first, second in ((eff, TWINS[eff]), (TWINS[eff], eff)):
        begun = twin(first, ps, **options)
        run(begun, fed[:25])
        goes_on = second(copy.deepcopy(params_of(begun)))
        goes_on.load_state_dict(begun.state_dict())
        torch.testing.assert_close(run(goes_on, fed[25:])[-1], expected, rtol=1e-11, atol=1e-11)
        assert_equal(shapes(goes_on), shapes(begun))


@pytest.mark.parametrize("eff", TWINS)
def test_no_garbage_in_a_checkpoint(eff):
    """Rows that hold nothing hold zeros, and what a checkpoint has there is not taken over."""
    ps = parameters([(3,)])
    optimizer = twin(eff, ps, topC=5)
    run(optimizer, gradients(ps, steps=2))
    saved = copy.deepcopy(optimizer.state_dict())
    rows = saved["state"][0]["critical_gradients"]
    assert (rows.count_nonzero(1) == torch.tensor([3, 3, 0, 0, 0])).all()
    rows[2:] = math.nan
    optimizer.load_state_dict(saved)
    (p,) = params_of(optimizer)
    assert (optimizer.state[p]["critical_gradients"][2:] == 0).all()


@pytest.mark.parametrize("eff", TWINS)
def test_a_sum_that_is_off_is_recomputed(eff):
    """A step that reads no value may leave one behind."""
    optimizer = twin(eff, parameters([(2, 3)]), topC=2)
    run(optimizer, [[torch.ones(2, 3)], [torch.ones(2, 3)]])
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["critical_sum"] *= 2
    optimizer.load_state_dict(saved)
    assert drift(optimizer) == 0


@pytest.mark.parametrize("eff", TWINS)
def test_heaps_with_more_than_topc(eff):
    """A readable optimizer's memory may keep more than topC until its next step."""
    ps = parameters([(3,)])
    theirs = twin(TWINS[eff], ps, topC=5, decay=1)
    run(theirs, gradients(ps, steps=5))
    theirs.param_groups[0]["topC"] = 2
    ours = twin(eff, ps)
    ours.load_state_dict(theirs.state_dict())
    (p,) = params_of(ours)
    assert len(ours.memory(p)) == 2, "what is saved depends on topC alone"
    run(ours, [[torch.zeros(3)]])
    assert ours.memory(p).priorities == theirs.memory(params_of(theirs)[0]).priorities[:2]
    ours.load_state_dict(as_version_0_1_0(theirs))
    assert len(ours.memory(p)) == 5


@pytest.mark.parametrize("eff", TWINS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_twins_keep_the_same(eff, dtype):
    """There and back: priorities, ages, counts and gradients to the bit."""
    ps = parameters(dtype=dtype)
    first = twin(eff, ps, topC=4, decay=0.9)
    run(first, gradients(ps, steps=15))
    second, third = twin(TWINS[eff], ps), twin(eff, ps)
    second.load_state_dict(first.state_dict())
    third.load_state_dict(second.state_dict())
    for p, q, r in zip(*map(params_of, (first, second, third))):
        memory = first.memory(p)
        for other in (second.memory(q), third.memory(r)):
            assert other.priorities == memory.priorities
            assert other.ages == memory.ages
            assert (other.seen, other.inserted) == (memory.seen, memory.inserted)
            assert_equal(other.gradients, memory.gradients)


# ---------------------------------------------------------- torch's checkpoint functions


def trained(optimizer_class, steps, dtype=torch.float32, **options):
    """A model, its optimizer after some steps, and inputs for more."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)).to(dtype)
    groups = [{"params": list(model[0].parameters()), "topC": 2}, {"params": model[1].parameters()}]
    optimizer = optimizer_class(groups, lr=0.01, decay=0.9, **options)
    x = torch.randn(steps + 5, 8, 4, dtype=dtype)
    steps_of(model, optimizer, x[:steps])
    return model, optimizer, x[steps:]


def steps_of(model, optimizer, inputs):
    for x in inputs:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"full_state_dict": True},
        {"flatten_optimizer_state_dict": True},
        {"full_state_dict": True, "cpu_offload": True},
        {"flatten_optimizer_state_dict": True, "cpu_offload": True},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_torchs_state_dicts(optimizer_class, options, dtype):
    """Round trip, bit for bit, into a fresh optimizer and into one that has trained."""
    from torch.distributed.checkpoint import state_dict as torchs

    options = torchs.StateDictOptions(**options)
    ours = {"buffer_dtype": torch.float32} if optimizer_class in TWINS else {}
    model, optimizer, x = trained(optimizer_class, 6, dtype, **ours)
    saved = copy.deepcopy(torchs.get_state_dict(model, optimizer, options=options))
    expected = steps_of(model, optimizer, x)
    for steps in (0, 2):
        other, fresh, _ = trained(optimizer_class, steps, dtype, **ours)
        torchs.set_state_dict(
            other,
            fresh,
            model_state_dict=copy.deepcopy(saved[0]),
            optim_state_dict=copy.deepcopy(saved[1]),
            options=options,
        )
        assert_equal(steps_of(other, fresh, x), expected)
        assert_equal(fresh.state_dict(), optimizer.state_dict())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_torchs_checkpoint_in_a_folder(optimizer_class, tmp_path):
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint import state_dict as torchs

    model, optimizer, x = trained(optimizer_class, 6)
    parts = dict(zip(("model", "optimizer"), torchs.get_state_dict(model, optimizer)))
    checkpoint.save(parts, checkpoint_id=tmp_path, no_dist=True)
    expected = steps_of(model, optimizer, x)
    other, fresh, _ = trained(optimizer_class, 0)
    parts = dict(zip(("model", "optimizer"), torchs.get_state_dict(other, fresh)))
    checkpoint.load(parts, checkpoint_id=tmp_path, no_dist=True)
    torchs.set_state_dict(
        other, fresh, model_state_dict=parts["model"], optim_state_dict=parts["optimizer"]
    )
    assert_equal(steps_of(other, fresh, x), expected)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_torchs_step_of_zeros_leaves_nothing(optimizer_class):
    """To have a state to save, torch takes a step with zero gradients."""
    from torch.distributed.checkpoint import state_dict as torchs

    model, optimizer, _ = trained(optimizer_class, 0)
    torchs.get_optimizer_state_dict(model, optimizer)
    for p in params_of(optimizer):
        memory = optimizer.memory(p)
        assert (len(memory), memory.seen, memory.rejected) == (0, 1, 1)


# ----------------------------------------------------------------- checkpoints of 0.1.0

OLD = torch.load(Path(__file__).parent / "data" / "checkpoints_0_1_0.pt", weights_only=True)


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize("into", ["itself", "its twin"])
def test_version_0_1_0_goes_on(name, into):
    """Recorded with the code of 0.1.0: where it stopped, and where it then came to."""
    case = OLD[name]
    if into == "its twin":
        name = name.removesuffix("_eff") if name.endswith("_eff") else name + "_eff"
    optimizer_class = getattr(optim_eff if name.endswith("_eff") else cgtutor, name)
    ps = [torch.nn.Parameter(p) for p in copy.deepcopy(case["start"])]
    optimizer = optimizer_class(ps)
    optimizer.load_state_dict(case["state_dict"])
    got = run(optimizer, case["gradients"])[-1]
    tolerance = 0.01 if "buffer_dtype" in case["options"] and into == "its twin" else 1e-5
    torch.testing.assert_close(got, case["end"], rtol=tolerance, atol=tolerance)
    for p, priorities, ages, counts in zip(
        ps, case["priorities"], case["ages"], case["counts"], strict=True
    ):
        memory = optimizer.memory(p)
        assert memory.priorities == pytest.approx(priorities, rel=1e-12)
        assert memory.ages == ages
        assert [memory.seen, memory.inserted] == counts


# ----------------------------------------------------------------------- what a load takes


class Allocated(TorchDispatchMode):
    """The most bytes in tensors that began to exist meanwhile."""

    def __init__(self):
        super().__init__()
        self.storages, self.most = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {storage(t)[0] for t in tree_leaves((args, kwargs)) if is_tensor(t)}
        for t in filter(is_tensor, tree_leaves(result)):
            key, size = storage(t)
            if key not in given | self.storages.keys():
                self.storages[key] = StorageWeakRef(t.untyped_storage()), size
        live = [size for ref, size in self.storages.values() if not ref.expired()]
        self.most = max(self.most, sum(live))
        return result


def is_tensor(value):
    return isinstance(value, torch.Tensor) and not value.is_meta


def storage(tensor):
    return tensor.untyped_storage()._cdata, tensor.untyped_storage().nbytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("source", ["itself", "its twin", "0.1.0"])
def test_bytes_of_a_load(optimizer_class, source, dtype, monkeypatch):
    """One copy of the state, and hardly more, on top of what is there."""
    monkeypatch.setattr(_rows, "_PART", 2**10)
    # a deep copy is made below the level at which these bytes are counted
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", lambda tensor, memo: tensor.clone())
    others = {**TWINS, **{readable: eff for eff, readable in TWINS.items()}}
    p = torch.nn.Parameter(torch.zeros(20_000, dtype=dtype))
    first = (others[optimizer_class] if source == "its twin" else optimizer_class)([p], topC=4)
    run(first, gradients([p], steps=6))
    saved = as_version_0_1_0(first) if source == "0.1.0" else first.state_dict()
    optimizer = optimizer_class([p])
    size = sum(t.nbytes for t in _loading.tensors(first.state_dict()["state"]))
    with Allocated() as allocated:
        optimizer.load_state_dict(saved)
    assert size / 2 < allocated.most < 1.3 * size
    assert optimizer.memory(p).priorities == first.memory(p).priorities


# ------------------------------------------------------------------------- what is refused


def changed(state_dict, **changes):
    """A copy with other entries, or without those that are None."""
    state = {**state_dict["state"][0], **changes}
    state = {key: value for key, value in state.items() if value is not None}
    return {**copy.deepcopy(state_dict), "state": {0: state}}


@pytest.fixture
def full(optimizer_class):
    """An optimizer with a memory of two gradients, and two that do not fit it."""
    optimizer = twin(optimizer_class, parameters([(2, 3)]), topC=3, decay=1)
    run(optimizer, [[torch.ones(2, 3)], [2 * torch.ones(2, 3)]])
    return optimizer


def refuses(optimizer, state_dict, match):
    untouched = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=match):
        optimizer.load_state_dict(state_dict)
    assert_equal(optimizer.state_dict(), untouched)


def test_load_refuses_other_groups(optimizer_class, full):
    for shape in ((1,), (3, 2)):
        other = twin(optimizer_class, parameters([shape]))
        run(other, [[torch.ones(shape)]])
        refuses(full, other.state_dict(), r"\['critical_gradients'\] must .* shape \(2, 3\), got")
    other = twin(optimizer_class, parameters([(2, 3)], torch.complex64))
    run(other, [[torch.ones(2, 3, dtype=torch.complex64)]])
    refuses(full, other.state_dict(), r"\['critical_gradients'\] must hold real gradients")
    wrong = copy.deepcopy(full.state_dict())
    wrong["param_groups"][0]["topC"] = 0
    refuses(full, wrong, "topC must be a positive integer, got 0")
    two = optimizer_class([{"params": p} for p in parameters([(3,), (3,)])])
    refuses(full, two.state_dict(), "different number of parameter groups")
    smaller = optimizer_class(parameters([(2, 3), (2, 3)]))
    refuses(full, smaller.state_dict(), "doesn't match the size")


def test_load_refuses_and_names_the_entry(full):
    saved = copy.deepcopy(full.state_dict())
    good = saved["state"][0]
    rows, f64, i64 = good["critical_gradients"], torch.float64, torch.int64

    def numbers(*values, dtype=f64):
        return torch.tensor(values, dtype=dtype)

    assert sorted(good["critical_births"].tolist()) == [0, 1, 2]
    first = good["critical_births"].tolist().index(1)
    nan_row, nan_sum = rows.clone(), good["critical_sum"] * math.nan
    nan_row[first] = math.nan
    bad = {
        "critical_gradients": [None, 3, rows[0, 0, 0], rows[:0], rows.to("meta"), nan_row],
        "critical_priorities": [
            *(None, good["critical_priorities"][:2]),
            *(numbers(x, x, x) for x in (math.nan, math.inf, -1.0, 3.0)),
        ],
        "critical_births": [
            *(None, good["critical_births"][:2], good["critical_births"].double()),
            *(numbers(*x, dtype=i64) for x in ((1, 1, 0), (3, 1, 0), (-1, 1, 0))),
        ],
        "critical_norms": [None, numbers(1), *(numbers(x, x, x) for x in (math.nan, -1.0))],
        "critical_counts": [
            *(None, numbers(2, dtype=i64), numbers(2.0, 2.0)),
            *(numbers(*x, dtype=i64) for x in ((1, 2), (2, -1))),
        ],
        "critical_sum": [None, [1.0], nan_sum, good["critical_sum"].bfloat16(), torch.ones(3)],
        "critical_drift": [None, 0.0, numbers(0, 0), *map(numbers, (math.nan, -1.0))],
    }
    assert bad.keys() == set(_state.NAMES)
    for name, values in bad.items():
        for value in values:
            refuses(full, changed(saved, **{name: value}), rf"\['state'\]\[0\].*{name}.*, got ")
    few = changed(saved, critical_counts=numbers(2, 1, dtype=i64))
    refuses(full, few, r"\['critical_births'\] must hold .*no more than the 1 inserted")
    full.load_state_dict(saved)


def test_load_refuses_what_0_1_0_did_not_save(full):
    before = as_version_0_1_0(full)
    good = before["state"][0]["critical"]
    (p, born, g), second = good["heap"]
    parts = r"\['critical'\] must hold heap, seen and accepted, or gradients, sum and ledger"
    for changes in (
        *({"seen": None}, {"heap": None}, {"heap": 3}, {"heap": [(1.0, 2)]}),
        *({"seen": math.inf}, {"seen": 2.7}, {"accepted": "2"}),
        *({"heap": [(x, born, g)]} for x in ("x", 10**400)),
        *({"heap": [(p, born, x)]} for x in ("g", g.to("meta"), g.to_sparse())),
    ):
        refuses(full, changed(before, critical={**good, **changes}), parts)
    for name, changes in (
        *(("seen", {"seen": x}) for x in (0, 1, -5)),
        *(("heap", {"accepted": x}) for x in (0, 1)),
        ("seen", {"accepted": 3}),
        *(("heap", {"heap": [(x, born, g), second]}) for x in (math.nan, math.inf, -1.0)),
        *(("heap", {"heap": [(p, x, g), second]}) for x in (3, second[1])),
        *(("heap", {"heap": [(p, born, x), second]}) for x in (g * math.nan, g * 1j, g[0])),
    ):
        wrong = changed(before, critical={**good, **changes})
        refuses(full, wrong, rf"\['critical'\]\['{name}'\] must hold .*, got ")
    refuses(full, changed(before, critical=7), parts)
    full.load_state_dict(changed(before, critical={**good, "heap": [second, (p, born, g)]}))
    assert full.memory(params_of(full)[0]).heap[0][1] == born


def test_load_refuses_stacks_that_0_1_0_did_not_save(full):
    saved = full.state_dict()
    state = saved["state"][0]
    columns = [state[f"critical_{name}"].tolist() for name in ("priorities", "births", "norms")]
    columns[0] = [p if born else -1.0 for p, born in zip(*columns[:2])]
    good = {
        "gradients": state["critical_gradients"],
        "sum": state["critical_sum"],
        "ledger": [*columns, [2.0, 2.0, 0.0]],
    }
    bare = {key: value for key, value in state.items() if not key.startswith("critical")}
    saved = {**saved, "state": {0: bare}}
    parts = r"\['critical'\] must hold heap, seen and accepted, or gradients, sum and ledger"
    for changes in (
        *({name: value} for name in good for value in (3, None)),
        {"ledger": good["ledger"][:2]},
        {"ledger": [*columns, [math.nan, 2.0, 0.0]]},
    ):
        refuses(full, changed(saved, critical={**good, **changes}), parts)
    for name, changes in (
        ("gradients", {"gradients": good["gradients"][:, :1]}),
        ("gradients", {"gradients": good["gradients"] * math.nan}),
        ("ledger", {"gradients": good["gradients"][:1]}),
        *(("sum", {"sum": x}) for x in (good["sum"] * math.nan, good["sum"].bfloat16())),
        ("ledger", {"ledger": [[-2.0, 1.0, 1.0], *columns[1:], [2.0, 2.0, 0.0]]}),
        ("ledger", {"ledger": [columns[0], [1.0, 1.0, 0.0], columns[2], [2.0, 2.0, 0.0]]}),
        ("ledger", {"ledger": [*columns[:2], [-1.0, 1.0, 1.0], [2.0, 2.0, 0.0]]}),
        ("ledger", {"ledger": [*columns, [1.0, 2.0, 0.0]]}),
        *(("ledger", {"ledger": [*columns, [2.0, 2.0, x]]}) for x in (math.inf, -1.0)),
    ):
        wrong = changed(saved, critical={**good, **changes})
        refuses(full, wrong, rf"\['critical'\]\['{name}'\] must hold .*, got ")
    full.load_state_dict(changed(saved, critical=good))
    assert len(full.memory(params_of(full)[0])) == 2
