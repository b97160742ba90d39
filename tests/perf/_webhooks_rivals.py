"""What one would write first: a pool of tasks over one queue. And the floor below it: aiohttp alone, sockets alone.

Run by the benchmark as a process of its own: `pool FOLDER` is a service with the product's two doors, for endpoints and
for events, that commits to SQLite what a POST owes, and every delivery as it is done. It retries nothing and keeps no
attempts. `aiohttp SAMPLE PORT` and `sockets SAMPLE PORT` send the product's own request, line by line as they are
told on stdin: `FIRST COUNT ENDPOINTS`.
"""

import asyncio
import json
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.webhooks.signing import signed_headers

_TASKS: Final = 64
_POOL_TASKS: Final = 256
_TIMEOUT_S: Final = 15
_KEY: Final = bytes(32)


# --- a request, again and again --------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """A request of the product, with places for what differs."""

    headers: dict[str, str]
    before_mark: bytes
    behind_mark: bytes

    @classmethod
    def read(cls, file: Path) -> "Sample":
        """As it came over the wire."""
        head, _, body = file.read_bytes().partition(b"\r\n\r\n")
        lines = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        headers = {name: value for name, value in lines if name.lower() not in ("host", "content-length")}
        before, _, behind = body.partition(b"~")
        return cls(headers, before, behind[24:])

    def make(self, number: int) -> tuple[dict[str, str], bytes]:
        """Headers and body of a delivery of this number, due now."""
        mark = b"~%08d%016d" % (number, time.monotonic_ns() // 1000)
        return self.headers | {"webhook-id": f"msg_{number:032x}"}, self.before_mark + mark + self.behind_mark


async def send_by_aiohttp(sample: Sample, port: int) -> None:
    """A plain loop of `session.post` in each of some tasks."""

    async def post_all(numbers: Iterator[int], endpoints: int) -> None:
        for number in numbers:
            headers, body = sample.make(number)
            url = f"http://127.0.0.1:{port}/{number % endpoints}"
            async with session.post(url, data=body, headers=headers) as response:
                await response.read()

    async with aiohttp.ClientSession() as session:
        while line := await asyncio.to_thread(sys.stdin.readline):
            first, count, endpoints = map(int, line.split())
            numbers = iter(range(first, first + count))
            await asyncio.gather(*(post_all(numbers, endpoints) for _ in range(_TASKS)))


def send_by_sockets(sample: Sample, port: int) -> None:
    """A write and a read for each delivery, and nothing else: a round of all connections at a time."""
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(port)) for _ in range(_TASKS)]
        for line in sys.stdin:
            first, count, endpoints = map(int, line.split())
            for start in range(first, first + count, _TASKS):
                due = list(zip(range(start, min(start + _TASKS, first + count)), connections, strict=False))
                for number, connection in due:
                    connection.sendall(_request(sample, number, number % endpoints))
                for _, connection in due:
                    connection.recv(4096)


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _request(sample: Sample, number: int, endpoint: int) -> bytes:
    headers, body = sample.make(number)
    head = f"POST /{endpoint} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n"
    return "".join([head, *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"]).encode() + body


# --- the pool --------------------------------------------------------------------------------------------------------


class Endpoint(NamedTuple):
    """Where to send, and the workflow that it wants; None = every one."""

    url: str
    workflow_id: str | None


class Delivery(NamedTuple):
    """What is owed."""

    key: int
    url: str
    body: bytes


class Pool:
    """Some tasks take whatever is next, whomever it is for."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()
        self._endpoints: list[Endpoint] = []

    def app(self) -> Starlette:
        """Its doors."""
        routes = [
            Route("/v1/webhooks", self._register, methods=["POST"]),
            Route("/v1/events", self._take, methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._working)

    async def _register(self, request: Request) -> Response:
        wish = orjson.loads(await request.body())
        self._endpoints.append(Endpoint(wish["url"], wish["filters"].get("workflowId")))
        return Response(orjson.dumps({"id": wish["url"]}), 201)

    async def _take(self, request: Request) -> Response:
        planned = [
            Delivery(0, endpoint.url, body)
            for event in orjson.loads(await request.body())
            if (body := _body_of(event))
            for endpoint in self._endpoints
            if endpoint.workflow_id in (None, event["workflowId"])
        ]
        for one in planned:
            row = (one.url, one.body, "pending")
            key = self._database.execute("INSERT INTO deliveries (url, body, state) VALUES (?, ?, ?)", row).lastrowid
            self._queue.put_nowait(one._replace(key=key or 0))
        self._database.commit()
        return Response(b"{}")

    @asynccontextmanager
    async def _working(self, _app: Starlette) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._work(session)) for _ in range(_POOL_TASKS)]
            yield
            for task in tasks:
                task.cancel()

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            delivery = await self._queue.get()
            headers = signed_headers(f"msg_{delivery.key:032x}", int(time.time()), delivery.body, [_KEY])
            try:
                async with session.post(delivery.url, data=delivery.body, headers=headers) as response:
                    await response.read()
                    state = "delivered" if response.ok else "failed"
            except (aiohttp.ClientError, TimeoutError):
                state = "failed"
            self._database.execute("UPDATE deliveries SET state = ? WHERE key = ?", (state, delivery.key))
            self._database.commit()


def _body_of(event: dict[str, Any]) -> bytes:
    return orjson.dumps(event | {"event": event["type"], "workflowName": None, "sequence": None, "version": 1})


async def serve_pool(folder: Path) -> None:
    """Print the port and serve until killed."""
    database = sqlite3.connect(folder / "pool.db", isolation_level="IMMEDIATE")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("CREATE TABLE deliveries (key INTEGER PRIMARY KEY, url TEXT, body BLOB, state TEXT)")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(Pool(database).app(), log_level="warning", access_log=False)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    kind, path, *port = sys.argv[1:]
    if kind == "sockets":
        send_by_sockets(Sample.read(Path(path)), int(port[0]))
    else:
        work = serve_pool(Path(path)) if kind == "pool" else send_by_aiohttp(Sample.read(Path(path)), int(port[0]))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
