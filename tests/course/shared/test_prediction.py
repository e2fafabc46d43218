"""A prediction is kept, set beside what came out, and plain text where no kernel runs."""

import pytest

from cgtutor.course.shared import prediction as module
from cgtutor.course.shared.prediction import predict

OPTIONS = ["it grows", "it <shrinks>"]


@pytest.fixture(autouse=True)
def _nobody_answered(monkeypatch):
    monkeypatch.setattr(module, "_answers", {})


def shown(widget, capsys):
    """What a notebook stores of it: its plain text."""
    widget._ipython_display_()
    return capsys.readouterr().out.strip()


def test_plain_text(capsys):
    guess = predict("What comes?", OPTIONS)
    assert shown(guess, capsys) == "Predict: What comes?\n○ it grows\n○ it <shrinks>"
    assert shown(predict("How many?"), capsys) == "Predict: How many?"
    assert shown(guess.compare("it grows"), capsys) == "No prediction yet. It is: it grows"


def test_a_right_choice():
    guess = predict("What comes?", OPTIONS)
    guess.entry.value = "it grows"
    assert repr(guess.compare("it grows", "As trees do.")) == (
        "✓ As you predicted: it grows\nAs trees do."
    )


def test_a_wrong_choice():
    guess = predict("What comes?", OPTIONS)
    guess.entry.value = "it grows"
    assert repr(guess.compare(OPTIONS[1])) == "You predicted: it grows\nIt is: it <shrinks>"


def test_an_answer_in_words():
    guess = predict("How many?")
    guess.entry.value = " about 30 "
    assert repr(guess.compare("29")) == "Your prediction: about 30\nIt is: 29"


def test_it_follows_an_answer_that_is_given_later():
    guess = predict("What comes?", OPTIONS)
    beside = guess.compare(OPTIONS[1])
    assert "No prediction yet" in beside.text.value
    guess.entry.value = OPTIONS[1]
    assert "✓ As you predicted: it &lt;shrinks&gt;" in beside.text.value


@pytest.mark.parametrize("options", [OPTIONS, None])
def test_it_is_kept_when_the_cell_runs_again(options):
    predict("What comes?", options).entry.value = "it grows"
    assert predict("What comes?", options).answer == "it grows"
    assert predict("What else?", options).answer == ""


def test_an_answer_that_is_no_option_any_more():
    predict("What comes?", ["yes", "no"]).entry.value = "yes"
    assert predict("What comes?", OPTIONS).answer == ""


def test_an_outcome_is_one_of_the_options():
    with pytest.raises(ValueError, match=r"outcome: takes one of .*, got 'both'"):
        predict("What comes?", OPTIONS).compare("both")
