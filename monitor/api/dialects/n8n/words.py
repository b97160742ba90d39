"""Tables of words: what everything is called there."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from monitor.api.dialects.n8n.documents import Mode, N8nError
from monitor.errors import (
    CannotCancelExecution,
    CannotDeleteExecution,
    CannotRetryExecution,
    ExecutionNotFound,
    InvalidBulk,
    InvalidCursor,
    InvalidFilter,
    MethodNotAllowed,
    MonitorError,
    NotFound,
)
from monitor.web.faces import Face, Refusal
from monitor.web.vocabulary import Vocabulary

STATUS: Final = Vocabulary(
    {
        "queued": "new",
        "running": "running",
        "waiting": "waiting",
        "success": "success",
        "failed": "error",
        "crashed": "crashed",
        "cancelled": "canceled",
        # So n8n itself tells of an execution that ran out of its time.
        "timeout": "canceled",
    }
)

NODE_STATUS: Final[Mapping[str, str]] = {**STATUS.words, "skipped": "canceled"}

STOPPABLE: Final[Mapping[str, Sequence[str]]] = {
    "queued": ("queued",),
    "new": ("queued",),
    "running": ("running",),
    "waiting": ("waiting",),
}
"""The words of the filter of stopMany, which are not those of lists."""

MODES: Final[frozenset[Mode]] = frozenset(get_args(Mode))
"""What is not among them, such as `schedule` or `api`, is shown as `trigger`."""

FOR_EVER: Final = "3000-01-01T00:00:00.000Z"
"""Until when an execution waits that waits for somebody, not for a time."""

_TEXTS: Final[Mapping[str, str]] = {
    ExecutionNotFound.code: "Execution not found",
    CannotDeleteExecution.code: "Cannot delete a running execution",
    CannotCancelExecution.code: "Only running or waiting executions can be stopped and {executionId} is currently {is}",
    InvalidCursor.code: "An invalid cursor was provided",
    MethodNotAllowed.code: "{method} method not allowed",
    NotFound.code: "not found",
}
"""As the document has it, else as the real API answers: clients compare texts where there are no codes."""

_STILL_RUNS: Final = "Cannot retry a running or waiting execution"


def _words(refusal: Refusal) -> Mapping[str, Any]:
    status = refusal.details.get("status")
    if refusal.code == CannotRetryExecution.code and status in STATUS.statuses(*STOPPABLE):
        return {"message": _STILL_RUNS}
    told = {"executionId": "it", "method": "this", **refusal.details, "is": STATUS.words.get(status or "", "not")}
    return {"message": _TEXTS.get(refusal.code, "{message}").format(**told, message=refusal.message)}


_STATUSES: Final[Mapping[type[MonitorError], int]] = {CannotDeleteExecution: 400, InvalidFilter: 400, InvalidBulk: 400}

FACE: Final = Face("n8n", "/api/v1", _words, N8nError, statuses=_STATUSES, header="X-N8N-API-KEY")
