"""An explorer draws what its controls say, and lights up when the goal is reached."""

import base64
import re

import matplotlib.pyplot as plt
import pytest
from ipywidgets import IntSlider

from cgtutor.course.shared.explorer import Explorer, choices, slider
from cgtutor.course.shared.style import BY_HAND, subplots


def draw(number, decay):
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=2)
        ax.bar(0, number)
        ax.set(ylim=(0, 10))
    figure.alt = f'A bar of "{number}" at {decay}.'
    return figure


@pytest.fixture
def explorer():
    controls = {
        "number": slider("a number", 3, 0, 10, 1, IntSlider),
        "decay": choices("decay", 0.9, [0, 0.9, 0.999]),
    }

    def reached(number, decay):
        return f"at {number} & {decay:g}" if number > 7 else ""

    return Explorer(draw, controls, "above <i>7</i>.", reached)


def picture(explorer):
    return base64.b64decode(re.search(r"base64,([^\"]+)", explorer.picture.value)[1])


def test_controls_follow_the_drag(explorer):
    for control in explorer.children[1:3]:
        assert control.continuous_update
    assert explorer.children[2].options == (("0", 0), ("0.9", 0.9), ("0.999", 0.999))


def test_it_draws_what_the_controls_say(explorer):
    before = picture(explorer)
    explorer.set(number=4)
    after = picture(explorer)
    assert after != before
    assert 'alt="A bar of &quot;4&quot; at 0.9."' in explorer.picture.value
    assert explorer.values == {"number": 4, "decay": 0.9}
    assert repr(explorer) == "Explorer(number=4, decay=0.9)"
    explorer.set(number=3)
    assert picture(explorer) == before
    assert plt.get_fignums() == []


def test_the_goal_lights_up(explorer):
    assert "<b>Goal:</b> above <i>7</i>." in explorer.goal.value
    assert "#009E73" not in explorer.goal.value
    explorer.set(number=8, decay=0.999)
    assert "<b>✓ Reached:</b> at 8 & 0.999" in explorer.goal.value
    assert "#009E73" in explorer.goal.value
    explorer.set(number=7)
    assert "<b>Goal:</b> above <i>7</i>." in explorer.goal.value


def test_without_a_kernel_there_is_a_picture_and_its_words(explorer, monkeypatch):
    published = []
    monkeypatch.setattr(
        "cgtutor.course.shared.explorer.publish_display_data", lambda *data: published.append(data)
    )
    explorer._ipython_display_()
    (shown, metadata), (words,) = published
    assert set(shown) == {"image/png", "text/plain", "application/vnd.jupyter.widget-view+json"}
    assert metadata["image/png"] == {"alt": 'A bar of "3" at 0.9.', "width": 800}
    assert words["text/plain"] == 'In words: Goal: above 7. Where it starts: A bar of "3" at 0.9.'
