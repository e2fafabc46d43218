"""What stands in a notebook, and what an explorer draws."""

import ast
import base64
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def defined_in(number, name):
    """A function that a notebook defines in one of its cells, with what the notebook imports."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    nodes = [node for cell in cells[1:] for node in ast.parse(cell.source).body]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    (wanted,) = [n for n in nodes if isinstance(n, ast.FunctionDef) and n.name == name]
    namespace = {}
    exec(compile(ast.Module([*imports, wanted], []), str(path), "exec"), namespace)
    return namespace[name]


def drawn_by(explorer, name, monkeypatch):
    """A list that gets every figure that a module of explorers draws with one of its functions."""
    drawn, draw = [], getattr(explorer, name)

    def noted(*arguments, **options):
        drawn.append(draw(*arguments, **options))
        return drawn[-1]

    monkeypatch.setattr(explorer, name, noted)
    return drawn


def shows(explorer, figure):
    """Whether an explorer shows this very picture."""
    png = base64.b64encode(figure.png(scale=1, colours=None)).decode()
    return f"data:image/png;base64,{png}" in explorer.picture.value
