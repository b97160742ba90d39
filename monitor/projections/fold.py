"""The fold: events + state -> state, for a whole batch at once, with everything that the commit has to write.

Promises: total (never raises on a decoded event), idempotent (a repeated event id changes nothing), order-proof
(registers, see `execution.py`), and equal to folding event by event. The pipeline calls `fold` inside the store's
transaction and drops the executions when that transaction fails, since they are changed in place.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from monitor.events.codec import derived_id, digest_of
from monitor.events.model import Event, Poison
from monitor.events.types import MONITOR_SOURCE, TYPES, EventType
from monitor.projections.changes import Changes, ExecutionId, Release, Touched
from monitor.projections.commands import keeps_from_starting, read_command
from monitor.projections.counting import count
from monitor.projections.execution import Execution, Registers, progress_of
from monitor.projections.lifecycle import apply_execution, erase, is_moot, revokes, take_refusal, take_verdict
from monitor.projections.loglines import read_lines
from monitor.projections.nodes import apply_node, node_slot
from monitor.projections.statistics import run_contributions

__all__ = [
    "FOLD_VERSION",
    "Changes",
    "ExecutionId",
    "Release",
    "Touched",
    "apply",
    "concluded",
    "fold",
    "is_fresh",
    "node_slot",
    "withdraw",
]

FOLD_VERSION: Final = 1
"""Raised when the rules change what old events fold to; the store then needs a rebuild."""

_NOTHING: Final = 0
_DETAIL: Final = 1
_VIEW: Final = 2
"""What an event changed (they add up): nodes, progress or log; what `refresh_view` makes."""


def fold(events: Iterable[Event | Poison], executions: Mapping[ExecutionId, Execution]) -> Changes:
    """Apply `events` in order to `executions` (every one they name, changed in place) and say what changed."""
    changes = Changes()
    for event in events:
        if isinstance(event, Poison):
            changes.poison.append(event)
            continue
        id_ = (event.team, event.execution_id)
        execution = executions[id_]
        if event.digest in execution.seen:
            _take_repeat(changes, execution, event)
            if execution.registers.deleted:
                changes.erase(execution, event.record, all_before=False)
            continue
        touched = changes.touched.get(id_)
        if touched is None:
            touched = changes.touched[id_] = Touched(execution)
        _fold_one(changes.releases, touched, event)
        if execution.registers.deleted:
            changes.erase(execution, event.record, all_before=touched.deleted)
    for touched in changes.touched.values():
        count(changes, touched)
    return changes


def is_fresh(execution: Execution, event: Event) -> bool:
    """Whether no event with this id was applied to the execution yet."""
    return event.digest not in execution.seen


def withdraw(changes: Changes, execution: Execution) -> None:
    """Take back what a stored execution adds to the statistics. The execution is void afterwards."""
    execution.registers, execution.nodes = Registers(deleted=True), {}
    execution.refresh()
    count(changes, Touched(execution, cleared=True, restated=True))


def concluded(cause: Event, name: str, status: str) -> Event:
    """The event `name` that the fold concludes from `cause`: at its position, sent before it, stored nowhere.

    `status` is what the execution was left with. Equal arguments give an equal event, so a replay repeats it exactly.
    """
    event_id = derived_id(name, cause.id.encode())
    return msgspec.structs.replace(
        cause,
        type=name,
        id=event_id,
        digest=digest_of(event_id),
        source=MONITOR_SOURCE,
        sequence=0,
        data={"cause": cause.id, "status": status},
    )


def _take_repeat(changes: Changes, execution: Execution, event: Event) -> None:
    """The id is known: the same bytes again are a duplicate, others contradict what was folded."""
    if execution.seen[event.digest] == event.checksum:
        changes.duplicates += 1
        return
    message = f"another event of '{event.execution_id}' has the id '{event.id}' already"
    changes.poison.append(Poison(event.record, "id_reused", "id", message, event.team))
    if not execution.registers.deleted:
        changes.releases.append(_conclusion(execution, event, "execution.conflict"))


def _fold_one(releases: list[Release], touched: Touched, event: Event) -> None:
    execution, record = touched.execution, event.record
    execution.seen[event.digest] = event.checksum
    touched.fresh.append(event)
    was_presumed, outcomes = execution.provisional, len(execution.registers.outcomes)
    was_deleted = execution.registers.deleted
    is_new = execution.version == 0
    if apply(touched, event) or is_new:
        execution.version = max(execution.version, record.offset) + 1
        execution.updated_us = record.stored_us
    if is_new:
        execution.created_us = record.stored_us
        touched.restated = True
    if was_deleted:
        return  # nobody is told what nobody can see
    if was_presumed and not execution.provisional and execution.status != "crashed":
        releases.append(_conclusion(execution, event, "execution.recovered"))
    if len(execution.registers.outcomes) > max(outcomes, 1):
        releases.append(_conclusion(execution, event, "execution.conflict"))
    if event.source == MONITOR_SOURCE and is_moot(execution.registers, event):
        return  # it came too late: nobody is alarmed by what was undone before it was said
    releases.append(_release(execution, event))


def _release(execution: Execution, event: Event) -> Release:
    return Release(
        event,
        execution.workflow_id,
        execution.workflow_name,
        execution.mode,
        execution.version,
        execution.status,
        execution.progress,
        execution.started_us,
        execution.duration_us,
        execution.tags,
        execution.details,
        execution.created_us,
    )


def _conclusion(execution: Execution, cause: Event, name: str) -> Release:
    return _release(execution, concluded(cause, name, execution.status))


# --- one event -------------------------------------------------------------------------------------------------------


def apply(touched: Touched, event: Event) -> bool:
    """Fold `event` into its execution. True when the view may have changed. The caller has ruled out repeats."""
    execution = touched.execution
    tie = int.from_bytes(event.digest[:7])
    kind = TYPES.get(event.type)
    effect = _name_workflow(execution.registers, event, tie)
    if event.type == "execution.deleted":
        effect |= _delete(touched)
    elif event.type == "execution.annotated":
        effect |= _annotate(execution.registers, event, tie)
    elif kind is not None and kind.family != "command":
        effect |= _apply_report(touched, event, kind, tie)
    elif kind is not None:
        effect |= _take_command(touched, event, tie)
    if effect & _VIEW:
        execution.refresh_view()
        touched.restated = True
    return effect != _NOTHING


def _apply_report(touched: Touched, event: Event, kind: EventType, tie: int) -> int:
    """What belongs to an epoch: lower ones are void, a higher one starts anew. Log lines are kept from all of them."""
    execution = touched.execution
    effect = _append_lines(touched, event, tie) if kind.family == "log" else _NOTHING
    if event.epoch < execution.registers.epoch:
        return effect
    if event.epoch > execution.registers.epoch:
        _restart(touched, event.epoch)
        effect = _VIEW
    registers = execution.registers
    if event.source == MONITOR_SOURCE:
        return _VIEW if take_verdict(registers, event, tie) else effect
    touched.heard = touched.heard or not event.backfill
    effect |= _note_evidence(registers, event)
    if kind.family == "execution":
        return _VIEW if apply_execution(touched, event, kind, tie) else effect
    if kind.family == "log":
        registers.log_closed = registers.log_closed or event.data.get("final") is True
        return effect
    if registers.deleted:
        return effect
    apply_node(touched, event, kind, tie)
    execution.progress = progress_of(execution)
    return effect | _DETAIL


def _name_workflow(registers: Registers, event: Event, tie: int) -> int:
    """The earliest claim holds, across epochs and sources."""
    held = registers.workflow
    if event.workflow_id is None or (held is not None and held[0] < event.time_us):
        return _NOTHING
    claim = (event.time_us, tie, event.workflow_id)
    if held is not None and held <= claim:
        return _NOTHING
    registers.workflow = claim
    return _VIEW if held is None or held[2] != event.workflow_id else _NOTHING


def _note_evidence(registers: Registers, event: Event) -> int:
    """Any report is a sign of life, which may make a stub run, date it earlier or revoke a verdict."""
    time_us, first_us, latest_us = event.time_us, registers.first_us, registers.evidence_us
    if time_us > latest_us:
        registers.evidence_us = time_us
    if first_us is None or time_us < first_us:
        registers.first_us = time_us
        return _VIEW
    if registers.verdict is None and registers.stalled_us is None:
        return _NOTHING
    return _VIEW if revokes(registers, latest_us, time_us) else _NOTHING


def _restart(touched: Touched, epoch: int) -> None:
    """A higher epoch: what the lower ones said about status, nodes and data is void; identity, log and notes stay."""
    before = touched.execution.registers
    touched.execution.registers = Registers(
        epoch=epoch,
        workflow=before.workflow,
        notes=before.notes,
        log_lines=before.log_lines,
        deleted=before.deleted,
        unstarted=before.unstarted,
    )
    touched.clear()


def _delete(touched: Touched) -> int:
    """Absorbing: only what orders status and statistics is folded from now on."""
    if touched.execution.registers.deleted:
        return _NOTHING
    erase(touched.execution.registers)
    touched.last_runs = run_contributions(touched.execution)
    touched.clear()
    touched.lines.clear()
    touched.commands.clear()
    touched.deleted = True
    return _VIEW


def _take_command(touched: Touched, event: Event, tie: int) -> int:
    """Commands are no report of the execution, and belong to no epoch: each is folded by itself."""
    registers = touched.execution.registers
    if not registers.deleted:
        touched.commands.append(read_command(event, tie))
    return _VIEW if keeps_from_starting(event) and take_refusal(registers, event, tie) else _NOTHING


def _annotate(registers: Registers, event: Event, tie: int) -> int:
    """Of each member of a note the latest holds, across epochs and sources."""
    if registers.deleted:
        return _NOTHING
    effect = _NOTHING
    for name, value in event.data.items():
        if name == "actor":
            continue  # who noted, not what
        held = registers.notes.get(name)
        if held is None or held[:2] < (event.time_us, tie):
            registers.notes[name] = (event.time_us, tie, value)
            effect = _VIEW
    return effect


def _append_lines(touched: Touched, event: Event, tie: int) -> int:
    """Lines are a set (their event's id and their place in it), so no epoch voids them and no order matters."""
    if touched.execution.registers.deleted:
        return _NOTHING
    lines = read_lines(event, tie)
    touched.lines += lines
    touched.execution.registers.log_lines += len(lines)
    return _DETAIL
