"""What pytest checks in a notebook beside what nbval does, on the same run of the notebook.

nbval compares what a cell prints. Here the rest is compared: the pictures, by what they show, and
the order, kinds and metadata of the outputs.
"""

import copy
import os
from collections.abc import Generator
from typing import Any
from unittest import mock

import pytest
import regenerate
from nbval import plugin
from nbval.plugin import IPyNbCell, coalesce_streams

# Kernels inherit it: sums come in one order, and workers do not wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

collect_ignore = ["conftest.py"]  # it has no doctests, and tests/ has a module of this name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave coverage to the tests: nbval traces kernels too, for data that nothing combines."""
    if isinstance(item, IPyNbCell):
        item.config.option.cov_source = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Compare all of a cell's outputs with the stored ones, after nbval has run it."""
    if not isinstance(item, IPyNbCell):
        return (yield)
    # As they are stored, and as the kernel sends them: nbval puts together what was printed before
    # and after a picture, in the stored cell as well.
    stored, arrived = copy.deepcopy(item.cell), []

    def coalesced(outputs: list[Any]) -> list[Any]:
        arrived.append(copy.deepcopy(outputs))
        return coalesce_streams(list(filter(regenerate.worth_keeping, outputs)))

    with mock.patch.object(plugin, "coalesce_streams", coalesced):
        yield
    if item.options["check"]:
        fresh = copy.deepcopy(stored)
        fresh.outputs = regenerate.normalised_outputs(arrived[0])
        for output in fresh.outputs:
            if output.output_type == "execute_result":  # nbval's kernels always count 1
                output.execution_count = stored.execution_count
        if what := regenerate.difference(stored, fresh):
            item.raise_cell_error(f"{what} differs from the stored one (see regenerate.py)")
