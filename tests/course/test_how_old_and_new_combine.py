"""How old and new combine."""

import math

import pytest
import torch
from checking import accepts, rejects
from matplotlib.colors import to_hex
from torch.optim import SGD

from cgtutor import SGD_C, Adam_C
from cgtutor.course.how_old_and_new_combine import checks, figures
from cgtutor.course.how_old_and_new_combine.descent import (
    descend,
    heights_by_rate,
    heights_table,
    in_words,
    lowest_rate,
    near,
    stretch,
)
from cgtutor.course.how_old_and_new_combine.explorer import rules_explorer
from cgtutor.course.how_old_and_new_combine.surfaces import (
    BEALE,
    CAMEL,
    GOLDSTEIN_PRICE,
    SURFACES,
    authors_camel,
    beale,
    goldstein_price,
    six_hump_camel,
)
from cgtutor.course.shared.check import edited
from cgtutor.course.shared.style import BLUE, ORANGE, Picture

pytestmark = pytest.mark.usefixtures("double_precision")


@pytest.mark.parametrize(
    ("function", "point", "value", "gradient"),
    [  # by hand
        (beale, (0, 0), 1.5**2 + 2.25**2 + 2.625**2, (-2 * (1.5 + 2.25 + 2.625), 0)),
        (beale, (1, 0), 0.5**2 + 1.25**2 + 1.625**2, (-6.75, 1)),
        (six_hump_camel, (1, 1), 4 - 2.1 + 1 / 3 + 1, (8 - 8.4 + 2 + 1, 1 - 8 + 16)),
        (authors_camel, (1, 1), 4 - 2.1 + 1 / 3 + 1, (-4.2 + 2 + 1, 1 - 8 + 16)),
        (authors_camel, (2, 0), 4 - 8.4 + 64 / 3, (-8.4 + 64, 2)),
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
    for x, y in [*(m[:2] for m in surface.minima), *surface.starts.values()]:
        assert x0 < x < x1
        assert y0 < y < y1


def test_no_minimum_of_the_camel_is_missing():
    """From everywhere in the window a patient descent ends in one of them."""
    x0, x1, y0, y1 = CAMEL.window
    points = torch.cartesian_prod(torch.linspace(x0, x1, 31), torch.linspace(y0, y1, 28))
    for _step in range(3000):
        points.requires_grad_()
        (g,) = torch.autograd.grad(six_hump_camel(points).sum(), points)
        points = points.detach() - 0.002 * g
    nearest = torch.cdist(points, torch.tensor([m[:2] for m in CAMEL.minima])).min(1)
    assert nearest.values.max() < 1e-3
    assert set(nearest.indices.tolist()) == set(range(6))


def test_authors_camel_has_the_minima_it_says():
    for point, value in (((1.2461, -0.7749), 0.0619), ((1.1638, 0.6184), 1.7589)):
        for sign in (1, -1):
            p = sign * torch.tensor(point)
            assert authors_camel(p).item() == pytest.approx(value, abs=5e-5)
            g = torch.autograd.functional.jacobian(authors_camel, p)
            assert g.norm() < 5e-3
    assert authors_camel(CAMEL.start()).item() > CAMEL.function(CAMEL.start()).item()


def test_surface():
    assert BEALE.start().tolist() == [0.75, 1.0]
    assert CAMEL.start().tolist() == [3.0, 2.5]
    assert GOLDSTEIN_PRICE.start().tolist() == [-1.0, 0.0]
    assert [s.authors_rate for s in SURFACES.values()] == [1e-3, 1e-4, 1e-5]
    assert GOLDSTEIN_PRICE.lowest == 3
    heights = GOLDSTEIN_PRICE.height(torch.tensor([[0, 0], [0, -1], [math.nan, 0], [1e200, 0]]))
    assert heights.tolist() == [597, 0, math.inf, math.inf]
    assert CAMEL.height(torch.tensor([0.0898420131, -0.7126564030])) == 0  # never below zero


@pytest.mark.parametrize("surface", SURFACES.values(), ids=list(SURFACES))
def test_sgd_comes_down_from_every_start_at_the_explorers_rate(surface):
    starts = torch.tensor(list(surface.starts.values()))
    makers = {"SGD": lambda groups: SGD(groups, lr=surface.rate)}
    path = descend(surface.function, starts, makers, 80)["SGD"]
    heights = surface.height(path[-1])
    known = torch.tensor([value for *_, value in surface.minima]) - surface.lowest
    assert heights.isfinite().all()
    assert (heights < surface.height(starts)).all()
    assert ((heights[:, None] - known).abs().amin(1) < 40).all()


def test_descend_is_the_plain_loop():
    runs = {
        "SGD": lambda groups: SGD(groups, lr=0.01),
        "SGD_C": lambda groups: SGD_C(groups, lr=0.01, topC=3, decay=0.9),
        "Adam_C": lambda groups: Adam_C(groups, lr=0.01, topC=3),
    }
    starts = near(BEALE.start(), n=3)
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
    starts = torch.stack([GOLDSTEIN_PRICE.start(), torch.tensor([1.0, -1.0])])
    make = {"SGD_C": lambda groups: SGD_C(groups, lr=8e-5)}
    path = descend(goldstein_price, starts, make, 60)["SGD_C"]
    assert path[-1, 1].isnan().all()
    alone = descend(goldstein_price, starts[0], make, 60)["SGD_C"]
    torch.testing.assert_close(path[:, 0], alone, rtol=1e-9, atol=0)


def test_stretch():
    rate = 0.002
    paths = descend(
        beale,
        BEALE.start(),
        {
            "once": lambda groups: SGD(groups, lr=rate),
            "twice": lambda groups: SGD(groups, lr=2 * rate),
            "sum": lambda groups: SGD_C(groups, lr=rate, aggr="sum"),
            "mid": lambda groups: SGD_C(groups, lr=rate, aggr="mid"),
        },
        30,
    )
    times = {name: stretch(beale, path, rate) for name, path in paths.items()}
    torch.testing.assert_close(times["once"], torch.ones(30))
    torch.testing.assert_close(times["twice"], 2 * torch.ones(30))
    assert times["sum"][0] == pytest.approx(1)  # nothing remembered yet
    assert (times["sum"][1:] > 1.9).all()
    assert (times["sum"] < 2.5).all()
    assert (times["mid"] - 1).abs().max() < 0.25


def test_near():
    points = near(torch.tensor([3.0, -1.0]), n=200, spread=0.5)
    assert points.shape == (200, 2)
    low, high = points.amin(0), points.amax(0)
    assert (low >= torch.tensor([2.5, -1.5])).all()
    assert (high <= torch.tensor([3.5, -0.5])).all()
    assert (high - low > 0.95).all()
    assert torch.equal(near(BEALE.start()), near(BEALE.start()))
    assert not torch.equal(near(BEALE.start()), near(BEALE.start(), seed=1))


def test_heights_by_rate():
    makers = {
        "SGD": lambda groups, lr: SGD(groups, lr=lr),
        "again": lambda groups, lr: SGD(groups, lr=lr),
        "SGD_C": lambda groups, lr: SGD_C(groups, lr=lr),
    }
    found = heights_by_rate(
        makers, {"Beale": [0.01, 0.02], "Goldstein–Price": [1e-3]}, steps=7, starts=2
    )
    assert list(found) == ["Beale", "Goldstein–Price"]
    assert found["Beale"]["SGD"] == found["Beale"]["again"] != found["Beale"]["SGD_C"]
    path = descend(beale, near(BEALE.start(), 2), {"x": lambda g: SGD(g, lr=0.02)}, 7)["x"]
    assert found["Beale"]["SGD"][0.02] == BEALE.height(path[-1]).tolist()
    assert found["Goldstein–Price"]["SGD"] == {1e-3: [math.inf, math.inf]}


TRIALS = {
    "Beale": {
        "one": {0.1: [3.0, 1.0, 9.0], 0.2: [math.inf, 0.04, 0.02], 0.4: [math.inf] * 3},
        "two": {0.1: [1e-9, 1e-8, 5.0], 0.2: [1e-12, 1e-12, 1e-12], 0.4: [3e4, 2e4, 1e4]},
    },
    "six-hump camel": {
        "one": {0.00001: [0.3, 0.25, 0.2]},
        "two": {0.00001: [math.inf] * 3},
    },
}


def test_lowest_rate():
    assert lowest_rate(TRIALS["Beale"]["one"]) == 0.2  # by the median, not the mean
    assert lowest_rate(TRIALS["Beale"]["two"]) == 0.1  # both are at the bottom
    assert lowest_rate({2.0: [math.inf], 1.0: [math.inf]}) == 1.0


def test_heights_table():
    assert heights_table(TRIALS).splitlines()[1:] == [
        "                    Beale                 six-hump camel",
        "one                 0.2      0.04         0.00001* 0.2",
        "two                 0.1*     < 0.000001   0.00001* lost",
    ]


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


G = torch.tensor([1.0, 0.5])


SLOTS = [torch.tensor([2.0, 2.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])]


def tips(ax):
    """Where the arrows of a panel end, by colour."""
    found = {}
    for arrow in ax.patches:
        x, y = (round(float(v), 4) for v in arrow._posA_posB[1])
        found.setdefault(to_hex(arrow.get_edgecolor()), []).append((x, y))
    return found


def test_aggregate_arrows_by_hand():
    figure = figures.aggregate_arrows(G, SLOTS, kappa=0.5)
    assert isinstance(figure, Picture)
    expected = {"sum": (1.5, 1.0), "mid": (0.75, 0.5), "mean": (0.625, 0.5)}
    for ax, (rule, tip) in zip(figure.axes, expected.items()):
        arrows = tips(ax)
        assert ax.get_title().startswith(rule)
        assert arrows["#000000"] == [tip]
        assert arrows[to_hex(BLUE)] == [(1.0, 0.5)]
        assert arrows[to_hex(ORANGE)] == [(1.0, 1.0)]
        assert sorted(arrows[to_hex("0.6")]) == [(0.0, 1.0), (1.0, 0.0), (2.0, 2.0)]
        assert f"({tip[0]:.2f}, {tip[1]:.2f})" in ax.get_xlabel()
        assert "first parameter" in ax.get_xlabel()
    shares = [ax.lines[1].get_xydata()[0].tolist() for ax in figure.axes[:3]]
    assert shares == [[1.0, 0.5], [0.5, 0.25], [0.25, 0.125]]
    assert tips(figure.axes[3])["#000000"] == [(1.0, 0.5)]
    assert len(figure.axes[3].patches) == 2
    for words in (
        "g = (1.00, 0.50)",
        "3 gradients with mean (1.00, 1.00)",
        "κ = 0.50",
        "sum gives (1.50, 1.00) of length 1.80",
        "mid gives (0.75, 0.50) of length 0.90",
        "with an empty memory it is g itself",
    ):
        assert words in figure.alt


def test_aggregate_arrows_without_a_weight():
    figure = figures.aggregate_arrows(-G, SLOTS, kappa=0)
    for ax in figure.axes:
        assert tips(ax)["#000000"] == [(-1.0, -0.5)]
    assert "(−1.00, −0.50)" in figure.axes[1].get_xlabel()
    assert figure.axes[1].lines[1].get_xydata().tolist() == [[-1.0, -0.5]]


def descents(surface, rate, steps=40, letter="A"):
    makers = {
        "SGD": lambda groups: SGD(groups, lr=rate),
        "SGD_C": lambda groups: SGD_C(groups, lr=rate),
    }
    return descend(surface.function, surface.start(letter), makers, steps)


def test_trajectories_of_one_surface():
    paths = descents(BEALE, 0.01)
    figure = figures.trajectories({"Beale": paths}, "above")
    place, height = figure.axes
    for k, path in enumerate(paths.values()):
        assert place.lines[k].get_xydata().tolist() == path.tolist()
        assert height.lines[k].get_ydata() == pytest.approx(BEALE.height(path).tolist())
    assert place.lines[2].get_xydata().tolist() == [[0.75, 1.0]]
    star = place.lines[3]
    assert (star.get_marker(), star.get_xydata().tolist()) == ("*", [[3.0, 0.5]])
    assert place.get_title() == "Beale"
    assert place.get_xlabel() == "first parameter"
    assert height.get_ylabel() == "height above lowest minimum"
    ends = [in_words(BEALE.height(path[-1]).item()) for path in paths.values()]
    assert [t.get_text() for t in figure.legends[0].texts] == [
        f"SGD ({ends[0]})",
        f"SGD_C ({ends[1]})",
    ]
    title = figure.legends[0].get_title().get_text()
    assert title.startswith("above\n")
    assert title.endswith("(height after 40 steps)")
    assert "after 40 steps" in figure.alt
    assert f"Beale from (0.75, 1.00): SGD ({ends[0]}), SGD_C ({ends[1]})" in figure.alt


def test_trajectories_of_several_surfaces_and_lost_runs():
    rates = {"Beale": 0.01, "six-hump camel": 2e-3, "Goldstein–Price": 3e-3}
    panels = {name: descents(SURFACES[name], rate) for name, rate in rates.items()}
    figure = figures.trajectories(panels, notes={"Beale": "a note"})
    assert len(figure.axes) == 6
    assert figure.axes[0].get_title() == "Beale\na note"
    marks = [line.get_marker() for line in figure.axes[1].lines[3:]]
    assert marks == ["*", "*", "+", "+", "+", "+"]
    lost = figure.axes[2].lines[0].get_xydata()
    assert len(lost) < 41
    assert abs(lost).max() <= 1000
    assert "Goldstein–Price from (−1.00, 0.00): SGD (lost), SGD_C (lost)" in figure.alt
    figure.canvas.draw()
    first = [label.get_text() for label in figure.axes[3].get_yticklabels()]
    assert {"0.1", "1", "10", "100"} <= set(first)
    assert not any(label.get_text() for label in figure.axes[4].get_yticklabels())
    low, high = figure.axes[3].get_ylim()
    assert figure.axes[4].get_ylim() == (low, high)
    assert high == pytest.approx(30 * GOLDSTEIN_PRICE.height(GOLDSTEIN_PRICE.start()).item())


def test_trajectories_down_to_the_floor():
    figure = figures.trajectories({"six-hump camel": descents(CAMEL, 0.02, 100, "C")})
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert labels == ["< 10⁻⁶", "0.0001", "0.01", "1"]
    assert min(figure.axes[1].lines[0].get_ydata()) == 1e-6


def test_trajectories_knows_its_surfaces():
    with pytest.raises(KeyError, match="Rosenbrock"):
        figures.trajectories({"Rosenbrock": descents(BEALE, 0.01)})


def test_final_heights():
    figure = figures.final_heights({"a family": TRIALS, "another": TRIALS})
    assert len(figure.axes) == 4
    one, two = figure.axes[0].lines
    assert list(one.get_ydata()) == pytest.approx([3.0, 0.04, 1e5])
    assert list(two.get_ydata()) == pytest.approx([1e-6, 1e-6, 2e4])
    assert list(one.get_xdata()) == pytest.approx([0.1, 0.2, 0.4], rel=0.15)
    bars = figure.axes[0].collections[0].get_segments()
    assert [segment[:, 1].tolist() for segment in bars] == [[1, 9], [0.02, 1e5], [1e5, 1e5]]
    assert [ax.get_title() for ax in figure.axes] == [*TRIALS] * 2
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (labels[0], labels[-1]) == ("< 10⁻⁶", "lost")
    legend = figure.axes[1].get_legend()
    assert [t.get_text() for t in legend.texts] == ["one", "two"]
    assert legend.get_title().get_text() == "a family"
    assert (
        "Beale: one (0.04), two (< 0.000001); six-hump camel: one (0.2), two (lost)" in figure.alt
    )


def test_rules_explorer_draws_the_static_figure():
    explorer = rules_explorer(steps=10)
    kappa, rule, surface, start = explorer.children[1:-1]
    surface.value, start.value, rule.value, kappa.value = "Goldstein–Price", "B", "mean", 0.5
    rate = GOLDSTEIN_PRICE.rate
    paths = descend(
        goldstein_price,
        GOLDSTEIN_PRICE.start("B"),
        {
            "SGD": lambda groups: SGD(groups, lr=rate),
            "SGD, rate · 2": lambda groups: SGD(groups, lr=2 * rate),
            "SGD_C": lambda groups: SGD_C(groups, lr=rate, kappa=0.5, aggr="mean", topC=5),
        },
        10,
    )
    drawn = explorer._draw(kappa=0.5, rule="mean", surface="Goldstein–Price", start="B")
    expected = figures.trajectories(
        {"Goldstein–Price": paths},
        "learning rate 0.00008; SGD_C: mean, κ = 0.50, topC = 5, decay = 0.7",
    )
    assert drawn.png() == expected.png()
    assert drawn.alt == expected.alt
    assert "<img" in explorer.children[-1].value


def heights(surface, letter, kappa, rule):
    explorer = rules_explorer(steps=60)
    figure = explorer._draw(kappa=kappa, rule=rule, surface=surface.name, start=letter)
    return [line.get_ydata()[-1] for line in figure.axes[1].lines]


def test_goals_of_the_explorer_can_be_reached():
    """The notebook's answers to them."""
    for kappa, there in ((1.0, False), (1.05, True)):
        sgd, twice, with_memory = heights(GOLDSTEIN_PRICE, "A", kappa, "sum")
        assert bool(with_memory < 1) is there
        assert min(sgd, twice) > 20
    sgd, twice, with_memory = heights(BEALE, "D", 1.0, "sum")
    assert sgd < 0.1
    assert math.isinf(twice)
    assert math.isinf(with_memory)
    assert math.isinf(heights(BEALE, "D", 0.65, "sum")[2])
    for kappa, rule in ((1.0, "mid"), (1.0, "mean"), (0.6, "sum")):
        assert heights(BEALE, "D", kappa, rule)[2] < 1


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
def test_aggregate_by_rule_rejects(why, answer):
    rejects(checks.aggregate_by_rule, answer, why)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["itself", "copy"])
def test_aggregate_by_rule_accepts(form, dtype):
    torch.set_default_dtype(dtype)
    answer = right if form == "itself" else lambda *given: right(*given).clone()
    assert accepts(checks.aggregate_by_rule, answer).startswith("Right! All 18 cases")


def adamw(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    a = memory.aggregate(g, "mean", kappa)
    p = p * (1 - lr * weight_decay)
    avg = 0.9 * avg + 0.1 * a
    avg_sq = 0.999 * avg_sq + 0.001 * a**2
    mean, mean_sq = avg / (1 - 0.9**t), avg_sq / (1 - 0.999**t)
    return p - lr * mean / (mean_sq.sqrt() + 1e-8), avg, avg_sq


def decays(p, g, memory, *rest):
    found = adamw(p, g, memory, *rest)
    memory.fade()
    return found


def always_a_tenth(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    return adamw(p, g, memory, avg, avg_sq, t, 0.1, weight_decay, kappa)


RIGHT_STEPS = {
    "the solution": adamw,
    "the check's own": checks.solution,
    "any arguments": lambda *given: adamw(*given),
    "a list": lambda *given: list(adamw(*given)),
}


@pytest.mark.parametrize("form", RIGHT_STEPS)
def test_adamw_with_memory_accepts(form):
    verdict = accepts(checks.adamw_with_memory, RIGHT_STEPS[form])
    assert verdict.startswith("Right! 4 steps like AdamW_C")


@pytest.mark.parametrize("why", checks.MISTAKES, ids=lambda why: why[:60])
def test_adamw_with_memory_rejects_what_is_often_written(why):
    rejects(checks.adamw_with_memory, edited(checks.solution, checks.MISTAKES[why]), why)


def flipped(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    """Written as a learner would, not as the check's own list of mistakes has it."""
    new, avg, avg_sq = adamw(p, g, memory, avg, avg_sq, t, lr, 0.0, kappa)
    return new + lr * weight_decay * p, avg, avg_sq


def coupled(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    a = memory.aggregate(g, "mean", kappa) + weight_decay * p
    avg, avg_sq = 0.9 * avg + 0.1 * a, 0.999 * avg_sq + 0.001 * a * a
    change = avg / (1 - 0.9**t) / ((avg_sq / (1 - 0.999**t)).sqrt() + 1e-8)
    return p - lr * change, avg, avg_sq


def plain_adamw(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    return adamw(p, g, memory, avg, avg_sq, t, lr, weight_decay, 0.0)


def always_half(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    return adamw(p, g, memory, avg, avg_sq, t, lr, weight_decay, 1.0)


def halves(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    a = memory.aggregate(g, "mid", kappa)
    return adamw(p, a, memory, avg, avg_sq, t, lr, weight_decay, 0.0)


def forgets(p, g, memory, avg, avg_sq, *rest):
    return adamw(p, g, memory, avg, avg_sq, *rest)[0], avg, avg_sq


def inserts(p, g, memory, *rest):
    found = adamw(p, g, memory, *rest)
    memory.insert(1.0, g)
    return found


def writes(p, g, memory, *rest):
    found = adamw(p, g, memory, *rest)
    p -= 1
    return found


def no_correction(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
    return adamw(p, g, memory, avg, avg_sq, 10**6, lr, weight_decay, kappa)


WRONG_STEPS = [
    ("wrong sign", flipped),
    ("decoupled", coupled),
    ("without a memory", plain_adamw),
    ("a later one is not", forgets),
    ("κ = 0.5, weight_decay = 0.5: κ is left out", always_half),
    ("the rule 'mid'", halves),
    ("memory was changed", inserts),
    ("memory was changed", decays),
    ("weight_decay = 0: after the first step AdamW_C is at", always_a_tenth),
    ("after the first step AdamW_C is at", lambda *given: adamw(*given)[::-1]),
    ("came in as torch.float64", lambda *given: tuple(x.float() for x in adamw(*given))),
    ("a tensor that came in was changed", writes),
    ("after the first step AdamW_C is at", no_correction),
    ("return three things", lambda *_: None),
    ("return three things", lambda p, *_: p),
    ("of the shape they came in", lambda p, *_: (p.sum(), p, p)),
    ("stopped with ZeroDivisionError", lambda *_: 1 / 0),
]


@pytest.mark.parametrize("number", range(len(WRONG_STEPS)), ids=lambda k: WRONG_STEPS[k][0])
def test_adamw_with_memory_rejects(number):
    why, answer = WRONG_STEPS[number]
    rejects(checks.adamw_with_memory, answer, why)


def test_torch_decides_without_a_memory():
    """Right with a memory, wrong with κ = 0: the message names torch's AdamW."""

    def answer(p, g, memory, avg, avg_sq, t, lr, weight_decay, kappa):
        return adamw(p, g, memory, avg, avg_sq, t, lr if kappa else 2 * lr, weight_decay, kappa)

    why = "κ = 0, weight_decay = 0.5: after the first step torch's AdamW is at"
    rejects(checks.adamw_with_memory, answer, why)
