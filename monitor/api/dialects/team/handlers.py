"""Handlers: what is asked of the desk, and how it answers."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.team.documents import TeamPage
from monitor.api.dialects.team.readers import (
    DAY_US,
    DAYS,
    DEFAULT_DAYS,
    FORMAT,
    THE_WORKFLOW,
    asked_of,
    check_team,
)
from monitor.api.dialects.team.writers import csv_of, detail, execution, json_of
from monitor.events.codec import format_time
from monitor.executions.contents import without_payloads
from monitor.executions.reads import Asked
from monitor.projections.filter import Filter
from monitor.web.replies import json_reply


@dataclass(frozen=True, slots=True)
class Team:
    """Each method answers one operation; its docstring is the operation's description."""

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
