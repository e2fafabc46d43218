"""Does it help."""

import base64
import copy
import io
from unittest.mock import patch

import matplotlib
import numpy as np
import pytest
import torch
from checking import accepts, rejects
from matplotlib.collections import LineCollection
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import train_test_split
from torch.nn.utils import parameters_to_vector

import cgtutor
from cgtutor.course.does_it_help import checks, figures
from cgtutor.course.does_it_help.alone import UpdateRule, initial_weights, train_alone
from cgtutor.course.does_it_help.batch import exponential, scores, train_together
from cgtutor.course.does_it_help.explorer import boundary_explorer
from cgtutor.course.does_it_help.plane import SHAPES, Boundary, boundary, points
from cgtutor.course.does_it_help.problems import (
    AUTHORS_LEVELS,
    FAIR_LEVELS,
    Part,
    Setting,
    authors_problem,
    fair_problem,
    setting,
    stacked,
)
from cgtutor.course.does_it_help.studies import (
    GRIDS,
    METHODS,
    PAIRS,
    AuthorsResult,
    FairResult,
    accuracy,
    authors_study,
    balanced_accuracy,
    cross_entropy,
    fair_settings,
    fair_study,
    interval,
    macro_f1,
    tune,
)
from cgtutor.course.does_it_help.tables import (
    NAMES,
    Curve,
    authors_panels,
    authors_table,
    fair_leads,
    fair_panels,
    larger_class,
    leads_table,
    over_data_sets,
    over_seeds,
    pace_table,
    rate_curves,
    verdicts,
)
from cgtutor.course.shared.data import network
from cgtutor.course.shared.style import Picture

pytestmark = pytest.mark.usefixtures("double_precision", "one_thread")


OPTIONS = {
    **METHODS,
    "SGD_C, mid": UpdateRule("SGD", topC=10, decay=0.99, aggr="mid"),
    "SGDM_C, mean": UpdateRule("SGD", momentum=0.9, topC=3, decay=1, aggr="mean"),
    "RMSprop_C, sum": UpdateRule("RMSprop", topC=3, aggr="sum"),
    "Adam_C, mid": UpdateRule("Adam", topC=2, decay=0.9, aggr="mid"),
    "SGD_C, priorities all zero": UpdateRule("SGD", topC=4, decay=0),  # ties: the oldest goes
    "SGD_C, one slot": UpdateRule("SGD", topC=1, decay=0.5),
}


def samples(runs=4, count=30, features=4):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(runs, count, features))
    return x, (x[..., 0] + generator.normal(size=(runs, count)) > 0).astype(int)


def alone(x, y, hidden, method, lr, seed, epochs):
    model = network((x.shape[1], hidden, 2) if hidden else (x.shape[1], 2), seed)
    return train_alone(x, y, model, method.optimizer(model.parameters(), lr), epochs)


def flat(tensors):
    return np.concatenate([np.asarray(t).reshape(-1) for t in tensors])


@pytest.mark.parametrize("hidden", [0, 1, 3])
@pytest.mark.parametrize("name", OPTIONS)
def test_together_is_as_alone(name, hidden):
    """Every tensor after every epoch, for every run: its data, weights, learning rate, memory."""
    x, y = samples()
    rates = np.array([0.001, 0.01, 0.03, 0.1])
    start = initial_weights(hidden, 4, range(4))
    before = copy.deepcopy(start)
    trained = train_together(x, y, start, rates, OPTIONS[name], epochs=5)
    for run, lr in enumerate(rates):
        expected = alone(x[run], y[run], hidden, OPTIONS[name], lr, run, 5)
        assert len(expected) == len(trained.weights)
        for real, batched in zip(expected, trained.weights):
            assert real.shape == batched[:, run].shape
            np.testing.assert_allclose(batched[:, run], real, rtol=1e-9, atol=1e-11)
    assert all(np.array_equal(a, b) for a, b in zip(start, before))


def test_exponential():
    x = np.concatenate([np.linspace(-700, 700, 2001), np.linspace(-1, 1, 2001), [0.0]])
    np.testing.assert_allclose(exponential(x), np.exp(x), rtol=1e-14)
    assert exponential(np.array([0.0, 1e9])).tolist() == [1, exponential(np.array([700.0]))[0]]
    with np.errstate(invalid="ignore"):
        assert np.isnan(exponential(np.array([np.nan]))).all()


def test_blocks_of_runs(monkeypatch):
    x, y = samples()
    args = x, y, initial_weights(1, 4, range(4)), np.full(4, 0.03), METHODS["Adam_C"], 2, 0, True
    whole = train_together(*args)
    monkeypatch.setattr("cgtutor.course.does_it_help.batch.BLOCK", 3)
    parts = train_together(*args)
    for one, other in zip(whole.weights, parts.weights):
        np.testing.assert_allclose(other, one, rtol=1e-12)
    np.testing.assert_allclose(parts.step_length, whole.step_length)


def test_optimizers_are_what_they_are_called():
    weight = [torch.nn.Parameter(torch.zeros(2))]
    for name, method in METHODS.items():
        optimizer = method.optimizer(weight, 0.5)
        plain = name.removesuffix("_C").removesuffix("M")
        critical = name.endswith("_C")
        where = cgtutor if critical else torch.optim
        assert type(optimizer) is getattr(where, plain + "_C" * critical)
        group = optimizer.param_groups[0]
        assert (group["lr"], group.get("momentum", 0)) == (0.5, 0.9 if "SGDM" in name else 0)
        if critical:
            assert group["topC"] == (10 if name == "SGDM_C" else 5)
            assert group["decay"] == 0.7
            default = getattr(cgtutor, plain + "_C")(weight).param_groups[0]
            assert group["aggr"] == default["aggr"]
    assert list(PAIRS.items()) == [(n, f"{n}_C") for n in ("SGD", "SGDM", "RMSprop", "Adam")]


def test_a_norm_that_overflows_is_turned_away():
    """The gradient is finite and is stepped along, but its priority is not finite."""
    x, y = samples(1, 12)
    x[0, 3] *= 1e200
    method, lr = UpdateRule("SGD", topC=3), 1e-205
    start = [w * 1e-205 for w in initial_weights(0, 4, [0])]
    trained = train_together(x, y, start, np.array([lr]), method, 1)
    model = network((4, 2), 0)
    with torch.no_grad():
        for p in model.parameters():
            p *= 1e-205
    real = train_alone(x[0], y[0], model, method.optimizer(model.parameters(), lr), 1)
    for one, other in zip(real, trained.weights):
        np.testing.assert_allclose(other[:, 0], one, rtol=1e-9)


def test_a_run_that_diverges_leaves_the_others_alone():
    x, y = samples(2)
    x[0, 5] = np.inf
    start = initial_weights(1, 4, range(2))
    both = train_together(x, y, start, np.full(2, 0.1), METHODS["SGD_C"], 2)
    assert np.isnan(flat(w[:, 0] for w in both.weights)).all()
    only = train_together(
        x[1:], y[1:], [w[1:] for w in start], np.full(1, 0.1), METHODS["SGD_C"], 2
    )
    for one, other in zip(both.weights, only.weights):
        np.testing.assert_array_equal(one[:, 1:], other)


@pytest.mark.parametrize("hidden", [0, 2])
def test_step_length_and_order(hidden):
    """Epochs in orders drawn anew, the same for all runs; steps measured over all tensors."""
    x, y = samples(2, 10)
    start = initial_weights(hidden, 4, range(2))
    args = start, np.full(2, 0.1), METHODS["SGD_C"]
    trained = train_together(x, y, *args, epochs=2, seed=7, step_lengths=True)
    generator = np.random.default_rng(7)
    orders = [generator.permutation(10) for _ in range(2)]
    assert not np.array_equal(*orders)
    mixed = np.concatenate(orders)
    path = 0.0
    model = network((4, hidden, 2) if hidden else (4, 2), 1)
    optimizer = METHODS["SGD_C"].optimizer(model.parameters(), 0.1)
    for i in mixed:
        old = parameters_to_vector(model.parameters()).detach()
        real = train_alone(x[1, i : i + 1], y[1, i : i + 1], model, optimizer, 1)
        path += (parameters_to_vector(model.parameters()).detach() - old).norm().item()
    np.testing.assert_allclose(flat(w[1, 1] for w in trained.weights), flat(w[0] for w in real))
    assert trained.step_length[1] == pytest.approx(path / 20)
    again = train_together(x, y, *args, epochs=2)
    assert again.step_length.tolist() == [0, 0]
    assert not np.allclose(flat(again.weights), flat(trained.weights))


def test_initial_weights_and_scores_are_the_networks():
    for hidden in (0, 3):
        weights = initial_weights(hidden, 4, [5, 6])
        model = network((4, hidden, 2) if hidden else (4, 2), 6)
        assert [w[1].tolist() for w in weights] == [p.tolist() for p in model.parameters()]
        x = samples()[0][:2]
        logits = model(torch.tensor(x[1])).detach().numpy()
        expected = logits[:, 1] - logits[:, 0]
        np.testing.assert_allclose(scores(weights, x)[1], expected)
        np.testing.assert_allclose(scores(weights, x[1])[1], expected)  # broadcast


def test_settings():
    assert setting("label noise", 0.3) == (0.3, 0.5, 1.0)
    assert setting("class imbalance", 0.1) == (0.0, 0.1, 1.0)
    assert setting("class separation", 2.0) == (0.0, 0.5, 2.0)
    assert [len(levels) for levels in AUTHORS_LEVELS.values()] == [11, 5, 8]
    assert AUTHORS_LEVELS["class separation"][-1] == 3.5
    every = fair_settings()
    assert len(every) == len(set(every)) == 11
    assert {setting(s, level) for s, levels in FAIR_LEVELS.items() for level in levels} == set(
        every
    )
    assert {len(grid) for grid in GRIDS.values()} == {9}


def test_authors_problem_is_their_data():
    """Made here once more by scikit-learn alone, for two levels of each study."""
    cases = {
        ("label noise", 0.3): {"flip_y": 0.3},
        ("label noise", 0.0): {"flip_y": 0.0},
        ("class imbalance", 0.2): {"flip_y": 0.0, "weights": [0.8, 0.2]},
        ("class separation", 0.0): {"flip_y": 0.0},
        ("class separation", 3.5): {"flip_y": 0.0},
    }
    for (study, level), options in cases.items():
        x, y = make_classification(
            500, 10, n_informative=7, n_redundant=0, n_clusters_per_class=1, class_sep=0.5,
            shift=0.4, random_state=1403, **options,
        )  # fmt: skip
        parts = train_test_split(x, y, test_size=0.2, random_state=1234)
        problem = authors_problem(study, level)
        mean, deviation = parts[0].mean(0), parts[0].std(0)
        np.testing.assert_allclose(problem.train.x, (parts[0] - mean) / deviation, atol=6e-7)
        np.testing.assert_allclose(problem.test.x, (parts[1] - mean) / deviation, atol=6e-7)
        assert problem.train.y.tolist() == parts[2].tolist()
        assert problem.test.y.tolist() == parts[3].tolist()
        assert len(problem.validation.y) == 0
    assert problem.train.x.shape == (400, 10)


def test_fair_problem():
    plain, noisy = (fair_problem(Setting(noise=noise), 3) for noise in (0.0, 0.4))
    assert [part.x.shape for part in plain] == [(300, 10), (100, 10), (1000, 10)]
    np.testing.assert_allclose(plain.train.x.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose(plain.train.x.std(0), 1, rtol=1e-6)
    assert abs(plain.test.x.mean(0)).max() > 1e-3, "scaled by the training part alone"
    for one, other in zip(plain, noisy):
        np.testing.assert_array_equal(one.x, other.x)
    pairs = [[fair_problem(Setting(noise=s), k) for s in (0.0, 0.4)] for k in range(20)]
    changed = [[(a.y != b.y).mean() for a, b in zip(*pair)] for pair in pairs]
    share = np.mean(changed, axis=0)
    assert share[:2] == pytest.approx([0.2, 0.2], abs=0.02)  # half of what is drawn anew
    assert share[2] == 0
    few = fair_problem(Setting(minority=0.1), 3)
    assert np.mean(few.test.y) == pytest.approx(0.1, abs=0.02)
    far, near = (fair_problem(Setting(separation=s), 3) for s in (3.5, 0.0))
    for problem, low, high in ((far, 0.95, 1), (near, 0, 0.7)):
        centre = [problem.train.x[problem.train.y == k].mean(0) for k in (0, 1)]
        guess = problem.test.x @ (centre[1] - centre[0]) > 0
        assert low <= (guess == problem.test.y).mean() <= high
    assert not np.allclose(fair_problem(Setting(), 4).train.x, plain.train.x)
    two = stacked([plain, noisy])
    assert two.train.x.shape == (2, 300, 10)
    assert np.array_equal(two.validation.y[1], noisy.validation.y)


def test_measures():
    generator = np.random.default_rng(1)
    scored, y = generator.normal(size=(3, 50)), generator.integers(0, 2, (3, 50))
    for k in range(3):
        guess, p = scored[k] > 0, 1 / (1 + np.exp(-scored[k]))
        assert accuracy(scored, y)[k] == pytest.approx(f1_score(y[k], guess, average="micro"))
        assert macro_f1(scored, y)[k] == pytest.approx(f1_score(y[k], guess, average="macro"))
        assert balanced_accuracy(scored, y)[k] == pytest.approx(
            balanced_accuracy_score(y[k], guess)
        )
        assert cross_entropy(scored, y)[k] == pytest.approx(log_loss(y[k], p))
    assert accuracy(np.array([[0.0]]), np.array([[0]])) == 1  # argmax of equal logits is class 0


def test_interval_and_curves_by_hand():
    values = np.array([1.0, 2.0, 3.0])
    mean, half = interval(values)
    assert mean == 2
    assert half == pytest.approx(4.302653 / 3**0.5)  # Student's t with 2 degrees of freedom
    curve = over_data_sets([0.0, 1.0], np.stack([values, 2 * values], axis=1))
    assert curve.mean.tolist() == [2, 4]
    assert curve.high - curve.low == pytest.approx([2 * half, 4 * half])
    curve = over_seeds([0.0, 1.0], np.array([[1.0, 2, 6], [0, 0, 3]]))
    assert [list(part) for part in curve] == [[0, 1], [3, 1], [1, 0], [6, 3]]


def test_authors_study_cell_by_cell():
    found = authors_study("tiny MLP", ["SGD", "SGD_C"], lr=0.01, seeds=[100, 101], epochs=2)
    for study, levels in AUTHORS_LEVELS.items():
        assert found.best[study]["SGD"].shape == (len(levels), 2)
    separation = found.best["class separation"]["SGD_C"]
    assert (separation == separation[0]).all(), "their code does not vary it"
    for study, place in (("label noise", 3), ("class imbalance", 1)):
        train, _, test = authors_problem(study, AUTHORS_LEVELS[study][place])
        weights = alone(train.x, train.y, 1, METHODS["SGD_C"], 0.01, 101, 2)
        each = accuracy(scores(weights, test.x), test.y)
        assert found.best[study]["SGD_C"][place, 1] == each.max()
        assert found.last[study]["SGD_C"][place, 1] == each[-1]
    start = initial_weights(1, 10, [101])
    run = 2 * (11 + 1) + 1  # the last cell above
    moved = flat(w[0] for w in weights) - flat(start)
    assert found.travel["SGD_C"][run] == pytest.approx(np.linalg.norm(moved))
    assert found.step_length["SGD"].shape == (48,)


def test_fair_study_cell_by_cell():
    here = Setting(noise=0.2)
    found = fair_study("tiny MLP", [4, 5], ["Adam_C"], settings=[Setting(), here], epochs=1)
    train, validation, test = fair_problem(here, 5)
    order = np.random.default_rng(0).permutation(300)
    for place, lr in ((0, 1e-5), (6, 0.01)):
        weights = alone(train.x[order], train.y[order], 1, METHODS["Adam_C"], lr, 5, 1)
        last = [w[0] for w in weights]
        loss = cross_entropy(scores(last, validation.x), validation.y)
        assert found.validation_loss["Adam_C"][here][1, place] == pytest.approx(loss)
        right = balanced_accuracy(scores(last, test.x), test.y)
        assert found.test["Adam_C"][here][1, place] == pytest.approx(right)
    assert found.test["Adam_C"][Setting()].shape == (2, 9)
    with patch(
        "cgtutor.course.does_it_help.studies.train_together", side_effect=KeyError
    ) as called:
        with pytest.raises(KeyError):
            fair_study("tiny MLP", [4, 5], ["SGD"])
        assert called.call_args.args[0].shape == (11 * 2 * 9, 300, 10)


def test_choices_are_made_on_the_validation_part():
    nan = float("nan")
    base = {h: np.array([[3.0, 1, 2], [nan, 5, 4]]) for h in fair_settings()}
    memory = {h: np.array([[1.0, 2, 3], [3, 2, nan]]) for h in fair_settings()}
    results = {h: np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]) for h in fair_settings()}
    better = {h: v + 0.1 for h, v in results.items()}
    found = FairResult({"SGD": base, "SGD_C": memory}, {"SGD": results, "SGD_C": better})
    assert found.chosen("SGD", Setting()).tolist() == [1, 2]
    assert found.report("SGD", Setting()).tolist() == [0.2, 0.6]
    assert found.report("SGD_C", Setting()) == pytest.approx([0.2, 0.6])
    assert found.report("SGD_C", Setting(), "SGD") == pytest.approx([0.3, 0.7])
    assert found.lead("SGD", "label noise") == pytest.approx([0, 0])
    assert found.lead("SGD", "label noise", "SGD") == pytest.approx([0.1, 0.1])


def test_lead_is_the_mean_over_a_studys_levels():
    plain = {h: np.zeros((1, 1)) for h in fair_settings()}
    level = {h: np.full((1, 1), h.separation) for h in fair_settings()}
    found = FairResult({"SGD": plain, "SGD_C": plain}, {"SGD": plain, "SGD_C": level})
    assert found.lead("SGD", "class separation") == pytest.approx([(0 + 0.5 + 1 + 2 + 3.5) / 5])


def test_tune():
    problems = stacked([fair_problem(Setting(), seed, 40, 30, 50) for seed in (1, 2)])
    rates = [1e-6, 0.01, 1e9]
    chosen, results = tune(problems, METHODS["SGD_C"], rates, [3, 4], accuracy, epochs=1)
    assert chosen.tolist() == [1, 1]
    order = np.random.default_rng(0).permutation(40)
    right = []
    for seed in (3, 4):
        x, y = problems.train.x[1][order], problems.train.y[1][order]
        last = [w[0] for w in alone(x, y, 0, METHODS["SGD_C"], 0.01, seed, 1)]
        right.append(accuracy(scores(last, problems.test.x[1]), problems.test.y[1]))
    assert results[1] == pytest.approx(np.mean(right))
    # test labels have no say in the choice
    other = problems._replace(test=Part(problems.test.x, 1 - problems.test.y))
    assert tune(other, METHODS["SGD_C"], rates, [3, 4], epochs=1)[0].tolist() == [1, 1]


def made_up_authors(shift=0.0):
    """Without memory 0.5, with memory 0.6 in the first study and 0.5 in the others."""
    best = {
        study: {
            name: np.full((len(levels), 2), 0.5 + shift)
            + 0.1 * (name.endswith("_C") and study == "label noise")
            for name in METHODS
        }
        for study, levels in AUTHORS_LEVELS.items()
    }
    lengths = {name: np.array([1.0, 2.0]) * (1.5 if "_C" in name else 1) for name in METHODS}
    travel = {name: np.array([1.0, 2.0]) * (2 if "_C" in name else 1) for name in METHODS}
    return AuthorsResult(best, best, lengths, travel)


def test_authors_tables():
    found, doubled = made_up_authors(), made_up_authors(0.08)
    lines = authors_table(found, doubled).splitlines()
    assert lines[0].split() == [word for study in AUTHORS_LEVELS for word in study.split()]
    assert len(lines) == 5
    pairs = [("+10.0", "+2.0"), ("+0.0", "-8.0"), ("+0.0", "-8.0")]
    assert lines[1].split() == ["SGD", *" ".join(" then ".join(pair) for pair in pairs).split()]
    assert pace_table(found).splitlines()[-1].split() == ["Adam", "1.5", "2.0"]
    panels = authors_panels(found, doubled)
    curves = panels["label noise"]["SGD"]
    assert [float(c.mean[0]) for c in curves.values()] == pytest.approx([0.5, 0.6, 0.58])
    assert list(curves) == list(NAMES)
    assert curves[NAMES[0]].x == AUTHORS_LEVELS["label noise"]


def made_up_fair():
    """The memory leads by 1 point and a little, except that it trails by 2 under imbalance."""
    losses = {h: np.array([[2.0, 1.0]] * 3) for h in fair_settings()}
    base = {h: np.array([[0.9, 0.5], [0.9, 0.6], [0.9, 0.7]]) for h in fair_settings()}
    extra = np.array([[0.0, 0.009], [0, 0.01], [0, 0.011]])
    memory = {h: v + extra - 0.04 * (h.minority < 0.5) for h, v in base.items()}
    wide = {h: v + np.array([[0, -0.3], [0, 0.3], [0, 0]]) for h, v in base.items()}
    sides = {name: memory if name == "SGD_C" else base for name in METHODS}
    return FairResult(dict.fromkeys(METHODS, losses), sides | {"Adam_C": wide})


def test_fair_tables():
    results = {"one": made_up_fair()}
    table = fair_leads(results)
    half = 4.302653 * 0.1 / 3**0.5
    assert table["one"]["SGD"]["label noise"] == pytest.approx((1.0, half))
    assert table["one"]["SGD"]["class imbalance"] == pytest.approx((1 - 4 * 3 / 4, half))
    assert table["one"]["RMSprop"]["class imbalance"] == (0, 0)
    alone = fair_leads(results, tuned_alone=True)
    assert alone == table, "here both sides choose the same learning rate"
    line = leads_table(table).splitlines()[1]
    assert line.split() == ["one", "SGD", "1.0", "±", "0.2", "-2.0", "±", "0.2", "1.0", "±", "0.2"]
    # SGD: 8 settings above, 3 with imbalance below; Adam: all across; the others: no difference
    assert verdicts(results) == (8, 33, 3)
    curves = fair_panels(results["one"])["label noise"]["SGD"]
    assert curves[NAMES[1]].mean == pytest.approx([0.61] * 4)
    curves = rate_curves(results["one"])["Adam"]
    assert curves[NAMES[0]].mean.tolist() == [2, 1]
    assert curves[NAMES[0]].x == GRIDS["Adam"]


def test_tuned_alone_takes_the_base_optimizers_choice():
    found = made_up_fair()
    losses = found.validation_loss | {
        "SGD_C": {h: np.array([[1.0, 2.0]] * 3) for h in fair_settings()}
    }
    results = {"one": found._replace(validation_loss=losses)}
    for tuned_alone, lead in ((False, 30), (True, 1)):
        found = fair_leads(results, tuned_alone)["one"]["SGD"]["label noise"]
        assert found[0] == pytest.approx(lead)


def test_larger_class():
    shares = larger_class({"label noise": (0, 0.5), "class imbalance": (0.1, 0.5)})
    assert shares == {"label noise": [0.5, 0.5], "class imbalance": [0.9, 0.5]}


def test_points():
    for shape in SHAPES:
        train, test = points(shape)
        assert (train.x.shape, test.x.shape) == ((100, 2), (1000, 2))
        np.testing.assert_allclose(train.x.std(0), 1, rtol=1e-6)
        noisy, same = points(shape, noise=0.5)
        np.testing.assert_array_equal(noisy.x, train.x)
        np.testing.assert_array_equal(same.y, test.y)
        assert (noisy.y != train.y).mean() == pytest.approx(0.25, abs=0.1)
    inputs = [points(shape)[0].x for shape in SHAPES]
    assert not np.allclose(inputs[0], inputs[1])
    assert not np.allclose(inputs[1], inputs[2])


def test_boundary():
    found = boundary("blobs", 0.2, METHODS["Adam_C"], 0.01, hidden=3, runs=2, epochs=1)
    train, test = points("blobs", 0.2)
    order = np.random.default_rng(0).permutation(100)
    weights = alone(train.x[order], train.y[order], 3, METHODS["Adam_C"], 0.01, 1, 1)
    last = [w[0] for w in weights]
    assert found.accuracy[1] == accuracy(scores(last, test.x), test.y)
    right_low = np.array([[found.ticks[-1], found.ticks[0]]])
    assert found.scores[1, 0, -1] == pytest.approx(scores(last, right_low)[0])
    assert found.scores.shape == (2, 41, 41)


def curve(x, mean, width=0.1):
    mean = np.asarray(mean, float)
    return Curve(x, mean, mean - width, mean + width)


def small_studies():
    x = [0.0, 0.5, 1.0]
    base, memory = curve(x, [0.9, 0.8, 0.7]), curve(x, [0.92, 0.84, 0.76])
    return {
        "label noise": {"SGD": {"a": base, "b": memory}, "Adam": {"a": memory, "b": base}},
        "class imbalance": {"SGD": {"a": base, "b": base}, "Adam": {"a": base, "b": memory}},
    }


def test_study_panels():
    trivial = {"label noise": [0.5, 0.5, 0.5], "class imbalance": [0.9, 0.7, 0.5]}
    figure = figures.study_panels(small_studies(), "accuracy", "worst to best", trivial)
    assert isinstance(figure, Picture)
    assert len(figure.axes) == 4
    assert [ax.get_title() for ax in figure.axes] == ["SGD", "Adam", "", ""]
    assert figure.axes[2].get_xlabel() == "class imbalance"
    assert figure.axes[0].get_ylabel() == "accuracy"
    drawn = {tuple(line.get_ydata()) for line in figure.axes[0].lines}
    assert {(0.9, 0.8, 0.7), (0.92, 0.84, 0.76), (0.5, 0.5, 0.5)} <= drawn
    assert (0.9, 0.7, 0.5) in {tuple(line.get_ydata()) for line in figure.axes[3].lines}
    low, high = figure.axes[0].collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.6, 1.0))
    assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b"]
    assert "worst to best" in figure.legends[0].get_title().get_text()
    assert "label noise: SGD +4, Adam -4; class imbalance: SGD +0, Adam +4." in figure.alt


def test_leads():
    results = {
        "one": {"SGD": {"noise": (1.0, 0.5), "imbalance": (-1.0, 2.0)}},
        "two": {"SGD": {"noise": (-2.0, 0.5), "imbalance": (0.1, 0.3)}},
    }
    figure = figures.leads(results)
    left, right = figure.axes
    assert left.get_title() == "one"
    assert left.containers[0].lines[0].get_xdata().tolist() == [1.0]
    assert left.get_xlim() == right.get_xlim(), "one scale for both models"
    bar = right.containers[0].lines[2][0].get_segments()[0]
    assert bar[:, 0].tolist() == [-2.5, -1.5]
    assert [label.get_text() for label in left.get_yticklabels()] == ["SGD"]
    assert "4 leads" in figure.alt
    assert "1 intervals lie above zero, 1 below, and 2 reach across it" in figure.alt
    assert "from -2.0 to 1.0 percentage points" in figure.alt


def test_rate_panels():
    x = [0.001, 0.01, 0.1]
    base = curve(x, [0.5, 0.4, 0.2])
    memory = curve(x, [0.4, 0.3, np.nan])
    figure = figures.rate_panels({"logistic": {"SGD": {"plain": base, "with": memory}}})
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel().startswith("logistic\n")
    lines = [line.get_ydata() for line in ax.lines]
    assert any(np.array_equal(line, base.mean) for line in lines)
    assert any(np.array_equal(line, [0.4, 0.3, 16.0]) for line in lines), "a diverged run goes up"
    assert not any(len(line) == 3 and np.isnan(line).all() for line in lines)
    edges = [line for line in lines if np.isnan(line).any()]
    assert len(edges) == 2
    assert "plain and with are at the learning rates logistic, SGD: 0.1 and 0.01." in figure.alt


def test_boundaries():
    ticks = np.linspace(-3, 3, 7)
    tilt = np.stack([np.tile(ticks, (7, 1)), np.tile(ticks - 1, (7, 1)), np.ones((7, 7))])
    train = Part(np.array([[-1.0, 0.0], [1.0, 2.0]]), np.array([0, 1]))
    result = Boundary(train, ticks, tilt, np.array([0.5, 0.8, 0.8]))
    figure = figures.boundaries({"SGD": result, "SGD_C": result._replace(accuracy=np.ones(3))})
    left = figure.axes[0]
    assert left.get_title() == "SGD\n70 % right on test points (50 to 80)"
    ground = left.images[0].get_array()
    assert ground[0].tolist() == [False, False, False, False, True, True, True]
    dots = [c.get_offsets().tolist() for c in left.collections if len(c.get_offsets()) == 1]
    assert [[-1.0, 0.0]] in dots
    assert [[1.0, 2.0]] in dots
    # a boundary for each model that has one: the third says class 1 everywhere
    (boundaries,) = [c for c in left.collections if isinstance(c, LineCollection)]
    first, second = boundaries.get_segments()
    assert first[:, 0] == pytest.approx(0)
    assert second[:, 0] == pytest.approx(1)
    assert {first[:, 1].min(), first[:, 1].max()} == {-3, 3}
    assert "3 trained models" in figure.alt
    assert "SGD: 70 %, SGD_C: 100 %" in figure.alt


def test_boundary_explorer_draws_the_static_figure():
    explorer = boundary_explorer()
    _, shape, noise, base, lr, lr_C, picture = explorer.children
    shape.value, noise.value, base.value, lr.value, lr_C.value = "moons", 0.2, "Adam", 0.01, 0.1
    expected = figures.boundaries(
        {
            "Adam, lr 0.01": boundary("moons", 0.2, METHODS["Adam"], 0.01),
            "Adam_C, lr 0.1": boundary("moons", 0.2, METHODS["Adam_C"], 0.1),
        }
    )
    png = io.BytesIO()
    expected.savefig(png, format="png")
    drawn = base64.b64decode(picture.value.partition("base64,")[2].partition('"')[0])
    same = [matplotlib.image.imread(io.BytesIO(b)) for b in (drawn, png.getvalue())]
    assert same[0].shape == same[1].shape
    assert np.abs(same[0][..., :3] - same[1][..., :3]).mean() < 0.02  # colours may be reduced


def test_boundary_explorer_trains_only_the_side_that_moved(monkeypatch):
    trained = []

    def counted(*arguments):
        trained.append(arguments)
        return boundary(*arguments)

    monkeypatch.setattr("cgtutor.course.does_it_help.explorer.boundary", counted)
    explorer = boundary_explorer()
    lr = explorer.children[4]
    assert len(trained) == 2
    lr.value = 0.005
    assert trained[2:] == [("blobs", 0.0, METHODS["SGD"], 0.005)]
    lr.value = 0.002
    assert len(trained) == 3, "seen before"


def test_explorers_goal():
    def right(name, lr):
        return boundary("blobs", 0.0, METHODS[name], lr).accuracy.mean()

    goal = right("SGD_C", 0.002)
    good = [lr for lr in (0.001, 0.002, 0.003, 0.004, 0.005) if right("SGD", lr) >= goal]
    assert good == [0.005]


GRID = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]


RIGHT = {
    "learning rates": {"SGD": GRID, "SGD_C": GRID},
    "seeds": {"SGD": range(5), "SGD_C": range(5)},
    "data sets": range(5),
    "choose on": "validation",
    "look at test": "once",
    "measure": "balanced accuracy",
}


def plan(**changes):
    return RIGHT | {key.replace("_", " "): value for key, value in changes.items()}


def both(values):
    return {"SGD": values, "SGD_C": values}


WRONG = {
    "is a list, not a dictionary": [GRID],
    "says nothing about 'seeds'": {k: v for k, v in RIGHT.items() if k != "seeds"},
    "the key 'epochs', which is none": RIGHT | {"epochs": 10},
    "'seeds' needs an entry for each side": plan(seeds=range(5)),
    "'learning rates' needs an entry for each side": plan(learning_rates={"SGD": GRID}),
    "must be a list of numbers, not 0.1": plan(learning_rates=both(0.1)),
    "must be positive numbers, and 'a' is none": plan(learning_rates=both(["a"])),
    "must be positive numbers, and -1 is none": plan(learning_rates=both([-1])),
    "must be positive numbers, and 0 is none": plan(learning_rates=both([0])),
    "must be whole numbers, 0 or more, and 0.5 is none": plan(data_sets=[0.5, 1]),
    "'seeds' of SGD has 1 twice": plan(seeds=both([1, 1, 2, 3, 4])),
    "'data sets' must be a list of numbers, not '12'": plan(data_sets="12"),
    "from 1 learning rates and SGD_C from 6. The side with more of them, SGD_C": plan(
        learning_rates={"SGD": [0.001], "SGD_C": GRID}
    ),
    "The side with more of them, SGD,": plan(learning_rates={"SGD": GRID, "SGD_C": GRID[1:]}),
    "luck with the initial weights is the same": plan(seeds={"SGD": range(5), "SGD_C": range(6)}),
    "4 seeds are too few": plan(seeds=both(range(4))),
    "on a single data set": plan(data_sets=[1403]),
    "chosen on the test part flatter both sides": plan(choose_on="test"),
    "the loss on the training part does not say": plan(choose_on="training"),
    "'choose on' is one of 'training', 'test', 'validation', not 'luck'": plan(choose_on="luck"),
    "after every epoch and reporting the best": plan(look_at_test="every epoch"),
    "invites a choice on the test part": plan(look_at_test="every learning rate"),
    "Which part is neither trained on nor reported on?": plan(choose_on="valid"),
    "'look at test' is one of 'every epoch'": plan(look_at_test=1),
    "Not yet: always naming the larger class is 90 %": plan(measure="accuracy"),
    "with two classes micro-F1 is accuracy": plan(measure="micro-F1"),
    "'measure' is one of 'accuracy', 'micro-F1'": plan(measure="loss"),
    "2 learning rates for each side are hardly a choice": plan(learning_rates=both([0.01, 0.1])),
    "6,000 trainings for each side are more": plan(data_sets=range(200)),
    "largest learning rate, 0.001, was the best in": plan(
        learning_rates=both([0.0001, 0.0003, 0.001])
    ),
    "smallest learning rate, 1, was the best in": plan(learning_rates=both([1, 10, 100])),
    "it stopped with TypeError": plan(data_sets=np.array(5)),
    "'seeds' of SGD is a map; list(...) makes a list of it": plan(
        seeds={"SGD": map(int, "12345"), "SGD_C": range(5)}
    ),
    "'data sets' has 10,000,000 entries; stay at 2,000": plan(data_sets=range(10_000_000)),
    "Not yet: 'choose on' is one of 'training', 'test'": plan(choose_on=["validation"]),
    "Not yet: 'look at test' is one of 'every epoch', 'every learning": plan(look_at_test=["once"]),
    "Not yet: 'measure' is one of 'accuracy'": plan(measure=["macro-F1"]),
}


@pytest.mark.parametrize("why", WRONG)
def test_fair_comparison_rejects(why):
    rejects(checks.fair_comparison, WRONG[why], why)


FAIR = {
    "balanced accuracy": plan(),
    "macro-F1": plan(measure="macro-F1"),
    "tensor, array and set": plan(
        learning_rates={"SGD": torch.tensor(GRID), "SGD_C": np.array(GRID)},
        seeds=both(set(range(5))),
    ),
    "grids that differ, but are as long": plan(
        learning_rates={"SGD": GRID[1:], "SGD_C": GRID[:-1]}
    ),
}


@pytest.mark.parametrize("name", FAIR)
def test_fair_comparison_accepts(name):
    verdict = accepts(checks.fair_comparison, FAIR[name])
    trainings = 125 if name.startswith("grids") else 150
    assert verdict.startswith(f"Right! {trainings} trainings for each side")
    assert f"{FAIR[name]['measure']}: SGD " in verdict
