"""Which gradients to keep."""

import heapq
import math

import pytest
import torch
from checking import accepts, rejects
from looking import drawn_by
from torch.optim import SGD

from cgtutor import SGD_C
from cgtutor.course.shared.check import edited
from cgtutor.course.shared.data import Data, Split, network
from cgtutor.course.shared.replay import Lifetimes, Recording, record, replay
from cgtutor.course.shared.training import sweep
from cgtutor.course.which_gradients_to_keep import checks, explorer, figures
from cgtutor.course.which_gradients_to_keep.study import (
    Course,
    agreement,
    comparisons,
    course,
    recordings,
    slots,
    steps_kept,
    story,
    total_weight,
    with_spike,
)
from cgtutor.memory import CriticalGradients

#: The trace of the docs: the 1 goes when the 3 comes, the 0.2 never gets in.
TRACE = [4.0, 1.0, 3.0, 0.2]


def traced():
    return replay(TRACE, topC=2, decay=0.5)


def test_slots_by_hand():
    expected = [[0, 1, 2, 3], [math.nan, 0, 0, 1]]
    torch.testing.assert_close(slots(traced()), torch.tensor(expected), equal_nan=True)
    last_ten = slots(replay([1.0] * 25, topC=10, decay=0.5))
    assert last_ten[3, 3:13].tolist() == list(range(10))
    assert last_ten[3, 13] == 0


@pytest.mark.parametrize(("topC", "decay"), [(1, 0.5), (3, 0.9), (5, 1), (4, 0)])
def test_slots_hold_the_memorys_ages(topC, decay):
    norms = torch.rand(60, generator=torch.Generator().manual_seed(1)).tolist()
    norms[7] = math.inf
    ages = slots(replay(norms, topC, decay))
    memory = CriticalGradients(topC, decay)
    for step, norm in enumerate(norms):
        memory.insert(norm, torch.tensor(step))
        memory.fade()
        there = ages[:, step]
        assert sorted(there[~there.isnan()].tolist()) == sorted(memory.ages)


def test_steps_kept_and_spike():
    assert [steps_kept(traced(), born) for born in range(4)] == [4, 1, 2, 0]
    assert with_spike(TRACE, 1, 10) == [4, 10, 3, 0.2]
    # 100 times the others decays below 1 after 13 steps of 0.7: 0.7 ** 13 = 0.0097
    assert steps_kept(replay(with_spike([1.0] * 50, 5, 100), 1, 0.7), 5) == 13


def test_total_weight_by_hand():
    lives = traced()
    assert total_weight(lives, 0) == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 3)
    assert total_weight(lives, 1) == pytest.approx(1 / 2 + 1 / 3)
    assert total_weight(lives, 3, "sum") == pytest.approx(1)
    assert total_weight(lives, 2, "sum") == pytest.approx(1 + 1 / 2)


def test_total_weights_are_the_optimizers():
    """By how much of each gradient SGD_C has moved in all steps together."""
    norms = [4.0, 1.0, 3.0, 0.2, 2.0, 2.5]
    p = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = SGD_C([p], lr=1, topC=2, decay=0.5, aggr="mean")
    for step, norm in enumerate(norms):  # each gradient along an axis of its own
        p.grad = torch.zeros_like(p)
        p.grad[step] = norm
        optimizer.step()
    lives = replay(norms, 2, 0.5)
    totals = [total_weight(lives, born) for born in range(6)]
    assert totals == pytest.approx([-x / n for x, n in zip(p.detach().tolist(), norms)])


def test_story():
    lines = story([4, 1, 3, 0.2], topC=2, decay=0.5).splitlines()
    assert [line.split() for line in lines] == [
        ["step", "norm", "its", "gradient", "priorities", "decayed"],
        *(
            line.split()
            for line in (
                "0 4 inserted 4 (of 0) 2 (of 0)",
                "1 1 inserted 2 (of 0), 1 (of 1) 1 (of 0), 0.5 (of 1)",
                "2 3 inserted, that of step 1 evicted 3 (of 2), 1 (of 0) 1.5 (of 2), 0.5 (of 0)",
                "3 0.2 rejected 1.5 (of 2), 0.5 (of 0) 0.75 (of 2), 0.25 (of 0)",
            )
        ),
    ]


def test_comparisons():
    for topC in (1, 10, 200):
        through_a_list, heap = comparisons(topC, insertions=200)
        assert through_a_list == topC  # topC - 1 to find the smallest, 1 with the new one
        assert 1 <= heap <= 2 + 2 * math.log2(topC)


def test_recordings(tiny):
    found = recordings([0.1, 0.2], [0, 1], tiny, epochs=1)
    assert [len(runs) for runs in found.values()] == [2, 2]
    model = network(seed=1)
    alone = record(model, SGD(model.parameters(), lr=0.2), tiny, 1, seed=1, whole=True)
    assert found[0.2][1].norms == alone.norms
    assert torch.equal(found[0.2][1].whole, alone.whole)


def test_agreement_by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    whole = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    run = Recording(norms=[1.0, 1.0, 1.0], gradients=rows, whole=whole)
    # one slot, decay 0: step 1 sees gradient 0, step 2 sees gradient 1
    cosine, age = agreement(run, topC=1, decay=0, first=1)
    assert cosine == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert age == 1
    # decay 1: equals stay out, and the first gradient stays
    cosine, age = agreement(run, topC=1, decay=1, first=2)
    assert (cosine, age) == (pytest.approx(math.sqrt(0.5)), 2)


def test_course(tiny):
    def sgd(parameters, lr):
        return SGD(parameters, lr)

    clean = course(sgd, 0.1, 3, tiny, bad=None, steps=6, every=2)
    spoilt = course(sgd, 0.1, 3, tiny, bad=3, steps=6, every=2)
    assert clean.steps == [0, 2, 4, 6]
    assert spoilt.steps == [0, 2, 4, 5, 6]  # 4 and 5 come right after step 3
    assert clean.validation_loss[:2] == spoilt.validation_loss[:2]
    assert clean.norms[:3] == spoilt.norms[:3]
    assert spoilt.norms[3] > 1.5 * clean.norms[3]
    assert spoilt.validation_loss[2] != clean.validation_loss[2]
    assert course(sgd, 0.1, 3, tiny, bad=3, steps=6, every=2) == spoilt


def test_sweep_of_courses(tiny):
    small = Data(*(Split(s.x[:50], s.y[:50]) for s in tiny))
    names = {"a": lambda p, lr: SGD(p, lr), "b": lambda p, lr: SGD(p, lr)}
    found = sweep(names, [0.1, 0.2], [0, 1], course, data=small, bad=None)
    assert found["a"] == found["b"]
    assert found["a"][0.2][1] == course(names["a"], 0.2, 1, small, bad=None)


def test_slots_over_time_small():
    figure = figures.slots_over_time({"tiny": traced()})
    above, below, bar = figure.axes
    texts = {text.get_position(): text.get_text() for text in above.texts}
    assert texts == {
        (0, 1): "0", (1, 1): "1", (2, 1): "2", (3, 1): "3",
        (1, 2): "0", (2, 2): "0", (3, 2): "1",
    }  # fmt: skip
    colors = {text.get_text(): text.get_color() for text in above.texts}
    assert (colors["0"], colors["1"], colors["2"], colors["3"]) == (
        *("white", "white", "black", "black"),
    )
    assert above.get_title(loc="left") == "tiny: 1 of 4 rejected"
    assert list(below.lines[0].get_ydata()) == TRACE
    assert bar.get_ylabel() == "age in steps"
    assert figure.alt.endswith("tiny: 1 of 4 rejected, the oldest 3 steps old.")


def test_slots_over_time_large():
    runs = {f"decay {d}": replay([1.0] * 200, 10, d) for d in (0.5, 1)}
    figure = figures.slots_over_time(runs, mark=3)
    one, other, below, _ = figure.axes
    assert not one.texts
    assert one.get_title(loc="left") == (
        "decay 0.5: 0 of 200 rejected, that of step 3 kept for 10 steps"
    )
    assert "190 of 200 rejected, that of step 3 kept for 197 steps" in figure.alt
    assert one.images[0].get_clim() == other.images[0].get_clim() == (0, 199)
    assert below.lines[0].get_marker() == ""
    assert list(below.lines[1].get_xdata()) == [3, 3]


def test_slots_over_time_where_nothing_is_kept():
    lives = Lifetimes([math.nan], [None], [0], CriticalGradients(2))
    assert "the oldest 0 steps old" in figures.slots_over_time({"empty": lives}).alt


def test_agreement_by_decay():
    figure = figures.agreement_by_decay(
        {"slow": {0: [0.8, 1.0], 1: [0.5]}, "fast": {0: [-0.01], 1: [0]}}
    )
    (ax,) = figure.axes
    assert ax.lines[0].get_ydata() == pytest.approx([0.9, 0.5])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]
    assert figure.alt.endswith("slow, 0.9 at 0, 0.5 at 1; fast, 0.0 at 0, 0.0 at 1.")


def test_after_bad_batch():
    runs = [Course([0, 5], [2.0, last], []) for last in (1.0, 0.5)]
    high = {"SGD": [Course([0, 5], [3.0, 1.0], [])], "C": [Course([0, 5], [2.0, 1.0], [])]}
    figure = figures.after_bad_batch({"lr 1": {"SGD": runs}, "lr 2": high}, bad=3)
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([2.0, 0.75])
    assert right.get_title() == "lr 2"
    assert list(left.lines[-1].get_xdata()) == [3, 3]
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[1] > 3  # the highest loss of any panel is in sight
    assert "bad mini-batch at step 3" in figure.alt
    assert figure.alt.endswith("with lr 1: SGD 0.8; with lr 2: SGD 1.0, C 1.0.")
    assert "Right after that step it rises most for SGD (lr 1) and C (lr 2)." in figure.alt


def test_slots_explorer(monkeypatch):
    drawn = drawn_by(explorer, "slots_over_time", monkeypatch)
    norms = [1.0 + (t % 7) / 10 for t in range(120)]
    _, top_c, decay, height, step, _ = explorer.slots_explorer(norms).children
    top_c.value, decay.value, height.value, step.value = 3, 0.9, 20, 50
    lives = replay(with_spike(norms, 50, 20), 3, 0.9)
    assert drawn[-1].alt == figures.slots_over_time({"topC = 3, decay = 0.9": lives}, mark=50).alt
    assert step.max == 119


def remember(memory, norm, gradient, topC, decay):
    memory = list(memory)
    if math.isfinite(norm):
        if len(memory) < topC:
            memory.append((norm, gradient.clone()))
        else:
            goes = min(range(topC), key=lambda i: memory[i][0])
            if norm > memory[goes][0]:
                del memory[goes]
                memory.append((norm, gradient.clone()))
    return [(priority * decay, kept) for priority, kept in memory]


def remember_in_place(memory, norm, gradient, topC, decay):
    if math.isfinite(norm):
        if len(memory) == topC and norm > min(p for p, _ in memory):
            memory.remove(min(memory, key=lambda entry: entry[0]))
        if len(memory) < topC:
            memory.append([norm, gradient.clone()])
    for entry in memory:
        entry[0] *= decay
    return memory


def remember_in_a_tensor(memory, norm, gradient, topC, decay):
    """With priorities in a tensor, which makes them float32."""
    found = remember(memory, norm, gradient, topC, 1)
    return list(zip(torch.tensor([p for p, _ in found]) * decay, [g for _, g in found]))


@pytest.mark.parametrize(
    "right", [remember, remember_in_place, remember_in_a_tensor, checks.solution]
)
def test_remember_accepts(right):
    accepts(checks.remember, right)


@pytest.mark.parametrize("why", checks.MISTAKES, ids=lambda why: why[:60])
def test_remember_knows(why):
    rejects(checks.remember, edited(checks.solution, checks.MISTAKES[why]), f"Not yet: {why}\n")


def changed(change):
    """The right answer, then a change of what it returns."""
    return lambda *given: change(remember(*given), *given)


def zeroed(memory, norm, gradient, topC, decay):
    found = remember(memory, norm, gradient, topC, decay)
    gradient.zero_()
    return found


def swapped(entries, *_):
    return [(p, entries[-1 - i][1]) for i, (p, _) in enumerate(entries)]


def replaces_in_its_place(memory, norm, gradient, topC, decay):
    memory = list(memory)
    if math.isfinite(norm):
        goes = min(range(len(memory)), key=lambda i: memory[i][0], default=None)
        if len(memory) < topC:
            memory.append((norm, gradient.clone()))
        elif norm > memory[goes][0]:
            memory[goes] = (norm, gradient.clone())
    return [(priority * decay, kept) for priority, kept in memory]


def heap_of_pairs(memory, norm, gradient, topC, decay):
    if math.isfinite(norm):
        if len(memory) < topC:
            heapq.heappush(memory, (norm, gradient.clone()))
        elif norm > memory[0][0]:
            heapq.heapreplace(memory, (norm, gradient.clone()))
    return [(priority * decay, kept) for priority, kept in memory]


def into_a_pair(memory, norm, gradient, topC, decay):
    memory.append((norm, gradient.clone()))
    memory[0][0] *= decay
    return memory


REMEMBER = {
    "gradient that came in was changed": zeroed,
    "returns None": lambda *_: None,
    "a list of pairs": lambda *_: {},
    "list of pairs (priority, gradient)": changed(lambda found, *_: [(g, p) for p, g in found]),
    "pairs (priority, gradient).": changed(lambda found, *_: [(p, g[0]) for p, g in found]),
    "pairs (priority": changed(lambda found, *_: [(p, g, 0) for p, g in found]),
    "Keep a copy: gradient.clone()": lambda memory, norm, gradient, *_: [(norm, gradient)],
    "the very tensor that came in": lambda memory, norm, gradient, *_: [(norm, gradient[:])],
    "ZeroDivisionError": lambda *_: 1 / 0,
    "are right, but stand with other gradients": changed(swapped),
    "with other gradients. Of equal priorities, is the oldest evicted?": replaces_in_its_place,
    "min, sort, remove and heapq compare the tensors": heap_of_pairs,
    "A tuple cannot be changed": into_a_pair,
    "after gradient 1, of norm 4, the priorities should be [2.0], and yours are [6.0]": changed(
        lambda found, *_: [(3 * p, g) for p, g in found]
    ),
}


@pytest.mark.parametrize("why", REMEMBER)
def test_remember_rejects(why):
    rejects(checks.remember, REMEMBER[why], why)
