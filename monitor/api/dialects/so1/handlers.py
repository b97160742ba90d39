"""Handlers: what is asked of the desk, and how it answers."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.so1.documents import (
    So1Execution,
    So1Pagination,
)
from monitor.api.dialects.so1.readers import (
    AFTER,
    BEFORE,
    BY_STATUS,
    INCLUDE,
    LEVEL,
    LIMIT,
    LINES,
    OF_WORKFLOW,
    So1Execute,
    So1Retry,
    filter_of,
)
from monitor.api.dialects.so1.writers import brief, execution, log_line, raw, reply
from monitor.events.codec import format_time
from monitor.executions.commands import START_WAIT_S
from monitor.executions.lines import AskedLines
from monitor.executions.reads import Asked
from monitor.executions.waiting import ENDED, STARTED, Commanded
from monitor.web.auth import permit
from monitor.web.cursors import cursor_token, open_cursor
from monitor.web.documents import read_document
from monitor.web.params import CURSOR
from monitor.web.prefer import while_there


@dataclass(frozen=True, slots=True)
class So1:
    """Each method answers one operation; its docstring is the operation's description."""

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
            shown["result"] = raw(found.data.output if found.data else None)
        return reply(shown, 200 if done.is_done or not is_sync else 202)

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of executions, the newest first; `nextCursor` leads to the next one."""
        query = request.query_params
        status, workflow_id, cursor = BY_STATUS.take(query), OF_WORKFLOW.take(query), CURSOR.take(query)
        after_us, before_us, limit = AFTER.take(query), BEFORE.take(query), LIMIT.take(query)
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
        return reply({"executions": [brief(row.summary) for row in page.rows], "pagination": pagination})

    async def single(self, request: Request, who: Principal) -> Response:
        """One execution: its progress while it runs, its result or its error once it has ended."""
        with_data = INCLUDE.take(request.query_params)
        if with_data:
            permit(who, "executions:data")
        execution_id = request.path_params["id"]
        found, _ = await self.desk.reads.execution(who, execution_id, None, with_data=with_data, with_lines=False)
        # Clients poll for it: payloads are read once there is a result, and names of nodes where they are shown.
        if not with_data and found.summary.status == "success" and who.may("executions:data"):
            found, _ = await self.desk.reads.execution(who, execution_id, None, with_data=True, with_lines=False)
        names_nodes = with_data or found.summary.error is not None
        labels = await self.desk.lookups.labels(who, execution_id) if names_nodes else {}
        return reply(execution(found, labels, self.desk.clock.now_us(), with_data=with_data))

    async def retry(self, request: Request, who: Principal) -> Response:
        """An execution that repeats one that has ended: from the node that failed, or from `fromNode`."""
        asked, execution_id = await read_document(request, So1Retry, is_optional=True), request.path_params["id"]
        node_id = asked.from_node or await self._failed_node(who, execution_id)
        done = await self.desk.commands.retry(who, execution_id, [node_id] if node_id else [])
        shown = self._commanded(done)
        shown["originalExecutionId"] = execution_id
        return reply(shown, 200 if done.is_done else 202)

    async def cancel(self, request: Request, who: Principal) -> Response:
        """An execution that is stopped where it is; 202 while that is not visible yet."""
        done = await self.desk.commands.cancel(who, request.path_params["id"], "manual")
        return reply(self._commanded(done), 200 if done.is_done else 202)

    async def delete(self, request: Request, who: Principal) -> Response:
        """No execution any more, with its data and its log. It cannot be undone."""
        execution_id = request.path_params["id"]
        await self.desk.changes.delete(who, execution_id)
        return reply({"executionId": execution_id, "deletedAt": format_time(self.desk.clock.now_us())})

    async def logs(self, request: Request, who: Principal) -> Response:
        """The first lines of the log, the oldest first."""
        query, execution_id = request.query_params, request.path_params["id"]
        asked = AskedLines(levels=LEVEL.take(query) or None, node_id=None, limit=LINES.take(query))
        page, _ = await self.desk.reads.lines(who, execution_id, None, asked)
        labels = await self.desk.lookups.labels(who, execution_id)
        return reply({"executionId": execution_id, "logs": [log_line(line, labels) for line in page.lines]})

    async def _failed_node(self, who: Principal, execution_id: str) -> str | None:
        found, _ = await self.desk.reads.execution(who, execution_id, None, with_data=False, with_lines=False)
        node_id = (found.summary.error or {}).get("nodeId")
        return str(node_id) if node_id else None

    def _commanded(self, done: Commanded) -> So1Execution:
        if done.summary is not None:
            return brief(done.summary)
        return {"executionId": done.execution_id, "workflowId": "", "status": "running", "startedAt": None}
