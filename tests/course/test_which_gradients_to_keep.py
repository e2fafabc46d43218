"""Which gradients to keep."""

import heapq
import inspect
import math
import re
from statistics import mean

import nbformat
import pytest
import torch
from checking import accepts, rejects, said
from looking import NOTEBOOKS
from torch.optim import SGD

from cgtutor import SGD_C
from cgtutor.course.shared.data import Data, Split
from cgtutor.course.shared.training import sweep
from cgtutor.course.which_gradients_to_keep import checks, explorer, figures, mistakes, stages
from cgtutor.course.which_gradients_to_keep.study import (
    Course,
    Played,
    course,
    difference,
    extra_stays,
    hard_norms,
    play,
    play_library,
    slots,
    steps_until_back,
    with_spike,
)

#: The trace of the docs: the 1 goes when the 3 comes, the 0.2 never gets in.
TRACE = [4.0, 1.0, 3.0, 0.2]
#: Like those of a training: they differ by a factor of three.
NORMS = [0.6 + 1.2 * x for x in torch.rand(120, generator=torch.manual_seed(1)).tolist()]


def traced():
    return play(stages.remember, TRACE, topC=2, decay=0.5)


def solved():
    """What a reader has who copies the notebook's solutions."""
    (path,) = NOTEBOOKS.glob("03_*.ipynb")
    shell = {"math": math, "checks": checks}
    for cell in nbformat.read(path, as_version=4).cells:
        if "solution" in cell.metadata.get("tags", []):
            (source,) = re.findall(r"```python\n(.+?)\n```", cell.source, re.DOTALL)
            exec(source, shell)
    return shell


# ------------------------------------------------------------------------ the memory


def test_play_by_hand():
    assert traced().held == [{0: 2.0}, {0: 1.0, 1: 0.5}, {0: 0.5, 2: 1.5}, {0: 0.25, 2: 0.75}]
    assert [traced().stays(born) for born in range(4)] == [4, 1, 2, 0]
    assert traced().rejected == 1
    assert traced().oldest == 3


@pytest.mark.parametrize("decay", [0, 0.5, 0.9, 1])
def test_the_readers_memory_is_the_librarys(decay, capsys):
    """With ties, zeros, NaN and infinity."""
    remember = solved()["remember"]
    assert capsys.readouterr().out.count("Right! ") == 5
    norms = hard_norms(2000)
    assert any(map(math.isnan, norms))
    assert math.inf in norms
    assert 0.0 in norms
    assert len({norm for norm in norms if norm == norm}) < 20
    mine, library = play(remember, norms, 10, decay), play_library(norms, 10, decay)
    assert difference(mine, library) == ""
    assert mine.rejected == library.rejected > 0


def test_the_first_form_gets_stuck():
    def first(memory, norm, gradient, topC, decay):
        return stages.decayed(stages.keep_largest(memory, norm, gradient, topC), decay)

    assert sorted(play(first, NORMS, 10, 0).held[-1]) == [*range(1, 10), 119]
    assert sorted(play(stages.remember, NORMS, 10, 0).held[-1]) == list(range(110, 120))


def test_difference_says_where():
    one = traced()
    assert difference(one, one) == ""
    other = one._replace(held=[*one.held[:2], {0: 0.5, 1: 1.5}, one.held[3]])
    assert difference(one, other) == (
        "After step 2 one holds the gradients of steps [0, 2], the other those of [0, 1]."
    )
    other = one._replace(held=[{0: 2.1}, *one.held[1:]])
    assert "After step 0 they hold the same gradients with other" in difference(one, other)


def test_slots_by_hand():
    expected = [[0, 1, 2, 3], [math.nan, 0, 0, 1]]
    torch.testing.assert_close(
        slots(traced()), torch.tensor(expected), equal_nan=True, check_dtype=False
    )
    last_ten = slots(play(stages.remember, [1.0] * 25, topC=10, decay=0.5))
    assert last_ten[3, 3:13].tolist() == list(range(10))
    assert last_ten[3, 13] == 0


def test_the_law_of_the_spike():
    law = solved()["extra_steps"]
    found = extra_stays(stages.remember, NORMS, [0.5, 0.8, 0.9], range(20, 60, 4), height=10)
    for decay, extra in found.items():
        assert mean(extra) == pytest.approx(law(10, decay), abs=2)
    assert with_spike(TRACE, 1, 10) == [4, 10, 3, 0.2]
    # 100 times the others decays below 1 after 13 steps of 0.7: 0.7 ** 13 = 0.0097
    spiked = play(stages.remember, with_spike([1.0] * 50, 5, 100), 1, 0.7)
    assert spiked.stays(5) == 13 == math.ceil(law(100, 0.7))


# ---------------------------------------------------------------------- the trainings


def test_course(tiny):
    def sgd(parameters, lr):
        return SGD(parameters, lr)

    clean = course(sgd, 0.1, 3, tiny, bad=None, steps=6, every=2)
    spoilt = course(sgd, 0.1, 3, tiny, bad=3, steps=6, every=2)
    assert clean.steps == [0, 2, 4, 6]
    assert spoilt.steps == [0, 2, 4, 5, 6]  # 4 and 5 come right after step 3
    assert clean.validation_loss[:2] == spoilt.validation_loss[:2]
    assert spoilt.validation_loss[2] != clean.validation_loss[2]
    assert course(sgd, 0.1, 3, tiny, bad=3, steps=6, every=2) == spoilt


def test_sweep_of_courses(tiny):
    small = Data(*(Split(s.x[:50], s.y[:50]) for s in tiny))
    names = {"a": SGD, "b": lambda p, lr: SGD_C(p, lr, kappa=0)}
    found = sweep(names, [0.1, 0.2], [0, 1], course, data=small, bad=None)
    assert found["a"] == found["b"]
    assert found["a"][0.2][1] == course(SGD, 0.2, 1, small, bad=None)


def test_steps_until_back():
    runs = [Course([0, 3, 4, 5, 8, 9], [2, 1.0, 1.0, last, 0.5, 0.6]) for last in (1.0, 1.5)]
    assert steps_until_back(runs, bad=3) == 5  # not 1: it rises afterwards
    assert steps_until_back(runs, bad=5) == 3
    assert steps_until_back(runs, bad=8) is None


# ------------------------------------------------------------------------ the figures


def test_held_at_the_end():
    figure = figures.held_at_the_end(traced(), "The finding", "here")
    (ax,) = figure.axes
    dots, top, held = ax.lines
    assert list(dots.get_ydata()) == TRACE
    assert sorted(top.get_xdata()) == list(held.get_xdata()) == [0, 2]
    assert "In the memory at the end are those of the steps 0, 2; the 2 largest" in figure.alt
    assert figure.get_suptitle() == "The finding"
    plain = figures.held_at_the_end(play(stages.remember, NORMS), "x", "y", largest=False)
    assert len(plain.axes[0].lines) == 2
    assert "110 to 119;" in plain.alt


def test_slots_over_time():
    runs = {f"decay {d}": play(stages.remember, [1.0] * 200, 10, d) for d in (0.5, 1)}
    figure = figures.slots_over_time(runs, "Two memories")
    one, other, bar = figure.axes
    assert one.get_title(loc="left") == "decay 0.5: 0 of 200 rejected"
    assert "decay 1: 190 of 200 rejected, the oldest 199 steps old" in figure.alt
    assert one.images[0].get_clim() == other.images[0].get_clim() == (0, 199)
    assert bar.get_ylabel() == "age in steps"


def test_slots_over_time_where_nothing_is_kept():
    empty = Played([math.nan], 2, [{}])
    assert "the oldest 0 steps old" in figures.slots_over_time({"empty": empty}, "x").alt


def test_memory_player():
    shown = figures.memory_player(traced())
    assert shown.count == 4
    (words,) = [shown._data["text/plain"]]
    assert "1 of 4 gradients are rejected; that of step 0 stays longest, 4 steps" in words
    page = shown._data["text/html"]
    for caption in (
        "Step 0, norm 4.00: inserted into a free slot.",
        "Step 2, norm 3.00: inserted, and the gradient of step 1 is evicted.",
        "Step 3, norm 0.20: rejected; the smallest priority was 0.50.",
    ):
        assert caption in page


def test_extra_stay():
    figure = figures.extra_stay(
        {0.5: [3, 5], 0.7: [6, 8], 0.9: [20, 24]}, stages.extra_steps, height=10
    )
    assert "decay 0.5: 4 measured (3 to 5), 3.3 expected" in figure.alt
    law, measured = figure.axes[0].lines
    assert law.get_ydata()[2] == pytest.approx(21.85, abs=0.01)
    assert list(measured.get_ydata()) == [4, 7, 22]


def test_after_bad_batch():
    runs = {
        "SGD": [Course([0, 5, 9], [2.0, 3.0, last]) for last in (1.0, 0.5)],
        "C": [Course([0, 5, 9], [2.0, 2.5, 2.2])],
    }
    figure = figures.after_bad_batch(runs, "The finding", bad=0)
    (ax,) = figure.axes
    assert ax.lines[0].get_ydata() == pytest.approx([2.0, 3.0, 0.75])
    assert "SGD: 0.75 at the end, as low as right before it after 9 steps" in figure.alt
    assert "C: 2.20 at the end, never as low again" in figure.alt
    heights = {t.get_text(): t.get_position()[1] for t in ax.texts}
    assert heights["C"] - heights["SGD"] >= 0.2


def test_explorer():
    seen = []

    def noted(memory, norm, gradient, topC, decay):
        seen.append((norm, topC, decay))
        return stages.remember(memory, norm, gradient, topC, decay)

    made = explorer.slots_explorer(noted, NORMS)
    assert "<b>Goal:</b>" in made.goal.value
    made.set(topC=3, decay=0.8, height=20)
    assert (20 * NORMS[explorer.SPIKE], 3, 0.8) in seen
    made.set(topC=1, decay=0.8, height=10)
    assert "✓ Reached:" in made.goal.value
    made.set(height=9)
    assert "<b>Goal:</b>" in made.goal.value
    made.set(height=10, decay=0.99)
    assert "<b>Goal:</b>" in made.goal.value
    made.set(topC=20, decay=0)
    assert "stays 20 steps; 0 of 120 gradients are rejected" in made.picture.value


def test_the_explorer_follows_the_drag():
    made = explorer.slots_explorer(stages.remember, NORMS)
    shown = set()
    for topC in range(1, 6):
        made.set(topC=topC)
        shown.add(made.picture.value)
    assert len(shown) == 5


# ------------------------------------------------------------------------- the checks


def keep_in_a_new_list(memory, norm, gradient, topC):
    kept = sorted([*memory, (norm, gradient)], key=lambda entry: entry[0])
    return kept[-topC:]


def insert_by_pop(memory, norm, gradient, topC):
    memory = list(memory)
    if len(memory) == topC:
        priorities = [priority for priority, _ in memory]
        if norm <= min(priorities):
            return memory
        memory.pop(priorities.index(min(priorities)))
    return [*memory, (norm, gradient)]


def insert_newest_first(memory, norm, gradient, topC):
    if len(memory) == topC:
        smallest = min(priority for priority, _ in memory)
        if norm <= smallest:
            return memory
        at = max(i for i, (priority, _) in enumerate(memory) if priority == smallest)
        memory = memory[:at] + memory[at + 1 :]
    return [(norm, gradient), *memory]


def decay_in_place(memory, decay):
    for i, (priority, gradient) in enumerate(memory):
        memory[i] = (decay * priority, gradient)
    return memory


def remember_in_place(memory, norm, gradient, topC, decay):
    if norm > 0 and math.isfinite(norm):
        if len(memory) == topC and norm > min(p for p, _ in memory):
            memory.remove(min(memory, key=lambda entry: entry[0]))
        if len(memory) < topC:
            memory.append([norm, gradient.clone()])
    for entry in memory:
        entry[0] *= decay
    return memory


def remember_in_a_tensor(memory, norm, gradient, topC, decay):
    """With priorities in a tensor, which makes them float32."""
    found = stages.remember(memory, norm, gradient, topC, 1)
    return list(zip(torch.tensor([p for p, _ in found]) * decay, [g for _, g in found]))


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (checks.keep_largest, stages.keep_largest),
        (checks.keep_largest, stages.insert),
        (checks.keep_largest, keep_in_a_new_list),
        (checks.decayed, stages.decayed),
        (checks.decayed, decay_in_place),
        (checks.insert, stages.insert),
        (checks.insert, insert_by_pop),
        (checks.insert, insert_newest_first),
        (checks.remember, stages.remember),
        (checks.remember, remember_in_place),
        (checks.remember, remember_in_a_tensor),
        (checks.extra_steps, stages.extra_steps),
        (checks.extra_steps, lambda h, d: -math.log10(h) / math.log10(d)),
        (checks.extra_steps, lambda h, d: torch.tensor(1 / h).log() / torch.tensor(d).log()),
    ],
)
def test_accepts(check, right):
    accepts(check, right)


@pytest.mark.parametrize("why", mistakes.INSERTS, ids=lambda why: why[:60])
def test_insert_knows(why):
    rejects(checks.insert, mistakes.INSERTS[why], f"Not yet: {why}\n")


@pytest.mark.parametrize("why", mistakes.REMEMBERS, ids=lambda why: why[:60])
def test_remember_knows(why):
    rejects(checks.remember, mistakes.REMEMBERS[why], f"Not yet: {why}\n")


def heap_of_pairs(memory, norm, gradient, topC):
    if len(memory) < topC:
        heapq.heappush(memory, (norm, gradient))
    elif norm > memory[0][0]:
        heapq.heapreplace(memory, (norm, gradient))
    return memory


def in_a_pair(memory, decay):
    for pair in memory:
        pair[0] *= decay
    return memory


def without_a_copy(memory, norm, gradient, topC, decay):
    return stages.decayed(stages.insert(memory, norm, gradient, topC), decay)


def zeroed(memory, norm, gradient, topC, decay):
    found = stages.remember(memory, norm, gradient, topC, decay)
    gradient.zero_()
    return found


def tripled(*given):
    return [(3 * p, g) for p, g in stages.remember(*given)]


def swapped(*given):
    found = stages.remember(*given)
    return [(p, found[-1 - i][1]) for i, (p, _) in enumerate(found)]


LAW = stages.extra_steps
WRONG = [
    (checks.keep_largest, lambda *_: None, "returns None"),
    (checks.keep_largest, lambda *_: {}, "return a list of pairs"),
    (checks.keep_largest, lambda m, n, g, c: [*m, (g, n)], "pairs (priority, gradient)"),
    (checks.keep_largest, lambda m, n, g, c: [*m, (n, g)][-c:], "as in a queue"),
    (checks.keep_largest, lambda m, n, g, c: [*m, (n, g)], "more than topC pairs"),
    (checks.keep_largest, lambda *_: 1 / 0, "ZeroDivisionError"),
    (checks.insert, stages.keep_largest, "upsets the order"),
    (checks.insert, heap_of_pairs, "min, sort, remove and heapq compare the tensors"),
    (checks.decayed, lambda m, d: [(p, g) for p, g in m], "should be [4.0, 2.0, 3.0]"),
    (checks.decayed, lambda m, d: [(p * d, g * d) for p, g in m], "Only priorities decay"),
    (checks.decayed, lambda m, d: [(p * d, g) for p, g in m][1:], "Decay evicts nothing"),
    (checks.decayed, in_a_pair, "A tuple cannot be changed"),
    (checks.decayed, lambda m, d: None, "returns None"),
    (checks.remember, without_a_copy, "Keep a copy: gradient.clone()"),
    (checks.remember, zeroed, "gradient that came in was changed"),
    (checks.remember, swapped, "are right, but stand with other gradients"),
    (checks.remember, tripled, "after gradient 1, of norm 4, the priorities should be"),
    (checks.extra_steps, lambda h, d: None, "returns None"),
    (checks.extra_steps, lambda h, d: -LAW(h, d), "negative"),
    (checks.extra_steps, lambda h, d: 1 / LAW(h, d), "the other way round"),
    (checks.extra_steps, lambda h, d: round(LAW(h, d)), "rounded"),
    (checks.extra_steps, lambda h, d: math.ceil(LAW(h, d)), "rounded up"),
    (checks.extra_steps, lambda h, d: math.log(h) / (1 - d), "close only where decay"),
    (checks.extra_steps, lambda h, d: math.log10(h) / math.log(1 / d), "mixing two"),
    (checks.extra_steps, lambda h, d: 5.0, "It should be more than that"),
]


@pytest.mark.parametrize(
    ("check", "answer", "why"), WRONG, ids=[f"{check.name}-{why[:40]}" for check, _, why in WRONG]
)
def test_rejects(check, answer, why):
    rejects(check, answer, why)


def test_hints():
    for check in (
        checks.keep_largest,
        checks.decayed,
        checks.insert,
        checks.remember,
        checks.extra_steps,
    ):
        assert 2 <= len(check.hints) <= 4
    assert "0 < norm < math.inf" in said(lambda: checks.remember(hint=2))
    assert "clone" in inspect.getsource(stages.remember)
