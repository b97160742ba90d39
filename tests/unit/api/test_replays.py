"""Replays are counted, started, watched and called off, by their own team alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.replayer import Replayer
from monitor.store import MemoryStore, open_sqlite_store
from tests.support.house import JSON, House, open_house
from tests.support.receiver import LOOPBACK, Receiver, answering, receiving
from tests.support.service import eventually
from tests.support.webhook_house import client_of, delivering, failed, register

ALL = {"status": ["delivered", "failed", "held"]}


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store)
    await store.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything until it is told otherwise."""
    async with receiving() as listening:
        yield listening


@asynccontextmanager
async def at_work(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that delivers and replays; what is told here is delivered at once."""
    async with delivering(house) as deliverer:
        replayer = Replayer(store=house.store, clock=SystemClock(), on_due=deliverer.wake)
        running = asyncio.create_task(replayer.run())
        try:
            async with client_of(house, allowed=LOOPBACK, on_due=deliverer.wake, on_replay=replayer.wake) as client:
                yield client
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def tell(house: House, client: httpx.AsyncClient, webhook: dict[str, Any], *execution_ids: str) -> None:
    """These executions failed; returns when everything that the webhook is owed has ended."""
    for execution_id in execution_ids:
        await house.tell(failed(execution_id))
    await client.patch(f"/v1/webhooks/{webhook['id']}", json={"name": None})

    async def is_quiet() -> bool:
        stats = (await client.get(f"/v1/webhooks/{webhook['id']}/stats")).json()
        return not any(stats["deliveries"].values())

    await eventually(is_quiet)


async def replay(client: httpx.AsyncClient, webhook: dict[str, Any], **body: Any) -> httpx.Response:
    """Ask for a replay."""
    return await client.post(f"/v1/webhooks/{webhook['id']}/replay", json=body)


async def ended(client: httpx.AsyncClient, started: httpx.Response) -> dict[str, Any]:
    """The job, when it does not run any more."""
    assert started.status_code == 202, started.text

    async def found() -> Any:
        job = (await client.get(started.headers["location"])).json()
        return None if job["status"] == "running" else job

    job: dict[str, Any] = await eventually(found)
    return job


def told(receiver: Receiver) -> list[str | None]:
    """Whose events arrived; None for a test."""
    return [json.loads(request.body).get("executionId") for request in receiver.requests]


async def test_dry_run_only_counts(house: House, receiver: Receiver) -> None:
    """Nothing is sent, and no job is made."""
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        await tell(house, client, webhook, "exec_1", "exec_2")
        counted = [await replay(client, webhook, dryRun=True, **which) for which in ({}, ALL)]
        jobs = (await client.get(f"/v1/webhooks/{webhook['id']}/replays")).json()
    assert [(it.status_code, it.json()) for it in counted] == [
        (200, {"dryRun": True, "matched": 0}),
        (200, {"dryRun": True, "matched": 2}),
    ]
    assert (jobs["data"], told(receiver)) == ([], ["exec_1", "exec_2"])


async def test_case_41_replay_sends_once_more(house: House, receiver: Receiver) -> None:
    """The same ids and bodies, signed anew; the job tells how far it is, to its end."""
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, maxInFlight=1)
        await tell(house, client, webhook, "exec_1", "exec_2", "exec_3")
        started = await replay(client, webhook, **ALL)
        job = await ended(client, started)
        listed = (await client.get(f"/v1/webhooks/{webhook['id']}/replays")).json()
        rows = (await client.get(f"/v1/webhooks/{webhook['id']}/deliveries?status=delivered")).json()["data"]
    first, again = receiver.requests[:3], receiver.requests[3:]
    assert [(it.headers["webhook-id"], it.body) for it in first] == [
        (it.headers["webhook-id"], it.body) for it in again
    ]
    assert started.json()["status"] == "running"
    assert job.pop("finishedAt") >= job.pop("createdAt") == started.json()["createdAt"]
    assert job["query"].pop("until") is not None
    assert job == {
        "id": started.json()["id"],
        "webhookId": webhook["id"],
        "status": "done",
        "query": {"since": None, "status": ALL["status"], "events": [], "executionId": None},
        "matched": 3,
        "queued": 3,
        "sent": 3,
        "progress": 1.0,
    }
    assert [it["id"] for it in listed["data"]] == [job["id"]]
    assert [[one["trigger"] for one in row["attempts"]] for row in rows] == [["event", "replay"]] * 3


async def test_what_did_not_arrive_is_replayed_unless_more_is_asked_for(house: House, receiver: Receiver) -> None:
    """Tests never are: nobody is owed them."""
    receiver.behave(answering(200), answering(418), answering(200))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, maxInFlight=1, giveUpOn=[418])
        await tell(house, client, webhook, "exec_1", "exec_2")
        receiver.behave(answering(418), answering(200))
        await client.post(f"/v1/webhooks/{webhook['id']}/test")
        job = await ended(client, await replay(client, webhook))
    assert (job["matched"], told(receiver)[3:]) == (1, ["exec_2"])


async def test_range_and_kind_can_be_narrowed(house: House, receiver: Receiver) -> None:
    """By time, type and execution, together."""
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, events=["*"], filters={})
        await tell(house, client, webhook, "exec_1", "exec_2")
        (second, first) = (await client.get(f"/v1/webhooks/{webhook['id']}/deliveries")).json()["data"]

        async def matched(**which: Any) -> int:
            answer = await replay(client, webhook, dryRun=True, **ALL, **which)
            assert answer.status_code == 200, answer.text
            count: int = answer.json()["matched"]
            return count

        assert await matched(since=first["createdAt"]) == 2
        assert await matched(until=first["createdAt"]) == 0
        assert await matched(since="2099-01-01T00:00:00Z") == 0
        assert await matched(events=["execution.failed"]) == 2
        assert await matched(events=["node.*"]) == 0
        assert await matched(executionId=second["executionId"]) == 1
        job = await ended(client, await replay(client, webhook, **ALL, executionId="exec_2", events=["execution.*"]))
    assert (job["queued"], told(receiver)[2:]) == (1, ["exec_2"])


async def test_webhook_has_one_replay_at_a_time(house: House) -> None:
    """Whoever comes second is told which one runs; cancelled, it makes room for another."""
    async with client_of(house) as client:
        webhook = await register(client)
        first = (await replay(client, webhook)).json()
        second = await replay(client, webhook)
        cancelled = await client.post(f"/v1/webhook-replays/{first['id']}/cancel")
        again = await client.post(f"/v1/webhook-replays/{first['id']}/cancel")
        third = await replay(client, webhook)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "REPLAY_RUNNING")
    assert second.json()["error"]["replayId"] == first["id"]
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CANNOT_CANCEL_REPLAY")
    assert third.status_code == 202


async def test_replays_are_paged(house: House) -> None:
    """Newest first; a cursor belongs to its webhook."""
    async with client_of(house) as client:
        webhook, other = await register(client), await register(client)
        ids = []
        for _ in range(3):
            ids.append((await replay(client, webhook)).json()["id"])
            await client.post(f"/v1/webhook-replays/{ids[-1]}/cancel")
        path = f"/v1/webhooks/{webhook['id']}/replays?limit=2"
        first = (await client.get(path)).json()
        cursor = first["pagination"]["nextCursor"]
        second = (await client.get(f"{path}&cursor={cursor}")).json()
        foreign = await client.get(f"/v1/webhooks/{other['id']}/replays?cursor={cursor}")
    assert [[it["id"] for it in page["data"]] for page in (first, second)] == [ids[:0:-1], ids[:1]]
    assert second["pagination"] == {"limit": 2, "hasMore": False, "nextCursor": None}
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (400, "INVALID_CURSOR")


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("POST", "/v1/webhooks/{webhook}/replay"),
        ("GET", "/v1/webhooks/{webhook}/replays"),
        ("GET", "/v1/webhook-replays/{replay}"),
        ("POST", "/v1/webhook-replays/{replay}/cancel"),
    ],
)
async def test_case_54_another_team_finds_nothing(house: House, method: str, address: str) -> None:
    """Neither seen nor changed, and not told apart from what is none."""
    async with client_of(house) as client, client_of(house, "rival") as rival:
        webhook = await register(client)
        started = (await replay(client, webhook)).json()
        theirs = address.format(webhook=webhook["id"], replay=started["id"])
        none = address.format(webhook="wh_none", replay="rp_none")
        body: dict[str, Any] = {"json": {}} if method == "POST" else {}
        answers = [await rival.request(method, path, **body) for path in (theirs, none)]
        after = (await client.get(f"/v1/webhook-replays/{started['id']}")).json()
    assert [answer.status_code for answer in answers] == [404, 404]
    assert {answer.json()["error"]["code"] for answer in answers} <= {"WEBHOOK_NOT_FOUND", "REPLAY_NOT_FOUND"}
    assert after == started


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"status": ["sending"]}, "status.0", "does not know 'sending'"),
        ({"status": ["fail"]}, "status.0", "did you mean 'failed'?"),
        ({"status": []}, "status", "'status':"),
        ({"status": "failed"}, "status", "'status':"),
        ({"since": "yesterday"}, "since", "'since' is not an RFC 3339 time"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since", "'since' is later than 'until'"),
        ({"events": [""]}, "events.0", "'events.0':"),
        ({"executionId": 7}, "executionId", "'executionId':"),
        ({"dryrun": True}, "dryrun", "did you mean 'dryRun'?"),
        ({"dryRun": "yes"}, "dryRun", "'dryRun':"),
    ],
)
async def test_wrong_member_is_named(house: House, body: dict[str, Any], field: str, said: str) -> None:
    """422 with the member and the reason; nothing is started."""
    async with client_of(house) as client:
        webhook = await register(client)
        answer = await replay(client, webhook, **body)
        jobs = (await client.get(f"/v1/webhooks/{webhook['id']}/replays")).json()["data"]
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "INVALID_REPLAY", field)
    assert (said in error["message"], jobs) == (True, [])


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "INVALID_REQUEST"),
        (b"", {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"[]", JSON, 422, "INVALID_REPLAY"),
    ],
)
async def test_what_is_no_request_is_refused(
    house: House, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Nobody sends everything once more by leaving out the body."""
    async with client_of(house) as client:
        webhook = await register(client)
        answer = await client.post(f"/v1/webhooks/{webhook['id']}/replay", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
