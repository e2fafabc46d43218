"""Does it help."""

import ast
import copy
import re
from functools import cache

import nbformat
import numpy as np
import pytest
import torch
from checking import accepts, rejects
from looking import NOTEBOOKS
from sklearn.datasets import make_classification
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import train_test_split

import cgtutor
from cgtutor.course.does_it_help import checks, figures, plane, study
from cgtutor.course.does_it_help.alone import UpdateRule, initial_weights, train_alone
from cgtutor.course.does_it_help.batch import exponential, scores, train_together
from cgtutor.course.does_it_help.explorer import rate_explorer
from cgtutor.course.does_it_help.problems import (
    AUTHORS_LEVELS,
    FAIR_LEVELS,
    Setting,
    authors_problem,
    fair_problem,
    setting,
    stacked,
)
from cgtutor.course.does_it_help.study import GRIDS, METHODS, PAIRS, cross_entropy, interval, train
from cgtutor.course.shared.data import network
from cgtutor.course.shared.style import BLUE, ORANGE, Picture

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
        assert len(expected) == len(trained)
        for real, batched in zip(expected, trained):
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
    args = x, y, initial_weights(1, 4, range(4)), np.full(4, 0.03), METHODS["Adam_C"], 2, 0
    whole = train_together(*args)
    monkeypatch.setattr("cgtutor.course.does_it_help.batch.BLOCK", 3)
    parts = train_together(*args)
    for one, other in zip(whole, parts):
        np.testing.assert_allclose(other, one, rtol=1e-12)


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
    for one, other in zip(real, trained):
        np.testing.assert_allclose(other[:, 0], one, rtol=1e-9)


def test_a_run_that_diverges_leaves_the_others_alone():
    x, y = samples(2)
    x[0, 5] = np.inf
    start = initial_weights(1, 4, range(2))
    both = train_together(x, y, start, np.full(2, 0.1), METHODS["SGD_C"], 2)
    assert np.isnan(flat(w[:, 0] for w in both)).all()
    only = train_together(
        x[1:], y[1:], [w[1:] for w in start], np.full(1, 0.1), METHODS["SGD_C"], 2
    )
    for one, other in zip(both, only):
        np.testing.assert_array_equal(one[:, 1:], other)


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


def test_authors_problem_is_their_data():
    """Made here once more by scikit-learn alone, for two levels of each study."""
    cases = {
        ("label noise", 0.3): {"flip_y": 0.3},
        ("label noise", 0.0): {"flip_y": 0.0},
        ("class imbalance", 0.2): {"flip_y": 0.0, "weights": [0.8, 0.2]},
        ("class separation", 0.0): {"flip_y": 0.0},
        ("class separation", 3.5): {"flip_y": 0.0},
    }
    for (name, level), options in cases.items():
        x, y = make_classification(
            500, 10, n_informative=7, n_redundant=0, n_clusters_per_class=1, class_sep=0.5,
            shift=0.4, random_state=1403, **options,
        )  # fmt: skip
        parts = train_test_split(x, y, test_size=0.2, random_state=1234)
        problem = authors_problem(name, level)
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


def test_epochs_in_orders_of_their_own():
    x, y = samples(2, 10)
    start = initial_weights(2, 4, range(2))
    args = x, y, start, np.full(2, 0.1), METHODS["SGD_C"]
    trained = train_together(*args, epochs=2, seed=7)
    generator = np.random.default_rng(7)
    orders = [generator.permutation(10) for _ in range(2)]
    assert not np.array_equal(*orders)
    mixed = np.concatenate(orders)
    real = alone(x[1][mixed], y[1][mixed], 2, METHODS["SGD_C"], 0.1, 1, 1)
    np.testing.assert_allclose(flat(w[1, 1] for w in trained), flat(w[0] for w in real))
    assert not np.allclose(flat(train_together(*args, epochs=2)), flat(trained))


def test_settings():
    assert setting("label noise", 0.3) == (0.3, 0.5, 1.0)
    assert setting("class imbalance", 0.1) == (0.0, 0.1, 1.0)
    assert setting("class separation", 2.0) == (0.0, 0.5, 2.0)
    assert [len(levels) for levels in AUTHORS_LEVELS.values()] == [11, 5, 8]
    assert AUTHORS_LEVELS["class separation"][-1] == 3.5
    assert len({setting(s, level) for s, levels in FAIR_LEVELS.items() for level in levels}) == 7
    assert {len(grid) for grid in GRIDS.values()} == {7}


def test_train_cell_by_cell():
    """Each problem with its seed, each learning rate, against the real optimizer alone."""
    problems = stacked([fair_problem(Setting(), k, 40, 30, 50) for k in (4, 5)])
    runs = train("Adam_C", [0.001, 0.01], problems, [4, 5], "tiny MLP", order=0, epochs=2)
    generator = np.random.default_rng(0)
    orders = np.concatenate([generator.permutation(40) for _ in range(2)])
    part = problems.train
    real = alone(part.x[1][orders], part.y[1][orders], 1, METHODS["Adam_C"], 0.01, 5, 1)
    last = [w[0] for w in real]
    np.testing.assert_allclose(
        flat(w[-1, 1, 1] for w in runs.weights), flat(last), rtol=1e-6, atol=1e-8
    )
    scored = scores(last, problems.test.x[1])
    assert runs.guess().shape == (2, 2, 50)
    assert runs.guess()[1, 1].tolist() == (scored > 0).astype(int).tolist()
    loss = cross_entropy(scores(last, problems.validation.x[1]), problems.validation.y[1])
    assert runs.validation_loss()[1, 1] == pytest.approx(loss)
    assert not np.array_equal(runs.guess(0), runs.guess())
    for w, first in zip(runs.start, initial_weights(1, 10, [4, 5])):
        np.testing.assert_allclose(w, first, atol=1e-9)


def test_authors_study_of_separation_varies_nothing():
    first, last = (authors_problem("class separation", level) for level in (0.0, 3.5))
    np.testing.assert_array_equal(first.train.x, last.train.x)


def test_measures():
    generator = np.random.default_rng(1)
    scored, y = generator.normal(size=(3, 50)), generator.integers(0, 2, (3, 50))
    for k in range(3):
        guess, p = (scored[k] > 0).astype(int), 1 / (1 + np.exp(-scored[k]))
        assert study.macro_f1(y[k], guess) == pytest.approx(f1_score(y[k], guess, average="macro"))
        assert cross_entropy(scored, y)[k] == pytest.approx(log_loss(y[k], p))
    mean, half = interval(np.array([1.0, 2.0, 3.0]))
    assert mean == 2
    assert half == pytest.approx(4.302653 / 3**0.5)  # Student's t with 2 degrees of freedom


def notebook():
    (path,) = NOTEBOOKS.glob("05_*.ipynb")
    return nbformat.read(path, as_version=4)


@cache
def solution(name):
    """What a solution of the notebook defines."""
    for cell in notebook().cells:
        if "solution" in cell.metadata.get("tags", []) and f"checks.{name}(" in cell.source:
            names = {"np": np, "checks": checks}
            exec(re.search(r"```python\n(.*?)```", cell.source, re.DOTALL)[1], names)
            return names[name]
    raise AssertionError(name)


def defined(name, **names):
    """A function that a cell of the notebook defines."""
    for cell in notebook().cells:
        if cell.cell_type == "code" and f"def {name}(" in cell.source:
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    exec(compile(ast.Module([node], []), name, "exec"), names)
                    return names[name]
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["macro_f1", "distance", "fair_lead", "plan"])
def test_solutions_pass_their_checks(name):
    accepts(getattr(checks, name), solution(name))


def test_readers_macro_f1_is_scikit_learns():
    generator = np.random.default_rng(2)
    for share in (0.05, 0.3, 0.5):
        y, guess = (generator.random((2, 300)) < share).astype(int)
        expected = f1_score(y, guess, average="macro")
        assert solution("macro_f1")(y, guess) == pytest.approx(expected, abs=1e-12)


def test_readers_protocol_is_the_stand_in():
    draws = np.random.default_rng(3)
    made = {side: (draws.random((5, 4)), draws.random((5, 4))) for side in "ab"}
    args = (lambda side, _: made[side]), {"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}
    np.testing.assert_array_equal(solution("fair_lead")(*args), study.fair_lead(*args))


def test_notebooks_interval_is_the_folders():
    from scipy.stats import t as student

    leads = np.random.default_rng(4).normal(size=10)
    assert defined("interval", np=np, student=student)(leads) == pytest.approx(interval(leads))


def test_the_case_and_its_culprit():
    """8.4 points under the authors' protocol, and -0.4 with SGD at twice the learning rate."""
    five = stacked([authors_problem("class separation", 1.0)] * 5)
    best = {}
    for name in ("SGD", "SGD_C"):
        runs = train(name, [0.001, 0.002], five, range(100, 105))
        right = [(runs.guess(e) == five.test.y[:, None]).mean(-1) for e in range(10)]
        best[name] = 100 * np.max(right, axis=0)
    lead = best["SGD_C"][:, :1] - best["SGD"]
    assert lead.mean(0) == pytest.approx([8.4, -0.4])


def f1_with(weights):
    def answer(y, guess):
        of_class = [f1_score(y, guess, pos_label=k) for k in (0, 1)]
        return np.dot(weights(y), of_class)

    return answer


def test_macro_f1_accepts():
    accepts(checks.macro_f1, lambda y, guess: f1_score(y, guess, average="macro"))
    accepts(checks.macro_f1, lambda y, guess: torch.tensor(study.macro_f1(y, guess)))


@pytest.mark.parametrize(
    ("why", "answer"),
    {
        "it returns nothing": lambda y, guess: None,
        "that is the accuracy": lambda y, guess: np.mean(y == guess),
        "that is F1 of class 1": lambda y, guess: f1_score(y, guess),
        "that is F1 of class 0": lambda y, guess: f1_score(y, guess, pos_label=0),
        "that is the sum": f1_with(lambda y: [1, 1]),
        "each class has the same weight": f1_with(lambda y: np.bincount(y) / len(y)),
        "one number": lambda y, guess: [0.5, 0.5],
        "use & between": lambda y, guess: np.sum(guess == 1 and y == 1),
        "and yours gives": lambda y, guess: 0.1,
    }.items(),
)
def test_macro_f1_rejects(why, answer):
    rejects(checks.macro_f1, answer, why)


def test_distance_accepts_a_long_vector():
    def answer(start, after):
        long = [np.concatenate([t.reshape(len(t), -1) for t in of], 1) for of in (start, after)]
        return np.linalg.norm(long[1] - long[0], axis=1)

    accepts(checks.distance, answer)


def each(start, after):
    return [((a - s) ** 2).reshape(len(s), -1).sum(1) for s, a in zip(start, after)]


@pytest.mark.parametrize(
    ("why", "answer"),
    {
        "the square root is missing": lambda s, a: sum(each(s, a)),
        "the norms of the tensors are added": lambda s, a: sum(map(np.sqrt, each(s, a))),
        "one distance for each model": lambda s, a: np.sqrt(np.sum(each(s, a))),
        "the first model went": lambda s, a: np.zeros(len(s[0])),
    }.items(),
)
def test_distance_rejects(why, answer):
    rejects(checks.distance, answer, why)


def protocol(chosen=lambda losses, results: np.nan_to_num(losses.mean(0), nan=9).argmin()):
    """A protocol that chooses like this."""

    def answer(run, grids):
        both = []
        for side, rates in grids.items():
            losses, results = run(side, rates)
            both.append(results[:, chosen(losses, results)])
        return both[1] - both[0]

    return answer


def firsts_rate(run, grids):
    (a, b), (_, d) = (run(side, rates) for side, rates in grids.items())
    best = np.nan_to_num(a.mean(0), nan=9).argmin()
    return d[:, best] - b[:, best]


def one_rate_at_a_time(run, grids):
    return [run(side, [rate]) for side, rates in grids.items() for rate in rates]


def twice(run, grids):
    for side, rates in grids.items():
        run(side, rates)
    return protocol()(run, grids)


def test_fair_lead_accepts_other_forms():
    accepts(checks.fair_lead, protocol())
    accepts(checks.fair_lead, protocol(lambda losses, _: np.nanargmin(losses.sum(0))))
    accepts(checks.fair_lead, lambda run, grids: list(protocol()(run, grids)))


@pytest.mark.parametrize(
    ("why", "answer"),
    {
        "it returns nothing": lambda run, grids: None,
        "take the second minus the first": lambda run, grids: -protocol()(run, grids),
        "by the mean test result": protocol(lambda _, results: results.mean(0).argmax()),
        "both sides report at the first side's": firsts_rate,
        "with the largest loss": protocol(lambda losses, _: losses.mean(0).argmax()),
        "argmin stops at NaN": protocol(lambda losses, _: losses.mean(0).argmin()),
        "one lead for each data set": lambda run, grids: protocol()(run, grids).mean(),
        "all of its own rates": one_rate_at_a_time,
        "each side trains once": twice,
    }.items(),
)
def test_fair_lead_rejects(why, answer):
    rejects(checks.fair_lead, answer, why)


GRID = [0.003, 0.01, 0.03, 0.1, 0.3]
RIGHT = {
    "learning rates": {"SGD": GRID, "SGD_C": GRID},
    "data sets": range(5),
    "choose on": "validation",
    "look at test": "once",
    "measure": "macro-F1",
}


def planned(**changes):
    return RIGHT | {key.replace("_", " "): value for key, value in changes.items()}


def both(values):
    return {"SGD": values, "SGD_C": values}


WRONG = {
    "is a list, not a dictionary": [GRID],
    "says nothing about 'data sets'": {k: v for k, v in RIGHT.items() if k != "data sets"},
    "'learning rates' needs an entry": planned(learning_rates={"SGD": GRID}),
    "must be a list of numbers, not 0.1": planned(learning_rates=both(0.1)),
    "has 0, which is not possible": planned(learning_rates=both([0, *GRID])),
    "has -1, which is not possible": planned(data_sets=[-1, 1]),
    "has 0.5, which is not possible": planned(data_sets=[0.5, 1]),
    "has 1 twice": planned(data_sets=[1, 1, 2, 3, 4]),
    "SGD_C has more chances": planned(learning_rates={"SGD": [0.001], "SGD_C": GRID}),
    "SGD has more chances": planned(learning_rates={"SGD": GRID, "SGD_C": GRID[1:]}),
    "3 learning rates are hardly a choice": planned(learning_rates=both(GRID[:3])),
    "take five or more": planned(data_sets=[1403]),
    "flatter both sides": planned(choose_on="test"),
    "does not say which model is best": planned(choose_on="training"),
    "'choose on' is one of 'training', 'test', 'validation', not 'luck'": planned(choose_on="luck"),
    "the best of ten looks": planned(look_at_test="every epoch"),
    "that is accuracy": planned(measure="micro-F1"),
    "'measure' is one of 'micro-F1', 'macro-F1', not ['macro-F1']": planned(measure=["macro-F1"]),
    "are too many; stay at 400": planned(data_sets=range(90)),
    "has 10,000 entries": planned(data_sets=range(10_000)),
    "the largest learning rate of SGD, 0.001, is its best": planned(
        learning_rates=both([0.00001, 0.0001, 0.0003, 0.0006, 0.001])
    ),
    "the smallest learning rate of SGD, 0.3, is its best": planned(
        learning_rates=both([0.3, 1, 3, 10, 30])
    ),
}


@pytest.mark.parametrize("why", WRONG)
def test_plan_rejects(why):
    rejects(checks.plan, WRONG[why], why)


LOWER = {"SGD": np.array(GRID), "SGD_C": torch.tensor(GRID, dtype=torch.float64) / 3}


@pytest.mark.parametrize("grids", [both(GRID[::-1]), LOWER], ids=["backwards", "lower"])
def test_plan_accepts(grids):
    verdict = accepts(checks.plan, planned(learning_rates=grids))
    assert "25 trainings for each side" in verdict


def test_case_figure():
    results = {"SGD": np.array([60.0, 70]), "SGD_C": np.array([70.0, 70])}
    figure = figures.case(results)
    assert isinstance(figure, Picture)
    assert figure.get_suptitle() == "With a memory, SGD is right 5.0 points more often"
    assert "60 and 70, 70 and 70" in figure.alt
    assert "with every seed" not in figure.alt
    ahead = figures.case(results | {"SGD_C": np.array([70.0, 71])})
    assert "with every seed" in ahead.alt


def test_autopsy_figure():
    figure = figures.autopsy({"as published": (8.4, 3.8), "twice": (-0.04, 1.0)}, "twice")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["as published", "twice"]
    assert "survives every suspect but one" in figure.get_suptitle()
    assert "as published +8.4 ± 3.8; twice +0.0 ± 1.0." in figure.alt
    bars = [c.lines[2][0].get_segments()[0][:, 0] for c in ax.containers]
    assert bars[0] == pytest.approx([4.6, 12.2])
    assert [c.lines[0].get_color() for c in ax.containers] == [ORANGE, BLUE]


def made_up(mean):
    return {model: {"SGD": dict.fromkeys(AUTHORS_LEVELS, (mean, 0.5))} for model in ("a", "b")}


def test_forest_figure():
    figure = figures.forest(made_up(5.0), made_up(-0.6))
    assert figure.get_suptitle() == "Tuned alike, all 6 leads shrink to less than one point"
    assert [ax.get_title() for ax in figure.axes] == ["a", "b"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert figure.alt.count("+5.0 ± 0.5, then -0.6 ± 0.5") == 6
    assert "less than 2.0 points" in figures.forest(made_up(5.0), made_up(2.0)).get_suptitle()


def test_race_figure():
    cloud, test = plane.points()
    assert (cloud.x.shape, test.x.shape) == ((100, 2), (1000, 2))
    model = network((2, 8, 2), seed=0)
    seen = plane.ground(model, 5)
    lower_right = model(torch.tensor([[3.0, -3.0]])).argmax().item()
    assert seen[0, -1] == lower_right
    logits = model(torch.tensor(test.x)).argmax(-1).numpy()
    assert plane.right(model, test) == pytest.approx(100 * np.mean(logits == test.y))
    figure = figures.race(cloud, {"a": seen, "b": 1 - seen}, 16)
    assert len(figure.axes) == 2
    assert "after 16 steps: a, b." in figure.alt


def test_explorers_goal():
    rates = [0.0005, 0.001, 0.002]
    noise = np.random.default_rng(0).normal(size=(8, 1))
    base = 50 + np.array([[-20.0, -10, 0]]) + noise + np.zeros((8, 3))
    memory = 50 + np.array([[-10.0, 0, 10]]) + np.random.default_rng(1).normal(size=(8, 3))
    memory[:, 1] += 0.2 - (memory[:, 1] - base[:, 2]).mean()
    memory[:, 2] = memory[:, 1]
    explorer = rate_explorer(rates, base, memory)
    assert explorer.values == {"rival": 0.001, "ours": 0.001}
    assert "Goal:" in explorer.goal.value
    assert "SGD_C leads" in explorer.picture.value
    explorer.set(rival=0.002)
    assert "Reached:" in explorer.goal.value
    assert "At 2 times its learning rate nobody leads" in explorer.goal.value
    assert "nobody leads" in explorer.picture.value
    explorer.set(ours=0.002)
    assert "nobody leads" in explorer.picture.value
    assert "Goal:" in explorer.goal.value, "SGD_C is to stay where it was"
    explorer.set(ours=0.0005)
    assert "Goal:" in explorer.goal.value
    assert "SGD leads" in explorer.picture.value
    explorer.set(rival=0.0005, ours=0.0005)
    assert "Goal:" in explorer.goal.value
