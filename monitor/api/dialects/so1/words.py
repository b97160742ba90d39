"""Tables of words: what everything is called there."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from monitor.api.dialects.so1.documents import So1Error
from monitor.events.codec import format_time
from monitor.web.faces import Face, Refusal
from monitor.web.vocabulary import Vocabulary

STATUS: Final = Vocabulary(
    {
        "queued": "running",
        "running": "running",
        "waiting": "waiting",
        "success": "success",
        "failed": "error",
        "timeout": "error",
        "crashed": "error",
        "cancelled": "canceled",
    }
)

NODE_STATUS: Final[Mapping[str, str]] = {**STATUS.words, "skipped": "canceled"}

END_NAMED: Final[Mapping[str, Literal["finishedAt", "failedAt", "canceledAt"]]] = {
    "success": "finishedAt",
    "error": "failedAt",
    "canceled": "canceledAt",
}

CODES: Final[Mapping[str, str]] = {
    "AUTHENTICATION_REQUIRED": "missing_authorization",
    "TOKEN_MALFORMED": "invalid_api_key",
    "TOKEN_INVALID": "invalid_api_key",
    "TOKEN_REVOKED": "invalid_api_key",
    "TOKEN_EXPIRED": "expired_api_key",
    # The only one that the original spells in capitals.
    "RATE_LIMITED": "RATE_LIMIT_EXCEEDED",
}
"""Of errors that have a word of their own there; the others are our codes in small letters."""


def _words(refusal: Refusal) -> Mapping[str, Any]:
    code = CODES.get(refusal.code, refusal.code.lower())
    error = {"code": code, "message": refusal.message, "details": dict(refusal.details)}
    return {"success": False, "error": error, "metadata": {"timestamp": format_time(refusal.at_us)}}


FACE: Final = Face("so1", "/v1/n8n", _words, So1Error, spelling="so1_key")
