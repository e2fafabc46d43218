"""What the notebook *how to choose* trains, draws and checks."""

import math
import re

import nbformat
import numpy as np
import pytest
import torch
from checking import accepts, rejects, said
from looking import NOTEBOOKS, defined_in
from scipy.optimize import linprog
from torch.optim import SGD, Adam

from cgtutor import SGD_C, Adam_C, weight_evenness
from cgtutor.course.how_to_choose import answers, checks, explorer, figures, study
from cgtutor.course.how_to_choose.study import Memory, worst

# ------------------------------------------------------------------------- one weight


def test_stream():
    assert list(study.stream(3, 2.5, 7)) == [-1, -1, 2.5, -1, -1, 2.5, -1]


@pytest.mark.parametrize(
    ("P", "C", "decay", "kappa"),
    [(3, 2.2, 0.5, 1.0), (10, 12.0, 0.99, 2.0), (10, 3.0, 0.7, 1.0), (5, 1.5, 0.9, 0.5)],
)
def test_drift_is_that_of_the_optimizer(P, C, decay, kappa):
    measured = study.measured_drift(P, C, decay, kappa)
    assert answers.drift_by_hand(P, C, decay, kappa) == pytest.approx(measured, abs=1e-9)
    assert study.measured_drift(P, C, decay, 0) == pytest.approx(C - (P - 1))


def test_end_is_where_the_drift_goes():
    slot = {"topC": 1, "decay": 0.99}
    assert study.end(lambda p, lr: SGD_C(p, lr=lr, **slot), 0.03, 10, 3.0, 300) == -1
    assert study.end(lambda p, lr: SGD(p, lr=lr), 0.03, 10, 3.0, 300) > 0.9


# ------------------------------------------------------------------------- the fit


def test_features_have_one_norm():
    assert np.linalg.norm(study.F, axis=1) == pytest.approx(study.FEATURE_NORM)
    assert study.features(np.array([0.0]))[0] == pytest.approx([1, *[2**0.5] * 3, 0, 0, 0])
    assert study.target(np.array([-np.pi, 0, np.pi / 2])) == pytest.approx([1, -1, 0])


def test_least_squares_and_the_best_possible():
    assert worst(study.LEAST_SQUARES) == pytest.approx(0.0994, abs=5e-5)
    assert study.rms(study.LEAST_SQUARES) == pytest.approx(0.0277, abs=5e-5)
    F, Y = study.F, study.Y
    one = -np.ones((len(Y), 1))
    found = linprog([0] * 7 + [1], np.block([[F, one], [-F, one]]), [*Y, *-Y], bounds=(None, None))
    assert found.fun == pytest.approx(study.BEST_POSSIBLE, abs=5e-5)


def test_outliers_are_two_percent_and_three_too_high():
    x, y = study.points(0, 0.02)
    off = y - study.target(x)
    assert set(off.round(9)) == {0, 3}
    assert (off > 1).mean() == pytest.approx(0.02, abs=0.005)
    assert np.array_equal(x, study.points(0)[0])


MAKERS = {
    "SGD_C": (Memory(5, 0.9), SGD, lambda p, lr: SGD_C(p, lr=lr, topC=5, decay=0.9)),
    "kappa": (Memory(2, 0.5, 3.0), SGD, lambda p, lr: SGD_C(p, lr, 3.0, topC=2, decay=0.5)),
    "SGD": (study.PLAIN, SGD, lambda p, lr: SGD(p, lr=lr)),
    "Adam": (study.PLAIN, lambda g: Adam(g, fused=True), lambda p, lr: Adam(p, lr=lr)),
    "Adam_C": (
        Memory(7, 0.99),
        Adam,
        lambda p, lr: Adam_C(p, lr=lr, topC=7, decay=0.99, aggr="sum"),
    ),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("outliers", [0.0, 0.02])
def test_side_by_side_is_one_by_one(name, outliers):
    """Also beside a memory with more slots, and one that decays at once."""
    memory, base, make = MAKERS[name]
    others = [Memory(9, 0.7), memory, Memory(1, 0.0)]
    together = study.fits(others, [0.001, 0.01], [4, 5], base, outliers, steps=300)
    assert together.shape == (3, 2, 2, 7)
    alone = study.fit(make, 0.01, 5, [100, 300], outliers)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert np.abs(together[1, 1, 1] - alone[1]).max() < 1e-12


def test_clipping_is_torchs():
    class Clipped(SGD):
        def step(self):
            torch.nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 0.5)
            super().step()

    alone = study.fit(lambda p, lr: Clipped(p, lr=lr), 0.01, 5, [200])
    together = study.fits([study.PLAIN], [0.01], [5], clip=0.5, steps=200)
    assert np.abs(together[0, 0, 0] - alone[0]).max() < 1e-6  # torch adds 1e-6 to the norm
    free = study.fits([study.PLAIN], [0.01], [5], steps=200)
    assert np.abs(together - free).max() > 1e-3


# ------------------------------------------------------------------- the notebook's claims


def solutions():
    notebook = nbformat.read(NOTEBOOKS / "06_how_to_choose.ipynb", as_version=4)
    shell = {"math": math, "np": np, "checks": checks}
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            exec(re.search(r"```python\n(.+?)```", cell.source, re.DOTALL)[1], shell)
    return shell


@pytest.fixture(scope="module")
def readers():
    return solutions()


def test_the_readers_functions_are_the_librarys(readers, capsys):
    assert readers["evenness"](20, 0.9) == pytest.approx(weight_evenness(20, 0.9), rel=1e-12)
    case = 10, 12.0, 0.9, 1.0
    assert readers["drift"](*case) == pytest.approx(study.measured_drift(*case), abs=1e-9)


def test_the_law_predicts_a_training_with_small_steps(readers):
    """The readers' weights, in the notebook's limit, beside a long training."""
    limit = defined_in("06", "limit")
    limit.__globals__["weigh"] = readers["weigh"]
    predicted = limit(weight_evenness(5, 0.99))
    assert predicted == pytest.approx(0.0754, abs=1e-4)
    assert limit(1000.0) == pytest.approx(worst(study.LEAST_SQUARES), abs=1e-4)
    w = study.fits([Memory(5, 0.99), study.PLAIN], [0.0005], range(4), steps=12000)
    memory, plain = worst(w).mean((1, 2))
    assert memory == pytest.approx(predicted, abs=0.003)
    assert plain == pytest.approx(0.0994, abs=0.003)


# ------------------------------------------------------------------------- the checks


def counted(P, C, decay, kappa):
    """The drift, step by step."""
    slot, priority, total = None, 0.0, 0.0
    for step in range(4 * P):
        g = C if step % P == P - 1 else -1.0
        if step >= 3 * P:
            total += g + kappa * slot
        if slot is None or abs(g) > priority:
            slot, priority = g, abs(g)
        priority *= decay
    return total


def test_drift_accepts():
    assert "exactly 0" in accepts(checks.drift, answers.drift_by_hand)
    accepts(checks.drift, counted)
    accepts(checks.drift, lambda *case: torch.tensor([answers.drift_by_hand(*case)]))


WRONG_DRIFTS = {
    "where is the memory's part": lambda P, C, d, k: C - P + 1,
    "the memory's part alone": lambda P, C, d, k: answers.drift_by_hand(P, C, d, k) - C + P - 1,
    "kappa is missing": lambda P, C, d, k: answers.drift_by_hand(P, C, d, 1),
    "do not divide by P": lambda P, C, d, k: answers.drift_by_hand(P, C, d, k) / P,
    "leave out the minus": lambda *case: -answers.drift_by_hand(*case),
    "the sum is 123; yours is 5": lambda P, C, d, k: 5,
    "is the word `return` missing": lambda P, C, d, k: None,
    "this is a str": lambda P, C, d, k: "5",
    "it stopped with TypeError": lambda P, C: 5,
}


@pytest.mark.parametrize("why", WRONG_DRIFTS)
def test_drift_rejects(why):
    rejects(checks.drift, WRONG_DRIFTS[why], why)


def test_evenness_accepts():
    accepts(checks.evenness, weight_evenness)
    accepts(checks.evenness, lambda k, d: -k * math.log(d) if d else math.inf)

    def quiet(k, d):
        with np.errstate(all="ignore"):
            return k * np.log(1 / np.float64(d))

    accepts(checks.evenness, quiet)


WRONG_EVENNESSES = {
    "approximation for decays near 1": lambda k, d: k * (1 - d),
    "the sign": lambda k, d: k * math.log(d),
    "the natural logarithm": lambda k, d: k * math.log10(1 / d),
    "it is a factor": lambda k, d: k / math.log(1 / d),
    "topC is missing": lambda k, d: math.log(1 / d),
    "evicted at the next step: math.inf": lambda k, d: k * math.log(1 / d),
    "for topC=3 and decay=0 it is inf; yours is 0": lambda k, d: d and weight_evenness(k, d),
    "for topC=3 and decay=1 it is 0; yours is 7": lambda k, d: 7 if d == 1 else -k * math.log(d),
}


@pytest.mark.parametrize("why", WRONG_EVENNESSES)
def test_evenness_rejects(why):
    rejects(checks.evenness, WRONG_EVENNESSES[why], why)


def sorted_out(norms, a, kappa):
    """The weights without a bisection, as a list."""
    logs = np.sort(np.log(norms))[::-1]
    levels = (np.cumsum(logs) - len(logs) * a) / np.arange(1, len(logs) + 1)
    level = levels[np.flatnonzero(logs > levels)[-1]]
    return [1 + kappa * max(0, math.log(norm) - level) / a for norm in norms]


def test_weigh_accepts():
    accepts(checks.weigh, answers.weigh_by_bisection)
    accepts(checks.weigh, sorted_out)
    accepts(checks.weigh, lambda *case: torch.tensor(sorted_out(*case)))


def shifted(norms, a, kappa):
    norms *= 2
    return answers.weigh_by_bisection(norms, a, kappa)


WRONG_WEIGHTS = {
    "the 1 of the gradient itself": lambda *case: answers.weigh_by_bisection(*case) - 1,
    "the smallest norm": lambda n, a, k: 1 + k * np.log(n / n.min()) / a,
    "divide the excess by a": lambda n, a, k: 1 + (answers.weigh_by_bisection(n, a, k) - 1) * a,
    "the mean weight is": lambda n, a, k: 1 + k * np.log(n) / a,
    "is the word `return` missing": lambda n, a, k: None,
    "one weight for each of the 200 norms": lambda n, a, k: 2.0,
    "leave the norms": shifted,
}


@pytest.mark.parametrize("why", WRONG_WEIGHTS)
def test_weigh_rejects(why):
    rejects(checks.weigh, WRONG_WEIGHTS[why], why)


def test_compare_accepts():
    accepts(checks.compare, answers.compare_fairly)

    def by_loop(tune, fresh, base):
        means = [sum(column) / len(column) for column in tune.T]
        best = means.index(min(means))
        if best == 0 or best == len(means) - 1:
            raise ValueError("edge")
        lead = torch.tensor(fresh[:, best] - base)
        return [torch.tensor(best), lead.mean(), 2.262 * lead.std() / 10**0.5]

    accepts(checks.compare, by_loop)


def at_any_rate(tune, fresh, base):
    best = tune.mean(0).argmin()
    lead = fresh[:, best] - base
    return best, lead.mean(), 2.262 * lead.std(ddof=1) / 10**0.5


WRONG_COMPARISONS = {
    "raise a ValueError": at_any_rate,
    "return three things": lambda t, f, b: 2,
    "the index is 2 here; yours is 3": lambda t, f, b: (3, 0, 0),
    "it stopped with TypeError": lambda t, f: 2,
}


@pytest.mark.parametrize("why", WRONG_COMPARISONS)
def test_compare_rejects(why):
    rejects(checks.compare, WRONG_COMPARISONS[why], why)


TYPICAL = [
    (check, right, message, edits)
    for check, right, wrong in (
        (checks.drift, answers.drift_by_hand, checks._DRIFTS),
        (checks.weigh, answers.weigh_by_bisection, checks._WEIGHTS),
        (checks.compare, answers.compare_fairly, checks._COMPARISONS),
    )
    for message, edits in wrong.items()
]


@pytest.mark.parametrize("case", TYPICAL, ids=lambda case: case[2][:40])
def test_each_typical_mistake_has_its_own_words(case):
    check, right, message, edits = case
    rejects(check, checks.edited(right, edits), message)


@pytest.mark.parametrize("check", [checks.drift, checks.evenness, checks.weigh, checks.compare])
def test_hints_are_steps(check):
    assert 2 <= len(check.hints) <= 4
    assert f"Hint 1 of {len(check.hints)}" in said(lambda: check(hint=1))


# ------------------------------------------------------------------------- what is drawn


def title(figure):
    return figure.get_suptitle().replace("\n", " ")


def test_ends():
    found = {"C = 12": {"SGD": [-0.9, -1.0], "Adam": [1.0, 0.5]}, "C = 3": {"SGD": [1, 1, 1]}}
    figure = figures.ends(found, {"C = 12": -1, "C = 3": 1})
    assert title(figure) == "The memory follows the rare gradient, right or wrong"
    assert "C = 12, Adam: +1.00, +0.50" in figure.alt
    dots = [line for line in figure.axes[0].lines if line.get_marker() in "oX"]
    by_marker = {m: [d.get_xdata()[0] for d in dots if d.get_marker() == m] for m in "oX"}
    assert by_marker == {"o": [-0.9, -1.0], "X": [1.0, 0.5]}, "a cross is at the wrong end"


def test_law():
    figure = figures.law(
        ([0.01, 1.0], [0.066, 0.094]),
        {"5, 0.99": (0.0503, 0.077, 0.002), "1, 0.951": (0.0502, 0.08, 0.003)},
        (0.0994, 0.0548),
    )
    assert title(figure) == "One number, a, decides where the training ends"
    assert "5, 0.99: a=0.05, 0.0770 ± 0.0020" in figure.alt
    assert any("2 settings, one a" in text.get_text() for text in figure.axes[0].texts)


def test_mirror():
    figure = figures.mirror({"SGD": (0.1, 0.17), "SGD_C": (0.08, 0.7)})
    assert "loses by far" in title(figure)
    assert "SGD: 0.100 and 0.170 and SGD_C: 0.080 and 0.700" in figure.alt
    assert any(t.get_text() == "SGD_C is best: 0.080" for t in figure.axes[0].texts)


def test_two_fits_plays():
    w = np.stack([study.LEAST_SQUARES * s for s in (0.5, 1.0)])
    made = figures.two_fits(w, w, [100, 4000])
    assert made.count == 2
    assert "After 4000 points the worst error is 0.099 with SGD" in made._data["text/plain"]


def test_weights_are_those_of_the_exercise():
    norms = np.exp(np.random.default_rng(0).normal(size=100))
    weights = figures.Weights(norms)
    for a in (0.02, 0.5, 5.0):
        wanted = answers.weigh_by_bisection(weights.norms, a, 1.0)
        assert weights.at(weights.norms, a) == pytest.approx(wanted, abs=1e-9)
        assert weights.ratio(a) == pytest.approx(wanted[-10:].mean() / wanted[:-10].mean())


def test_explorer():
    made = explorer.weights_explorer()
    assert "Goal:" in made.goal.value
    before = made.picture.value
    made.set(topC=5, decay=0.99)  # the weights, but with five slots
    assert "Goal:" in made.goal.value
    assert made.picture.value != before
    made.set(topC=20, decay=0.995)
    assert "Goal:" in made.goal.value
    made.set(decay=0.9975)
    assert "Reached:" in made.goal.value
    assert "With topC = 5 the same a needs decay = 0.99 " in made.goal.value
    assert "10.0 times the mean weight" in made._figure.alt


def test_explorer_keeps_its_axes():
    made = explorer.weights_explorer()
    one = [made._figure.axes[0].get_xlim(), made._figure.axes[0].get_ylim()]
    made.set(topC=1, decay=0.999)
    assert one == [made._figure.axes[0].get_xlim(), made._figure.axes[0].get_ylim()]


def test_every_decay_and_slot_can_be_drawn():
    weights = figures.Weights(abs(study.errors(study.LEAST_SQUARES)))
    for topC in (1, 20):
        for decay in explorer.DECAYS:
            a = weight_evenness(topC, decay)
            assert weights.at(weights.norms, a).mean() == pytest.approx(2)
            assert weights.at(weights.norms, a).max() < 200


def test_one_word_for_one_thing():
    notebook = nbformat.read(NOTEBOOKS / "06_how_to_choose.ipynb", as_version=4)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    other = r"fad(?:es?|ed|ing)|refus\w+|forget\w*|turn\w* away|newcomer|anew|giv\w+ back"
    assert re.findall(rf"\b(?:{other})\b", text) == []
