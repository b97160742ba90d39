"""What one would write first: `sse-starlette` with a queue per client, and `broadcast()` of `websockets`.

Both as their documentation shows them, with the same text in every event as the product's. Run by the benchmark as a
process of its own, with `sse` or `ws` and a file with the text of one event.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
import uvloop
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets

from tests.perf._fanout_events import UNMARKED, Control, Due

_SUBSCRIBED: Final = '{"type":"stream.subscribed"}'

Publish = Callable[[Sequence[Due]], None]


async def serve_queues(listener: socket.socket, sample: str, open_control: Callable[[Publish], Any]) -> None:
    """One queue per client, from which its response takes event by event."""
    queues: set[asyncio.Queue[dict[str, Any]]] = set()

    async def events() -> AsyncIterator[dict[str, Any]]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        queues.add(queue)
        try:
            yield {"data": _SUBSCRIBED}
            while True:
                yield await queue.get()
        finally:
            queues.discard(queue)

    async def stream(_request: Request) -> EventSourceResponse:
        # The load client looks for one kind of line end.
        return EventSourceResponse(events(), sep="\n")

    def publish(due: Sequence[Due]) -> None:
        for number, mark in due:
            event = {"id": str(number), "data": sample.replace(UNMARKED, mark)}
            for queue in queues:
                queue.put_nowait(event)

    await open_control(publish)
    app = Starlette(routes=[Route("/", stream)])
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", backlog=4096)
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_broadcast(listener: socket.socket, sample: str, open_control: Callable[[Publish], Any]) -> None:
    """Every event to all connections, without compression, which would cost it twice as much."""
    connections: set[ServerConnection] = set()

    async def stay(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            await connection.send(_SUBSCRIBED)
            await connection.wait_closed()
        finally:
            connections.discard(connection)

    def publish(due: Sequence[Due]) -> None:
        for _, mark in due:
            broadcast(connections, sample.replace(UNMARKED, mark))

    await open_control(publish)
    async with serve_websockets(stay, sock=listener, compression=None, backlog=4096) as server:
        await server.serve_forever()


async def _serve(kind: str, sample: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:

        async def open_control(publish: Publish) -> None:
            loop = asyncio.get_running_loop()
            control = await loop.create_server(lambda: Control(publish, lambda _: None), "127.0.0.1", 0)
            ports = {"port": listener.getsockname()[1], "control": control.sockets[0].getsockname()[1]}
            print(orjson.dumps(ports).decode(), flush=True)

        await (serve_broadcast if kind == "ws" else serve_queues)(listener, sample, open_control)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], Path(sys.argv[2]).read_text()))
