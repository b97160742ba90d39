"""SIGKILL at any instruction: the store then equals a clean replay; nothing acknowledged is lost, nothing doubled."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from monitor.access.teams import team_rule
from monitor.clock import SystemClock
from monitor.events.codec import TeamOf, decode
from monitor.events.model import Entry, Event
from monitor.journal import Journal, open_kafka_journal, open_sqlite_journal
from monitor.store import open_sqlite_store
from monitor.store.base import Store
from tests.support.kafka import Kafka
from tests.support.made_up import VARIED
from tests.support.receiver import LOOPBACK, Receiver, receiving
from tests.support.replay import contents, deliveries, replayed
from tests.support.service import Service, eventually
from tests.support.traffic import paced, traffic

ENDS = ("execution.completed", "execution.failed", "execution.cancelled")
ROUNDS, LONG_ROUNDS = 10, 100

EVENTS_PER_S = 1000
"""Enough that every instant finds the service at work, and little enough that its start does not only catch up."""

# A hundred kills take longer than a test usually may.
pytestmark = pytest.mark.timeout(3600)

Acknowledged = set[tuple[str, str]]
"""(execution id, event id) of what the service, or Kafka, said it has."""


async def test_embedded_service_killed_at_random(tmp_path: Path, long_form: bool) -> None:
    """Events are acknowledged over HTTP by a service that is killed again and again."""
    acknowledged: Acknowledged = set()
    service = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK))
    async with receiving() as receiver, service.client() as client:
        await _killed_again_and_again(service, receiver, _post(client, acknowledged), long_form)
    journal = await open_sqlite_journal(service.data / "journal.db", clock=SystemClock())
    await _check(service, journal, exclusive=True, acknowledged=acknowledged, receiver=receiver)


async def test_service_on_kafka_killed_at_random(tmp_path: Path, kafka: Kafka, long_form: bool) -> None:
    """Events go to Kafka, and the service that folds them is killed again and again."""
    acknowledged: Acknowledged = set()
    url = f"kafka://{kafka.bootstrap}/{await kafka.create_topic(partitions=3)}"
    async with receiving() as receiver, _producer(url) as producer:
        service = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK), journal=url)
        await _killed_again_and_again(service, receiver, _produce(producer, acknowledged), long_form)
    journal = await open_kafka_journal(url, clock=SystemClock(), group="check")
    await _check(service, journal, exclusive=False, acknowledged=acknowledged, receiver=receiver)


# --- the load --------------------------------------------------------------------------------------------------------


async def _killed_again_and_again(
    service: Service, receiver: Receiver, feed: Callable[[list[Entry]], Awaitable[None]], long_form: bool
) -> None:
    chance = random.Random(20261122)
    rounds = LONG_ROUNDS if long_form else ROUNDS
    service.launch()
    try:
        await service.ready()
        await _register(service, receiver)
        load = asyncio.create_task(_feed_forever(feed))
        for number in range(rounds):
            await asyncio.sleep(chance.uniform(0.02, 0.4))  # the random instant; nothing is awaited by it
            assert not load.done(), load.exception()
            service.kill()
            service.launch()
            await service.ready()
            print(f"killed {number + 1} of {rounds}")
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        await _settled(service, within_s=60.0 + 3.0 * rounds)
        assert await service.stop() == 0
    finally:
        service.close()


async def _feed_forever(feed: Callable[[list[Entry]], Awaitable[None]]) -> None:
    entries = traffic(7, mix=VARIED, active=40, window=30, duplicates=0.05, gaps=0.01)
    async for batch in paced(entries, EVENTS_PER_S, SystemClock()):
        await feed(batch)


def _post(client: httpx.AsyncClient, acknowledged: Acknowledged) -> Callable[[list[Entry]], Awaitable[None]]:
    """Sends a batch until it is acknowledged, as a careful producer does."""

    async def post(batch: list[Entry]) -> None:
        body = b"\n".join(entry.value for entry in batch)

        async def is_answered() -> Any:
            try:
                answer = await client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
            except httpx.TransportError:
                return None
            return answer if answer.status_code == 200 else None

        answer = await eventually(is_answered)
        for entry, result in zip(batch, answer.json()["results"], strict=True):
            if result["verdict"] != "rejected":
                acknowledged.add((orjson.loads(entry.value)["executionId"], result["id"]))

    return post


def _produce(producer: Any, acknowledged: Acknowledged) -> Callable[[list[Entry]], Awaitable[None]]:
    async def produce(batch: list[Entry]) -> None:
        # Sent in one go by one caller, so that the order of a key holds.
        sent = [await producer.send(entry.value, key=entry.key) for entry in batch]
        await asyncio.gather(*sent)
        for entry in batch:
            event = orjson.loads(entry.value)
            if "id" in event:
                acknowledged.add((event["executionId"], event["id"]))

    return produce


class _Producer:
    def __init__(self, client: Any, topic: str) -> None:
        self._client, self._topic = client, topic

    async def send(self, value: bytes, key: bytes) -> Any:
        return await self._client.send(self._topic, value, key=key)


@asynccontextmanager
async def _producer(url: str) -> AsyncIterator[_Producer]:
    from aiokafka import AIOKafkaProducer

    bootstrap, topic = url.removeprefix("kafka://").split("/")
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as client:
        yield _Producer(client, topic)


async def _register(service: Service, receiver: Receiver) -> None:
    async with service.client() as client:
        answer = await client.post("/v1/webhooks", json={"url": receiver.url, "events": list(ENDS)})
        assert answer.status_code == 201, answer.text


async def _settled(service: Service, within_s: float) -> None:
    await service.caught_up(within_s)
    outstanding = ""

    async def is_settled() -> bool:
        nonlocal outstanding
        outstanding = await _outstanding(service)
        return not outstanding

    await eventually(is_settled, within_s=within_s, what=lambda: outstanding)


async def _outstanding(service: Service) -> str:
    """What is not delivered yet; empty when all is done."""
    async with service.client() as client:
        hooks = (await client.get("/v1/webhooks")).json()["data"]
        owed = (await client.get(f"/v1/webhooks/{hooks[0]['id']}/deliveries", params={"limit": 100})).json()
    states = Counter(row["status"] for row in owed["data"])
    return "" if set(states) == {"delivered"} else f"latest deliveries: {states}"


# --- the check -------------------------------------------------------------------------------------------------------


async def _check(
    service: Service, journal: Journal, *, exclusive: bool, acknowledged: Acknowledged, receiver: Receiver
) -> None:
    team_of = team_rule(exclusive=exclusive, trust_body=False)
    store = await open_sqlite_store(service.data / "store.db")
    try:
        endpoints = await store.read(lambda reader: reader.endpoints(None))
        clean = await replayed(journal, team_of, endpoints)
        assert await contents(store) == await contents(clean)
        kept, expected = await deliveries(store), await deliveries(clean)
        assert sorted(kept) == sorted(expected)
        assert len(kept) == len(set(kept))
        assert set(kept) == {request.headers["webhook-id"] for request in receiver.requests}
        held = await _held(journal, team_of)
        assert acknowledged <= held
        print(f"{len(acknowledged)} events acknowledged, {len(held)} held, {len(kept)} deliveries")
        assert await _quarantined(store) == []
    finally:
        await store.close()
        await journal.close()


async def _held(journal: Journal, team_of: TeamOf) -> Acknowledged:
    held = set()
    for partition, (start, end) in (await journal.bounds()).items():
        at = start
        while records := await journal.read(partition, at, end, 1000):
            decoded = [decode(record, team_of) for record in records]
            held |= {(event.execution_id, event.id) for event in decoded if isinstance(event, Event)}
            at = records[-1].offset + 1
    return held


async def _quarantined(store: Store) -> list[str]:
    rows = await store.read(lambda reader: reader.quarantine(10))
    return [row.message for row in rows]
