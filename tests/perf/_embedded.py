"""The embedded service from outside: a real `monitor serve` on one core, its clients on the other."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, Self

import psutil
import websockets

from monitor.events.model import Entry
from tests.perf._machine import FIRST_CORE, SECOND_CORE, flush_s, move_to, on_core
from tests.perf._projection import endless
from tests.support.service import Service

_CONNECTIONS: Final = 4
_BATCH: Final = 100
_PACE_S: Final = 0.02


class Throughput(NamedTuple):
    """What it took from the first POST until all of it was visible."""

    events: int
    wall_s: float
    server_cpu_s: float
    flush_s: float


class Connection:
    """A keep-alive connection that costs its client next to nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """A new one to the service on `port`."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def request(self, method: str, path: str, body: bytes = b"") -> Any:
        """The answer's JSON; fails unless its status is 200 or 201."""
        status, answer = await self.ask(method, path, body)
        assert status in (200, 201), (status, answer)
        return answer

    async def reach(self, position: str) -> None:
        """Return when the state has got there: a read waits for two seconds, and says so when that was not enough."""
        path = f"/v1/executions?limit=1&minPosition={position}"
        while (answer := await self.ask("GET", path))[0] == 503:
            pass
        assert answer[0] == 200, answer

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Status and JSON of the answer."""
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        status, _, headers = (await self._reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        [length] = [line[16:] for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
        answer = await self._reader.readexactly(int(length))
        return int(status.split()[1]), json.loads(answer)

    def close(self) -> None:
        """End it."""
        self._writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    """A fresh service on the first core; this process moves to the second."""
    with TemporaryDirectory(prefix="monitor-bench-") as folder:
        service = Service(Path(folder) / "data")
        with on_core(FIRST_CORE):
            service.launch()
        move_to(SECOND_CORE)
        try:
            await service.ready()
            yield service
        finally:
            service.close()
            move_to(FIRST_CORE)


async def post_to_state(service: Service, events: int) -> Throughput:
    """POST batches of a hundred over several connections, until the state is visible."""
    process = psutil.Process(service.pid)
    bodies = list(_bodies(islice(endless(active=100), events)))
    coming = iter(bodies)
    cpu_s, began = _cpu_s(process), time.perf_counter()
    await asyncio.gather(*(_post_all(service.port, coming) for _ in range(_CONNECTIONS)))
    took_s = time.perf_counter() - began
    return Throughput(len(bodies) * _BATCH, took_s, _cpu_s(process) - cpu_s, flush_s(service.data))


async def post_to_frame_ms(service: Service, events: int) -> list[float]:
    """Milliseconds from before the POST of one event until its frame is read, sorted."""
    connection = await Connection.open(service.port)
    async with websockets.connect(f"ws://127.0.0.1:{service.port}/v1/executions/stream", proxy=None) as stream:
        await stream.send(json.dumps({"type": "subscribe", "channels": ["executions"]}))
        while json.loads(await stream.recv())["type"] != "stream.subscribed":
            pass
        taken = [await _post_and_see(connection, stream) for _ in range(events)]
    connection.close()
    return sorted(taken)


async def _post_all(port: int, bodies: Iterator[bytes]) -> None:
    connection = await Connection.open(port)
    position = None
    for body in bodies:
        position = (await connection.request("POST", "/v1/events", body))["position"]
    if position is not None:
        await connection.reach(position)
    connection.close()


async def _post_and_see(connection: Connection, stream: websockets.ClientConnection) -> float:
    due = time.perf_counter() + _PACE_S
    event = {
        "type": "execution.started",
        "executionId": f"seen-{uuid.uuid4()}",
        "workflowId": "wf_seen",
        "timestamp": "2026-11-22T10:30:00Z",
    }
    body = json.dumps(event).encode()
    began = time.perf_counter()
    posted = asyncio.ensure_future(connection.request("POST", "/v1/events", body))
    while json.loads(await stream.recv()).get("executionId") != event["executionId"]:
        pass
    taken_s = time.perf_counter() - began
    await posted
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return taken_s * 1000


def _bodies(entries: Iterator[Entry]) -> Iterator[bytes]:
    while batch := [entry.value for entry in islice(entries, _BATCH)]:
        yield b"[" + b",".join(batch) + b"]"


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
