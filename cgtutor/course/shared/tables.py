"""Tables, the way notebooks show them."""

from collections.abc import Sequence


class Table:
    """A table made by :func:`table`."""

    def __init__(self, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
        self.rows, self.columns = rows, columns

    def _lines(self, rule: str) -> list[str]:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows)]

        def line(cells: Sequence[str]) -> str:
            first, *others = (
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(cells, widths))
            )
            return " | ".join([first, *others])

        rules = [rule * width for width in widths]
        return [line(self.columns), line(rules), *map(line, self.rows)]

    def __repr__(self) -> str:
        return "\n".join(line.rstrip() for line in self._lines("-"))

    def _repr_markdown_(self) -> str:
        rows = [[cell.replace("|", r"\|") for cell in row] for row in (self.columns, *self.rows)]
        rule = [":--", *["--:"] * (len(self.columns) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def table(rows: Sequence[Sequence[object]], columns: Sequence[str]) -> Table:
    """A table that notebooks show as one, and a terminal as aligned text.

    Args:
        rows: of cells; numbers are written by ``str``, so format those that need it.
        columns: their headings. The first column is aligned to the left, the others to the right.

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
