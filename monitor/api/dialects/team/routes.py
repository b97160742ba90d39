"""Routes: what the desk is asked for."""

from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.team.documents import (
    TeamDetail,
    TeamPage,
)
from monitor.api.dialects.team.readers import (
    DAY_US,
    DAYS,
    DEFAULT_DAYS,
    FORMAT,
    LIST,
    LIST_OF_ONE,
    THE_WORKFLOW,
    asked_of,
    check_team,
)
from monitor.api.dialects.team.words import FACE
from monitor.api.dialects.team.writers import csv_of, detail, execution, json_of
from monitor.errors import (
    CannotCancelExecution,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    ForeignTeam,
    NoEngine,
    TooManyWaiting,
)
from monitor.events.codec import format_time
from monitor.executions.contents import without_payloads
from monitor.executions.reads import Asked
from monitor.projections.filter import Filter
from monitor.web.operations import Answer, Operation
from monitor.web.replies import json_reply


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
            query=LIST_OF_ONE,
            answers=page,
            name="listExecutionsOfWorkflow",
        ),
        here(
            "GET",
            "/api/executions/team/{teamId}",
            face.of_team,
            "executions:read",
            query=LIST,
            answers=page,
            errors=(ForeignTeam,),
            name="listExecutionsOfTeam",
        ),
        here(
            "GET",
            "/api/executions/team/{teamId}/export",
            face.export,
            "executions:read",
            query=(FORMAT, DAYS),
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
            answers=(Answer(media_types=()), Answer(status=202, media_types=())),
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
        THE_WORKFLOW.take(request.query_params)
        return await self._page(request, who)

    async def of_team(self, request: Request, who: Principal) -> Response:
        """A page of a team's executions, the newest first."""
        check_team(who, request.path_params["teamId"])
        return await self._page(request, who)

    async def export(self, request: Request, who: Principal) -> Response:
        """Every execution of the last days, as a file: nested, or a line for each node execution."""
        check_team(who, request.path_params["teamId"])
        query, now_us = request.query_params, self.desk.clock.now_us()
        format_, days = FORMAT.take(query) or "csv", DAYS.take(query) or DEFAULT_DAYS
        asked = Asked(Filter(), "-startedAt", 1, None, with_data=False, with_nodes=True)
        export = await self.desk.exports.begin(who, asked, None, since_us=now_us - days * DAY_US)
        name = f"executions-{format_time(now_us)[:10]}.{format_}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        if format_ == "csv":
            return StreamingResponse(csv_of(export), headers=headers, media_type="text/csv; charset=utf-8")
        return StreamingResponse(json_of(export), headers=headers, media_type="application/json")

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
