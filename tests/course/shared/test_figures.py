"""Figures."""

import matplotlib.image
import pytest

from cgtutor.course.shared.figures import bars, learning_curves, learning_rates, pictures
from cgtutor.course.shared.training import Curves


def curves(shift=0.0):
    falling = [2.0 + shift, 1.0 + shift, 0.5 + shift]
    return Curves(falling, falling, [0.2, 0.5, 0.9], 0.9)


def test_learning_curves_shows_mean_and_range():
    figure = learning_curves({"one": [curves(), curves(0.4)], "two": [curves(1), curves(1)]})
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([2.2, 1.2, 0.7])
    low, high = left.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.5, 2.4))
    assert left.get_ylabel() == "training loss"
    assert right.get_xlabel() == "epoch"
    assert [text.get_text() for text in figure.legends[0].texts] == ["one", "two"]


def test_learning_rates():
    figure = learning_rates({"one": {0.01: [curves()], 0.1: [curves(1), curves(2)]}})
    (ax,) = figure.axes
    assert ax.lines[0].get_xdata() == pytest.approx([0.01, 0.1])
    assert ax.lines[0].get_ydata() == pytest.approx([0.5, 2.0])
    figure.canvas.draw()
    assert "0.01" in [label.get_text() for label in ax.get_xticklabels()]


def test_alternative_texts_have_the_numbers(tiny):
    runs = {"one": [curves(1), curves(3)], "two": [curves(0.5)]}
    assert learning_curves(runs).alt.endswith(
        "Means of both after 3 epochs: one: 2.50 and 90%; two: 1.00 and 90%."
    )
    rates = {"one": {0.01: [curves(1), curves(3)], 0.1: [curves(0.5)]}}
    assert learning_rates(rates).alt.endswith(
        "Means at the learning rates 0.01 and 0.1. one: 2.50 and 1.00."
    )


def test_pictures(tiny):
    figure = pictures(tiny.train.x[:3].reshape(-1, 8, 8), tiny.train.y[:3])
    assert [ax.get_title() for ax in figure.axes] == [str(y.item()) for y in tiny.train.y[:3]]
    assert figure.axes[1].images[0].get_array().shape == (8, 8)


def test_style_does_not_leak(tiny):
    before = dict(matplotlib.rcParams)
    figure = pictures(tiny.train.x[:2].reshape(-1, 8, 8), tiny.train.y[:2])
    assert figure.alt == (
        "2 grey-scale pictures of 8 by 8 pixels in a row, labelled "
        f"{tiny.train.y[0]} and {tiny.train.y[1]}."
    )
    assert dict(matplotlib.rcParams) == before


def test_more_curves_than_looks():
    with pytest.raises(ValueError, match=r"at most 4 curves, got 5: \['a', 'b', 'c', 'd', 'e'\]"):
        learning_curves({name: [curves()] for name in "abcde"})


def test_bars():
    figure = bars({"one": {"a": 1, "b": 2.5}, "two": {"a": 3, "b": 4}}, "x", {"l": 2})
    left, right = figure.axes
    assert [b.get_width() for b in left.patches] == [1, 2.5]
    assert [b.get_width() for b in right.patches] == [3, 4]
    assert [text.get_text() for text in left.texts] == ["1", "2.5"]
    assert left.lines[0].get_xdata()[0] == 2
    assert right.get_xlim() == left.get_xlim()
    assert figure.alt == (
        "Bars with their numbers: x. Panel 'one': a: 1; b: 2.5. Panel 'two': a: 3; b: 4. "
        "A line at 2: l."
    )
    plain = bars({"one": {"a": 1}}, "x", longest=7)
    assert not plain.legends
    measured = bars({"one": {"a": 1.23, "b": 4.56}}, "x", measured=True)
    assert measured.alt == "Bars with their numbers: x. Panel 'one': a; b."
    assert plain.axes[0].get_xlim() == (0, 7)
