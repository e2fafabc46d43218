"""What a user sees first: names, imports, help and types."""

import inspect
import pydoc
import subprocess
import sys

import pytest
import torch
from torch.optim.optimizer import ParamsT

import cgtutor
from cgtutor.optim._docs import documented

MODULES = ["aggregation", "autojac", "grouping", "memory", "optim", "optim_eff", "streaming"]


def python(program, *options):
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_every_name_is_there_after_one_import():
    """Each in a package that has just been imported: no name brings another along."""
    names = [*MODULES, *cgtutor.__all__]
    found = python(
        "import sys, torch\n"
        f"for name in {names}:\n"
        "    for module in [m for m in sys.modules if m.partition('.')[0] == 'cgtutor']:\n"
        "        del sys.modules[module]\n"
        "    import cgtutor\n"
        "    print(getattr(cgtutor, name).__name__)"
    )
    assert [name.rpartition(".")[2] for name in found.split()] == names
    assert {*names} <= {*dir(cgtutor)}


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'cgtutor' has no attribute 'Adam'"):
        cgtutor.Adam  # noqa: B018
    with pytest.raises(ImportError):
        from cgtutor import no_such_name  # noqa: F401


def test_a_star_brings_classes_alone():
    """``from torch import optim`` above it keeps its meaning."""
    assert python(
        "from torch import optim\nfrom cgtutor import *\nprint(optim.__name__, SGD_C.__name__)"
    ).split() == ["torch.optim", "SGD_C"]


def test_nothing_of_the_course_is_loaded():
    uses = "; ".join(f"cgtutor.{name}" for name in [*MODULES, *cgtutor.__all__])
    heavy = ["IPython", "ipywidgets", "jupyterlab", "sklearn", "scipy", "matplotlib", "nbformat"]
    assert (
        python(f"import sys, cgtutor; {uses}; print([m for m in {heavy} if m in sys.modules])")
        == "[]"
    )


def test_import_alone_loads_nothing_else():
    """What is not used is not imported, so an import costs a few milliseconds."""
    loaded = "[m for m in sys.modules if m.startswith('cgtutor')]"
    assert python(f"import sys, torch, cgtutor; print({loaded})") == "['cgtutor']"


def test_help_is_whole(optimizer_class):
    doc = inspect.getdoc(optimizer_class)
    assert "{" not in doc
    assert ",," not in doc
    assert "Pass everything after ``lr`` by keyword" in doc
    base = optimizer_class.__bases__[-1]
    assert f"torch.optim.{base.__name__}'s update" in doc
    arguments = doc.split("Args:")[1].split("Raises:")[0]
    starts = [line.strip() for line in arguments.splitlines() if line.startswith("    ")]
    named = {
        name.strip() for line in starts if ": " in line for name in line.split(": ")[0].split(",")
    }
    assert set(inspect.signature(optimizer_class).parameters) <= named
    assert doc.splitlines()[0] in pydoc.plain(pydoc.render_doc(optimizer_class))


def test_types_are_spelled_out(optimizer_class):
    parameters = inspect.signature(optimizer_class, eval_str=True).parameters
    assert parameters["aggr"].annotation.__args__ == ("sum", "mid", "mean")
    assert parameters["params"].annotation == ParamsT


def test_a_class_without_a_docstring_stays_as_it_is():
    bare = type("Bare", (torch.optim.SGD,), {})
    assert documented(bare) is bare
    assert bare.__doc__ is None


def test_without_docstrings():
    """python -OO throws them away, and the classes work."""
    program = """
import torch, cgtutor
w = torch.nn.Parameter(torch.ones(2))
w.grad = torch.ones(2)
for optimizer in (cgtutor.Adam_C([w]), cgtutor.optim_eff.Adam_C_eff([w])):
    optimizer.step()
print(cgtutor.Adam_C.__doc__)
"""
    assert python(program, "-OO") == "None"
