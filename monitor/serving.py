"""One task group: the server and its loops as siblings. If a loop dies the process ends non-zero; a signal drains it.

Order of a stop: subscribers are told where they stand, the listener closes, open requests and webhooks in flight end
side by side, the other loops end, and last the files close. `cli` turns the outcome into an exit code.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import structlog
import uvicorn

from monitor.app import Parts, create_app, open_parts
from monitor.errors import StartupError
from monitor.pipeline import relax_collector
from monitor.settings import Settings

GRACE_S: Final = 10
"""From the signal to the exit; container platforms wait 10 to 30 s before they kill."""

_BACKLOG: Final = 4096
"""Connections that may wait to be accepted: a whole room of clients reconnecting at once."""

_USER_TIMEOUT_MS: Final = 30_000
"""Unacknowledged bytes older than this free the socket of a reader that is gone."""


class _Server(uvicorn.Server):
    """Leaves signals to the task group that it runs in."""

    @contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(settings: Settings, *, on_ready: Callable[[str], Coroutine[Any, Any, None]] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `on_ready` runs beside the loops, given the base URL.

    Raises StartupError when it cannot start, and whatever ended a loop.
    """
    async with open_parts(settings) as parts:
        stop = _stop_signal()  # before anybody is told that we listen
        async with running(parts, settings) as base_url:
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
    server = _Server(_configuration(parts))
    try:
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(run(), name=name) for name, run in parts.loops.items()]
            web = group.create_task(server.serve(sockets=[listener]), name="server")
            base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            log.info("listening", url=base_url)
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


def _configuration(parts: Parts) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(parts),
        http="auto",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=256 * 1024,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=GRACE_S,
    )


def _listen(settings: Settings) -> socket.socket:
    """Our own listening socket: accepted ones inherit its options, the only place to tell the kernel about dead
    readers.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        listener.bind((settings.host.strip("[]"), settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another one with --port"
        ) from error
    return listener


def _stop_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
