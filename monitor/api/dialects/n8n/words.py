"""Tables of words: what everything is called there."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitor.api.dialects.n8n.documents import (
    N8nError,
)
from monitor.errors import (
    CannotDeleteExecution,
    CannotRetryExecution,
    InvalidBulk,
    InvalidFilter,
    MonitorError,
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

MODES: Final[Mapping[str, str]] = {"scheduled": "trigger", "schedule": "trigger", "cron": "trigger"}
"""Where ours is another word; the others are the same."""

DECISIONS: Final = """\
The document's filter leaves out `new` and `crashed`, which exist, and its stopMany says `queued` for `new`: all are
taken. `unknown`, which the real API takes, finds nothing: there is no such status here.
The document numbers executions `exec_123`, its pull request `1`: an id is a number only where it is made of digits.
`stoppedAt` is null until the end, as in the document; the real API also sets it while an execution waits.
A retry answers once the new execution has started, as in the document; the real API answers when it has ended.
"""

_TEXTS: Final[Mapping[str, str]] = {
    "EXECUTION_NOT_FOUND": "Execution not found",
    "CANNOT_DELETE_EXECUTION": "Cannot delete a running execution",
}
_STILL_RUNS: Final = "Cannot retry a running or waiting execution"


def _words(refusal: Refusal) -> Mapping[str, Any]:
    if refusal.code == CannotRetryExecution.code and refusal.details.get("status") in STATUS.statuses(*STOPPABLE):
        return {"message": _STILL_RUNS}
    return {"message": _TEXTS.get(refusal.code, refusal.message)}


_STATUSES: Final[Mapping[type[MonitorError], int]] = {CannotDeleteExecution: 400, InvalidFilter: 400, InvalidBulk: 400}

FACE: Final = Face("n8n", "/api/v1", _words, N8nError, statuses=_STATUSES, header="X-N8N-API-KEY")
