"""What is wrong with a request, whatever it asks for."""

from monitor.errors.tree import ClientError


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


class IdempotencyKeyReused(ClientError):
    """This idempotency key came with another request already; make a new one for each."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422


class TooManyIdempotencyKeys(ClientError):
    """The team has as many idempotency keys as are kept for a day; send the request without one, or wait."""

    code = "TOO_MANY_IDEMPOTENCY_KEYS"
    status = 409


class RangeNotSatisfiable(ClientError):
    """The range begins behind the end of the file."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416


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
