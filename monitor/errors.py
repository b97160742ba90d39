"""The one tree of errors. Each class carries what every face needs: a stable code, an HTTP status, whether to retry.

    MonitorError
    +- ClientError       the asker can cure it: InvalidRequest, NotFound, TooLarge, ...
    +- Unavailable       try again later: PositionNotReached, JournalUnavailable, StoreUnavailable
    +- Fenced            somebody else moved the state meanwhile: reload and do it again
    +- JournalError      what the journal holds and what we expected differ: RetentionCut, IncarnationChanged
    +- StartupError      the process cannot start: one clear line with the cure, exit code 2

The first line of a class docstring is the default message.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class MonitorError(Exception):
    """Something went wrong inside the monitor."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    # How long to wait before trying again; None where waiting does not help.
    retry_after_s: int | None = None
    # Further headers of the answer.
    headers: Mapping[str, str] = {}

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """`details` are extra members of the error body (camelCase names), such as `executionId` or `field`."""
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.details = details
        super().__init__(self.message)


class ClientError(MonitorError):
    """The request cannot be carried out as it was sent."""

    code = "INVALID_REQUEST"
    status = 400


class InvalidRequest(ClientError):
    """The request is not well-formed."""


class LimitReached(ClientError):
    """A connection takes no more than this."""

    code = "LIMIT_REACHED"


class InvalidFilter(ClientError):
    """The filter names an unknown field, operator or value."""

    code = "INVALID_FILTER"
    status = 422


class InvalidCursor(ClientError):
    """The cursor was not made by this API for this question; start again without it."""

    code = "INVALID_CURSOR"


class InvalidPosition(ClientError):
    """The position was not made by this service."""

    code = "INVALID_POSITION"


class NotFound(ClientError):
    """There is nothing at this address."""

    code = "NOT_FOUND"
    status = 404


class ExecutionNotFound(NotFound):
    """There is no such execution."""

    code = "EXECUTION_NOT_FOUND"


class WorkflowNotFound(NotFound):
    """There is no such workflow."""

    code = "WORKFLOW_NOT_FOUND"


class CommandNotFound(NotFound):
    """There is no such command."""

    code = "COMMAND_NOT_FOUND"


class CannotCancelExecution(ClientError):
    """Cannot cancel execution that is already completed."""

    code = "CANNOT_CANCEL_EXECUTION"
    status = 409


class CannotRetryExecution(ClientError):
    """Cannot retry execution that has not ended."""

    code = "CANNOT_RETRY_EXECUTION"
    status = 409


class CannotDeleteExecution(ClientError):
    """Cannot delete execution that has not ended; cancel it first, or force it."""

    code = "CANNOT_DELETE_EXECUTION"
    status = 409


class NoEngine(ClientError):
    """No engine takes commands for this execution."""

    code = "NO_ENGINE"
    status = 409


class CommandRefused(ClientError):
    """The engine refused the command."""

    code = "COMMAND_REFUSED"
    status = 409


class IdempotencyKeyReused(ClientError):
    """This idempotency key came with another request already; make a new one for each."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422


class TooManyIdempotencyKeys(ClientError):
    """The team has as many idempotency keys as are kept for a day; send the request without one, or wait."""

    code = "TOO_MANY_IDEMPOTENCY_KEYS"
    status = 409


class BulkJobNotFound(NotFound):
    """There is no such job."""

    code = "BULK_JOB_NOT_FOUND"


class InvalidBulk(ClientError):
    """The executions cannot be changed together like this."""

    code = "INVALID_BULK"
    status = 422


class ExportNotFound(NotFound):
    """There is no such export."""

    code = "EXPORT_NOT_FOUND"


class ExportNotReady(ClientError):
    """The export has no file to fetch."""

    code = "EXPORT_NOT_READY"
    status = 409


class ExportGone(ClientError):
    """The file of the export is not there any more; ask for a new export."""

    code = "EXPORT_GONE"
    status = 410


class CannotCancelExport(ClientError):
    """The export has ended: nothing is left to call off."""

    code = "CANNOT_CANCEL_EXPORT"
    status = 409


class TooManyExports(ClientError):
    """Your team has as many exports as it may have; delete one, or wait until one expires."""

    code = "TOO_MANY_EXPORTS"
    status = 409


class RangeNotSatisfiable(ClientError):
    """The range begins behind the end of the file."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416


class HistoryGone(ClientError):
    """The journal does not hold the beginning of this history any more."""

    code = "HISTORY_GONE"
    status = 410


class QuarantineNotFound(NotFound):
    """There is no such record in quarantine."""

    code = "QUARANTINE_NOT_FOUND"


class PartitionNotFound(NotFound):
    """The journal has no such partition."""

    code = "PARTITION_NOT_FOUND"


class CannotAcceptRecord(ClientError):
    """The record cannot be left out: it was replayed already."""

    code = "CANNOT_ACCEPT_RECORD"
    status = 409


class CannotReplayRecord(ClientError):
    """The record still holds no event; mend what is wrong first, or accept that it is left out."""

    code = "CANNOT_REPLAY_RECORD"
    status = 409


class WebhookNotFound(NotFound):
    """There is no such webhook."""

    code = "WEBHOOK_NOT_FOUND"


class InvalidWebhook(ClientError):
    """The webhook cannot be registered like this."""

    code = "INVALID_WEBHOOK"
    status = 422


class TooManySecrets(ClientError):
    """As many secrets sign as a webhook may have; wait until one expires, or revoke the older ones."""

    code = "TOO_MANY_SECRETS"
    status = 409


class DeliveryNotFound(NotFound):
    """There is no such delivery."""

    code = "DELIVERY_NOT_FOUND"


class CannotRetryDelivery(ClientError):
    """The delivery is not sent again as it stands."""

    code = "CANNOT_RETRY_DELIVERY"
    status = 409


class CannotCancelDelivery(ClientError):
    """The delivery has ended: nothing is left to call off."""

    code = "CANNOT_CANCEL_DELIVERY"
    status = 409


class ReplayNotFound(NotFound):
    """There is no such replay."""

    code = "REPLAY_NOT_FOUND"


class InvalidReplay(ClientError):
    """The deliveries of the webhook cannot be replayed like this."""

    code = "INVALID_REPLAY"
    status = 422


class ReplayRunning(ClientError):
    """A replay of this webhook runs already; wait for its end, or cancel it."""

    code = "REPLAY_RUNNING"
    status = 409


class CannotCancelReplay(ClientError):
    """The replay has ended."""

    code = "CANNOT_CANCEL_REPLAY"
    status = 409


class RateLimited(ClientError):
    """Too many of these for the moment; try again later."""

    code = "RATE_LIMITED"
    status = 429
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotAcceptable(ClientError):
    """This address answers in none of the forms that the request accepts."""

    code = "NOT_ACCEPTABLE"
    status = 406


class InsufficientPermissions(ClientError):
    """Your role does not reach this address."""

    code = "INSUFFICIENT_PERMISSIONS"
    status = 403


class ForeignTeam(ClientError):
    """User does not have access to this team."""

    code = "FOREIGN_TEAM"
    status = 403


class Unauthenticated(ClientError):
    """This needs a token: send it as `Authorization: Bearer mon_...`."""

    code = "AUTHENTICATION_REQUIRED"
    status = 401
    # What WWW-Authenticate adds to the scheme (RFC 6750, 3.1).
    challenge: ClassVar[str] = 'error="invalid_token"'


class TokenMissing(Unauthenticated):
    """This needs a token: send it as `Authorization: Bearer mon_...`."""

    challenge = ""


class TokenMalformed(Unauthenticated):
    """The Authorization header holds no token; send one, as `Authorization: Bearer mon_...`."""

    code = "TOKEN_MALFORMED"


class TokenInvalid(Unauthenticated):
    """The token is not one of this service."""

    code = "TOKEN_INVALID"


class TokenExpired(Unauthenticated):
    """The token has expired; ask an administrator of your team for a new one."""

    code = "TOKEN_EXPIRED"


class TokenRevoked(Unauthenticated):
    """The token was revoked; ask an administrator of your team for a new one."""

    code = "TOKEN_REVOKED"


class TicketInvalid(Unauthenticated):
    """The ticket is not good, or not any more: each lets in once, within 30 seconds. Ask for another one."""

    code = "TICKET_INVALID"


class SessionInvalid(Unauthenticated):
    """The session has ended; sign in again."""

    code = "SESSION_INVALID"


class CsrfTokenMissing(ClientError):
    """A page that changes something shows `csrfToken` of `GET /v1/session` as `X-CSRF-Token`."""

    code = "CSRF_TOKEN_MISSING"
    status = 403


class TokenInUrl(ClientError):
    """A token does not belong into a URL, which others log and keep: send it as `Authorization: Bearer mon_...`."""

    code = "TOKEN_IN_URL"


class AddressNotAllowed(ClientError):
    """The token does not admit this address."""

    code = "ADDRESS_NOT_ALLOWED"
    status = 403


class TokenNotFound(NotFound):
    """There is no such token."""

    code = "TOKEN_NOT_FOUND"


class InvalidToken(ClientError):
    """The token cannot be made like this."""

    code = "INVALID_TOKEN"
    status = 422


class MethodNotAllowed(ClientError):
    """This address does not take this method."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class TooLarge(ClientError):
    """The body is larger than this address takes."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413


class UnsupportedMediaType(ClientError):
    """The content type is not one that this address takes."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


class MisdirectedRequest(ClientError):
    """The request names another host than this one."""

    code = "MISDIRECTED_REQUEST"
    status = 421


class ForeignOrigin(ClientError):
    """The request comes from a web page of somebody else."""

    code = "FOREIGN_ORIGIN"
    status = 403


class InvalidEvent(ClientError):
    """None of the events could be accepted."""

    code = "INVALID_EVENT"


class Unavailable(MonitorError):
    """The service cannot answer now; try again."""

    code = "UNAVAILABLE"
    status = 503
    retryable = True
    retry_after_s = 1


class PositionNotReached(Unavailable):
    """The state has not reached the asked position yet; try again."""

    code = "POSITION_NOT_REACHED"


class JournalUnavailable(Unavailable):
    """The journal does not answer."""

    code = "JOURNAL_UNAVAILABLE"


class StoreUnavailable(Unavailable):
    """The store does not answer."""

    code = "STORE_UNAVAILABLE"


class EngineUnavailable(Unavailable):
    """The engine does not answer."""

    code = "ENGINE_UNAVAILABLE"


class TooManyWaiting(Unavailable):
    """As many requests wait for executions as this process takes; ask again, or without waiting."""

    code = "TOO_MANY_WAITING"
    retry_after_s = 5


class Shed(Unavailable):
    """This process has as many streams as it takes; try again later, or another gateway."""

    code = "TOO_MANY_STREAMS"
    retry_after_s = 30


class Fenced(MonitorError):
    """Another process moved this partition; the state that was read is stale."""

    code = "FENCED"
    retryable = True


class JournalError(MonitorError):
    """The journal does not hold what was expected of it."""


class RetentionCut(JournalError):
    """Records that were not read yet are gone from the journal."""

    code = "RETENTION_CUT"

    def __init__(self, partition: int, expected: int, first: int) -> None:
        """Records `expected` to `first - 1` of `partition` were removed before they were read."""
        super().__init__(
            f"partition {partition}: records {expected} to {first - 1} are gone from the journal "
            f"({first - expected} records); the first one left is {first}"
        )
        self.partition, self.expected, self.first = partition, expected, first


class IncarnationChanged(JournalError):
    """The journal is not the one that the store was built from."""

    code = "INCARNATION_CHANGED"


class StartupError(MonitorError):
    """The service cannot start."""

    code = "STARTUP"
    exit_code: ClassVar[int] = 2


class SettingsInvalid(StartupError):
    """The settings cannot be used."""


class DataFolderUnusable(StartupError):
    """The data folder cannot be used."""


class DataFolderBusy(StartupError):
    """Another process works on this data folder."""


class JournalMismatch(StartupError):
    """Journal and store do not belong together."""
