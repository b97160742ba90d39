"""Routes: what is served where, to whom, and what it refuses."""

from functools import partial
from typing import Final

from monitor.api.dialects.desk import Desk
from monitor.api.dialects.so1.documents import (
    So1Answer,
    So1Deleted,
    So1Execution,
    So1List,
    So1Log,
)
from monitor.api.dialects.so1.handlers import So1
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
)
from monitor.api.dialects.so1.words import FACE
from monitor.errors import (
    CannotCancelExecution,
    CannotDeleteExecution,
    CannotRetryExecution,
    CommandRefused,
    EngineUnavailable,
    ExecutionNotFound,
    InvalidCursor,
    InvalidEvent,
    NoEngine,
    PositionNotReached,
    TooManyWaiting,
    WorkflowNotFound,
)
from monitor.web.operations import Answer, Operation
from monitor.web.params import CURSOR

_STARTS: Final = (NoEngine, CommandRefused, EngineUnavailable, TooManyWaiting)


def operations(desk: Desk) -> list[Operation]:
    """The operations of this dialect."""
    face, here = So1(desk), partial(Operation, face=FACE)
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
            name="executeSo1Workflow",
        ),
        here(
            "GET",
            "/v1/n8n/executions",
            face.listing,
            "executions:read",
            query=(BY_STATUS, OF_WORKFLOW, AFTER, BEFORE, LIMIT, CURSOR),
            answers=(Answer(So1Answer[So1List]),),
            errors=(InvalidCursor,),
            name="listSo1Executions",
        ),
        here(
            "GET",
            "/v1/n8n/executions/{id}",
            face.single,
            "executions:read",
            query=(INCLUDE,),
            answers=(Answer(one),),
            errors=(ExecutionNotFound,),
            name="getSo1Execution",
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
            name="retrySo1Execution",
        ),
        here(
            "POST",
            "/v1/n8n/executions/{id}/cancel",
            face.cancel,
            "executions:write",
            answers=(Answer(one), Answer(one, 202)),
            errors=(ExecutionNotFound, CannotCancelExecution, *_STARTS),
            name="cancelSo1Execution",
        ),
        here(
            "DELETE",
            "/v1/n8n/executions/{id}",
            face.delete,
            "executions:write",
            answers=(Answer(So1Answer[So1Deleted]),),
            errors=(ExecutionNotFound, CannotDeleteExecution, PositionNotReached),
            name="deleteSo1Execution",
        ),
        here(
            "GET",
            "/v1/n8n/executions/{id}/logs",
            face.logs,
            "executions:read",
            query=(LEVEL, LINES),
            answers=(Answer(So1Answer[So1Log]),),
            errors=(ExecutionNotFound,),
            name="getSo1ExecutionLogs",
        ),
    ]
