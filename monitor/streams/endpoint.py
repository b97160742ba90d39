"""The stream addresses as one small ASGI application: an upgrade is a WebSocket, a GET is what its `Accept` prefers.

It stands in front of the web framework, so that no middleware lies between a chunk and its socket: `app` asks `serves`
and sends the rest elsewhere. A native EventSource gives up for good on an error status: who comes with a Last-Event-ID,
and whoever could succeed later, gets 200 and is told in-band.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.access.positions import is_ended, open_position
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidPosition, MethodNotAllowed, MonitorError, NotAcceptable, Shed
from monitor.events.position import Position
from monitor.fanout.hub import Hub
from monitor.fanout.outlet import Label
from monitor.fanout.wires import NDJSON, SSE, SSE_NAMED, WEBSOCKET, Wire, without_payloads
from monitor.streams.addresses import Form, is_stream, read_form, read_wish
from monitor.streams.conversation import Opening, resolve
from monitor.streams.ndjson import serve_ndjson
from monitor.streams.session import Session
from monitor.streams.sse import refuse_sse, serve_sse
from monitor.streams.websocket import refuse_websocket, serve_websocket
from monitor.web.auth import permit
from monitor.web.problems import problem_response

RETRY_MS: Final = (1000, 3000)
"""Between these EventSource clients wait before they come back: spread, so that a restart is no stampede."""

RETRY_LATER_MS: Final = (10_000, 60_000)
"""The same for clients that cannot be served now."""

RETRY_REFUSED_MS: Final = (30_000, 60_000)
"""The same for clients whose request can never succeed as it is."""

_METHODS: Final = "GET, HEAD"


class Streams:
    """Serves every subscriber of this process."""

    def __init__(
        self,
        hub: Hub,
        *,
        sealer: Sealer,
        clock: Clock,
        authenticate: Callable[[Scope], Awaitable[Principal]],
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
        elif scope["method"] in ("GET", "HEAD"):
            await self._get(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers={"allow": _METHODS})(scope, receive, send)
        else:
            problem = problem_response(MethodNotAllowed(method=scope["method"], path=scope["path"]), self._clock)
            problem.headers["allow"] = _METHODS
            await problem(scope, receive, send)

    # --- WebSocket ---------------------------------------------------------------------------------------------------

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            who = await self._principal(scope)
            session = Session(who.team, self._open)
            wish = read_wish(scope, "websocket", self._clock.now_us(), self._open)
            first = session.subscribe(wish.subscription, wish.start, wish.showing) if wish.explicit else None
            opening = Opening(
                self._label(scope, WEBSOCKET, who),
                _for(who, WEBSOCKET),
                first,
                await resolve(self._hub, first.start) if first else None,
                ends=wish.ends,
            )
        except MonitorError as error:
            await refuse_websocket(receive, send, error, self._retry_ms(error))
            return
        try:
            await serve_websocket(scope, receive, send, hub=self._hub, opening=opening, session=session)
        except Shed as error:
            await refuse_websocket(receive, send, error, self._retry_ms(error))

    # --- server-sent events and lines of JSON ------------------------------------------------------------------------

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        last_id = headers.get("last-event-id")
        form: Form = "sse"
        try:
            form = _form(headers.getlist("accept"), is_reconnect=bool(last_id))
            opening = await self._opening(scope, form, last_id)
        except MonitorError as error:
            await self._refusal(error, form, is_reconnect=bool(last_id))(scope, receive, send)
            return
        if last_id and opening.ends and opening.is_readable and is_ended(last_id):
            # Nothing follows: an EventSource that is told so does not come back (WHATWG HTML, 9.2.3).
            await Response(status_code=204)(scope, receive, send)
            return
        serve = serve_sse if form == "sse" else serve_ndjson
        try:
            await serve(scope, receive, send, hub=self._hub, opening=opening)
        except Shed as error:
            await self._refusal(error, form, is_reconnect=bool(last_id))(scope, receive, send)

    async def _opening(self, scope: Scope, form: Form, last_id: str | None) -> Opening:
        """What the address asks for, from the place that the client comes back to. Raises MonitorError."""
        who = await self._principal(scope)
        session = Session(who.team, self._open)
        wish = read_wish(scope, form, self._clock.now_us(), self._open)
        first = session.subscribe(wish.subscription, wish.start, wish.showing)
        start = self._find(last_id) if last_id else await resolve(self._hub, first.start)
        wire = NDJSON if form == "ndjson" else SSE_NAMED if wish.named else SSE
        return Opening(
            self._label(scope, wire, who),
            _for(who, wire),
            first,
            start,
            is_readable=not last_id or start is not None,
            ends=wish.ends,
            retry_ms=self._chance.randint(*RETRY_MS),
        )

    def _refusal(self, error: MonitorError, form: Form, *, is_reconnect: bool) -> ASGIApp:
        """An EventSource never gets an error status where it would come back, or has come back, but for credentials."""
        in_band = form == "sse" and error.status not in (401, 403) and (is_reconnect or error.retryable)
        if not in_band:
            return problem_response(error, self._clock)

        async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
            await refuse_sse(send, error, self._retry_ms(error))

        return respond

    # --- both --------------------------------------------------------------------------------------------------------

    async def _principal(self, scope: Scope) -> Principal:
        """Who asks, if he may see executions. Raises a ClientError."""
        who = await self._authenticate(scope)
        permit(who, "executions:read")
        return who

    def _label(self, scope: Scope, wire: Wire, who: Principal) -> Label:
        # Names the connection in logs and questions; it grants nothing.
        sid = f"{self._chance.getrandbits(48):012x}"
        host, port = scope.get("client") or ("unknown", 0)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return Label(sid, wire.name, who.team, address, who.token_id, who.session_id)

    def _retry_ms(self, error: MonitorError) -> int:
        return self._chance.randint(*(RETRY_LATER_MS if error.retryable else RETRY_REFUSED_MS))

    def _open(self, token: str) -> Position:
        return open_position(self._sealer, token)

    def _find(self, last_id: str) -> Position | None:
        try:
            return self._open(last_id)
        except InvalidPosition:
            return None


def _for(who: Principal, wire: Wire) -> Wire:
    return wire if who.may("executions:data") else without_payloads(wire)


def _form(accept: Sequence[str], *, is_reconnect: bool) -> Form:
    try:
        return read_form(accept)
    except NotAcceptable:
        if not is_reconnect:
            raise
        return "sse"
