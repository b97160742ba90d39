"""Streams of a real service under load: the same frames for everybody, none missed and none twice, ever visible."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import WebSocketException

from monitor.events.model import Entry
from monitor.events.types import DERIVED, TYPES
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened
from tests.support.made_up import VARIED
from tests.support.service import Service, eventually
from tests.support.subscribers import (
    Connection,
    EventSourceSubscriber,
    Subscriber,
    WebSocketSubscriber,
    curl,
    read_until,
    subscribed,
)
from tests.support.traffic import traffic

CUTS = 50
LAST = "the-last-one"
"""The execution whose only event is sent when everything else has been."""

LOSSES = ("stream.gap", "stream.reset", "stream.error", "stream.shed")

Fact = tuple[str, str]
"""(execution id, event id)."""

Feed = Callable[[list[Entry]], Awaitable[Any]]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """The service on its embedded journal, ready."""
    async with serving(Service(tmp_path / "data")) as service:
        yield service


async def test_websocket_snippet_and_curl_show_the_same_frames(service: Service) -> None:
    """The documented message and `curl -N` on the same URL: equal frames, each once though two channels match."""
    websocket = await WebSocketSubscriber(service).connect(None)
    async with curl(service) as printed, service.client() as client:
        await asyncio.gather(subscribed(websocket), subscribed(printed))
        told = await load(posting(client), 600)
        seen, shown = await asyncio.gather(read_until(websocket, LAST), read_until(printed, LAST))
    await websocket.abort()
    assert seen == shown
    assert [fact(frame) for frame in seen if frame["type"] not in DERIVED] == told
    assert "wf_123" in {frame["workflowId"] for frame in seen}


@pytest.mark.parametrize("kind", [WebSocketSubscriber, EventSourceSubscriber])
async def test_client_cut_off_fifty_times(service: Service, kind: Callable[[Service], Subscriber]) -> None:
    """Resuming by the last position that it saw, it misses no lifecycle event and sees none twice."""
    subscriber = kind(service)
    begin = await here(subscriber)
    async with service.client() as client:
        told, seen = await asyncio.gather(load(posting(client), 2500), resume_again_and_again(subscriber, begin))
    assert seen == told


async def test_client_cut_off_while_the_service_is_killed(service: Service) -> None:
    """The same when the service itself dies by SIGKILL and comes back, twice."""
    subscriber = WebSocketSubscriber(service)
    begin = await here(subscriber)
    async with service.client() as client:
        told, seen, _ = await asyncio.gather(
            load(posting(client), 2500, pause_s=0.02),
            resume_again_and_again(subscriber, begin),
            kill_now_and_then(service),
        )
    assert seen == told


async def test_client_cut_off_while_a_service_on_kafka_is_killed(kafka: Kafka, tmp_path: Path) -> None:
    """On three partitions, whose records come in another order after each start; it holds within each execution."""
    topic = await kafka.create_topic(partitions=3)
    async with (
        serving(Service(tmp_path / "data", journal=f"kafka://{kafka.bootstrap}/{topic}")) as service,
        opened(kafka, topic, group="load") as journal,
    ):
        subscriber = WebSocketSubscriber(service)
        begin = await here(subscriber)
        told, seen, _ = await asyncio.gather(
            load(journal.append, 2500, pause_s=0.02, before_last=service.caught_up),
            resume_again_and_again(subscriber, begin),
            kill_now_and_then(service),
        )
    assert by_execution(seen) == by_execution(told)


async def test_what_was_seen_is_visible_in_answers(service: Service) -> None:
    """For each frame, REST at its position has that version of the execution, or a later one, at once."""
    websocket = await WebSocketSubscriber(service).connect(None)
    async with service.client() as client:
        await subscribed(websocket)
        loading = asyncio.create_task(load(posting(client), 600))
        checked = 0
        while (frame := await websocket.frame()) is not None and frame.get("executionId") != LAST:
            if "executionId" in frame:
                asked = {"minPosition": frame["position"]} if checked % 2 else {}
                answer = await client.get(f"/v1/executions/{frame['executionId']}", params=asked)
                assert answer.json()["version"] >= frame["version"]
                checked += 1
        assert checked >= len(await loading) - 1
    await websocket.abort()


# --- the load --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Service]:
    """Let it run while the block does, then stop it cleanly."""
    service.launch()
    try:
        await service.ready()
        yield service
        assert await service.stop() == 0
    finally:
        service.close()


async def kill_now_and_then(service: Service) -> None:
    """SIGKILL at random instants, and a new start."""
    chance = random.Random(3)
    for _ in range(2):
        await asyncio.sleep(chance.uniform(0.2, 0.5))  # the random instant; nothing is awaited by it
        service.kill()
        service.launch()
        await service.ready()


async def load(
    feed: Feed, events: int, *, pause_s: float = 0.005, before_last: Callable[[], Awaitable[None]] | None = None
) -> list[Fact]:
    """Feed traffic with disorder and repeats, then the last event; returns its lifecycle, each event once, in order.

    `before_last` waits until the last event is last for everybody, which partitions do not promise.
    """
    entries = islice(traffic(11, mix=replace(VARIED, anonymous=0.0), active=30, window=20, duplicates=0.05), events)
    told: dict[Fact, None] = {}
    while batch := list(islice(entries, 25)):
        await feed(batch)
        told |= dict.fromkeys(lifecycle(batch))
        await asyncio.sleep(pause_s)  # the pace of the load
    if before_last is not None:
        await before_last()
    last = {"type": "execution.started", "executionId": LAST, "workflowId": "wf_123", "id": "1"}
    await feed([Entry(LAST.encode(), orjson.dumps({**last, "timestamp": "2026-11-22T10:30:00Z"}))])
    return [*told, (LAST, "1")]


def lifecycle(entries: Iterable[Entry]) -> list[Fact]:
    """What subscribers get who name no types."""
    events = (orjson.loads(entry.value) for entry in entries)
    return [fact(event) for event in events if TYPES[event["type"]].stream_class == "lifecycle"]


def fact(event: Mapping[str, Any]) -> Fact:
    """What makes it an event of its own."""
    return event["executionId"], event["id"]


def posting(client: httpx.AsyncClient) -> Feed:
    """Posts a batch until it is acknowledged, as a careful producer does."""

    async def post(batch: list[Entry]) -> None:
        body = b"\n".join(entry.value for entry in batch)

        async def is_acknowledged() -> bool:
            try:
                answer = await client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        await eventually(is_acknowledged)

    return post


# --- the reader ------------------------------------------------------------------------------------------------------


async def here(subscriber: Subscriber) -> str:
    """The position of a client that subscribes now."""
    connection = await subscriber.connect(None)
    position: str = (await subscribed(connection))["position"]
    await connection.abort()
    return position


async def resume_again_and_again(subscriber: Subscriber, position: str) -> list[Fact]:
    """Read on from `position` up to the last event, cut off fifty times after a few frames; returns what was seen, as
    often as it was.
    """
    chance = random.Random(20261122)
    seen: list[Fact] = []
    cuts = 0
    while (LAST, "1") not in seen[-1:]:
        connection = await reconnected(subscriber, position)
        frames_left = chance.randint(1, 30) if cuts < CUTS else None
        while frames_left != 0 and (LAST, "1") not in seen[-1:] and (frame := await connection.frame()) is not None:
            assert frame.get("type") not in LOSSES, frame
            if frame.get("type") != "stream.hello":  # which says where the service stands, before it was asked
                position = frame.get("position", position)
            if "executionId" in frame:
                frames_left = frames_left and frames_left - 1
                seen += [fact(frame)] if frame["type"] not in DERIVED else []
        await connection.abort()
        cuts += 1
    assert cuts > CUTS
    return seen


async def reconnected(subscriber: Subscriber, position: str) -> Connection:
    """A new connection, as soon as the service lets one in."""

    async def connection() -> Connection | None:
        try:
            return await subscriber.connect(position)
        except (OSError, WebSocketException):
            return None

    found: Connection = await eventually(connection)
    return found


def by_execution(facts: Iterable[Fact]) -> dict[str, list[str]]:
    """The events of each execution in their order."""
    found: dict[str, list[str]] = defaultdict(list)
    for execution_id, event_id in facts:
        found[execution_id].append(event_id)
    return found
