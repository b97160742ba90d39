"""`monitor ls`: executions as a table for people, or as they came for programs."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from rich.text import Text

from monitor.cli.frame_line import STYLES
from monitor.cli.screen import Screen
from monitor.cli.service import Away, Query, Service, open_service
from monitor.cli.tail import condition
from monitor.errors import Unavailable
from monitor.telemetry.logs import printable

Row = dict[str, Any]

_PAGE: Final = 100
_MOST_WIDTH: Final = 60
"""Of a name or an error: what is longer ends in dots."""


class Wanted(NamedTuple):
    """What the command line asks for."""

    workflows: Sequence[str] = ()
    statuses: Sequence[str] = ()
    conditions: Sequence[str] = ()
    # 1d, 7d or 30d.
    within: str | None = None
    text: str | None = None
    sort: str | None = None
    # How many; None = all.
    limit: int | None = 20


def query_of(wanted: Wanted) -> Query:
    """The question to lists and exports. Raises Unwatchable for a condition that is none."""
    named = {"filter[workflowId]": ",".join(wanted.workflows), "filter[status]": ",".join(wanted.statuses)}
    single = {"filter[dateRange]": wanted.within, "q": wanted.text, "sort": wanted.sort}
    said = {name: value for name, value in (named | single).items() if value}
    return [*said.items(), *map(condition, wanted.conditions)]


async def ls(url: str, wanted: Wanted, token: str | None, *, as_json: bool) -> int:
    """Print executions; returns 0. Raises Unavailable, and Refused for what cannot be asked."""
    screen = Screen()
    async with open_service(url, token) as service:
        try:
            rows, total = await _rows(service, query_of(wanted), wanted.limit)
        except Away as away:
            raise Unavailable(f"{url} does not answer: {away.reason}") from None
    if as_json:
        screen.show_json(msgspec.json.encode({"data": rows, "total": total["total"], **_bound(total)}))
        return 0
    for line in table(rows):
        screen.show(line)
    more = total["total"] - len(rows)
    if more > 0:
        at_least = "at least " if _bound(total) else ""
        screen.note(f"{at_least}{more} more; --limit {total['total']} or --all shows them")
    return 0


async def _rows(service: Service, query: Query, limit: int | None) -> tuple[list[Row], Row]:
    rows: list[Row] = []
    cursor: list[tuple[str, str]] = []
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(rows))
        answer = await service.read("/v1/executions", [*query, ("limit", str(size)), *cursor])
        page = answer.document["pagination"]
        rows += answer.document["data"]
        if not page["hasMore"] or len(rows) == limit:
            return rows, page
        cursor = [("cursor", page["nextCursor"])]


def _bound(page: Row) -> Row:
    return {"totalIsLowerBound": True} if page.get("totalIsLowerBound") else {}


def table(rows: Sequence[Row]) -> list[Text]:
    """A line for each, under a heading; columns are as wide as what stands in them."""
    cells = [("STATUS", "STARTED", "TOOK", "WORKFLOW", "ID", "ERROR"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for number, row in enumerate(cells):
        line = Text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        line.stylize("bold" if not number else STYLES.get(row[0], ""), 0, None if not number else len(row[0]))
        lines.append(line)
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    error = row.get("error") or {}
    said = ": ".join(filter(None, (error.get("type"), error.get("message"))))
    started, duration = row.get("startedAt") or row["createdAt"], row.get("duration")
    took = "" if duration is None else f"{duration:.1f} s"
    name = row.get("workflowName") or row["workflowId"]
    return (row["status"], started[:19] + "Z", took, _short(name), printable(row["id"]), _short(said))


def _short(text: str) -> str:
    shown = printable(" ".join(text.split()))
    return shown if len(shown) <= _MOST_WIDTH else f"{shown[: _MOST_WIDTH - 3]}..."
