"""CSV (RFC 4180) for people who open it in a spreadsheet: a cell that would be a formula there stays text.

Text that begins like a formula, or with what a spreadsheet skips in front of one, gets an apostrophe in front (OWASP,
CSV injection). Numbers that are numbers are left as they are.
"""

import csv
import io
from collections.abc import Iterable
from typing import Any, Final

import msgspec

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_line(cells: Iterable[Any]) -> bytes:
    """One line, with its end. None is an empty cell; lists and objects are JSON."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([_cell(value) for value in cells])
    return written.getvalue().encode(errors="replace")


def neutral(text: str) -> str:
    """`text`, which no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return neutral(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, int | float):
        return value
    return neutral(msgspec.json.encode(value).decode())
