"""Tables, the way notebooks show them."""

import re
from collections.abc import Sequence


class Table:
    """A table made by :func:`table`."""

    def __init__(self, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
        self.rows, self.columns = rows, columns

    def _to_the_right(self) -> list[bool]:
        """Which columns hold numbers alone, whose ends should be below each other."""
        columns = list(zip(*self.rows)) or [()] * len(self.columns)
        return [bool(c) and all(re.match(r"[+±−-]?\.?\d", cell) for cell in c) for c in columns]

    def _lines(self, rule: str) -> list[str]:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows)]
        right = self._to_the_right()

        def line(cells: Sequence[str]) -> str:
            return " | ".join(
                cell.rjust(width) if to_the_right else cell.ljust(width)
                for cell, width, to_the_right in zip(cells, widths, right)
            )

        rules = [rule * width for width in widths]
        return [line(self.columns), line(rules), *map(line, self.rows)]

    def __repr__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines("-"))

    def _repr_markdown_(self) -> str:
        rows = [[cell.replace("|", r"\|") for cell in row] for row in (self.columns, *self.rows)]
        rule = ["--:" if right else ":--" for right in self._to_the_right()]
        return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def table(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> Table:
    """A table that notebooks show as one, and a terminal as aligned text.

    Args:
        rows: of cells; numbers are written by ``str``, so format those that need it.
        columns: their headings. Columns of numbers are aligned to the right, others to the left.

    Raises:
        ValueError: a row has another number of cells than there are columns.

    >>> table([("SGD", 0.5), ("SGD_C", 0.25)], ["optimizer", "loss"])
    optimizer | loss
    --------- | ----
    SGD       |  0.5
    SGD_C     | 0.25
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"rows: takes {len(columns)} cells in each row, got {row!r}")
    return Table([[str(cell) for cell in row] for row in rows], columns)
