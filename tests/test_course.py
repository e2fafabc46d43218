"""What notebooks are made of: data, training loops, figures, explorers, checks."""

import base64
import io

import IPython.core.formatters
import matplotlib
import matplotlib.colors
import matplotlib.image
import matplotlib.pyplot as plt
import pytest
import torch
from torch.optim import Adam

from cgtutor import SGD_C, Adam_C, exercises, plots, widgets
from cgtutor.plots.style import series, subplots
from cgtutor.toys import Data, Split, digits, network
from cgtutor.training import (
    Curves,
    best_learning_rate,
    evaluate,
    replay,
    sweep,
    table,
    train,
)


@pytest.fixture(scope="module")
def tiny():
    """The first of the digits: enough to learn something from in a moment."""
    return Data(*(Split(s.x[:100], s.y[:100]) for s in digits()))


# --------------------------------------------------------------------------------- toys


def test_digits():
    data = digits()
    assert [len(split.y) for split in data] == [1000, 400, 397]
    assert data.train.x.shape == (1000, 64)
    assert data.train.x.dtype == torch.get_default_dtype()
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    # disjoint: as many different pictures as the whole set has
    every = torch.cat([split.x for split in data])
    assert len(every.unique(dim=0)) == len(every) == 1797
    shares = [torch.bincount(split.y) / len(split.y) for split in data]
    torch.testing.assert_close(shares[0], shares[1], atol=0.005, rtol=0)
    assert torch.equal(digits().test.x, data.test.x)
    assert not torch.equal(digits(seed=1).test.x, data.test.x)


def test_network():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = network(seed=5), network(seed=5), network(seed=6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    assert [type(layer).__name__ for layer in network((4, 3, 3, 2))] == [
        *("Linear", "ReLU", "Linear", "ReLU", "Linear")
    ]


# ----------------------------------------------------------------------------- training


def test_train(tiny):
    model, calls = network(), []
    optimizer = Adam(model.parameters(), lr=0.01)
    before = evaluate(model, tiny.train)[0]
    state = torch.get_rng_state()
    curves = train(model, optimizer, tiny, 8, batch_size=30, after_step=lambda: calls.append(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(calls) == 8 * 4
    assert [len(c) for c in curves[:3]] == [8, 8, 8]
    assert curves.train_loss[-1] < curves.train_loss[0] < before
    assert curves.train_loss[-1] == evaluate(model, tiny.train)[0]
    assert (curves.validation_loss[-1], curves.validation_accuracy[-1]) == evaluate(
        model, tiny.validation
    )
    assert curves.test_accuracy == evaluate(model, tiny.test)[1] > 0.5


def test_seed_is_the_order_of_mini_batches(tiny):
    runs = []
    for seed in (1, 1, 2):
        model = network()
        runs.append(train(model, Adam(model.parameters()), tiny, 2, seed=seed))
    assert runs[0] == runs[1] != runs[2]


def test_evaluate_by_hand():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    loss, accuracy = evaluate(torch.nn.Identity(), Split(logits, torch.tensor([1, 0])))
    expected = (torch.tensor(2.0).log() + (1 + torch.tensor(-2.0).exp()).log()) / 2
    assert loss == pytest.approx(expected.item())
    assert accuracy == 0.5


def test_sweep_is_the_same_for_all(tiny):
    """Two names for one optimizer give the same numbers; a run does not depend on the others."""
    make = {name: lambda p, lr: Adam(p, lr=lr) for name in ("a", "b")}
    results = sweep(make, [0.001, 0.01], range(2), tiny, epochs=2)
    assert results["a"] == results["b"]
    assert list(results["a"]) == [0.001, 0.01]
    assert [len(runs) for runs in results["a"].values()] == [2, 2]
    model = network(seed=1)
    alone = train(model, Adam(model.parameters(), lr=0.01), tiny, 2, seed=1)
    assert results["a"][0.01][1] == alone


def test_best_learning_rate():
    def runs(*finals):
        return [Curves([], [9.0, final], [], 0.0) for final in finals]

    assert best_learning_rate({1.0: runs(3, 1), 2.0: runs(1, 2), 3.0: runs(2, 2)}) == 2.0
    assert best_learning_rate({1.0: runs(float("nan"), 1), 2.0: runs(9, 9)}) == 2.0


def test_table():
    def runs(*pairs):
        return [Curves([], [9.0, loss], [], accuracy) for loss, accuracy in pairs]

    results = {
        "one": {0.1: runs((1, 0.5), (2, 0.7)), 0.03: runs((3, 0.1), (4, 0.1))},
        "another": {0.1: runs((2, 0.2), (2, 0.2)), 0.03: runs((1, 0.9), (1, 0.9))},
    }
    assert table(results).splitlines() == [
        "validation loss at each learning rate, and test accuracy at the best of these",
        " " * 22 + "0.1     0.03    test accuracy",
        "one                   1.50    3.50    0.600 ± 0.141",
        "another               2.00    1.00    0.900 ± 0.000",
    ]


def test_replay_worked_trace():
    """Norms 4, 1, 3, 0.2: the 1 goes when the 3 comes, the 0.2 never gets in."""
    lives = replay([4.0, 1.0, 3.0, 0.2], topC=2, decay=0.5)
    assert lives.until == [3, 1, 3, None]
    assert lives.oldest == [0, 1, 2, 3]
    assert lives.memory.priorities == [0.75, 0.25]
    assert replay([float("nan"), 1.0]).until == [None, 1]


def test_replay_is_what_the_optimizer_does(tiny):
    torch.set_default_dtype(torch.float64)
    data = Data(*(Split(s.x.double(), s.y) for s in tiny))
    model, norms = network(), []
    optimizer = Adam_C(model.parameters(), topC=3, decay=0.95)

    def note():
        norms.append(sum(p.grad.norm() for p in model.parameters()).item())

    train(model, optimizer, data, 5, after_step=note)
    memory, again = optimizer.memory(model[0].weight), replay(norms, 3, 0.95).memory
    assert again.priorities == pytest.approx(memory.priorities)
    assert again.ages == memory.ages


# -------------------------------------------------------------------------------- plots


def curves(shift=0.0):
    falling = [2.0 + shift, 1.0 + shift, 0.5 + shift]
    return Curves(falling, falling, [0.2, 0.5, 0.9], 0.9)


def test_learning_curves_shows_mean_and_range():
    figure = plots.learning_curves({"one": [curves(), curves(0.4)], "two": [curves(1), curves(1)]})
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([2.2, 1.2, 0.7])
    low, high = left.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.5, 2.4))
    assert left.get_ylabel() == "training loss"
    assert right.get_xlabel() == "epoch"
    assert [text.get_text() for text in figure.legends[0].texts] == ["one", "two"]


def test_learning_rates():
    figure = plots.learning_rates({"one": {0.01: [curves()], 0.1: [curves(1), curves(2)]}})
    (ax,) = figure.axes
    assert ax.lines[0].get_xdata() == pytest.approx([0.01, 0.1])
    assert ax.lines[0].get_ydata() == pytest.approx([0.5, 2.0])
    figure.canvas.draw()
    assert "0.01" in [label.get_text() for label in ax.get_xticklabels()]


def test_lifetimes():
    figure = plots.lifetimes(replay([4.0, 1.0, 3.0, 0.2], topC=2, decay=0.5))
    above, below = figure.axes
    dots, lines, crosses = above.collections
    assert dots.get_offsets().tolist() == [[0, 4], [1, 1], [2, 3]]
    assert [segment.tolist() for segment in lines.get_segments()] == [
        [[0, 4], [3, 4]],
        [[1, 1], [1, 1]],
        [[2, 3], [3, 3]],
    ]
    assert crosses.get_offsets().tolist() == [[3, 0.2]]
    assert list(below.lines[0].get_ydata()) == [0, 1, 2, 3]
    assert figure.legends[0].get_title().get_text() == "topC = 2, decay = 0.5"


def test_a_picture_says_what_it_shows(monkeypatch):
    figure, ax = subplots(1, 1, figsize=(4, 2))
    with pytest.raises(ValueError, match="alt: a picture needs alternative text, got ''"):
        figure.bundle()
    ax.plot([1, 2], color=plots.BLUE)
    figure.alt = 'a < b & "c"'
    data, metadata = figure.bundle()
    shown = []
    monkeypatch.setattr(plots.style, "publish_display_data", lambda *what: shown.append(what))
    assert IPython.core.formatters.DisplayFormatter().format(figure) == ({}, {})
    assert shown == [(data, metadata)]
    assert data["text/plain"] == metadata["image/png"]["alt"] == figure.alt
    assert 'alt="a &lt; b &amp; &quot;c&quot;"' in data["text/html"]
    assert f'src="data:image/png;base64,{data["image/png"]}"' in data["text/html"]
    drawn = matplotlib.image.imread(io.BytesIO(base64.b64decode(data["image/png"])))
    assert drawn.shape == (200, 400, 4)
    assert drawn[0, 0].tolist() == [1, 1, 1, 1], "an opaque white background"
    blue = torch.tensor(matplotlib.colors.to_rgb(plots.BLUE))
    assert (torch.from_numpy(drawn)[..., :3] - blue).abs().sum(-1).min() < 0.02
    assert len({tuple(c) for c in drawn.reshape(-1, 4).tolist()}) <= 256


def test_alternative_texts_have_the_numbers(tiny):
    runs = {"one": [curves(1), curves(3)], "two": [curves(0.5)]}
    assert plots.learning_curves(runs).alt.endswith(
        "Means of both after 3 epochs: one: 2.50 and 90%; two: 1.00 and 90%."
    )
    rates = {"one": {0.01: [curves(1), curves(3)], 0.1: [curves(0.5)]}}
    assert plots.learning_rates(rates).alt.endswith(
        "Means at the learning rates 0.01 and 0.1. one: 2.50 and 1.00."
    )
    alt = plots.lifetimes(replay([4.0, 1.0, 3.0, 0.2], topC=2, decay=0.5)).alt
    assert alt.startswith("4 steps with topC = 2 and decay = 0.5.")
    assert "1 that are not kept" in alt
    assert alt.endswith("at most 3 steps.")
    assert plots.pictures(tiny.train.x[:2].reshape(-1, 8, 8), tiny.train.y[:2]).alt == (
        "2 grey-scale pictures of 8 by 8 pixels in a row, labelled "
        f"{tiny.train.y[0]} and {tiny.train.y[1]}."
    )


def test_series():
    assert series(["a"]) == "a"
    assert series(["a", "b"]) == "a and b"
    assert series(iter("abc")) == "a, b and c"


def test_pictures(tiny):
    figure = plots.pictures(tiny.train.x[:3].reshape(-1, 8, 8), tiny.train.y[:3])
    assert [ax.get_title() for ax in figure.axes] == [str(y.item()) for y in tiny.train.y[:3]]
    assert figure.axes[1].images[0].get_array().shape == (8, 8)


def test_style_does_not_leak():
    before = dict(matplotlib.rcParams)
    plots.lifetimes(replay([1.0, 2.0]))
    assert dict(matplotlib.rcParams) == before


def test_more_curves_than_looks():
    with pytest.raises(ValueError, match=r"at most 4 curves, got 5: \['a', 'b', 'c', 'd', 'e'\]"):
        plots.learning_curves({name: [curves()] for name in "abcde"})


def test_looks_differ_in_more_than_colour():
    for key in ("color", "linestyle", "marker"):
        assert len({look[key] for look in plots.LOOKS}) == len(plots.LOOKS)


# ------------------------------------------------------------------------------ widgets


def test_memory_explorer_draws_the_static_figure():
    norms = [4.0, 1.0, 3.0, 0.2] * 5
    explorer = widgets.memory_explorer(norms)
    top_c, decay = explorer.children[1:3]
    picture = explorer.children[-1]
    for values in ((5, 0.7), (2, 0.99)):
        top_c.value, decay.value = values
        assert picture.value == plots.lifetimes(replay(norms, *values)).bundle()[0]["text/html"]
        assert f"with topC = {values[0]} and decay = {values[1]}" in picture.value
    plt.close("all")
    decay.value = 0.5
    assert not plt.get_fignums(), "a figure left open would be shown a second time"


def test_explorer_is_a_picture_where_no_kernel_runs():
    explorer = widgets.memory_explorer([1.0, 2.0])
    bundle, metadata = explorer._repr_mimebundle_()
    view = "application/vnd.jupyter.widget-view+json"
    assert set(bundle) == {"text/plain", "text/html", "image/png", view}
    assert bundle["text/plain"] == "Explorer(topC=5, decay=0.7)"
    assert bundle["text/html"] == explorer.children[-1].value
    assert metadata["image/png"]["alt"].startswith("2 steps with topC = 5")
    assert explorer._ipython_display_ is None


# ---------------------------------------------------------------------------- exercises

WRONG = {
    "still Adam": lambda p: Adam(p, lr=0.001),
    "the word `return`": lambda p: None,
    "asks for Adam_C": lambda p: SGD_C(p, lr=0.001),
    "learning rate is 0.01": lambda p: Adam_C(p, lr=0.01),
    "kappa=0": lambda p: Adam_C(p, lr=0.001, kappa=0),
    "ValueError: topC must be": lambda p: Adam_C(p, lr=0.001, topC=0),
    "the goal 0.30": lambda p: Adam_C(p, lr=0.001, kappa=0.01),
    "other tensors": lambda p: Adam_C(network().parameters(), lr=0.001),
    "AssertionError": lambda p: Adam_C(p, lr=0.001, capturable=True),
}


@pytest.mark.parametrize("why", WRONG)
def test_swap_one_word_rejects(why, capsys):
    exercises.swap_one_word(WRONG[why])
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert why in said


def test_swap_one_word_accepts(capsys):
    exercises.swap_one_word(lambda p: Adam_C(p, lr=0.001))
    assert capsys.readouterr().out.startswith("Right! ")


NORMS = [1.0, 2.0, 1.5] * 20


@pytest.mark.parametrize(
    ("decay", "why"),
    [(0.7, "forget faster or more slowly"), (1.5, "decay must be"), ("0.9", "decay must be")],
)
def test_choosy_memory_rejects(decay, why, capsys):
    exercises.choosy_memory(NORMS, decay)
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert why in said


def test_choosy_memory_accepts(capsys):
    exercises.choosy_memory(NORMS, 1)
    assert capsys.readouterr().out.startswith("Right! ")
