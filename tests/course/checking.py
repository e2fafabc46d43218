"""What a check says of an answer."""

import contextlib
import io


def said(check, *answer):
    """What a check prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        check(*answer)
    return printed.getvalue()


def accepts(check, *answer):
    """The check finds the answer right; returns what it says."""
    verdict = said(check, *answer)
    assert verdict.startswith("Right! "), verdict
    return verdict


def rejects(check, answer, why):
    """The check finds the answer wrong, and these words in what it says; returns that.

    A tuple is several arguments.
    """
    verdict = said(check, *(answer if isinstance(answer, tuple) else (answer,)))
    assert verdict.startswith("Not yet: "), verdict
    assert why in verdict
    return verdict
