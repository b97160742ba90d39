"""Keeps other people's web pages out of a service that asks nobody who he is: only names of this machine get an answer.

A page whose own name was pointed at 127.0.0.1 (DNS rebinding) is at home here in the eyes of a browser, which yet sends
that name as `Host`. A WebSocket may be opened from any page, and a browser tells which in `Origin`; programs that are
no browsers send none. `app` puts this in front of everything while MONITOR_AUTH is off.
"""

import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.clock import Clock
from monitor.errors import ClientError, ForeignOrigin, MisdirectedRequest
from monitor.settings import is_loopback
from monitor.web.problems import problem_response

_AUTHORITY: Final = re.compile(r"(\[[^\]]*\]|[^:/@]+)(:\d*)?")
"""host [":" port] (RFC 3986, 3.2), without user information, which neither header may have."""


class LoopbackOnly:
    """Wraps the application; HTTP and WebSocket alike are refused with an HTTP status, before anything is opened."""

    def __init__(self, app: ASGIApp, clock: Clock, origins: Collection[str] = ()) -> None:
        """`origins` are of pages elsewhere that are welcome all the same."""
        self._app, self._clock, self._origins = app, clock, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] in ("http", "websocket") else None
        await (problem_response(refusal, self._clock) if refusal else self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> ClientError | None:
        """Why these headers are not from here; None where they are. Without a Host (HTTP/1.0) it is no browser."""
        for host in headers.getlist("host"):
            if not _is_here(host):
                return MisdirectedRequest(
                    f"without credentials this service answers to the names of its own machine, not to '{host}'; "
                    "address it as localhost or 127.0.0.1, also behind a proxy"
                )
        for origin in headers.getlist("origin"):
            if origin.lower() not in self._origins and not _is_here(origin.partition("://")[2]):
                return ForeignOrigin(
                    f"without credentials this service takes nothing from pages of '{origin}'; "
                    "open the page under http://localhost or http://127.0.0.1, or name its origin in MONITOR_ORIGINS"
                )
        return None


def _is_here(authority: str) -> bool:
    found = _AUTHORITY.fullmatch(authority)
    return found is not None and is_loopback(found[1].lower())
