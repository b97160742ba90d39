"""The trunk of the tree: what every error carries, and the families that callers tell apart."""

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


class NotFound(ClientError):
    """There is nothing at this address."""

    code = "NOT_FOUND"
    status = 404


class Unavailable(MonitorError):
    """The service cannot answer now; try again."""

    code = "UNAVAILABLE"
    status = 503
    retryable = True
    retry_after_s = 1


class Fenced(MonitorError):
    """Another process moved this partition; the state that was read is stale."""

    code = "FENCED"
    retryable = True
