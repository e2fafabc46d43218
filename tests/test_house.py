"""The house has two parts: a library, and a course whose notebooks do not know each other.

Who imports whom is read from the source, also inside functions and where only types are meant. A
notebook's folder is named like the notebook: ``02_topic.ipynb`` has ``cgtutor/course/topic/``.
"""

import ast
import graphlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COURSE, SHARED = "cgtutor.course", "shared"


def package_of(file, root):
    """The package a file belongs to: ``cgtutor.optim`` for cgtutor/optim/adam.py."""
    return ".".join(file.relative_to(root).parent.parts)


def module_of(file, root):
    return package_of(file, root) + ("" if file.stem == "__init__" else f".{file.stem}")


def imported(source, package=""):
    """The dotted names that source imports from cgtutor, or reaches in what it imported."""
    tree, names, known = ast.parse(source), set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                known[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            outer = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*outer, *([node.module] if node.module else [])])
            for alias in node.names:
                names.add(f"{base}.{alias.name}")
                known[alias.asname or alias.name] = f"{base}.{alias.name}"
    for node in ast.walk(tree):
        path = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if path and isinstance(node, ast.Name) and node.id in known:
            names.add(".".join([known[node.id], *reversed(path)]))
    return {name for name in names if name.split(".")[0] == "cgtutor"}


def inside(name, package):
    return name == package or name.startswith(f"{package}.")


def is_private(name):
    return any(re.match(r"_(?!_)", part) for part in name.split("."))


def code_of(notebook):
    """A notebook's code without what only IPython reads."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


def topics(root):
    """The notebooks' folders."""
    found = (root / "cgtutor" / "course").glob("*/__init__.py")
    return {file.parent.name for file in found} - {SHARED}


def faults(root):
    """Every import that the house does not allow, in words."""
    found, tested, folders = [], set(), topics(root)
    notebooks = {n.stem.partition("_")[2]: n for n in (root / "notebooks").glob("[0-9]*.ipynb")}

    def topic_of(name):
        """The notebook's folder that a dotted name leads to, if it leads to one."""
        part = name.removeprefix(f"{COURSE}.").split(".")[0]
        return part if inside(name, COURSE) and part in folders else None

    def look(file, source, *, package="", topic=None, course=True):
        for name in sorted(imported(source, package)):
            where = f"{file.relative_to(root).as_posix()} imports {name}"
            if inside(name, COURSE):
                if not course:
                    found.append(f"{where}: the library and its tests do not know the course")
                elif topic is not None and topic_of(name) not in (None, topic):
                    found.append(f"{where}: only {topic_of(name)}'s own notebook may")
            elif course and is_private(name):
                found.append(f"{where}: the course uses public names only")

    for file in sorted((root / "cgtutor").rglob("*.py")):
        parts = file.relative_to(root / "cgtutor").parts
        source, package = file.read_text(encoding="utf-8"), package_of(file, root)
        course = parts[0] == "course"
        topic = (parts[1] if len(parts) > 2 else None) if course else None
        look(file, source, package=package, topic=topic, course=course)
    for file in sorted((root / "tests").rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        names = imported(source)
        if file.is_relative_to(root / "tests" / "course"):
            used = {topic_of(name) for name in names} & folders
            tested |= used
            if len(used) > 1:
                where = file.relative_to(root).as_posix()
                found.append(f"{where} imports {' and '.join(sorted(used))}: one notebook a file")
        else:
            look(file, source, course=False)
    for name, notebook in sorted(notebooks.items()):
        look(notebook, code_of(notebook), topic=name)
    found += [f"cgtutor/course/{t}/ has no notebook" for t in sorted(folders - set(notebooks))]
    found += [f"cgtutor/course/{t}/ has no tests" for t in sorted(folders - tested)]
    return found


def circle(root):
    """The library's modules that import each other in a circle, or an empty list."""
    library = root / "cgtutor"
    files = [f for f in library.rglob("*.py") if f.relative_to(library).parts[0] != "course"]
    modules = {module_of(file, root): file for file in files}
    graph = {}
    for module, file in modules.items():
        names = imported(file.read_text(encoding="utf-8"), package_of(file, root))
        leads = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = (leads & set(modules)) - {module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


# --------------------------------------------------------------------------- this house


def test_who_imports_whom():
    assert faults(ROOT) == []


def test_the_library_has_no_circle():
    assert circle(ROOT) == []


# ------------------------------------------------------------------- the rules themselves


@pytest.fixture
def house(tmp_path):
    """A sound house of five rooms, and how to change one."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def notebook(path, *sources):
        cells = [{"cell_type": "code", "source": [source]} for source in sources]
        write(path, json.dumps({"cells": cells}))

    write("cgtutor/__init__.py", "from cgtutor.memory import Memory")
    write("cgtutor/memory.py", "from cgtutor._check import check")
    write("cgtutor/_check.py", "import torch")
    write("cgtutor/course/__init__.py", "")
    write("cgtutor/course/shared/__init__.py", "from cgtutor import Memory")
    for i, topic in enumerate(("choosing", "keeping")):
        write(f"cgtutor/course/{topic}/__init__.py", "from cgtutor.course.shared import train")
        write(f"cgtutor/course/{topic}/figures.py", "from . import study\nfrom .. import shared")
        write(f"tests/course/test_{topic}.py", f"from cgtutor.course import {topic}")
        notebook(
            f"notebooks/0{i}_{topic}.ipynb",
            f"%matplotlib inline\nfrom cgtutor.course import {topic}",
            "from cgtutor import Memory, __version__",
        )
    write("tests/test_memory.py", "from cgtutor._check import check\nimport cgtutor.memory")
    write.notebook = notebook
    write.root = tmp_path
    return write


def test_a_sound_house(house):
    assert faults(house.root) == []
    assert circle(house.root) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("cgtutor/memory.py", "import cgtutor.course.shared", "do not know the course"),
        ("cgtutor/memory.py", "from cgtutor import course", "do not know the course"),
        ("cgtutor/optim/sgd.py", "from ..course.shared import train", "do not know the course"),
        ("cgtutor/memory.py", "def f():\n    from . import course", "do not know the course"),
        ("cgtutor/memory.py", "import cgtutor\ncgtutor.course.shared.train()", "do not know"),
        ("tests/test_memory.py", "from cgtutor.course import shared", "do not know the course"),
        ("cgtutor/course/shared/data.py", "from cgtutor._check import check", "public names only"),
        ("cgtutor/course/keeping/study.py", "from cgtutor import _check", "public names only"),
        ("cgtutor/course/keeping/study.py", "from ..._check import check", "public names only"),
        ("cgtutor/course/keeping/study.py", "from cgtutor.memory import _Heap", "public names"),
        ("cgtutor/course/keeping/study.py", "import cgtutor as c\nc.memory._Heap", "public names"),
        ("cgtutor/course/keeping/study.py", "from cgtutor.course import choosing", "only choosing"),
        ("cgtutor/course/keeping/study.py", "from ..choosing import sweep", "only choosing's own"),
        ("cgtutor/course/shared/data.py", "from ..choosing import sweep", "only choosing's own"),
        ("tests/course/test_both.py", "from cgtutor.course import choosing, keeping", "one notebo"),
        ("cgtutor/course/lost/__init__.py", "", "lost/ has no notebook"),
        ("tests/course/test_keeping.py", "", "keeping/ has no tests"),
    ],
    ids=str,
)
def test_rejects(house, path, source, fault):
    house(path, source)
    assert any(fault in found for found in faults(house.root)), faults(house.root)


def test_a_notebook_uses_its_own_folder(house):
    house.notebook("notebooks/00_choosing.ipynb", "from cgtutor.course.keeping import sweep")
    (found,) = faults(house.root)
    assert found == (
        "notebooks/00_choosing.ipynb imports cgtutor.course.keeping.sweep: "
        "only keeping's own notebook may"
    )


def test_sees_a_circle(house):
    house("cgtutor/_check.py", "from typing import TYPE_CHECKING\nfrom cgtutor import memory")
    assert set(circle(house.root)) == {"cgtutor.memory", "cgtutor._check"}
