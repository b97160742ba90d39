"""What the real n8n 2.41.1 answered, the same executions as its log told of them by then, and how two answers differ.

`tests/data/n8n/public-api.json` holds requests to its public API with status and answer, in the order they were made;
`at` is the time in seconds since 1970. Items, errors and the workflow were emptied: only their place counts.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from monitor.sources.n8n_log import translate

FOLDER: Final = Path(__file__).parents[1] / "data" / "n8n"
LOGS: Final = ("regular-1.log", "regular-2.log")
INSTANCE: Final = "n8n"

OPAQUE: Final = frozenset({"json", "error", "workflowData", "metadata", "runtimeData", "parentExecution"})
"""Members whose own members are not compared."""

RUNS: Final = "data.resultData.runData"
NODES: Final = "node"
ITEMS: Final = {"data": "", NODES: "run", "run.data.main": "output", "output": "item", "": "tag"}
"""What an item of a list is called, by what the list is called."""

SAME: Final = frozenset({"status", "mode", "workflowId", "finished", "waitTill", "run.executionStatus"})
"""Members whose values are the same, since the executions are."""

Capture = dict[str, Any]


@cache
def captures() -> tuple[Capture, ...]:
    """All of them."""
    return tuple(json.loads((FOLDER / "public-api.json").read_text(encoding="utf-8")))


@cache
def _lines() -> tuple[tuple[float, bytes], ...]:
    raw = [line for name in LOGS for line in (FOLDER / name).read_bytes().splitlines()]
    return tuple((datetime.fromisoformat(json.loads(line)["ts"]).timestamp(), line) for line in raw)


def told_until(at: float) -> list[dict[str, Any]]:
    """The events of the log up to a time, with the items that finished nodes made, which the log leaves out."""
    lines = [line for time, line in _lines() if time <= at]
    events = translate([("n8n.log", lines)], INSTANCE, backfill=False).events
    for event in events:
        if event["type"] in ("node.completed", "node.waiting"):
            event["data"]["outputData"] = [{"json": {}}]
    return events


def differences(theirs: Any, ours: Any, at: str = "") -> Iterator[str]:
    """`-member` for one that ours has not, `+member` for one that theirs has not, `~member` for one of another type,
    `?member` for one that is null in one of them, `=member` for one of another value, where values are of no moment.

    Members of executions are named alike wherever the execution stands; items of lists are matched by id where they
    have one.
    """
    if isinstance(theirs, dict) and isinstance(ours, dict):
        yield from _of_objects(theirs, ours, at)
    elif isinstance(theirs, list) and isinstance(ours, list):
        for one, other in _pairs(theirs, ours):
            yield from differences(one, other, ITEMS.get(at, at))
    elif (theirs is None) is not (ours is None):
        yield f"?{at}"
    elif _kind(theirs) is not _kind(ours):
        yield f"~{at}"
    elif at in SAME and theirs != ours:
        yield f"={at}"


def _of_objects(theirs: dict[str, Any], ours: dict[str, Any], at: str) -> Iterator[str]:
    if at.rpartition(".")[2] in OPAQUE:
        return
    for name in {**theirs, **ours}:
        inner = NODES if at == RUNS else f"{at}.{name}".removeprefix(".")
        if name not in ours:
            yield f"-{inner}"
        elif name not in theirs:
            yield f"+{inner}"
        else:
            yield from differences(theirs[name], ours[name], inner)


def _pairs(theirs: list[Any], ours: list[Any]) -> Iterator[tuple[Any, Any]]:
    if theirs and all(isinstance(it, dict) and it.get("id", "").isdigit() for it in theirs):
        by_id = {it["id"]: it for it in ours}
        return ((it, by_id[f"{INSTANCE}:{it['id']}"]) for it in theirs if f"{INSTANCE}:{it['id']}" in by_id)
    return zip(theirs, ours, strict=False)


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
