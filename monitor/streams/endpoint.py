"""The stream addresses as one small ASGI application: an upgrade is a WebSocket, a GET is server-sent events.

It stands in front of the web framework, so that no middleware lies between a chunk and its socket: `app` asks `serves`
and sends the rest elsewhere.
"""

import random
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from monitor.access.positions import open_position
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidPosition, MethodNotAllowed, MonitorError
from monitor.events.position import Position
from monitor.fanout.hub import Hub
from monitor.streams.addresses import is_stream, read_wish
from monitor.streams.conversation import resolve
from monitor.streams.session import Session
from monitor.streams.sse import refuse_sse, serve_sse
from monitor.streams.websocket import refuse_websocket, serve_websocket
from monitor.web.problems import problem_response

RETRY_MS: Final = (1000, 3000)
"""Between these EventSource clients wait before they come back: spread, so that a restart is no stampede."""

RETRY_REFUSED_MS: Final = (30_000, 60_000)
"""The same for clients whose request can never succeed as it is."""


class Streams:
    """Serves every subscriber of this process."""

    def __init__(
        self,
        hub: Hub,
        *,
        sealer: Sealer,
        clock: Clock,
        authenticate: Callable[[Scope], Principal],
        chance: random.Random,
    ) -> None:
        """`authenticate` raises a ClientError for a connection that is nobody's."""
        self._hub, self._sealer, self._clock = hub, sealer, clock
        self._authenticate = authenticate
        self._chance = chance

    def serves(self, scope: Scope) -> bool:
        """Whether this connection is a stream's."""
        return scope["type"] in ("http", "websocket") and is_stream(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["method"] == "GET":
            await self._sse(scope, receive, send)
        else:
            problem = problem_response(MethodNotAllowed(method=scope["method"], path=scope["path"]), self._clock)
            problem.headers["allow"] = "GET"
            await problem(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            session = Session(self._authenticate(scope).team, self._open)
            wish = read_wish(scope, self._clock.now_us(), self._open)
            start = await resolve(self._hub, wish.start)
            first = session.subscribe(wish.subscription, wish.start) if wish.explicit else None
        except MonitorError as error:
            await refuse_websocket(receive, send, error)
            return
        await serve_websocket(
            receive, send, hub=self._hub, session=session, first=first, start=start, sid=self._new_sid()
        )

    async def _sse(self, scope: Scope, receive: Receive, send: Send) -> None:
        last_id = Headers(scope=scope).get("last-event-id")
        try:
            session = Session(self._authenticate(scope).team, self._open)
            wish = read_wish(scope, self._clock.now_us(), self._open)
            first = session.subscribe(wish.subscription, wish.start)
            said = self._find(last_id) if last_id else wish.start
            start = await resolve(self._hub, said)
        except MonitorError as error:
            if last_id and error.status not in (401, 403):
                await refuse_sse(send, error, self._chance.randint(*RETRY_REFUSED_MS))
            else:
                await problem_response(error, self._clock)(scope, receive, send)
            return
        await serve_sse(
            receive,
            send,
            hub=self._hub,
            first=first,
            start=start,
            is_readable=not last_id or start is not None,
            retry_ms=self._chance.randint(*RETRY_MS),
            sid=self._new_sid(),
        )

    def _open(self, token: str) -> Position:
        return open_position(self._sealer, token)

    def _find(self, last_id: str) -> Position | None:
        try:
            return self._open(last_id)
        except InvalidPosition:
            return None

    def _new_sid(self) -> str:
        """Names a connection in logs and questions; it grants nothing."""
        return f"{self._chance.getrandbits(48):012x}"
