"""From a heap to a gpu."""

import pytest
import torch
from checking import accepts, rejects
from looking import defined_in

from cgtutor.course.from_a_heap_to_a_gpu import checks, figures
from cgtutor.course.from_a_heap_to_a_gpu.explorer import words_explorer
from cgtutor.course.from_a_heap_to_a_gpu.study import queue
from cgtutor.course.shared.figures import bars
from cgtutor.course.shared.speed import words


def test_queue_by_hand():
    """Launch 5, work 8, answer 10."""
    assert [tuple(task) for task in queue(1, looks="each")] == [
        ("CPU", "launch", 0, 5),
        ("GPU", "norm", 5, 13),
        ("CPU", "wait", 5, 23),
        ("CPU", "launch", 23, 28),
        ("GPU", "insert", 28, 36),
    ]
    never = queue(2, looks="never")
    assert [(t.kind, t.start, t.end) for t in never if t.processor == "GPU"] == [
        *(("norm", 5, 13), ("norm", 13, 21), ("insert", 21, 29), ("insert", 29, 37)),
    ]
    assert all(t.kind != "wait" for t in never)
    once = queue(2, looks="once")
    assert [(t.start, t.end) for t in once if t.kind == "wait"] == [(10, 31)]
    assert [t.start for t in once if t.kind == "insert"] == [36, 44]
    slow_launch = queue(2, looks="never", launch=20)  # then the GPU waits for the CPU
    assert [t.start for t in slow_launch if t.processor == "GPU"] == [20, 40, 60, 80]


def test_running_sum_errors():
    running_sum_errors = defined_in("07", "running_sum_errors")
    norms = [10.0 ** (-t / 500) for t in range(2000)]
    left_alone, renewed = running_sum_errors(norms), running_sum_errors(norms, every=64)
    assert left_alone[:63] == renewed[:63]
    assert left_alone[-1] > 30 * renewed[-1]
    assert max(renewed) < 1e-5


def test_timelines():
    runs = {"looks": queue(2, "each"), "never": queue(2, "never")}
    figure = figures.timelines(runs)
    assert [ax.get_title("left") for ax in figure.axes] == [
        "looks: 67 microseconds",
        "never: 37 microseconds",
    ]
    for ax, tasks in zip(figure.axes, runs.values()):
        drawn = sorted((b.get_x(), b.get_x() + b.get_width()) for b in ax.patches)
        assert drawn == sorted((t.start, t.end) for t in tasks)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["CPU launches a job", "CPU waits for a number"]
    assert labels[2:] == ["GPU takes a norm", "GPU inserts"]
    assert "looks: 67 microseconds, of which the CPU waits 39; never: 37" in figure.alt


def test_relative_errors():
    figure = figures.relative_errors({"a": [1e-3, 1e-2], "b": [1e-7, 1e-7]})
    (ax,) = figure.axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[1e-3, 1e-2], [1e-7, 1e-7]]
    assert ax.get_yscale() == "log"
    assert figure.alt.endswith("a: 1e-02; b: 1e-07.")


def test_words_explorer_draws_the_static_figure():
    explorer = words_explorer()
    top_c, inserting, update = explorer.children[1:4]
    top_c.value, inserting.value, update.value = 5, False, 3
    expected = bars(
        {"topC = 5, gradient rejected": words(5, False, 3)},
        "words moved for each parameter of the model",
        {"torch's update alone: 3": 3},
        longest=55,
    )
    assert explorer.children[-1].value == expected.bundle()[0]["text/html"]


def here(priorities, norm, at="argmin", larger=torch.gt, finite=True):
    """In which slot the newcomer goes, if anywhere."""
    slots = torch.arange(len(priorities), device=priorities.device)
    slot = slots == getattr(priorities, at)()
    enters = larger(norm, priorities.amin())
    return slot & enters & norm.isfinite() if finite else slot & enters


def chosen(slot, priorities, rows, norm, gradient):
    return torch.where(slot, norm, priorities), torch.where(slot[:, None], gradient, rows)


def right(priorities, rows, norm, gradient):
    return chosen(here(priorities, norm), priorities, rows, norm, gradient)


def multiplied(priorities, rows, norm, gradient):
    slot = here(priorities, norm)
    return torch.where(slot, norm, priorities), rows + slot.float()[:, None] * (gradient - rows)


def with_if(priorities, rows, norm, gradient):
    priorities, rows, slot = priorities.clone(), rows.clone(), priorities.argmin()
    if norm > priorities[slot] and norm.isfinite():
        priorities[slot], rows[slot] = norm, gradient
    return priorities, rows


def with_index(priorities, rows, norm, gradient):
    priorities, rows, slot = priorities.clone(), rows.clone(), priorities.argmin()
    enters = (norm > priorities[slot]) & norm.isfinite()
    priorities[slot] = torch.where(enters, norm, priorities[slot])
    rows[slot] = torch.where(enters, gradient, rows[slot])
    return priorities, rows


def in_place(priorities, rows, norm, gradient):
    priorities[priorities.argmin()] = norm
    return priorities, rows


WRONG = {
    "after insertion 1 the filled slots have the priorities []": lambda p, r, n, g: (p, r),
    "0 times NaN": multiplied,
    "Either a value is looked at": with_if,
    "an index such as `priorities[slot]`": with_index,
    "merely equals the smallest": lambda p, r, n, g: chosen(
        here(p, n, larger=torch.ge), p, r, n, g
    ),
    "with an infinite gradient": lambda p, r, n, g: chosen(here(p, n, finite=False), p, r, n, g),
    "after insertion 2 the filled slots have the priorities [1.0]": lambda p, r, n, g: chosen(
        here(p, n, at="argmax"), p, r, n, g
    ),
    "rows hold other gradients": lambda p, r, n, g: (right(p, r, n, g)[0], r),
    "leave the tensors that come in": in_place,
    "return two things": lambda p, r, n, g: None,
    "must be two tensors": lambda p, r, n, g: (None, r),
    "rows must be two": lambda p, r, n, g: (p, r.tolist()),
    "it returns (3,) and (2, 3)": lambda p, r, n, g: (torch.cat([p, n[None]]), r),
    "it stopped with TypeError": lambda p, r: (p, r),
    "write here[:, None]": lambda p, r, n, g: (p, torch.where(here(p, n), g, r)),
    "device=priorities.device": lambda p, r, n, g: chosen(
        here(p, n) & (torch.arange(len(p)) >= 0), p, r, n, g
    ),
    "priorities [-0.5, 2.0]": lambda p, r, n, g: (right(p, r, n, g)[0] / 2, r),
}


@pytest.mark.parametrize("why", WRONG)
def test_branch_free_insert_rejects(why):
    rejects(checks.branch_free_insert, WRONG[why], why)


@pytest.mark.parametrize("form", [tuple, list])
def test_branch_free_insert_accepts(form):
    accepts(checks.branch_free_insert, lambda *given: form(right(*given)))
