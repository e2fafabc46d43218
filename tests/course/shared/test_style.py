"""Style."""

import base64
import io

import IPython.core.formatters
import matplotlib.image
import pytest
import torch

from cgtutor.course.shared import style
from cgtutor.course.shared.style import (
    BLUE,
    LOOKS,
    WIDTH,
    annotate,
    finding,
    label,
    series,
    subplots,
)


def test_a_picture_says_what_it_shows(monkeypatch):
    figure, ax = subplots(1, 1, figsize=(4, 2))
    with pytest.raises(ValueError, match="alt: a picture needs alternative text, got ''"):
        figure.bundle()
    ax.plot([1, 2], color=BLUE)
    figure.alt = 'a < b & "c"'
    data, metadata = figure.bundle()
    shown = []
    monkeypatch.setattr(style, "publish_display_data", lambda *what: shown.append(what))
    assert IPython.core.formatters.DisplayFormatter().format(figure) == ({}, {})
    folded = "<details><summary>In words</summary>a &lt; b &amp; &quot;c&quot;</details>"
    words = {"text/html": folded, "text/plain": 'In words: a < b & "c"'}
    assert shown == [(data, metadata), (words,)]
    assert data["text/plain"] == metadata["image/png"]["alt"] == figure.alt
    assert set(data) == {"image/png", "text/plain"}, "stored once"
    assert metadata["image/png"]["width"] == 400, "of a plain screen"
    drawn = matplotlib.image.imread(io.BytesIO(base64.b64decode(data["image/png"])))
    assert drawn.shape == (400, 800, 4)
    assert drawn[0, 0].tolist() == [1, 1, 1, 1], "an opaque white background"
    blue = torch.tensor(matplotlib.colors.to_rgb(BLUE))
    assert (torch.from_numpy(drawn)[..., :3] - blue).abs().sum(-1).min() < 0.02
    assert len({tuple(c) for c in drawn.reshape(-1, 4).tolist()}) <= 256


def test_series():
    assert series(["a"]) == "a"
    assert series(["a", "b"]) == "a and b"
    assert series(iter("abc")) == "a, b and c"


def test_looks_differ_in_more_than_colour():
    for key in ("color", "linestyle", "marker"):
        assert len({look[key] for look in LOOKS}) == len(LOOKS)


def test_a_quick_picture_is_the_same_but_smaller():
    figure, ax = subplots()
    ax.plot([1, 2])
    quick = matplotlib.image.imread(io.BytesIO(figure.png(scale=1, colours=None)))
    assert quick.shape[:2] == (360, round(100 * WIDTH))
    assert figure.dpi == 100


def test_a_finding_wraps():
    figure, _ = subplots()
    finding(figure, "At twice the learning rate nothing is left of the lead that looked so large")
    lines = figure.get_suptitle().split("\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 68


def test_labels_and_notes():
    _, ax = subplots()
    label(ax, 1, 2, "SGD", BLUE, ha="right")
    annotate(ax, "look here", (0, 0), (1, 1))
    text, note = ax.texts
    assert (text.get_color(), text.get_ha(), text.get_position()) == (BLUE, "right", (1, 2))
    assert (note.xy, note.get_position()) == ((0, 0), (1, 1))
