"""Histories folded as a store would keep them, and the status that the rules define for a set of events.

Shared by the property tests of the fold and by the mutants that they must catch.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from monitor.events.codec import decode, format_time, parse_time_us
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.events.types import DERIVED, MONITOR_SOURCE, TYPES, reported_status, status_rank
from monitor.projections.commands import Command, merged
from monitor.projections.execution import Execution, Node, NodeKey
from monitor.projections.fold import Changes, fold
from monitor.projections.loglines import LogLine
from monitor.projections.statistics import Cell
from monitor.projections.view import summary
from tests.support.clocks import NOON_US
from tests.support.histories import EXECUTION_ID, WireEvent, event_sets

ID = (DEFAULT_TEAM, EXECUTION_ID)

_REPORTS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("execution.started", {}), ("execution.waiting", {}), ("execution.resumed", {}), ("execution.completed", {})),
    *(("execution.cancelled", {}), ("execution.failed", {}), ("execution.failed", {"status": "timeout"})),
    ("execution.failed", {"status": "crashed"}),
)


@st.composite
def duels(draw: st.DrawFn) -> list[WireEvent]:
    """A few reports that contradict each other: times equal or stepping back, counted or not within one source."""
    events = []
    for ordinal in range(draw(st.integers(2, 5))):
        type_, data = draw(st.sampled_from(_REPORTS))
        event: WireEvent = {
            "type": type_,
            "data": data,
            "executionId": EXECUTION_ID,
            "id": f"event-{ordinal}",
            "timestamp": format_time(NOON_US + draw(st.integers(0, 4)) * 1_000_000),
            "source": draw(st.sampled_from(("engine-1", "engine-1", "engine-2"))),
        }
        if draw(st.booleans()):
            event["sequence"] = draw(st.integers(1, 9))
        events.append(event)
    return events


HISTORIES = event_sets() | duels()
"""Everything that may meet in a journal, and, as often, little that meets head-on."""


class Kept:
    """What a store would hold after writing every batch's changes, and nothing cleverer."""

    def __init__(self) -> None:
        self.execution = Execution(*ID)
        self.nodes: dict[NodeKey, Node] = {}
        self.payloads: dict[str, bytes | None] = {}
        self.lines: set[tuple[Any, ...]] = set()
        self.commands: dict[str, Command] = {}
        self.statistics: Counter[tuple[Cell, str]] = Counter()
        self.told: list[tuple[str, int, str]] = []

    def take(self, batch: Sequence[Event]) -> None:
        """Fold a batch and write what changed."""
        changes = fold(batch, {ID: self.execution})
        self._write(changes)
        self.told += [
            (release.event.id, release.version, release.status)
            for release in changes.releases
            if release.event.type not in DERIVED
        ]

    def _write(self, changes: Changes) -> None:
        for touched in changes.touched.values():
            if touched.cleared:
                self.nodes.clear()
                self.payloads.clear()
            if touched.deleted:
                self.lines.clear()
                self.commands.clear()
            self.nodes |= {key: msgspec.structs.replace(self.execution.nodes[key]) for key in touched.nodes}
            self.payloads |= touched.payloads
            self.lines |= {hashable(line) for line in touched.lines}
            for command in touched.commands:
                self.commands[command.id] = merged(self.commands.get(command.id), command)
        for cell, (count, total_us) in changes.statistics.items():
            self.statistics[cell, "count"] += count
            self.statistics[cell, "total_us"] += total_us

    def state(self) -> dict[str, Any]:
        """Everything that must not depend on arrival."""
        execution = self.execution
        view = msgspec.structs.asdict(summary(execution))
        if execution.registers.first_us is None and view["at_us"] == execution.created_us:
            view["at_us"] = None
        for name in ("version", "created_us", "updated_us"):
            del view[name]
        return {
            "registers": execution.registers,
            "nodes": execution.nodes,
            "stored nodes": self.nodes,
            "seen": execution.seen,
            "view": view,
            "payloads": self.payloads,
            "lines": self.lines,
            "commands": self.commands,
            "statistics": +self.statistics,
            "counted": execution.counted,
            "node ids": (execution.node_ids, execution.finished_ids),
        }


def hashable(line: LogLine) -> tuple[Any, ...]:
    """A line as a member of a set."""
    return (*line[:-1], json.dumps(line.data))


def decoded(wire: Iterable[WireEvent], first_offset: int = 0) -> list[Event]:
    """The events in order of arrival, each with its own offset and time of storage."""
    events = []
    for offset, members in enumerate(wire, first_offset):
        record = Record(0, offset, b"k", json.dumps(members, sort_keys=True).encode(), (), NOON_US + offset)
        event = decode(record, lambda _record, _claimed: DEFAULT_TEAM)
        assert isinstance(event, Event)
        events.append(event)
    return events


def folded(wire: Sequence[WireEvent], sizes: Iterable[int]) -> Kept:
    """The state after `wire` came in batches of these sizes, the rest in one."""
    kept, events = Kept(), decoded(wire)
    for size in sizes:
        kept.take(events[:size])
        events = events[size:]
    kept.take(events)
    return kept


def some_order(wire: Sequence[WireEvent], chance: random.Random) -> list[WireEvent]:
    """The events in any order, some of them twice."""
    order = [*wire, *chance.choices(wire, k=chance.randint(0, 4))]
    chance.shuffle(order)
    return order


def batch_sizes(chance: random.Random) -> list[int]:
    """Some way to cut a stream in batches."""
    return [chance.randint(1, 6) for _ in range(chance.randint(0, 6))]


def is_order_proof(wire: Sequence[WireEvent], seed: int, orders: int = 6) -> bool:
    """Whether other orders, repeats and batches lead to one state, whose status is the one that the rules define."""
    chance = random.Random(seed)
    expected = folded(wire, [1] * len(wire))
    if expected.execution.status != defined_status(wire):
        return False
    return all(folded(some_order(wire, chance), batch_sizes(chance)).state() == expected.state() for _ in range(orders))


# --- the status by definition ----------------------------------------------------------------------------------------


def defined_status(wire: Sequence[WireEvent]) -> str:
    """The status of a set of events, found by looking at all of them: no registers, no order of arrival."""
    reports = [event for event in decoded(wire) if is_report(event)]
    epoch = max((event.epoch for event in reports), default=0)
    heard = [event for event in reports if event.epoch == epoch and event.source != MONITOR_SOURCE]
    forced = [event for event in reports if event.epoch == epoch and _is_forced(event)]
    ends = [_first(of_one, _end_order) for of_one in _by_source([*heard, *forced], final=True)]
    if ends:
        return _said(_first(ends, lambda end: (_said(end) == "crashed", end.time_us, -_rank(end), end.source)))
    verdicts = [event for event in reports if event.epoch == epoch and is_presumption(event)]
    as_of_us = max((parse_time_us(verdict.data["asOf"]) for verdict in verdicts), default=-1)
    if as_of_us >= max((event.time_us for event in heard), default=0):
        return "crashed"
    nows = [_first(of_one, _now_order) for of_one in _by_source(heard, final=False)]
    if nows:
        return _said(max(nows, key=lambda now: (now.time_us, _rank(now), now.source)))
    if heard:
        return "running"
    in_vain = (event for event in decoded(wire) if event.type in ("command.refused", "command.failed"))
    return "failed" if any(event.data.get("kind") in ("execute", "retry") for event in in_vain) else "queued"


def _is_forced(event: Event) -> bool:
    """Whether a person decided, through the monitor, that it has ended."""
    return event.source == MONITOR_SOURCE and event.type == "execution.cancelled"


def is_presumption(event: Event) -> bool:
    """Whether the monitor presumes a crash."""
    return event.source == MONITOR_SOURCE and event.data.get("provisional") is True


def is_report(event: Event) -> bool:
    """Whether an event says something about an epoch of its execution."""
    kind = TYPES.get(event.type)
    timeless = ("execution.deleted", "execution.annotated")
    return kind is not None and kind.family != "command" and event.type not in timeless


def _by_source(events: Sequence[Event], final: bool) -> list[list[Event]]:
    telling = [
        event
        for event in events
        if TYPES[event.type].family == "execution" and TYPES[event.type].status and TYPES[event.type].final is final
    ]
    return [[event for event in telling if event.source == source] for source in {event.source for event in telling}]


def _first(events: Iterable[Event], order: Any) -> Event:
    return min(events, key=order)


def _said(event: Event) -> str:
    return reported_status(TYPES[event.type], event.data.get("status")) or ""


def _rank(event: Event) -> int:
    return status_rank(_said(event))


def _end_order(event: Event) -> tuple[Any, ...]:
    """A crash last; those that are counted first, by their count; then the earliest, strongest."""
    return (_said(event) == "crashed", event.sequence or 1 << 60, event.time_us, -_rank(event), event.digest[:7])


def _now_order(event: Event) -> tuple[Any, ...]:
    """The counted one with the highest count, else the latest, strongest (all negated: the smallest wins)."""
    return (-event.sequence, -event.time_us, -_rank(event), -int.from_bytes(event.digest[:7]))
