"""Errors on the wire: every failure of a request becomes one document, as the face words it that was asked.

Natively `{"error": {code, message, timestamp, ...}}`. The application takes `exception_handlers`, so routes simply
raise. What is neither the asker's fault nor a matter of time is answered without its text; Starlette raises it again
after the answer, and the server logs the traceback.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.clock import Clock
from monitor.errors import ClientError, MethodNotAllowed, MonitorError, NotFound, Unauthenticated, Unavailable
from monitor.web.faces import NATIVE, Face, Refusal, face_at
from monitor.web.paths import sent_path
from monitor.web.replies import json_reply

Handler = Callable[[Request, Exception], Awaitable[Response]]

_OWN_WORDS: Final[dict[int, type[ClientError]]] = {404: NotFound, 405: MethodNotAllowed}


def problem_response(error: MonitorError, clock: Clock, path: str = "", face: Face = NATIVE) -> Response:
    """`error` in the words of `face`; `Retry-After` (seconds) where waiting helps, a challenge on 401."""
    headers = {**error.headers, **({} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)})}
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = f'Bearer realm="monitor"{error.challenge and ", "}{error.challenge}'
    status = face.status_of(type(error))
    return _worded(Refusal(status, error.code, error.message, error.details, path, clock.now_us()), face, headers)


def exception_handlers(clock: Clock, faces: Collection[Face] = ()) -> dict[Any, Handler]:
    """Handlers for the application's `exception_handlers`, by class of exception. `faces`: those beside the native."""

    async def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, MonitorError)
        path = sent_path(request.scope)
        return problem_response(error, clock, path, face_at(path, faces))

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _framework_response(request, error, clock, faces)

    async def unexpected(request: Request, _error: Exception) -> Response:
        return await expected(request, MonitorError())

    return {ClientError: expected, Unavailable: expected, HTTPException: framework, Exception: unexpected}


def _framework_response(request: Request, error: HTTPException, clock: Clock, faces: Collection[Face]) -> Response:
    """What the router itself refuses: our words where we have some, else the status's own name."""
    if request.method == "OPTIONS" and error.status_code == MethodNotAllowed.status:
        # The refusal names the methods of the address, which is all that OPTIONS asks.
        return Response(status_code=204, headers=error.headers)
    own, path = _OWN_WORDS.get(error.status_code), sent_path(request.scope)
    code, message, details = HTTPStatus(error.status_code).name, error.detail, {}
    if own:
        code, message, details = own.code, own().message, {"method": request.method, "path": request.url.path}
    refusal = Refusal(error.status_code, code, message, details, path, clock.now_us())
    return _worded(refusal, face_at(path, faces), error.headers or {})


def _worded(refusal: Refusal, face: Face, headers: Mapping[str, str]) -> Response:
    return json_reply(face.words(refusal), refusal.status, {**headers, "cache-control": "no-store"})
