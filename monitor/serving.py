"""One task group: the server and its loops as siblings. If a loop dies the process ends non-zero; a signal drains it.

Order of a stop: subscribers are told where they stand, the listener closes, open requests and webhooks in flight end
side by side, the other loops end, and last the files close. `cli` turns the outcome into an exit code.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import structlog
import uvicorn

from monitor.app import Parts, create_app, open_parts
from monitor.errors import StartupError
from monitor.pipeline import relax_collector
from monitor.settings import Settings
from monitor.streams.direct import DirectHttp, DirectWebSocket

GRACE_S: Final = 10
"""From the signal to the exit; container platforms wait 10 to 30 s before they kill."""

_BACKLOG: Final = 4096
"""Connections that may wait to be accepted: a whole room of clients reconnecting at once."""

_OPTIONS: Final = (
    # A frame leaves when it is written.
    ("TCP_NODELAY", 1),
    # Bytes that nobody acknowledges for so many milliseconds free the socket of a reader that is gone; timeouts above
    # the kernel do not.
    ("TCP_USER_TIMEOUT", 30_000),
    # What the kernel holds back for a reader that is behind. Without it, megabytes: the reader would be noticed late.
    ("TCP_NOTSENT_LOWAT", 64 * 1024),
)
"""Of TCP, as far as the platform has them. Sockets inherit them from the one that listens."""

_PING_S: Final = 20.0
"""Between two keepalive pings of a WebSocket, and how long each may stay unanswered."""


_KEEP_ALIVE_S: Final = 75
"""How long an idle connection stays. Whoever keeps it for later gives it up sooner (nginx after 60 s, most clients
after 5 to 15): a request must not meet an end that is on its way.
"""


class _Server(uvicorn.Server):
    """Leaves signals to the task group that it runs in."""

    @contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], Coroutine[Any, Any, None]] | None = None,
    on_first_token: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` runs beside the loops, given the base URL.

    Where tokens are asked for and there never was one, an administrator's is made, and `on_first_token` gets it.

    Raises StartupError when it cannot start, and whatever ended a loop.
    """
    _allow_many_connections()
    async with open_parts(settings) as parts:
        stop = _stop_signal()  # before anybody is told that we listen
        async with running(parts, settings) as base_url:
            # Shown this once: a start that fails must not be the one.
            if (
                settings.auth == "on"
                and settings.serves_clients
                and on_first_token
                and (made := await parts.tokens.first())
            ):
                on_first_token(made.text)
            relax_collector()
            await _first_of(stop.wait(), *([on_ready(base_url)] if on_ready else []))


async def _first_of(*awaited: Coroutine[Any, Any, Any]) -> None:
    """Return when one of them has ended, by its exception if it did by one; the others are cancelled."""
    tasks = [asyncio.create_task(one) for one in awaited]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(parts: Parts, settings: Settings) -> AsyncIterator[str]:
    """Listen and run every loop while the block runs; gives the base URL. Leaving the block drains."""
    log = structlog.get_logger("serving")
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    server = _Server(_configuration(parts, settings))
    try:
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(run(), name=name) for name, run in parts.loops.items()]
            web = group.create_task(server.serve(sockets=[listener]), name="server")
            base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            log.info("listening", url=base_url, role=settings.role, name=parts.name)
            try:
                yield base_url
            finally:
                log.info("draining")
                await _drain(parts, server, web)
                for task in loops:
                    task.cancel()
    finally:
        listener.close()
    log.info("stopped")


async def _drain(parts: Parts, server: uvicorn.Server, web: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(GRACE_S):
            await parts.hub.drain()
            server.should_exit = True
            await asyncio.gather(asyncio.wait((web,)), parts.deliverer.stop())
    except TimeoutError:
        server.force_exit = True


def _configuration(parts: Parts, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(parts),
        http=DirectHttp,
        ws=DirectWebSocket,
        # Compressed frames would differ from client to client, and cost 35 KB each.
        ws_per_message_deflate=False,
        ws_max_size=256 * 1024,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
        lifespan="off",
        log_config=None,
        access_log=False,
        # Whom nobody named could tell any address.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def _listen(settings: Settings) -> socket.socket:
    """Our own listening socket: the only place to tell the kernel about readers that are slow or gone."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for name, value in _OPTIONS:
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another one with --port"
        ) from error
    return listener


def _allow_many_connections() -> None:
    """Open as many files as the system lets us: each subscriber is one."""
    try:
        import resource  # noqa: PLC0415 - not on every platform
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # "no limit" is more than some systems take
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _stop_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
