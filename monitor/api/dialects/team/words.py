"""Tables of words: what everything is called there."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from monitor.api.dialects.team.documents import TeamError
from monitor.events.codec import format_time
from monitor.web.faces import Face, Refusal
from monitor.web.vocabulary import Vocabulary

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

NODE_STATUS: Final[Mapping[str, Any]] = {**STATUS.words, "skipped": "CANCELLED"}

CSV_COLUMNS: Final = (
    *("execution_id", "workflow_id", "workflow_name", "status", "trigger", "started_at", "completed_at", "duration_ms"),
    *("node_id", "node_type", "node_name", "node_status", "node_started_at", "node_completed_at", "node_duration_ms"),
    "node_error",
)

NODE_EXECUTIONS: Final = UUID("5f0c6f6e-3a3e-5d0c-9a55-0d4c1d1f4a52")
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
