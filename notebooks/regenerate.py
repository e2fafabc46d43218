"""Run notebooks from a fresh kernel and store what they print and draw, always in the same form.

    python notebooks/regenerate.py                   # all of them, in place
    python notebooks/regenerate.py 01_first_steps.ipynb
    python notebooks/regenerate.py --check           # change nothing; fail where they differ

A second run gives the same bytes on the same machine. ``--check`` compares pictures by what
they show, since another machine may round a pixel differently, and all else to the letter;
``pytest`` makes the same comparison while it runs the notebooks (see conftest.py).
"""

import argparse
import base64
import copy
import io
import os
import re
import sys
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
from nbclient import NotebookClient
from nbformat import NotebookNode

from cgtutor.course.shared.boxes import BOXES

HERE = Path(__file__).parent
#: The README's picture is the one that this tag's cell draws.
PICTURE, PICTURE_TAG = HERE.parent / ".github" / "memory.png", "readme-picture"
#: What this tag's cell draws was measured, and differs from run to run.
MEASURED_TAG = "measured"
OUTPUT = "the output"
EMBEDDED = re.compile(r"data:image/png;base64,([A-Za-z0-9+/=]+)")
WIDGET = "application/vnd.jupyter.widget-view+json"


def executed(path: Path) -> NotebookNode:
    """The notebook run top to bottom in a new kernel, normalised."""
    notebook = normalised(nbformat.read(path, as_version=4))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the kernel: sums in one order
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    return normalised(notebook)


def normalised(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what changes from run to run or from editor to editor."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if "set-up" in tags:  # folded, in JupyterLab and in Colab
            cell.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
        for tag in BOXES.keys() & set(tags):
            cell.source = BOXES[tag]
        if cell.cell_type == "code":
            cell.outputs = normalised_outputs(cell.outputs)
    return notebook


def worth_keeping(output: NotebookNode) -> bool:
    """Whether an output still says something afterwards, as a progress bar does not."""
    return not re.search(r"\d+%\|", output.get("data", {}).get("text/plain", ""))


def normalised_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs of a cell in the one form that is stored."""
    kept: list[NotebookNode] = []
    for output in filter(worth_keeping, outputs):
        if output.output_type == "stream":
            if output.name == "stderr":
                raise SystemExit(f"A notebook must not warn, but one says:\n{output.text}")
            if kept and kept[-1].output_type == "stream":  # split wherever the kernel flushed
                kept[-1].text += output.text
                continue
        else:
            picture = output.metadata.get("image/png", {})
            stays = {k: v for k, v in picture.items() if k in ("alt", "width")}
            output.metadata = NotebookNode({"image/png": stays} if stays else {})
            output.data.pop(WIDGET, None)  # refers to a widget that lives in the kernel
        kept.append(output)
    return kept


def store_readme_picture(notebook: NotebookNode) -> None:
    """Keep the README's picture that of its notebook, if this is the one."""
    for cell in notebook.cells:
        if PICTURE_TAG in cell.metadata.get("tags", []):
            png = next(
                o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})
            )
            PICTURE.write_bytes(base64.b64decode(png))


def differences(stored: NotebookNode, fresh: NotebookNode) -> list[str]:
    """Where two notebooks differ, in words; empty if they show the same."""
    if len(stored.cells) != len(fresh.cells):
        return ["the number of cells"]
    found = [] if stored.metadata == fresh.metadata else ["the notebook's metadata"]
    for i, (old, new) in enumerate(zip(stored.cells, fresh.cells)):
        if what := difference(old, new):
            line = new.source.strip().splitlines()[0]
            found.append(f"cell {i}: {line}" if what == OUTPUT else f"{what} in cell {i}: {line}")
    return found


def difference(stored: NotebookNode, fresh: NotebookNode) -> str:
    """What differs in a cell: its output, a picture, or nothing."""
    old, new = copy.deepcopy(stored), copy.deepcopy(fresh)
    pictures = [_taken_out(cell) for cell in (old, new)]
    if old != new or len(pictures[0]) != len(pictures[1]):
        return OUTPUT
    if MEASURED_TAG in new.metadata.get("tags", []):
        return ""  # a picture of times, and times are never the same
    return "" if all(map(_same_picture, *pictures)) else "a picture"


def _taken_out(cell: NotebookNode) -> list[str]:
    """The pictures of a cell, which holds all the rest alone afterwards."""
    taken: list[str] = []
    for data in (o.data for o in cell.get("outputs", []) if "data" in o):
        if "image/png" in data:
            taken.append(data.pop("image/png"))
        if "text/html" in data:  # the pictures of a player
            taken += EMBEDDED.findall(data["text/html"])
            data["text/html"] = EMBEDDED.sub("", data["text/html"])
    return taken


def _same_picture(one: str, other: str) -> bool:
    a, b = (matplotlib.image.imread(io.BytesIO(base64.b64decode(p))) for p in (one, other))
    return a.shape == b.shape and float(np.abs(a - b).mean()) < 1e-3


def main() -> None:
    """Parse the command line and do as it says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in this folder")
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    arguments = parser.parse_args()
    failed = False
    for path in arguments.notebooks or sorted(HERE.glob("*.ipynb")):
        path = path if path.exists() else HERE / path
        fresh = executed(path)
        if arguments.check:
            found = differences(nbformat.read(path, as_version=4), fresh)
            print(f"{path.name}: " + ("; ".join(found) + " differs" if found else "up to date"))
            failed |= bool(found)
        else:
            nbformat.write(fresh, path)
            store_readme_picture(fresh)
            print(f"{path.name}: stored")
    sys.exit(failed)


if __name__ == "__main__":
    main()
