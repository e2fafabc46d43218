"""First steps."""

import re
from functools import partial
from statistics import mean

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from checking import accepts, rejects
from looking import NOTEBOOKS
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector
from torch.optim import SGD

from cgtutor import SGD_C, Adam_C
from cgtutor.course.first_steps import checks, explorer, figures, study
from cgtutor.course.first_steps.study import Outcome
from cgtutor.course.shared.check import edited
from cgtutor.course.shared.data import digits, mini_batches, network
from cgtutor.course.shared.training import evaluate


@pytest.fixture(scope="module")
def solutions():
    """What the reader writes, by name, taken from the notebook's solutions."""
    cells = nbformat.read(NOTEBOOKS / "01_first_steps.ipynb", as_version=4).cells
    shell = {
        "data": digits(),
        "mean": mean,
        "network": network,
        "mini_batches": mini_batches,
        "cross_entropy": cross_entropy,
        "parameters_to_vector": parameters_to_vector,
        "torch": torch,
        "checks": checks,
    }
    for cell in cells:
        if "solution" in cell.metadata.get("tags", []):
            (solved,) = re.findall(r"```python\n(.+?)\n```", cell.source, re.DOTALL)
            exec(solved.rpartition("\n\n\n")[0], shell)
    return shell


# ------------------------------------------------------------------------------ the study


def test_a_path_is_what_the_optimizer_does():
    path = study.trained(SGD, 0.03, seed=1)
    assert path.shape == (201, 2410)
    model = network(seed=1)
    assert torch.equal(path[0], parameters_to_vector(model.parameters()))
    x, y = next(mini_batches(digits().train, 10, torch.Generator().manual_seed(1)))
    cross_entropy(model(x), y).backward()
    step = torch.cat([p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(path[1], path[0] - 0.03 * step)


def test_losses_and_outcome_are_those_of_the_weights():
    data, path = digits(), torch.stack([w * torch.ones(2410) for w in (0.0, 0.01, 0.02)])
    model = study.with_weights(path[2])
    expected = [evaluate(study.with_weights(path[i]), data.train)[0] for i in (0, 2)]
    assert study.losses(path, data.train, every=2) == expected
    found = study.outcome(path, data)
    assert found.validation_loss == evaluate(model, data.validation)[0]
    assert found.test_accuracy == evaluate(model, data.test)[1]


def test_twice_the_rate_draws_the_curve_of_sum():
    """What the notebook is about, with one of its seeds: the pace is 1 + kappa."""
    data = digits()
    with_memory = study.trained(SGD_C, 0.03, 0)
    paths = {times: study.trained(SGD, times * 0.03, 0) for times in (1, 2)}
    lengths, distances = study.pace(with_memory[:51])
    plain = study.pace(paths[1][:51])
    assert 1.1 < lengths.mean() / plain[0].mean() < 1.4
    assert 1.8 < distances[-1] / plain[1][-1] < 2.1
    curve, slow, fast = (
        torch.tensor(study.losses(path, data.train)) for path in (with_memory, paths[1], paths[2])
    )
    assert (curve - slow).abs().max() > 0.5
    assert (curve - fast).abs().max() < 0.06


def test_map_shows_the_longest_path_in_full_length():
    start = torch.rand(2410)
    along, across = torch.zeros(2, 2410)
    along[3], across[7] = 1.0, 1.0
    t = torch.linspace(0, 1, 21)[:, None]
    paths = {
        "far": start + 4 * t * along + t * (1 - t) * across,
        "near": start + 2 * t * along + t / 2 * across,
    }
    plane = study.drawn_map(paths, digits().test, size=(3, 4))
    torch.testing.assert_close(plane.roads["far"][-1], torch.tensor([4.0, 0.0]), atol=1e-5, rtol=0)
    near = torch.tensor([2.0, 0.5])
    torch.testing.assert_close(plane.roads["near"][-1], near, atol=1e-5, rtol=0)
    torch.testing.assert_close(plane.away["near"][-1], near.norm())
    assert plane.loss.shape == (3, 4)
    for points in plane.roads.values():
        assert (points[:, 0] < plane.x[-1]).all()
        assert (points[:, 1] > plane.y[0]).all()
    corner = start + plane.x[0] * along + plane.y[2] * across
    loss, _ = evaluate(study.with_weights(corner), digits().test)
    assert plane.loss[2, 0].item() == pytest.approx(loss, rel=1e-4)


# ------------------------------------------------------- what the reader builds is the same


def test_solutions_are_the_stand_ins(solutions):
    for make, lr in ((SGD, 0.03), (Adam_C, 0.001)):
        theirs = study.trained(make, lr, 3)
        assert torch.equal(solutions["trained"](make, lr, 3), theirs)
        for found, right in zip(solutions["pace"](theirs), study.pace(theirs)):
            assert torch.equal(found, right)
    assert solutions["fair"](checks.TRIALS) == study.fair(checks.TRIALS)


@pytest.mark.parametrize("synced", [True, False])
def test_priorities_are_those_of_the_library(solutions, synced):
    model = network()
    optimizer = Adam_C(model.parameters(), synced=synced, decay=0.5)
    model(torch.rand(5, 64)).square().sum().backward()
    optimizer.step()
    theirs = [optimizer.memory(p).priorities[0] for p in model.parameters()]
    gradients = [p.grad for p in model.parameters()]
    for priorities in (solutions["priorities"], study.priorities):
        assert [0.5 * p for p in priorities(gradients, synced)] == pytest.approx(theirs, rel=1e-5)


# -------------------------------------------------------------------------------- the checks


def trained_otherwise(make, lr, seed):
    """Right, with a list of gradients set to None by hand and copies of the weights."""
    model = network(seed=seed)
    parameters = list(model.parameters())
    optimizer = make(params=parameters, lr=lr)
    order, rows = torch.Generator().manual_seed(seed), [parameters_to_vector(parameters).tolist()]
    for x, y in [b for _ in range(2) for b in mini_batches(digits().train, 10, order)]:
        for p in parameters:
            p.grad = None
        cross_entropy(model(x), y).backward()
        optimizer.step()
        rows.append(parameters_to_vector(parameters).tolist())
    return torch.tensor(rows)


def test_trained_accepts():
    accepts(checks.trained, study.trained)
    accepts(checks.trained, trained_otherwise)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            ("make(model.parameters(), lr=lr)", "torch.optim.SGD(model.parameters(), lr=lr)"),
            "`make` was never",
        ),
        (("optimizer.zero_grad()", "pass"), "the first step is right and the second is not"),
        (("lr=lr)", "lr=0.03)"), "Which learning rate"),
        (("optimizer.step()", "optimizer.zero_grad(); optimizer.step()"), "the weights never move"),
        (("network(seed=seed)", "network()"), "initial weights are others"),
        (("range(2)", "range(1)"), "the path has the shape (101, 2410)"),
        (("torch.stack(path)", "path"), "it returned list"),
        (("make(model.parameters(), lr=lr)", "make(model.parameters(), rate=lr)"), "by its name"),
    ],
)
def test_trained_rejects(change, why):
    rejects(checks.trained, edited(study.trained, dict([change])), why)


def test_priorities_accepts():
    accepts(checks.priorities, study.priorities)

    def with_tensors(gradients, synced):
        norms = torch.stack([torch.linalg.vector_norm(g) for g in gradients])
        return norms.sum().expand(len(norms)) if synced else norms

    accepts(checks.priorities, with_tensors)


def together(gradients, synced):
    norms = study.priorities(gradients, False)
    return [sum(n**2 for n in norms) ** 0.5] * len(norms) if synced else norms


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda gradients, synced: ..., "no list yet"),
        (together, "5 is the norm of all the gradients laid end to end"),
        (lambda g, synced: sum(study.priorities(g, False)), "returns one number, 7"),
        (lambda g, synced: study.priorities(g, False), "these are the single norms"),
        (lambda g, synced: study.priorities(g, True), "nothing is added up"),
        (lambda g, synced: [n**2 for n in study.priorities(g, False)], "these are squares"),
        (lambda g, synced: study.priorities(g, synced)[:1], "returns 1 numbers for 2 tensors"),
        (
            lambda g, synced: (
                [sum(study.priorities(g, False)) / len(g)] * len(g)
                if synced
                else study.priorities(g, False)
            ),
            "mean of the norms",
        ),
        (lambda g, synced: [g[0].norm() + 9] * len(g), "and 3, 4 is right"),
        (lambda g, synced: [x.item() for x in g], "`.item()` belongs behind a norm"),
    ],
)
def test_priorities_rejects(answer, why):
    rejects(checks.priorities, answer, why)


def test_pace_accepts():
    accepts(checks.pace, study.pace)

    def in_a_loop(path):
        steps = [(path[i + 1] - path[i]).norm() for i in range(len(path) - 1)]
        return torch.stack(steps), [(row - path[0]).norm().item() for row in path[1:]]

    accepts(checks.pace, in_a_loop)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda path: (..., ...), "still `...`"),
        (lambda path: study.pace(path)[0], "two things"),
        (lambda path: study.pace(path)[::-1], "lengths of single steps first"),
        (lambda path: (study.pace(path)[0], study.pace(path)[0].cumsum(0)), "added up"),
        (lambda path: (study.pace(path)[0], (path - path[0]).norm(dim=1)), "leave it out"),
        (lambda path: (path.diff(dim=0).norm(), study.pace(path)[1]), "the lengths are 5, 5"),
        (lambda path: (study.pace(path)[0], path[1:].norm(dim=1)), "the distances are"),
    ],
)
def test_pace_rejects(answer, why):
    rejects(checks.pace, answer, why)


def test_fair_accepts():
    accepts(checks.fair, study.fair)

    def otherwise(results):
        found = {}
        for name, trials in results.items():
            rates = sorted(trials)
            of = [mean(run.validation_loss for run in trials[lr]) for lr in rates]
            i = of.index(min(of))
            if i in (0, len(of) - 1):
                raise ValueError
            found[name] = [rates[i], tuple(run.test_accuracy for run in trials[rates[i]])]
        return found

    accepts(checks.fair, otherwise)


def one_rate(results):
    """The best rate of the first side, for all."""
    rate, _ = study.fair({"A": results["A"]})["A"]
    return {n: (rate, [r.test_accuracy for r in trials[rate]]) for n, trials in results.items()}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        *[
            (edited(study.fair, {part: to, "raise": "pass  # raise"}), why)
            for part, (to, why) in checks.MISTAKES.items()
        ],
        (one_rate, "side B gets the other side's rate, 0.2"),
        (edited(study.fair, {"raise": "pass  # raise"}), "best is the smallest"),
        (edited(study.fair, {"(min(loss), max(loss))": "(min(loss),)"}), "best is the largest"),
        (lambda results: None, "return a dictionary"),
        (lambda results: {n: (r, mean(a)) for n, (r, a) in study.fair(results).items()}, "Wanted"),
        (lambda results: {name: (0.8, []) for name in results}, "it chooses 0.8"),
    ],
)
def test_fair_rejects(answer, why):
    rejects(checks.fair, answer, why)


@pytest.mark.parametrize("check", [checks.trained, checks.priorities, checks.pace, checks.fair])
def test_hints_come_in_steps(check, capsys):
    assert 3 <= len(check.hints) <= 4
    check(None, hint=1)
    assert capsys.readouterr().out == f"Hint 1 of {len(check.hints)}: {check.hints[0]}\n"


# ------------------------------------------------------------------- figures and the explorer


def title(figure):
    return figure.get_suptitle().replace("\n", " ")


def test_figures_say_what_they_find():
    falling = {
        name: [[2.3, 2.0, end + seed / 100] for seed in range(3)]
        for name, end in (("SGD", 1.8), ("SGD_C", 1.1), ("Adam", 1.0), ("Adam_C", 0.9))
    }
    figure = figures.one_word({name: falling[name][0] for name in ("SGD", "SGD_C")})
    assert title(figure) == "One word changes: the loss ends at 1.10 instead of 1.80"
    assert "SGD falls to 1.80, SGD_C to 1.10" in figure.alt

    figure = figures.leads(falling)
    assert title(figure) == "With a memory the loss is lower in 6 of 6 pairs of runs"
    assert "SGD: 1.81; SGD_C: 1.11; Adam: 1.01; Adam_C: 0.91" in figure.alt

    matched = {"SGD": falling["SGD_C"], "Adam": falling["Adam_C"]}
    figure = figures.same_pace(falling, matched, {"SGD": 2, "Adam": 1.7})
    assert title(figure) == "At the same pace the lead is gone"
    assert "SGD at 2 times the rate: 1.11; Adam at 1.7 times the rate: 0.91" in figure.alt

    paces = {"SGD": (torch.full((50,), 0.02), torch.linspace(0, 0.4, 50))}
    paces["SGD_C"] = (paces["SGD"][0] * 1.25, paces["SGD"][1] * 2)
    figure = figures.short_steps(paces)
    assert title(figure) == "Steps 1.2 times as long take the model 2.0 times as far"
    assert "SGD: 0.0200; SGD_C: 0.0250; that is 1.25 times" in figure.alt
    assert "SGD: 0.40; SGD_C: 0.80; that is 2.00 times" in figure.alt


def test_fair_test_rings_the_best_rates():
    results = {
        name: {lr: [Outcome(loss, 0.9), Outcome(loss + 0.1, 0.8)] for lr, loss in of.items()}
        for name, of in {
            "SGD": {0.1: 0.6, 0.2: 0.3, 0.3: 0.2, 0.4: 0.4},
            "SGD_C": {0.1: 0.3, 0.2: 0.2, 0.3: 0.3, 0.4: 0.4},
            "Adam": {0.001: 1.0, 0.004: 0.5, 0.016: 0.2},
            "Adam_C": {0.001: 0.8, 0.004: 0.6, 0.016: 0.9},
        }.items()
    }
    figure = figures.fair_test(results)
    assert "SGD_C: 0.35 at 0.1, 0.25 at 0.2" in figure.alt
    assert figure.alt.endswith("the best: SGD: 0.3; SGD_C: 0.2; Adam: 0.016; Adam_C: 0.004.")


def test_player_names_the_distances():
    t = torch.linspace(0, 1, 21)[:, None]
    roads = {name: far * t * torch.tensor([1.0, 0.2]) for name, far in zip("abc", (2, 4, 4.1))}
    away = {name: road.norm(dim=1) + 1 for name, road in roads.items()}
    x, y = torch.linspace(-1, 5, 4), torch.linspace(-1, 1, 3)
    made = figures.road(study.Map(roads, away, x, y, torch.rand(3, 4)))
    assert made.count == 3
    data = made._data
    assert "After 200 steps" not in data["text/plain"]
    assert "After 20 steps: a is 3.04 from the start" in data["text/plain"]


@pytest.fixture(scope="module")
def rates():
    """The explorer with straight lines for curves: the pace is 1 + kappa, but for a slow decay."""

    def fake(make, lr, seed):
        kappa = make.keywords["kappa"] if isinstance(make, partial) else 0.0
        late = 0.04 if isinstance(make, partial) and make.keywords["decay"] > 0.9 else 0.0
        return torch.tensor([(1 + kappa) * lr / explorer.RATE + late])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            explorer, "losses", lambda path, split: [2.3 - i / 25 * path.item() for i in range(21)]
        )
        yield explorer.rate_explorer(fake, digits().train)


def test_explorer_lights_up_on_the_right_rate_alone(rates):
    assert "Goal:" in rates.goal.value
    for kappa in explorer.KAPPAS:
        for decay in explorer.DECAYS:
            for times in explorer.TIMES:
                rates.set(kappa=kappa, decay=decay, times=times)
                lit = "Reached:" in rates.goal.value
                assert lit == (kappa == 2 and times == 3), rates.values
    rates.set(kappa=2.0, decay=0.99, times=3.0)
    assert "at 3 times the rate" in rates.goal.value
    assert "SGD at 3 times the rate" in rates.picture.value


def test_explorer_follows_the_drag(rates):
    shown = set()
    for times in (1.0, 1.5, 2.5, 3.0, 3.5, 4.0):
        rates.set(times=times)
        shown.add(rates.picture.value)
    assert len(shown) == 6
    assert not plt.get_fignums(), "a figure left open would be shown a second time"
