"""Errors on the wire: every failure of a request becomes one envelope, `{"error": {code, message, timestamp, ...}}`.

The application takes `exception_handlers`, so routes simply raise. What is neither the asker's fault nor a matter of
time is answered without its text; Starlette raises it again after the answer, and the server logs the traceback.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.clock import Clock
from monitor.errors import ClientError, MethodNotAllowed, MonitorError, NotFound, Unauthenticated, Unavailable
from monitor.events.codec import format_time
from monitor.web.replies import json_reply

Handler = Callable[[Request, Exception], Awaitable[Response]]

_OWN_WORDS: Final[dict[int, type[ClientError]]] = {404: NotFound, 405: MethodNotAllowed}


def problem_response(error: MonitorError, clock: Clock) -> Response:
    """The envelope of `error` with its status; `Retry-After` (seconds) where waiting helps, a challenge on 401."""
    headers = {**error.headers, **({} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)})}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = f'Bearer realm="monitor"{error.challenge and ", "}{error.challenge}'
    members = {"code": error.code, "message": error.message, **error.details}
    return _envelope(error.status, members, headers, clock)


def exception_handlers(clock: Clock) -> dict[Any, Handler]:
    """Handlers for the application's `exception_handlers`, by class of exception."""

    async def expected(_: Request, error: Exception) -> Response:
        assert isinstance(error, MonitorError)
        return problem_response(error, clock)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _framework_response(request, error, clock)

    async def unexpected(_: Request, _error: Exception) -> Response:
        return problem_response(MonitorError(), clock)

    return {ClientError: expected, Unavailable: expected, HTTPException: framework, Exception: unexpected}


def _framework_response(request: Request, error: HTTPException, clock: Clock) -> Response:
    """What the router itself refuses: our words where we have some, else the status's own name."""
    if request.method == "OPTIONS" and error.status_code == MethodNotAllowed.status:
        # The refusal names the methods of the address, which is all that OPTIONS asks.
        return Response(status_code=204, headers=error.headers)
    own = _OWN_WORDS.get(error.status_code)
    members = {"code": HTTPStatus(error.status_code).name, "message": error.detail}
    if own:
        members = {"code": own.code, "message": own().message, "method": request.method, "path": request.url.path}
    return _envelope(error.status_code, members, error.headers or {}, clock)


def _envelope(status: int, members: Mapping[str, Any], headers: Mapping[str, str], clock: Clock) -> Response:
    error = {**members, "timestamp": format_time(clock.now_us())}
    return json_reply({"error": error}, status, {**headers, "cache-control": "no-store"})
