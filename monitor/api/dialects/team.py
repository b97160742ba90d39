"""The dialect of NodeLoom: `/api/executions*`, Bearer `sdk_...`, pages by number, statuses in capitals, milliseconds.

A team is named in the path, and has to be the token's own. Exports are files of their own, masked as everything is.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.team_documents import (
    TeamDetail,
    TeamError,
    TeamExecution,
    TeamNodeExecution,
    TeamPage,
)
from monitor.errors import (
    CannotCancelExecution,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    ForeignTeam,
    InvalidRequest,
    NoEngine,
    TooManyWaiting,
)
from monitor.events.codec import format_time
from monitor.executions.exports import Export
from monitor.executions.reads import Asked, Found, NodeRun, without_payloads
from monitor.projections.execution import Node, NodeKey
from monitor.projections.filter import Condition, Filter
from monitor.projections.view import Summary
from monitor.web.csv_cells import csv_line
from monitor.web.faces import Face, Refusal
from monitor.web.operations import Answer, Operation
from monitor.web.params import Number, Text, Time, Word
from monitor.web.replies import json_reply
from monitor.web.vocabulary import Vocabulary

# --- words -----------------------------------------------------------------------------------------------------------

STATUS: Final = Vocabulary(
    {
        "queued": "PENDING",
        "running": "RUNNING",
        "waiting": "RUNNING",
        "success": "SUCCESS",
        "failed": "FAILED",
        "crashed": "FAILED",
        "cancelled": "CANCELLED",
        # "manually cancelled or timed out", says the document.
        "timeout": "CANCELLED",
    }
)

NODE_STATUS: Final[Mapping[str, Any]] = {**STATUS.words, "skipped": "CANCELLED", "retrying": "RUNNING"}

DECISIONS: Final = """\
A list's `startedAt` and `durationMs` count from when the execution was queued, those of the details from when it
started: so do the document's examples (2350 and 2300 ms of one execution). Its filter leaves out PENDING, which exists,
and is taken here.
The end is `finishedAt` in lists and `completedAt` elsewhere, the trigger `triggerType` there and `trigger` here.
"""

CSV_COLUMNS: Final = (
    *("execution_id", "workflow_id", "workflow_name", "status", "trigger", "started_at", "completed_at", "duration_ms"),
    *("node_id", "node_type", "node_name", "node_status", "node_started_at", "node_completed_at", "node_duration_ms"),
    "node_error",
)

_NODE_EXECUTIONS: Final = UUID("5f0c6f6e-3a3e-5d0c-9a55-0d4c1d1f4a52")
"""The space of the ids of node executions, which follow from what they are (RFC 9562, 5.5)."""


def _words(refusal: Refusal) -> Mapping[str, Any]:
    return {
        "status": refusal.status,
        "error": HTTPStatus(refusal.status).phrase,
        "message": refusal.message,
        "timestamp": format_time(refusal.at_us),
        "path": refusal.path,
    }


FACE: Final = Face("team", "/api/executions", _words, TeamError, spelling="sdk")

# --- readers ---------------------------------------------------------------------------------------------------------

DEFAULT_SIZE: Final = 20
MOST_SIZE: Final = 200
MOST_SKIPPED: Final = 100_000
"""Rows before a page: each costs a step along an index."""
DEFAULT_DAYS: Final = 30
_DAY_US: Final = 86_400_000_000

_PAGE: Final = Number("page", 0, "Which page, from 0.")
_SIZE: Final = Number("size", 1, f"Executions of a page, up to {MOST_SIZE}; {DEFAULT_SIZE} where nothing is said.")
_STATUS: Final = Word("status", STATUS.known, "Executions that are shown so.")
_WORKFLOW: Final = Text("workflowId", "Of this workflow.")
_FROM: Final = Time("from", "Started at this time or later.")
_TO: Final = Time("to", "Started at this time or before.")
_FORMAT: Final = Word("format", ("csv", "json"), "csv, where nothing is said, has a line for each node execution.")
_DAYS: Final = Number("days", 1, f"Executions that started in the last days; {DEFAULT_DAYS} where nothing is said.")
_LIST: Final = (_PAGE, _SIZE, _STATUS, _WORKFLOW, _FROM, _TO)


def asked_of(query: QueryParams) -> tuple[Asked, int, int]:
    """The page that is asked for, its number and its size."""
    page, size = _PAGE.take(query) or 0, _SIZE.take(query) or DEFAULT_SIZE
    if size > MOST_SIZE:
        raise InvalidRequest(f"'size' is a whole number from 1 to {MOST_SIZE}", field="size")
    if page * size > MOST_SKIPPED:
        message = f"pages end behind {MOST_SKIPPED} executions; narrow the list by 'from' and 'to', or export it"
        raise InvalidRequest(message, field="page")
    since_us, until_us = _FROM.take(query), _TO.take(query)
    if since_us is not None and until_us is not None and since_us > until_us:
        raise InvalidRequest("'from' is later than 'to'", field="from")
    status, workflow_id = _STATUS.take(query), _WORKFLOW.take(query)
    tests = (
        None if status is None else STATUS.test(status),
        None if workflow_id is None else Condition("workflowId", "eq", (workflow_id,)),
        None if since_us is None else Condition("startedAt", "gte", (since_us,)),
        None if until_us is None else Condition("startedAt", "lte", (until_us,)),
    )
    found = Filter(tuple(test for test in tests if test is not None))
    return Asked(found, "-startedAt", size, None, with_data=False, skip=page * size), page, size


def check_team(who: Principal, team: str) -> None:
    """Raises ForeignTeam for any team but one's own, whether there is such a one or not."""
    if team != who.team:
        raise ForeignTeam


# --- writers ---------------------------------------------------------------------------------------------------------


def execution(row: Summary) -> TeamExecution:
    """An execution, as lists show it."""
    since_us = _since_us(row)
    return {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "status": STATUS[row.status],  # type: ignore[typeddict-item]
        "startedAt": format_time(since_us),
        "finishedAt": _time(row.stopped_us),
        "durationMs": None if row.stopped_us is None else _ms(max(0, row.stopped_us - since_us)),
        "triggerType": _trigger(row),
        "nodeCount": row.progress.total,
        "errorMessage": _message(row.error),
    }


def detail(found: Found) -> TeamDetail:
    """An execution with its nodes; data is null where it was not read."""
    row, data = found.summary, found.data
    return {
        "id": row.id,
        "workflowId": row.workflow_id,
        "workflowName": row.workflow_name,
        "workflowVersion": row.workflow_version,
        "status": STATUS[row.status],  # type: ignore[typeddict-item]
        "trigger": _trigger(row),
        "inputData": _raw(data.input) if data else None,
        "outputData": _raw(data.output) if data else None,
        "errorMessage": _message(row.error),
        "createdAt": format_time(_since_us(row)),
        "startedAt": _time(row.started_us),
        "completedAt": _time(row.stopped_us),
        "durationMs": _ms(row.duration_us),
        "nodeExecutions": [_node_execution(row.id, run) for run in data.nodes] if data else [],
        "moreNodes": data.more_nodes if data else 0,
    }


def _node_execution(execution_id: str, run: NodeRun) -> TeamNodeExecution:
    shown = _node(run.key, run.node)
    name = "\n".join((execution_id, *map(str, run.key)))
    return {
        "id": str(uuid5(_NODE_EXECUTIONS, name)),
        "nodeId": shown["nodeId"],
        "nodeName": shown["nodeName"],
        "nodeType": shown["nodeType"],
        "status": shown["status"],
        "startedAt": shown["startedAt"],
        "completedAt": shown["completedAt"],
        "durationMs": shown["durationMs"],
        "inputData": _raw(run.input),
        "outputData": _raw(run.output),
        "errorMessage": shown["error"],
        "retryCount": run.key[2] - 1,
    }


def exported(found: Found) -> dict[str, Any]:
    """An execution with its nodes, as an export has it."""
    shown = execution(found.summary)
    return {
        "executionId": shown["id"],
        "workflowId": shown["workflowId"],
        "workflowName": shown["workflowName"],
        "status": shown["status"],
        "trigger": shown["triggerType"],
        "startedAt": shown["startedAt"],
        "completedAt": shown["finishedAt"],
        "durationMs": shown["durationMs"],
        "nodeExecutions": [_node(key, node) for key, node in found.nodes or ()],
    }


def csv_rows(found: Found) -> list[Sequence[Any]]:
    """The lines of an execution: one for each node, and one where none has run."""
    shown = exported(found)
    *own, nodes = shown.values()
    return [[*own, *node.values()] for node in nodes] or [[*own, *[None] * 8]]


def _node(key: NodeKey, node: Node) -> dict[str, Any]:
    _, _, name, kind = node.label or (0, 0, "", "")
    duration_us = node.duration_us
    if duration_us is None and node.started_us is not None and node.stopped_us is not None:
        duration_us = max(0, node.stopped_us - node.started_us)
    return {
        "nodeId": key[0],
        "nodeType": kind,
        "nodeName": name or key[0],
        "status": NODE_STATUS[node.status],
        "startedAt": _time(node.started_us),
        "completedAt": _time(node.stopped_us),
        "durationMs": _ms(duration_us),
        "error": _message(node.error),
    }


def _since_us(row: Summary) -> int:
    return row.at_us if row.queued_us is None else min(row.queued_us, row.at_us)


def _trigger(row: Summary) -> str | None:
    return (row.trigger_type or row.mode or "").upper() or None


def _message(error: Mapping[str, Any] | None) -> str | None:
    return None if error is None else str(error.get("message") or error.get("type") or "")


def _raw(payload: bytes | None) -> Any:
    return None if payload is None else msgspec.Raw(payload)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)


def _ms(duration_us: int | None) -> int | None:
    return None if duration_us is None else round(duration_us / 1000)


async def _csv(export: Export) -> AsyncIterator[bytes]:
    yield csv_line(CSV_COLUMNS)
    async for rows in export.pages:
        yield b"".join(csv_line(cells) for row in rows for cells in csv_rows(row))


async def _json(export: Export) -> AsyncIterator[bytes]:
    joint = b"["
    async for rows in export.pages:
        for row in rows:
            yield joint + msgspec.json.encode(exported(row))
            joint = b",\n"
    yield b"[]" if joint == b"[" else b"]"


# --- routes ----------------------------------------------------------------------------------------------------------


def operations(desk: Desk) -> list[Operation]:
    """The operations of this dialect."""
    face, here = _Team(desk), partial(Operation, face=FACE)
    page = (Answer(TeamPage),)
    return [
        here(
            "GET",
            "/api/executions",
            face.of_workflow,
            "executions:read",
            query=_LIST,
            answers=page,
            name="listExecutionsOfWorkflow",
        ),
        here(
            "GET",
            "/api/executions/team/{teamId}",
            face.of_team,
            "executions:read",
            query=_LIST,
            answers=page,
            errors=(ForeignTeam,),
            name="listExecutionsOfTeam",
        ),
        here(
            "GET",
            "/api/executions/team/{teamId}/export",
            face.export,
            "executions:read",
            query=(_FORMAT, _DAYS),
            answers=(Answer(None, media_types=("text/csv", "application/json")),),
            errors=(ForeignTeam,),
            name="exportExecutionsOfTeam",
        ),
        here(
            "GET",
            "/api/executions/{id}",
            face.single,
            "executions:read",
            answers=(Answer(TeamDetail),),
            errors=(ExecutionNotFound,),
            name="getExecutionDetails",
        ),
        here(
            "POST",
            "/api/executions/{id}/cancel",
            face.cancel,
            "executions:write",
            answers=(Answer(), Answer(status=202)),
            errors=(
                *(ExecutionNotFound, CannotCancelExecution),
                *(NoEngine, CommandRefused, EngineUnavailable, TooManyWaiting),
            ),
            name="cancelExecutionOfTeam",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Team:
    desk: Desk

    async def of_workflow(self, request: Request, who: Principal) -> Response:
        """A page of a workflow's executions, the newest first."""
        if _WORKFLOW.take(request.query_params) is None:
            raise InvalidRequest("'workflowId' is missing", field="workflowId")
        return await self._page(request, who)

    async def of_team(self, request: Request, who: Principal) -> Response:
        """A page of a team's executions, the newest first."""
        check_team(who, request.path_params["teamId"])
        return await self._page(request, who)

    async def export(self, request: Request, who: Principal) -> Response:
        """Every execution of the last days, as a file: nested, or a line for each node execution."""
        check_team(who, request.path_params["teamId"])
        query, now_us = request.query_params, self.desk.clock.now_us()
        format_, days = _FORMAT.take(query) or "csv", _DAYS.take(query) or DEFAULT_DAYS
        since = Filter((Condition("startedAt", "gte", (max(0, now_us - days * _DAY_US),)),))
        asked = Asked(since, "-startedAt", 1, None, with_data=False, with_nodes=True)
        export = await self.desk.exports.begin(who, asked, None)
        name = f"executions-{format_time(now_us)[:10]}.{format_}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        if format_ == "csv":
            return StreamingResponse(_csv(export), headers=headers, media_type="text/csv; charset=utf-8")
        return StreamingResponse(_json(export), headers=headers, media_type="application/json")

    async def single(self, request: Request, who: Principal) -> Response:
        """One execution, with what its nodes were given and made for those who may see that."""
        execution_id, may_see = request.path_params["id"], who.may("executions:data")
        found, _ = await self.desk.reads.execution(who, execution_id, None, with_data=True, with_lines=False)
        shown = detail(found if may_see else found._replace(data=without_payloads(found.data)))
        return json_reply(shown, headers={"cache-control": "no-store"})

    async def cancel(self, request: Request, who: Principal) -> Response:
        """Nothing, once it is stopped; 202 while that is not visible yet."""
        done = await self.desk.commands.cancel(who, request.path_params["id"], "manual")
        return Response(status_code=200 if done.is_done else 202)

    async def _page(self, request: Request, who: Principal) -> Response:
        asked, number, size = asked_of(request.query_params)
        listed, _ = await self.desk.reads.listed(who, asked, None)
        page: TeamPage = {
            "content": [execution(row.summary) for row in listed.rows],
            "totalElements": listed.total,
            "totalPages": -(-listed.total // size),
            "totalIsLowerBound": listed.total_is_lower_bound,
            "number": number,
            "size": size,
        }
        return json_reply(page, headers={"cache-control": "no-store"})
