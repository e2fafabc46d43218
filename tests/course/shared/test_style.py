"""Style."""

import base64
import io

import IPython.core.formatters
import matplotlib.image
import pytest
import torch

from cgtutor.course.shared import style
from cgtutor.course.shared.style import BLUE, LOOKS, series, subplots


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
    assert shown == [(data, metadata)]
    assert data["text/plain"] == metadata["image/png"]["alt"] == figure.alt
    assert 'alt="a &lt; b &amp; &quot;c&quot;"' in data["text/html"]
    assert f'src="data:image/png;base64,{data["image/png"]}"' in data["text/html"]
    drawn = matplotlib.image.imread(io.BytesIO(base64.b64decode(data["image/png"])))
    assert drawn.shape == (200, 400, 4)
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
