"""Lines of an n8n event log: bytes in; what they say about executions, or a refusal with its place, out.

n8n writes one JSON object a line: an event (`id`, `ts`, `eventName`, `payload`), then one that confirms its dispatch.
Promises: never raises, whatever the bytes; every line is told, silent (it says nothing about an execution) or refused.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

from monitor.events.codec import parse_time_us


class Refused(NamedTuple):
    """A line that could not be translated, and why. `place` is file:line."""

    place: str
    reason: str


class Node(NamedTuple):
    """The node that a line speaks of."""

    id: str
    name: str
    type: str


class Line(NamedTuple):
    """A well-formed line about one execution."""

    place: str
    id: str
    time_us: int
    # One of TELLING.
    name: str
    # n8n's number of the execution, unique within one instance.
    execution: str
    workflow_id: str | None
    # Set on the lines of nodes, None on all others.
    node: Node | None
    payload: dict[str, Any]


TELLING: Final = frozenset(
    {
        "workflow.started",
        "workflow.success",
        "workflow.failed",
        "workflow.cancelled",
        "node.started",
        "node.finished",
        "audit.workflow.waiting",
        "audit.workflow.resumed",
        "queue.job.enqueued",
        "queue.job.dequeued",
        "queue.job.stalled",
        "execution.throttled",
        "runner.task.requested",
        "runner.response.received",
    }
)
"""Event names, without their prefix `n8n.`, that tell something about an execution."""

SILENT: Final = frozenset(
    {
        # `mode` of workflow.started says the same; and here come names and addresses of people.
        "audit.workflow.executed",
        # The job's end repeats the execution's.
        "queue.job.completed",
        "queue.job.failed",
        "execution.started-during-bootup",
    }
)
"""Event names that carry an execution's number and tell nothing new about it."""

_SILENT_FAMILY: Final = "ai."
"""Inner steps of agents: model calls, tools, vector stores. The nodes themselves have their own lines."""

_CONFIRMATION: Final = "$$EventMessageConfirm"

_LONGEST_ID: Final = 100
"""n8n's ids are UUIDs; room is left for what is appended to them within the 256 characters of an event id."""

_LONGEST_NUMBER: Final = 20


class _Raw(msgspec.Struct):
    kind: str = msgspec.field(name="__type")
    id: str = ""
    ts: str = ""
    name: str = msgspec.field(name="eventName", default="")
    payload: dict[str, Any] = {}


_decoder: Final = msgspec.json.Decoder(_Raw)


def read_lines(file: str, lines: Iterable[bytes]) -> Iterator[Line | Refused]:
    """What the lines of `file` tell, in order; silent and empty ones are left out."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            told = _read(f"{file}:{number}", line)
            if told is not None:
                yield told


def _read(place: str, line: bytes) -> Line | Refused | None:
    try:
        raw = _decoder.decode(line)
        return None if _is_silent(raw) else _line(place, raw)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        return Refused(place, str(error))


def _is_silent(raw: _Raw) -> bool:
    name = raw.name.removeprefix("n8n.")
    if raw.kind == _CONFIRMATION or name in SILENT or name.startswith(_SILENT_FAMILY):
        return True
    return name not in TELLING and "executionId" not in raw.payload


def _line(place: str, raw: _Raw) -> Line:
    """Raises ValueError with the reason of a refusal."""
    name = raw.name.removeprefix("n8n.")
    if name not in TELLING:
        raise ValueError(f"the event name '{raw.name}' is unknown, yet it is about an execution")
    if not _is_id(raw.id):
        raise ValueError("'id' is missing or is no id")
    try:
        time_us = parse_time_us(raw.ts)
    except ValueError as error:
        raise ValueError(f"'ts' {error}") from None
    workflow_id = raw.payload.get("workflowId")
    return Line(
        place,
        raw.id,
        time_us,
        name,
        _execution(raw.payload.get("executionId")),
        workflow_id if _is_id(workflow_id) else None,
        _node(raw.payload) if name.startswith("node.") else None,
        raw.payload,
    )


def _execution(said: object) -> str:
    number = str(said) if type(said) is int else said
    if isinstance(number, str) and len(number) <= _LONGEST_NUMBER and number.isascii() and number.isdecimal():
        return number
    raise ValueError("'payload.executionId' is not the number of an execution")


def _node(payload: dict[str, Any]) -> Node:
    name, kind = payload.get("nodeName"), payload.get("nodeType")
    # Old versions wrote no `nodeId`; names are unique within a workflow.
    node_id = payload.get("nodeId", name)
    if not _is_id(node_id):
        raise ValueError("'payload' names no node")
    return Node(node_id, name if isinstance(name, str) else node_id, kind if isinstance(kind, str) else "")


def _is_id(said: object) -> TypeGuard[str]:
    return isinstance(said, str) and 0 < len(said) <= _LONGEST_ID and said.isprintable()
