"""Statistics equal a recount from the raw events: late corrections, repeats, several sources, restarts, deletions."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from monitor.events.codec import decode, format_time, parse_time_us
from monitor.events.model import DEFAULT_TEAM, Event, Record
from monitor.projections import counting, fold, lifecycle, statistics
from monitor.projections.execution import Execution
from monitor.projections.statistics import HOUR_US, MINUTE_US, RELATIVE_ERROR, Cell
from monitor.projections.status import IN_FLIGHT
from monitor.projections.tally import Sum, Tally, by_bucket, percentiles_us
from monitor.store import Commit, MemoryStore, Moved, Store, Writer, open_sqlite_store, sqlite_statistics
from monitor.store.counting import Sought
from tests.support.clocks import NOON_US
from tests.support.folded import HISTORIES, some_order
from tests.support.histories import WireEvent
from tests.support.recount import PERCENTS, End, expected, percentile_us, recount

HISTORY_COUNT = 1000
_CLOSE = RELATIVE_ERROR * (1 + 1e-9)
_BATCH = 200
_STEPS_US = (1_000_000, 3_600_000_000, 86_400_000_000 // 4)
"""The instants of a history lie a second apart, or hours: then its corrections move between hours and days."""


@cache
def histories(count: int) -> list[list[WireEvent]]:
    """So many random histories, each of an execution of its own, in an order of arrival with repeats."""
    drawn: list[list[WireEvent]] = []

    @given(HISTORIES)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def draw(wire: list[WireEvent]) -> None:
        drawn.append(wire)

    draw()
    chance = random.Random(1)
    return [_told(some_order(wire, chance), number, chance) for number, wire in enumerate(drawn)]


def _told(wire: Sequence[WireEvent], number: int, chance: random.Random) -> list[WireEvent]:
    step_us, shift_us = chance.choice(_STEPS_US), chance.randrange(48) * HOUR_US
    unmeasured = chance.random() < 0.5
    told = list(wire)
    if chance.random() < 0.6:
        told.insert(chance.randint(0, len(told)), _triggered(wire, chance))
    if chance.random() < 0.2:
        told.append({"type": "execution.deleted", "timestamp": wire[0]["timestamp"], "id": "removed"})
    return [_moved(event, number, step_us, shift_us, unmeasured) for event in told]


def _triggered(wire: Sequence[WireEvent], chance: random.Random) -> WireEvent:
    """A word on what set it off, in the epoch that counts: alone such words are rare."""
    epoch = max(event.get("epoch", 0) for event in wire)
    members = {"type": "execution.queued", "id": "triggered", "source": "queue", "epoch": epoch}
    trigger = {"type": chance.choice(("cron", "webhook"))}
    return {**members, "timestamp": wire[0]["timestamp"], "data": {"trigger": trigger}}


def _moved(event: WireEvent, number: int, step_us: int, shift_us: int, unmeasured: bool) -> WireEvent:
    seconds = (parse_time_us(event["timestamp"]) - NOON_US) / 1_000_000
    at = format_time(NOON_US + shift_us + round(seconds * step_us))
    data = {name: value for name, value in event.get("data", {}).items() if name != "duration" or not unmeasured}
    data |= {"asOf": at} if "asOf" in data else {}
    return {**event, "data": data, "executionId": f"exec_{number}", "timestamp": at}


@cache
def arrivals(count: int) -> list[Event]:
    """Events of all of them, mixed; each history keeps its order."""
    chance = random.Random(2)
    waiting = [list(reversed(history)) for history in histories(count)]
    events: list[Event] = []
    while waiting:
        history = chance.choice(waiting[:50])
        if history:
            events.append(_decoded(history.pop(), len(events)))
        else:
            waiting.remove(history)
    return events


def _decoded(members: WireEvent, offset: int) -> Event:
    value = msgspec.json.encode(members, order="sorted")
    event = decode(Record(0, offset, b"k", value, (), NOON_US), lambda _record, _claimed: DEFAULT_TEAM)
    assert isinstance(event, Event)
    return event


@asynccontextmanager
async def folded(store: Store, events: Sequence[Event]) -> Any:
    """The store after these came in batches, each of which loads anew what it folds."""
    await store.write(lambda writer: writer.bind("i", [0]))
    for at in range(0, len(events), _BATCH):
        batch = events[at : at + _BATCH]
        await store.write(_work(batch, at))
    try:
        yield store
    finally:
        await store.close()


def _work(batch: Sequence[Event], at: int) -> Callable[[Writer], None]:
    def work(writer: Writer) -> None:
        ids = {(event.team, event.execution_id) for event in batch}
        stored = writer.load(ids)
        changes = fold.fold(batch, {id_: stored.get(id_) or Execution(*id_) for id_ in ids})
        writer.commit(Commit(changes, {0: Moved(at, at + len(batch), b"")}, ()))

    return work


def questions(ends: Sequence[End]) -> Iterator[tuple[Sought, list[End]]]:
    """Questions of every kind, each with the ends that it is about."""
    first, last = NOON_US // HOUR_US, NOON_US // HOUR_US + 120
    everything = Sought(DEFAULT_TEAM, "hour", first - 30, last)
    part = Sought(DEFAULT_TEAM, "hour", first + 3, first + 61, by_day=True)
    executions, runs = [it for it in ends if not it.node_id], [it for it in ends if it.node_id == "a"]
    errors = {it.error for it in executions if it.error}
    narrowed: list[Mapping[str, Any]] = [
        {},
        {"workflow_id": "wf_1"},
        {"statuses": ("failed", "timeout")},
        {"trigger": "cron"},
        *({"error": error} for error in sorted(errors)),
        {"workflow_id": "wf_2", "trigger": "webhook", "statuses": ("success",)},
    ]
    for base in (everything, part):
        for tests in narrowed:
            sought = base._replace(**tests)
            yield sought, [it for it in executions if _is_sought(it, sought, HOUR_US)]
        for tests in ({}, {"workflow_id": "wf_1"}, {"statuses": ("failed",)}):
            sought = base._replace(node_id="a", **tests)
            yield sought, [it for it in runs if _is_sought(it, sought, HOUR_US)]
    minutes = Sought(DEFAULT_TEAM, "minute", NOON_US // MINUTE_US, NOON_US // MINUTE_US + 1440)
    for tests in narrowed:
        sought = minutes._replace(**tests)
        yield sought, [it for it in executions if _is_sought(it, sought, MINUTE_US)]


def _is_sought(end: End, sought: Sought, unit_us: int) -> bool:
    return (
        sought.start <= end.ended_us // unit_us < sought.end
        and sought.workflow_id in (None, end.workflow_id)
        and (sought.statuses is None or end.status in sought.statuses)
        and sought.trigger in (None, end.trigger)
        and sought.error in (None, end.error)
    )


def differs(sought: Sought, found: Tally, ends: Sequence[End]) -> str:
    """What of an answer is not as it was recounted; empty where all of it is."""
    unit_us = MINUTE_US if sought.unit == "minute" else HOUR_US
    right = expected(ends, unit_us)
    statuses: Counter[str] = Counter()
    times: Counter[tuple[int, bool]] = Counter()
    for (at, status), moment in found.moments.items():
        statuses[status] += moment.sum.ended
        # Whole days may stand as one: then days are compared.
        times[at // (24 if sought.by_day else 1), status == "success"] += moment.sum.ended
    by_time: Counter[tuple[int, bool]] = Counter()
    for (at, is_success), count in right.by_time.items():
        by_time[at // (24 if sought.by_day else 1), is_success] += count
    workflows: Counter[tuple[str, bool]] = Counter()
    for (key, status), one in found.workflows.items():
        workflows[key, status == "success"] += one.ended
    pairs = {
        "statuses": (statuses, right.by_status),
        "times": (times, by_time),
        "workflows": (workflows, right.by_workflow),
        "triggers": (_keys(found.triggers), right.by_trigger),
        "errors": (_keys(found.errors), right.by_error),
        "known": (sum(count for count, _ in found.durations.values()), len(right.durations_us)),
        "sum": (sum(total for _, total in found.durations.values()), sum(right.durations_us)),
        "mean": (sum(it.sum.total_us for it in found.moments.values()), sum(right.durations_us)),
    }
    wrong = [name for name, (one, other) in pairs.items() if one != other]
    return " ".join(wrong + _far_off(found, right.durations_us))


def _keys(sums: Mapping[tuple[str, str], Sum]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (key, _), one in sums.items():
        counts[key] += one.ended
    return +counts


def _far_off(found: Tally, durations_us: Sequence[int]) -> list[str]:
    """Percentiles, the least and the greatest that are not within the error."""
    lows = [it.low_us for it in found.moments.values() if it.low_us is not None]
    highs = [it.high_us for it in found.moments.values() if it.high_us is not None]
    shown = {f"p{percent}": value for percent, value in percentiles_us(by_bucket(found.durations)).items()}
    if not durations_us:
        return [] if not (lows or highs or shown) else ["durations of nothing"]
    shown |= {"least": min(lows, default=-1), "greatest": max(highs, default=-1)}
    exact = {f"p{percent}": percentile_us(durations_us, percent) for percent in PERCENTS}
    exact |= {"least": durations_us[0], "greatest": durations_us[-1]}
    return [name for name, value in exact.items() if shown.get(name) != pytest.approx(value, rel=_CLOSE)]


async def faults(store: Store, events: Sequence[Event]) -> list[str]:
    """Every question whose answer is not the recount."""
    found: list[str] = []
    ends, in_flight = recount(events)
    async with folded(store, events) as filled:
        for sought, about in questions(ends):
            answer = await filled.read(lambda reader, sought=sought: reader.counted(sought))
            if wrong := differs(sought, answer, about):
                found.append(f"{sought}: {wrong}")
        waiting = await filled.read(lambda reader: reader.in_flight(Sought(DEFAULT_TEAM, "hour", 0, 1)))
        if sum(waiting.values()) != in_flight.total():
            found.append(f"in flight: {waiting}")
        assert set(waiting) <= IN_FLIGHT | {"crashed", "failed"}
        nodes = await filled.read(lambda reader: reader.nodes_counted(Sought(DEFAULT_TEAM, "hour", 0, 1 << 40)))
        shown = Counter({(it.workflow_id, it.node_id): sum(s.ended for s in it.by_status.values()) for it in nodes})
        if shown != Counter((it.workflow_id, it.node_id) for it in ends if it.node_id):
            found.append("nodes")
        cells = await filled.read(lambda reader: reader.statistics(DEFAULT_TEAM))
        assert min(count for count, _ in cells.values()) > 0
    return found


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_statistics_equal_a_recount(kind: str, tmp_path: Path) -> None:
    """1,000 histories: every facet, by hour, day and minute, of executions and of runs, exact but for the percentiles,
    which are within the documented 2 %.
    """
    events = arrivals(HISTORY_COUNT)
    for share in (len(events) // 2, len(events)):
        path = tmp_path / f"{share}.db"
        store: Store = MemoryStore() if kind == "memory" else await open_sqlite_store(path)
        assert await faults(store, events[:share]) == []
    ends, in_flight = recount(events)
    kinds = Counter((it.status, bool(it.node_id)) for it in ends)
    print(f"{len(events)} events of {HISTORY_COUNT} histories: {dict(kinds)}, {in_flight.total()} in flight")
    assert len({it.ended_us // HOUR_US for it in ends}) > 50
    assert {"cron", "webhook"} <= {it.trigger for it in ends}
    assert {"success", "failed", "timeout", "cancelled", "crashed"} <= {it.status for it in ends if not it.node_id}


# --- teeth -----------------------------------------------------------------------------------------------------------


def _never_withdrawn(changes: Any, execution: Execution) -> None:
    execution.counted = None
    _COUNT(changes, execution)


def _by_start(execution: Execution) -> Any:
    counted = _CONTRIBUTION(execution)
    if counted is None or execution.started_us is None or execution.ended_us is None:
        return counted
    return counted._replace(hour=execution.started_us // HOUR_US)


def _forgetful(registers: Any) -> None:
    _ERASE(registers)
    registers.members.clear()


def _days_by_noon(cells: Mapping[Cell, Any]) -> Any:
    return _ROLLED_UP({cell._replace(hour=cell.hour + 12 * (cell.hour > 0)): it for cell, it in cells.items()})


_COUNT, _ERASE = counting._count_execution, lifecycle.erase
_CONTRIBUTION, _ROLLED_UP = statistics.contribution, statistics.rolled_up

MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "a correction counts again": (counting, "_count_execution", _never_withdrawn),
    "executions count in the hour of their start": (counting, "contribution", _by_start),
    "a deletion forgets the trigger": (fold, "erase", _forgetful),
    "a deletion takes runs back": (fold, "run_contributions", lambda _execution: {}),
    "a restart keeps runs": (counting, "_count_all_runs", lambda _changes, _touched: None),
    "runs of a batch are not corrected": (counting, "_count_runs", lambda _changes, _touched: None),
    "sums of days begin at noon": (sqlite_statistics, "rolled_up", _days_by_noon),
}


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_wrong_count_is_found_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant gives some question another answer than the recount."""
    owner, member, wrong = MUTANTS[name]
    monkeypatch.setattr(owner, member, wrong)
    events = [it for it in arrivals(HISTORY_COUNT) if int(it.execution_id[5:]) < 700]
    try:
        found = await faults(await open_sqlite_store(tmp_path / "store.db"), events)
    except (AssertionError, ArithmeticError) as error:
        found = [str(error)]
    assert found
