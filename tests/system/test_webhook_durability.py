"""Between an event and what is owed for it nothing is lost and nothing comes twice, whatever breaks; history is silent.

The numbers are those of the catalogue of faults that senders of webhooks know.
"""

import asyncio
import resource
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import chain
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest

from monitor.serving import GRACE_S
from monitor.store.tables import METADATA
from tests.support.kafka import Kafka
from tests.support.kafka_topics import raw_producer
from tests.support.processes import dying_with_us
from tests.support.receiver import LOOPBACK, Receiver, answering, hanging, receiving
from tests.support.service import LATE_S, Service, eventually

WITHIN_S = 120.0

LOGS = sorted((Path(__file__).parents[1] / "data" / "n8n").glob("*.log"))

LEDGER: Final = (
    "meta",
    "offsets",
    "quarantine",
    "endpoints",
    "lanes",
    "delivery_bodies",
    "deliveries",
    "attempts",
    "replays",
)
"""Tables that a rebuild leaves alone."""


@pytest.mark.parametrize("point", ["planned", "in_planning"])
async def test_case_01_and_02_killed_around_the_commit(tmp_path: Path, kafka: Kafka, point: str) -> None:
    """After the database's commit Kafka is not asked again; before it the batch is read again. Each is owed once."""
    topic = await kafka.create_topic(partitions=3)
    async with launched(tmp_path, journal=f"kafka://{kafka.bootstrap}/{topic}") as service, receiving() as receiver:
        await register(service, receiver.url, ["*"])
        assert await service.stop() == 0
        service.program = ("-m", "tests.support.dying", point, "1")
        service.launch()
        sent = [event(f"exec_{number}", f"ev_{number}") for number in range(60)]
        async with raw_producer(kafka) as producer:
            for one in sent:
                await producer.send_and_wait(topic, orjson.dumps(one), key=one["executionId"].encode())
        assert await service.ended() == -9
        service.program = ("-m", "monitor")
        service.launch()
        await service.ready()
        await idle(service)
        assert arrived(receiver) == Counter({one["id"]: 1 for one in sent})
        assert len(await deliveries(service)) == len(sent)


async def test_case_04_repeated_event_is_owed_once(tmp_path: Path) -> None:
    """Twice in one batch, and again later, and to each endpoint."""
    async with launched(tmp_path) as service, receiving() as one, receiving() as other:
        for receiver in (one, other):
            await register(service, receiver.url, ["execution.*"])
        twice = event("exec_1", "ev_1")
        await post(service, [twice, twice, event("exec_2", "ev_2")])
        await idle(service)
        await post(service, [twice])
        await idle(service)
        assert arrived(one) == arrived(other) == {"ev_1": 1, "ev_2": 1}


async def test_case_08_full_disk_plans_nothing_by_halves(tmp_path: Path) -> None:
    """While files cannot grow, what is stored fits together and ingest says so; with room again everything arrives."""
    async with launched(tmp_path) as service, receiving() as receiver:
        await register(service, receiver.url, ["*"])
        largest = max(path.stat().st_size for path in service.data.iterdir())
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (largest + 300_000, resource.RLIM_INFINITY))
        sent = [event(f"exec_{number}", f"ev_{number}", text="x" * 5000) for number in range(200)]
        posting = [asyncio.create_task(post_until_taken(service, sent[at : at + 10])) for at in range(0, 200, 10)]
        await eventually(lambda: is_in_trouble(service), within_s=WITHIN_S, what=service.log.read_text)
        [(owed,)] = rows(service, "SELECT count(*) FROM deliveries")
        [(folded,)] = rows(service, "SELECT count(*) FROM executions")
        assert owed == folded < len(sent)
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        refusals = await asyncio.gather(*posting)
        await idle(service)
        assert set(chain.from_iterable(refusals)) <= {503}
        assert arrived(receiver) == Counter({one["id"]: 1 for one in sent})


async def test_case_09_poison_holds_up_nothing(tmp_path: Path, kafka: Kafka) -> None:
    """No JSON, no type, no UTF-8, megabytes: quarantined with its reason, and the events around it are delivered."""
    topic = await kafka.create_topic(config={"max.message.bytes": str(12 * 1024 * 1024)})
    async with launched(tmp_path, journal=f"kafka://{kafka.bootstrap}/{topic}") as service, receiving() as receiver:
        await register(service, receiver.url, ["*"])
        poison = [b"no json", b"{}", b'{"type": "\xff"}', b"[" * 100_000, b'"' + b"x" * (10 * 1024 * 1024) + b'"']
        good = [orjson.dumps(event(f"exec_{number}", f"ev_{number}")) for number in range(len(poison) + 1)]
        async with raw_producer(kafka, max_request_size=12 * 1024 * 1024) as producer:
            for value in [
                value for pair in zip(good, [*poison, None], strict=True) for value in pair if value is not None
            ]:
                await producer.send_and_wait(topic, value, key=b"k")
        await receiver.received(len(good))
        await idle(service)
        assert arrived(receiver) == {f"ev_{number}": 1 for number in range(len(good))}
        assert len(rows(service, "SELECT reason FROM quarantine")) == len(poison)


async def test_case_11_stop_with_many_in_flight(tmp_path: Path) -> None:
    """Two hundred sends under way: they end or are given back in time, and nothing stays leased."""
    async with launched(tmp_path) as service, receiving() as receiver:
        receiver.behave(hanging)
        for number in range(40):
            await register(service, f"{receiver.url}/{number}", ["*"])
        await post(service, [event(f"exec_{number}", f"ev_{number}") for number in range(5)])
        await receiver.received(200)
        began_s = time.monotonic()
        assert await service.stop() == 0
        assert time.monotonic() - began_s < GRACE_S + LATE_S
        states = Counter(row["state"] for row in rows(service, "SELECT state FROM deliveries"))
        assert states == {"pending": 200}
        receiver.behave(answering(200))
        service.launch()
        await service.ready()
        await idle(service)
        assert {row["state"] for row in rows(service, "SELECT state FROM deliveries")} == {"delivered"}
        assert {row["step"] for row in rows(service, "SELECT step FROM deliveries")} == {0}


# --- history ---------------------------------------------------------------------------------------------------------


async def test_new_endpoint_hears_of_nothing_from_before(tmp_path: Path) -> None:
    """Registered right behind a thousand events that are not folded yet, it hears of the next one only."""
    async with launched(tmp_path) as service, receiving() as receiver:
        await post(service, [event(f"exec_{number}", f"old_{number}") for number in range(1000)])
        await register(service, receiver.url, ["*"])
        await post(service, [event("exec_0", "new")])
        await receiver.received(1)
        await idle(service)
        assert arrived(receiver) == {"new": 1}


async def test_rebuild_sends_nothing(tmp_path: Path) -> None:
    """Every projection is made anew from the first record on; what was owed for it stays what it was."""
    async with launched(tmp_path) as service, receiving() as receiver:
        await register(service, receiver.url, ["*"])
        await post(service, [event(f"exec_{number}", f"ev_{number}") for number in range(100)])
        await idle(service)
        assert await service.stop() == 0
        with closing(sqlite3.connect(service.data / "store.db")) as store, store:
            for name in METADATA.tables.keys() - set(LEDGER):
                store.execute(f"DELETE FROM {name}")  # noqa: S608 - names of ours
            store.execute("UPDATE offsets SET next = 0, anchor = x''")
        before = rows(service, "SELECT * FROM deliveries")
        service.launch()
        await service.ready()
        await post(service, [event("exec_new", "ev_new")])
        await receiver.received(101)
        await idle(service)
        assert arrived(receiver) == Counter({f"ev_{number}": 1 for number in range(100)} | {"ev_new": 1})
        assert [tuple(row) for row in rows(service, "SELECT * FROM deliveries")][:-1] == [tuple(row) for row in before]
        [(executions,)] = rows(service, "SELECT count(*) FROM executions")
        assert executions == 101


async def test_replayed_journal_sends_nothing(tmp_path: Path, kafka: Kafka) -> None:
    """A producer that writes everything once more owes nobody anything."""
    topic = await kafka.create_topic(partitions=2)
    async with launched(tmp_path, journal=f"kafka://{kafka.bootstrap}/{topic}") as service, receiving() as receiver:
        await register(service, receiver.url, ["*"])
        sent = [event(f"exec_{number}", f"ev_{number}") for number in range(100)]
        async with raw_producer(kafka) as producer:
            for one in [*sent, *sent, event("exec_0", "last")]:
                await producer.send_and_wait(topic, orjson.dumps(one), key=one["executionId"].encode())
        await receiver.received(101)
        await idle(service)
        assert arrived(receiver) == Counter({one["id"]: 1 for one in sent} | {"last": 1})


async def test_import_of_last_month_sends_nothing(tmp_path: Path) -> None:
    """Logs of another engine, and events that say they are history."""
    async with launched(tmp_path) as service, receiving() as receiver:
        await register(service, receiver.url, ["*"])
        history = [event(f"exec_{number}", f"ev_{number}") | {"backfill": True} for number in range(100)]
        await post(service, history)
        command = [
            sys.executable,
            "-m",
            "monitor",
            "import",
            "n8n-log",
            *map(str, LOGS),
            "--url",
            service.url,
            "--json",
        ]
        done = await asyncio.to_thread(subprocess.run, dying_with_us(command), capture_output=True, check=True)
        assert orjson.loads(done.stdout.splitlines()[-1])
        await post(service, [event("exec_new", "ev_new")])
        await receiver.received(1)
        await idle(service)
        [(executions,)] = rows(service, "SELECT count(*) FROM executions")
        assert executions > 101
        assert arrived(receiver) == {"ev_new": 1}


# --- the service -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def launched(folder: Path, **settings: str) -> AsyncIterator[Service]:
    """A service that is ready, and may send to this machine; it ends with the block."""
    service = Service(folder / "data", webhook_allow=",".join(LOOPBACK), **settings)
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


async def register(service: Service, url: str, events: Sequence[str]) -> None:
    """An endpoint."""
    async with service.client() as client:
        answer = await client.post("/v1/webhooks", json={"url": url, "events": events})
    assert answer.status_code == 201, answer.text


def event(execution_id: str, event_id: str, text: str = "") -> dict[str, Any]:
    """The start of an execution."""
    return {
        "type": "execution.started",
        "executionId": execution_id,
        "workflowId": "wf_1",
        "timestamp": "2026-11-22T10:30:00Z",
        "id": event_id,
        "data": {"metadata": {"note": text}},
    }


async def post(service: Service, events: Sequence[dict[str, Any]]) -> None:
    """Acknowledged."""
    async with service.client() as client:
        answer = await client.post("/v1/events", json=events)
    assert answer.status_code == 200, answer.text


async def idle(service: Service) -> None:
    """Return when all is folded and nothing is owed."""

    async def is_idle() -> bool:
        try:
            async with service.client() as client:
                lines = (await client.get("/metrics")).text.splitlines()
        except httpx.TransportError:
            return False
        waiting = [
            line.split()[-1] for line in lines if line.startswith(("monitor_webhook_backlog{", "monitor_lag_records{"))
        ]
        return len(waiting) > 3 and not any(map(float, waiting))

    await eventually(is_idle, within_s=WITHIN_S, what=service.log.read_text)


async def post_until_taken(service: Service, events: Sequence[dict[str, Any]]) -> list[int]:
    """Again and again until it is acknowledged; returns the statuses of the refusals."""
    refusals: list[int] = []

    async def is_taken() -> bool:
        async with service.client() as client:
            status = (await client.post("/v1/events", json=events)).status_code
        refusals.extend([status] if status != 200 else [])
        return status == 200

    await eventually(is_taken, within_s=WITHIN_S)
    return refusals


async def is_in_trouble(service: Service) -> bool:
    """Whether it says that it cannot work."""
    async with service.client() as client:
        return (await client.get("/readyz")).status_code == 503


async def deliveries(service: Service) -> list[dict[str, Any]]:
    """Of every endpoint, up to a hundred each."""
    async with service.client() as client:
        webhooks = (await client.get("/v1/webhooks")).json()["data"]
        pages = [await client.get(f"/v1/webhooks/{it['id']}/deliveries", params={"limit": 100}) for it in webhooks]
    return list(chain.from_iterable(page.json()["data"] for page in pages))


def arrived(receiver: Receiver) -> Counter[str]:
    """How often each event came."""
    return Counter(orjson.loads(it.body)["id"] for it in receiver.requests)


def rows(service: Service, question: str) -> list[sqlite3.Row]:
    """Of the store's file, whoever else reads it."""
    with closing(sqlite3.connect(service.data / "store.db")) as store:
        store.row_factory = sqlite3.Row
        return store.execute(question).fetchall()
