"""Fixtures and settings for all tests."""

import os

# Read by torch and numpy as they are imported, and inherited by kernels and other processes: a
# test has one thread, so that workers do not wait for each other and sums come in one order.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from optimizers import CLASSES

matplotlib.use("agg")
collect_ignore = ["benchmarks"]  # scripts: a speed is measured, not asserted

hypothesis.settings.register_profile("here", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("here")

#: Files that take minutes. Workers start them first, so that none of them is left at the end.
LONGEST = ("test_optim_eff.py", "test_browser.py", "test_does_it_help.py", "test_optim.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(params=CLASSES, ids=lambda c: c.__name__)
def optimizer_class(request):
    return request.param


@pytest.fixture(autouse=True)
def _no_setting_leaks():
    """What a test sets globally in torch ends with it, and so do its figures."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    plt.close("all")
