"""A table is one in a notebook, and aligned in a terminal."""

import pytest

from cgtutor.course.shared.tables import table


def test_markdown():
    made = table([("a|b", 1.5, "-"), ("c", "−20 %", "2")], ["name", "value", "note"])
    assert made._repr_markdown_() == (
        "| name | value | note |\n| :-- | --: | :-- |\n| a\\|b | 1.5 | - |\n| c | −20 % | 2 |"
    )
    assert repr(made) == (
        "name | value | note\n---- | ----- | ----\na|b  |   1.5 | -\nc    | −20 % | 2"
    )


def test_one_column_and_no_rows():
    assert repr(table([], ["name"])) == "name\n----"


def test_rows_fit_the_columns():
    with pytest.raises(ValueError, match=r"rows: takes 2 cells in each row, got \('a',\)"):
        table([("a",)], ["name", "value"])
