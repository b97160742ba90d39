"""Commands by HTTP: execute a workflow, cancel an execution, run one again; and what became of each command.

A POST that comes with an `Idempotency-Key` is carried out once, however often it is sent. An answer tells what is
visible already: 202 where the engine has taken a command whose effect is not.
"""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from monitor.access.principal import Principal
from monitor.api.command_documents import (
    MAX_INPUT_BYTES,
    CancellationRequested,
    CancelRequest,
    CommandDocument,
    CommandList,
    ExecuteRequest,
    ExecutionCancelled,
    ExecutionLinks,
    ExecutionRequested,
    ExecutionRetried,
    RetryRequest,
)
from monitor.errors import (
    CannotCancelExecution,
    CannotRetryExecution,
    CommandNotFound,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    IdempotencyKeyReused,
    InvalidEvent,
    NoEngine,
    TooManyIdempotencyKeys,
    TooManyWaiting,
    WorkflowNotFound,
)
from monitor.events.codec import format_time
from monitor.executions.commands import Commands
from monitor.executions.idempotency import Idempotency
from monitor.executions.reads import Reads
from monitor.executions.waiting import Commanded
from monitor.store.command_port import CommandRow
from monitor.web import native
from monitor.web.documents import MAX_BODY_BYTES, read_document
from monitor.web.idempotent import IDEMPOTENCY_KEY, once
from monitor.web.native_answers import Execution
from monitor.web.operations import Answer, Operation
from monitor.web.paths import quoted
from monitor.web.prefer import PREFER, applied, wanted_wait_s, while_there
from monitor.web.replies import json_reply

_NOT_KEPT: Final = {"cache-control": "no-store"}
_REPLAYED: Final = "idempotency-replayed"


_KEYS: Final = (IdempotencyKeyReused, TooManyIdempotencyKeys)
_STARTS: Final = (NoEngine, CommandRefused, EngineUnavailable, TooManyWaiting, *_KEYS)


def operations(*, commands: Commands, reads: Reads, idempotency: Idempotency) -> list[Operation]:
    """The operations of this file."""
    face = _Face(commands, reads, idempotency)
    return [
        Operation(
            "POST",
            "/v1/workflows/{id}/execute",
            face.execute,
            "workflow:execute",
            headers=(PREFER, IDEMPOTENCY_KEY),
            body=ExecuteRequest,
            body_optional=True,
            answers=(
                Answer(ExecutionRequested, 202, headers=("location", "preference-applied", _REPLAYED)),
                Answer(Execution, headers=("preference-applied", _REPLAYED)),
            ),
            errors=(WorkflowNotFound, ExecutionNotFound, InvalidEvent, *_STARTS),
        ),
        Operation(
            "POST",
            "/v1/executions/{id}/cancel",
            face.cancel,
            "executions:write",
            headers=(IDEMPOTENCY_KEY,),
            body=CancelRequest,
            body_optional=True,
            answers=(
                Answer(ExecutionCancelled, headers=(_REPLAYED,)),
                Answer(CancellationRequested, 202, headers=(_REPLAYED,)),
            ),
            errors=(ExecutionNotFound, CannotCancelExecution, *_STARTS),
        ),
        Operation(
            "POST",
            "/v1/executions/{id}/retry",
            face.retry,
            "executions:write",
            headers=(IDEMPOTENCY_KEY,),
            body=RetryRequest,
            body_optional=True,
            answers=(
                Answer(ExecutionRetried, headers=("location", _REPLAYED)),
                Answer(ExecutionRetried, 202, headers=("location", _REPLAYED)),
            ),
            errors=(ExecutionNotFound, CannotRetryExecution, *_STARTS),
        ),
        Operation(
            "GET",
            "/v1/executions/{id}/commands",
            face.listing,
            "executions:read",
            answers=(Answer(CommandList),),
            errors=(ExecutionNotFound,),
        ),
        Operation(
            "GET",
            "/v1/commands/{id}",
            face.single,
            "executions:read",
            answers=(Answer(CommandDocument),),
            errors=(CommandNotFound,),
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    commands: Commands
    reads: Reads
    idempotency: Idempotency

    async def execute(self, request: Request, who: Principal) -> Response:
        """A new execution of a workflow: 202 with where to look, or, with `Prefer: wait=N`, the execution when it has
        ended in time.
        """
        workflow_id, wait_s = request.path_params["id"], wanted_wait_s(request)
        document = await read_document(request, ExecuteRequest, is_optional=True, most_bytes=MAX_INPUT_BYTES)
        given = document.input if document.input is not None else document.input_data

        async def work(seed: str | None) -> Response | str:
            done = await self.commands.execute(who, workflow_id, given, wait_s=wait_s or 0, seed=seed)
            if done.is_done and wait_s is not None:
                return done.execution_id
            headers = {"location": f"/v1/executions/{quoted(done.execution_id)}", **applied(wait_s), **_NOT_KEPT}
            asked: ExecutionRequested = {
                "executionId": done.execution_id,
                "status": _status(done),
                "commandId": done.command_id,
                "links": _links(done.execution_id),
            }
            return json_reply(asked, 202, headers)

        async def ended(execution_id: str) -> Response:
            return await self._ended(who, execution_id, wait_s or 0)

        return await while_there(request, once(self.idempotency, request, who, MAX_INPUT_BYTES, work, show=ended))

    async def cancel(self, request: Request, who: Principal) -> Response:
        """An execution that is stopped where it is; 202 while that is not visible yet."""
        execution_id = request.path_params["id"]
        document = await read_document(request, CancelRequest, is_optional=True)

        async def work(seed: str | None) -> Response:
            done = await self.commands.cancel(who, execution_id, document.reason, force=document.force, seed=seed)
            summary = done.summary
            if done.is_done and summary is not None and summary.stopped_us is not None:
                stopped: ExecutionCancelled = {
                    "message": "Execution cancelled successfully",
                    "executionId": execution_id,
                    "status": summary.status,
                    "cancelledAt": format_time(summary.stopped_us),
                    "commandId": done.command_id,
                }
                return json_reply(stopped, headers=_NOT_KEPT)
            asked: CancellationRequested = {
                "message": "Cancellation requested; the execution has not ended yet",
                "executionId": execution_id,
                "status": _status(done),
                "commandId": done.command_id,
                "links": _links(execution_id),
            }
            return json_reply(asked, 202, _NOT_KEPT)

        return await once(self.idempotency, request, who, MAX_BODY_BYTES, work)

    async def retry(self, request: Request, who: Principal) -> Response:
        """An execution of its own that repeats one that has ended, from some nodes on if there are any named; 202
        while it has not started.
        """
        execution_id = request.path_params["id"]
        document = await read_document(request, RetryRequest, is_optional=True)

        async def work(seed: str | None) -> Response:
            done = await self.commands.retry(
                who, execution_id, document.nodes(), load_workflow=document.load_workflow, seed=seed
            )
            started_us = done.summary.started_us if done.summary else None
            retried: ExecutionRetried = {
                "executionId": done.execution_id,
                "status": _status(done),
                "retryOf": execution_id,
                "startedAt": None if started_us is None else format_time(started_us),
                "commandId": done.command_id,
                "links": _links(done.execution_id),
            }
            headers = {"location": f"/v1/executions/{quoted(done.execution_id)}", **_NOT_KEPT}
            return json_reply(retried, 200 if done.is_done else 202, headers)

        return await once(self.idempotency, request, who, MAX_BODY_BYTES, work)

    async def listing(self, request: Request, who: Principal) -> Response:
        """Every command of an execution."""
        rows = await self.commands.of_execution(who, request.path_params["id"])
        listed: CommandList = {"data": [_command(row) for row in rows]}
        return json_reply(listed, headers=_NOT_KEPT)

    async def single(self, request: Request, who: Principal) -> Response:
        """One command."""
        return json_reply(_command(await self.commands.single(who, request.path_params["id"])), headers=_NOT_KEPT)

    async def _ended(self, who: Principal, execution_id: str, wait_s: int) -> Response:
        found, _ = await self.reads.execution(
            who, execution_id, None, with_data=who.may("executions:data"), with_lines=False
        )
        return json_reply(native.execution(found), headers={**applied(wait_s), **_NOT_KEPT})


def _status(done: Commanded) -> str:
    """Of an execution that nothing was heard of yet: it waits for its engine."""
    return done.summary.status if done.summary else "queued"


def _links(execution_id: str) -> ExecutionLinks:
    at = f"/v1/executions/{quoted(execution_id)}"
    return {"self": at, "stream": f"{at}/stream", "commands": f"{at}/commands", "cancel": f"{at}/cancel"}


def _command(row: CommandRow) -> CommandDocument:
    command = row.command
    shown: CommandDocument = {
        "id": command.id,
        "executionId": row.execution_id,
        "workflowId": row.workflow_id,
        "kind": command.told("kind"),
        "status": command.state,
        "actor": command.told("actor"),
        "requestedAt": format_time(command.since_us),
        "answeredAt": _time(command.answered_us),
        "finishedAt": _time(command.ended_us),
    }
    if (args := command.told("args")) is not None:
        shown["args"] = args
    if command.error is not None:
        shown["error"] = command.error
    return shown


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else format_time(at_us)
