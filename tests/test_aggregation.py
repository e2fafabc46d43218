"""Aggregators, against torchjd, against the paper on full vectors, and by hand."""

import copy
import gc
import io
import math
import pickle
import re
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torchjd.aggregation as theirs
from hypothesis import given
from torch.testing import assert_close

from cgtutor import aggregation as ours
from cgtutor.aggregation import (
    Aggregator,
    GradVac,
    GradVacWeighting,
    Mean,
    PCGrad,
    PCGradWeighting,
    Sum,
)
from cgtutor.aggregation import _draws as draws
from cgtutor.aggregation import _gramian as gramian
from cgtutor.aggregation import _vaccine as vaccine
from cgtutor.aggregation._gramian import Jacobians
from cgtutor.autojac import jac_to_grad

AGGREGATORS = [Sum, Mean, PCGrad, GradVac]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def paper(jacobian, targets, orders, beta, eps=1e-8):
    """Gradient Vaccine as published, on full vectors in float64; updates ``targets`` in place."""
    g = jacobian.double()
    changed = g.clone()
    for i, order in enumerate(orders):
        for j in order:
            phi = changed[i] @ g[j] / (changed[i].norm() * g[j].norm() + eps)
            hat = targets[i, j].clone()
            if phi < hat:
                sine, sine_hat = (1 - phi**2).sqrt(), (1 - hat**2).sqrt()
                weight = changed[i].norm() * (hat * sine - phi * sine_hat)
                changed[i] += weight / (g[j].norm() * sine_hat + eps) * g[j]
            targets[i, j] = (1 - beta) * hat + beta * phi
    return changed


def orders_of(tasks, seed):
    """For each task the others in the order that torch's randperm gives after this seed."""
    torch.manual_seed(seed)
    others = [[j for j in range(tasks) if j != i] for i in range(tasks)]
    return [[o[k] for k in torch.randperm(tasks - 1).tolist()] for o in others]


# --------------------------------------------------------------------- against torchjd


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("guard", [True, False])
def test_gradvac_is_torchjds(dtype, tasks, guard):
    """Twenty calls with state, and the random numbers drawn."""
    for seed in range(3):
        data = torch.Generator().manual_seed(seed)
        mine, other = GradVac(0.3, guard=guard), theirs.GradVac(0.3)
        torch.manual_seed(seed)
        for call in range(20):
            common = torch.randn(1, 40, generator=data, dtype=dtype)
            jacobian = torch.randn(tasks, 40, generator=data, dtype=dtype) + 0.3 * call * common
            state = torch.get_rng_state()
            got = mine(jacobian)
            after = torch.get_rng_state()
            torch.set_rng_state(state)
            want = other(jacobian)
            assert torch.equal(torch.get_rng_state(), after)
            tolerance = 1e-9 if dtype == torch.float64 else 2e-4
            assert_close(got, want, rtol=tolerance, atol=tolerance * jacobian.norm().item())
        assert_close(mine.targets, other.gramian_weighting._phi_t.double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["PCGrad", "Sum", "Mean"])
def test_others_are_torchjds(dtype, name):
    mine, other = getattr(ours, name)(), getattr(theirs, name)()
    for tasks in range(1, 9):
        jacobian = torch.randn(tasks, 30, dtype=dtype)
        torch.manual_seed(tasks)
        got = mine(jacobian)
        after = torch.get_rng_state()
        torch.manual_seed(tasks)
        want = other(jacobian)
        assert torch.equal(torch.get_rng_state(), after)
        if name == "PCGrad":
            assert_close(got, want, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(got, want)


def test_weighting_is_torchjds():
    gramian = (lambda j: j @ j.T)(torch.randn(6, 9, dtype=torch.float64))
    torch.manual_seed(1)
    got = GradVacWeighting()(gramian)
    torch.manual_seed(1)
    assert_close(got, theirs.GradVacWeighting()(gramian))
    assert repr(GradVac()) == repr(theirs.GradVac()) == "GradVac(beta=0.5, eps=1e-08)"
    assert (
        repr(GradVacWeighting(guard=False)) == "GradVacWeighting(beta=0.5, eps=1e-08, guard=False)"
    )
    assert repr(PCGrad()) == "PCGrad()"
    assert str(Mean()) == "Mean"


# ----------------------------------------------------------------- by hand, and the paper


def test_two_by_two_by_hand():
    """g₁ = (3, 0), g₂ = (0, 4): 90°. A target of 60° for both: each turns by 30°."""
    vaccine = GradVac(beta=0.25)
    vaccine(torch.eye(2))  # gives the targets their shape
    vaccine.targets[:] = 0.5 * (1 - torch.eye(2))
    result = vaccine(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    # g'₁ = (3, √3), as tan 60° = 3 / √3; g'₂ = (4 / √3, 4)
    assert_close(result, torch.tensor([3 + 4 / 3**0.5, 3**0.5 + 4]))
    assert_close(vaccine.targets, 0.375 * (1 - torch.eye(2, dtype=torch.float64)))
    report = vaccine.report
    assert_close(report.coefficients.float(), torch.tensor([[1, 3**0.5 / 4], [4 / 3**0.5 / 3, 1]]))
    assert_close(report.strength.float(), torch.full((2,), 3**-0.5))
    assert report.frequency == 1
    assert report.corrected.tolist() == [[False, True], [True, False]]
    assert report.targets[0, 1] == 0.5
    assert report.cosines.tolist() == [[1, 0], [0, 1]]


def test_three_by_two_by_hand():
    """With targets zero: g₁ = (1, 0), g₂ = (-1, 1), g₃ = (0, 2); only the first two conflict."""
    weights = GradVacWeighting()(torch.tensor([[1.0, -1, 0], [-1, 2, 2], [0, 2, 4]]))
    # g'₁ = g₁ + ½ g₂, g'₂ = g₂ + g₁, and g₃ has an obtuse angle to none; order is no matter:
    # g'₁ = (½, ½) and g'₂ = (0, 1) have an acute one to g₃
    assert_close(weights, torch.tensor([2.0, 1.5, 1.0]))


@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 10_000))
def test_as_in_the_paper(tasks, columns, seed):
    """Jacobian form, Gramian form and the paper on full vectors, over five calls."""
    data = torch.Generator().manual_seed(seed)
    form, weighting = GradVac(0.4), GradVacWeighting(0.4)
    targets = torch.zeros(tasks, tasks, dtype=torch.float64)
    for call in range(5):
        jacobian = torch.randn(tasks, columns, generator=data, dtype=torch.float64)
        changed = paper(jacobian, targets, orders_of(tasks, seed + call), beta=0.4)
        if changed.norm(dim=1).max() > 100 * jacobian.norm(dim=1).max():
            return  # nearly parallel by chance: what the guard is for
        torch.manual_seed(seed + call)
        assert_close(form(jacobian), changed.sum(0), rtol=1e-6, atol=1e-6)
        torch.manual_seed(seed + call)
        weights = weighting(jacobian @ jacobian.T)
        assert_close(weights @ jacobian, changed.sum(0), rtol=1e-6, atol=1e-6)
        assert_close(form.targets, targets, rtol=1e-6, atol=1e-6)
        assert_close(form.report.coefficients @ jacobian, changed, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 10_000), st.floats(-0.95, 0.95))
def test_after_a_correction_the_cosine_is_the_target(seed, target):
    jacobian = torch.randn(2, 7, generator=torch.Generator().manual_seed(seed)).double()
    vaccine = GradVac(eps=0)
    vaccine(jacobian)
    vaccine.targets.fill_(target)
    vaccine(jacobian)
    changed = vaccine.report.coefficients @ jacobian
    before = torch.cosine_similarity(jacobian[0], jacobian[1], dim=0).item()
    for i in (0, 1):
        after = torch.cosine_similarity(changed[i], jacobian[1 - i], dim=0).item()
        assert after == pytest.approx(max(before, target), abs=1e-9)
        assert vaccine.report.similarities[i, 1 - i].item() == pytest.approx(before)


@given(st.integers(2, 7), st.integers(0, 1000))
def test_targets_of_zero_give_pcgrad(tasks, seed):
    """With the same order: the vaccine's is a permutation of the others only."""
    jacobian = torch.randn(tasks, 5, generator=torch.Generator().manual_seed(seed)).double()
    expected = jacobian.clone()
    for i, order in enumerate(orders_of(tasks, seed)):
        for j in order:
            dot = expected[i] @ jacobian[j]
            if dot < 0:
                expected[i] -= dot / (jacobian[j] @ jacobian[j]) * jacobian[j]
    torch.manual_seed(seed)
    assert_close(GradVac(beta=0)(jacobian), expected.sum(0), rtol=1e-6, atol=1e-6)


def test_permuting_tasks_permutes_the_result():
    """Two tasks meet in one order only: exchanging them exchanges weights and targets."""
    gramian = torch.tensor([[4.0, -3.0], [-3.0, 9.0]])
    one, other = GradVacWeighting(), GradVacWeighting()
    for _ in range(3):
        assert_close(one(gramian).flip(0), other(gramian.flip(0, 1)))
    assert_close(one.targets.flip(0, 1), other.targets)
    jacobian = torch.randn(5, 20).double()
    shuffle = torch.randperm(20)
    torch.manual_seed(0)
    direct = GradVac()(jacobian)[shuffle]
    torch.manual_seed(0)
    assert_close(GradVac()(jacobian[:, shuffle]), direct)


@pytest.mark.parametrize("aggregator_class", AGGREGATORS)
def test_scaling(aggregator_class):
    """The result scales with the Jacobian, whose signs may all be turned at once, too."""
    jacobian = torch.randn(4, 9).double()
    results = []
    for factor in (1, -1, 1e3, 2**-20):
        aggregator = aggregator_class()
        if aggregator_class is GradVac:
            aggregator.eps = 0
        torch.manual_seed(0)
        results.append([aggregator(factor * jacobian) / factor for _ in range(3)])
    for other in results[1:]:
        assert_close(other, results[0])


# ------------------------------------------------------------------------ dangerous cases

BASE = torch.randn(1, 3000, generator=torch.Generator().manual_seed(7))


def one_element(step):
    return torch.randn(8, 1)


def one_element_mostly_positive(step):
    return torch.randn(8, 1) + 2


def apart(distance, tasks, columns):
    def near(step):
        return BASE[:, :columns] + distance * torch.randn(tasks, columns)

    near.__name__ = f"apart-{distance:g}-T{tasks}-N{columns}"
    return near


def sign_flip(step):
    last = BASE if step < 40 else -BASE
    return torch.cat([BASE + 1e-3 * torch.randn(7, 3000), last])


def exact_sign_flip(step):
    return torch.cat([BASE] * 3 + [BASE if step < 40 else -BASE])


def zero_after_positive(step):
    rows = BASE + 0.3 * torch.randn(4, 3000)
    rows[3] *= step < 20
    return rows


def norms_far_apart(step):
    return (torch.randn(3, 50) + 1) * torch.tensor([[1e12], [1.0], [1e-12]])


def norms_farther_apart(step):
    return (torch.randn(3, 5000) + 1) * torch.tensor([[1e25], [1.0], [1e-25]])


DANGERS = [
    one_element,
    one_element_mostly_positive,
    # in few dimensions, with many tasks, the method itself multiplies lengths, at any distance
    *(apart(d, t, n) for d in (1e-3, 1e-4, 1e-5, 1e-6) for t, n in ((2, 5), (8, 50), (8, 3000))),
    sign_flip,
    exact_sign_flip,
    zero_after_positive,
    norms_far_apart,
    norms_farther_apart,
]


def largest_gain(make, steps, dtype=torch.float32, guard=True):
    """The longest result as a multiple of the sum of the gradients' lengths."""
    vaccine = GradVac(guard=guard)
    gains = []
    for step in range(steps):
        jacobian = make(step).to(dtype)
        result = vaccine(jacobian)
        assert result.dtype == dtype
        gains.append(result.double().norm() / jacobian.double().norm(dim=1).sum())
    return torch.stack(gains).nan_to_num(math.inf).max().item()


@pytest.mark.parametrize("make", DANGERS, ids=lambda m: m.__name__)
def test_guard_bounds(make):
    assert largest_gain(make, steps=600 if make is one_element else 100) < 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [one_element, apart(1e-4, 8, 3000), sign_flip, zero_after_positive],
    ids=lambda m: m.__name__,
)
def test_guard_bounds_half_precision(make, dtype):
    assert largest_gain(make, 100, dtype) < 10


@pytest.mark.parametrize("tasks", [2, 3, 8, 16])
def test_guard_bounds_what_the_method_asks_for(tasks):
    """All gradients equal for long, then unrelated: as long as 1 / sine of the highest target."""
    vaccine = GradVac()
    for _ in range(60):
        vaccine(BASE.repeat(tasks, 1))
    jacobian = torch.randn(tasks, 3000)
    assert 100 < vaccine(jacobian).norm() / jacobian.norm() < 1000


@pytest.mark.parametrize(
    "make",
    [one_element, apart(1e-3, 8, 5), apart(1e-6, 2, 3000), sign_flip],
    ids=lambda m: m.__name__,
)
def test_published_arithmetic_explodes(make):
    """Why there is a guard."""
    assert largest_gain(make, 600, guard=False) > 1e4


@pytest.mark.parametrize("aggregator_class", AGGREGATORS)
@pytest.mark.parametrize("shape", [(1, 4), (3, 0), (0, 5), (1, 1), (0, 0)])
def test_degenerate_shapes(aggregator_class, shape):
    result = aggregator_class()(torch.ones(shape))
    assert_close(result, torch.ones(shape).sum(0))


@pytest.mark.parametrize("aggregator_class", [GradVac, PCGrad])
def test_zero_rows(aggregator_class):
    jacobian = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
    aggregator = aggregator_class()
    for _ in range(3):
        assert_close(aggregator(jacobian), torch.tensor([3.0, 3.0]))
    assert torch.equal(aggregator_class()(torch.zeros(3, 2)), torch.zeros(2))


def test_a_zero_gradient_is_not_turned_and_pulls_no_target_up():
    vaccine = GradVac(beta=0.5)
    vaccine(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    before = vaccine.targets.clone()
    assert_close(vaccine(torch.tensor([[1.0, 0.0], [0.0, 0.0]])), torch.tensor([1.0, 0.0]))
    assert vaccine.report.coefficients.tolist() == [[1, 0], [0, 1]]
    assert_close(vaccine.targets, before / 2)  # the cosine counts as zero


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_with_bad_gradients_leaves_targets(bad):
    vaccine = GradVac()
    good = torch.tensor([[1.0, 0.5], [1.0, 1.0], [0.0, 1.0]])
    vaccine(good)
    before = vaccine.targets.clone()
    broken = good.clone()
    broken[1, 0] = bad
    result = vaccine(broken)
    assert not result.isfinite().all()  # GradScaler, for one, has to see it
    assert torch.equal(vaccine.targets, before)
    assert vaccine.report.frequency == 0


# ---------------------------------------------------------------------------- as a module


@pytest.mark.parametrize("aggregator_class", AGGREGATORS)
@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(1, 2, 3), torch.tensor(1.0)])
def test_not_a_matrix(aggregator_class, bad):
    with pytest.raises(
        ValueError, match=rf"matrix must be.*dimension 2.*{re.escape(str(tuple(bad.shape)))}"
    ):
        aggregator_class()(bad)


@pytest.mark.parametrize("bad", [torch.ones(2, 2, dtype=torch.long), "J", torch.ones(2, 2) * 1j])
def test_not_floating(bad):
    with pytest.raises(ValueError, match="matrix must be a floating-point tensor"):
        GradVac()(bad)


def test_not_positive_semidefinite():
    """Rounding may leave a tiny negative number where a zero should be."""
    gramian = torch.tensor([[-1e-20, 0.0], [0.0, 1.0]])
    for kind in (GradVacWeighting, PCGradWeighting):
        assert kind()(gramian).tolist() == [1, 1]


@pytest.mark.parametrize("bad", [torch.ones(2, 3), torch.ones(3), torch.ones(1, 1, 2, 2)])
def test_not_a_gramian(bad):
    with pytest.raises(ValueError, match="gramian must be"):
        GradVacWeighting()(bad)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(("beta", bad) for bad in (-0.1, 1.1, "0.5", math.nan)),
        *(("eps", bad) for bad in (-1e-9, math.inf, None)),
    ],
)
def test_validated(name, bad):
    for kind in (GradVac, GradVacWeighting):
        with pytest.raises(ValueError, match=f"{name} must be .* got {bad!r}"):
            kind(**{name: bad})
        instance = kind()
        before = getattr(instance, name)
        with pytest.raises(ValueError, match=name):
            setattr(instance, name, bad)
        assert getattr(instance, name) == before
        for value in (0, 1.0):
            setattr(instance, name, value)
            assert getattr(instance, name) == value


@pytest.mark.parametrize("kind", [GradVac, GradVacWeighting, PCGrad])
def test_other_arguments_are_checked(kind):
    with pytest.raises(ValueError, match=r"generator must be None or a torch\.Generator"):
        kind(generator=3)
    if kind is not PCGrad:
        with pytest.raises(ValueError, match="guard must be True or False, got 1"):
            kind(guard=1)


@pytest.mark.parametrize("aggregator_class", [GradVac, PCGrad])
def test_not_differentiable(aggregator_class):
    jacobian = torch.randn(3, 4, requires_grad=True)
    assert not aggregator_class()(jacobian).requires_grad
    assert not GradVacWeighting()(jacobian @ jacobian.T).requires_grad


@pytest.mark.parametrize("aggregator_class", [GradVac, PCGrad])
def test_generator(aggregator_class):
    """An own generator gives what the global one would, which it leaves alone."""
    jacobian = torch.randn(6, 4)
    torch.manual_seed(5)
    expected = [aggregator_class()(jacobian) for _ in range(2)]
    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(5)
    assert_close([aggregator_class(generator=generator)(jacobian) for _ in range(2)], expected)
    assert torch.equal(torch.get_rng_state(), before)


def used(calls=3):
    vaccine = GradVac(0.2, generator=torch.Generator().manual_seed(1))
    for call in range(calls):
        vaccine(jacobian_of(call))
    return vaccine


def jacobian_of(call):
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(call))


def saved_and_loaded(vaccine):
    file = io.BytesIO()
    torch.save(vaccine.state_dict(), file)
    file.seek(0)
    fresh = GradVac(0.2, generator=torch.Generator())
    fresh.gramian_weighting.generator.set_state(vaccine.gramian_weighting.generator.get_state())
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


@pytest.mark.parametrize(
    "carry",
    [
        copy.deepcopy,
        lambda v: pickle.loads(pickle.dumps(v)),
        saved_and_loaded,
        lambda v: v.to(torch.float16),
        lambda v: v.half().float(),
        lambda v: v.to("meta").cpu(),
    ],
    ids=["deepcopy", "pickle", "state_dict", "to", "half", "meta"],
)
def test_state_goes_along(carry):
    expected = [used(n)(jacobian_of(n)) for n in (3, 4)]
    carried = carry(used())
    assert carried.targets.dtype == torch.float64
    assert torch.equal(carried(jacobian_of(3)), expected[0])
    carried(jacobian_of(3))
    carried = carry(used(4))
    assert torch.equal(carried(jacobian_of(4)), expected[1])


def test_state_dict_is_a_snapshot():
    vaccine = used()
    state = vaccine.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    assert list(state) == ["gramian_weighting.targets", "gramian_weighting._extra_state"]
    vaccine(jacobian_of(9))
    assert torch.equal(state["gramian_weighting.targets"], before["gramian_weighting.targets"])
    fresh = GradVac(generator=torch.Generator())
    fresh.load_state_dict(state)
    fresh(jacobian_of(9))
    assert torch.equal(state["gramian_weighting.targets"], before["gramian_weighting.targets"])


def resumed(kind, steps, saved_after, **options):
    """Results of some calls, with a save and a load by another vaccine after some of them."""
    module, results = kind(**options, generator=torch.Generator().manual_seed(1)), []
    for call in range(steps):
        if call == saved_after:
            file = io.BytesIO()
            torch.save(module.state_dict(), file)
            file.seek(0)
            module = kind(**options, generator=torch.Generator())
            module.load_state_dict(torch.load(file, weights_only=True))
        jacobian = jacobian_of(call)
        results.append(
            module(jacobian if isinstance(module, Aggregator) else jacobian @ jacobian.T)
        )
    return results


@pytest.mark.parametrize("kind", [GradVac, GradVacWeighting, PCGrad, PCGradWeighting])
def test_the_draws_of_an_own_generator_resume(kind):
    """Four tasks meet in random order, which is in state_dict()."""
    once, resumed_after = resumed(kind, 5, None), resumed(kind, 5, 2)
    assert all(torch.equal(a, b) for a, b in zip(once, resumed_after))


@pytest.mark.parametrize("kind", [GradVac, GradVacWeighting, PCGrad, PCGradWeighting])
def test_no_generator_nothing_saved(kind):
    """Torch's global one is the user's to save; states of earlier versions have none."""
    plain, own = kind(), kind(generator=torch.Generator().manual_seed(1))
    assert not any("extra" in name for name in plain.state_dict())
    before = own.state_dict()
    own.load_state_dict(plain.state_dict())
    assert torch.equal([*own.state_dict().values()][-1], [*before.values()][-1])
    with pytest.raises(RuntimeError, match=r"Unexpected key.*_extra_state"):
        plain.load_state_dict(own.state_dict())
    plain.load_state_dict(own.state_dict(), strict=False)


@pytest.mark.parametrize(
    "bad", [3, torch.zeros(5056), torch.zeros(7, dtype=torch.uint8), torch.zeros(2, 2)]
)
def test_a_bad_state_of_a_generator_is_refused(bad):
    vaccine = used()
    state = vaccine.state_dict()
    name = "gramian_weighting._extra_state"
    with pytest.raises(RuntimeError, match=r"_extra_state must be the state of a torch\.Generator"):
        vaccine.load_state_dict({**state, name: bad})
    assert torch.equal(vaccine.state_dict()[name], state[name])


def test_a_fresh_state_can_be_loaded():
    vaccine = used()
    vaccine.load_state_dict(GradVac().state_dict())
    assert vaccine.targets.shape == (0, 0)
    assert vaccine.report is None


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(2, 3), torch.zeros(3), torch.full((2, 2), math.nan), torch.zeros(1, 1, 2, 2)],
)
def test_bad_state_is_refused(bad):
    vaccine = used()
    before = vaccine.targets.clone()
    with pytest.raises(RuntimeError, match=r"targets must be finite, floating-point and of shape"):
        vaccine.load_state_dict({"gramian_weighting.targets": bad})
    assert torch.equal(vaccine.targets, before)
    with pytest.raises(RuntimeError, match="Missing key"):
        vaccine.load_state_dict({})


def test_loading_by_assignment_makes_a_copy():
    vaccine, given = GradVac(), torch.full((2, 2), 0.5)
    vaccine.load_state_dict({"gramian_weighting.targets": given}, assign=True)
    assert vaccine.targets.dtype == torch.float64
    vaccine.targets.fill_(0)
    assert torch.equal(given, torch.full((2, 2), 0.5))


def test_an_unguarded_state_goes_along_whatever_it_is():
    vaccine = GradVac(guard=False)
    vaccine(torch.tensor([[1.0, math.nan], [1.0, 1.0]]))
    fresh = GradVac(guard=False)
    fresh.load_state_dict(vaccine.state_dict())
    assert fresh.targets.isnan().any()


def test_nothing_of_a_call_keeps_a_vaccine_alive():
    gc.disable()
    try:
        vaccine = used()
        freed = weakref.ref(vaccine)
        del vaccine
        assert freed() is None
    finally:
        gc.enable()


def test_fresh_targets():
    """After reset, with another number of tasks, with another dtype: as a new one, as torchjd."""
    jacobian = torch.tensor([[1.0, 0.2], [-1.0, 0.5]])
    first = GradVac()
    expected = [first(jacobian) for _ in range(2)]
    assert not torch.equal(expected[0], expected[1])
    vaccine = GradVac()
    for disturb in (
        vaccine.reset,
        lambda: vaccine(torch.randn(3, 2)),
        lambda: vaccine(torch.randn(2, 2).double()),
    ):
        assert_close([vaccine(jacobian) for _ in range(2)], expected)
        disturb()
    assert_close([vaccine(jacobian) for _ in range(2)], expected)
    vaccine.reset()
    assert vaccine.targets.shape == (0, 0)
    assert vaccine.report is None


def test_input_stays_as_it_is():
    jacobian = torch.randn(4, 9)
    before = jacobian.clone()
    for aggregator_class in AGGREGATORS:
        aggregator_class()(jacobian)
    gramian = torch.eye(3)
    GradVacWeighting()(gramian)
    assert torch.equal(jacobian, before)
    assert torch.equal(gramian, torch.eye(3))


def test_a_batch_of_gramians_is_as_many_vaccines():
    data = torch.randn(5, 3, 8).double()
    batch, single = GradVacWeighting(), [GradVacWeighting() for _ in range(5)]
    for step in range(4):
        gramians = (data + step) @ (data + step).mT
        torch.manual_seed(step)
        got = batch(gramians)
        torch.manual_seed(step)
        assert_close(got, torch.stack([w(g) for w, g in zip(single, gramians)]))
    assert_close(batch.targets, torch.stack([w.targets for w in single]))
    assert batch.report.strength.shape == (5, 3)
    assert batch.report.frequency.shape == (5,)


# ------------------------------------------------------------------------------ the parts


@given(st.integers(1, 30), st.integers(1, 6), st.booleans(), st.integers(0, 1000))
def test_one_by_one_and_side_by_side(groups, tasks, hard, seed):
    """Both ways of the guarded arithmetic, to the bit."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(groups, tasks, 1 if hard else 5))
    gramian = rows @ rows.transpose(0, 2, 1)
    target = random.uniform(-1, 1, (groups, tasks, tasks))
    order = draws.orders_of_others(groups, tasks, None)
    one = vaccine._one_by_one(gramian, target, order, 1e-8)
    other = vaccine._side_by_side(gramian, target, order, 1e-8, guard=True)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


@pytest.mark.parametrize("length", range(18))
@pytest.mark.parametrize("count", [0, 1, 8, 9, 10, 33])
def test_permutations_are_torchs(count, length):
    generators = [torch.Generator().manual_seed(count) for _ in range(2)]
    got = draws.permutations(count, length, generators[0])
    want = [torch.randperm(length, generator=generators[1]).tolist() for _ in range(count)]
    assert got.shape == (count, length)
    assert got.tolist() == want
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_this_torch_shuffles_as_we_do():
    assert draws._bulk_agrees()


def test_another_shuffle_in_torch_is_noticed(monkeypatch):
    """Then every permutation is torch's own."""
    honest = draws._in_bulk
    monkeypatch.setattr(draws, "_in_bulk", lambda *a: honest(*a)[:, ::-1])
    draws._bulk_agrees.cache_clear()
    try:
        torch.manual_seed(0)
        got = draws.permutations(20, 5, None)
        torch.manual_seed(0)
        assert got.tolist() == [torch.randperm(5).tolist() for _ in range(20)]
    finally:
        draws._bulk_agrees.cache_clear()


@pytest.mark.parametrize("columns", [0, 1, 7, 4095, 4096, 4097, 20_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_passes_over_jacobians(columns, dtype):
    """Gramians and weighted sums, against numpy in float64."""
    jacobians = [torch.randn(3, columns, dtype=dtype), torch.randn(3, 2, 5).to(dtype)]
    rows = Jacobians(jacobians)
    exact = [j.double().flatten(1).numpy() for j in jacobians]
    for got, matrix in zip(rows.gramians(), exact):
        np.testing.assert_allclose(got, matrix @ matrix.T, rtol=0, atol=1e-6 * max(columns, 1))
    weights = np.array([[1.0, -2.0, 0.5], [0.25, 4.0, 1.0]])
    for got, weight, matrix, jacobian in zip(rows.combine(weights), weights, exact, jacobians):
        assert got.shape == jacobian.shape[1:]
        assert got.dtype == dtype
        tolerance = 4 * torch.finfo(dtype).eps
        np.testing.assert_allclose(
            got.double().flatten().numpy(), weight @ matrix, rtol=tolerance, atol=20 * tolerance
        )


@pytest.mark.parametrize("columns", [0, 5, 1024, 1500])
def test_products_of_any_width(columns):
    """As elsewhere than on a CPU, where the narrow ones take another way."""
    matrix = torch.randn(3, columns)
    exact = matrix.double() @ matrix.double().T
    assert_close(gramian._product(matrix), exact, rtol=1e-6, atol=1e-3)


def test_gramian():
    parts = [torch.randn(3, 2, 5), torch.randn(3), torch.randn(3, 5000).half()]
    matrix = torch.cat([part.double().view(3, -1) for part in parts], dim=1)
    assert_close(ours.gramian(iter(parts)), matrix @ matrix.T, rtol=1e-6, atol=1e-6)
    for bad, match in [
        ([], "jacobians must hold at least one tensor, got none"),
        ([3], r"jacobians\[0\] must be a tensor, got 3"),
        ([torch.ones(())], r"jacobians\[0\] must be .* \(T, \.\.\.\), got shape \(\)"),
        ([torch.ones(2, 3).long()], r"jacobians\[0\] must be .* got shape \(2, 3\), torch\.int64"),
        ([torch.ones(2), torch.ones(3)], r"jacobians\[1\] must be .* \(2, \.\.\.\), got .*\(3,\)"),
    ]:
        with pytest.raises(ValueError, match=match):
            ours.gramian(bad)


def test_a_weighting_of_ones_own():
    """By subclassing what is exported."""

    class Shorter(ours.GramianWeighting):
        """Weights that make all rows equally long."""

        def weigh(self, gramian, precision, /):
            return 1 / np.sqrt(np.diagonal(gramian, axis1=-2, axis2=-1))

    aggregator = ours.GramianWeightedAggregator(Shorter())
    jacobian = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert_close(aggregator(jacobian), torch.ones(2))
    parameter = torch.zeros(2, requires_grad=True)
    parameter.jac = jacobian
    assert_close(jac_to_grad([parameter], aggregator), torch.tensor([1 / 3, 1 / 4]))
    assert_close(parameter.grad, torch.ones(2))


def test_half_precision_gramian():
    jacobian = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    weights = GradVacWeighting()((jacobian @ jacobian.T).half())
    assert weights.dtype == torch.half
    assert weights.tolist() == [2, 1.5]


def test_mixed_precision():
    """Each result in the precision of its own Jacobian, large and small."""
    parts = [torch.full((2, n), 1 / 3, dtype=d) for d in DTYPES for n in (5, 20_000)]
    weights = np.tile([[1e6, -1e6 + 3]], (len(parts), 1))
    rows = Jacobians(parts)
    for got, part in zip(rows.combine(weights), parts):
        assert got.dtype == part.dtype
        assert_close(got.double(), 3 * part[0].double(), rtol=0.2, atol=0)
    assert_close(rows.combine(weights)[-1], 3 * parts[-1][0], rtol=1e-9, atol=0)


@pytest.mark.parametrize("columns", [4000, 5000])
def test_weights_too_large_for_half_precision(columns):
    """The weight of a tiny gradient may be a million."""
    vaccine, base = GradVac(), torch.randn(columns)
    for _ in range(40):
        vaccine(base.expand(2, columns).half())
    tiny = torch.randn(2, columns) * torch.tensor([[1.0], [1e-3]])
    parameter = torch.zeros(columns, dtype=torch.half, requires_grad=True)
    parameter.jac = tiny.half()
    weights = jac_to_grad([parameter], vaccine)
    assert weights.dtype == torch.float32
    assert weights.max() > torch.finfo(torch.half).max
    assert parameter.grad.isfinite().all()


def test_autocast_does_not_lower_precision():
    matrix = torch.randn(3, 20_000)
    expected = Jacobians([matrix]).gramians()
    with torch.autocast("cpu", torch.bfloat16):
        got = Jacobians([matrix])
        np.testing.assert_array_equal(got.gramians(), expected)
        result = got.combine(np.ones((1, 3)))[0]
    assert_close(result, matrix.sum(0))


def test_gramian_of_millions_of_columns():
    """A plain float32 product errs by more than 1e-5 here."""
    matrix = torch.rand(2, 3_000_000)
    exact = (matrix.double() @ matrix.double().T).numpy()
    np.testing.assert_allclose(Jacobians([matrix]).gramians()[0], exact, rtol=2e-7)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e18, 1e25])
def test_gramian_out_of_range(scale):
    """Squares that float32 cannot hold."""
    matrix = torch.randn(2, 5000) * torch.tensor([[scale], [1.0]])
    matrix = torch.cat([matrix, torch.zeros(1, 5000)])
    exact = (matrix.double() @ matrix.double().T).numpy()
    np.testing.assert_allclose(Jacobians([matrix]).gramians()[0], exact, rtol=1e-5)
