"""How old and new combine."""

import math
import re
from statistics import median

import nbformat
import pytest
import torch
from checking import accepts, rejects, said
from looking import NOTEBOOKS, defined_in
from torch.optim import SGD, Adam, AdamW, RMSprop

from cgtutor import SGD_C, Adam_C, AdamW_C, RMSprop_C
from cgtutor.course.how_old_and_new_combine import bowl, checks, explorer, figures, mistakes
from cgtutor.course.how_old_and_new_combine.study import (
    BEALE,
    GOLDSTEIN_PRICE,
    beale,
    descend,
    goldstein_price,
    heights_by_rate,
    in_words,
    library_aggregate,
    lowest_rate,
    near,
)
from cgtutor.course.shared.check import edited, use
from cgtutor.course.shared.style import Picture

pytestmark = pytest.mark.usefixtures("double_precision", "one_thread")
LIBRARY = {SGD: SGD_C, RMSprop: RMSprop_C, Adam: Adam_C, AdamW: AdamW_C}
SURFACES = {"Beale": BEALE, "Goldstein–Price": GOLDSTEIN_PRICE}


# -------------------------------------------------------------------- surfaces and runs


@pytest.mark.parametrize(
    ("function", "point", "value", "gradient"),
    [  # by hand
        (beale, (0, 0), 1.5**2 + 2.25**2 + 2.625**2, (-2 * (1.5 + 2.25 + 2.625), 0)),
        (beale, (1, 0), 0.5**2 + 1.25**2 + 1.625**2, (-6.75, 1)),
        (goldstein_price, (0, 0), 600, (24 * 30, 24 * 30)),
        (goldstein_price, (1, 1), (1 + 9 * 3) * (30 + 37), (-756, 4064)),
    ],
)
def test_values_and_gradients_by_hand(function, point, value, gradient):
    p = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    found = function(p)
    assert found.item() == pytest.approx(value)
    if function is goldstein_price and point == (1, 1):
        step = 1e-6  # no longer a case for a pencil: by differences
        ways = torch.eye(2) * step
        gradient = ((function(p + ways) - function(p - ways)) / (2 * step)).tolist()
    (g,) = torch.autograd.grad(found, p)
    assert g.tolist() == pytest.approx(gradient, rel=1e-6)


@pytest.mark.parametrize("surface", SURFACES.values(), ids=list(SURFACES))
def test_minima_are_minima(surface):
    values = [value for *_, value in surface.minima]
    assert values == sorted(values)
    for *point, value in surface.minima:
        p = torch.tensor(point, requires_grad=True)
        assert surface.function(p).item() == pytest.approx(value, abs=1e-6)
        (g,) = torch.autograd.grad(surface.function(p), p)
        hessian = torch.autograd.functional.hessian(surface.function, p.detach())
        assert torch.linalg.eigvalsh(hessian).min() > 0
        # no farther from the true minimum than the digits given here tell
        assert torch.linalg.solve(hessian, g).norm() < 2e-6
    x0, x1, y0, y1 = surface.window
    for x, y in [*(m[:2] for m in surface.minima[:2]), surface.start_point]:
        assert x0 < x < x1
        assert y0 < y < y1


def test_the_slip_in_the_authors_camel():
    """The notebook tells where the lowest points of the standard and of their function are."""

    def standard(x, y):
        return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2

    def theirs(x, y):
        return 4 - 2.1 * x**2 + x**4 / 3 * x**2 + x * y + (4 * y**2 - 4) * y**2

    grid = torch.meshgrid(torch.linspace(-2, 2, 801), torch.linspace(-1.5, 1.5, 601), indexing="ij")
    for function, lowest, (x, y) in (
        (standard, -1.0316, (0.0898, -0.7127)),
        (theirs, 0.0619, (1.2461, -0.7749)),
    ):
        assert function(x, y) == function(-x, -y) == pytest.approx(lowest, abs=5e-5)
        assert function(*grid).min().item() == pytest.approx(lowest, abs=2e-3)


def test_surface():
    assert BEALE.start.tolist() == [0.75, 1.0]
    assert GOLDSTEIN_PRICE.start.tolist() == [-1.0, 0.0]
    heights = GOLDSTEIN_PRICE.height(torch.tensor([[0, 0], [0, -1], [math.nan, 0], [1e200, 0]]))
    assert heights.tolist() == [597, 0, math.inf, math.inf]


def test_descend_is_the_plain_loop():
    runs = {
        "SGD": lambda groups: SGD(groups, lr=0.01),
        "SGD_C": lambda groups: SGD_C(groups, lr=0.01, topC=3, decay=0.9),
        "Adam_C": lambda groups: Adam_C(groups, lr=0.01, topC=3),
    }
    starts = near(BEALE.start, n=3)
    paths = descend(beale, starts, runs, steps=12)
    before = starts.clone()
    for name, make in runs.items():
        assert paths[name].shape == (13, 3, 2)
        for k, start in enumerate(starts):
            p = torch.nn.Parameter(start.clone())
            optimizer = make([{"params": [p]}])
            for _step in range(12):
                optimizer.zero_grad()
                beale(p).backward()
                optimizer.step()
            torch.testing.assert_close(paths[name][-1, k], p.detach(), rtol=1e-12, atol=0)
            alone = descend(beale, start, {name: make}, 12)[name]
            assert alone.shape == (13, 2)
            torch.testing.assert_close(alone, paths[name][:, k], rtol=1e-12, atol=0)
    assert torch.equal(starts, before)
    assert torch.equal(paths["SGD"][0], starts)


def test_descend_keeps_lost_runs_apart():
    starts = torch.stack([GOLDSTEIN_PRICE.start, torch.tensor([1.0, -1.0])])
    make = {"SGD_C": lambda groups: SGD_C(groups, lr=8e-5)}
    path = descend(goldstein_price, starts, make, 60)["SGD_C"]
    assert path[-1, 1].isnan().all()
    alone = descend(goldstein_price, starts[0], make, 60)["SGD_C"]
    torch.testing.assert_close(path[:, 0], alone, rtol=1e-9, atol=0)


def test_near():
    points = near(torch.tensor([3.0, -1.0]), n=200, spread=0.5)
    assert points.shape == (200, 2)
    low, high = points.amin(0), points.amax(0)
    assert (low >= torch.tensor([2.5, -1.5])).all()
    assert (high <= torch.tensor([3.5, -0.5])).all()
    assert (high - low > 0.95).all()
    assert torch.equal(near(BEALE.start), near(BEALE.start))
    assert not torch.equal(near(BEALE.start), near(BEALE.start, seed=1))


def test_heights_by_rate():
    makers = {
        "SGD": (lambda groups, lr: SGD(groups, lr=lr), [0.01, 0.02]),
        "SGD_C": (lambda groups, lr: SGD_C(groups, lr=lr), [0.01, 5.0]),
    }
    found = heights_by_rate(makers, steps=7, starts=2)
    path = descend(beale, near(BEALE.start, 2), {"x": lambda g: SGD(g, lr=0.02)}, 7)["x"]
    assert found["SGD"][0.02] == BEALE.height(path[-1]).tolist()
    assert found["SGD_C"][5.0] == [math.inf, math.inf]
    assert found["SGD"][0.01] != found["SGD_C"][0.01]


TRIALS = {
    "SGD": {0.1: [3.0, 1.0, 9.0], 0.2: [math.inf, 0.04, 0.02], 0.4: [math.inf] * 3},
    "SGD_C, sum": {0.1: [1e-9, 1e-8, 5.0], 0.2: [1e-12, 1e-12, 1e-12], 0.4: [3e4, 2e4, 1e4]},
}


def test_lowest_rate():
    assert lowest_rate(TRIALS["SGD"]) == 0.2  # by the median, not the mean
    assert lowest_rate(TRIALS["SGD_C, sum"]) == 0.1  # both are at the bottom
    assert lowest_rate({2.0: [math.inf], 1.0: [math.inf]}) == 1.0


@pytest.mark.parametrize(
    ("height", "words"),
    [
        (math.inf, "lost"),
        (1.2e4, "> 10000"),
        (274.0, "300"),
        (0.0888, "0.09"),
        (6.6e-6, "0.000007"),
        (9e-7, "< 0.000001"),
        (0.0, "< 0.000001"),
    ],
)
def test_in_words(height, words):
    assert in_words(height) == words


# ------------------------------------------------------------------------------ figures


def words_of(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def bowl_path(rate=1.0, steps=20, **options):
    x = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD_C([x], lr=rate, **{"aggr": "mean", "topC": 5} | options)
    path = [1.0]
    for _ in range(steps):
        x.grad = x.detach().clone()
        optimizer.step()
        path.append(x.item())
    return path


def test_the_ball_leaves_the_bottom():
    path = bowl_path()
    assert path[:4] == [1, 0, -0.5, -0.75]
    assert max(map(abs, path)) > 1.2
    made = bowl.bowl_player(path[:4], 1.0)
    assert made.count == 3
    text = made._data["text/plain"]
    assert "After its first step SGD_C is at x = 0.00, after its second at −0.50." in text
    assert text.endswith("Step 3: at x = −0.50 the gradient is −0.50, the aggregate 0.25.")


def test_a_frame_of_the_ball():
    figure = bowl._bowl([1.0, 0.0, -0.5], [1.0, 0.5], 1.0, 1)
    sgd, ball = figure.axes[0].lines[1:3]
    assert sgd.get_xydata().tolist() == [[0, 0]]
    assert ball.get_xydata().tolist() == [[0, 0]]
    assert figure.axes[1].lines[1].get_ydata().tolist() == [1, 0]
    (arrow,) = [a for a in figure.axes[0].texts if getattr(a, "arrow_patch", None)]
    assert arrow.xy[0] == -0.5  # where the aggregate leads; g is a dot


def test_rates_by_slots():
    figure = bowl.rates_by_slots({1: 1.95, 5: 0.55})
    assert isinstance(figure, Picture)
    dotted, points = figure.axes[0].lines[:2]
    assert points.get_xydata().tolist() == [[1, 1.95], [5, 0.55]]
    assert dotted.get_ydata()[0] == pytest.approx(2)
    assert "topC 1: 1.95, topC 5: 0.55" in figure.alt
    assert "SGD: 2" in words_of(figure)


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 10])
def test_the_limit_is_exact_for_the_last_gradients(slots):
    """With decay 0 the memory holds the last topC gradients."""
    limit = float(bowl._limit(slots + 1))
    for factor, converges in ((0.97, True), (1.03, False)):
        path = bowl_path(factor * limit, 1200, topC=slots, decay=0.0)
        assert (max(map(abs, path[-20:])) < 1) is converges


def test_sum_with_five_slots_pays_nothing_in_the_bowl():
    for rate in (0.5, 1.0, 1.5, 1.95):
        assert abs(bowl_path(rate, 400, aggr="sum")[-1]) < 1e-3
    assert abs(bowl_path(1.05, 400, aggr="sum", topC=1)[-1]) > 1


def test_aggregate_arrows():
    g, M = torch.tensor([1.0, 0.5]), [torch.tensor([2.0, 2.0]), torch.tensor([0.0, 1.0])]
    results = {rule: library_aggregate(g, M, rule, 1.0) for rule in figures.RULES}
    figure = figures.aggregate_arrows(g, M, results)
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["sum", "mid", "mean"]
    assert figure.axes[0].get_xlabel() == "(2.00, 2.00), length 2.83"
    assert "mid gives (1.00, 1.00) of length 1.41" in figure.alt
    assert "mean is (1.00, 1.50)" in figure.alt
    assert words_of(figure) == ["g", "M", "aggregate"]


def beale_runs(rate=0.032, steps=220):
    return descend(
        beale,
        BEALE.start,
        {
            "SGD": lambda groups: SGD(groups, lr=rate),
            "SGD_C, sum": lambda groups: SGD_C(groups, lr=rate, topC=5),
            "SGD, 2 × rate": lambda groups: SGD(groups, lr=2 * rate),
        },
        steps,
    )


def test_what_the_notebook_says_of_beale():
    low = {name: BEALE.height(path[-1]).item() for name, path in beale_runs(0.001).items()}
    assert low["SGD_C, sum"] == pytest.approx(low["SGD, 2 × rate"], rel=0.01)
    paths = beale_runs()
    height = {name: BEALE.height(path) for name, path in paths.items()}
    assert height["SGD_C, sum"][-1] < height["SGD"][-1] / 50
    assert height["SGD, 2 × rate"][-1] > 0.1 > 0.01 > height["SGD, 2 × rate"][70]


def test_ways_down_up_to_a_step():
    paths = beale_runs(steps=12)
    figure = figures.ways_down(BEALE, paths, "a finding", 3)
    place, beside = figure.axes
    for ax in (place, beside):
        assert [len(line.get_xdata()) for line in ax.lines[:3]] == [4, 4, 4]
    assert beside.get_xlim()[1] == 12
    assert place.lines[3].get_xydata().tolist() == [[3.0, 0.5]]
    assert figure._suptitle.get_text() == "a finding"
    assert "After 3 steps the heights are: SGD" in figure.alt
    made = figures.beale_player(paths, "a finding")
    assert made.count == 11
    assert "Step 10. Heights: SGD" in made._data["text/plain"]


def test_a_lost_run_ends_at_the_edge():
    path = torch.tensor([[0.0, 0.0], [500.0, 0.0], [math.nan, math.nan]])
    assert figures._until_far(path).tolist() == [[0, 0], [500, 0]]


def test_final_heights():
    figure = figures.final_heights(TRIALS)
    one, _, two, _ = figure.axes[0].lines
    assert list(one.get_xdata()) == [math.inf, 0.04, 0.02]
    assert list(two.get_xdata()) == [1e-6, 1e-6, 5]
    assert one.get_marker() != two.get_marker()
    assert "SGD 0.04 at rate 0.2, SGD_C, sum < 0.000001 at rate 0.1" in figure.alt


# ----------------------------------------------------------------------------- explorer


def test_the_goal_lights_up_at_one_kappa():
    made = explorer.kappa_explorer()
    assert "<b>Goal:</b>" in made.goal.value
    for kappa in explorer.KAPPAS:
        lit = explorer.KAPPAS[explorer.KAPPAS.index(kappa)] == 0.95
        made.set(kappa=kappa)
        assert ("✓ Reached" in made.goal.value) is lit, kappa
    made.set(kappa=0.95, rule="mid")
    assert "<b>Goal:</b>" in made.goal.value


def end(kappa, rule):
    return GOLDSTEIN_PRICE.height(explorer._chosen(kappa, rule)["SGD_C"][-1]).item()


def test_what_the_answer_says():
    assert all(end(kappa, "mid") > 20 for kappa in explorer.KAPPAS)
    first = next(kappa for kappa in explorer.KAPPAS if end(kappa, "mean") < 20)
    assert 1.5 <= first <= 1.65
    assert GOLDSTEIN_PRICE.height(explorer._paths()["SGD, 2 × rate"][-1]) > 20
    make = {"x": lambda groups: SGD_C(groups, lr=explorer.RATE, topC=5)}
    path = descend(goldstein_price, near(GOLDSTEIN_PRICE.start), make, explorer.STEPS)["x"]
    ends = GOLDSTEIN_PRICE.height(path[-1]).tolist()
    assert sum(e < 20 for e in ends) == 1
    assert sum(math.isinf(e) for e in ends) == 2


def test_the_explorer_draws_the_optimizers_own_paths():
    made = explorer.kappa_explorer()
    made.set(kappa=0.5, rule="mean")
    make = {"x": lambda groups: SGD_C(groups, lr=8e-5, kappa=0.5, aggr="mean", topC=5)}
    path = descend(goldstein_price, GOLDSTEIN_PRICE.start, make, 60)["x"]
    drawn = torch.tensor(made._figure.axes[0].lines[1].get_xydata())
    torch.testing.assert_close(drawn, path, rtol=1e-9, atol=1e-9)
    assert "mean, κ = 0.50" in made._figure.alt
    assert "SGD, 2 × rate" in made._figure.alt


# ------------------------------------------------------------------------------- checks


def right(gradient, memory, rule, kappa):
    n = len(memory)
    if n == 0 or kappa == 0:
        return gradient
    total = torch.stack(memory).sum(0)
    if rule == "mean":
        return (gradient + kappa * total) / (n + 1)
    both = gradient + kappa * total / n
    return both / 2 if rule == "mid" else both


def instead(rule_of_it, wrong):
    """The right answer, but another formula for one rule."""

    def answer(gradient, memory, rule, kappa):
        if rule != rule_of_it or not memory or kappa == 0:
            return right(gradient, memory, rule, kappa)
        return wrong(gradient, torch.stack(memory).sum(0), len(memory), kappa)

    return answer


def unguarded(gradient, memory, rule, kappa):
    n, total = len(memory), sum(memory, torch.zeros_like(gradient))
    if rule == "mean":
        return (gradient + kappa * total) / (n + 1)
    both = gradient + kappa * total / torch.tensor(float(n))
    return both / 2 if rule == "mid" else both


def no_zero(gradient, memory, rule, kappa):
    return gradient if not memory else unguarded(gradient, memory, rule, kappa)


def in_place(gradient, memory, rule, kappa):
    return gradient.add_(kappa * sum(memory)) if memory and rule == "sum" else gradient


def grows(gradient, memory, rule, kappa):
    found = right(gradient, memory, rule, kappa)
    memory.append(gradient)
    return found


def one_number(gradient, memory, rule, kappa):
    if not memory or kappa == 0 or rule != "sum":
        return right(gradient, memory, rule, kappa)
    return gradient + kappa * torch.stack(memory).mean(-1).mean(0)


def empty_is_zero(gradient, memory, rule, kappa):
    return right(gradient, memory, rule, kappa) if memory else torch.zeros_like(gradient)


def one_dimensional(gradient, memory, rule, kappa):
    if not memory or kappa == 0 or gradient.dim() == 1:
        return right(gradient, memory, rule, kappa)
    return gradient + kappa * torch.stack(memory).mean(1)


WRONG_AGGREGATES = [
    ("is the word `return` missing", lambda g, M, rule, kappa: None),
    ("return a tensor; this is a list", lambda g, M, rule, kappa: [1.0]),
    ("the memory is left out altogether", lambda g, M, rule, kappa: g),
    ("adds the sum of M", instead("sum", lambda g, total, n, k: g + k * total)),
    ("and halve it all", instead("mid", lambda g, total, n, k: (g + k * total) / 2)),
    ("κ is missing", instead("sum", lambda g, total, n, k: g + total / n)),
    ("κ is missing", instead("mid", lambda g, total, n, k: (g + total / n) / 2)),
    ("κ is missing", instead("mean", lambda g, total, n, k: (g + total) / (n + 1))),
    ("κ multiplies g as well", instead("sum", lambda g, total, n, k: k * (g + total / n))),
    ("κ multiplies g; it", instead("mean", lambda g, total, n, k: (k * g + total) / (n + 1))),
    ("subtracted from g", instead("sum", lambda g, total, n, k: g - k * total / n)),
    ("M divides by n + 1; M has", instead("sum", lambda g, total, n, k: g + k * total / (n + 1))),
    ("ran over all numbers", instead("sum", lambda g, total, n, k: g + k * total.mean() / n)),
    ("divide by n + 1", instead("mean", lambda g, total, n, k: (g + k * total) / n)),
    (
        "ΣM, the sum, is wanted",
        instead("mean", lambda g, total, n, k: (g + k * total / n) / (n + 1)),
    ),
    ("division by n + 1", instead("mean", lambda g, total, n, k: g + k * total)),
    (
        "divides by the weights",
        instead("mean", lambda g, t, n, k: (g + k * t) / (1 + n * k)),
    ),
    ("only g is halved", instead("mid", lambda g, total, n, k: g / 2 + k * total / n)),
    ("memory's part is halved", instead("mid", lambda g, total, n, k: g + k * total / (2 * n))),
    ("nothing is halved", instead("mid", lambda g, total, n, k: g)),
    ("what the rule 'sum' returns", instead("mid", lambda g, total, n, k: g + k * total / n)),
    ("what the rule 'mid' returns", instead("sum", lambda g, total, n, k: (g + k * total / n) / 2)),
    ("it should be [7.0, 4.0], and yours is [0.0, 0.0]", instead("sum", lambda g, *_: 0 * g)),
    ("The mean of nothing is 0/0", unguarded),
    ("with nothing remembered the aggregate is g", empty_is_zero),
    ("κ = 0 takes the memory out", no_zero),
    ("was changed", in_place),
    ("was changed", grows),
    ("must have the gradient's shape (2,), yours has ()", lambda g, M, rule, kappa: g.sum()),
    ("ran over all numbers", one_number),
    ("must have the gradient's shape (3, 2)", lambda g, M, r, k: right(g, M, r, k).reshape(-1)),
    ("whatever their shape", one_dimensional),
    ("torch.stack(memory).mean(0)", lambda g, M, r, k: g + k * torch.stack(M).mean(1)),
    (
        "needs a case of its own",
        lambda g, M, r, k: right(g, M, r, k) if torch.stack(M).any() else 0,
    ),
]


@pytest.mark.parametrize(("why", "answer"), WRONG_AGGREGATES, ids=[w for w, _ in WRONG_AGGREGATES])
def test_aggregate_rejects(why, answer):
    rejects(checks.aggregate_of_old_and_new, answer, why)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["itself", "copy"])
def test_aggregate_accepts(form, dtype):
    torch.set_default_dtype(dtype)
    answer = right if form == "itself" else lambda *given: right(*given).clone()
    assert accepts(checks.aggregate_of_old_and_new, answer).startswith("Right! All 18 cases")


# ------------------------------------------------------------------- what the reader builds


def solved():
    """What a reader has who wrote the notebook's solutions."""
    notebook = nbformat.read(NOTEBOOKS / "04_how_old_and_new_combine.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    exec(code[1], names := {})
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            (source,) = re.findall(r"```python\n(.+?)\n```", cell.source, re.DOTALL)
            exec(source.rpartition("\n\n\n")[0], names)  # without the check
    return names


def trained(make, **options):
    """The weights of a small network after 200 steps; two groups, one with a weight unused."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    unused = torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [*network[0].parameters(), unused]}, {"params": network[2].parameters()}]
    optimizer = make(groups, lr=0.01, **options)
    x = torch.randn(32, 4)
    for _ in range(200):
        optimizer.zero_grad()
        few = x[torch.randint(32, (4,))]  # full batches are so smooth that all keep the same
        (network(few) - few[:, :1] * few[:, 1:2]).square().mean().backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach()


@pytest.mark.parametrize("base", LIBRARY)
@pytest.mark.parametrize("rule", ["sum", "mean"])
def test_what_the_reader_builds_trains_as_the_librarys(base, rule):
    names = solved()
    options = {"aggr": rule, "kappa": 0.5, "topC": 4, "weight_decay": 0.01}
    right = trained(LIBRARY[base], **options)
    made = names["critical"](base)
    torch.testing.assert_close(trained(made, **options), right, rtol=0, atol=1e-12)
    if base is SGD:
        mine = trained(names["MySGD_C"], **options)
        torch.testing.assert_close(mine, right, rtol=0, atol=1e-12)
        assert not torch.allclose(right, trained(SGD_C, synced=False, **options), atol=1e-6)


@pytest.mark.parametrize("base", LIBRARY)
def test_without_kappa_it_is_torchs(base):
    made = solved()["critical"](base)
    assert torch.equal(trained(made, kappa=0), trained(base))


def test_solutions_pass_and_are_used(capsys):
    names = solved()
    for name, answer in (
        ("aggregate_of_old_and_new", "aggregate"),
        ("my_sgd_c", "MySGD_C"),
        ("my_critical", "critical"),
        ("converges_in_the_bowl", "converges"),
    ):
        check = getattr(checks, name)
        accepts(check, names[answer])
        assert use(names[answer], check, instead=None) is names[answer]
        assert len(check.hints) >= 2
        assert said(lambda check=check: check(hint=1)).startswith("Hint 1 of")


@pytest.mark.parametrize("base", LIBRARY)
def test_stand_ins_pass_too(base):
    assert checks.my_sgd_c.passes(SGD_C)
    assert checks.my_critical.passes(LIBRARY.get)
    assert checks.aggregate_of_old_and_new.passes(library_aggregate)
    assert checks.converges_in_the_bowl.passes(bowl.library_converges)


@pytest.mark.parametrize("why", mistakes.MISTAKES, ids=lambda why: why[:50])
def test_my_sgd_c_rejects_what_is_often_written(why):
    wrong = edited(mistakes.critical, mistakes.MISTAKES[why])
    rejects(checks.my_sgd_c, wrong(SGD), why)


def test_my_sgd_c_accepts_decay_before_insertion():
    """Who lets priorities decay before the next insertion compares the same numbers."""
    fade = "memory.fade()"
    edits = {
        "memory.insert(priority, g)": fade,
        f"{fade}\n                    kept": "memory.insert(priority, g)\n                    kept",
    }
    accepts(checks.my_sgd_c, edited(mistakes.critical, edits)(SGD))


def test_my_sgd_c_rejects():
    never = edited(mistakes.critical, {"memory.insert(priority, g)": ""})(SGD)
    rejects(checks.my_sgd_c, never, "or nothing is inserted")

    class Stands(mistakes.critical(SGD)):
        def step(self):
            pass

    class KeepsTheAggregate(mistakes.critical(SGD)):
        def step(self):
            super().step()
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad = p.grad * 1.5

    class TwiceAsFar(mistakes.critical(SGD)):
        def __init__(self, params, lr, **options):
            super().__init__(params, 2 * lr, **options)

    rejects(checks.my_sgd_c, Stands, "do not move. Call super().step()")
    rejects(checks.my_sgd_c, KeepsTheAggregate, "p.grad must hold the gradient again")
    rejects(checks.my_sgd_c, TwiceAsFar, "leaves the path of SGD_C at step 0")
    rejects(checks.my_sgd_c, SGD, "unexpected keyword argument 'aggr'")


def test_my_critical_rejects():
    rejects(checks.my_critical, lambda base: None, "end with return Critical")
    rejects(checks.my_critical, lambda base: base, "Return your own class")
    rejects(checks.my_critical, lambda base: SGD_C, "must inherit from Base, which is RMSprop")
    one = [torch.nn.Parameter(torch.ones(1))]
    called = lambda base: mistakes.critical(base)(one, 0.1)  # noqa: E731
    rejects(checks.my_critical, called, "return the class itself")
    wrong = edited(mistakes.critical, {"memory.fade()": ""})
    rejects(checks.my_critical, wrong, "critical(SGD): rule 'mean', κ = 1: the priorities do not")


def converges(rate, slots, steps=400, **options):
    return abs(bowl_path(rate, steps, topC=slots, **options)[-1]) < 1


@pytest.mark.parametrize(
    ("why", "answer"),
    [
        ("rate 1, topC = 5: after 400 steps x is farther", lambda rate, slots: True),
        ("x is nearer to the bottom", lambda rate, slots: False),
        ("is the word `return` missing", lambda rate, slots: None),
        ("return True", lambda rate, slots: converges(rate, 10)),
        ("return False", lambda rate, slots: converges(rate, slots, aggr="sum")),
        ("return False", lambda rate, slots: converges(rate / 2, slots)),
        ("stopped with ZeroDivisionError", lambda rate, slots: 1 / 0),
    ],
)
def test_converges_rejects(why, answer):
    rejects(checks.converges_in_the_bowl, answer, why)


def test_converges_accepts():
    accepts(checks.converges_in_the_bowl, lambda rate, slots: torch.tensor(converges(rate, slots)))
    accepts(checks.converges_in_the_bowl, lambda rate, slots: converges(rate, slots, 1000))


def test_more_slots_never_bear_a_larger_rate():
    """What the notebook's figure shows."""
    largest_rate = defined_in("04", "largest_rate")
    largest_rate.__globals__["converges"] = converges
    found = [largest_rate(slots) for slots in (1, 2, 5, 20)]
    assert found == [1.95, 0.95, 0.55, 0.15]


def test_what_the_notebook_says_of_the_best():
    """No best rate is at the edge of the grid; momentum and Adam end lowest."""
    rates = [0.004 * 2**k for k in range(6)]
    runs = heights_by_rate(
        {
            "SGD": (lambda groups, lr: SGD(groups, lr=lr), rates),
            "momentum": (lambda groups, lr: SGD(groups, lr=lr, momentum=0.9), rates),
            "mean": (lambda groups, lr: SGD_C(groups, lr=lr, aggr="mean", topC=5), rates),
            "sum": (lambda groups, lr: SGD_C(groups, lr=lr, aggr="sum", topC=5), rates),
        }
    )
    best = {name: lowest_rate(trials) for name, trials in runs.items()}
    assert best == {"SGD": 0.032, "momentum": 0.008, "mean": 0.016, "sum": 0.032}
    ends = {name: median(runs[name][rate]) for name, rate in best.items()}
    assert ends["momentum"] < ends["sum"] < ends["SGD"] / 50
    assert ends["SGD"] < ends["mean"]
