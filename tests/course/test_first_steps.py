"""First steps."""

import matplotlib.pyplot as plt
import pytest
from checking import accepts, rejects
from torch.optim import Adam

from cgtutor import SGD_C, Adam_C
from cgtutor.course.first_steps import checks
from cgtutor.course.first_steps.explorer import memory_explorer
from cgtutor.course.shared.data import network
from cgtutor.course.shared.figures import lifetimes
from cgtutor.course.shared.replay import replay


def test_memory_explorer_draws_the_static_figure():
    norms = [4.0, 1.0, 3.0, 0.2] * 5
    explorer = memory_explorer(norms)
    top_c, decay = explorer.children[1:3]
    picture = explorer.children[-1]
    for values in ((5, 0.7), (2, 0.99)):
        top_c.value, decay.value = values
        assert picture.value == lifetimes(replay(norms, *values)).bundle()[0]["text/html"]
        assert f"with topC = {values[0]} and decay = {values[1]}" in picture.value
    plt.close("all")
    decay.value = 0.5
    assert not plt.get_fignums(), "a figure left open would be shown a second time"


def test_explorer_is_a_picture_where_no_kernel_runs():
    explorer = memory_explorer([1.0, 2.0])
    bundle, metadata = explorer._repr_mimebundle_()
    view = "application/vnd.jupyter.widget-view+json"
    assert set(bundle) == {"text/plain", "text/html", "image/png", view}
    assert bundle["text/plain"] == "Explorer(topC=5, decay=0.7)"
    assert bundle["text/html"] == explorer.children[-1].value
    assert metadata["image/png"]["alt"].startswith("2 steps with topC = 5")
    assert explorer._ipython_display_ is None


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
def test_swap_one_word_rejects(why):
    rejects(checks.swap_one_word, WRONG[why], why)


def test_swap_one_word_accepts():
    accepts(checks.swap_one_word, lambda p: Adam_C(p, lr=0.001))


NORMS = [1.0, 2.0, 1.5] * 20


@pytest.mark.parametrize(
    ("decay", "why"),
    [(0.7, "forget faster or more slowly"), (1.5, "decay must be"), ("0.9", "decay must be")],
)
def test_choosy_memory_rejects(decay, why):
    rejects(checks.choosy_memory, (NORMS, decay), why)


def test_choosy_memory_accepts():
    accepts(checks.choosy_memory, NORMS, 1)
