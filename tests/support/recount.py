"""What statistics must say, counted by looking at all raw events of every execution: no registers, no sums, no buckets.

The rules are those of the documentation. Only what a deletion leaves of nodes' runs depends on arrival: those that were
reported before it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from monitor.events.model import Event
from monitor.events.types import MONITOR_SOURCE, TYPES, reported_status, status_rank
from monitor.projections.fingerprint import kind_of

PERCENTS = (50, 90, 95, 99)


class End(NamedTuple):
    """The end of an execution, or of one run of a node."""

    workflow_id: str
    # Empty of an execution.
    node_id: str
    status: str
    trigger: str
    error: str
    ended_us: int
    duration_us: int | None


def recount(arrived: Sequence[Event]) -> tuple[list[End], Counter[str]]:
    """Every end, and how many have not ended by status, of events in order of arrival."""
    ends: list[End] = []
    in_flight: Counter[str] = Counter()
    by_execution: dict[str, dict[str, Event]] = {}
    for event in arrived:
        by_execution.setdefault(event.execution_id, {}).setdefault(event.id, event)
    for events in by_execution.values():
        ordered = list(events.values())
        end = _end_of(ordered)
        if end is not None:
            ends.append(end)
        elif not any(event.type == "execution.deleted" for event in ordered):
            in_flight["any"] += 1
        ends += _runs_of(ordered)
    return ends, in_flight


def _end_of(events: Sequence[Event]) -> End | None:
    heard = _heard(events)
    by_source: dict[str, list[Event]] = {}
    for event in heard:
        if TYPES[event.type].family == "execution" and TYPES[event.type].final:
            by_source.setdefault(event.source, []).append(event)
    if not by_source:
        return None
    winners = [min(of_one, key=_within_source) for of_one in by_source.values()]
    end = min(winners, key=lambda it: (_status(it) == "crashed", it.time_us, -status_rank(_status(it)), it.source))
    starts = [it.time_us for it in heard if it.source == end.source and it.type == "execution.started"]
    duration_us = _measured_us(end)
    if duration_us is None and starts:
        duration_us = max(0, end.time_us - min(starts))
    words = (_workflow(events), "", _status(end), _trigger(heard), _fingerprint(end))
    return End(*words, end.time_us, duration_us)


def _runs_of(events: Sequence[Event]) -> list[End]:
    """Finished runs, before a deletion where there is one: with the workflow that was known by then."""
    deleted = next((place for place, it in enumerate(events) if it.type == "execution.deleted"), len(events))
    known = events[:deleted]
    runs: dict[tuple[str, int, int], list[Event]] = {}
    for event in _heard(known):
        if TYPES[event.type].family == "node":
            data = event.data
            runs.setdefault((data["nodeId"], data.get("iteration") or 0, data.get("attempt") or 1), []).append(event)
    found = []
    for (node_id, _, _), reports in runs.items():
        finals = [it for it in reports if TYPES[it.type].final]
        if finals:
            end = min(finals, key=_node_end)
            starts = [it.time_us for it in reports if it.type == "node.started"]
            duration_us = _measured_us(end)
            if duration_us is None and starts:
                duration_us = max(0, end.time_us - min(starts))
            words = (_workflow(events[: deleted + 1]), node_id, _node_status(end), "", _fingerprint(end))
            found.append(End(*words, end.time_us, duration_us))
    return found


def _heard(events: Sequence[Event]) -> list[Event]:
    """What was reported of the highest epoch that anybody reported, without verdicts."""
    timeless = ("execution.deleted", "execution.annotated")
    reports = [it for it in events if it.type in TYPES and TYPES[it.type].family != "command"]
    reports = [it for it in reports if it.type not in timeless]
    epoch = max((it.epoch for it in reports), default=0)
    return [it for it in reports if it.epoch == epoch and (it.source != MONITOR_SOURCE or _is_forced(it))]


def _is_forced(event: Event) -> bool:
    """The monitor itself ends what no engine knows of, when it is told to."""
    return event.type == "execution.cancelled"


def _workflow(events: Sequence[Event]) -> str:
    claims = [(it.time_us, _tie(it), it.workflow_id) for it in events if it.workflow_id is not None]
    return min(claims)[2] if claims else ""


def _trigger(heard: Sequence[Event]) -> str:
    """Of the strongest and latest report that tells one."""
    said: list[tuple[int, int, int, Any]] = []
    for event in heard:
        trigger = event.data.get("trigger")
        if TYPES[event.type].family == "execution" and isinstance(trigger, dict | str):
            kind = TYPES[event.type].status
            said.append((status_rank(kind) if kind else 0, event.time_us, _tie(event), trigger))
    if not said:
        return ""
    latest = max(said, key=lambda it: it[:3])[3]
    type_ = latest if isinstance(latest, str) else latest.get("type")
    return type_ if isinstance(type_, str) else ""


def _fingerprint(end: Event) -> str:
    error = end.data.get("error")
    return kind_of(error).fingerprint if isinstance(error, dict) else ""


def _measured_us(end: Event) -> int | None:
    said = end.data.get("duration")
    return None if said is None else round(said * 1_000_000)


def _status(event: Event) -> str:
    return reported_status(TYPES[event.type], event.data.get("status")) or ""


def _node_status(event: Event) -> str:
    return _status(event) or "success"


def _within_source(event: Event) -> tuple[Any, ...]:
    counted = (event.sequence == 0, event.sequence)
    return (_status(event) == "crashed", *counted, event.time_us, -status_rank(_status(event)), _tie(event))


def _node_end(event: Event) -> tuple[Any, ...]:
    status = _node_status(event)
    return (status == "crashed", event.time_us, -status_rank(status), _tie(event))


def _tie(event: Event) -> int:
    return int.from_bytes(event.digest[:7])


# --- what they come to -----------------------------------------------------------------------------------------------


class Expected(NamedTuple):
    """Sums over ends; durations in order."""

    by_status: Counter[str]
    by_time: Counter[tuple[int, bool]]
    by_workflow: Counter[tuple[str, bool]]
    by_trigger: Counter[str]
    by_error: Counter[str]
    durations_us: list[int]


def expected(ends: Iterable[End], unit_us: int) -> Expected:
    """What a question about these has to be answered with."""
    found = Expected(Counter(), Counter(), Counter(), Counter(), Counter(), [])
    for end in ends:
        is_success = end.status == "success"
        found.by_status[end.status] += 1
        found.by_time[end.ended_us // unit_us, is_success] += 1
        found.by_workflow[end.workflow_id, is_success] += 1
        found.by_trigger[end.trigger] += 1
        if end.error:
            found.by_error[end.error] += 1
        if end.duration_us is not None:
            found.durations_us.append(end.duration_us)
    found.durations_us.sort()
    return found


def percentile_us(ordered: Sequence[int], percent: int) -> int:
    """By nearest rank."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
