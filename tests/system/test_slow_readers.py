"""Readers that take little or nothing, on real sockets: they cost bounded memory and nobody's time, and are let go."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

import httpx
import orjson
import psutil

from monitor.serving import GRACE_S
from tests.support.raw_websocket import handshake
from tests.support.server import until
from tests.support.service import LATE_S, Service
from tests.support.soak.wires import EventReader, LineReader, Reader, WebSocketReader

Kind = Literal["websocket", "events", "lines"]

KINDS: Final[tuple[Kind, ...]] = ("websocket", "events", "lines")
STALLED: Final[tuple[Kind, ...]] = ("websocket", "websocket", "events", "events", "lines")

READERS = 100
TEXT = "x" * 2000
"""Makes an event of two kilobytes."""

BATCH, PACE_S = 12, 0.1
"""A hundred and twenty events a second: a reader that takes nothing is full after a second or two."""

KEPT_BYTES = 40 * 1024 * 1024
"""A little more than the service keeps of the latest events, whoever reads."""

MOST_GROWTH_BYTES = 10 * 1024 * 1024

RECEIVE_BYTES = 16 * 1024
"""What the kernel takes for a client that does not read; the system doubles it."""

SLOW_BYTES_PER_S, SLOW_PAUSE_S = 20_000, 0.1
"""How little the slow reader takes, and how often: a twelfth of what is told.

With the system's own buffers a reader that takes half as much looks stuck: Linux tells the sender of room in steps of
sixty kilobytes.
"""

WITHIN_S = 120.0
"""How long anything may take on a busy machine."""

STREAM = "/v1/executions/stream?channels=executions"


async def test_five_of_a_hundred_never_read(tmp_path: Path) -> None:
    """The service hardly grows, the others get everything, the five are closed and their descriptors freed.

    A reader that takes twenty kilobytes a second is told that it is slow, is kept, and misses nothing.
    """
    async with serving(tmp_path) as service, service.client() as client, readers(service) as read:
        process, teller = psutil.Process(service.pid), Teller(client)
        await teller.fill_backlog()
        await service.caught_up()
        others = [await read(KINDS[number % len(KINDS)]) for number in range(READERS - len(STALLED))]
        slow = await read("lines", receive_bytes=None)
        stalled = [await read(kind) for kind in STALLED]
        await teller.tell()
        await until(lambda: have([*others, *stalled, slow], teller.ids), WITHIN_S)
        begin, before_bytes, sockets = len(teller.ids), process.memory_info().rss, sockets_of(process)
        for reader in stalled:
            reader.pause()
        pace, most_bytes = asyncio.create_task(slow.read_slowly()), before_bytes
        began_s = time.monotonic()
        while (counts := await statistics(client))["stuck"] < len(STALLED):
            await teller.tell()
            most_bytes = max(most_bytes, process.memory_info().rss)
            await asyncio.sleep(PACE_S)  # the pace of the load
        took_s, told = time.monotonic() - began_s, len(teller.ids) - begin
        await until(lambda: have(others, teller.ids), WITHIN_S)
        stalled[0].resume()
        await until(lambda: not stalled[0].is_open, WITHIN_S)
        await until(lambda: sockets_of(process) <= sockets - len(STALLED), WITHIN_S)
        assert not pace.done()
        read_slowly = len(slow.ids) - begin
        pace.cancel()
        slow.resume()
        await until(lambda: have([slow], teller.ids), WITHIN_S)
    print(f"{told} events of 2 KB in {took_s:.1f} s to {len(others)} readers beside {len(STALLED)} that took nothing")
    print(f"resident {before_bytes >> 20} MiB, then {(most_bytes - before_bytes) / 2**20:.1f} MiB more; {counts}")
    print(f"the slow reader had {read_slowly} of them, and was told {slow.controls[2:]}")
    assert 0 < read_slowly < told
    assert most_bytes - before_bytes < MOST_GROWTH_BYTES
    assert stalled[0].close_code == 4008
    assert "stream.slow" in slow.controls
    assert not {"stream.gap", "stream.reset"} & {name for reader in (*others, slow) for name in reader.controls}


async def test_stalled_readers_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """SIGTERM: exit in time, drains that tell a position, and after a new start everybody goes on without a loss.

    A WebSocket that has not said yet what it wants may have a position from before; it is told none.
    """
    async with serving(tmp_path) as service, service.client() as client, readers(service) as read:
        teller = Teller(client)
        others = [await read(kind) for kind in KINDS for _ in range(5)]
        stalled, silent = [await read(kind) for kind in KINDS], await read("websocket", STREAM.partition("?")[0])
        for reader in stalled:
            reader.pause()
        while (await statistics(client))["full"] < len(stalled):
            await teller.tell()
        began_s = time.monotonic()
        assert await service.stop() == 0
        assert time.monotonic() - began_s < GRACE_S + LATE_S
        for reader in stalled:
            reader.resume()
        await until(lambda: not any(reader.is_open for reader in (*others, *stalled, silent)), WITHIN_S)
        # What was acknowledged last may not have been released by then: it comes after the position that they are told.
        assert all(reader.ids and reader.ids == teller.ids[: len(reader.ids)] for reader in others)
        assert [reader.controls[-1] for reader in others] == ["stream.drain"] * len(others)
        assert {reader.close_code for reader in others if reader.kind == "websocket"} == {4000}
        assert (silent.controls, silent.drained_at) == (["stream.hello", "stream.drain"], None)
        assert all(reader.position == reader.drained_at for reader in others)
        service.launch()
        await service.ready()
        await teller.tell()
        for reader in (*others, *stalled):
            again = await read(reader.kind, position=reader.position)
            await until(lambda: have([again], teller.ids[len(reader.ids) :]), WITHIN_S)  # noqa: B023 - awaited here
            assert not {"stream.gap", "stream.reset"} & set(again.controls)


# --- the load --------------------------------------------------------------------------------------------------------


class Teller:
    """Tells events of two kilobytes, and remembers which."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.ids: list[str] = []
        self._client = client

    async def tell(self) -> None:
        """A batch, acknowledged."""
        events = [self._event(f"{len(self.ids) + number}", TEXT) for number in range(BATCH)]
        await self._post(events)
        self.ids += [event["id"] for event in events]

    async def fill_backlog(self) -> None:
        """Large events that nobody reads: what the service keeps of the past is full afterwards, and grows no more."""
        text = "x" * 60_000
        for batch in range(KEPT_BYTES // len(text) // BATCH):
            await self._post([self._event(f"past-{batch}-{number}", text) for number in range(BATCH)])

    def _event(self, event_id: str, text: str) -> dict[str, Any]:
        event = {"type": "node.completed", "executionId": f"e{len(self.ids) % 50}", "workflowId": "wf_1"}
        data = {"nodeId": "n1", "outputData": [{"text": text}]}
        return {**event, "id": event_id, "timestamp": "2026-11-22T10:30:00Z", "data": data}

    async def _post(self, events: list[dict[str, Any]]) -> None:
        answer = await self._client.post(
            "/v1/events", content=orjson.dumps(events), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200, answer.text


def sockets_of(process: psutil.Process) -> int:
    """How many it has open; of other descriptors, such as those of readers of the store, it may need more later."""
    return len(process.net_connections("tcp"))


async def statistics(client: httpx.AsyncClient) -> dict[str, Any]:
    """How the streams stand."""
    found: dict[str, Any] = (await client.get("/v1/streams", params={"limit": 1})).json()["statistics"]
    return found


# --- the readers -----------------------------------------------------------------------------------------------------


_READERS: Final[dict[Kind, Callable[[], Reader]]] = {
    "websocket": WebSocketReader,
    "events": EventReader,
    "lines": LineReader,
}


class Watcher(asyncio.Protocol):
    """A lean reader: notes what comes, and stops reading when it is told to."""

    def __init__(self, kind: Kind, request: bytes, raw: socket.socket) -> None:
        self.kind, self._socket = kind, raw
        self.ids: list[str] = []
        self.controls: list[str] = []
        self.position: str | None = None
        self.drained_at: str | None = None
        self.is_open = True
        self._request = request
        self._reader = _READERS[kind]()

    @property
    def close_code(self) -> int | None:
        """Of the close frame; None = none came."""
        return self._reader.close_code

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if frame["type"].startswith("stream."):
                self.controls += [frame["type"]] if frame["type"] != "stream.checkpoint" else []
            else:
                self.ids.append(frame["id"])
            if frame["type"] == "stream.drain":
                self.drained_at = frame.get("position")
            self.position = frame.get("position", self.position)
        for answer in self._reader.answers:
            self.transport.write(answer)
        self._reader.answers.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False

    def pause(self) -> None:
        """Take nothing from the kernel any more."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self.transport.resume_reading()

    async def read_slowly(self) -> None:
        """Take a little now and then, until cancelled or cut off."""
        self.pause()
        taken_bytes, began_s = 0, time.monotonic()
        while True:
            await asyncio.sleep(SLOW_PAUSE_S)  # the pace of reading
            due_bytes = round((time.monotonic() - began_s) * SLOW_BYTES_PER_S) - taken_bytes
            try:
                data = self._socket.recv(due_bytes)
            except BlockingIOError:
                continue
            taken_bytes += len(data)
            if not data:
                return
            self.data_received(data)


Read = Callable[..., Awaitable[Watcher]]


@asynccontextmanager
async def readers(service: Service) -> AsyncIterator[Read]:
    """Connects readers, each subscribed; they are gone when the block ends."""
    opened: list[Watcher] = []

    async def read(
        kind: Kind, target: str = STREAM, *, position: str | None = None, receive_bytes: int | None = RECEIVE_BYTES
    ) -> Watcher:
        address = target if position is None else f"{target}&position={position}"
        raw, loop = socket.socket(), asyncio.get_running_loop()
        watcher = Watcher(kind, _request(kind, address), raw)
        if receive_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", service.port))
        await loop.create_connection(lambda: watcher, sock=raw)
        opened.append(watcher)
        begun = "stream.subscribed" if "?" in target else "stream.hello"
        await until(lambda: begun in watcher.controls, WITHIN_S)
        return watcher

    try:
        yield read
    finally:
        for watcher in opened:
            watcher.transport.abort()
        await until(lambda: not any(watcher.is_open for watcher in opened), WITHIN_S)


def _request(kind: Kind, target: str) -> bytes:
    if kind == "websocket":
        return handshake(target)
    accept = "text/event-stream" if kind == "events" else "application/x-ndjson"
    return f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n\r\n".encode()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    """The service, ready; what is left of it is killed when the block ends."""
    service = Service(folder / "data")
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


def have(watchers: list[Watcher], ids: list[str]) -> bool:
    """Whether each of them got exactly these events, in order."""
    return all(watcher.ids == ids for watcher in watchers)
