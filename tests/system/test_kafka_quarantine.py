"""What cannot be read in a topic, as people meet it: listed, shown, decided about; bursts halt their partition."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import aconnect_sse

from monitor.events.model import Poison, Record
from monitor.journal.partitioner import partition_for
from monitor.projections.fold import Changes
from monitor.store import Commit, open_sqlite_store
from tests.support.kafka import Kafka
from tests.support.kafka_topics import raw_producer
from tests.support.processes import dying_with_us
from tests.support.service import Service, eventually

BURST = 150
"""More than the hundred in a row that halt."""


def event(execution_id: str, kind: str = "execution.started") -> bytes:
    """An event as producers write it."""
    return json.dumps({"type": kind, "executionId": execution_id, "timestamp": "2026-11-22T10:30:00Z"}).encode()


def key_of(partition: int) -> bytes:
    """A key whose records stand in this partition of two."""
    return next(key for key in (b"k%d" % number for number in range(99)) if partition_for(key, 2) == partition)


@asynccontextmanager
async def launched(kafka: Kafka, topic: str, folder: Path) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """The service on this topic, ready; killed when the block ends."""
    service = Service(folder / "data", journal=f"kafka://{kafka.bootstrap}/{topic}")
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:
            yield service, client
    finally:
        service.close()


async def produce(kafka: Kafka, topic: str, key: bytes, values: Sequence[bytes]) -> None:
    """Have the topic hold these, in order."""
    async with raw_producer(kafka) as producer:
        for value in values:
            await producer.send(topic, value, key)


async def monitor(service: Service, *arguments: str) -> tuple[int, str, str]:
    """What `monitor quarantine` exits with and prints."""
    command = dying_with_us([sys.executable, "-m", "monitor", "quarantine", *arguments, "--url", service.url])
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def metric(client: httpx.AsyncClient, name: str) -> float | None:
    """What `/metrics` says; None when it does not name it yet."""
    values = dict(line.rsplit(" ", 1) for line in (await client.get("/metrics")).text.splitlines())
    return float(values[name]) if name in values else None


async def becomes(client: httpx.AsyncClient, name: str, expected: float) -> None:
    """Return when a metric says so."""

    async def is_so() -> bool:
        return await metric(client, name) == expected

    await eventually(is_so, what=lambda: f"{name} is not {expected}")


async def total(client: httpx.AsyncClient) -> int:
    """How many executions there are."""
    answer = (await client.get("/v1/executions", params={"limit": 1})).json()
    return int(answer["pagination"]["total"])


async def test_people_see_what_cannot_be_read_and_decide(kafka: Kafka, tmp_path: Path) -> None:
    """By command line: a table, one with its bytes, accepted, refused while it is no event, and replayed once it is."""
    topic = await kafka.create_topic()
    async with launched(kafka, topic, tmp_path) as (service, client):
        await produce(kafka, topic, b"k", [b'{"password": "hunter2"}', event("good"), b"\xff\x00"])
        await becomes(client, "monitor_quarantine_undecided", 2)
        code, out, err = await monitor(service, "ls")
        assert (code, err) == (0, "")
        head, raw, text = out.splitlines()
        assert head.split() == ["ID", "STATE", "STORED", "PLACE", "REASON", "MESSAGE"]
        assert (raw.split()[:2], raw.split()[3:5]) == (["qr_000000000002", "undecided"], ["0/2", "malformed_json"])
        assert text.split()[3:5] == ["0/0", "missing_field"]
        code, out, _ = await monitor(service, "show", "qr_000000000001")
        assert code == 0
        assert '{"password":"***"}' in out
        assert "hunter2" in (await monitor(service, "show", "qr_000000000001", "--reveal"))[1]
        assert "00000000  ff 00" in (await monitor(service, "show", "qr_000000000002"))[1]
        code, out, err = await monitor(service, "replay", "qr_000000000001")
        assert (code, out) == (1, "")
        assert "'type' is required; mend what is wrong first, or accept" in err
        assert (await monitor(service, "accept", "qr_000000000001", "qr_000000000002"))[0] == 0
        rows = json.loads((await monitor(service, "ls", "--state", "accepted", "--json"))[1])["data"]
        assert [row["id"] for row in rows] == ["qr_000000000002", "qr_000000000001"]
        assert (await monitor(service, "show", "qr_7"))[0] == 2
        assert await service.stop() == 0
    await refused_before(tmp_path / "data", event("mended"))
    async with launched(kafka, topic, tmp_path) as (service, client):
        for _ in range(2):
            assert (await monitor(service, "replay", "qr_000000000003"))[:2] == (0, "qr_000000000003 is replayed\n")
        await becomes(client, 'monitor_lag_records{partition="0"}', 0)
        assert (await client.get("/v1/executions/mended")).json()["status"] == "running"
        assert (await total(client), await metric(client, "monitor_quarantine_undecided")) == (2, 0)


async def refused_before(data: Path, value: bytes) -> None:
    """A record that an earlier version of these rules refused."""
    poison = Poison(Record(0, 99, b"k", value, (), 1), "invalid_field", "data", "as it was then")
    store = await open_sqlite_store(data / "store.db")
    try:
        await store.write(lambda writer: writer.commit(Commit(Changes(poison=[poison]), {}, ())))
    finally:
        await store.close()


async def test_burst_halts_its_partition_until_somebody_lets_it_go_on(kafka: Kafka, tmp_path: Path) -> None:
    """It is told everywhere and survives a kill; the other partition goes on; counts are exact in the end."""
    topic = await kafka.create_topic(partitions=2)
    bad, good = key_of(0), key_of(1)
    async with launched(kafka, topic, tmp_path) as (service, client):
        before = [event(f"before_{number}") for number in range(5)]
        await produce(kafka, topic, bad, [*before, *[b"changed"] * BURST, *[event(f"after_{n}") for n in range(5)]])
        await becomes(client, "monitor_partitions_halted", 1)
        await told(client)
        assert await metric(client, "monitor_records_quarantined_total") == 100
        await produce(kafka, topic, good, [event(f"other_{number}") for number in range(20)])
        await becomes(client, 'monitor_lag_records{partition="1"}', 0)
        assert await total(client) == 25
        await stale(client)
        service.kill()
    service.launch()
    try:
        async with service.client() as client:
            await eventually(lambda: answers(client))
            await becomes(client, "monitor_partitions_halted", 1)
            await told(client)
            await becomes(client, 'monitor_lag_records{partition="0"}', 55)
            assert (await total(client), await metric(client, "monitor_quarantine_undecided")) == (25, 100)
            code, out, err = await monitor(service, "resume")
            assert (code, out, err) == (0, "partition 0 goes on; 100 records are accepted\n", "")
            await becomes(client, 'monitor_lag_records{partition="0"}', 0)
            await service.ready()
            assert await total(client) == 30
            assert await metric(client, "monitor_quarantine_undecided") == 0
            assert await metric(client, "monitor_partitions_halted") == 0
            assert await metric(client, "monitor_records_quarantined_total") == BURST - 100
            rows = json.loads((await monitor(service, "ls", "--limit", "999", "--json"))[1])["data"]
            assert sorted(row["offset"] for row in rows) == list(range(5, 5 + BURST))
            assert {row["state"] for row in rows} == {"accepted"}
            assert (await monitor(service, "resume"))[2] == "monitor: no partition stands still\n"
        assert await service.stop() == 0
    finally:
        service.close()


async def answers(client: httpx.AsyncClient) -> bool:
    """Whether the service answers at all."""
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx.TransportError:
        return False


async def told(client: httpx.AsyncClient) -> None:
    """Everybody who asks is told of the halt, and nobody takes it for death."""
    assert (await client.get("/livez")).status_code == 200

    async def reasons() -> list[dict[str, Any]]:
        answer = await client.get("/readyz")
        found: list[dict[str, Any]] = answer.json()["reasons"]
        return found if [it["code"] for it in found] == ["halted"] and answer.status_code == 503 else []

    [reason] = await eventually(reasons)
    assert "partition 0 stands still at offset 105: 101 records from offset 5 on" in reason["message"]
    assert "`monitor quarantine resume`" in reason["message"]
    [halt] = (await client.get("/v1/quarantine/halts")).json()["data"]
    assert (halt["partition"], halt["offset"], halt["records"], halt["reason"]) == (0, 105, 101, "malformed_json")


async def stale(client: httpx.AsyncClient) -> None:
    """Return when a subscriber hears that what it sees is old, though another partition goes on."""
    async with asyncio.timeout(60), aconnect_sse(client, "GET", "/v1/executions/stream") as stream:
        async for frame in stream.aiter_sse():
            if frame.event == "stream.stale":
                return
