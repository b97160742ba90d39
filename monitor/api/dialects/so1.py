"""The dialect of SO1's wrapper over n8n: `/v1/n8n/*`, Bearer `so1_key_...`, `{success, data}` around every answer.

Durations are seconds. An execution's end has the name of its outcome: `finishedAt`, `failedAt` or `canceledAt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import msgspec
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.so1_documents import (
    So1Answer,
    So1Deleted,
    So1Error,
    So1Execution,
    So1ExecutionError,
    So1Line,
    So1List,
    So1Log,
    So1Node,
    So1Pagination,
)
from monitor.errors import (
    CannotCancelExecution,
    CannotDeleteExecution,
    CannotRetryExecution,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    InvalidCursor,
    InvalidEvent,
    InvalidRequest,
    NoEngine,
    PositionNotReached,
    TooManyWaiting,
    WorkflowNotFound,
)
from monitor.events.codec import format_time
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.executions.commands import START_WAIT_S
from monitor.executions.lines import AskedLines
from monitor.executions.lookups import Label
from monitor.executions.reads import Asked, Found, NodeRun
from monitor.executions.waiting import ENDED, STARTED, Commanded
from monitor.projections.filter import Condition, Filter
from monitor.projections.loglines import LEVELS, LogLine
from monitor.projections.status import IN_FLIGHT, is_final
from monitor.projections.view import Summary
from monitor.web.auth import permit
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.documents import Document, read_document
from monitor.web.faces import Face, Refusal
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR, Flag, Limit, Text, Time, Word, Words
from monitor.web.prefer import while_there
from monitor.web.replies import json_reply
from monitor.web.vocabulary import Vocabulary

# --- words -----------------------------------------------------------------------------------------------------------

STATUS: Final = Vocabulary(
    {
        "queued": "running",
        "running": "running",
        "waiting": "waiting",
        "success": "success",
        "failed": "error",
        "timeout": "error",
        "crashed": "error",
        "cancelled": "canceled",
    }
)

NODE_STATUS: Final[Mapping[str, str]] = {**STATUS.words, "skipped": "canceled", "retrying": "waiting"}

END_NAMED: Final[Mapping[str, Literal["finishedAt", "failedAt", "canceledAt"]]] = {
    "success": "finishedAt",
    "error": "failedAt",
    "canceled": "canceledAt",
}

CODES: Final[Mapping[str, str]] = {
    "AUTHENTICATION_REQUIRED": "missing_authorization",
    "TOKEN_MALFORMED": "invalid_api_key",
    "TOKEN_INVALID": "invalid_api_key",
    "TOKEN_REVOKED": "invalid_api_key",
    "TOKEN_EXPIRED": "expired_api_key",
    # The only one that the original spells in capitals.
    "RATE_LIMITED": "RATE_LIMIT_EXCEEDED",
}
"""Of errors that have a word of their own there; the others are our codes in small letters."""

DECISIONS: Final = """\
`result` has two shapes in the document. Where an execution was waited for it is what the workflow made (`result.x`);
where it is asked for by id it is `{"success": true, "outputs": {...}}`, since the document's own retry loop looks at
`result.success`.
The failed execution of the document has no `workflowId`, the others have: all have it here.
"""


def _words(refusal: Refusal) -> Mapping[str, Any]:
    code = CODES.get(refusal.code, refusal.code.lower())
    error = {"code": code, "message": refusal.message, "details": dict(refusal.details)}
    return {"success": False, "error": error, "metadata": {"timestamp": format_time(refusal.at_us)}}


FACE: Final = Face("so1", "/v1/n8n", _words, So1Error, spelling="so1_key")


# --- readers ---------------------------------------------------------------------------------------------------------

DEFAULT_TIMEOUT_S: Final = 300
_INCLUDE: Final = Flag("includeData", "Adds what every node was given and made, and what came of all.")
_STATUS: Final = Word("status", STATUS.known, "Executions that are shown so.")
_WORKFLOW: Final = Text("workflowId", "Of this workflow.")
_AFTER: Final = Time("startedAfter", "Started after this time.")
_BEFORE: Final = Time("startedBefore", "Started before this time.")
_LIMIT: Final = Limit(default=20, most=100)
_LEVEL: Final = Words("level", LEVELS, "Lines of these levels.")
_LINES: Final = Limit(default=1000, most=1000)


class So1Execute(Document):
    """The body of `POST /v1/n8n/workflows/{id}/execute`."""

    data: Any = Field(None, description="What the workflow is given.")
    mode: Literal["async", "sync"] = Field("async", description="sync: the answer waits for the end.")
    timeout: int = Field(DEFAULT_TIMEOUT_S, ge=1, le=3600, description="Seconds that a sync execution is waited for.")


class So1Retry(Document):
    """The body of `POST /v1/n8n/executions/{id}/retry`."""

    from_node: str | None = Field(
        None, alias="fromNode", min_length=1, max_length=MAX_ID_CHARACTERS, description="Start there."
    )


def filter_of(status: str | None, workflow_id: str | None, after_us: int | None, before_us: int | None) -> Filter:
    """The filter of a list."""
    if after_us is not None and before_us is not None and after_us > before_us:
        raise InvalidRequest("'startedAfter' is later than 'startedBefore'", field="startedAfter")
    tests = (
        None if status is None else STATUS.test(status),
        None if workflow_id is None else Condition("workflowId", "eq", (workflow_id,)),
        None if after_us is None else Condition("startedAt", "gt", (after_us,)),
        None if before_us is None else Condition("startedAt", "lt", (before_us,)),
    )
    return Filter(tuple(test for test in tests if test is not None))


# --- writers ---------------------------------------------------------------------------------------------------------


def execution(found: Found, labels: Mapping[str, Label], now_us: int, *, with_data: bool = False) -> So1Execution:
    """An execution; `labels` name its nodes."""
    row, data = found.summary, found.data
    shown = brief(row)
    if row.status in IN_FLIGHT:
        done, total = row.progress.completed, row.progress.total
        shown["progress"] = {"nodesCompleted": done, "nodesTotal": total, "currentNode": row.progress.current}
        if (end_us := estimated_end_us(row, now_us)) is not None:
            shown["estimatedCompletionAt"] = format_time(end_us)
    if row.error is not None:
        shown["error"] = _error(row.error, labels)
    if row.status == "success" and data is not None:
        shown["result"] = {"success": True, "outputs": _raw(data.output)}
    if with_data and data is not None:
        shown["nodeData"] = [_node(run, labels) for run in data.nodes]
    return shown


def brief(row: Summary) -> So1Execution:
    """The same as a list shows it."""
    status: Any = STATUS[row.status]
    shown: So1Execution = {
        "executionId": row.id,
        "workflowId": row.workflow_id,
        "status": status,
        "startedAt": None if row.started_us is None else format_time(row.started_us),
    }
    if row.workflow_name is not None:
        shown["workflowName"] = row.workflow_name
    if row.retry_of is not None:
        shown["originalExecutionId"] = row.retry_of
    if row.stopped_us is not None and is_final(row.status):
        shown[END_NAMED[status]] = format_time(row.stopped_us)
    if row.duration_us is not None:
        shown["duration"] = row.duration_us / 1_000_000
    return shown


def estimated_end_us(row: Summary, now_us: int) -> int | None:
    """When it ends if what is left goes on as what is done did; None before anything is done."""
    ratio = row.progress.ratio(row.status)
    if row.started_us is None or row.status != "running" or not ratio:
        return None
    return row.started_us + round(max(0, now_us - row.started_us) / ratio)


def _error(said: Mapping[str, Any], labels: Mapping[str, Label]) -> So1ExecutionError:
    shown: So1ExecutionError = {"message": str(said.get("message") or ""), "details": said.get("details") or {}}
    if node_id := said.get("nodeId"):
        label = labels.get(str(node_id), Label(str(node_id), ""))
        shown["node"], shown["nodeType"] = label
    return shown


def _node(run: NodeRun, labels: Mapping[str, Label]) -> So1Node:
    label, node = labels.get(run.key[0], Label(run.key[0], "")), run.node
    shown: So1Node = {
        "nodeName": label.name,
        "nodeType": label.type,
        "status": NODE_STATUS[node.status],
        "duration": None if node.duration_us is None else node.duration_us / 1_000_000,
        "output": _raw(run.output),
    }
    if run.input is not None:
        shown["input"] = _raw(run.input)
    if node.error is not None:
        shown["error"] = _error({**node.error, "nodeId": run.key[0]}, labels)
    return shown


def _line(line: LogLine, labels: Mapping[str, Label]) -> So1Line:
    shown: So1Line = {"timestamp": format_time(line.time_us), "level": line.level, "message": line.message}
    if line.node_id is not None:
        shown["node"] = labels.get(line.node_id, Label(line.node_id, "")).name
    return shown


def _raw(payload: bytes | None) -> Any:
    return None if payload is None else msgspec.Raw(payload)


def _reply(data: object, status: int = 200) -> Response:
    return json_reply({"success": True, "data": data}, status, {"cache-control": "no-store"})


# --- routes ----------------------------------------------------------------------------------------------------------

_STARTS: Final = (NoEngine, CommandRefused, EngineUnavailable, TooManyWaiting)


def operations(desk: Desk) -> list[Operation]:
    """The operations of this dialect."""
    face, here = _So1(desk), partial(Operation, face=FACE)
    one = So1Answer[So1Execution]
    return [
        here(
            "POST",
            "/v1/n8n/workflows/{id}/execute",
            face.execute,
            "workflow:execute",
            body=So1Execute,
            body_optional=True,
            answers=(Answer(one), Answer(one, 202)),
            errors=(WorkflowNotFound, InvalidEvent, *_STARTS),
        ),
        here(
            "GET",
            "/v1/n8n/executions",
            face.listing,
            "executions:read",
            query=(_STATUS, _WORKFLOW, _AFTER, _BEFORE, _LIMIT, CURSOR),
            answers=(Answer(So1Answer[So1List]),),
            errors=(InvalidCursor,),
            name="listSo1Executions",
        ),
        here(
            "GET",
            "/v1/n8n/executions/{id}",
            face.single,
            "executions:read",
            query=(_INCLUDE,),
            answers=(Answer(one),),
            errors=(ExecutionNotFound,),
        ),
        here(
            "POST",
            "/v1/n8n/executions/{id}/retry",
            face.retry,
            "executions:write",
            body=So1Retry,
            body_optional=True,
            answers=(Answer(one), Answer(one, 202)),
            errors=(ExecutionNotFound, CannotRetryExecution, *_STARTS),
        ),
        here(
            "POST",
            "/v1/n8n/executions/{id}/cancel",
            face.cancel,
            "executions:write",
            answers=(Answer(one), Answer(one, 202)),
            errors=(ExecutionNotFound, CannotCancelExecution, *_STARTS),
        ),
        here(
            "DELETE",
            "/v1/n8n/executions/{id}",
            face.delete,
            "executions:write",
            answers=(Answer(So1Answer[So1Deleted]),),
            errors=(ExecutionNotFound, CannotDeleteExecution, PositionNotReached),
        ),
        here(
            "GET",
            "/v1/n8n/executions/{id}/logs",
            face.logs,
            "executions:read",
            query=(_LEVEL, _LINES),
            answers=(Answer(So1Answer[So1Log]),),
            errors=(ExecutionNotFound,),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _So1:
    desk: Desk

    async def execute(self, request: Request, who: Principal) -> Response:
        """A new execution of a workflow: as it starts, or with `mode` sync as it ended within `timeout` (else 202)."""
        asked = await read_document(request, So1Execute, is_optional=True)
        is_sync = asked.mode == "sync"
        goal, wait_s = (ENDED, asked.timeout) if is_sync else (STARTED, START_WAIT_S)
        work = self.desk.commands.execute(who, request.path_params["id"], asked.data, wait_s=wait_s, goal=goal)
        done = await while_there(request, work)
        shown = self._commanded(done)
        if is_sync and done.is_done and who.may("executions:data"):
            found, _ = await self.desk.reads.execution(who, done.execution_id, None, with_data=True, with_lines=False)
            shown["result"] = _raw(found.data.output if found.data else None)
        return _reply(shown, 200 if done.is_done or not is_sync else 202)

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of executions, the newest first; `nextCursor` leads to the next one."""
        query = request.query_params
        status, workflow_id, cursor = _STATUS.take(query), _WORKFLOW.take(query), CURSOR.take(query)
        after_us, before_us, limit = _AFTER.take(query), _BEFORE.take(query), _LIMIT.take(query)
        question = ["so1", who.team, *map(repr, (status, workflow_id, after_us, before_us))]
        asked = Asked(
            filter=filter_of(status, workflow_id, after_us, before_us),
            sort="-startedAt",
            limit=limit,
            after=None if cursor is None else open_cursor(self.desk.sealer, question, cursor),
            with_data=False,
        )
        page, _ = await self.desk.reads.listed(who, asked, None)
        pagination: So1Pagination = {
            "total": page.total,
            "limit": limit,
            "hasMore": page.after is not None,
            "nextCursor": None if page.after is None else cursor_token(self.desk.sealer, question, page.after),
        }
        return _reply({"executions": [brief(row.summary) for row in page.rows], "pagination": pagination})

    async def single(self, request: Request, who: Principal) -> Response:
        """One execution: its progress while it runs, its result or its error once it has ended."""
        with_data = _INCLUDE.take(request.query_params)
        if with_data:
            permit(who, "executions:data")
        execution_id = request.path_params["id"]
        found, _ = await self.desk.reads.execution(
            who, execution_id, None, with_data=who.may("executions:data"), with_lines=False
        )
        labels = await self.desk.lookups.labels(who, execution_id)
        return _reply(execution(found, labels, self.desk.clock.now_us(), with_data=with_data))

    async def retry(self, request: Request, who: Principal) -> Response:
        """An execution that repeats one that has ended: from the node that failed, or from `fromNode`."""
        asked, execution_id = await read_document(request, So1Retry, is_optional=True), request.path_params["id"]
        node_id = asked.from_node or await self._failed_node(who, execution_id)
        done = await self.desk.commands.retry(who, execution_id, [node_id] if node_id else [])
        shown = self._commanded(done)
        shown["originalExecutionId"] = execution_id
        return _reply(shown, 200 if done.is_done else 202)

    async def cancel(self, request: Request, who: Principal) -> Response:
        """An execution that is stopped where it is; 202 while that is not visible yet."""
        done = await self.desk.commands.cancel(who, request.path_params["id"], "manual")
        return _reply(self._commanded(done), 200 if done.is_done else 202)

    async def delete(self, request: Request, who: Principal) -> Response:
        """No execution any more, with its data and its log. It cannot be undone."""
        execution_id = request.path_params["id"]
        await self.desk.changes.delete(who, execution_id)
        return _reply({"executionId": execution_id, "deletedAt": format_time(self.desk.clock.now_us())})

    async def logs(self, request: Request, who: Principal) -> Response:
        """The first lines of the log, the oldest first."""
        query, execution_id = request.query_params, request.path_params["id"]
        asked = AskedLines(levels=_LEVEL.take(query) or None, node_id=None, limit=_LINES.take(query))
        page, _ = await self.desk.reads.lines(who, execution_id, None, asked)
        labels = await self.desk.lookups.labels(who, execution_id)
        return _reply({"executionId": execution_id, "logs": [_line(line, labels) for line in page.lines]})

    async def _failed_node(self, who: Principal, execution_id: str) -> str | None:
        found, _ = await self.desk.reads.execution(who, execution_id, None, with_data=False, with_lines=False)
        node_id = (found.summary.error or {}).get("nodeId")
        return str(node_id) if node_id else None

    def _commanded(self, done: Commanded) -> So1Execution:
        if done.summary is not None:
            return brief(done.summary)
        return {"executionId": done.execution_id, "workflowId": "", "status": "running", "startedAt": None}
