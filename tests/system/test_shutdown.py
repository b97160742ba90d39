"""Clean exits: a signal drains in time and loses nothing; a loop that dies ends the process non-zero."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path

import httpx
import orjson

from monitor.events.types import TYPES
from monitor.serving import GRACE_S
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened, recreate
from tests.support.receiver import LOOPBACK, Receiver, accepting_after, answering, hanging, receiving
from tests.support.service import LATE_S, Service
from tests.support.subscribers import (
    Connection,
    EventSourceSubscriber,
    Frame,
    Subscriber,
    WebSocketSubscriber,
    read_until,
    subscribed,
)
from tests.support.traffic import traffic

Fact = tuple[str, str]
"""(execution id, event id)."""

EVENT = {"type": "execution.started", "workflowId": "wf_1", "timestamp": "2026-11-22T10:30:00Z", "id": "1"}


async def test_signal_drains_everybody(tmp_path: Path) -> None:
    """Subscribers are told where they stand, a webhook in flight is finished, what was acknowledged is not lost."""
    acknowledged: set[Fact] = set()
    async with receiving() as receiver, launched(tmp_path) as service:
        told = asyncio.Event()
        receiver.behave(accepting_after(told))
        kinds: list[Subscriber] = [WebSocketSubscriber(service), EventSourceSubscriber(service)]
        readers = [await kind.connect(None) for kind in kinds]
        for reader in readers:
            await subscribed(reader)
        async with service.client() as client:
            await register(client, receiver)
            posting = [asyncio.create_task(post_until_refused(service, seed, acknowledged)) for seed in range(3)]
            await receiver.received(1)
            stopping = asyncio.create_task(service.stop())
            seen = await asyncio.gather(*map(read_to_the_end, readers))
            told.set()
            assert await stopping == 0
        await asyncio.gather(*posting)
        for frames in seen:
            assert [frame["type"] for frame in frames if frame["type"].startswith("stream.")] == ["stream.drain"]
            assert frames[-1]["type"] == "stream.drain"
        service.launch()
        await service.ready()
        for number, (frames, kind) in enumerate(zip(seen, kinds, strict=True)):
            later = await read_on(service, kind, frames[-1]["position"], f"last-{number}")
            found = [(frame["executionId"], frame["id"]) for frame in (*frames[:-1], *later)]
            assert len(found) == len(set(found))
            assert set(found) >= acknowledged
        attempts = [request.headers["webhook-id"] for request in receiver.requests]
        assert len(attempts) == len(set(attempts))


async def test_nobody_keeps_it_beyond_the_grace(tmp_path: Path) -> None:
    """A request without end and a receiver without answer: exit code 0 in time, and the delivery is made anew."""
    async with receiving() as receiver, launched(tmp_path) as service:
        receiver.behave(hanging, answering(200))
        async with service.client() as client:
            await register(client, receiver)
            await client.post("/v1/events", json=EVENT | {"executionId": "e1"})
        await receiver.received(1)
        _, endless = await asyncio.open_connection("127.0.0.1", service.port)
        with closing(endless):
            endless.write(b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n[")
            await endless.drain()
            began_s = time.monotonic()
            assert await service.stop() == 0
            assert time.monotonic() - began_s < GRACE_S + LATE_S
        service.launch()
        await service.ready()
        first, second = await receiver.received(2)
        assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


async def test_store_that_fails_for_good_ends_the_process(tmp_path: Path) -> None:
    """Somebody else's hands in store.db: it does not serve on with a projector that can never go on."""
    async with launched(tmp_path) as service:
        with closing(sqlite3.connect(service.data / "store.db", isolation_level=None)) as other:
            other.execute("DROP TABLE executions")
        async with service.client() as client:
            assert (await client.post("/v1/events", json=EVENT | {"executionId": "e1"})).status_code == 200
        assert await service.ended() == 1
        assert "no such table: executions" in service.log.read_text()


async def test_topic_that_becomes_another_one_ends_the_process(kafka: Kafka, tmp_path: Path) -> None:
    """Its records are not those that the store was folded from, and the log says so."""
    topic = await kafka.create_topic()
    async with opened(kafka, topic) as journal:
        await journal.append(list(islice(traffic(9), 20)))
    async with launched(tmp_path, journal=f"kafka://{kafka.bootstrap}/{topic}") as service:
        await recreate(kafka, topic, partitions=1)
        assert await service.ended() == 1
        assert "was deleted and created again" in service.log.read_text()


# --- parts -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def launched(folder: Path, **settings: str) -> AsyncIterator[Service]:
    """The service, ready; what is left of it is killed when the block ends."""
    service = Service(folder / "data", webhook_allow=",".join(LOOPBACK), **settings)
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


async def register(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """Have the receiver told of every start."""
    answer = await client.post("/v1/webhooks", json={"url": receiver.url, "events": ["execution.started"]})
    assert answer.status_code == 201, answer.text


async def post_until_refused(service: Service, seed: int, acknowledged: set[Fact]) -> None:
    """Post one event after the other until nobody answers; keep the lifecycle events that were acknowledged."""
    async with service.client() as client:
        for entry in traffic(seed):
            try:
                answer = await client.post(
                    "/v1/events", content=entry.value, headers={"content-type": "application/json"}
                )
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            event = orjson.loads(entry.value)
            if TYPES[event["type"]].stream_class == "lifecycle":
                acknowledged.add((event["executionId"], event["id"]))


async def read_on(service: Service, kind: Subscriber, position: str, last: str) -> Sequence[Frame]:
    """What a subscriber gets from `position` on, up to an execution that starts now."""
    reader = await kind.connect(position)
    await subscribed(reader)
    async with service.client() as client:
        await client.post("/v1/events", json=EVENT | {"executionId": last})
    events = await read_until(reader, last)
    await reader.abort()
    return events


async def read_to_the_end(connection: Connection) -> list[Frame]:
    """Every frame but checkpoints, until the service ends the stream."""
    frames: list[Frame] = []
    while (frame := await connection.frame()) is not None:
        frames += [frame] if frame.get("type", "stream.checkpoint") != "stream.checkpoint" else []
    return frames
