"""The memory: against a hand-worked trace, a brute-force model and algebra."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgtutor import CriticalGradients
from cgtutor._norms import norms


def fill(memory, priorities):
    """Insert gradients 1, 2, 3, … with these priorities, fading after each."""
    for number, priority in enumerate(priorities, start=1):
        memory.insert(priority, torch.tensor([float(number)]))
        memory.fade()
    return memory


def names(memory):
    return [int(g.item()) for g in memory.gradients]


def test_worked_trace():
    """Design §4: topC=2, decay=0.5, norms 4, 1, 3, 0.2."""
    memory = CriticalGradients(topC=2, decay=0.5)
    seen = []
    for norm in (4.0, 1.0, 3.0, 0.2):
        memory.insert(norm, torch.tensor(norm))
        memory.fade()
        seen.append(memory.priorities)
    assert seen == [[2.0], [1.0, 0.5], [1.5, 0.5], [0.75, 0.25]]
    assert [g.item() for g in memory.gradients] == [3.0, 4.0]
    assert memory.ages == [1, 3]
    assert (memory.inserted, memory.rejected, memory.evicted) == (3, 1, 1)
    assert len(memory) == 2
    assert "2 kept, 3 inserted, 1 rejected, 1 evicted" in repr(memory)


# Few distinct values make ties, tiny and huge ones make decays underflow.
PRIORITIES = st.lists(
    st.one_of(
        st.sampled_from([0.0, 1.0, 2.0, 5e-324, 1e-300, 1e300]),
        st.floats(0, 10),
        st.sampled_from([math.nan, math.inf]),
    ),
    max_size=40,
)
DECAYS = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 1e-200]), st.floats(0, 1))


@given(PRIORITIES, st.integers(1, 6), DECAYS)
def test_brute_force_model(priorities, top_c, decay):
    """Sort everything, keep the top C: the newcomer loses a tie, of equals the oldest goes."""
    memory = CriticalGradients(top_c, decay)
    kept, accepted = [], 0
    for number, priority in enumerate(priorities, start=1):
        # a stored entry outranks an equal newcomer, and a younger one an equal older one
        before = sorted(kept, key=lambda e: (e[0], e[1]))
        if math.isfinite(priority) and priority > 0:
            if len(kept) < top_c:
                kept, entered = [*before, (priority, number)], True
            else:
                entered = priority > before[0][0]
                kept = [*before[1:], (priority, number)] if entered else before
            accepted += entered
        else:
            entered = False
        assert memory.insert(priority, torch.tensor([float(number)])) is entered
        memory.fade()
        kept = [(p * decay, n) for p, n in kept]

        ranked = sorted(kept, reverse=True)
        assert memory.priorities == [p for p, _ in ranked]
        assert names(memory) == [n for _, n in ranked]
        assert memory.ages == [number - n for _, n in ranked]
        assert len(memory) == len(ranked)
        assert memory.inserted == accepted
        assert memory.rejected == number - accepted
        assert memory.evicted == accepted - len(ranked)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30), st.integers(1, 5))
def test_decay_one_keeps_the_largest_ever(priorities, top_c):
    memory = fill(CriticalGradients(top_c, decay=1), priorities)
    assert memory.priorities == sorted(priorities, reverse=True)[:top_c]


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30), st.integers(1, 5))
def test_decay_zero_keeps_the_most_recent(priorities, top_c):
    memory = fill(CriticalGradients(top_c, decay=0), priorities)
    assert names(memory) == list(range(len(priorities), 0, -1))[:top_c]


def test_order_after_decays_that_round_to_zero():
    """What rounds to 0 meets a 0 of another age; the heap must not keep the old order."""
    memory = CriticalGradients(topC=3, decay=0.2)
    memory.insert(1e-322, torch.tensor([1.0]))
    memory.insert(1e-323, torch.tensor([2.0]))
    memory.insert(1e-323, torch.tensor([3.0]))
    memory.fade()
    memory.fade()
    assert memory.priorities == [5e-324, 0.0, 0.0]
    memory.fade()
    assert memory.priorities == [0.0, 0.0, 0.0]
    memory.insert(1.0, torch.tensor([4.0]))
    assert names(memory) == [4, 3, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_not_finite_neither_enters_nor_evicts(bad):
    memory = fill(CriticalGradients(2, 0.9), [1.0, 2.0])
    before = copy.deepcopy(memory.heap)
    assert memory.insert(bad, torch.tensor([bad])) is False
    assert memory.heap == before
    assert memory.rejected == 1
    assert CriticalGradients(2).insert(bad, torch.tensor([bad])) is False


def test_keeps_a_copy_of_its_own():
    memory = CriticalGradients(topC=1, decay=0.5)
    g = torch.tensor([1.0, 2.0])
    memory.insert(3.0, g)
    g.zero_()
    assert memory.gradients[0].tolist() == [1.0, 2.0]
    g.fill_(7)
    memory.insert(4.0, g)
    g.zero_()
    assert memory.gradients[0].tolist() == [7.0, 7.0]


def test_lower_topc_lets_the_smallest_go():
    memory = fill(CriticalGradients(4, 1.0), [3.0, 1.0, 4.0, 2.0])
    smaller = copy.deepcopy(memory)
    smaller.topC = 2
    assert len(smaller) == 4, "looking changes nothing"
    # but only the two largest count from now on, gradients 3 and 1: (0 + 3 + 1) / 3
    assert smaller.aggregate(torch.zeros(1), "mean").item() == pytest.approx(4 / 3)
    smaller.insert(3.5, torch.tensor([5.0]))
    assert smaller.priorities == [4.0, 3.5]
    assert smaller.evicted == 3


@pytest.mark.parametrize("full", [True, False])
def test_another_shape_is_refused_and_not_broadcast(full):
    memory = CriticalGradients(topC=1 if full else 2)
    memory.insert(1.0, torch.ones(3))
    said = r"gradient must have the shape \(3,\) of those kept, got \(1,\)"
    with pytest.raises(ValueError, match=said):
        memory.insert(2.0, torch.ones(1))
    with pytest.raises(ValueError, match=said):
        memory.aggregate(torch.ones(1))
    assert (memory.seen, memory.gradients[0].tolist()) == (1, [1, 1, 1])


def test_state_stays_plain_whatever_comes_in():
    """The norm as a tensor, and a gradient that knows its history."""
    memory = CriticalGradients(topC=1)
    for g in (torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])):
        memory.insert(g.norm(), g.requires_grad_() * 1)
        ((priority, _, kept),) = memory.heap
        assert type(priority) is float
        assert not kept.requires_grad
    assert memory.priorities == [10.0]


class TestAggregate:
    g = torch.tensor([1.0, -2.0], dtype=torch.float64)
    past = torch.tensor([[3.0, 0.0], [0.0, 6.0], [6.0, 0.0]], dtype=torch.float64)

    def memory(self, n=3, dtype=torch.float64):
        memory = CriticalGradients(topC=5, decay=1)
        for i in range(n):
            memory.insert(1.0 + i, self.past[i].to(dtype))
        return memory

    def test_by_hand(self):
        """sum(M) = (9, 6), mean(M) = (3, 2), g = (1, -2), kappa = 2."""
        memory = self.memory()
        for aggr, expected in {"sum": [7, 2], "mid": [3.5, 1], "mean": [4.75, 2.5]}.items():
            assert memory.aggregate(self.g, aggr, kappa=2).tolist() == pytest.approx(expected)
        assert self.g.tolist() == [1.0, -2.0]

    @pytest.mark.parametrize("aggr", ["sum", "mid", "mean"])
    def test_identities(self, aggr):
        empty, one, three = self.memory(0), self.memory(1), self.memory(3)
        assert empty.aggregate(self.g, aggr) is self.g
        assert three.aggregate(self.g, aggr, kappa=0) is self.g
        # linear in all gradients together
        doubled = CriticalGradients(5, 1)
        for i, m in enumerate(self.past):
            doubled.insert(1.0 + i, 2 * m)
        torch.testing.assert_close(
            doubled.aggregate(2 * self.g, aggr, 0.7), 2 * three.aggregate(self.g, aggr, 0.7)
        )
        # mid is half of sum; with one remembered gradient mean is mid
        half = three.aggregate(self.g, "sum", 0.7) / 2
        torch.testing.assert_close(three.aggregate(self.g, "mid", 0.7), half)
        torch.testing.assert_close(
            one.aggregate(self.g, "mean", 0.7), one.aggregate(self.g, "mid", 0.7)
        )

    def test_all_equal_gradients(self):
        """If all gradients are g, then mean and mid give g, and sum gives 2 g."""
        memory = CriticalGradients(4, 1)
        for _ in range(4):
            memory.insert(1.0, self.g)
        torch.testing.assert_close(memory.aggregate(self.g, "mean"), self.g)
        torch.testing.assert_close(memory.aggregate(self.g, "mid"), self.g)
        torch.testing.assert_close(memory.aggregate(self.g, "sum"), 2 * self.g)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_sums_in_float32(self, dtype):
        """Ten gradients of 60000 have a mean in float16's range and a sum far out of it."""
        memory = CriticalGradients(10, 1)
        g = torch.full((4,), 60000.0, dtype=dtype)
        for _ in range(10):
            memory.insert(1.0, g)
        out = memory.aggregate(g, "mean")
        assert out.dtype == dtype
        assert torch.equal(out, g)

    def test_refuses_unknown_rules_and_weights(self):
        with pytest.raises(ValueError, match=r"aggr must be one of 'sum', 'mid', 'mean', got 'x'"):
            self.memory().aggregate(self.g, "x")
        with pytest.raises(ValueError, match=r"kappa must be a finite number >= 0, got -1"):
            self.memory().aggregate(self.g, "sum", kappa=-1)


@pytest.mark.parametrize("top_c", [0, -1, 2.5, True, "3", None])
def test_bad_topc(top_c):
    with pytest.raises(ValueError, match=f"topC must be a positive integer, got {top_c!r}"):
        CriticalGradients(topC=top_c)


@pytest.mark.parametrize("decay", [-0.1, 1.5, math.nan, math.inf, True, "0.5", None, 10**400])
def test_bad_decay(decay):
    with pytest.raises(ValueError, match=r"decay must be a number in \[0, 1\], got"):
        CriticalGradients(decay=decay)


def test_bad_priority():
    memory = CriticalGradients()
    with pytest.raises(ValueError, match=r"priority must be a number >= 0, got -1\.0"):
        memory.insert(-1.0, torch.ones(2))
    assert memory.seen == 0


# --------------------------------------------------------------------------------- norms


@pytest.mark.parametrize("count", [1, 1000, 2**16, 2**16 + 1, 300_000])
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        *((torch.float32, size) for size in (1.0, 1e30, 1e-30, 1e-42)),
        *((torch.float64, size) for size in (1.0, 1e150, 1e-150)),
        *((torch.float16, 1.0), (torch.bfloat16, 1e30), (torch.complex64, 1e25)),
    ],
)
def test_norms(count, dtype, size):
    """Right to eight digits whatever the size, also where float32 cannot hold the squares."""
    g = torch.linspace(0.5, 1, count, dtype=torch.float64).mul(size).to(dtype)
    wide = g.to(torch.complex128 if dtype.is_complex else torch.float64)
    exact = (wide / size).abs().square().sum().sqrt().item() * size
    assert norms([g]) == pytest.approx([exact], rel=1e-8, abs=0)


def test_norms_of_several():
    tensors = [torch.full((n,), 3.0) for n in (4, 100_000, 1)] + [torch.empty(0)]
    assert norms(tensors) == pytest.approx([6, 3 * 100_000**0.5, 3, 0])
    assert norms([]) == []
    for bad in (math.nan, math.inf):
        tensors[1][7] = bad
        assert not math.isfinite(norms(tensors)[1])
        assert norms(tensors)[::2] == [6, 3]
