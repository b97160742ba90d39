"""A real uvicorn on a loopback socket, in the loop of the test: what a subscriber meets in earnest."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from monitor.fanout.hub import Hub
from monitor.streams.direct import DirectHttp, DirectWebSocket
from monitor.streams.endpoint import Streams
from monitor.web.auth import Authenticate, anybody
from tests.support.released import SEALER, World

READY_WITHIN_S = 120.0


class Protocols(NamedTuple):
    """What speaks for uvicorn on a connection."""

    http: type[HttpToolsProtocol]
    ws: type[WebSocketsSansIOProtocol]


DIRECT: Final = Protocols(DirectHttp, DirectWebSocket)
"""As `monitor serve` runs them."""

PORTABLE: Final = Protocols(HttpToolsProtocol, WebSocketsSansIOProtocol)
"""uvicorn's own, which know nothing of outlets: a stand-in for any other server."""


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    port: int
    server: uvicorn.Server

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


class _Server(uvicorn.Server):
    """Leaves the signals of the test run alone, and ends when it is told, not at the next tenth of a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Any:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.ending.wait()


@asynccontextmanager
async def listening(app: ASGIApp, protocols: Protocols = DIRECT, **settings: Any) -> AsyncIterator[Address]:
    """Serve `app` on a free port while the block runs; `settings` are uvicorn's."""
    chosen = {"ws_per_message_deflate": False, "ws_max_size": 256 * 1024, "timeout_graceful_shutdown": 5} | settings
    config = uvicorn.Config(
        app, http=protocols.http, ws=protocols.ws, lifespan="off", log_config=None, access_log=False, **chosen
    )
    server = _Server(config)
    with socket.socket() as listener:
        # Small, and inherited by accepted sockets: a reader that stalls is noticed after kilobytes, not megabytes.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started)
            yield Address(listener.getsockname()[1], server)
        finally:
            server.ending.set()
            await serving


@asynccontextmanager
async def streaming(
    hub: Hub,
    world: World,
    authenticate: Authenticate = anybody,
    protocols: Protocols = DIRECT,
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> AsyncIterator[Address]:
    """Serve the stream addresses of `hub`, with something `around` them, and let it run."""
    streams = Streams(hub, sealer=SEALER, clock=world.clock, authenticate=authenticate, chance=random.Random(1))
    running = asyncio.create_task(hub.run())
    try:
        async with listening(around(streams), protocols) as address:
            try:
                yield address
            finally:
                await hub.drain(0.5)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], Any], within_s: float = READY_WITHIN_S) -> None:
    """Return once `condition` holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - it looks at parts that announce nothing
            await asyncio.sleep(0.002)
