"""`monitor quarantine`: what could not be applied, and what is to become of it, through a running service."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import msgspec
from rich.text import Text

from monitor.cli.screen import Screen
from monitor.cli.service import Away, Query, Refused, Service, open_service
from monitor.errors import Unavailable
from monitor.telemetry.logs import printable

Row = dict[str, Any]

_PAGE: Final = 100
_MOST_WIDTH: Final = 60
"""Of a message: what is longer ends in dots."""


async def ls(url: str, token: str | None, query: Query, limit: int, *, as_json: bool) -> int:
    """Print the latest records that fit; returns 0. Raises Unavailable, and Refused for what cannot be asked."""
    screen = Screen()
    async with _asked(url, token) as service:
        rows, has_more = await _rows(service, query, limit)
    if as_json:
        screen.show_json(msgspec.json.encode({"data": rows, "hasMore": has_more}))
        return 0
    cells = [("ID", "STATE", "STORED", "PLACE", "REASON", "MESSAGE"), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        screen.show(Text("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()))
    if has_more:
        screen.note("there are more; --limit shows them")
    return 0


async def show(url: str, token: str | None, id_: str, *, reveal: bool, as_json: bool) -> int:
    """Print one record with its bytes."""
    screen = Screen()
    async with _asked(url, token) as service:
        query = [("reveal", "true")] if reveal else []
        row = (await service.read(f"/v1/quarantine/{quote(id_, safe='')}", query)).document
    if as_json:
        screen.show_json(msgspec.json.encode(row))
        return 0
    for name, said in _members(row):
        screen.show(Text(f"{name + ':':<9}{printable(said)}"))
    if row["value"] is not None:
        for line in _lines(row["value"]):
            screen.show(Text(line))
    return 0


async def decide(url: str, token: str | None, ids: Sequence[str], action: str, *, as_json: bool) -> int:
    """Accept or replay records, and print each; 1 when some could not be, for a reason that stderr names."""
    screen = Screen()
    done: list[Row] = []
    async with _asked(url, token) as service:
        for id_ in ids:
            try:
                done.append(await service.tell("POST", f"/v1/quarantine/{quote(id_, safe='')}/{action}"))
            except Refused as refused:
                if not refused.refusal:
                    raise
                screen.note(f"{id_}: {refused}")
            else:
                if not as_json:
                    screen.show(Text(printable(f"{done[-1]['id']} is {done[-1]['state']}")))
    if as_json:
        screen.show_json(msgspec.json.encode({"data": done}))
    return 0 if len(done) == len(ids) else 1


async def resume(url: str, token: str | None, partitions: Sequence[int], *, as_json: bool) -> int:
    """Let these partitions go on, without any all that stand still, and say what that did."""
    screen = Screen()
    async with _asked(url, token) as service:
        found = (await service.read("/v1/quarantine/halts")).document["data"]
        wanted = partitions or [row["partition"] for row in found]
        done = [await service.tell("POST", "/v1/quarantine/resume", {"partition": it}) for it in wanted]
    if as_json:
        screen.show_json(msgspec.json.encode({"data": done}))
        return 0
    for row in done:
        went_on = f"goes on; {row['accepted']} records are accepted" if row["resumed"] else "did not stand still"
        screen.show(Text(f"partition {row['partition']} {went_on}"))
    if not done:
        screen.note("no partition stands still")
    return 0


@asynccontextmanager
async def _asked(url: str, token: str | None) -> AsyncIterator[Service]:
    async with open_service(url, token) as service:
        try:
            yield service
        except Away as away:
            raise Unavailable(f"{url} does not answer: {away.reason}") from None


async def _rows(service: Service, query: Query, limit: int) -> tuple[list[Row], bool]:
    rows: list[Row] = []
    cursor: list[tuple[str, str]] = []
    while True:
        size = min(_PAGE, limit - len(rows))
        document = (await service.read("/v1/quarantine", [*query, ("limit", str(size)), *cursor])).document
        rows += document["data"]
        if not document["pagination"]["hasMore"] or len(rows) == limit:
            return rows, document["pagination"]["hasMore"]
        cursor = [("cursor", document["pagination"]["nextCursor"])]


def _cells(row: Row) -> tuple[str, ...]:
    message = printable(" ".join(row["message"].split()))
    short = message if len(message) <= _MOST_WIDTH else f"{message[: _MOST_WIDTH - 3]}..."
    return (row["id"], row["state"], row["storedAt"][:19] + "Z", _place(row), row["reason"], short)


def _place(row: Row) -> str:
    return f"{row['partition']}/{row['offset']}"


def _members(row: Row) -> list[tuple[str, str]]:
    decided = f" by {row['decidedBy']} at {row['decidedAt']}" if row["decidedAt"] else ""
    return [
        ("id", row["id"]),
        ("state", f"{row['state']}{decided}"),
        ("place", f"partition {row['partition']}, offset {row['offset']}"),
        ("stored", row["storedAt"]),
        ("reason", row["reason"]),
        ("field", row["field"] or "-"),
        ("message", row["message"]),
        ("key", _told(row["key"])),
        ("value", "none" if row["value"] is None else f"{row['size']} bytes"),
    ]


def _told(said: Row | None) -> str:
    return "none" if said is None else said["text"] if said["text"] is not None else f"base64 {said['base64']}"


def _lines(said: Row) -> list[str]:
    """The value as text where it is some, else as numbers."""
    if said["text"] is not None:
        return [printable(line) for line in said["text"].splitlines()]
    raw = base64.b64decode(said["base64"])
    return [f"{at:08x}  {raw[at : at + 16].hex(' ')}" for at in range(0, len(raw), 16)]
