"""Thousands of subscribers come and go in every way there is, and leave nothing behind in a real service."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.support.followers import STREAM
from tests.support.raw_websocket import TEXT, closing, handshake, made, opened, upgraded
from tests.support.service import Service, eventually

GET = f"GET {STREAM}?events=* HTTP/1.1\r\nhost: 127.0.0.1\r\n".encode()

WARM_UP = 300
"""Visits after which caches, pools and the allocator have what they want to have."""

NOISE_BYTES = 8 << 20
"""By which resident memory rises while the allocator and the relaxed collector find their level."""

LEFT_BYTES = 256
"""What a visit may leave beyond that: less than any object of a connection."""

POOLED = 9
"""Descriptors of readers of the store, each of which is made when all others are busy at once for the first time."""

OF_CONNECTIONS = ("monitor_stream_connections{", "monitor_stream_groups ", "monitor_stream_ring_bytes ")
"""Gauges that are nought without a subscriber."""

AT_ONCE = 25
"""Visits under way together."""

Visit = Callable[[int, random.Random], Awaitable[None]]


async def listens(port: int, chance: random.Random) -> None:
    """An EventSource that reads its greeting and goes."""
    async with opened(port, GET + b"\r\n") as connection:
        assert (await connection.head()).startswith(b"HTTP/1.1 200 ")


async def resumes_nowhere(port: int, chance: random.Random) -> None:
    """An EventSource with an id that nobody can read."""
    async with opened(port, GET + b"last-event-id: %d\r\n\r\n" % chance.getrandbits(64)) as connection:
        assert (await connection.head()).startswith(b"HTTP/1.1 200 ")


async def follows_one(port: int, chance: random.Random) -> None:
    """Lines of JSON about an execution of which nobody has heard."""
    target = f"/v1/executions/{chance.getrandbits(64)}/stream"
    async with opened(
        port, GET.replace(STREAM.encode(), target.encode()) + b"accept: application/x-ndjson\r\n\r\n"
    ) as connection:
        assert (await connection.head()).startswith(b"HTTP/1.1 ")


async def subscribes(port: int, chance: random.Random) -> None:
    """A WebSocket that is cut after it has subscribed."""
    async with upgraded(port, STREAM) as websocket:
        await websocket.send(subscription(chance))
        await websocket.next(TEXT)


async def says_goodbye(port: int, chance: random.Random) -> None:
    """A WebSocket that closes as it should."""
    async with upgraded(port, STREAM) as websocket:
        await websocket.send(subscription(chance) + closing(1000))
        assert await websocket.close_code() == 1000


async def misbehaves(port: int, chance: random.Random) -> None:
    """A WebSocket that is thrown out."""
    async with upgraded(port, STREAM) as websocket:
        await websocket.send(subscription(chance) + made(0x3))
        assert await websocket.close_code() == 1002


async def gives_up(port: int, chance: random.Random) -> None:
    """Hangs up somewhere in the middle of its handshake, or before the answer to it."""
    request = chance.choice([handshake(STREAM), GET + b"\r\n"])
    async with opened(port, request[: chance.randint(0, len(request))]):
        pass


VISITS: tuple[Visit, ...] = (
    listens,
    resumes_nowhere,
    follows_one,
    subscribes,
    says_goodbye,
    misbehaves,
    gives_up,
    gives_up,
)


async def test_nobody_leaves_anything_behind(tmp_path: Path, long_form: bool) -> None:
    """No descriptor, no memory, nothing that is counted or listed: after thousands it is as after the first."""
    visits = 10_000 if long_form else 1_500
    async with serving(Service(tmp_path / "data")) as service:
        process = psutil.Process(service.pid)
        await visit(service, WARM_UP)
        descriptors, resident_bytes = process.num_fds(), process.memory_info().rss
        await visit(service, visits - WARM_UP)

        async def are_closed() -> bool:
            return process.num_fds() <= descriptors + POOLED

        await eventually(are_closed, what=lambda: f"{process.num_fds()} descriptors, {descriptors} before")
        grown_bytes = process.memory_info().rss - resident_bytes
        assert grown_bytes < NOISE_BYTES + LEFT_BYTES * (visits - WARM_UP)
        assert await service.stop() == 0
        assert "Traceback" not in service.log.read_text()


async def visit(service: Service, visits: int) -> None:
    """So many visits of all kinds, some at a time; returns when the service has noticed that all are gone."""
    chance = random.Random(visits)
    left = iter(range(visits))

    async def one_after_the_other() -> None:
        for _ in left:
            await chance.choice(VISITS)(service.port, chance)

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    await eventually(lambda: nobody_is_left(service))


async def nobody_is_left(service: Service) -> bool:
    """Whether it lists no connection and keeps nothing for one."""
    async with service.client() as client:
        listed, metrics = await client.get("/v1/streams"), await client.get("/metrics")
    kept = [line.split() for line in metrics.text.splitlines() if line.startswith(OF_CONNECTIONS)]
    assert len(kept) >= len(OF_CONNECTIONS)
    return not listed.json()["data"] and {value for _, value in kept} == {"0.0"}


def subscription(chance: random.Random) -> bytes:
    """A message that wants what hardly anybody else does."""
    channels = ["executions", f"workflow:{chance.randint(1, 50)}"]
    return made(TEXT, json.dumps({"type": "subscribe", "channels": channels, "snapshot": "active"}).encode())


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Service]:
    """Let it run while the block does."""
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()
