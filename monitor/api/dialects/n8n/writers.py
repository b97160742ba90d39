"""Writers: executions become documents."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from monitor.api.dialects.n8n.documents import (
    N8nData,
    N8nExecution,
    N8nRun,
    N8nTag,
)
from monitor.api.dialects.n8n.words import MODES, NODE_STATUS, STATUS
from monitor.events.codec import format_time
from monitor.executions.reads import Data, NodeRun
from monitor.projections.members import moment_us
from monitor.projections.status import is_final
from monitor.projections.view import Summary
from monitor.web.replies import json_reply


def execution(row: Summary, retried_by: str | None = None) -> N8nExecution:
    """An execution; `retried_by` is its first retry that succeeded."""
    until_us = moment_us((row.waiting or {}).get("until"))
    return {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": STATUS[row.status],  # type: ignore[typeddict-item]
        "mode": MODES.get(row.mode or "", row.mode or "trigger"),
        "finished": row.status == "success",
        "createdAt": format_time(row.created_us),
        "startedAt": _time(row.started_us),
        "stoppedAt": _time(row.stopped_us) if is_final(row.status) else None,
        "waitTill": _time(until_us),
        "retryOf": row.retry_of,
        "retrySuccessId": retried_by,
        "annotation": {"tags": row.tags, "vote": (row.annotation or {}).get("vote")},
    }


def data(found: Data, error: Mapping[str, Any] | None, *, redacted: bool) -> N8nData:
    """The runs of every node, in n8n's shape."""
    by_name: dict[str, list[N8nRun]] = {}
    last = ""
    for index, run in enumerate(found.nodes):
        name = last = (run.node.label[2] if run.node.label else "") or run.key[0]
        by_name.setdefault(name, []).append(_run(run, index, redacted=redacted))
    shown: N8nData = {"resultData": {"runData": by_name}}
    if last:
        shown["resultData"]["lastNodeExecuted"] = last
    if error is not None:
        shown["resultData"]["error"] = dict(error)
    if found.more_nodes:
        shown["moreRuns"] = found.more_nodes
    return shown


def _run(run: NodeRun, index: int, *, redacted: bool) -> N8nRun:
    node = run.node
    duration_us = node.duration_us
    if duration_us is None and node.started_us is not None and node.stopped_us is not None:
        duration_us = max(0, node.stopped_us - node.started_us)
    started_us = node.started_us
    if started_us is None and node.stopped_us is not None:
        started_us = node.stopped_us - (duration_us or 0)
    shown: N8nRun = {
        "startTime": None if started_us is None else started_us // 1000,
        "executionTime": None if duration_us is None else round(duration_us / 1000),
        "executionIndex": index,
        "executionStatus": NODE_STATUS[node.status],
    }
    if run.output is not None:
        items = _items(run.output)
        shown["data"] = {"main": [[{"json": {}} for _ in items] if redacted else items]}
    if node.error is not None:
        shown["error"] = dict(node.error)
    return shown


def _items(payload: bytes) -> list[Any]:
    """What a node made as n8n's items: objects with a member `json`."""
    said = msgspec.json.decode(payload)
    return [_item(it) for it in (said if isinstance(said, list) else [said]) if it is not None]


def _item(said: Any) -> Any:
    if isinstance(said, dict):
        return said if isinstance(said.get("json"), dict) else {"json": said}
    return {"json": {"value": said}}


def number(id_: str) -> str | int:
    """An id, as a number where it is one."""
    return int(id_) if id_.isascii() and id_.isdigit() and len(id_) < 16 else id_


def tags(row: Summary) -> list[N8nTag]:
    """The tags of an execution."""
    return [{"id": tag, "name": tag} for tag in row.tags]


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def reply(document: object, status: int = 200) -> Response:
    """An answer that nobody keeps."""
    return json_reply(document, status, {"cache-control": "no-store"})
