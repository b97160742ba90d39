"""Rules for `execution.*`: status, times, progress and descriptive members, folded into registers."""

from collections.abc import Callable
from typing import Any, Final

from monitor.events.model import Event
from monitor.events.payloads import PAYLOADS
from monitor.events.types import EventType, reported_status, status_rank
from monitor.projections.changes import Touched
from monitor.projections.execution import Fact, Registers, Source
from monitor.projections.fingerprint import kind_of
from monitor.projections.members import (
    duration_us,
    error,
    mapping,
    moment_us,
    strings,
    text,
    text_or_whole,
    whole,
    word,
)


def apply_execution(touched: Touched, event: Event, kind: EventType, tie: int) -> bool:
    """Fold what an engine reports about the execution. True when the view may have changed."""
    registers = touched.execution.registers
    source = registers.sources.get(event.source)
    if source is None:
        source = registers.sources[event.source] = Source()
    describe = _describe_deleted if registers.deleted else _describe
    changed = bool(event.data) and describe(touched, event, kind, tie)
    if event.type == "execution.progress":
        return (not registers.deleted and _take_progress(source, event, tie)) or changed
    status = reported_status(kind, event.data.get("status"))
    if status is None:
        return changed
    if kind.final:
        _take_end(registers, source, event, status, tie)
    else:
        _take_report(registers, source, event, status, tie)
    return True


def take_verdict(registers: Registers, event: Event, tie: int) -> bool:
    """What the monitor says itself: a cancellation that a person forced, which is an end like any other; or what it
    concludes, of each kind the verdict that rests on the latest evidence (`asOf`).
    """
    if event.type == "execution.cancelled":
        _take_end(registers, registers.sources.setdefault(event.source, Source()), event, "cancelled", tie)
        return True
    as_of_us = _as_of_us(event)
    if _presumes_crash(event):
        held = registers.verdict
        if held is not None and (held.time_us, held.tie) >= (as_of_us, tie):
            return False
        said = {} if registers.deleted else _said_at_end(event.data)
        registers.verdict = Fact(0, as_of_us, status_rank("crashed"), tie, "crashed", said)
        return True
    if event.type == "execution.stalled":
        if registers.stalled_us is None or registers.stalled_us < as_of_us:
            registers.stalled_us = as_of_us
            return True
    elif event.type == "execution.late" and (registers.late_us is None or registers.late_us < as_of_us):
        registers.late_us = as_of_us
        return True
    return False


def is_moot(registers: Registers, event: Event) -> bool:
    """Whether a verdict says nothing: the execution has ended, or was heard of after what the verdict rests on."""
    silent = _presumes_crash(event) or event.type == "execution.stalled"
    if not silent and event.type != "execution.late":
        return False
    if event.epoch < registers.epoch or any(source.end is not None for source in registers.sources.values()):
        return True
    return silent and _as_of_us(event) < registers.evidence_us


def revokes(registers: Registers, before_us: int, time_us: int) -> bool:
    """Whether evidence of `time_us` undoes a verdict that stood on evidence up to `before_us`."""
    if registers.verdict is not None and before_us <= registers.verdict.time_us < time_us:
        return True
    return registers.stalled_us is not None and before_us <= registers.stalled_us < time_us


def _presumes_crash(event: Event) -> bool:
    return event.type == "execution.failed" and event.data.get("provisional") is True


def take_refusal(registers: Registers, event: Event, tie: int) -> bool:
    """It was asked for in vain: the earliest word of it holds. True when the view may have changed."""
    said = {} if registers.deleted else {"error": error(event.data.get("error")) or {"message": _IN_VAIN}}
    fact = Fact(0, event.time_us, status_rank("failed"), tie, "failed", said)
    held = registers.unstarted
    if held is not None and (held.time_us, held.tie) <= (fact.time_us, fact.tie):
        return False
    registers.unstarted = fact
    return True


_IN_VAIN: Final = "No engine has started it"


def erase(registers: Registers) -> None:
    """Remove what a deletion takes away: everything but what orders status and statistics."""
    registers.deleted = True
    trigger = registers.members.get("trigger")
    registers.members.clear()
    if trigger is not None:
        registers.members["trigger"] = (*trigger[:3], _bare_trigger(trigger[3]))
    registers.slots.clear()
    registers.notes.clear()
    registers.current = None
    registers.log_lines = 0
    registers.unstarted = _bare(registers.unstarted)
    registers.verdict = _bare(registers.verdict)
    for source in registers.sources.values():
        source.progress = None
        source.now = _bare(source.now)
        source.end = _bare(source.end)


def _bare_trigger(said: dict[str, Any]) -> dict[str, Any]:
    """Its type, under which the execution is counted."""
    return {name: value for name, value in said.items() if name == "type"}


def _bare(fact: Fact | None) -> Fact | None:
    if fact is None:
        return None
    kept = {name: value for name, value in fact.data.items() if name in ("duration_us", "fingerprint")}
    return Fact(fact.sequence, fact.time_us, fact.rank, fact.tie, fact.status, kept)


def _as_of_us(event: Event) -> int:
    """Time of the evidence that a verdict rests on; its own time where it names none."""
    said_us = moment_us(event.data.get("asOf"))
    return event.time_us if said_us is None else said_us


# --- status ----------------------------------------------------------------------------------------------------------


def _take_report(registers: Registers, source: Source, event: Event, status: str, tie: int) -> None:
    time_us = event.time_us
    if event.type == "execution.started" and (source.started_us is None or time_us < source.started_us):
        source.started_us = time_us
    elif event.type == "execution.queued" and (source.queued_us is None or time_us < source.queued_us):
        source.queued_us = time_us
    said = {} if registers.deleted or status != "waiting" else _texts(event.data, ("kind", "until"))
    fact = Fact(event.sequence, time_us, status_rank(status), tie, status, said)
    if source.now is None or _late_order(source.now) < _late_order(fact):
        source.now = fact


def _take_end(registers: Registers, source: Source, event: Event, status: str, tie: int) -> None:
    if status not in registers.outcomes:
        registers.outcomes = sorted((*registers.outcomes, status))
    fact = Fact(event.sequence, event.time_us, status_rank(status), tie, status, _said_at_end(event.data))
    if registers.deleted:
        fact = _bare(fact) or fact
    if source.end is None or _end_order(fact) < _end_order(source.end):
        source.end = fact


def _said_at_end(data: dict[str, Any]) -> dict[str, Any]:
    said = _texts(data, ("reason",))
    if (measured_us := duration_us(data.get("duration"))) is not None:
        said["duration_us"] = measured_us
    if (failure := error(data.get("error"))) is not None:
        said["error"] = failure
        said["fingerprint"] = kind_of(failure).fingerprint
    return said


def _take_progress(source: Source, event: Event, tie: int) -> bool:
    said = _texts(event.data, ("current", "message"))
    for name in ("completed", "total"):
        if (count := whole(event.data.get(name))) is not None:
            said[name] = count
    fact = Fact(event.sequence, event.time_us, 0, tie, "running", said)
    if source.progress is not None and _late_order(source.progress) >= _late_order(fact):
        return False
    source.progress = fact
    return True


def _late_order(fact: Fact) -> tuple[bool, int, int, int, int]:
    """Greatest wins: counted facts by sequence, above uncounted ones by time."""
    return fact.sequence > 0, fact.sequence, fact.time_us, fact.rank, fact.tie


def _end_order(fact: Fact) -> tuple[bool, bool, int, int, int, int]:
    """Smallest wins: any end before a crash, counted ones by sequence before uncounted ones by time, strongest rank."""
    return fact.status == "crashed", fact.sequence == 0, fact.sequence, fact.time_us, -fact.rank, fact.tie


def _texts(data: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: said for name in names if (said := text(data.get(name)))}


# --- description -----------------------------------------------------------------------------------------------------


def _describe(touched: Touched, event: Event, kind: EventType, tie: int) -> bool:
    """Descriptive members: each its own register, where ends outrank starts and starts outrank queueing."""
    members, data = touched.execution.registers.members, event.data
    rank = status_rank(kind.status) if kind.status else 0
    order = (rank, event.time_us, tie)
    changed = False
    for name, said in data.items():
        reader = _READERS.get(name)
        value = reader(said) if reader else None
        if value is not None:
            # A declared count holds against the count that the end reports, which is what ran.
            changed |= _set(members, name, (-rank, event.time_us, tie) if name == "nodeCount" else order, value)
    if isinstance(data.get("metadata"), dict):
        for name, value in data["metadata"].items():
            changed |= _set(members, f"metadata.{name}", order, value)
    for slot, value in _payloads(data):
        changed |= touched.fill_slot(slot, event, tie, value)
    return changed


def _describe_deleted(touched: Touched, event: Event, kind: EventType, tie: int) -> bool:
    """Of what is deleted only the trigger's type is taken, which is counted."""
    value = _trigger(event.data.get("trigger"))
    if value is None:
        return False
    order = (status_rank(kind.status) if kind.status else 0, event.time_us, tie)
    return _set(touched.execution.registers.members, "trigger", order, _bare_trigger(value))


def _trigger(said: object) -> dict[str, Any] | None:
    """What set it off, without the payload, which has a slot of its own; a bare word is its type."""
    if isinstance(said, dict):
        return {name: value for name, value in said.items() if name != "payload"}
    return {"type": said} if isinstance(said, str) else None


def _payloads(data: dict[str, Any]) -> list[tuple[str, Any]]:
    found = [(slot, data[member]) for member, slot in PAYLOADS if member in data]
    trigger = data.get("trigger")
    if isinstance(trigger, dict) and "payload" in trigger:
        found.append(("trigger", trigger["payload"]))
    return found


def _set(members: dict[str, tuple[int, int, int, Any]], name: str, order: tuple[int, int, int], value: Any) -> bool:
    held = members.get(name)
    if held is not None and held[:3] >= order:
        return False
    members[name] = (*order, value)
    return held is None or held[3] != value


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "workflowName": text,
    "workflowVersion": text_or_whole,
    "mode": text,
    "retryOf": word,
    "nodeCount": whole,
    "heartbeat": duration_us,
    "deadlineAt": moment_us,
    "trigger": _trigger,
    "parent": mapping,
    "tags": strings,
}
"""Members of `data` that describe the execution: how each is read; None says nothing."""
