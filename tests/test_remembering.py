"""What optimizers remember: weights, slots, a bad mini-batch; their figures, explorers, checks."""

import heapq
import math

import matplotlib.pyplot as plt
import pytest
import torch
from torch.optim import SGD, Adam

from cgtutor import SGD_C, exercises, plots, widgets
from cgtutor.bad_batch import Course, best_rate, course, courses
from cgtutor.exercises.keeping import _TYPICAL_MEMORIES
from cgtutor.exercises.remembering import _typical_steps
from cgtutor.memory import CriticalGradients
from cgtutor.remembering import (
    Recording,
    agreement,
    comparisons,
    first_moment_weights,
    kept,
    memory_weights,
    moments,
    momentum_weights,
    record,
    recordings,
    slots,
    steps_kept,
    story,
    total_weight,
    with_spike,
)
from cgtutor.toys import Data, Split, digits, network
from cgtutor.training import Lifetimes, replay


@pytest.fixture(scope="module")
def tiny():
    return Data(*(Split(s.x[:100], s.y[:100]) for s in digits()))


#: The trace of the docs: the 1 goes when the 3 comes, the 0.2 never gets in.
TRACE = [4.0, 1.0, 3.0, 0.2]


def traced():
    return replay(TRACE, topC=2, decay=0.5)


# ------------------------------------------------------------------- weights by age


@pytest.mark.parametrize("beta", [0, 0.5, 0.9])
def test_momentum_weights_are_torchs(beta):
    """A kick, then zeros: what moves is the weight of the kick."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = SGD([p], lr=1, momentum=beta)
    moved = []
    for step in range(6):
        before = p.item()
        p.grad = torch.full_like(p, float(step == 0))
        optimizer.step()
        moved.append(before - p.item())
    assert momentum_weights(beta, 6) == pytest.approx(moved)


def test_first_moment_weights_are_torchs():
    """Adam's exp_avg is linear in the gradients; a kick at each age gives that age's weight."""
    steps, found = 5, []
    for age in range(steps):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = Adam([p], betas=(0.8, 0.999))
        for step in range(steps):
            p.grad = torch.full_like(p, float(step == steps - 1 - age))
            optimizer.step()
        found.append(optimizer.state[p]["exp_avg"].item() / (1 - 0.8**steps))
    weights = first_moment_weights(0.8, 7, steps=steps)
    assert weights[:steps] == pytest.approx(found)
    assert weights[steps:] == [0, 0]
    assert sum(weights) == pytest.approx(1)


def test_kept_before_each_step():
    assert kept(traced()) == [[], [0], [0, 1], [0, 2]]
    assert kept(replay([math.nan, 1.0, 2.0])) == [[], [], [1]]


@pytest.mark.parametrize(
    ("aggr", "expected"),
    [
        # step 0: own 1; 1: own and age 1; 2: own, ages 1 and 2; 3: own, ages 1 and 3
        ("mean", [1 + 1 / 2 + 1 / 3 + 1 / 3, 1 / 2 + 1 / 3 + 1 / 3, 1 / 3, 1 / 3]),
        ("sum", [4, 1 + 1 / 2 + 1 / 2, 1 / 2, 1 / 2]),
        ("mid", [1 + 3 / 2, 1 / 2 + 1 / 4 + 1 / 4, 1 / 4, 1 / 4]),
    ],
)
def test_memory_weights_by_hand(aggr, expected):
    assert memory_weights(traced(), 4, aggr) == pytest.approx([w / 4 for w in expected])


def test_memory_weights_from_a_step_on_and_up_to_an_age():
    last = memory_weights(traced(), 2, first=3)
    assert last == pytest.approx([1 / 3, 1 / 3])
    assert memory_weights(traced(), 9, first=3)[4:] == [0] * 5


def test_memory_weights_are_the_optimizers():
    """The weights by which a step is a sum of gradients, read from SGD_C itself."""
    norms = [4.0, 1.0, 3.0, 0.2, 2.0, 2.5]
    p = torch.nn.Parameter(torch.zeros(6, dtype=torch.float64))
    optimizer = SGD_C([p], lr=1, topC=2, decay=0.5, aggr="mean")
    by_age = [0.0] * 6
    for step, norm in enumerate(norms):  # each gradient along an axis of its own
        before = p.detach().clone()
        p.grad = torch.zeros_like(p)
        p.grad[step] = norm
        optimizer.step()
        for born, moved in enumerate((before - p.detach()).tolist()[: step + 1]):
            by_age[step - born] += moved / norms[born] / len(norms)
    assert memory_weights(replay(norms, 2, 0.5), 6) == pytest.approx(by_age)
    lives = replay(norms, 2, 0.5)
    totals = [total_weight(lives, born) for born in range(6)]
    assert totals == pytest.approx([-x / n for x, n in zip(p.detach().tolist(), norms)])


def test_moments_are_adams():
    gradients = [1.0, -2.0, 0.5, 3.0]
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = Adam([p], lr=1, betas=(0.8, 0.9), eps=0)
    moved = []
    for g in gradients:
        before = p.item()
        p.grad = torch.full_like(p, g)
        optimizer.step()
        moved.append(before - p.item())
    found = moments(gradients, (0.8, 0.9))
    assert found.step == pytest.approx(moved)
    assert found.first[0] == pytest.approx(1)
    assert found.root[1] == pytest.approx(math.sqrt((0.9 * 1 + 4) / 1.9))


# ----------------------------------------------------------------- a memory's inside


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
    # 100 times the others fades below 1 after 13 steps of 0.7: 0.7 ** 13 = 0.0097
    assert steps_kept(replay(with_spike([1.0] * 50, 5, 100), 1, 0.7), 5) == 13


def test_total_weight_by_hand():
    lives = traced()
    assert total_weight(lives, 0) == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 3)
    assert total_weight(lives, 1) == pytest.approx(1 / 2 + 1 / 3)
    assert total_weight(lives, 3, "sum") == pytest.approx(1)
    assert total_weight(lives, 2, "sum") == pytest.approx(1 + 1 / 2)


def test_story():
    lines = story([4, 1, 3, 0.2], topC=2, decay=0.5).splitlines()
    assert [line.split() for line in lines] == [
        ["step", "norm", "its", "gradient", "priorities", "faded"],
        *(
            line.split()
            for line in (
                "0 4 enters 4 (of 0) 2 (of 0)",
                "1 1 enters 2 (of 0), 1 (of 1) 1 (of 0), 0.5 (of 1)",
                "2 3 enters, that of step 1 goes 3 (of 2), 1 (of 0) 1.5 (of 2), 0.5 (of 0)",
                "3 0.2 is turned away 1.5 (of 2), 0.5 (of 0) 0.75 (of 2), 0.25 (of 0)",
            )
        ),
    ]


def test_comparisons():
    for topC in (1, 10, 200):
        through_a_list, heap = comparisons(topC, insertions=200)
        assert through_a_list == topC  # topC - 1 to find the smallest, 1 with the newcomer
        assert 1 <= heap <= 2 + 2 * math.log2(topC)


# ------------------------------------------------------------------- real trainings


def test_record(tiny):
    torch.set_default_dtype(torch.float64)
    data = Data(*(Split(s.x.double(), s.y) for s in tiny))
    model, lr = network(), 0.1
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    run = record(model, SGD(model.parameters(), lr=lr), data, epochs=2, batch_size=30, whole=True)
    assert run.gradients.shape == run.whole.shape == (8, len(start))
    end = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(end, start - lr * run.gradients.sum(dim=0))
    sizes = [p.numel() for p in model.parameters()]
    by_tensor = [part.norm().item() for part in run.gradients[3].split(sizes)]
    assert run.norms[3] == pytest.approx(sum(by_tensor))
    # with all the data in each mini-batch, the two are the same, at every step
    model = network()
    same = record(model, SGD(model.parameters(), lr=lr), data, 3, batch_size=100, whole=True)
    torch.testing.assert_close(same.gradients, same.whole)
    without = record(network(), SGD(model.parameters(), lr=lr), data, 1, batch_size=100)
    assert without.whole.numel() == 0


def test_record_skips_what_has_no_gradient(tiny):
    model = torch.nn.Sequential(torch.nn.Linear(64, 10))
    model.bias_of_nothing = torch.nn.Parameter(torch.zeros(3))
    run = record(model, SGD(model.parameters(), lr=0.1), tiny, epochs=1)
    assert run.gradients.shape == (2, 650)


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
    assert clean.losses[:2] == spoilt.losses[:2]
    assert clean.norms[:3] == spoilt.norms[:3]
    assert spoilt.norms[3] > 1.5 * clean.norms[3]
    assert spoilt.losses[2] != clean.losses[2]
    assert course(sgd, 0.1, 3, tiny, bad=3, steps=6, every=2) == spoilt


def test_courses_and_best_rate(tiny):
    small = Data(*(Split(s.x[:50], s.y[:50]) for s in tiny))
    names = {"a": lambda p, lr: SGD(p, lr), "b": lambda p, lr: SGD(p, lr)}
    found = courses(names, [0.1, 0.2], [0, 1], small, bad=None)
    assert found["a"] == found["b"]
    assert found["a"][0.2][1] == course(names["a"], 0.2, 1, small, bad=None)
    trials = {lr: [Course([], [9.0, last], [])] for lr, last in ((0.1, 2.0), (0.3, 1.0), (1, 3.0))}
    assert best_rate(trials) == 0.3


# ------------------------------------------------------------------------------- plots


def test_weights_by_age():
    figure = plots.weights_by_age({"one": [1.0, 0.5, 0.0, 0.5], "two": [1.0] * 4}, old=1, oldest=12)
    (ax,) = figure.axes
    drawn = ax.lines[0].get_ydata().tolist()
    assert drawn[:2] == [1.0, 0.5]
    assert math.isnan(drawn[2])
    assert [t.get_text() for t in figure.legends[0].texts] == [
        "one (25%)",
        "two (50%)",
    ]
    assert figure.legends[0].get_title().get_text().endswith("on gradients older than 1 steps")
    assert "one, now 1, one step ago 0.5, and 25% of the weight on gradients older than 1" in (
        figure.alt
    )
    assert plots.weights_by_age({n: [1, 1] for n in "abc"}).legends[0]._ncols == 2


def test_moments_figure():
    gradients = [1.0, 1.0, 10.0, 1.0]
    found = moments(gradients)
    figure = plots.moments(gradients, found)
    above, below = figure.axes
    assert [list(line.get_ydata()) for line in above.lines] == [gradients, *found[:2]]
    assert list(below.lines[0].get_ydata()) == found.step
    assert "a spike of 10 at step 2" in figure.alt
    assert f"{found.step[-1]:.1f} at the end" in figure.alt


def test_slots_over_time_small():
    figure = plots.slots_over_time({"tiny": traced()})
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
    assert above.get_title(loc="left") == "tiny: 1 of 4 turned away"
    assert list(below.lines[0].get_ydata()) == TRACE
    assert bar.get_ylabel() == "age in steps"
    assert figure.alt.endswith("tiny: 1 of 4 turned away, the oldest 3 steps old.")


def test_slots_over_time_large():
    runs = {f"decay {d}": replay([1.0] * 200, 10, d) for d in (0.5, 1)}
    figure = plots.slots_over_time(runs, mark=3)
    one, other, below, _ = figure.axes
    assert not one.texts
    assert one.get_title(loc="left") == (
        "decay 0.5: 0 of 200 turned away, that of step 3 kept for 10 steps"
    )
    assert "190 of 200 turned away, that of step 3 kept for 197 steps" in figure.alt
    assert one.images[0].get_clim() == other.images[0].get_clim() == (0, 199)
    assert below.lines[0].get_marker() == ""
    assert list(below.lines[1].get_xdata()) == [3, 3]


def test_slots_over_time_where_nothing_is_kept():
    lives = Lifetimes([math.nan], [None], [0], CriticalGradients(2))
    assert "the oldest 0 steps old" in plots.slots_over_time({"empty": lives}).alt


def test_agreement_by_decay():
    figure = plots.agreement_by_decay(
        {"slow": {0: [0.8, 1.0], 1: [0.5]}, "fast": {0: [-0.01], 1: [0]}}
    )
    (ax,) = figure.axes
    assert ax.lines[0].get_ydata() == pytest.approx([0.9, 0.5])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]
    assert figure.alt.endswith("slow, 0.9 at 0, 0.5 at 1; fast, 0.0 at 0, 0.0 at 1.")


def test_after_bad_batch():
    runs = [Course([0, 5], [2.0, last], []) for last in (1.0, 0.5)]
    high = {"SGD": [Course([0, 5], [3.0, 1.0], [])], "C": [Course([0, 5], [2.0, 1.0], [])]}
    figure = plots.after_bad_batch({"lr 1": {"SGD": runs}, "lr 2": high}, bad=3)
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([2.0, 0.75])
    assert right.get_title() == "lr 2"
    assert list(left.lines[-1].get_xdata()) == [3, 3]
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[1] > 3  # the highest loss of any panel is in sight
    assert "bad mini-batch at step 3" in figure.alt
    assert figure.alt.endswith("with lr 1: SGD 0.8; with lr 2: SGD 1.0, C 1.0.")
    assert "Right after that step it rises most for SGD (lr 1) and C (lr 2)." in figure.alt


# ------------------------------------------------------------------------------ widgets


def alts(monkeypatch, name):
    """The alternative texts of all that an explorer draws with this function."""
    drawn, draw = [], getattr(plots, name)

    def noted(*arguments, **options):
        drawn.append(draw(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(plots, name, noted)
    return drawn


def test_weights_explorer(monkeypatch):
    drawn = alts(monkeypatch, "weights_by_age")
    norms = [1.0 + (t % 7) / 10 for t in range(150)]
    explorer = widgets.weights_explorer(norms)
    _, beta, top_c, decay, _ = explorer.children
    beta.value, top_c.value, decay.value = 0.5, 4, 1
    expected = plots.weights_by_age(
        {
            "momentum, β = 0.5": momentum_weights(0.5, 1000),
            "memory, topC = 4, decay = 1": memory_weights(replay(norms, 4, 1), 150, first=100),
        }
    )
    assert drawn[-2].alt == expected.alt
    assert not set(plt.get_fignums()) - {expected.number}


def test_slots_explorer(monkeypatch):
    drawn = alts(monkeypatch, "slots_over_time")
    norms = [1.0 + (t % 7) / 10 for t in range(120)]
    explorer = widgets.slots_explorer(norms)
    _, top_c, decay, height, step, _ = explorer.children
    top_c.value, decay.value, height.value, step.value = 3, 0.9, 20, 50
    lives = replay(with_spike(norms, 50, 20), 3, 0.9)
    assert drawn[-1].alt == plots.slots_over_time({"topC = 3, decay = 0.9": lives}, mark=50).alt
    assert step.max == 119


# ---------------------------------------------------------------------------- exercises


def momentum(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities.get(p, 0) + p.grad
            p -= lr * velocities[p]


def momentum_in_place(parameters, velocities, lr, beta):
    for i, p in enumerate(parameters):
        if p.grad is None:
            continue
        if i in velocities:
            velocities[i].mul_(beta).add_(p.grad)
        else:
            velocities[i] = p.grad.clone()
        p.data.sub_(velocities[i], alpha=lr)


@pytest.mark.parametrize("right", [momentum, momentum_in_place])
def test_momentum_step_accepts(right, capsys):
    exercises.momentum_step(right)
    assert capsys.readouterr().out.startswith("Right! ")


@pytest.mark.parametrize("why", _typical_steps())
def test_momentum_step_knows(why, capsys):
    exercises.momentum_step(_typical_steps()[why])
    assert capsys.readouterr().out == f"Not yet: {why}\n"


def new_tensors(parameters, velocities, lr, beta):
    for i, p in enumerate(parameters):
        if p.grad is not None:
            velocities[i] = beta * velocities.get(i, 0) + p.grad
            parameters[i] = p - lr * velocities[i]


def takes_the_gradient(parameters, velocities, lr, beta):
    momentum(parameters, velocities, lr, beta)
    parameters[0].grad = None


def aliased(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            if p in velocities:
                velocities[p].mul_(beta).add_(p.grad)
            else:
                velocities[p] = p.grad
            p -= lr * velocities[p]


def in_place_gradient(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            p.grad.add_(velocities.get(p, 0), alpha=beta) if p in velocities else None
            velocities[p] = p.grad.clone()
            p -= lr * p.grad


def local_velocity(parameters, velocities, lr, beta):
    velocities = {}
    momentum(parameters, velocities, lr, beta)


def replaces(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities.get(p, 0) + p.grad
            p = p - lr * velocities[p]


def key_error(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities[p] + p.grad
            p -= lr * velocities[p]


def none(parameters, velocities, lr, beta):
    for p in parameters:
        velocities[p] = beta * velocities.get(p, 0) + p.grad
        p -= lr * velocities[p]


def none_later(parameters, velocities, lr, beta):
    for i, p in enumerate(parameters):
        if i != 1:
            velocities[p] = beta * velocities.get(p, 0) + p.grad
            p -= lr * velocities[p]


def twice(parameters, velocities, lr, beta):
    for p in parameters:
        if p.grad is not None:
            velocities[p] = beta * velocities.get(p, 0) + 2 * p.grad
            p -= lr * velocities[p]


def twice_when_absent(parameters, velocities, lr, beta):
    momentum(parameters, velocities, lr, beta)
    if parameters[2].grad is None:
        parameters[0].mul_(2)


MOMENTUM = {
    "the list holds other tensors than before": new_tensors,
    "p.grad is None after your step": takes_the_gradient,
    "changes p.grad itself. Either": aliased,
    "velocities[p] is that very tensor": in_place_gradient,
    "Is the velocity there again": local_velocity,
    "p = p - ... only": replaces,
    "At first velocities is empty": key_error,
    "it stopped with TypeError": none,
    "has p.grad None: pass it by": none,
    "no gradient in some steps: it stopped with TypeError": none_later,
    "after step 1 parameter 1 of 3 is": twice,
    "with a parameter that has no gradient in some steps, with β = 0.9": twice_when_absent,
    "ZeroDivisionError: division by zero": lambda *_: 1 / 0,
}


@pytest.mark.parametrize("why", MOMENTUM)
def test_momentum_step_rejects(why, capsys):
    exercises.momentum_step(MOMENTUM[why])
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert why in said


def test_each_typical_answer_has_a_message_of_its_own():
    for messages in (list(_typical_steps()), list(_TYPICAL_MEMORIES)):
        assert len(set(messages)) == len(messages) >= 15


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


@pytest.mark.parametrize("right", [remember, remember_in_place, remember_in_a_tensor])
def test_remember_accepts(right, capsys):
    exercises.remember(right)
    assert capsys.readouterr().out.startswith("Right! ")


@pytest.mark.parametrize("why", _TYPICAL_MEMORIES)
def test_remember_knows(why, capsys):
    exercises.remember(_TYPICAL_MEMORIES[why])
    assert capsys.readouterr().out == f"Not yet: {why}\n"


def changed(change):
    """The right answer, then a change of what it gives back."""
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
    "gives back None": lambda *_: None,
    "a list of pairs": lambda *_: {},
    "list of pairs (priority, gradient)": changed(lambda found, *_: [(g, p) for p, g in found]),
    "pairs (priority": changed(lambda found, *_: [(p, g, 0) for p, g in found]),
    "Keep a copy: gradient.clone()": lambda memory, norm, gradient, *_: [(norm, gradient)],
    "the very tensor that came in": lambda memory, norm, gradient, *_: [(norm, gradient[:])],
    "ZeroDivisionError": lambda *_: 1 / 0,
    "are right, but stand with other gradients": changed(swapped),
    "with other gradients. Of equal priorities, does the oldest go?": replaces_in_its_place,
    "min, sort, remove and heapq compare the tensors": heap_of_pairs,
    "A pair cannot be changed": into_a_pair,
    "after gradient 1, of norm 4, the priorities should be [2.0], and yours are [6.0]": changed(
        lambda found, *_: [(3 * p, g) for p, g in found]
    ),
}


@pytest.mark.parametrize("why", REMEMBER)
def test_remember_rejects(why, capsys):
    exercises.remember(REMEMBER[why])
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert why in said
