"""What a spreadsheet would calculate stays text, and what was written is read again."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.web.csv_cells import csv_line


def read(line: bytes) -> list[str]:
    """The cells, as another program reads them."""
    [row] = csv.reader(io.StringIO(line.decode(), newline=""))
    return row


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        '=HYPERLINK("http://evil";"x")',
        "＝1",
        "＋1",
        "－1",
        "＠x",
    ],
)
def test_formulas_become_text(formula: str) -> None:
    """Whatever follows the first character."""
    assert read(csv_line([formula])) == [f"'{formula}"]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (-1.5, "-1.5"),
        (0, "0"),
        (True, "true"),
        ("a,b", "a,b"),
        ('say "hi"', 'say "hi"'),
        ("two\r\nlines", "two\r\nlines"),
        (["=1"], '["=1"]'),
        ({"a": None}, '{"a":null}'),
        (" =1", " =1"),
        ("\ud800", "?"),
    ],
)
def test_other_values_keep_their_form(value: Any, cell: str) -> None:
    """Numbers are numbers, also below zero."""
    assert read(csv_line([value, "x"])) == [cell, "x"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_text_survives(cells: list[str]) -> None:
    """But for the apostrophe; one line ends with CR LF."""
    line = csv_line(cells)
    assert line.endswith(b"\r\n")
    assert [cell.removeprefix("'") for cell in read(line)] == [cell.removeprefix("'") for cell in cells]
