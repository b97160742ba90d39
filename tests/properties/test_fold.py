"""Any order and any repetition of an execution's events folds to the same state, in whatever batches they come."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.events.types import DERIVED
from monitor.projections.execution import Execution, Node, NodeKey, summary
from monitor.projections.fold import Changes, fold
from monitor.projections.loglines import LogLine
from monitor.projections.statistics import Cell
from monitor.projections.status import STATUSES
from tests.support.clocks import NOON_US
from tests.support.histories import EXECUTION_ID, WireEvent, event_sets

HISTORIES = 2000
ORDERS = 6
ID = (DEFAULT_TEAM, EXECUTION_ID)


class Kept:
    """What a store would hold after writing every batch's changes, and nothing cleverer."""

    def __init__(self) -> None:
        self.execution = Execution(*ID)
        self.nodes: dict[NodeKey, Node] = {}
        self.payloads: dict[str, bytes | None] = {}
        self.lines: set[tuple[Any, ...]] = set()
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
            self.nodes |= {key: msgspec.structs.replace(self.execution.nodes[key]) for key in touched.nodes}
            self.payloads |= touched.payloads
            self.lines |= {hashable(line) for line in touched.lines}
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


def test_order_repetition_and_batches_change_nothing() -> None:
    """2,000 random histories, six orders each: one state, and every status occurs."""
    statuses: Counter[str] = Counter()

    @given(event_sets(), st.integers(0, 1 << 32))
    @settings(
        max_examples=HISTORIES,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    def check(wire: list[WireEvent], seed: int) -> None:
        chance = random.Random(seed)
        expected = folded(wire, [1] * len(wire))
        for _ in range(ORDERS):
            assert folded(some_order(wire, chance), batch_sizes(chance)).state() == expected.state()
        statuses[expected.execution.status] += 1

    check()
    print(f"{HISTORIES} histories x {ORDERS} orders: {dict(statuses)}")
    assert set(statuses) == set(STATUSES)


@given(event_sets(), st.integers(0, 1 << 32))
@settings(max_examples=500, deadline=None)
def test_batches_tell_what_single_events_tell(wire: list[WireEvent], seed: int) -> None:
    """Versions, statuses and releases are those of folding event by event, wherever the batches are cut."""
    order = some_order(wire, random.Random(seed))
    one_by_one = folded(order, [1] * len(order))
    in_batches = folded(order, batch_sizes(random.Random(seed)))
    assert in_batches.told == one_by_one.told
    assert in_batches.execution == one_by_one.execution
    assert in_batches.state() == one_by_one.state()


@given(event_sets(), st.integers(0, 1 << 32))
@settings(max_examples=500, deadline=None)
def test_what_is_loaded_again_is_what_was_kept(wire: list[WireEvent], seed: int) -> None:
    """Registers and nodes are the whole truth: the members that are kept for speed follow from them at every step."""
    kept = Kept()
    for event in decoded(some_order(wire, random.Random(seed))):
        kept.take([event])
        loaded = msgspec.structs.replace(kept.execution)
        loaded.refresh()
        assert loaded == kept.execution


@given(event_sets(), st.integers(0, 1 << 32))
@settings(max_examples=500, deadline=None)
def test_whoever_sees_a_change_sees_a_higher_version(wire: list[WireEvent], seed: int) -> None:
    """The version grows whenever anything visible changes, above every offset that was folded, and never falls."""
    kept = Kept()
    for event in decoded(some_order(wire, random.Random(seed))):
        before, nodes = visible(kept.execution), dict(kept.nodes)
        version = kept.execution.version
        kept.take([event])
        assert kept.execution.version >= version
        if visible(kept.execution) != before or kept.nodes != nodes:
            assert kept.execution.version > max(version, event.record.offset)


@given(event_sets())
@settings(max_examples=500, deadline=None)
def test_statistics_count_each_execution_once(wire: list[WireEvent]) -> None:
    """Corrections move an execution between rows: their sum is one, none is negative, and a deletion removes only
    what was in flight.
    """
    kept = folded(wire, [1] * len(wire))
    counts = [count for (_, what), count in kept.statistics.items() if what == "count"]
    erased_in_flight = kept.execution.registers.deleted and kept.execution.ended_us is None
    assert sum(counts) == (0 if erased_in_flight else 1)
    assert min(counts, default=0) >= 0


@given(event_sets())
@settings(max_examples=500, deadline=None)
def test_a_view_is_always_sensible(wire: list[WireEvent]) -> None:
    """Durations are never negative, progress stays within its total and below 1 until success, nodes are counted."""
    view = summary(folded(wire, [1] * len(wire)).execution)
    assert view.status in STATUSES
    assert view.duration_us is None or view.duration_us >= 0
    assert 0 <= view.progress.completed <= view.progress.total
    assert (view.progress.ratio(view.status) == 1.0) is (view.status == "success")


def visible(execution: Execution) -> dict[str, Any]:
    """The view without what says when it changed."""
    return {
        **msgspec.structs.asdict(summary(execution)),
        "version": 0,
        "created_us": 0,
        "updated_us": 0,
        "at_us": 0,
    } | ({} if execution.registers.first_us is None else {"at_us": summary(execution).at_us})
