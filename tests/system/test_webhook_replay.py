"""What people decide about deliveries outlives the process: replays, retries, cancellations, tests, killed at work."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest

from monitor.clock import SystemClock
from monitor.store import open_sqlite_store
from monitor.store.base import Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import MAX_IN_FLIGHT
from tests.support.receiver import LOOPBACK, Receiver, answering, hanging, receiving
from tests.support.service import Service, eventually

MANY: Final = 4_000
LIVE: Final = 500
WITHIN_S: Final = 240.0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


@asynccontextmanager
async def launched(tmp_path: Path) -> AsyncIterator[Service]:
    """A running service; ended at last, whatever happens."""
    service = Service(tmp_path / "data", webhook_allow=",".join(LOOPBACK))
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


async def restarted(service: Service) -> None:
    """Kill it and start it again."""
    service.kill()
    service.launch()
    await service.ready()


async def register(client: httpx.AsyncClient, url: str, **members: Any) -> str:
    """The address of a new webhook."""
    answer = await client.post("/v1/webhooks", json={"url": url, "events": ["*"], **members})
    assert answer.status_code == 201, answer.text
    return f"/v1/webhooks/{answer.json()['id']}"


async def post(client: httpx.AsyncClient, *execution_ids: str) -> None:
    """These executions failed."""
    events = [
        {"type": "execution.failed", "executionId": id_, "timestamp": "2026-11-22T10:30:15Z"} for id_ in execution_ids
    ]
    answer = await client.post("/v1/events", json=events)
    assert answer.status_code == 200, answer.text


async def in_states(client: httpx.AsyncClient, webhook: str, *states: str) -> list[dict[str, Any]]:
    """The deliveries, oldest first, once they have these statuses."""
    rows: list[dict[str, Any]] = []

    async def are_so() -> bool:
        rows[:] = (await client.get(f"{webhook}/deliveries")).json()["data"][::-1]
        return [row["status"] for row in rows] == list(states)

    await eventually(are_so, within_s=WITHIN_S, what=lambda: str(rows))
    return rows


async def seeded(service: Service, url: str) -> str:
    """Thousands of deliveries that were set aside: the address of their webhook."""
    async with service.client() as client:
        webhook = await register(client, url)
    assert await service.stop() == 0
    store = await open_sqlite_store(service.data / "store.db")
    now_us = SystemClock().now_us()

    def seed(writer: Writer) -> None:
        owed = [
            Planned(f"old_{n}", 1, f"ev_{n}", "node.completed", "default", "old", b'{"executionId":"old"}', now_us)
            for n in range(MANY)
        ]
        writer.owe(owed)
        assert writer.hold_overflow(0, now_us, MANY) == {1: MANY}

    await store.write(seed)
    await store.close()
    service.launch()
    await service.ready()
    return webhook


async def job_in_state(client: httpx.AsyncClient, job: str, state: str) -> dict[str, Any]:
    """The replay, once it is in this state."""
    found: dict[str, Any] = {}

    async def is_so() -> bool:
        found.update((await client.get(job)).json())
        return bool(found["status"] == state)

    await eventually(is_so, within_s=WITHIN_S, what=lambda: str(found))
    return found


def is_live(body: bytes) -> bool:
    """Whether it was not replayed."""
    return bool(orjson.loads(body)["executionId"] != "old")


@pytest.mark.timeout(600)
async def test_case_48_replay_survives_a_crash_and_lets_live_events_pass(tmp_path: Path, receiver: Receiver) -> None:
    """Killed in the middle it goes on by itself; what happens meanwhile has at least half of the lane, and arrives."""
    async with launched(tmp_path) as service:
        webhook = await seeded(service, receiver.url)
        async with service.client() as client:
            started = await client.post(f"{webhook}/replay", json={"status": ["held"]})
            assert (started.status_code, started.json()["matched"]) == (202, MANY)
            await received(receiver, MANY // 10)
            await restarted(service)
            await received(receiver, MANY // 5)
            begun = len(receiver.requests)
            # In one request: what the lane does between two of them would be the replay's alone.
            await post(client, *(f"live_{n}" for n in range(LIVE)))
            await eventually(lambda: count_of_live(receiver, LIVE), within_s=WITHIN_S)
            live = [place for place, it in enumerate(receiver.requests) if is_live(it.body)]
            between = (await client.get(started.headers["location"])).json()
            job = await job_in_state(client, started.headers["location"], "done")
            await eventually(lambda: nothing_is_owed(client, webhook), within_s=WITHIN_S)
    arrived = Counter(it.headers["webhook-id"] for it in receiver.requests)
    share = LIVE / (live[-1] - live[0] + 1)
    print(f"live share {share:.2f} of the lane, from {live[0] - begun} sends behind the first event on")
    assert (between["status"], share >= 0.5) == ("running", True)
    assert (job["matched"], job["queued"], job["sent"], job["progress"]) == (MANY, MANY, MANY, 1.0)
    assert {id_ for id_ in arrived if id_.startswith("old_")} == {f"old_{n}" for n in range(MANY)}
    assert len(arrived) == MANY + LIVE
    # What was under way when it was killed, and nothing else, comes twice.
    assert sum(arrived.values()) - len(arrived) <= MAX_IN_FLIGHT


async def received(receiver: Receiver, count: int) -> None:
    """Return when so many requests have come."""

    async def are_there() -> bool:
        return len(receiver.requests) >= count

    await eventually(are_there, within_s=WITHIN_S, what=lambda: f"{len(receiver.requests)} of {count}")


async def count_of_live(receiver: Receiver, count: int) -> bool:
    """Whether so many have arrived that were not replayed."""
    return len({it.headers["webhook-id"] for it in receiver.requests if is_live(it.body)}) == count


async def nothing_is_owed(client: httpx.AsyncClient, webhook: str) -> bool:
    """Whether all is done."""
    return not any((await client.get(f"{webhook}/stats")).json()["deliveries"].values())


@pytest.mark.timeout(600)
async def test_case_48_cancelled_replay_stays_cancelled(tmp_path: Path, receiver: Receiver) -> None:
    """What waited is taken back with the answer, though the process is killed right behind it."""
    async with launched(tmp_path) as service:
        webhook = await seeded(service, receiver.url)
        async with service.client() as client:
            started = await client.post(f"{webhook}/replay", json={"status": ["held"]})
            await received(receiver, 100)
            cancelled = await client.post(f"{started.headers['location']}/cancel")
            assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
            await restarted(service)
            job = await job_in_state(client, started.headers["location"], "cancelled")
            await post(client, "live")
            await eventually(lambda: count_of_live(receiver, 1), within_s=WITHIN_S)
            await eventually(lambda: is_not_sending(client, webhook), within_s=WITHIN_S)
    store = await open_sqlite_store(service.data / "store.db")
    try:
        rows = await store.read(lambda reader: reader.deliveries(DeliveryQuery(1), MANY + 1))
    finally:
        await store.close()
    sent = {it.headers["webhook-id"] for it in receiver.requests if not is_live(it.body)}
    counts = Counter((row.state, row.reason) for row in rows if row.execution_id == "old")
    assert {row.id for row in rows if row.execution_id == "old" and row.state == "delivered"} == sent
    assert counts.keys() <= {("delivered", None), ("failed", "replay_cancelled"), ("held", "overflow")}
    assert counts["held", "overflow"] > MANY - 2000
    assert len(sent) <= job["queued"] + MAX_IN_FLIGHT


async def is_not_sending(client: httpx.AsyncClient, webhook: str) -> bool:
    """Whether nothing is pending or under way."""
    counts = (await client.get(f"{webhook}/stats")).json()["deliveries"]
    return bool(counts["pending"] + counts["sending"] == 0)


async def test_what_was_answered_as_retried_or_cancelled_is_so(tmp_path: Path, receiver: Receiver) -> None:
    """Killed right behind the answer: the one is sent after the restart, the other is not."""
    receiver.behave(answering(418))
    async with launched(tmp_path) as service, service.client() as client:
        webhook = await register(client, receiver.url, giveUpOn=[418])
        await post(client, "exec_1")
        [failed] = await in_states(client, webhook, "failed")
        await client.post(f"{webhook}/pause")
        await post(client, "exec_2")
        _, waiting = await in_states(client, webhook, "failed", "held")
        retried = await client.post(f"/v1/webhook-deliveries/{failed['id']}/retry")
        cancelled = await client.post(f"/v1/webhook-deliveries/{waiting['id']}/cancel")
        assert (retried.status_code, cancelled.status_code) == (202, 200)
        await restarted(service)
        receiver.behave(answering(200))
        await in_states(client, webhook, "held", "cancelled")
        await client.post(f"{webhook}/resume")
        await in_states(client, webhook, "delivered", "cancelled")
    told = [orjson.loads(it.body)["executionId"] for it in receiver.requests]
    assert told == ["exec_1", "exec_1"]


async def test_interrupted_test_is_not_repeated(tmp_path: Path, receiver: Receiver) -> None:
    """Whoever asked for it is gone with the process: it has failed, and says why."""
    receiver.behave(hanging, answering(200))
    async with launched(tmp_path) as service, service.client() as client:
        webhook = await register(client, receiver.url, timeoutSeconds=1, maxInFlight=1)
        testing = asyncio.create_task(client.post(f"{webhook}/test"))
        await received(receiver, 1)
        await restarted(service)
        with pytest.raises(httpx.TransportError):
            await testing
        [row] = await in_states(client, webhook, "failed")
        assert (row["reason"], [it["error"] for it in row["attempts"]]) == ("interrupted", ["interrupted"])
        await post(client, "exec_1")
        await in_states(client, webhook, "failed", "delivered")
    assert len(receiver.requests) == 2
