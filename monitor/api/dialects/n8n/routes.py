"""Routes: what is served where, to whom, and what it refuses."""

from functools import partial
from typing import Final

from monitor.api.dialects.desk import Desk
from monitor.api.dialects.n8n.documents import (
    N8nExecution,
    N8nList,
    N8nRequested,
    N8nStopped,
    N8nSuccess,
    N8nTag,
)
from monitor.api.dialects.n8n.handlers import N8n
from monitor.api.dialects.n8n.readers import (
    INCLUDE,
    LIST,
    NO_LIMIT,
    REDACT,
    N8nDelete,
    N8nExecute,
    N8nFlatFilter,
    N8nPatch,
    N8nRetry,
    N8nStopMany,
    N8nTagWish,
)
from monitor.api.dialects.n8n.words import FACE
from monitor.errors import (
    CannotCancelExecution,
    CannotDeleteExecution,
    CannotRetryExecution,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    InvalidBulk,
    InvalidCursor,
    InvalidFilter,
    NoEngine,
    PositionNotReached,
    TooManyWaiting,
    WorkflowNotFound,
)
from monitor.web.operations import Answer, Operation

_STARTS: Final = (NoEngine, CommandRefused, EngineUnavailable, TooManyWaiting)
_AT: Final = "/api/v1/executions"


def operations(desk: Desk) -> list[Operation]:
    """The operations of this dialect."""
    face, here = N8n(desk), partial(Operation, face=FACE)
    one, missing = Answer(N8nExecution), ExecutionNotFound
    changed = (missing, PositionNotReached)
    gone = (missing, CannotDeleteExecution, PositionNotReached)
    return [
        here(
            "GET",
            _AT,
            face.listing,
            "executions:read",
            query=LIST,
            answers=(Answer(N8nList),),
            errors=(InvalidCursor, missing),
            name="listN8nExecutions",
        ),
        here(
            "GET",
            f"{_AT}/{{id}}",
            face.single,
            "executions:read",
            query=(INCLUDE, REDACT, NO_LIMIT),
            answers=(one,),
            errors=(missing,),
            name="getN8nExecution",
        ),
        here(
            "POST",
            f"{_AT}/{{id}}/stop",
            face.stop,
            "executions:write",
            answers=(one,),
            errors=(missing, CannotCancelExecution, *_STARTS),
            name="stopN8nExecution",
        ),
        here(
            "POST",
            f"{_AT}/stopMany",
            face.stop_nested,
            "executions:write",
            body=N8nStopMany,
            answers=(Answer(N8nStopped),),
            errors=(InvalidBulk, InvalidFilter),
            name="stopManyN8nExecutions",
        ),
        here(
            "POST",
            f"{_AT}/stop",
            face.stop_flat,
            "executions:write",
            body=N8nFlatFilter,
            answers=(Answer(N8nStopped),),
            errors=(InvalidBulk, InvalidFilter),
            name="stopN8nExecutions",
        ),
        here(
            "POST",
            f"{_AT}/{{id}}/retry",
            face.retry,
            "executions:write",
            body=N8nRetry,
            body_optional=True,
            answers=(one,),
            errors=(missing, CannotRetryExecution, *_STARTS),
            name="retryN8nExecution",
        ),
        here(
            "POST",
            f"{_AT}/delete",
            face.delete_many,
            "executions:write",
            body=N8nDelete,
            answers=(Answer(N8nSuccess),),
            errors=gone,
            name="deleteN8nExecutions",
        ),
        here(
            "DELETE",
            f"{_AT}/{{id}}",
            face.delete,
            "executions:write",
            answers=(one,),
            errors=gone,
            name="deleteOneN8nExecution",
        ),
        here(
            "PATCH",
            f"{_AT}/{{id}}",
            face.annotate,
            "executions:write",
            body=N8nPatch,
            answers=(one,),
            errors=changed,
            name="updateN8nExecution",
        ),
        here(
            "GET",
            f"{_AT}/{{id}}/tags",
            face.tags,
            "executions:read",
            answers=(Answer(list[N8nTag]),),
            errors=(missing,),
            name="getN8nExecutionTags",
        ),
        here(
            "PUT",
            f"{_AT}/{{id}}/tags",
            face.replace_tags,
            "executions:write",
            body=list[N8nTagWish],
            answers=(Answer(list[N8nTag]),),
            errors=changed,
            name="replaceN8nExecutionTags",
        ),
        here(
            "POST",
            "/api/v1/workflows/{id}/execute",
            face.execute,
            "workflow:execute",
            body=N8nExecute,
            body_optional=True,
            answers=(Answer(N8nRequested),),
            errors=(WorkflowNotFound, *_STARTS),
            name="executeN8nWorkflow",
        ),
    ]
