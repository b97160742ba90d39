"""The native spelling: an execution, its nodes, its data and its log as the Executions API documents them.

Pure. Members that the API marks as optional are left out where they are unknown; required ones are null until an event
tells them. What the API does not know (`version`, `progress`, `waiting`, ...) is added beside its members. Durations
are seconds, times RFC 3339 in UTC. Called by the REST face and by snapshots of streams.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import msgspec

from monitor.events.codec import format_time
from monitor.executions.contents import Data, Found, NodeRun, NodeRuns
from monitor.projections.execution import Node, NodeKey, Progress
from monitor.projections.loglines import LogLine
from monitor.projections.members import moment_us, number, strings, text, whole
from monitor.projections.nodes import run_duration_us
from monitor.projections.view import Summary
from monitor.web.native_answers import (
    Execution,
    ExecutionError,
    ExecutionMetadata,
    ExecutionNodeData,
    ExecutionProgress,
    ExecutionTrigger,
    LogEntry,
    NodeData,
    NodePayloads,
    NodeRunEntry,
)

T = TypeVar("T")

Members = Mapping[str, Any]

_Readers = Mapping[str, Callable[[object], object]]


def execution(found: Found) -> Execution:
    """The execution object, with its data and log lines where they were read."""
    row, data = found.summary, found.data
    members: Execution = {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": row.status,
        "mode": row.mode,
        "trigger": _trigger(row, data),
        "startedAt": _time(row.started_us),
        "stoppedAt": _time(row.stopped_us),
        "duration": _seconds(row.duration_us),
        "inputData": _raw(data.input) if data else None,
        "outputData": _raw(data.output) if data else None,
        "executionData": [_node(run) for run in data.nodes] if data else None,
        "moreNodes": (data.more_nodes or None) if data else None,
        "error": error(row.error, row.stopped_us),
        "metadata": _metadata(row),
        "createdAt": format_time(row.created_us),
        "updatedAt": format_time(row.updated_us),
        # Beyond the documented members.
        "version": row.version,
        "progress": progress(row.progress, row.status),
        "waiting": _known(row.waiting, {}),
        "reason": row.reason,
        "workflowVersion": row.workflow_version,
        "retryOf": row.retry_of,
        "parent": _known(row.parent, {"executionId": text, "nodeId": text}),
        "tags": row.tags or None,
        "annotation": _known(row.annotation, {"tags": strings, "vote": text, "note": text}),
        "provisional": row.provisional or None,
        "conflict": row.conflict or None,
        "stalled": row.stalled or None,
        "late": row.late or None,
        "epoch": row.epoch or None,
        "logLines": row.log_lines or None,
        "logs": None if found.lines is None else [log_line(line) for line in found.lines],
    }
    return _said(Execution, members)


def node_data(runs: NodeRuns) -> NodeData:
    """What went into a node and came out of it in one run, and which runs there are."""
    run = runs.shown
    node_id, iteration, attempt = run.key
    members: NodeData = {
        "nodeId": node_id,
        "nodeName": node_name(run),
        "input": _items(run.input) or [],
        "output": _items(run.output) or [],
        "iteration": iteration,
        "attempt": attempt,
        "runs": [_node_run(*it) for it in runs.all],
        "earlierRuns": runs.earlier or None,
    }
    return _said(NodeData, members)


def _node_run(key: NodeKey, node: Node) -> NodeRunEntry:
    members: NodeRunEntry = {
        "iteration": key[1],
        "attempt": key[2],
        "status": node.status,
        "startedAt": _time(node.started_us),
        "stoppedAt": _time(node.stopped_us),
        "duration": _seconds(run_duration_us(node)),
    }
    return _said(NodeRunEntry, members)


def node_payloads(run: NodeRun) -> NodePayloads:
    """The same without the node's name, as the data of a whole execution shows it."""
    return {"input": _items(run.input) or [], "output": _items(run.output) or []}


def raw_payloads(run: NodeRun) -> NodePayloads:
    """The same as it is stored; absent where nobody told it."""
    members: NodePayloads = {"input": _raw(run.input), "output": _raw(run.output)}
    return _said(NodePayloads, members)


def log_line(line: LogLine) -> LogEntry:
    """One line of a log."""
    members: LogEntry = {
        "timestamp": format_time(line.time_us),
        "level": line.level,
        "nodeId": line.node_id,
        "message": line.message,
        "data": line.data,
    }
    return _said(LogEntry, members)


def error(said: Members | None, at_us: int | None) -> ExecutionError | None:
    """An error as engines spell it, completed to what the API promises: type, message and time.

    `at_us` is the end that told it; None where there is no end, which has no error.
    """
    known: ExecutionError | None = _known(said, _OF_ERRORS)
    if known is None or at_us is None:
        return None
    return {
        **known,
        "type": known.get("type") or "Error",
        "message": known.get("message") or "",
        "timestamp": known.get("timestamp") or format_time(at_us),
    }


def progress(found: Progress, status: str) -> ExecutionProgress:
    """How far an execution is, spelt as the state in stream frames is."""
    return {
        "completed": found.completed,
        "total": found.total,
        "current": found.current,
        "message": found.message,
        "ratio": found.ratio(status),
    }


_OF_ERRORS: Final[_Readers] = {
    "type": text,
    "message": text,
    "timestamp": moment_us,
    "nodeId": text,
    "stack": text,
    "details": lambda said: said,
}

_OF_TRIGGERS: Final[_Readers] = {"type": text, "source": text, "timestamp": moment_us}

_OF_METADATA: Final[_Readers] = {
    "retryCount": whole,
    "queueTime": number,
    "memoryUsage": number,
    "nodeCount": whole,
    "dataTransferred": number,
}


def _known(said: Members | None, readers: _Readers) -> Any:
    """What a producer told, but for members with a reader that finds nothing in them: they say nothing."""
    if said is None:
        return None
    return {name: it for name, it in said.items() if name not in readers or readers[name](it) is not None}


def _trigger(row: Summary, data: Data | None) -> ExecutionTrigger | None:
    known: ExecutionTrigger | None = _known(row.trigger, _OF_TRIGGERS)
    if data is None or data.trigger is None:
        return known
    return {**(known or {}), "payload": msgspec.Raw(data.trigger)}


def _metadata(row: Summary) -> ExecutionMetadata:
    """What the engine reports, and what follows from its events where it does not: queue time and number of nodes."""
    derived: ExecutionMetadata = {}
    if row.queued_us is not None and row.started_us is not None and row.started_us >= row.queued_us:
        derived["queueTime"] = (row.started_us - row.queued_us) / 1_000_000
    if row.progress.total:
        derived["nodeCount"] = row.progress.total
    reported: ExecutionMetadata = _known(row.metadata, _OF_METADATA)
    return {**derived, **reported}


def _node(run: NodeRun) -> ExecutionNodeData:
    (node_id, iteration, attempt), node = run.key, run.node
    members: ExecutionNodeData = {
        "nodeId": node_id,
        "nodeName": node_name(run),
        "nodeType": node.label[3] if node.label else "",
        "status": node.status,
        "startedAt": _time(node.started_us),
        "stoppedAt": _time(node.stopped_us),
        "duration": _seconds(run_duration_us(node)),
        "inputData": _items(run.input),
        "outputData": _items(run.output),
        "error": error(node.error, node.stopped_us),
        "iteration": iteration,
        "attempt": attempt,
    }
    return _said(ExecutionNodeData, members)


def node_name(run: NodeRun) -> str:
    """Engines that name nodes by their id alone leave the label out."""
    return (run.node.label[2] if run.node.label else "") or run.key[0]


def _items(payload: bytes | None) -> msgspec.Raw | None:
    """The payload as a list of items, which the API promises: anything else becomes its only item."""
    if payload is None or payload == b"null":
        return None
    return msgspec.Raw(payload if payload.startswith(b"[") else b"[%b]" % payload)


def _raw(payload: bytes | None) -> msgspec.Raw | None:
    return None if payload is None else msgspec.Raw(payload)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def _seconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1_000_000


def _said(kind: type[T], members: T) -> T:
    """The document without the members that say nothing and may be absent."""
    required = kind.__required_keys__  # type: ignore[attr-defined]
    told = cast("Members", members)
    return cast("T", {name: value for name, value in told.items() if value is not None or name in required})
