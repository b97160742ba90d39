"""The native spelling: an execution, its nodes, its data and its log as the Executions API documents them.

Pure. Members that the API marks as optional are left out where they are unknown; required ones are null until an event
tells them. What the API does not know (`version`, `progress`, `waiting`, ...) is added beside its members. Durations
are seconds, times RFC 3339 in UTC. Called by the REST face and by snapshots of streams.
"""

from typing import Any

import msgspec

from monitor.events.codec import format_time
from monitor.executions.reads import Data, Found, NodeRun, NodeRuns
from monitor.projections.execution import Node, NodeKey, Progress
from monitor.projections.loglines import LogLine
from monitor.projections.members import text
from monitor.projections.view import Summary

Members = dict[str, Any]


def execution(found: Found) -> Members:
    """The execution object, with its data and log lines where they were read."""
    row, data = found.summary, found.data
    members = {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": row.status,
        "mode": row.mode,
        "trigger": _trigger(row, data),
        "startedAt": _time(row.started_us),
        "stoppedAt": _time(row.stopped_us),
        "duration": _seconds(row.duration_us),
        **(_payloads(data) if data else {}),
        "error": error(row.error, row.stopped_us),
        "metadata": _metadata(row),
        "createdAt": format_time(row.created_us),
        "updatedAt": format_time(row.updated_us),
        **_additions(row),
        "logs": None if found.lines is None else [log_line(line) for line in found.lines],
    }
    return _without_unknown(members, required=_REQUIRED)


_REQUIRED = frozenset({"workflowName", "mode", "trigger", "startedAt"})


def node_data(runs: NodeRuns) -> Members:
    """What went into a node and came out of it in one run, and which runs there are."""
    run = runs.shown
    node_id, iteration, attempt = run.key
    members = {
        "nodeId": node_id,
        "nodeName": node_name(run),
        **node_payloads(run),
        "iteration": iteration,
        "attempt": attempt,
        "runs": [_node_run(*it) for it in runs.all],
        "earlierRuns": runs.earlier or None,
    }
    return _without_unknown(members)


def _node_run(key: NodeKey, node: Node) -> Members:
    members = {
        "iteration": key[1],
        "attempt": key[2],
        "status": node.status,
        "startedAt": _time(node.started_us),
        "stoppedAt": _time(node.stopped_us),
        "duration": _seconds(_node_duration_us(node)),
    }
    return _without_unknown(members, required=frozenset({"startedAt"}))


def node_payloads(run: NodeRun) -> Members:
    """The same without the node's name, as the data of a whole execution shows it."""
    return {"input": _items(run.input) or [], "output": _items(run.output) or []}


def raw_payloads(run: NodeRun) -> Members:
    """The same as it is stored; absent where nobody told it."""
    told = {"input": run.input, "output": run.output}
    return {name: msgspec.Raw(payload) for name, payload in told.items() if payload is not None}


def log_line(line: LogLine) -> Members:
    """One line of a log."""
    members = {
        "timestamp": format_time(line.time_us),
        "level": line.level,
        "nodeId": line.node_id,
        "message": line.message,
        "data": line.data,
    }
    return _without_unknown(members)


def error(said: Members | None, at_us: int | None) -> Members | None:
    """An error as engines spell it, completed to what the API promises: type, message and time."""
    if said is None:
        return None
    promised = {
        "type": text(said.get("type")) or "Error",
        "message": text(said.get("message")) or "",
        "timestamp": text(said.get("timestamp")) or _time(at_us),
    }
    return _without_unknown({**said, **promised})


def progress(found: Progress, status: str) -> Members:
    """How far an execution is, spelt as the state in stream frames is."""
    return {
        "completed": found.completed,
        "total": found.total,
        "current": found.current,
        "message": found.message,
        "ratio": found.ratio(status),
    }


def _trigger(row: Summary, data: Data | None) -> Members | None:
    if data is None or data.trigger is None:
        return row.trigger
    return {**(row.trigger or {}), "payload": msgspec.Raw(data.trigger)}


def _metadata(row: Summary) -> Members:
    """What the engine reports, and what follows from its events where it does not: queue time and number of nodes."""
    derived: Members = {}
    if row.queued_us is not None and row.started_us is not None and row.started_us >= row.queued_us:
        derived["queueTime"] = _seconds(row.started_us - row.queued_us)
    if row.progress.total:
        derived["nodeCount"] = row.progress.total
    return {**derived, **row.metadata}


def _additions(row: Summary) -> Members:
    """Members beyond the documented ones; those that say nothing here are None."""
    return {
        "version": row.version,
        "progress": progress(row.progress, row.status),
        "waiting": row.waiting,
        "reason": row.reason,
        "retryOf": row.retry_of,
        "parent": row.parent,
        "tags": row.tags or None,
        "annotation": row.annotation,
        "provisional": row.provisional or None,
        "conflict": row.conflict or None,
        "stalled": row.stalled or None,
        "late": row.late or None,
        "epoch": row.epoch or None,
        "logLines": row.log_lines or None,
    }


def _payloads(data: Data) -> Members:
    return {
        "inputData": msgspec.Raw(data.input) if data.input is not None else None,
        "outputData": msgspec.Raw(data.output) if data.output is not None else None,
        "executionData": [_node(run) for run in data.nodes],
        "moreNodes": data.more_nodes or None,
    }


def _node(run: NodeRun) -> Members:
    (node_id, iteration, attempt), node = run.key, run.node
    members = {
        "nodeId": node_id,
        "nodeName": node_name(run),
        "nodeType": node.label[3] if node.label else "",
        "status": node.status,
        "startedAt": _time(node.started_us),
        "stoppedAt": _time(node.stopped_us),
        "duration": _seconds(_node_duration_us(node)),
        "inputData": _items(run.input),
        "outputData": _items(run.output),
        "error": error(node.error, node.stopped_us),
        "iteration": iteration,
        "attempt": attempt,
    }
    return _without_unknown(members, required=frozenset({"startedAt"}))


def _node_duration_us(node: Node) -> int | None:
    if node.duration_us is not None or node.stopped_us is None or node.started_us is None:
        return node.duration_us
    return max(0, node.stopped_us - node.started_us)


def node_name(run: NodeRun) -> str:
    """Engines that name nodes by their id alone leave the label out."""
    return (run.node.label[2] if run.node.label else "") or run.key[0]


def _items(payload: bytes | None) -> msgspec.Raw | None:
    """The payload as a list of items, which the API promises: anything else becomes its only item."""
    if payload is None or payload == b"null":
        return None
    return msgspec.Raw(payload if payload.startswith(b"[") else b"[%b]" % payload)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def _seconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1_000_000


def _without_unknown(members: Members, required: frozenset[str] = frozenset()) -> Members:
    return {name: value for name, value in members.items() if value is not None or name in required}
