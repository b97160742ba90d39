"""What helps against each error, by its code: for people who read the contract. Pure."""

from collections.abc import Mapping
from typing import Final

_ASK_AGAIN: Final = "Send it again after as many seconds as `Retry-After` says."
_NEW_TOKEN: Final = "Ask an administrator of your team for a new token (`POST /v1/tokens`)."  # noqa: S105 - a sentence
_SHOW_TOKEN: Final = "Send `Authorization: Bearer` and a token."  # noqa: S105
_LOOK_UP: Final = "List what there is. What belongs to another team is not found either."

CURES: Final[Mapping[str, str]] = {
    "ADDRESS_NOT_ALLOWED": "Ask from a network in its `allowedAddresses`, or have a token made that admits yours.",
    "AUTHENTICATION_REQUIRED": _SHOW_TOKEN,
    "BULK_JOB_NOT_FOUND": "Take the id that the answer to the bulk command told.",
    "CANNOT_CANCEL_DELIVERY": "Nothing is left to do: it has ended.",
    "CANNOT_CANCEL_EXECUTION": "Nothing is left to do: `status` tells how it ended.",
    "CANNOT_CANCEL_REPLAY": "Nothing is left to do: it has ended.",
    "CANNOT_DELETE_EXECUTION": "Cancel it first, or send `force=true`; it then goes on unseen.",
    "CANNOT_RETRY_DELIVERY": "`message` tells why not: wait for its own next attempt, or mend that first.",
    "CANNOT_RETRY_EXECUTION": "Wait for its end, or cancel it first.",
    "COMMAND_NOT_FOUND": "Take a `commandId` of an answer, or list the execution's commands.",
    "COMMAND_REFUSED": "`message` is the engine's reason.",
    "CSRF_TOKEN_MISSING": "Send the `csrfToken` of `GET /v1/session` as `X-CSRF-Token`.",
    "DELIVERY_NOT_FOUND": "List the webhook's deliveries; old ones are removed.",
    "ENGINE_UNAVAILABLE": _ASK_AGAIN,
    "EXECUTION_NOT_FOUND": _LOOK_UP,
    "FOREIGN_ORIGIN": "Name the page's origin in `MONITOR_ORIGINS`, and show a token.",
    "HISTORY_GONE": "Ask for a later moment, or keep the journal for longer (`MONITOR_JOURNAL_KEEP`).",
    "IDEMPOTENCY_KEY_REUSED": "Make a new key for each request; keep it only to send the same one again.",
    "INSUFFICIENT_PERMISSIONS": "`requiredPermission` names the scope: ask for a token that has it.",
    "INTERNAL_ERROR": "Send it again; if it stays, look into the service's log at the time of the answer.",
    "INVALID_CURSOR": "Start again without it. A cursor is good for the question alone that told it.",
    "INVALID_EVENT": "`results` tells the fault of each item.",
    "INVALID_POSITION": "Take one that this service told, in `Monitor-Position` or a frame; or ask without.",
    "JOURNAL_UNAVAILABLE": _ASK_AGAIN,
    "LIMIT_REACHED": "Open another connection.",
    "METHOD_NOT_ALLOWED": "`Allow` names the methods.",
    "MISDIRECTED_REQUEST": "Ask at the name that the service listens at.",
    "NOT_ACCEPTABLE": "Send an `Accept` that names a form in the contract, or none.",
    "NOT_FOUND": "Compare the address with this page.",
    "NO_ENGINE": "Connect the engine that runs it; `force` records a cancellation where none is left.",
    "PAYLOAD_TOO_LARGE": "Send less at once, in several requests; of large answers ask for a part.",
    "POSITION_NOT_REACHED": _ASK_AGAIN,
    "QUARANTINE_NOT_FOUND": _LOOK_UP,
    "RATE_LIMITED": "Wait for `Retry-After`, or have a token made with a greater `rateLimit`.",
    "REPLAY_NOT_FOUND": "Take the id that the answer to the replay told.",
    "REPLAY_RUNNING": "Wait for its end, or cancel it.",
    "SESSION_INVALID": "Sign in again.",
    "STORE_UNAVAILABLE": _ASK_AGAIN,
    "TICKET_INVALID": "Make another with `POST /v1/stream-tickets`; it lets in once, within 30 seconds.",
    "TOKEN_EXPIRED": _NEW_TOKEN,
    "TOKEN_INVALID": "Compare it with what was shown when it was made; it is shown once.",
    "TOKEN_IN_URL": "Send it as a header; from where no header can be sent, a ticket. Replace the token: logs have it.",
    "TOKEN_MALFORMED": _SHOW_TOKEN,
    "TOKEN_NOT_FOUND": _LOOK_UP,
    "TOKEN_REVOKED": _NEW_TOKEN,
    "TOO_MANY_SECRETS": "Wait until one expires, or revoke the older ones.",
    "TOO_MANY_STREAMS": "Come back later, or to another gateway.",
    "TOO_MANY_WAITING": "Ask again, or without `Prefer: wait`.",
    "UNAVAILABLE": _ASK_AGAIN,
    "UNSUPPORTED_MEDIA_TYPE": "Send a `Content-Type` that the operation takes.",
    "WEBHOOK_NOT_FOUND": _LOOK_UP,
    "WORKFLOW_NOT_FOUND": "An engine knows the workflows: take one of its ids.",
}
"""By code, where there is more to say than the message."""

READ_MESSAGE: Final = "`message` names what is at fault, `field` where it stands; change that."
"""For every other error."""
