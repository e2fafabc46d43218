"""From a heap to a gpu."""

import re
from pathlib import Path

import nbformat
import pytest
import torch
from checking import accepts, rejects
from torch.optim import SGD

from cgtutor import SGD_C
from cgtutor.course.from_a_heap_to_a_gpu import checks, figures, stand_ins, study
from cgtutor.course.from_a_heap_to_a_gpu.explorer import BACKWARD, busy, launch_explorer
from cgtutor.course.from_a_heap_to_a_gpu.study import (
    Graphs,
    Job,
    Launches,
    finished,
    heap_step,
    launched,
    memories,
    queue,
    stacked_step,
    tensors_of,
)
from cgtutor.course.shared.check import edited

(NOTEBOOK,) = (Path(__file__).parents[2] / "notebooks").glob("07_*.ipynb")


@pytest.fixture(scope="module")
def solved():
    """What the notebook's solutions define, and its own class and functions with them."""
    names = {"SGD": SGD, "torch": torch, "study": study, "checks": checks}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if "solution" in tags:
            exec(re.search(r"```python\n(.+?)\n```", cell.source, re.DOTALL)[1], names)
        elif cell.source.startswith("class Stacked") or "def sum_errors" in cell.source:
            exec(cell.source.partition("\n\n\nnorms =")[0], names)
    return names


# -------------------------------------------------------------------------------- the study


def test_launches_counts_no_views_and_no_reading():
    with Launches() as seen:
        a = torch.ones(4)
        b = a[:2].view(2, 1) + a[2:].view(2, 1)
        b.sum().item()
        torch._foreach_mul([a, b], 2)
    assert seen.names == ["ones", "add", "sum", "_foreach_mul"]
    assert len(seen) == 4


def test_launched_after_the_memory_is_full():
    names = launched(SGD_C(tensors_of(2), topC=3, foreach=True), fill=4)
    assert names.count("add_") == 2 * 3
    assert len(launched(SGD_C(tensors_of(2), topC=3, foreach=True), fill=1)) < len(names)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_graphs_counts_and_computes():
    torch.compiler.reset()
    backend = Graphs()
    double = torch.compile(lambda x: 2 * x, backend=backend)
    assert double(torch.ones(3)).tolist() == [2.0, 2.0, 2.0]
    double(torch.zeros(3))
    assert backend.count == 1
    torch.compiler.reset()


def test_queue_by_hand():
    """Launch 5, work 8, answer 10."""
    assert [tuple(task) for task in queue(memories(1, "each"))] == [
        ("CPU", "launch", 0, 5),
        ("GPU", "norm", 5, 13),
        ("CPU", "wait", 5, 23),
        ("CPU", "launch", 23, 28),
        ("GPU", "insert", 28, 36),
    ]
    never = queue(memories(2, "never"))
    assert [(t.kind, t.start, t.end) for t in never if t.processor == "GPU"] == [
        *(("norm", 5, 13), ("norm", 13, 21), ("insert", 21, 29), ("insert", 29, 37)),
    ]
    assert all(t.kind != "wait" for t in never)
    once = queue(memories(2, "once"))
    assert [(t.start, t.end) for t in once if t.kind == "wait"] == [(10, 31)]
    assert [t.start for t in once if t.kind == "insert"] == [36, 44]
    slow_launch = queue(memories(2, "never"), launch=20)  # then the GPU waits for the CPU
    assert [t.start for t in slow_launch if t.processor == "GPU"] == [20, 40, 60, 80]


def test_launches_are_hidden_behind_the_backward_pass_but_for_a_look():
    """The times by hand that the text asks for: 129, 84 and 69 microseconds."""
    for looks, alone in (("each", 129), ("once", 84), ("never", 69)):
        assert finished(queue(memories(4, looks))) == alone
    jobs = [Job("other", 2)] * 10
    assert finished(queue(jobs, backward=60)) == 60 + 20
    jobs[0] = Job("norm", 2, look=True)
    assert finished(queue(jobs, backward=60)) == 60 + 2 + 10 + 9 * 5 + 2


def test_the_modelled_steps_have_the_operations_of_the_real_ones(solved):
    """In number, whatever the tensors and topC."""
    for tensors, topC in ((2, 3), (16, 10)):
        real = launched(SGD_C(tensors_of(tensors), topC=topC, foreach=True), topC + 1)
        assert len(heap_step(tensors, topC, 1e5)) == len(real)
        yours = launched(solved["Stacked"](tensors_of(tensors, device="meta"), 0.1, topC), topC)
        assert len(stacked_step(1e5)) == len(yours)


def test_words_of_the_modelled_steps():
    """At 2 TB/s: 8 + 3 topC words for the heap, 24 for the stack."""
    work = sum(job.work for job in heap_step(4, 10, 1e8))
    assert work == pytest.approx((8 + 3 * 10) * 1e8 * 4 / 2e6 + study.SHORTEST)
    work = sum(job.work for job in stacked_step(1e8))
    assert work == pytest.approx(24 * 1e8 * 4 / 2e6 + 19 * study.SHORTEST)


# -------------------------------------------------------------------- what the reader builds


@pytest.mark.parametrize("decay", [0.5, 0.9, 1.0])
def test_stacked_trains_as_the_library(solved, decay, double_precision):
    torch.manual_seed(1)
    shapes = [(3, 4), (5,), ()]
    ours, theirs = ([torch.nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    stacked = solved["Stacked"](ours, lr=0.01, topC=4, decay=decay)
    reference = SGD_C(theirs, lr=0.01, topC=4, decay=decay)
    for _ in range(150):
        size = torch.rand(())
        for p, q in zip(ours, theirs):
            p.grad = size * torch.randn(p.shape)
            q.grad = p.grad.clone()
        before = [p.grad for p in ours]
        stacked.step()
        reference.step()
        assert all(p.grad is g for p, g in zip(ours, before))
        for p, q in zip(ours, theirs):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-12)
    ages = sorted(int(stacked.steps - birth) for birth in stacked.births)
    assert ages == sorted(reference.memory(theirs[0]).ages)


def test_stacked_never_looks_and_launches_alike_for_any_model(solved):
    counts = {
        len(launched(solved["Stacked"](tensors_of(tensors, device="meta"), 0.1, topC), topC))
        for tensors in (1, 4, 32)
        for topC in (1, 20)
    }
    assert len(counts) == 1
    with pytest.raises(NotImplementedError, match="meta"):
        SGD_C(tensors_of(2, device="meta"), foreach=True).step()


def test_stacked_keeps_no_nan(solved):
    (p,) = tensors_of(1)
    stacked = solved["Stacked"]([p], lr=0.1, topC=2)
    stacked.step()
    p.grad = torch.full_like(p, torch.nan)
    stacked.step()
    assert stacked.rows.isfinite().all()
    assert stacked.total.isfinite().all()


def test_sum_errors(solved):
    norms = [10.0 ** (-t / 500) for t in range(2000)]
    alone, renewed = solved["sum_errors"](norms), solved["sum_errors"](norms, every=64)
    assert len(alone) == 200
    assert alone[:6] == renewed[:6]
    assert alone[-1] > 30 * renewed[-1]
    assert max(renewed) < 1e-5


# --------------------------------------------------------------------------------- the checks


@pytest.mark.parametrize("name", ["launches", "choose", "replace"])
def test_checks_accept_the_solutions_and_have_hints(solved, name):
    check = getattr(checks, name)
    accepts(check, solved[name])
    accepts(check, getattr(stand_ins, name))
    assert len(check.hints) >= 2


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"3 + ": ""}, "it returns 10, but a step launches 13 operations. Did you count the 3"),
        ({"topC + 2": "topC + 1"}, "it returns 11, but a step launches 13"),
        ({"tensors * (topC + 2)": "10"}, "with 1 tensors and topC = 1 it returns 13"),
        ({"return 3": "got = 3"}, "it returns None"),
        ({"tensors * (": "tensors * nothing * ("}, "NameError"),
    ],
)
def test_launches_rejects(edits, why):
    rejects(checks.launches, edited(stand_ins.launches, edits), why)


def sorting(priorities, births, priority):
    """Another way: the oldest has the last place among equals."""
    oldest = torch.stack([births, priorities]).unbind()[0].argsort()
    slot = oldest[priorities[oldest].argsort(stable=True)][0]
    return slot, torch.isfinite(priority) & (priority > priorities.min())


def test_choose_accepts_another_way():
    accepts(checks.choose, sorting)
    accepts(
        checks.choose, edited(stand_ins.choose, {"priority > smallest": "priority.gt(smallest)"})
    )


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"torch.where(priorities == smallest, births, torch.inf)": "priorities"}, "oldest is ev"),
        ({"torch.where(priorities == smallest, births, torch.inf)": "births"}, "it takes slot"),
        ({"priority > smallest": "priority >= smallest"}, "merely equals the smallest"),
        ({"(priority < torch.inf)": "True"}, "with an infinite gradient"),
        ({"(priority > smallest) & (priority < torch.inf)": "~(priority <= smallest)"}, "a NaN"),
        ({"priority > smallest": "priority > 0"}, "it inserts the norm 0.2, and the heap rejects"),
        ({".argmin()\n": ".argmin().item()\n"}, "slot is of type int"),
        ({"slot = torch": "assert smallest >= 0\n    slot = torch"}, "Either a value is looked at"),
        ({"slot, enters": "slot"}, "return two things"),
        ({"slot, enters\n": "slot[None], enters\n"}, "has the shape (1,), and should have ()"),
        ({"slot, enters\n": "slot.float(), enters\n"}, "integer tensor"),
        ({"slot, enters\n": "slot + 1, enters\n"}, "it takes slot"),
        ({"smallest = ": "priorities[0] = 5; smallest = "}, "leave the tensors"),
        ({"slot, enters\n": "slot, torch.tensor(bool(enters))\n"}, "a value is looked at"),
        (
            {"slot, enters\n": "slot, enters if enters.is_cpu else torch.ones(()) > 0\n"},
            "another device",
        ),
    ],
)
def test_choose_rejects(edits, why):
    rejects(checks.choose, edited(stand_ins.choose, edits), why)


def indexed(rows, total, slot, enters, gradient):
    """Another way: an index with one dimension, and the difference at the end."""
    at = slot[None]
    new = torch.where(enters, gradient, rows[at])
    total.sub_(rows[at][0]).add_(new[0])
    rows[at] = new


def test_replace_accepts_another_way():
    accepts(checks.replace, indexed)


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ({"torch.where(enters, gradient, old)": "gradient"}, "a gradient that is rejected: slot 2"),
        ({"torch.where(enters, gradient, old)": "old + enters * (gradient - old)"}, "0 times NaN"),
        ({"    total += new - old\n": ""}, "Change total in place"),
        ({"total += new - old": "total = total + new - old"}, "Change total in place"),
        ({"total += new - old": "total += new"}, "an insertion that evicts: the sum is"),
        ({"total += new - old": "total.copy_(rows.sum(0))"}, "the first insertion: the sum is"),
        ({"    rows.index_copy_(0, at, new[None])\n": ""}, "nothing was written"),
        ({"rows.index_select(0, at)[0]": "rows[slot].clone()"}, "Either a value is looked at"),
        ({"total += new - old": "gradient *= 2"}, "leave the gradient as it is"),
        ({"slot.reshape(1)": "(slot * 0).reshape(1)"}, "slot 0 holds [3.0"),
        ({"total +=": "if enters: total +="}, "Either a value is looked at"),
    ],
)
def test_replace_rejects(edits, why):
    rejects(checks.replace, edited(stand_ins.replace, edits), why)


def adding_all(rows, total, slot, enters, gradient):
    stand_ins.replace(rows, total, slot, enters, gradient)
    total.copy_(rows.sum(0))


def test_replace_rejects_adding_all_rows_again():
    rejects(checks.replace, adding_all, "it adds up all rows again")


# --------------------------------------------------------------------- figures and explorer


def suptitle(figure):
    return figure._suptitle.get_text()


def test_operations_says_its_finding():
    figure = figures.operations({"SGD": 1, "SGD_C": 51, "SGD_C_eff": 7}, tensors=4)
    assert suptitle(figure) == "51 operations or 7, and the same numbers come out"
    assert figure.alt.endswith("model of 4 tensors. SGD: 1; SGD_C: 51; SGD_C_eff: 7.")
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1, 51, 7]


def test_drift():
    figure = figures.drift({"a": [1e-3, 0.5], "b": [1e-7, 2e-7]}, stride=10)
    (ax,) = figure.axes
    assert [list(line.get_xdata()) for line in ax.lines] == [[10, 20], [10, 20]]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1e-3, 0.5], [1e-7, 2e-7]]
    assert "off by 50%" in [text.get_text() for text in ax.texts]
    assert figure.alt.endswith(
        "over 20 insertions of ever smaller gradients, on a logarithmic "
        "scale. The largest error of each way. a: 5e-01; b: 2e-07."
    )


def test_step_times_leaves_out_what_was_measured():
    """So that the stored words are the same on every machine."""
    panels = {"small": {"SGD": 1.0, "SGD_C": 12.34}, "large": {"SGD": 1.0, "SGD_C": 5.67}}
    figure = figures.step_times(panels, 8 / 3, "cpu")
    assert "12" not in figure.alt
    assert "2.67" in figure.alt
    assert suptitle(figure).endswith("Small: SGD_C is fastest. Large: 2.1 times the floor at best")
    assert "12.3" in [text.get_text() for text in figure.axes[0].texts]


def test_two_queues(monkeypatch):
    made = {}

    def noted(draw, count, captions, alt, **_):
        made.update(draw=draw, count=count, captions=captions, alt=alt)

    monkeypatch.setattr(figures, "player", noted)
    figures.two_queues()
    assert "each norm: 129 microseconds; The CPU never looks: 69 microseconds" in made["alt"]
    assert len(made["captions"]) == made["count"]
    first, last = made["draw"](0), made["draw"](made["count"] - 1)
    titles = [ax.get_title("left") for ax in last.axes]
    assert titles == [
        "The CPU looks at each norm: done after 129 µs",
        "The CPU never looks: done after 69 µs",
    ]
    assert [ax.get_title("left") for ax in first.axes] == [t.partition(":")[0] for t in titles]
    full = made["draw"](3)  # after 32 microseconds, 6 launches and 4 jobs begun
    assert [t.get_text() for ax in full.axes for t in ax.texts] == ["queue: 0", "queue: 2"]
    assert "the queue fills" in made["captions"][0]
    assert "nothing to do" in made["captions"][1]
    assert made["captions"][-1].startswith("Both have done the same work")


def test_explorer_reaches_its_goal_by_larger_operations():
    explorer = launch_explorer()
    assert "Goal:" in explorer.goal.value
    explorer.set(topC=20)
    assert "Goal:" in explorer.goal.value, "topC does not help"
    explorer.set(tensors=4, topC=10, parameters=1e7)
    assert "✓ Reached:" in explorer.goal.value
    assert "still 1.5 times as fast" in explorer.goal.value
    explorer.set(tensors=32)
    assert "Goal:" in explorer.goal.value


def test_explorer_draws_the_times_on_an_axis_that_stays():
    explorer = launch_explorer()
    first = explorer._figure
    assert first.alt.endswith("SGD_C: 981; Stacked: 58.")
    for tensors, topC, parameters in ((32, 20, 2e7), (1, 1, 1e4)):
        explorer.set(tensors=tensors, topC=topC, parameters=parameters)
        (ax,) = explorer._figure.axes
        assert ax.get_xlim() == first.axes[0].get_xlim()
        end = finished(queue(heap_step(tensors, topC, parameters), BACKWARD))
        assert end < ax.get_xlim()[1]


def test_busy():
    tasks = queue([Job("other", 5, look=True), Job("other", 5)], BACKWARD)
    assert busy(tasks) == pytest.approx(10 / 25)
