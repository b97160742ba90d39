"""What dialects show, read back: the tables of the fields and words of each, written once more from the documents.

The tables stand here on purpose as the documents have them, not as the service does: two words that changed places in
the service would agree with themselves.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from monitor.api.dialects import n8n, so1, team
from monitor.events.codec import parse_time_us
from monitor.executions.contents import Data, Found, NodeRun, data_of
from monitor.executions.lookups import Label
from monitor.projections.execution import Node, NodeKey
from monitor.projections.members import moment_us
from monitor.projections.status import FINAL, IN_FLIGHT
from monitor.projections.view import Summary, summary
from tests.support.folded import Kept

Json = dict[str, Any]

WORDS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "so1": {
        "running": ("queued", "running"),
        "waiting": ("waiting",),
        "success": ("success",),
        "error": ("failed", "timeout", "crashed"),
        "canceled": ("cancelled", "skipped"),
    },
    "n8n": {
        "new": ("queued",),
        "running": ("running",),
        "waiting": ("waiting",),
        "success": ("success",),
        "error": ("failed",),
        "crashed": ("crashed",),
        "canceled": ("cancelled", "timeout", "skipped"),
    },
    "team": {
        "PENDING": ("queued",),
        "RUNNING": ("running", "waiting"),
        "SUCCESS": ("success",),
        "FAILED": ("failed", "crashed"),
        "CANCELLED": ("cancelled", "timeout", "skipped"),
    },
}
"""By dialect, the statuses behind each word; nodes may also have been skipped."""


MODES: Final = {
    *("cli", "error", "integrated", "internal", "manual", "retry", "trigger", "webhook"),
    *("evaluation", "chat", "agent"),
}
"""Those of n8n."""

FOR_EVER: Final = "3000-01-01T00:00:00.000Z"
"""So n8n says that an execution waits for somebody."""


class _Reader:
    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def nodes(self, _key: int) -> Mapping[NodeKey, Node]:
        return self._kept.nodes

    def payloads(self, _key: int, slots: Iterable[str] | None = None) -> Mapping[str, bytes]:
        held = {slot: said for slot, said in self._kept.payloads.items() if said is not None}
        return held if slots is None else {slot: held[slot] for slot in slots if slot in held}


def found_of(kept: Kept, *, every_run: bool = False) -> Found:
    """An execution with all of its data, as the desk hands it to dialects."""
    data = data_of(_Reader(kept), 1, None, 1 << 30, every_run=every_run)
    latest = [(run.key, run.node) for run in data.nodes]
    return Found(summary(kept.execution), data, latest)


def labels_of(data: Data) -> dict[str, Label]:
    """Name and type of every node."""
    return {run.key[0]: Label(*_label(run)) for run in data.nodes}


def as_json(document: object) -> Any:
    """What stands on the wire."""
    return json.loads(msgspec.json.encode(document))


# --- so1 -------------------------------------------------------------------------------------------------------------


def so1_shown(kept: Kept) -> dict[str, Json]:
    """Its documents of an execution, by the name of their schema."""
    found = found_of(kept)
    assert found.data is not None
    document = so1.writers.execution(found, labels_of(found.data), found.summary.updated_us, with_data=True)
    return {"So1Execution": as_json(document)}


def so1_read(documents: Mapping[str, Json]) -> Json:
    """Members of ours."""
    shown = documents["So1Execution"]
    ends = [shown[name] for name in ("finishedAt", "failedAt", "canceledAt") if name in shown]
    named = {"success": "finishedAt", "error": "failedAt", "canceled": "canceledAt"}.get(shown["status"])
    assert [name for name in ("finishedAt", "failedAt", "canceledAt") if name in shown] in ([], [named])
    progress = shown.get("progress")
    return {
        "id": shown["executionId"],
        "statuses": WORDS["so1"][shown["status"]],
        "workflow": (shown["workflowId"], shown.get("workflowName")),
        "retry of": shown.get("originalExecutionId"),
        "started": _us(shown["startedAt"]),
        "stopped": _us(ends[0]) if ends else None,
        "duration": None if "duration" not in shown else round(shown["duration"] * 1_000_000),
        "progress": progress and (progress["nodesCompleted"], progress["nodesTotal"], progress["currentNode"]),
        "error": shown["error"]["message"] if "error" in shown else None,
        "failed node": shown.get("error", {}).get("node"),
        "output": shown["result"]["outputs"] if "result" in shown else None,
        "nodes": [
            {
                "label": (node["nodeName"], node["nodeType"]),
                "statuses": WORDS["so1"][node["status"]],
                "duration": None if node["duration"] is None else round(node["duration"] * 1_000_000),
                "data": (node.get("input"), node["output"]),
                "error": node["error"]["message"] if "error" in node else None,
            }
            for node in shown["nodeData"]
        ],
    }


def so1_meant(kept: Kept) -> Json:
    """The same members, as they are."""
    row, data = _row(kept), _data(kept)
    labels, failed_node, done = labels_of(data), (row.error or {}).get("nodeId"), row.progress
    return {
        "id": row.id,
        "workflow": (row.workflow_id, row.workflow_name),
        "retry of": row.retry_of,
        "started": row.started_us,
        "stopped": row.stopped_us if row.status in FINAL else None,
        "duration": row.duration_us,
        "progress": (done.completed, done.total, done.current) if row.status in IN_FLIGHT else None,
        "error": _message(row.error),
        "failed node": labels.get(failed_node, Label(failed_node, "")).name if failed_node else None,
        "output": _payload(data.output) if row.status == "success" else None,
        "nodes": [
            {
                "label": _label(run),
                "duration": run.node.duration_us,
                "data": (_payload(run.input), _payload(run.output)),
                "error": _message(run.node.error),
            }
            for run in data.nodes
        ],
    }


# --- n8n -------------------------------------------------------------------------------------------------------------


def n8n_shown(kept: Kept) -> dict[str, Json]:
    """Its documents of an execution, by the name of their schema."""
    found = found_of(kept, every_run=True)
    assert found.data is not None
    document = n8n.writers.execution(found.summary, "exec_9")
    document["data"] = n8n.writers.data(found.data, found.summary.error, redacted=False)
    return {"N8nExecution": as_json(document)}


def n8n_read(documents: Mapping[str, Json]) -> Json:
    """Members of ours."""
    shown = documents["N8nExecution"]
    result = shown["data"]["resultData"]
    assert shown["finished"] is (shown["status"] == "success")
    runs = [(run["executionIndex"], name, run) for name, runs in result["runData"].items() for run in runs]
    return {
        "id": shown["id"],
        "statuses": WORDS["n8n"][shown["status"]],
        "workflow": (shown["workflowId"], shown["workflowName"]),
        "mode": shown["mode"],
        "retries": (shown["retryOf"], shown["retrySuccessId"]),
        "created": _us(shown["createdAt"]),
        "started": _us(shown["startedAt"]),
        "stopped": _us(shown["stoppedAt"]),
        "waits until": None if shown["waitTill"] == FOR_EVER else _us(shown["waitTill"]),
        "notes": (shown["annotation"]["tags"], shown["annotation"]["vote"]),
        "error": result.get("error"),
        "nodes": [
            {
                "name": name,
                "statuses": WORDS["n8n"][run["executionStatus"]],
                "started": None if run["startTime"] is None else run["startTime"] * 1000,
                "duration": None if run["executionTime"] is None else run["executionTime"] * 1000,
                "output": run["data"]["main"][0] if "data" in run else None,
                "error": run.get("error"),
            }
            for _, name, run in sorted(runs, key=lambda it: it[0])
        ],
    }


def n8n_meant(kept: Kept) -> Json:
    """The same members, as they are."""
    row, data = _row(kept), _data(kept, every_run=True)
    return {
        "id": row.id,
        "workflow": (row.workflow_id, row.workflow_name),
        "mode": _n8n_mode(row),
        "retries": (row.retry_of, "exec_9"),
        "created": row.created_us,
        "started": row.started_us,
        "stopped": row.stopped_us if row.status in FINAL else None,
        "waits until": moment_us((row.waiting or {}).get("until")) if row.status == "waiting" else None,
        "notes": (row.tags, (row.annotation or {}).get("vote")),
        "error": row.error,
        "nodes": [
            {
                "name": _label(run)[0],
                "started": _node_started_us(run.node),
                "duration": _node_took_us(run.node),
                "output": None if run.output is None else _items(_payload(run.output)),
                "error": run.node.error,
            }
            for run in data.nodes
        ],
    }


def _n8n_mode(row: Summary) -> str:
    if row.mode is None and (row.retry_of is not None or row.parent is not None):
        return "integrated" if row.retry_of is None else "retry"
    said = row.mode or row.trigger_type
    return said if said in MODES else "trigger"


# --- team ------------------------------------------------------------------------------------------------------------


def team_shown(kept: Kept) -> dict[str, Json]:
    """Its documents of an execution, by the name of their schema; `export` is a part of a file."""
    found = found_of(kept)
    documents = {
        "TeamExecution": team.writers.execution(found.summary),
        "TeamDetail": team.writers.detail(found),
        "export": team.writers.exported(found),
    }
    rows = [dict(zip(team.words.CSV_COLUMNS, cells, strict=True)) for cells in team.writers.csv_rows(found)]
    return {name: as_json(it) for name, it in documents.items()} | {"csv": {"rows": as_json(rows)}}


def team_read(documents: Mapping[str, Json]) -> Json:
    """Members of ours."""
    shown, listed = documents["TeamDetail"], documents["TeamExecution"]
    export, rows = documents["export"], documents["csv"]["rows"]
    assert shown["status"] == listed["status"] == export["status"] == rows[0]["status"]
    return {
        "id": shown["id"],
        "ids": {listed["id"], export["executionId"], *(row["execution_id"] for row in rows)},
        "statuses": WORDS["team"][shown["status"]],
        "workflow": (shown["workflowId"], shown["workflowName"], shown["workflowVersion"]),
        "trigger": {shown["trigger"], listed["triggerType"], export["trigger"], rows[0]["trigger"]},
        "queued": (_us(shown["createdAt"]), _us(listed["startedAt"]), _us(rows[0]["started_at"])),
        "started": _us(shown["startedAt"]),
        "stopped": (_us(shown["completedAt"]), _us(listed["finishedAt"]), _us(rows[0]["completed_at"])),
        "duration": _ms(shown["durationMs"]),
        "from the queue on": (_ms(listed["durationMs"]), _ms(export["durationMs"])),
        "node count": listed["nodeCount"],
        "error": (shown["errorMessage"], listed["errorMessage"]),
        "data": (shown["inputData"], shown["outputData"]),
        "nodes": [
            {
                "run": (node["nodeId"], node["retryCount"] + 1),
                "label": (node["nodeName"], node["nodeType"]),
                "statuses": WORDS["team"][node["status"]],
                "started": _us(node["startedAt"]),
                "stopped": _us(node["completedAt"]),
                "duration": _ms(node["durationMs"]),
                "data": (node["inputData"], node["outputData"]),
                "error": node["errorMessage"],
            }
            for node in shown["nodeExecutions"]
        ],
        "exported": [
            {
                "id": node["nodeId"],
                "started": _us(node["startedAt"]),
                "duration": _ms(node["durationMs"]),
                "status": node["status"],
            }
            for node in export["nodeExecutions"]
        ],
        "lines": [
            {
                "id": row["node_id"],
                "started": _us(row["node_started_at"]),
                "duration": _ms(row["node_duration_ms"]),
                "status": row["node_status"],
            }
            for row in rows
            if row["node_id"] is not None
        ],
    }


def team_meant(kept: Kept) -> Json:
    """The same members, as they are."""
    row, data = _row(kept), _data(kept)
    since_us = row.at_us if row.queued_us is None else min(row.queued_us, row.at_us)
    took_us = None if row.stopped_us is None else max(0, row.stopped_us - since_us)
    word = {status: word for word, statuses in WORDS["team"].items() for status in statuses}
    told = [
        {
            "id": run.key[0],
            "started": run.node.started_us,
            "duration": _node_took_us(run.node),
            "status": word[run.node.status],
        }
        for run in data.nodes
    ]
    return {
        "id": row.id,
        "ids": {row.id},
        "workflow": (row.workflow_id, row.workflow_name, row.workflow_version),
        "trigger": {(row.trigger_type or row.mode or "").upper() or None},
        "queued": (since_us,) * 3,
        "started": row.started_us,
        "stopped": (row.stopped_us,) * 3,
        "duration": row.duration_us,
        "from the queue on": (took_us,) * 2,
        "node count": row.progress.total,
        "error": (_said(row.error),) * 2,
        "data": (_payload(data.input), _payload(data.output)),
        "nodes": [
            {
                "run": (run.key[0], run.key[2]),
                "label": _label(run),
                "started": run.node.started_us,
                "stopped": run.node.stopped_us,
                "duration": _node_took_us(run.node),
                "data": (_payload(run.input), _payload(run.output)),
                "error": _said(run.node.error),
            }
            for run in data.nodes
        ],
        "exported": told,
        "lines": told,
    }


# --- all of them -----------------------------------------------------------------------------------------------------

Shown = Callable[[Kept], dict[str, Json]]
DIALECTS: Final[Mapping[str, tuple[Shown, Callable[[Mapping[str, Json]], Json], Callable[[Kept], Json]]]] = {
    "so1": (so1_shown, so1_read, so1_meant),
    "n8n": (n8n_shown, n8n_read, n8n_meant),
    "team": (team_shown, team_read, team_meant),
}
"""By dialect: what it shows, how that is read, and what it should read as."""


def statuses_of(kept: Kept, dialect: str) -> list[str]:
    """Of the execution and of its nodes, in the order in which the dialect shows them."""
    return [_row(kept).status, *(run.node.status for run in _data(kept, every_run=dialect == "n8n").nodes)]


def _row(kept: Kept) -> Summary:
    return summary(kept.execution)


def _data(kept: Kept, *, every_run: bool = False) -> Data:
    data = found_of(kept, every_run=every_run).data
    assert data is not None
    return data


def _label(run: NodeRun) -> tuple[str, str]:
    _, _, name, kind = run.node.label or (0, 0, "", "")
    return name or run.key[0], kind


def _node_took_us(node: Node) -> int | None:
    if node.duration_us is not None or node.started_us is None or node.stopped_us is None:
        return node.duration_us
    return max(0, node.stopped_us - node.started_us)


def _node_started_us(node: Node) -> int | None:
    if node.started_us is not None or node.stopped_us is None:
        return node.started_us
    return node.stopped_us - (_node_took_us(node) or 0)


def _payload(said: bytes | None) -> Any:
    return None if said is None else json.loads(said)


def _items(said: Any) -> list[Any]:
    """What a node made as n8n has it: objects, each with an object `json`; what is none stands inside one."""
    some = [it for it in (said if isinstance(said, list) else [said]) if it is not None]
    objects = [it if isinstance(it, dict) else {"value": it} for it in some]
    return [it if isinstance(it.get("json"), dict) else {"json": it} for it in objects]


def _message(error: Mapping[str, Any] | None) -> str | None:
    return None if error is None else str(error.get("message") or "")


def _said(error: Mapping[str, Any] | None) -> str | None:
    return None if error is None else str(error.get("message") or error.get("type") or "")


def _us(said: str | None) -> int | None:
    return None if said is None else parse_time_us(said)


def _ms(said: int | None) -> int | None:
    return None if said is None else said * 1000
