"""Sending: one POST, one answer, whatever the other side does. A narrow port: the client inside can be exchanged.

Promises: sockets are judged as they are created; no redirect, cookie or proxy of the environment is followed; one
deadline covers name, connection, request and answer; what a receiver says costs memory and time within bounds; each
failure has a stable word. The deliverer calls it.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from math import inf
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

from monitor import __version__
from monitor.webhooks.delivery import Answer, Failure
from monitor.webhooks.gate import Gate, Lookups
from monitor.webhooks.targets import BlockedAddress, Targets

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, TCPConnector
    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

MAX_ANSWER_BYTES: Final = 16 * 1024
"""Kept of a body for whoever looks for the reason of a failure; the rest is not read."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""All that may come before the body. A receiver that announced its answer for ever would occupy a core."""

MAX_HEADER_CHARACTERS: Final = 200
"""Kept of a header's value."""

KEPT_HEADERS: Final = ("location", "content-type", "server", "via", "retry-after", "www-authenticate", "x-request-id")
"""What helps to understand a failure, or to find the request again on the other side."""

_INTERIM: Final = frozenset({100, 102, 103, 104})
"""Statuses that announce an answer and are none."""

_CONNECT_S: Final = 5.0
"""For name, TCP and TLS: whoever takes longer is down, however long it may take for its answer."""

_IDLE_S: Final = 5.0
"""How long a connection waits for its next delivery. Servers close idle ones too; losing that race costs a resend."""


class Sender(Protocol):
    """The way out."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, total_s: float) -> Answer:
        """POST `body` and return what came of it within `total_s` seconds, from the name to the answer's last byte.

        A status that was said in time counts, however late its body is. Raises nothing but CancelledError; the request
        may then have arrived or not.
        """
        ...


@asynccontextmanager
async def open_sender(targets: Targets) -> AsyncIterator[Sender]:
    """A sender over aiohttp that reaches what `targets` admits. Its connections close with the block.

    It trusts the certificate authorities of the system, or those that `SSL_CERT_FILE` names.
    """
    trust = ssl.create_default_context()
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    trust.set_alpn_protocols(["http/1.1"])
    async with AsyncExitStack() as stack:
        lookups = stack.enter_context(Lookups())
        # A pool for each scheme: whether an address may be reached depends on it, and a socket does not know it.
        https, http = [
            await stack.enter_async_context(_open_session(Gate(targets, scheme, lookups, _note_dial), trust))
            for scheme in ("https", "http")
        ]
        yield _AiohttpSender(https, http)


def _open_session(gate: Gate, trust: ssl.SSLContext) -> "ClientSession":
    import aiohttp  # noqa: PLC0415 - the driver loads only where webhooks are sent

    return aiohttp.ClientSession(
        connector=_connector(
            resolver=cast("AbstractResolver", gate),
            socket_factory=gate.open_socket,
            ssl=trust,
            limit=0,  # the deliverer bounds what is in flight
            keepalive_timeout=_IDLE_S,
        ),
        # A cookie of one team's receiver must not reach another team's on the same host.
        cookie_jar=aiohttp.DummyCookieJar(),
        # What comes compressed all the same stays so: inflating it would be the way around the limit.
        auto_decompress=False,
        read_bufsize=MAX_ANSWER_BYTES,
        trust_env=False,
        headers={
            "user-agent": f"execution-monitor/{__version__}",
            "content-type": "application/json",
            "accept-encoding": "identity",
        },
    )


# --- one attempt -----------------------------------------------------------------------------------------------------

_Phase = Literal["dns", "connect", "first_byte", "body"]


class _Attempt:
    """How far a request is and what was heard. Phases follow one another; it ends in the last one that it entered."""

    __slots__ = (
        *("_begun_us", "_heard_bytes", "_phase", "_phases_us", "_since_us"),
        *("body", "failure", "headers", "is_whole", "status"),
    )

    def __init__(self) -> None:
        self._begun_us = self._since_us = _now_us()
        self._phase: _Phase = "dns"
        self._phases_us: dict[str, int] = {}
        self._heard_bytes = 0
        self.failure: Failure | None = None
        # What was said; None until the head of an answer is there.
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self.is_whole = False

    @property
    def may_be_repeated(self) -> bool:
        """Whether it met a connection that its server had closed while it was idle: nobody's failure.

        A kept connection that was lost before anything came over it; on a new one the request may have had its effect.
        """
        return self.failure == "disconnected" and "dns" not in self._phases_us and not self._heard_bytes

    def elapsed_s(self) -> float:
        """Since it began."""
        return (_now_us() - self._begun_us) / 1_000_000

    @property
    def is_answered(self) -> bool:
        """Whether the head of an answer is there."""
        return self._phase == "body"

    def dial(self) -> None:
        """An address is known. Of several only the first one begins the phase."""
        if self._phase == "dns":
            self._enter("connect")

    def take_line(self) -> None:
        """There is a connection; one that was kept took neither a name nor a dial."""
        if self._phase == "dns":
            self._phase = "first_byte"
        else:
            self._enter("first_byte")

    def hear_status(self, status: int) -> bool:
        """Return whether what begins with this status is an answer, or announces one."""
        if status in _INTERIM:
            return True
        self._enter("body")
        return 200 <= status <= 599

    def hear(self, count: int) -> int:
        """Return how many of the bytes that came may be taken in: all of them once the answer has begun."""
        if self._phase != "body":
            count = min(count, MAX_HEAD_BYTES - self._heard_bytes)
        self._heard_bytes += count
        return count

    def answer(self) -> Answer:
        """What came of it."""
        phases_us = self._end()
        if self.status is None:
            return Answer(None, self.failure, phases_us=phases_us)
        headers = {name: _printable(value) for name in KEPT_HEADERS if (value := self.headers.get(name)) is not None}
        control = self.headers.get("webhook-delivery")
        return Answer(
            self.status,
            None,
            self.body[:MAX_ANSWER_BYTES],
            not self.is_whole,
            headers.get("retry-after"),
            control and _printable(control).strip().lower(),
            headers,
            phases_us,
        )

    def _enter(self, phase: _Phase) -> None:
        now_us = _now_us()
        self._phases_us[self._phase] = now_us - self._since_us
        self._phase, self._since_us = phase, now_us

    def _end(self) -> dict[str, int]:
        now_us = _now_us()
        return {**self._phases_us, self._phase: now_us - self._since_us, "total": now_us - self._begun_us}


def _now_us() -> int:
    return perf_counter_ns() // 1000


_ATTEMPT: Final[ContextVar[_Attempt]] = ContextVar("webhook attempt")
"""The one that this task makes. The library hands nothing of ours to the places where sockets are opened."""


def _note_dial() -> None:
    _ATTEMPT.get().dial()


def _printable(value: str) -> str:
    """A header's value as text that can be stored and shown: what is no text is escaped, what is long is cut."""
    if not (value.isascii() and value.isprintable()):
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        value = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
    return value[:MAX_HEADER_CHARACTERS]


_WORDS_OF_CAUSES: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (BlockedAddress, "blocked_address"),
    # A connection that is lost before there is one was lost in the handshake: some servers end what they refuse so.
    (ConnectionResetError, "tls"),
    (ConnectionAbortedError, "tls"),
)
"""Why no connection was made, by what the library found beneath its own error."""


class _AiohttpSender:
    """The port over one session for each scheme."""

    def __init__(self, https: "ClientSession", http: "ClientSession") -> None:
        import aiohttp  # noqa: PLC0415
        from yarl import URL  # noqa: PLC0415

        self._https, self._http, self._read_url = https, http, URL
        # Without the threshold the library rounds deadlines up to whole seconds.
        self._timeout = lru_cache(lambda total_s: aiohttp.ClientTimeout(total_s, _CONNECT_S, ceil_threshold=inf))
        self._expected = (aiohttp.ClientError, OSError, ValueError)
        # The first that fits: a timeout is also an OSError, and whatever fails to connect is a connector's error.
        self._words: tuple[tuple[type[Exception], Failure], ...] = (
            (TimeoutError, "timeout"),
            # What is left of those after `check_url`: addresses in a spelling that only the C library reads.
            (aiohttp.InvalidURL, "blocked_address"),
            (aiohttp.ClientConnectorDNSError, "dns"),
            # A label that is empty or too long for any zone.
            (UnicodeError, "dns"),
            (aiohttp.ClientSSLError, "tls"),
            (aiohttp.ClientConnectorError, "connect"),
            (aiohttp.ServerDisconnectedError, "disconnected"),
            (aiohttp.ClientOSError, "disconnected"),
            (ConnectionError, "disconnected"),
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, total_s: float) -> Answer:
        attempt = _Attempt()
        await self._post(attempt, url, headers, body, total_s)
        if attempt.may_be_repeated and (left_s := total_s - attempt.elapsed_s()) > 0:
            attempt = _Attempt()
            await self._post(attempt, url, headers, body, left_s)
        return attempt.answer()

    async def _post(self, attempt: _Attempt, url: str, headers: Mapping[str, str], body: bytes, total_s: float) -> None:
        _ATTEMPT.set(attempt)
        session = self._https if url[:6].lower() == "https:" else self._http
        try:
            # As it was registered: to the receiver another spelling of a path may be another path.
            address = self._read_url(url, encoded=True)
            response = await session.post(
                address, data=body, headers=headers, allow_redirects=False, timeout=self._timeout(total_s)
            )
            try:
                await _listen(attempt, response)
            finally:
                # Also ends a connection whose answer was not read to its end.
                response.close()
        except self._expected as error:
            attempt.failure = self._word_for(error)

    def _word_for(self, error: Exception) -> Failure:
        reasons = ((getattr(error, "os_error", None), _WORDS_OF_CAUSES), (error, self._words))
        return next((word for reason, words in reasons for kind, word in words if isinstance(reason, kind)), "protocol")


async def _listen(attempt: _Attempt, response: "ClientResponse") -> None:
    """Note what is said, piece by piece: whatever cuts it short takes nothing back."""
    attempt.status, attempt.headers, content = response.status, response.headers, response.content
    # One byte more than is kept tells whether there are more.
    while not content.at_eof() and (missing := MAX_ANSWER_BYTES + 1 - len(attempt.body)):
        attempt.body += await content.read(missing)
    attempt.is_whole = len(attempt.body) <= MAX_ANSWER_BYTES


def _connector(**options: Any) -> "TCPConnector":
    """Connections that tell an attempt how far it is. The library's own traces would cost a quarter of a send.

    It names no place for this: `_factory` is its own, and the tests of answers that are none notice when that changes.
    """
    from aiohttp import TCPConnector  # noqa: PLC0415

    class Connector(TCPConnector):
        """Leads attempts to lines, new ones and those that were kept."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._factory = partial(_line_type(), loop=self._loop)

        async def connect(self, req: Any, traces: Any, timeout: Any) -> "Connection":  # noqa: ASYNC109 - the library's
            connection = await super().connect(req, traces, timeout)
            line: Any = connection.protocol
            line.attempt = _ATTEMPT.get()
            line.attempt.take_line()
            connection.add_callback(line.rest)
            return connection

    return Connector(**options)


def _line_type() -> "type[ResponseHandler]":
    from aiohttp.client_proto import ResponseHandler  # noqa: PLC0415
    from aiohttp.http import HttpProcessingError  # noqa: PLC0415

    class Line(ResponseHandler):
        """A connection. What it hears is for the attempt that it serves, within bounds."""

        attempt: _Attempt | None = None

        def data_received(self, data: bytes) -> None:
            # The end of an answer releases the connection: after this call it may serve nobody.
            attempt = self.attempt
            if attempt is None:
                if data:
                    # Nobody asked. It would be taken for the answer to the next request.
                    self.abort()
                return
            count = attempt.hear(len(data))
            super().data_received(data[:count])
            if count < len(data):
                if attempt.is_answered:
                    self.data_received(data[count:])
                else:
                    self.refuse()

        def feed_data(self, data: Any, size: int = 0) -> None:
            if self.attempt is None or self.attempt.hear_status(data[0].code):
                super().feed_data(data, size)
            else:
                self.refuse()

        def refuse(self) -> None:
            self.set_exception(HttpProcessingError(message="no answer"))
            if self.transport is not None:
                self.transport.abort()

        def rest(self) -> None:
            self.attempt = None

    return Line
