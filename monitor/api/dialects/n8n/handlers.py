"""Handlers: what is asked of the desk, and how it answers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.api.dialects.desk import Desk
from monitor.api.dialects.n8n.documents import (
    N8nExecution,
    N8nList,
    N8nRequested,
)
from monitor.api.dialects.n8n.readers import (
    INCLUDE,
    LAST_ID,
    LIMIT,
    NO_LIMIT,
    REDACT,
    N8nDelete,
    N8nExecute,
    N8nFlatFilter,
    N8nPatch,
    N8nRetry,
    N8nStopMany,
    N8nTagWish,
    filter_of,
    noted,
)
from monitor.api.dialects.n8n.stopping import stopped_of
from monitor.api.dialects.n8n.writers import data, execution, number, repeated, reply, tags
from monitor.errors import CannotRetryExecution
from monitor.executions.commands import START_WAIT_S
from monitor.executions.contents import Found
from monitor.executions.reads import Asked
from monitor.executions.waiting import STARTED
from monitor.web.auth import permit
from monitor.web.cursors import After, cursor_token, open_cursor
from monitor.web.documents import read_array, read_document
from monitor.web.params import CURSOR


@dataclass(frozen=True, slots=True)
class N8n:
    """Each method answers one operation; its docstring is the operation's description."""

    desk: Desk

    async def listing(self, request: Request, who: Principal) -> Response:
        """A page of executions, the newest first; `nextCursor`, or `lastId`, leads to the next one."""
        query = request.query_params
        found, limit, cursor = filter_of(who, query), LIMIT.take(query), CURSOR.take(query)
        last_id, with_data = LAST_ID.take(query), _includes(query, who)
        question = ["n8n", who.team, repr(found)]
        after: After | None = None
        if cursor is not None:
            after = open_cursor(self.desk.sealer, question, cursor)
        elif last_id is not None:
            after = await self.desk.lookups.spot(who, last_id)
        asked = Asked(found, "-startedAt", limit, after, with_data=with_data, every_run=True)
        page, _ = await self.desk.reads.listed(who, asked, None)
        good = await self.desk.lookups.made_good(who, [row.summary.id for row in page.rows])
        redacted, running = REDACT.take(query), await self.desk.lookups.running(who)

        def answer() -> Response:
            document: N8nList = {
                "data": [_shown(row, good.get(row.summary.id), redacted=redacted) for row in page.rows],
                "count": page.total,
                "estimated": page.total_is_lower_bound,
                "concurrentExecutionsCount": running,
                "nextCursor": None if page.after is None else cursor_token(self.desk.sealer, question, page.after),
            }
            return reply(document)

        # Four megabytes of data become items: half a second, in which the event loop would do nothing else.
        return await asyncio.to_thread(answer)

    async def single(self, request: Request, who: Principal) -> Response:
        """One execution."""
        query, id_ = request.query_params, request.path_params["id"]
        with_data, redacted = _includes(query, who), REDACT.take(query)
        found, _ = await self.desk.reads.execution(
            who, id_, None, with_data=with_data, with_lines=False, every_run=True
        )
        good = await self.desk.lookups.made_good(who, [id_])
        return await asyncio.to_thread(lambda: reply(_shown(found, good.get(id_), redacted=redacted)))

    async def stop(self, request: Request, who: Principal) -> Response:
        """An execution that is stopped where it is."""
        done = await self.desk.commands.cancel(who, request.path_params["id"], "manual")
        assert done.summary is not None, "it was found before it was cancelled"
        return reply(execution(done.summary))

    async def stop_nested(self, request: Request, who: Principal) -> Response:
        """How many executions have stopped, of those that the filter finds: all of them are asked to, the newest first.

        The answer comes after 20 seconds at the latest, and counts those that had ended by then; the others may follow.
        """
        asked = (await read_document(request, N8nStopMany)).filter
        return reply({"stopped": await stopped_of(self.desk, who, asked)})

    async def stop_flat(self, request: Request, who: Principal) -> Response:
        """The same, as the real API spells it."""
        asked = await read_document(request, N8nFlatFilter)
        return reply({"stopped": await stopped_of(self.desk, who, asked)})

    async def retry(self, request: Request, who: Principal) -> Response:
        """An execution of its own that repeats one that failed, was stopped or crashed."""
        asked, id_ = await read_document(request, N8nRetry, is_optional=True), request.path_params["id"]
        found, _ = await self.desk.reads.execution(who, id_, None, with_data=False, with_lines=False)
        if found.summary.status == "success":
            message = "The execution succeeded, so it cannot be retried."
            raise CannotRetryExecution(message, executionId=id_, status=found.summary.status)
        done = await self.desk.commands.retry(who, id_, load_workflow=asked.load_workflow)
        if done.summary is None:
            return reply(repeated(found.summary, done.execution_id, self.desk.clock.now_us()))
        return reply(execution(done.summary))

    async def delete_many(self, request: Request, who: Principal) -> Response:
        """Those executions no more, with their data and logs: all of them, or none if one is unknown or still runs."""
        asked = await read_document(request, N8nDelete)
        await self.desk.changes.delete_all(who, asked.ids)
        return reply({"success": True})

    async def delete(self, request: Request, who: Principal) -> Response:
        """An execution as it was, which is no more."""
        id_ = request.path_params["id"]
        found, _ = await self.desk.reads.execution(who, id_, None, with_data=False, with_lines=False)
        good = await self.desk.lookups.made_good(who, [id_])
        await self.desk.changes.delete(who, id_)
        return reply(execution(found.summary, good.get(id_)))

    async def annotate(self, request: Request, who: Principal) -> Response:
        """The execution with what was noted: what is left out stays as it was."""
        asked = (await read_document(request, N8nPatch)).annotation
        said: dict[str, Any] = {name: getattr(asked, name) for name in asked.model_fields_set}
        if "tags" in said:
            said["tags"] = noted(said["tags"])
        return await self._annotated(request, who, said)

    async def tags(self, request: Request, who: Principal) -> Response:
        """The tags of an execution."""
        id_ = request.path_params["id"]
        found, _ = await self.desk.reads.execution(who, id_, None, with_data=False, with_lines=False)
        return reply(tags(found.summary))

    async def replace_tags(self, request: Request, who: Principal) -> Response:
        """The tags of an execution, which are now these."""
        asked = await read_array(request, N8nTagWish, most=50)
        row = await self.desk.changes.annotate(who, request.path_params["id"], {"tags": noted(it.id for it in asked)})
        return reply(tags(row))

    async def execute(self, request: Request, who: Principal) -> Response:
        """A new execution of a workflow, as it starts."""
        asked = await read_document(request, N8nExecute, is_optional=True)
        workflow_id = request.path_params["id"]
        done = await self.desk.commands.execute(who, workflow_id, asked.input_data, wait_s=START_WAIT_S, goal=STARTED)
        waiting = done.summary.waiting if done.summary else None
        requested: N8nRequested = {
            "executionId": number(done.execution_id),
            "waitingForWebhook": (waiting or {}).get("kind") == "webhook",
        }
        return reply(requested)

    async def _annotated(self, request: Request, who: Principal, said: Mapping[str, Any]) -> Response:
        id_ = request.path_params["id"]
        row = await self.desk.changes.annotate(who, id_, said)
        good = await self.desk.lookups.made_good(who, [id_])
        return reply(execution(row, good.get(id_)))


def _includes(query: QueryParams, who: Principal) -> bool:
    NO_LIMIT.take(query)  # without effect, but no flag is anything
    wanted = INCLUDE.take(query)
    if wanted and not REDACT.take(query):
        permit(who, "executions:data")
    return wanted


def _shown(found: Found, retried_by: str | None, *, redacted: bool) -> N8nExecution:
    shown = execution(found.summary, retried_by)
    if found.data is not None:
        shown["data"] = data(found.data, found.summary.error, redacted=redacted)
    return shown
