"""The fold: events + state -> state, for a whole batch at once, with everything that the commit has to write.

Promises: total (never raises on a decoded event), idempotent (a repeated event id changes nothing), order-proof (registers,
see `execution.py`), and equal to folding event by event. The pipeline calls `fold` inside the store's transaction and drops
the executions when that transaction fails, since they are changed in place.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from monitor.events.codec import parse_time_us
from monitor.events.model import Event, Poison
from monitor.events.types import MONITOR_SOURCE, TYPES, EventType, reported_status, status_rank
from monitor.projections.execution import (
    Contribution,
    Execution,
    Fact,
    Node,
    NodeKey,
    Progress,
    Registers,
    Source,
    duration_of,
    duration_us,
    earliest,
    holds,
    progress_of,
    status_of,
    tags_of,
    text,
    whole,
    winning_end,
    workflow_of,
)
from monitor.projections.loglines import LogLine, read_lines
from monitor.projections.statistics import Cell, cell, contribution
from monitor.projections.status import FINAL

FOLD_VERSION: Final = 1
"""Raised when the rules below change what old events fold to; the store then needs a rebuild."""

ExecutionId = tuple[str, str]
"""(team, execution id)."""

_KEPT_OF_END: Final = ("duration", "error", "reason")
_KEPT_OF_DELETED: Final = ("duration",)
_OPENING_MEMBERS: Final = ("workflowName", "workflowVersion", "mode", "retryOf")
_SLOT_MEMBERS: Final = (("inputData", "input"), ("outputData", "output"))


class Release(msgspec.Struct, frozen=True, gc=False):
    """What a commit says to streams and webhooks about one fresh event: the event and the state that it left behind.

    Its members carry the names that `filter.matches` asks for, as those of `Summary` do.
    """

    event: Event
    workflow_id: str
    workflow_name: str | None
    mode: str | None
    version: int
    status: str
    progress: Progress
    started_us: int | None
    duration_us: int | None
    tags: list[str]

    @property
    def id(self) -> str:
        """The execution's id."""
        return self.event.execution_id


class Touched(msgspec.Struct):
    """What a batch did to one execution."""

    execution: Execution
    nodes: set[NodeKey] = set()
    # Digest and checksum of each fresh event, in order.
    fresh: list[tuple[bytes, int]] = []
    # Payload bytes by slot; None removes the slot.
    payloads: dict[str, bytes | None] = {}
    lines: list[LogLine] = []
    # A new epoch or a deletion: nodes and payloads that were stored before this batch are void.
    cleared: bool = False
    # The log is void as well.
    deleted: bool = False


class Changes(msgspec.Struct):
    """What a batch did to the state: the commit writes exactly this."""

    touched: dict[ExecutionId, Touched] = {}
    releases: list[Release] = []
    poison: list[Poison] = []
    # Additive: (count, sum of durations in microseconds) by row.
    statistics: dict[Cell, tuple[int, int]] = {}
    duplicates: int = 0


def fold(events: Iterable[Event | Poison], executions: Mapping[ExecutionId, Execution]) -> Changes:
    """Apply `events` in order to `executions` (every one they name, changed in place) and say what changed."""
    changes = Changes()
    for event in events:
        if isinstance(event, Poison):
            changes.poison.append(event)
        else:
            _fold_one(changes, event, executions[event.team, event.execution_id])
    for touched in changes.touched.values():
        _count(changes, touched.execution)
    return changes


def is_fresh(execution: Execution, event: Event) -> bool:
    """Whether no event with this id was applied to the execution yet."""
    return event.digest not in execution.seen


def _fold_one(changes: Changes, event: Event, execution: Execution) -> None:
    checksum = execution.seen.get(event.digest)
    if checksum is not None:
        if checksum == event.checksum:
            changes.duplicates += 1
        else:
            message = f"another event of '{event.execution_id}' has the id '{event.id}' already"
            changes.poison.append(Poison(event.record, "id_reused", "id", message))
        return
    touched = changes.touched.get((event.team, event.execution_id))
    if touched is None:
        touched = changes.touched[event.team, event.execution_id] = Touched(execution)
    presumed, outcomes = (
        execution.status == "crashed" and _is_presumed(execution),
        len(execution.registers.outcomes),
    )
    execution.seen[event.digest] = event.checksum
    touched.fresh.append((event.digest, event.checksum))
    if apply(touched, event):
        execution.version = max(execution.version, event.record.offset) + 1
        execution.updated_us = event.record.stored_us
    if not execution.created_us:
        execution.created_us = execution.updated_us = event.record.stored_us
    if presumed and not _is_presumed(execution):
        changes.releases.append(_derived(execution, event, "execution.recovered"))
    if len(execution.registers.outcomes) > max(outcomes, 1):
        changes.releases.append(_derived(execution, event, "execution.conflict"))
    changes.releases.append(_release(execution, event))


def _is_presumed(execution: Execution) -> bool:
    return execution.status == "crashed" and winning_end(execution.registers) is None


def _release(execution: Execution, event: Event) -> Release:
    registers = execution.registers
    name, mode = registers.members.get("workflowName"), registers.members.get("mode")
    return Release(
        event,
        workflow_of(registers),
        name[3] if name else None,
        mode[3] if mode else None,
        execution.version,
        execution.status,
        progress_of(execution),
        earliest(registers, "started_us"),
        duration_of(registers) if execution.status in FINAL else None,
        tags_of(registers),
    )


def _derived(execution: Execution, cause: Event, name: str) -> Release:
    """An event that the commit itself concludes from `cause`: at the cause's position, sent before it, never stored."""
    event = msgspec.structs.replace(
        cause,
        type=name,
        id=f"{cause.id}:{name}",
        source=MONITOR_SOURCE,
        sequence=0,
        data={"cause": cause.id, "status": execution.status, "outcomes": list(execution.registers.outcomes)},
    )
    return _release(execution, event)


def _count(changes: Changes, execution: Execution) -> None:
    """Move the execution from the row in which it is counted to the one where it belongs now."""
    now = contribution(execution)
    if now == execution.counted:
        return
    if execution.counted is not None:
        _add(changes, execution.team, execution.counted, -1)
    _add(changes, execution.team, now, 1)
    execution.counted = now


def _add(changes: Changes, team: str, counted: Contribution, sign: int) -> None:
    key = cell(team, counted)
    count, total_us = changes.statistics.get(key, (0, 0))
    changes.statistics[key] = (count + sign, total_us + sign * counted.duration_us)


# --- one event -------------------------------------------------------------------------------------------------------


def apply(touched: Touched, event: Event) -> bool:
    """Fold `event` into its execution. True when the view may have changed. The caller has ruled out repeats."""
    execution = touched.execution
    registers = execution.registers
    changed = _name_workflow(registers, event)
    kind = TYPES.get(event.type)
    if kind is None or kind.family == "command":
        return changed
    if event.type == "execution.deleted":
        return _delete(touched) or changed
    if event.type == "execution.annotated":
        return _annotate(registers, event) or changed
    if kind.family == "log":
        changed = _append_lines(touched, event) or changed
    if event.epoch < registers.epoch:
        return changed
    if event.epoch > registers.epoch:
        changed = _restart(touched, event.epoch) or changed
        registers = execution.registers
    if event.source == MONITOR_SOURCE:
        changed = _take_verdict(registers, event) or changed
    else:
        _note_evidence(registers, event)
        if kind.family == "node":
            changed = _apply_node(touched, event, kind) or changed
        elif kind.family == "execution":
            changed = _apply_execution(touched, event, kind) or changed
    status = status_of(registers)
    changed = changed or status != execution.status
    execution.status = status
    return changed


def _tie(event: Event) -> int:
    """Orders facts of the same instant: seven bytes of the id's digest, which fit a signed integer anywhere."""
    return int.from_bytes(event.digest[:7])


def _name_workflow(registers: Registers, event: Event) -> bool:
    if event.workflow_id is None:
        return False
    claim = (event.time_us, _tie(event), event.workflow_id)
    if registers.workflow is not None and registers.workflow <= claim:
        return False
    before = workflow_of(registers)
    registers.workflow = claim
    return before != event.workflow_id


def _note_evidence(registers: Registers, event: Event) -> None:
    if event.time_us > registers.evidence_us:
        registers.evidence_us = event.time_us
    if not registers.first_us or event.time_us < registers.first_us:
        registers.first_us = event.time_us


def _restart(touched: Touched, epoch: int) -> bool:
    """A higher epoch: what the lower ones said about status, nodes and data is void; identity, log and notes stay."""
    execution = touched.execution
    before = execution.registers
    execution.registers = Registers(
        epoch=epoch,
        workflow=before.workflow,
        annotation=before.annotation,
        log_lines=before.log_lines,
        log_closed=before.log_closed,
        deleted=before.deleted,
    )
    _clear(touched)
    return True


def _clear(touched: Touched) -> None:
    execution = touched.execution
    execution.nodes, execution.node_ids, execution.finished_ids = {}, set(), set()
    touched.nodes.clear()
    touched.payloads.clear()
    touched.cleared = True


def _delete(touched: Touched) -> bool:
    """Absorbing: only what orders status and statistics is folded from now on."""
    registers = touched.execution.registers
    if registers.deleted:
        return False
    registers.deleted = True
    registers.members.clear()
    registers.slots.clear()
    registers.annotation = registers.current = None
    registers.log_lines = 0
    for source in registers.sources.values():
        source.progress = None
        source.end = _stripped(source.end)
    _clear(touched)
    touched.lines.clear()
    touched.deleted = True
    return True


def _stripped(end: Fact | None) -> Fact | None:
    return None if end is None else msgspec.structs.replace(end, data=_only(end.data, _KEPT_OF_DELETED))


def _annotate(registers: Registers, event: Event) -> bool:
    """The latest note wins, across epochs and sources."""
    note = (event.time_us, _tie(event), event.data)
    if registers.deleted or (registers.annotation is not None and registers.annotation[:2] >= note[:2]):
        return False
    registers.annotation = note
    return True


def _append_lines(touched: Touched, event: Event) -> bool:
    """Lines are a set (their event's id and their place in it), so no epoch voids them and no order matters."""
    registers = touched.execution.registers
    if event.data.get("final") is True:
        registers.log_closed = True
    if registers.deleted:
        return False
    lines = read_lines(event)
    touched.lines += lines
    registers.log_lines += len(lines)
    return True


def _take_verdict(registers: Registers, event: Event) -> bool:
    """A provisional crash by the monitor: the one that rests on the latest evidence (`asOf`) wins."""
    if event.type != "execution.failed" or event.data.get("provisional") is not True:
        return False
    verdict = Fact(0, _as_of_us(event), status_rank("crashed"), _tie(event), "crashed", {})
    held = registers.verdict
    if held is not None and (held.time_us, held.tie) >= (verdict.time_us, verdict.tie):
        return False
    registers.verdict = verdict
    return holds(registers)


def _as_of_us(event: Event) -> int:
    """Time of the evidence that a verdict rests on; its own time where it names none."""
    said = event.data.get("asOf")
    try:
        return parse_time_us(said) if isinstance(said, str) else event.time_us
    except ValueError:
        return event.time_us


# --- execution.* -----------------------------------------------------------------------------------------------------


def _apply_execution(touched: Touched, event: Event, kind: EventType) -> bool:
    registers = touched.execution.registers
    source = registers.sources.get(event.source)
    if source is None:
        source = registers.sources[event.source] = Source()
    changed = _describe(touched, event, kind)
    if event.type == "execution.progress":
        return (not registers.deleted and _take_progress(source, event)) or changed
    status = reported_status(kind, event.data.get("status"))
    if status is None:
        return changed
    if kind.final:
        return _take_end(registers, source, event, status) or changed
    _take_times(source, event)
    fact = _fact(event, status, _only(event.data, ("kind", "until")) if status == "waiting" else {})
    if source.now is None or _late_key(fact) > _late_key(source.now):
        source.now = fact
    return True


def _fact(event: Event, status: str, data: dict[str, Any]) -> Fact:
    return Fact(event.sequence, event.time_us, status_rank(status), _tie(event), status, data)


def _late_key(fact: Fact) -> tuple[bool, int, int, int, int]:
    """Greatest wins: counted facts by sequence, above uncounted ones by time."""
    return (fact.sequence > 0, fact.sequence, fact.time_us, fact.rank, fact.tie)


def _end_key(fact: Fact) -> tuple[bool, bool, int, int, int, int]:
    """Smallest wins: any end before a crash, counted ones by sequence before uncounted ones by time, strongest rank."""
    return (fact.status == "crashed", fact.sequence == 0, fact.sequence, fact.time_us, -fact.rank, fact.tie)


def _take_times(source: Source, event: Event) -> None:
    if event.type == "execution.started" and (source.started_us is None or event.time_us < source.started_us):
        source.started_us = event.time_us
    if event.type == "execution.queued" and (source.queued_us is None or event.time_us < source.queued_us):
        source.queued_us = event.time_us


def _take_progress(source: Source, event: Event) -> bool:
    fact = _fact(event, "running", _only(event.data, ("completed", "total", "current", "message")))
    if source.progress is not None and _late_key(source.progress) >= _late_key(fact):
        return False
    source.progress = fact
    return True


def _take_end(registers: Registers, source: Source, event: Event, status: str) -> bool:
    if status not in registers.outcomes:
        registers.outcomes = sorted((*registers.outcomes, status))
    fact = _fact(event, status, _only(event.data, _KEPT_OF_DELETED if registers.deleted else _KEPT_OF_END))
    if source.end is None or _end_key(fact) < _end_key(source.end):
        source.end = fact
    return True


def _describe(touched: Touched, event: Event, kind: EventType) -> bool:
    """Descriptive members: each its own register, where ends outrank starts and starts outrank queueing."""
    registers = touched.execution.registers
    if registers.deleted or not event.data:
        return False
    data = event.data
    rank = status_rank(kind.status) if kind.status else 0
    order = (rank, event.time_us, _tie(event))
    changed = False
    for name in _OPENING_MEMBERS:
        if text(data.get(name)):
            changed = _set_member(registers, name, order, data[name]) or changed
    for name in ("nodeCount", "heartbeat"):
        if whole(data.get(name)) is not None:
            # A declared count holds against the count that the end reports, which is what ran.
            declared = (-rank, *order[1:]) if name == "nodeCount" else order
            changed = _set_member(registers, name, declared, data[name]) or changed
    changed = _describe_objects(touched, event, order) or changed
    for member, slot in _SLOT_MEMBERS:
        if member in data:
            changed = _fill_slot(touched, event, slot, data[member]) or changed
    return changed


def _describe_objects(touched: Touched, event: Event, order: tuple[int, int, int]) -> bool:
    registers, data = touched.execution.registers, event.data
    changed = False
    trigger = data.get("trigger")
    if isinstance(trigger, str):
        trigger = {"type": trigger}
    if isinstance(trigger, dict):
        if "payload" in trigger:
            changed = _fill_slot(touched, event, "trigger", trigger["payload"])
        slim = {name: value for name, value in trigger.items() if name != "payload"}
        changed = _set_member(registers, "trigger", order, slim) or changed
    if isinstance(data.get("parent"), dict):
        changed = _set_member(registers, "parent", order, data["parent"]) or changed
    if isinstance(data.get("tags"), list):
        changed = _set_member(registers, "tags", order, data["tags"]) or changed
    if isinstance(data.get("metadata"), dict):
        for name, value in data["metadata"].items():
            changed = _set_member(registers, f"metadata.{name}", order, value) or changed
    return changed


def _set_member(registers: Registers, name: str, order: tuple[int, int, int], value: Any) -> bool:
    held = registers.members.get(name)
    if held is not None and held[:3] >= order:
        return False
    registers.members[name] = (*order, value)
    return held is None or held[3] != value


# --- node.* ----------------------------------------------------------------------------------------------------------


def _apply_node(touched: Touched, event: Event, kind: EventType) -> bool:
    execution, data = touched.execution, event.data
    if execution.registers.deleted:
        return False
    node_id = data["nodeId"]
    key = (node_id, data.get("iteration") or 0, data.get("attempt") or 1)
    node = execution.nodes.get(key)
    if node is None:
        node = execution.nodes[key] = Node()
        execution.node_ids.add(node_id)
    touched.nodes.add(key)
    tie = _tie(event)
    _label(node, event, tie)
    if kind.status is not None:
        _take_node_status(execution, node, event, kind, tie)
    for member, slot in _SLOT_MEMBERS:
        if member in data:
            _fill_slot(touched, event, node_slot(key, slot), data[member])
    return True


def node_slot(key: NodeKey, slot: str) -> str:
    """Name of the payload slot of a node run: its input or its output."""
    return f"{slot}:{key[1]}:{key[2]}:{key[0]}"


def _label(node: Node, event: Event, tie: int) -> None:
    name, kind = text(event.data.get("nodeName")) or "", text(event.data.get("nodeType")) or ""
    if (name or kind) and (node.label is None or node.label[:2] < (event.time_us, tie)):
        node.label = (event.time_us, tie, name, kind)


def _take_node_status(execution: Execution, node: Node, event: Event, kind: EventType, tie: int) -> None:
    status = reported_status(kind, event.data.get("status")) or "running"
    time_us = event.time_us
    if kind.final:
        end = (time_us, status_rank(status), tie, status)
        # Earliest end, strongest rank at the same instant, as for executions.
        if node.end is None or (time_us, -end[1], tie) < (node.end[0], -node.end[1], node.end[2]):
            node.end = end
            node.duration_us = duration_us(event.data.get("duration"))
            error = event.data.get("error")
            node.error = error if isinstance(error, dict) else None
        execution.finished_ids.add(event.data["nodeId"])
        return
    now = (time_us, status_rank(status), tie, status)
    if node.now is None or now > node.now:
        node.now = now
    if event.type == "node.started":
        if node.started_us is None or time_us < node.started_us:
            node.started_us = time_us
        current = (time_us, tie, text(event.data.get("nodeName")) or event.data["nodeId"])
        if execution.registers.current is None or current > execution.registers.current:
            execution.registers.current = current


# --- payloads --------------------------------------------------------------------------------------------------------


def _fill_slot(touched: Touched, event: Event, slot: str, value: Any) -> bool:
    """Keep the payload of the latest event that carries one; the bytes go to the store, only their order stays here."""
    registers = touched.execution.registers
    order = (event.time_us, _tie(event))
    held = registers.slots.get(slot)
    if held is not None and held >= order:
        return False
    registers.slots[slot] = order
    touched.payloads[slot] = msgspec.json.encode(value)
    return True


def _only(data: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: data[name] for name in names if name in data}
