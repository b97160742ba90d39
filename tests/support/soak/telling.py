"""What the soak tells the service: varied histories of many workflows with progress, bursts of log lines and conflicts.

Every event is registered before it is sent, so that a client can say at any moment what had been told by then. A pure
function of the seed.
"""

import random
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from monitor.events.model import Entry
from tests.support.made_up import VARIED, WireEvent
from tests.support.traffic import traffic

WORKFLOWS: Final = tuple(f"wf_{number}" for number in range(1, 101))

HOT: Final = WORKFLOWS[0]
"""About every sixth event is of this workflow: its readers fall behind when they stall."""

_SPELLED: Final = 120
"""Workflows that the histories name; those beyond the hundredth are the hot one."""

_STREAMS: Final = 8
"""Traffic repeats its shapes; several kinds of it together reach every workflow."""

_MIX: Final = replace(VARIED, workflows=_SPELLED, anonymous=0.0, terse=0.0)
"""Events without an id could not be followed, and those without a workflow have no channel before another names it."""

_LINE_BITS: Final = 10
"""Of a line's number: its place in its event."""

_SHARED: Final = ("executionId", "workflowId", "timestamp", "epoch")
_ENDS: Final = ("execution.completed", "execution.failed", "execution.cancelled")


class Told:
    """What was told so far, each event once: events have numbers in the order in which they are told first."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        """By the event's id."""
        self.lines = array("H")
        """How many log lines the event with this number has."""

    @property
    def count(self) -> int:
        """How many events were told, or are being told now."""
        return len(self.lines)

    def register(self, event: WireEvent) -> bool:
        """Note an event; whether it is the first time."""
        if event["id"] in self.numbers:
            return False
        self.numbers[event["id"]] = self.count
        self.lines.append(len(event.get("data", {}).get("lines", ())))
        return True

    def line_number(self, message: str) -> int:
        """The number of the log line that has this text."""
        event_id, _, place = message.split(" ", 1)[0].partition("#")
        return numbered(self.numbers[event_id], int(place))


def numbered(event: int, place: int) -> int:
    """The number of the line at this place of an event."""
    return event << _LINE_BITS | place


def event_of(line: int) -> int:
    """The event that a line belongs to."""
    return line >> _LINE_BITS


def batches(seed: int, told: Told, events: int, active: int = 30) -> Iterator[list[Entry]]:
    """Batches of uneven size, registered in `told` as they are taken, until about `events` events are told.

    `active`: executions of each kind that run at once; the fewer, the sooner they end.
    """
    chance = random.Random(f"{seed}/batches")
    coming = _interleaved(seed, chance, active)
    while told.count < events:
        entries: list[Entry] = []
        for _ in range(chance.randint(1, 200)):
            entries += map(_entry, _with_company(next(coming), chance, told))
        yield entries


def closing(told: Told) -> list[Entry]:
    """An event of every workflow that nearly everybody wants: its reader has everything before it."""
    events = [_closing(workflow) for workflow in WORKFLOWS]
    for event in events:
        told.register(event)
    return [_entry(event) for event in events]


def closing_id(workflow: str) -> str:
    """The execution that closes a workflow."""
    return f"last-{workflow}"


def _closing(workflow: str) -> WireEvent:
    name = closing_id(workflow)
    event = {"type": "execution.failed", "executionId": name, "workflowId": workflow, "id": f"{name}:1"}
    return {**event, "timestamp": "2026-11-22T10:30:00.000Z", "data": {"status": "failed"}}


def _interleaved(seed: int, chance: random.Random, active: int) -> Iterator[WireEvent]:
    streams = [
        traffic(seed * _STREAMS + number, mix=_MIX, active=active, window=20, duplicates=0.03)
        for number in range(_STREAMS)
    ]
    while True:
        event: WireEvent = orjson.loads(next(chance.choice(streams)).value)
        if event["workflowId"] not in WORKFLOWS:
            event["workflowId"] = HOT
        yield _with_numbered_lines(event)


def _with_numbered_lines(event: WireEvent) -> WireEvent:
    """Each line says of which event it is, and where."""
    for place, line in enumerate(event["data"].get("lines", ())):
        line["message"] = f"{event['id']}#{place} {line['message']}"
    return event


def _with_company(event: WireEvent, chance: random.Random, told: Told) -> Iterator[WireEvent]:
    """The event, and what else is told because of it if it is new. Repeats come alone."""
    is_new = told.register(event)
    yield event
    for other in _company(event, chance) if is_new else ():
        told.register(other)
        yield other


def _company(event: WireEvent, chance: random.Random) -> Iterator[WireEvent]:
    kind, share = event["type"], chance.random()
    if kind == "node.completed" and share < 0.25:
        yield from _progress(event, 12 if share < 0.01 else 2)
    elif kind == "node.started" and share < 0.004:
        yield from _chatter(event)
    elif kind in _ENDS and share < 0.03:
        other = "execution.cancelled" if kind == "execution.completed" else "execution.completed"
        yield _beside(event, other, "second", {})


def _progress(event: WireEvent, reports: int) -> Iterator[WireEvent]:
    """How far the execution is, and its node."""
    for number in range(reports):
        said = {"completed": number, "total": reports, "message": f"{number} of {reports}"}
        yield _beside(event, "execution.progress", f"p{number}", said)
        if number % 2:
            yield _beside(event, "node.progress", f"n{number}", {"nodeId": event["data"]["nodeId"], **said})


def _chatter(event: WireEvent) -> Iterator[WireEvent]:
    """More lines at once than a stream takes of one execution."""
    for number in range(16):
        said = {"lines": [{"level": "debug", "message": f"line {place}"} for place in range(25)]}
        yield _with_numbered_lines(_beside(event, "log.appended", f"l{number}", said))


def _beside(event: WireEvent, kind: str, mark: str, data: dict[str, Any]) -> WireEvent:
    """Another event of the same execution and time, of a source that does not count."""
    members: WireEvent = {
        name: event[name] for name in ("executionId", "workflowId", "timestamp", "epoch") if name in event
    }
    return {**members, "type": kind, "id": f"{event['id']}/{mark}", "source": "meter", "data": data}


def _entry(event: WireEvent) -> Entry:
    return Entry(event["executionId"].encode(), orjson.dumps(event))
