"""How to choose."""

import base64
import io
import math
import re

import numpy as np
import pytest
import torch
from checking import accepts, rejects
from torch.optim import SGD, Adam

from cgtutor import Adam_C
from cgtutor.course.how_to_choose import checks, figures, study
from cgtutor.course.how_to_choose.explorer import spike_explorer
from cgtutor.course.how_to_choose.study import Spike, Trial, name, spike
from cgtutor.course.shared.data import Data, Split
from cgtutor.course.shared.training import Curves, sweep, train_network
from cgtutor.optim_eff import Adam_C_eff


def test_spike_by_hand():
    assert spike(4, 0.5) == Spike([2.0, 1.0, 0.5], 3)  # at step 2 a tie: the new one is rejected
    # two slots; at step 4 the spike ties with the newcomer of step 3, and the older one goes
    assert spike(8, 0.5, topC=2) == Spike([4.0, 2.0, 1.0, 0.5], 4)
    assert spike(5, 0) == Spike([0.0], 1)
    assert spike(5, 1, longest=4) == Spike([5.0] * 4, None)
    assert [spike(100, d).survives for d in (0.7, 0.9, 0.99)] == [13, 44, 459]


@pytest.mark.parametrize("decay", [0.3, 0.85, 0.97])
@pytest.mark.parametrize("ratio", [1.01, 3.3, 70.0])
def test_spike_goes_when_its_priority_is_below_the_others(ratio, decay):
    first = next(n for n in range(1, 1000) if ratio * decay**n < 1)
    assert spike(ratio, decay).survives == first
    for topC in (2, 6):  # then it has to fall below its neighbours too
        assert spike(ratio, decay, topC).survives == first + topC - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1, 0.5), "ratio must be a number > 1, got 1"), ((2, 1.5), "decay"), ((2, 0.5, 0), "topC")],
)
def test_spike_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        spike(*arguments)


def test_recorded_ages(tiny):
    """With decay 0 the last three; those of the two steps before it was full do not count."""
    found = study.recorded_ages(lambda p, lr: Adam_C(p, lr, topC=3, decay=0), 0.01, tiny, epochs=4)
    assert found == [0, 1, 2] * 6  # 8 steps, and at the last 6 of them it is full
    kept = study.recorded_ages(
        lambda p, lr: Adam_C(p, lr, topC=3, decay=1), 0.01, tiny, epochs=4, seed=1
    )
    assert len(kept) == 18
    assert max(kept) > 2


def test_age_shares():
    shares = study.age_shares([0, 4, 5, 9, 10, 19, 20, 49, 100, 1000])
    assert shares == {
        "0 to 4": 0.2,
        "5 to 9": 0.2,
        "10 to 19": 0.2,
        "20 to 49": 0.2,
        "50 to 99": 0,
        "100 or more": 0.2,
    }


def test_memories_are_what_adam_c_computes(tiny):
    torch.set_default_dtype(torch.float64)
    data = Data(*(Split(s.x.double(), s.y) for s in tiny))
    makers = study.memories([2, 3], [0.5, 0.9])
    assert list(makers) == [name(2, 0.5), name(2, 0.9), name(3, 0.5), name(3, 0.9)]
    assert name(2, 0.5) == "topC 2, decay 0.5"
    makers["reference"] = lambda p, lr: Adam_C(p, lr, topC=3, decay=0.9)
    found = sweep(makers, [0.01], [0], train_network, data, epochs=3)
    losses = {which: by_rate[0.01][0].train_loss for which, by_rate in found.items()}
    assert losses[name(3, 0.9)] == pytest.approx(losses["reference"], rel=1e-9)
    assert losses[name(2, 0.5)] != pytest.approx(losses["reference"], rel=1e-9)
    p = torch.nn.Parameter(torch.zeros(2))
    group = study.memories([7], [0.25], "mid")["topC 7, decay 0.25"]([p], 0.1).param_groups[0]
    assert (group["topC"], group["decay"], group["aggr"], group["lr"]) == (7, 0.25, "mid", 0.1)


def runs(*pairs):
    return [Curves([], [9.0, loss], [], accuracy) for loss, accuracy in pairs]


def test_trials_and_the_best_of_them():
    results = {
        "big": {0.1: runs((1, 0.5), (2, 0.7)), 0.01: runs((0.5, 0.1), (0.5, 0.1))},
        "small": {0.1: runs((0.9, 0.2), (0.7, 0.2)), 0.01: runs((math.nan, 0), (1, 0))},
    }
    found = study.trials(results, {"big": 100, "small": 10})
    assert found[:3] == [
        Trial("big", 0.1, 1.5, 100),
        Trial("big", 0.01, 0.5, 100),
        Trial("small", 0.1, pytest.approx(0.8), 10),
    ]
    assert study.best_trial(found) == found[1]
    assert study.best_trial(found, 100) == found[1]
    assert study.best_trial(found, 99) == found[2]
    assert study.best_trial(found, 9) is None
    assert study.best_trial(reversed(found), 10) == found[2], "NaN is the worst"


def test_final_and_summary():
    assert study.final(runs((1, 0.5), (2, 0.7))) == (1.5, pytest.approx(0.5**0.5))
    assert study.summary(runs((1, 0.5), (2, 0.7))) == "1.50 ± 0.71   0.600 ± 0.141"
    assert all(map(math.isnan, study.final(runs((1, 0.5), (math.nan, 0.7)))))


def test_with_one_spike():
    p, without = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))
    optimizer = study.with_one_spike(lambda ps, lr: SGD(ps, lr), at=2, factor=10)(
        iter([p, without]), 1.0
    )
    path = []
    for _ in range(3):
        p.grad = torch.ones(2)
        optimizer.step()
        path.append(p[0].item())
    assert path == [-1, -11, -12]
    memory = study.with_one_spike(lambda ps, lr: Adam_C(ps, lr), at=1, factor=10)([p], 1.0)
    p.grad = torch.tensor([3.0, 4.0])
    memory.step()
    assert memory.memory(p).gradients[0].tolist() == [30, 40]


def test_state_bytes_by_hand():
    """Three numbers of 4 bytes: a copy takes 12, and torch counts its steps in 4 more."""
    p = torch.nn.Parameter(torch.ones(3))
    for optimizer, copies in (
        (Adam([p]), 2),
        (Adam_C([p], topC=5), 2 + 2),  # two steps, so two gradients so far
        (Adam_C_eff([p], topC=5), 2 + 5 + 1),
    ):
        assert study.state_bytes(optimizer) == 0
        for _ in range(2):
            p.grad = torch.ones(3)
            optimizer.step()
        assert study.state_bytes(optimizer) == copies * 12 + 4
    wide = Adam_C_eff([p], topC=5, buffer_dtype=torch.bfloat16)
    wide.step()
    assert study.state_bytes(wide) == 2 * 12 + 5 * 6 + 12 + 4


def test_kept_bytes():
    shapes = [(2, 3), (4,)]
    assert study.kept_bytes(lambda p, lr: Adam(p, lr), shapes, 1) == 2 * 40 + 8
    for kind, more in (("Adam_C", 0), ("Adam_C_eff", 1)):
        make = study.kinds(3)[kind]
        assert study.kept_bytes(make, shapes, 4) == (2 + 3 + more) * 40 + 8
    torch.set_default_dtype(torch.float64)  # does not matter but for torch's count of steps
    assert study.kept_bytes(study.kinds(3)["Adam_C"], shapes, 4) == 5 * 40 + 8


def test_spike_priorities():
    figure = figures.spike_priorities({"fast": spike(4, 0.5), "never": spike(4, 1, longest=6)})
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines["fast: evicted at step 3"].get_ydata()) == [2, 1, 0.5]
    assert list(lines["never: still kept after 6 steps"].get_xdata()) == [1, 2, 3, 4, 5, 6]
    ends = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 1]
    assert [list(x) for x in ends] == [[3]]
    assert figure.alt.startswith("The priority of one large gradient falls step by step")
    assert figure.alt.endswith("fast: evicted at step 3; never: still kept after 6 steps.")


def test_age_histogram():
    figure = figures.age_histogram({"young": [0, 1, 5, 9], "old": [0, 20, 60, 100]})
    (ax,) = figure.axes
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [0.5, 0.5, 0, 0, 0, 0, 0.25, 0, 0, 0.25, 0.25, 0.25]
    lefts = [bar.get_x() for bar in ax.patches[:2]] + [ax.patches[6].get_x()]
    assert lefts == pytest.approx([-0.4, 0.6, 0])
    assert [label.get_text() for label in ax.get_xticklabels()][-1] == "100 or more"
    assert "for 2 memories. young: 100% younger than 10 steps; old: 25% younger" in figure.alt


def test_settings_map():
    losses = {(5, 0.7): (0.2, 2.0), (5, 0.9): (0.3, 1.0), (10, 0.7): (0.5, 3.0), (10, 0.9): (4, 4)}
    results = {
        name(*at): {
            lr: runs((loss, 0), (1.5 * loss, 0)) for lr, loss in zip((0.1, 0.01), of, strict=True)
        }
        for at, of in losses.items()
    }
    plain = {0.1: runs((0.1, 0), (0.1, 0)), 0.01: runs((1, 0), (1, 0)), 1.0: runs((9, 0), (9, 0))}
    figure = figures.settings_map(results, [5, 10], [0.7, 0.9], plain)
    left, right, bar = figure.axes
    assert left.images[0].get_array().tolist() == [
        pytest.approx([0.25, 0.375]),
        pytest.approx([0.625, 5]),
    ]
    assert left.images[1].get_array().tolist() == [pytest.approx([0.1])]
    for image in (*left.images, *right.images):
        assert (image.norm.vmin, image.norm.vmax) == pytest.approx((0.1, 5))
    texts = {tuple(t.get_position()): t for t in left.texts}
    assert texts[0, 0].get_text() == "0.25\n± 0.07"
    assert texts[1, 1].get_text() == "5.00\n± 1.41"
    assert (texts[0, 0].get_color(), texts[1, 1].get_color()) == ("black", "white")
    assert texts[0.5, 2.15].get_text() == "0.10\n± 0.00", "in the middle of the cell"
    assert [t.get_text() for t in left.get_yticklabels()] == ["topC 5", "topC 10", "plain"]
    assert bar.get_ylabel() == "validation loss (nats, logarithmic)"
    assert (
        "At the learning rate 0.01 plain has 1.00, and the best memory 1.25 with topC 5, decay 0.9;"
        " the worst has 5.00." in figure.alt
    )


def test_memory_costs():
    times = {"slow": {5: 3.123, 20: 7.5}, "quick": {5: 2.5, 20: 2.75}}
    sizes = {"slow": {5: 7.0, 20: 22.0}, "quick": {5: 8.0, 20: 23.0}}
    figure = figures.memory_costs(times, sizes, "Adam", 2.0)
    left, right = figure.axes
    assert list(left.lines[0].get_ydata()) == [3.123, 7.5]
    assert list(right.lines[1].get_ydata()) == [8, 23]
    assert (left.lines[2].get_ydata()[0], right.lines[2].get_ydata()[0]) == (1, 2)
    assert left.get_ylabel() == "time of a step (Adam = 1)"
    assert "quick keeps 8 times the parameters' bytes with topC 5 and 23 times" in figure.alt
    assert not re.search(r"3\.1|7\.5|2\.5|2\.75", figure.alt), "what was measured is not in it"


def test_spike_explorer_draws_the_static_figure():
    explorer = spike_explorer()
    decay, ratio, topC = explorer.children[1:4]
    before = explorer.children[-1].value
    decay.value, ratio.value, topC.value = 0.5, 5, 2
    assert explorer.children[-1].value != before
    label = "5 times the others, topC 2, decay 0.5"
    wanted, drawn = io.BytesIO(), io.BytesIO()
    figures.spike_priorities({label: spike(5, 0.5, 2)}).savefig(wanted, format="png")
    explorer._draw(decay=0.5, ratio=5, topC=2).savefig(drawn, format="png")
    assert base64.b64encode(wanted.getvalue()) == base64.b64encode(drawn.getvalue())
    decay.value = 1  # for ever: the watching ends
    assert "still kept after 1000 steps" in explorer._draw(decay=1, ratio=5, topC=2).alt


def test_spike_explorer_goal():
    """What the notebook's answer says."""
    assert spike(2, 0.96).survives < 20 == spike(2, 0.965).survives
    assert spike(100, 0.965).survives == 130


def loop(ratio, decay):
    if decay == 1:
        return math.inf
    step = 1
    while ratio * decay**step >= 1:
        step += 1
    return step


def exact(ratio, decay):
    return math.log(ratio) / -math.log(decay)


def guarded(formula):
    """The formula, with answers of its own for the decays 0 and 1."""
    return lambda r, d: 1 if d == 0 else math.inf if d == 1 else formula(r, d)


RIGHT = {
    "loop": loop,
    "formula": guarded(lambda r, d: math.floor(exact(r, d)) + 1),
    "tensor": guarded(lambda r, d: torch.tensor(float(math.floor(exact(r, d)) + 1))),
    "array": guarded(lambda r, d: np.array(math.floor(exact(r, d)) + 1)),
    "array of one": guarded(lambda r, d: np.array([math.floor(exact(r, d)) + 1])),
    "float32": guarded(lambda r, d: np.floor(np.log(np.float32(r)) / -np.log(np.float32(d))) + 1),
}


@pytest.mark.parametrize("form", RIGHT)
def test_spike_survival_accepts(form):
    verdict = accepts(checks.spike_survival, RIGHT[form])
    assert "A spike with ratio 100 goes at step 13 with decay 0.7, 44 " in verdict


WRONG = {
    "is the word `return` missing": lambda r, d: None,
    "a number of steps; this is a str": lambda r, d: "13",
    "before it is a whole one": exact,
    "one too few each time": lambda r, d: math.floor(exact(r, d)),
    "one too many each time": guarded(lambda r, d: loop(r, d) + 1),
    "rounded to the nearest whole number": lambda r, d: round(exact(r, d)),
    "the fraction is upside down": lambda r, d: math.floor(1 / exact(r, d)) + 1,
    "different bases, 10 and e": lambda r, d: math.floor(math.log10(r) / -math.log(d)) + 1,
    "different bases, 2 and e": lambda r, d: math.floor(math.log2(r) / -math.log(d)) + 1,
    "the logarithm of the ratio alone": lambda r, d: math.floor(math.log(r)) + 1,
    "the sign: the logarithm of a decay": lambda r, d: math.ceil(math.log(r) / math.log(d)),
    "the share 1 − decay of what is left": lambda r, d: math.floor((r - 1) / (r * (1 - d))) + 1,
    "go down to 0.5: divide by log": lambda r, d: math.log(r) / (1 - d),
    "rounded right, but from the approximation": lambda r, d: math.ceil(math.log(r) / (1 - d)),
    "how far an average": lambda r, d: round(1 / (1 - d)),
    "square of the ratio": lambda r, d: math.floor(2 * exact(r, d)) + 1,
    "it goes at step 13. Yours is 50": lambda r, d: 50,
    "is 1.38 at step 12 and 0.97 at step 13": lambda r, d: 13.5,
    "With the ratio 4 and the decay 0.5 they are, at step 2": guarded(
        lambda r, d: math.ceil(exact(r, d))
    ),
    "with decay 0 the spike's priority is 0 after its own step, so it goes at step 1. Yours is 0": (
        lambda r, d: 0 if d == 0 else loop(r, d)
    ),
    "(log(0) does not exist; with decay 0": lambda r, d: math.floor(exact(r, d)) + 1,
    "(log(1) is 0; with decay 1 nothing decays": lambda r, d: (
        math.floor(exact(r, d)) + 1 if d else 1
    ),
    "with decay 1 nothing decays and the spike never goes: return math.inf. Yours is 9": (
        lambda r, d: 9 if d == 1 else loop(r, d)
    ),
    "survival returns None": lambda r, d: None if d == 1 else loop(r, d),
    "TypeError: ": lambda r: 13,
}


@pytest.mark.parametrize("why", WRONG)
def test_spike_survival_rejects(why):
    rejects(checks.spike_survival, WRONG[why], why)


def test_no_typical_survival_is_right_or_another():
    answers = [[wrong(*case) for case in checks._CASES] for wrong in checks._SURVIVALS.values()]
    answers.append([loop(*case) for case in checks._CASES])
    assert all(a != b for i, a in enumerate(answers) for b in answers[:i])


def fitting(trials, limit):
    return [trial for trial in trials if trial.bytes <= limit]


def loss(trial):
    return trial.validation_loss


def best(trials, limit):
    return min(fitting(trials, limit), key=loss, default=None)


def empties(trials, limit):
    found = best(trials, limit)
    trials.clear()
    return found


def best_then_limit(trials, limit):
    found = min(trials, key=loss)
    return found if found.bytes <= limit else None


WRONG_CHOICES = {
    "merely the first trial": lambda trials, limit: trials[0],
    "some fit. Is the word `return` missing? Or was": best_then_limit,
    "return one of the trials itself; this is a float": lambda t, b: best(t, b).validation_loss,
    "yours keeps 176 bytes, which is more": lambda trials, limit: min(trials, key=loss),
    "this is the largest loss among": lambda t, b: max(fitting(t, b), key=loss, default=None),
    "this is the first that fits": lambda t, b: next(iter(fitting(t, b)), None),
    "this keeps the fewest bytes": lambda t, b: min(
        fitting(t, b), key=lambda trial: trial.bytes, default=None
    ),
    "and that of yours is 0.55": lambda trials, limit: trials[-1],
    "keeps exactly 56 bytes": lambda t, b: best(t, b - 1),
    "None is the answer, and yours keeps 16 bytes": lambda t, b: best(t, max(b, 16)),
    "return None, as nothing fits; this is a str": lambda t, b: best(t, b) or "none",
    "empty sequence (where nothing fits, return None)": lambda t, b: min(fitting(t, b), key=loss),
    "out of range (where nothing fits, return None)": lambda t, b: sorted(fitting(t, b), key=loss)[
        0
    ],
    "after a dot: trial.bytes": lambda t, b: [trial for trial in t if trial["bytes"] <= b],
    "leave the list that comes in as it is": empties,
    "Not yet: it stopped with ValueError: ": lambda t, b: [].index(0) if b > 10 else None,
    "it stopped with TypeError": lambda trials: trials[0],
}


@pytest.mark.parametrize("why", WRONG_CHOICES)
def test_best_within_rejects(why):
    rejects(checks.best_within, WRONG_CHOICES[why], why)


def test_best_within_accepts():
    assert accepts(checks.best_within, best) == "Right! The best that fits, for 4 limits.\n"
    assert checks._TRIALS[0].bytes == 176, "the first one is neither best nor fits"
