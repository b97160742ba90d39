"""Writers: executions become documents."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from monitor.api.dialects.n8n.documents import (
    Mode,
    N8nData,
    N8nExecution,
    N8nResult,
    N8nRun,
    N8nTag,
)
from monitor.api.dialects.n8n.words import FOR_EVER, MODES, NODE_STATUS, STATUS
from monitor.events.codec import format_time
from monitor.executions.contents import Data, NodeRun
from monitor.projections.members import moment_us
from monitor.projections.nodes import run_duration_us
from monitor.projections.status import is_final
from monitor.projections.view import Summary
from monitor.web.replies import json_reply

_REDACTED: Final = {"json": {}, "redaction": {"redacted": True, "reason": "user_requested"}}


def execution(row: Summary, retried_by: str | None = None) -> N8nExecution:
    """An execution; `retried_by` is its first retry that succeeded."""
    return {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": STATUS[row.status],  # type: ignore[typeddict-item]
        "mode": _mode(row),
        "finished": row.status == "success",
        "createdAt": format_time(row.created_us),
        "startedAt": _time(row.started_us),
        "stoppedAt": _time(row.stopped_us) if is_final(row.status) else None,
        "deletedAt": None,
        "waitTill": _wait_till(row),
        "retryOf": row.retry_of,
        "retrySuccessId": retried_by,
        "workflowVersionId": None if row.workflow_version is None else str(row.workflow_version),
        "annotation": {"tags": row.tags, "vote": (row.annotation or {}).get("vote")},
    }


def repeated(row: Summary, execution_id: str, now_us: int) -> N8nExecution:
    """A retry of an execution that an engine has taken, and has told nothing of yet."""
    return {
        **execution(row),
        "id": execution_id,
        "status": "new",
        "mode": "retry",
        "finished": False,
        "createdAt": format_time(now_us),
        "startedAt": None,
        "stoppedAt": None,
        "waitTill": None,
        "retryOf": row.id,
        "annotation": {"tags": [], "vote": None},
    }


def _mode(row: Summary) -> Mode:
    if row.mode is None and row.retry_of is not None:
        return "retry"
    if row.mode is None and row.parent is not None:
        return "integrated"
    said = row.mode or row.trigger_type
    return next((mode for mode in MODES if mode == said), "trigger")


def _wait_till(row: Summary) -> str | None:
    if row.status != "waiting":
        return None
    return _time(moment_us((row.waiting or {}).get("until"))) or FOR_EVER


def data(found: Data, error: Mapping[str, Any] | None, *, redacted: bool) -> N8nData:
    """The runs of every node, in n8n's shape."""
    by_name: dict[str, list[N8nRun]] = {}
    last = ""
    for index, run in enumerate(found.nodes):
        name = last = (run.node.label[2] if run.node.label else "") or run.key[0]
        by_name.setdefault(name, []).append(_run(run, index, redacted=redacted))
    shown: N8nData = {
        "version": 1,
        "startData": {},
        "resultData": {"runData": by_name},
        "executionData": {
            "contextData": {},
            "nodeExecutionStack": [],
            "metadata": {},
            "waitingExecution": {},
            "waitingExecutionSource": {},
        },
    }
    if last:
        shown["resultData"]["lastNodeExecuted"] = last
    if error is not None:
        _put_error(shown["resultData"], error, redacted=redacted)
    if found.more_nodes:
        shown["moreRuns"] = found.more_nodes
    return shown


def _run(run: NodeRun, index: int, *, redacted: bool) -> N8nRun:
    node = run.node
    duration_us = run_duration_us(node)
    started_us = node.started_us
    if started_us is None and node.stopped_us is not None:
        started_us = node.stopped_us - (duration_us or 0)
    shown: N8nRun = {
        "startTime": None if started_us is None else started_us // 1000,
        "executionTime": None if duration_us is None else round(duration_us / 1000),
        "executionIndex": index,
        "executionStatus": NODE_STATUS[node.status],
        "source": [],
        "hints": [],
    }
    if run.output is not None:
        items = _items(run.output)
        shown["data"] = {"main": [[_REDACTED for _ in items] if redacted else items]}
    if node.error is not None:
        _put_error(shown, node.error, redacted=redacted)
    return shown


def _put_error(shown: N8nRun | N8nResult, error: Mapping[str, Any], *, redacted: bool) -> None:
    if redacted:
        shown["redactedError"] = {"type": str(error.get("type") or "Error")}
    else:
        shown["error"] = dict(error)


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
