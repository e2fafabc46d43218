"""Fixtures that the tests of several notebooks share."""

import pytest
import torch

from cgtutor.course.shared.data import Data, Split, digits


@pytest.fixture(scope="session")
def tiny():
    """The first of the digits, in float32: enough to learn something from in a moment."""
    return Data(*(Split(s.x[:100].float(), s.y[:100]) for s in digits()))


@pytest.fixture
def double_precision():
    """Numbers made in the test are float64; the default dtype is set back after every test."""
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def one_thread():
    """Sums in one order; the number of threads is set back after every test."""
    torch.set_num_threads(1)
