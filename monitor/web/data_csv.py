"""The items that went through nodes as a table: a row for each item, a column for each member that any of them has.

Pure. An item of the API is an object whose `json` holds its members; engines that send bare values are shown as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from monitor.errors import TooLarge
from monitor.executions.contents import MAX_PAGE_BYTES, NodeRun
from monitor.web.csv_cells import csv_line
from monitor.web.native import node_name

_FIXED: Final = ("nodeId", "nodeName", "direction", "item")
_MOST_CELLS: Final = 1_000_000
"""A second's work."""


def data_csv(runs: Sequence[NodeRun]) -> bytes:
    """The table. A member that is called as one of the first four columns stands under `json.NAME`.

    Raises TooLarge: it is never cut short.
    """
    if sum(run.size_bytes for run in runs) > MAX_PAGE_BYTES:
        raise too_large()
    rows = [row for run in runs for row in _rows(run)]
    members = list(dict.fromkeys(member for _, row in rows for member in row))
    if len(rows) * (len(_FIXED) + len(members)) > _MOST_CELLS:
        raise too_large()
    header = [*_FIXED, *(f"json.{member}" if member in _FIXED else member for member in members)]
    lines = (csv_line([*place, *(row.get(member) for member in members)]) for place, row in rows)
    return b"".join([csv_line(header), *lines])


def _rows(run: NodeRun) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Of each item where it stands, and its members."""
    for direction, payload in (("input", run.input), ("output", run.output)):
        told = None if payload is None else msgspec.json.decode(payload)
        items = told if isinstance(told, list) else [] if told is None else [told]
        for place, item in enumerate(items):
            yield (run.key[0], node_name(run), direction, place), _members(item)


def _members(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        return {"value": item}
    said = item.get("json")
    return said if isinstance(said, dict) else item


def too_large() -> TooLarge:
    """What refuses a table that would not be whole."""
    return TooLarge("this is too much for one CSV; ask for one node ('nodeId') or format=json", field="format")
