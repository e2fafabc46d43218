"""A player holds every picture, small, and works in a browser without a kernel."""

import base64
import html
import io
import json
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from cgtutor.course.shared import player as module
from cgtutor.course.shared.player import player
from cgtutor.course.shared.style import BLUE, BY_HAND, ORANGE, subplots

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ALT = 'A bar grows, "slowly" & surely.'
CAPTIONS = ["It is low.", "It is <b>higher</b>.", "It is high.", "It is low again."]


def draw(i):
    with plt.rc_context(BY_HAND):
        figure, ax = subplots(height=2)
        ax.bar([0, 1], [[1, 2, 3, 1][i], 2], color=[BLUE, ORANGE])
        ax.set(ylim=(0, 4))
    return figure


@pytest.fixture(scope="module")
def made():
    return player(draw, 4, CAPTIONS, ALT, still=2)


def pictures(made):
    """The still and what is laid over it, decoded."""
    page = made._data["text/html"]
    frames = json.loads(re.search(r"const frames = (\[.*?\])", page)[1])
    still = re.search(r'src="(data:[^"]+)"', page)[1]
    decoded = [
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) if source else None
        for source in (still, *frames)
    ]
    return decoded[0].convert("RGB"), decoded[1:]


def test_every_picture_is_there(made):
    still, overs = pictures(made)
    assert overs[2] is None, "it is the still itself"
    for i, over in enumerate(overs):
        shown = still.copy()
        if over is not None:
            over = over.convert("RGBA")
            shown.paste(over, mask=over)
        drawn = Image.open(io.BytesIO(draw(i).png(colours=None))).convert("RGB")
        apart = np.abs(np.asarray(shown, float) - np.asarray(drawn, float))
        assert apart.mean() < 0.3, "of 255"
        assert np.asarray(shown)[0, 0].tolist() == [255, 255, 255], "white is white"
    plt.close("all")


def test_what_stays_is_stored_once(made):
    over = pictures(made)[1][0].convert("RGBA")
    assert (np.asarray(over)[..., 3] == 0).mean() > 0.7


def test_it_can_be_read_without_a_script(made):
    page = re.sub(r"<script>.*</script>", "", made._data["text/html"], flags=re.DOTALL)
    assert f'alt="{html.escape(ALT)}"' in page
    assert "It is high." in page
    assert page.count("<img") == 1
    assert made._data["text/plain"] == f"{ALT} It is high."


def test_the_same_twice(made):
    assert player(draw, 4, CAPTIONS, ALT, still=2)._data == made._data


@pytest.mark.parametrize(
    ("count", "captions", "alt", "why"),
    [
        (4, CAPTIONS[:3], ALT, "takes one for each of at least 2 steps, got 3 for 4"),
        (1, CAPTIONS[:1], ALT, "at least 2 steps, got 1 for 1"),
        (4, CAPTIONS, "", "alt: a player needs alternative text"),
    ],
)
def test_rejects(count, captions, alt, why):
    with pytest.raises(ValueError, match=why):
        player(draw, count, captions, alt)


def test_rejects_what_is_too_large(monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 9_000)
    with pytest.raises(ValueError, match=r"at most 9 kB, got \d+ kB with 4 steps"):
        player(draw, 4, CAPTIONS, ALT)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_in_a_browser(made, motion):
    """Steps, keys, the slider and play; in calm mode playing waits longer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(reduced_motion=motion)
        problems = []
        page.on("pageerror", lambda error: problems.append(error))
        page.set_content(made._data["text/html"])
        figure = page.locator("figure[data-ready]")
        page.wait_for_selector("figure[data-drawn='0']")
        assert figure.get_by_role("img").get_attribute("aria-label") == ALT
        middle = "() => Array.from(document.querySelector('canvas').getContext('2d')" + (
            ".getImageData(450, 150, 1, 1).data)"
        )
        low = page.evaluate(middle)
        figure.get_by_title("one step on").click()
        page.wait_for_selector("figure[data-drawn='1']")
        assert figure.locator("figcaption").inner_text() == "It is <b>higher</b>."
        figure.get_by_role("slider").press("ArrowRight")
        page.wait_for_selector("figure[data-drawn='2']")
        assert page.evaluate(middle) != low, "the bar has reached this height"
        figure.get_by_title("play or pause").press("ArrowLeft")
        page.wait_for_selector("figure[data-drawn='1']")
        figure.get_by_title("one step back").click()
        page.wait_for_selector("figure[data-drawn='0']")
        figure.get_by_title("play or pause").click()
        page.wait_for_timeout(1200)  # two steps of 500 ms, or none of 2000
        assert (figure.get_attribute("data-frame") == "0") is (motion == "reduce")
        page.wait_for_selector("figure[data-drawn='3']")
        assert figure.get_by_title("play or pause").inner_text() == "▶ play"
        assert problems == []
        browser.close()


def test_a_colour_that_is_there_for_a_moment_stays_that_colour():
    def flash(i):
        with plt.rc_context(BY_HAND):
            figure, ax = subplots(height=2)
            ax.bar([0], [1], color=BLUE if i == 1 else ORANGE)
        return figure

    still, overs = pictures(player(flash, 8, ["a step"] * 8, ALT))
    over = overs[1].convert("RGBA")
    still.paste(over, mask=over)
    middle = np.asarray(still)[still.height // 2, still.width // 2].astype(float)
    assert np.abs(middle - [0x00, 0x72, 0xB2]).max() < 8
