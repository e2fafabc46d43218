"""A place for the reader to write what will happen, before it does."""

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets
from IPython.display import publish_display_data

#: What the reader answered, by question; a cell that is run again still has it.
_answers: dict[str, str] = {}


class _Shown(ipywidgets.VBox):
    """A widget that is plain text where no kernel runs."""

    def _plain(self) -> str:
        raise NotImplementedError

    def _lines(self) -> str:
        """The same as HTML."""
        return "<br>".join(html.escape(line) for line in self._plain().split("\n"))

    def __repr__(self) -> str:
        return self._plain()

    # Under this name ipywidgets 7 and IPython both look first.
    def _ipython_display_(self, **_: Any) -> None:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        publish_display_data(
            {
                "text/html": f"<p>{self._lines()}</p>",
                "text/plain": repr(self),
                "application/vnd.jupyter.widget-view+json": view,
            }
        )


class Prediction(_Shown):
    """A question with a place for the answer, made by :func:`predict`.

    Attributes:
        answer: what the reader chose or wrote so far; empty at first.
    """

    def __init__(self, question: str, options: Sequence[str] | None) -> None:
        self.question, self.options = question, options
        before = _answers.get(question, "")
        wide: Any = {"width": "auto", "max_width": "100%"}
        self.entry: ipywidgets.Widget
        if options is None:
            hint = "Write your prediction here, then go on."
            self.entry = ipywidgets.Text(value=before, placeholder=hint, layout=wide)
        else:
            value = before if before in options else None
            self.entry = ipywidgets.RadioButtons(options=list(options), value=value, layout=wide)
        self.entry.observe(self._keep, names="value")
        super().__init__([ipywidgets.HTML(f"<b>Predict:</b> {html.escape(question)}"), self.entry])

    @property
    def answer(self) -> str:
        """What the reader answered; empty before."""
        return self.entry.value or ""

    def _keep(self, change: object) -> None:
        _answers[self.question] = self.answer

    def _plain(self) -> str:
        lines = [f"Predict: {self.question}", *(f"○ {o}" for o in self.options or ())]
        return "\n".join(lines)

    def compare(self, outcome: str, why: str = "") -> "Comparison":
        """The prediction beside what came out. It follows an answer that is given later.

        Args:
            outcome: what came out: the right option, or any text where there are no options.
            why: a sentence to go with it.

        Raises:
            ValueError: the outcome is none of the options.
        """
        if self.options is not None and outcome not in self.options:
            raise ValueError(f"outcome: takes one of {list(self.options)}, got {outcome!r}")
        return Comparison(self, outcome, why)


class Comparison(_Shown):
    """A prediction beside what came out, made by :meth:`Prediction.compare`."""

    def __init__(self, prediction: Prediction, outcome: str, why: str) -> None:
        self._prediction, self._outcome, self._why = prediction, outcome, why
        self.text = ipywidgets.HTML()
        super().__init__([self.text])
        prediction.entry.observe(self._refresh, names="value")
        self._refresh()

    def _plain(self) -> str:
        answer = self._prediction.answer.strip()
        came = f"It is: {self._outcome}"
        if not answer:
            said = f"No prediction yet. {came}"
        elif self._prediction.options is None:
            said = f"Your prediction: {answer}\n{came}"
        elif answer == self._outcome:
            said = f"✓ As you predicted: {answer}"
        else:
            said = f"You predicted: {answer}\n{came}"
        return f"{said}\n{self._why}".rstrip()

    def _refresh(self, change: object = None) -> None:
        self.text.value = (
            '<div role="status" style="border-left: 4px solid #0072B2; padding-left: 10px; '
            f'line-height: 1.5; white-space: normal">{self._lines()}</div>'
        )


def predict(question: str, options: Sequence[str] | None = None) -> Prediction:
    """Ask the reader for a prediction, and keep it.

    A notebook that runs from top to bottom does not stop for it. Where no kernel runs, the
    question and its options are plain text.

    Args:
        question: what to predict.
        options: answers to choose from; without them there is a line to write in.

    >>> guess = predict("What is left of the lead?", ["all of it", "nothing"])
    >>> guess
    Predict: What is left of the lead?
    ○ all of it
    ○ nothing
    >>> guess.compare("nothing", "At the same pace nobody leads.")
    No prediction yet. It is: nothing
    At the same pace nobody leads.
    """
    return Prediction(question, options)
