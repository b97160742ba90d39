"""A real `monitor serve` on a real Kafka whose topic holds what it should not, or no longer what it should."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
from httpx_sse import ServerSentEvent, aconnect_sse

from monitor.events.model import MAX_EVENT_BYTES
from monitor.store import open_sqlite_store
from monitor.store.quarantine_port import Quarantined
from tests.support.kafka import Kafka
from tests.support.kafka_topics import delete_before, opened, raw_producer, recreate
from tests.support.quarantine import quarantined
from tests.support.service import Service, eventually
from tests.support.traffic import traffic


class Bad(NamedTuple):
    """What a producer sends, and what quarantine says about it."""

    value: bytes | None
    reason: str
    field: str | None = None


def event(**members: Any) -> bytes:
    """An event that is well-formed but for `members`; None leaves one out."""
    good = {"type": "execution.started", "executionId": "bad", "timestamp": "2026-11-22T10:30:00Z"}
    return orjson.dumps({name: value for name, value in (good | members).items() if value is not None})


HOSTILE = {
    "malformed JSON": Bad(b'{"type":', "malformed_json"),
    "not an object": Bad(b'"execution.started"', "invalid_field"),
    "a wrong type": Bad(event(sequence="seven"), "invalid_field", "sequence"),
    "data of a wrong type": Bad(event(data=[1]), "invalid_field", "data"),
    "no execution": Bad(event(executionId=None), "missing_field", "executionId"),
    "an execution that is a number": Bad(event(executionId=5), "invalid_field", "executionId"),
    "one byte too much": Bad(event(data={"x": ""})[:-3] + b"x" * (MAX_EVENT_BYTES + 1 - 85), "too_large"),
    "NUL alone": Bad(b"\0", "malformed_json"),
    "NUL in an id": Bad(event(executionId="a\0b"), "invalid_field", "executionId"),
    "invalid UTF-8": Bad(event(executionId="@").replace(b"@", b"\xff\xfe"), "malformed_json"),
    "the year 9999": Bad(event(timestamp="9999-01-01T00:00:00Z"), "invalid_field", "timestamp"),
    "no time": Bad(event(timestamp="yesterday"), "invalid_field", "timestamp"),
    "a negative sequence": Bad(event(sequence=-1), "invalid_field", "sequence"),
    "a forged control frame": Bad(event(type="stream.hello"), "forbidden_type", "type"),
    "a tombstone": Bad(None, "empty"),
    "nothing": Bad(b"", "empty"),
}


async def test_hostile_bytes_are_quarantined_and_the_partition_goes_on(kafka: Kafka, tmp_path: Path) -> None:
    """Each is kept with its place, the reason and its bytes; good events around them count, the process is unmoved."""
    topic = await kafka.create_topic(config={"max.message.bytes": str(2 * MAX_EVENT_BYTES)})
    sent = [
        raw for number, bad in enumerate(HOSTILE.values()) for raw in (bad.value, event(executionId=f"ok_{number}"))
    ]
    async with serving(kafka, topic, tmp_path) as (service, client):
        pid = service.pid
        async with raw_producer(kafka, max_request_size=4 * MAX_EVENT_BYTES) as producer:
            for value in sent:
                await producer.send(topic, value, b"k")
        await settled(client)
        listed = (await client.get("/v1/executions", params={"limit": 100})).json()
        assert {row["id"] for row in listed["data"]} == {f"ok_{number}" for number in range(len(HOSTILE))}
        await counted(client, "monitor_records_quarantined_total", len(HOSTILE))
        assert (await client.get("/livez")).status_code == 200
        assert service.pid == pid
    told = {
        it.row.offset: (it.row.partition, it.key, it.row.reason, it.row.field, it.value)
        for it in await left_in(tmp_path)
    }
    assert told == {
        2 * number: (0, b"k", bad.reason, bad.field, bad.value) for number, bad in enumerate(HOSTILE.values())
    }


async def test_retention_cut_is_told_to_everybody(kafka: Kafka, tmp_path: Path) -> None:
    """Records that went while the service was down: quarantine, metric and resuming streams say so, the rest counts."""
    topic = await kafka.create_topic()
    entries = list(islice(traffic(8), 100))
    async with opened(kafka, topic) as journal:
        await journal.append(entries[:30])
        async with serving(kafka, topic, tmp_path) as (_, client):
            await settled(client)
            [*_, subscribed] = [frame async for frame in frames_until(client, "stream.subscribed")]
        await journal.append(entries[30:80])
        await delete_before(kafka, topic, 60)
        async with serving(kafka, topic, tmp_path) as (_, client):
            frames = [
                frame.event async for frame in frames_until(client, "stream.gap", {"last-event-id": subscribed.id})
            ]
            await settled(client)
            await journal.append(entries[80:])
            await settled(client)
            await counted(client, "monitor_records_lost_total", 30)
            await counted(client, "monitor_events_applied_total", 40)
    assert frames == ["stream.hello", "stream.subscribed", "stream.gap"]
    [(row, *_)] = await left_in(tmp_path)
    assert (row.reason, row.partition, row.offset) == ("retention_cut", 0, 30)
    assert row.message == "records 30 to 59 of partition 0 are gone from the journal"


async def test_topic_that_was_recreated_is_refused_at_start(kafka: Kafka, tmp_path: Path) -> None:
    """Exit code 2 and one line that says what is wrong and what to do, instead of mixing two topics' records."""
    topic = await kafka.create_topic(partitions=2)
    async with opened(kafka, topic) as journal:
        await journal.append(list(islice(traffic(9), 20)))
    async with serving(kafka, topic, tmp_path) as (service, client):
        await settled(client)
    await recreate(kafka, topic, partitions=2)
    service.log.unlink()
    service.launch()
    assert await service.ended() == 2
    [line] = [line for line in service.log.read_text().splitlines() if line.startswith("monitor: ")]
    assert "The store was built from journal" in line
    assert "move store.db away" in line


async def test_topic_that_ends_with_transaction_markers(kafka: Kafka, tmp_path: Path) -> None:
    """Offsets that hold no record are no lag: the service gets ready, and says that it is up to date."""
    topic = await kafka.create_topic()
    async with raw_producer(kafka, transactional_id=topic) as producer:
        for number in range(3):
            async with producer.transaction():
                await producer.send(topic, event(executionId=f"ok_{number}"), b"k")
    async with serving(kafka, topic, tmp_path) as (_, client):
        await settled(client)
        assert len((await client.get("/v1/executions")).json()["data"]) == 3


# --- the service -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(kafka: Kafka, topic: str, folder: Path) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """The service on this topic, ready; stopped cleanly when the block ends."""
    service = Service(folder / "data", journal=f"kafka://{kafka.bootstrap}/{topic}")
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:
            yield service, client
        assert await service.stop() == 0
    finally:
        service.close()


async def settled(client: httpx.AsyncClient) -> None:
    """Return when everything in the topic is folded."""

    async def is_folded() -> bool:
        return await metric(client, 'monitor_lag_records{partition="0"}') == 0

    await eventually(is_folded)


async def counted(client: httpx.AsyncClient, name: str, count: int) -> None:
    """Return when a metric says so: what is committed counts a moment later."""
    shown: float | None = None

    async def is_counted() -> bool:
        nonlocal shown
        shown = await metric(client, name)
        return shown == count

    await eventually(is_counted, what=lambda: f"{name} is {shown}")


async def metric(client: httpx.AsyncClient, name: str) -> float | None:
    """What `/metrics` says; None when it does not name it yet."""
    values = dict(line.rsplit(" ", 1) for line in (await client.get("/metrics")).text.splitlines())
    return float(values[name]) if name in values else None


async def frames_until(
    client: httpx.AsyncClient, name: str, headers: Mapping[str, str] | None = None
) -> AsyncIterator[ServerSentEvent]:
    """What a subscriber reads, up to the first frame called `name`."""
    async with aconnect_sse(client, "GET", "/v1/executions/stream", headers=dict(headers or {})) as stream:
        async for frame in stream.aiter_sse():
            yield frame
            if frame.event == name:
                return


async def left_in(folder: Path) -> Sequence[Quarantined]:
    """What the service left in quarantine."""
    store = await open_sqlite_store(folder / "data" / "store.db")
    try:
        return await store.read(quarantined)
    finally:
        await store.close()
