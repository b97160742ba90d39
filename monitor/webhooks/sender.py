"""Sending: one POST, one answer, whatever the other side does. A narrow port: the client inside can be exchanged.

Promises: sockets are judged as they are created; no redirect, cookie or proxy of the environment is followed; one
deadline covers name, connection, request and answer; only the first bytes of an answer are read; each failure has a
stable word. The deliverer calls it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from monitor import __version__
from monitor.webhooks.delivery import Answer, Failure
from monitor.webhooks.targets import BlockedAddress, Targets

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientTimeout, StreamReader
    from aiohttp.abc import AbstractResolver, ResolveResult

MAX_ANSWER_BYTES: Final = 16 * 1024
"""Kept for whoever looks for the reason of a failure; the rest is not read."""

_IDLE_S: Final = 5.0
"""How long a connection waits for its next delivery. Servers close idle ones too; losing that race costs a resend."""

_RESOLVER_THREADS: Final = 16
"""Looking a name up blocks a thread. It does so once per name at a time, so that a slow zone holds up few others."""


class Limits(NamedTuple):
    """How long a send may take, in seconds."""

    # Name, TCP and TLS.
    connect_s: float = 5.0
    # From the first step to the last byte of the answer. Who works longer on a webhook should answer first.
    total_s: float = 15.0


LIMITS: Final = Limits()


class Sender(Protocol):
    """The way out."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST `body` and return what came of it, within the deadline.

        Raises nothing but CancelledError; the request may then have arrived or not.
        """
        ...


@asynccontextmanager
async def open_sender(targets: Targets, limits: Limits = LIMITS) -> AsyncIterator[Sender]:
    """A sender over aiohttp that reaches what `targets` admits. Its connections close with the block."""
    import aiohttp  # noqa: PLC0415 - the driver loads only where webhooks are sent

    timeout = aiohttp.ClientTimeout(total=limits.total_s, connect=limits.connect_s)
    async with AsyncExitStack() as stack:
        lookups = stack.enter_context(_Lookups())
        # A pool for each scheme: whether an address may be reached depends on it, and a socket does not know it.
        sessions = {
            scheme: await stack.enter_async_context(_open_session(_Gate(targets, scheme, lookups), timeout))
            for scheme in ("https", "http")
        }
        yield _AiohttpSender(sessions)


def _open_session(gate: "_Gate", timeout: "ClientTimeout") -> "ClientSession":
    import aiohttp  # noqa: PLC0415

    reuse = aiohttp.TraceConfig()
    reuse.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=cast("AbstractResolver", gate),
            socket_factory=gate.open_socket,
            limit=0,  # the deliverer bounds what is in flight
            keepalive_timeout=_IDLE_S,
        ),
        timeout=timeout,
        # A cookie of one team's receiver must not reach another team's on the same host.
        cookie_jar=aiohttp.DummyCookieJar(),
        # What comes compressed stays so: inflating it would be the way around the limit.
        auto_decompress=False,
        skip_auto_headers=["accept-encoding"],
        trust_env=False,
        trace_configs=[reuse],
        headers={"user-agent": f"execution-monitor/{__version__}", "content-type": "application/json"},
    )


async def _note_reuse(_session: Any, context: Any, _parameters: Any) -> None:
    context.trace_request_ctx.reused = True


class _Gate:
    """Looks names up and opens sockets, for admitted addresses alone."""

    def __init__(self, targets: Targets, scheme: str, lookups: Executor) -> None:
        self._targets, self._scheme, self._lookups = targets, scheme, lookups

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> "list[ResolveResult]":
        """The admitted addresses of a name: of a public and a private one the former alone is dialled."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._lookups, _look_up, host, port, family)
        admitted = [result for result in found if self._admits(result["host"], port)]
        if not admitted:
            raise BlockedAddress
        return admitted

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is judged here, after everything that could still have changed it."""
        family, kind, protocol, _, address = info
        if not self._admits(address[0], address[1]):
            raise BlockedAddress
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Nothing is held: the lookups belong to the opener."""

    def _admits(self, host: str, port: int) -> bool:
        return self._targets.admits(ip_address(host), port, self._scheme)


class _Lookups(Executor):
    """Threads for names. Nobody waits for them, unlike for a ThreadPoolExecutor's, which the interpreter joins when it
    exits: a lookup ends when the C library says so, which may be half a minute later.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        for number in range(_RESOLVER_THREADS):
            Thread(target=self._work, name=f"webhook-names-{number}", daemon=True).start()

    def submit(self, call: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """As the library's executors."""
        future: Future[Any] = Future()
        self._calls.put((future, partial(call, *args, **options)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - the port's words
        """Let each thread end after what it is at."""
        for _ in range(_RESOLVER_THREADS):
            self._calls.put(None)

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except Exception as error:  # noqa: BLE001 - the rim: whoever asked is told
                    future.set_exception(error)


def _look_up(host: str, port: int, family: int) -> "list[ResolveResult]":
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        {"hostname": host, "host": str(address[0]), "port": port, "family": found, "proto": protocol, "flags": numeric}
        for found, _, protocol, _, address in socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    ]


class _AiohttpSender:
    """The port over one session for each scheme."""

    def __init__(self, sessions: "Mapping[str, ClientSession]") -> None:
        import aiohttp  # noqa: PLC0415
        from yarl import URL  # noqa: PLC0415

        self._sessions, self._read_url = sessions, URL
        self._expected = (aiohttp.ClientError, OSError, ValueError)
        # The first that fits: a timeout is also an OSError, and whatever fails to connect is a connector's error.
        self._words: tuple[tuple[type[Exception], Failure], ...] = (
            (TimeoutError, "timeout"),
            (aiohttp.ClientConnectorDNSError, "dns"),
            (aiohttp.ClientSSLError, "tls"),
            (aiohttp.ClientConnectorError, "connect"),
            (aiohttp.ServerDisconnectedError, "disconnected"),
            (aiohttp.ClientOSError, "disconnected"),
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = SimpleNamespace(reused=False)
        answer = await self._post(url, headers, body, connection)
        if answer.failure == "disconnected" and connection.reused:
            # The server closed it while it was idle: that is nobody's failure.
            return await self._post(url, headers, body, connection)
        return answer

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes, connection: SimpleNamespace) -> Answer:
        session = self._sessions[url.partition(":")[0].lower()]
        # As it was registered: to the receiver another spelling of a path may be another path.
        address = self._read_url(url, encoded=True)
        try:
            async with session.post(
                address, data=body, headers=headers, allow_redirects=False, trace_request_ctx=connection
            ) as response:
                kept = await self._first_bytes(response.content)
                return Answer(response.status, body=kept, retry_after=response.headers.get("retry-after"))
        except self._expected as error:
            return Answer(None, self._word_for(error))

    async def _first_bytes(self, content: "StreamReader") -> bytes:
        """As much of the answer as is kept. The status has been said: nothing that follows takes it back."""
        kept = bytearray()
        try:
            while len(kept) < MAX_ANSWER_BYTES and (chunk := await content.read(MAX_ANSWER_BYTES - len(kept))):
                kept += chunk
        except self._expected:
            pass
        return bytes(kept)

    def _word_for(self, error: Exception) -> Failure:
        if isinstance(getattr(error, "os_error", None), BlockedAddress):
            return "blocked_address"
        return next((word for kind, word in self._words if isinstance(error, kind)), "protocol")
