"""A dry run tells which of the latest events a webhook would have been sent, stores nothing and sends nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.executions import rehearsal
from monitor.fanout.replay import Replay
from monitor.journal.memory import MemoryJournal
from monitor.store import MemoryStore, open_sqlite_store
from monitor.store.base import Reader
from monitor.store.delivery_port import DeliveryQuery
from tests.support.house import House, open_house
from tests.support.webhook_house import WISH, client_of, failed, register


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store)
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first team."""
    async with client_of(house) as opened:
        yield opened


async def rehearse(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """The answer to a dry run of the documented example, but for `changes`."""
    answer = await client.post("/v1/webhooks?dryRun=true", json=WISH | changes)
    assert answer.status_code == 200, answer.text
    rehearsed: dict[str, Any] = answer.json()
    return rehearsed


async def test_dry_run_counts_and_shows_what_fits(house: House, client: httpx.AsyncClient) -> None:
    """The latest five, newest first; other workflows, types and teams do not fit, and other teams are not looked at."""
    await house.tell(*(failed(f"exec_{number}", timestamp=f"2026-11-22T10:30:{number:02}Z") for number in range(7)))
    await house.tell(failed("exec_x", workflowId="wf_other"), failed("exec_y", type="execution.started"))
    await house.tell(failed("exec_z"), team="rival")
    rehearsed = await rehearse(client)
    assert (rehearsed["dryRun"], rehearsed["lookedAt"], rehearsed["matched"]) == (True, 9, 7)
    assert rehearsed["examples"] == [
        {
            "id": f"ev_exec_{number}",
            "type": "execution.failed",
            "executionId": f"exec_{number}",
            "timestamp": f"2026-11-22T10:30:{number:02}Z",
        }
        for number in range(6, 1, -1)
    ]


async def test_dry_run_leaves_no_trace(house: House, client: httpx.AsyncClient) -> None:
    """It shows the webhook as it would be, without id and secret; nothing is registered, and nothing owed."""
    await house.tell(failed("exec_1"))
    rehearsed = await rehearse(client, name="night", headers={"X-Key": "s3cret"})
    registered = await register(client, name="night", headers={"X-Key": "s3cret"})
    expected = {name: value for name, value in registered.items() if name not in ("id", "secret")}
    dated = ("createdAt", "updatedAt")
    assert rehearsed["webhook"] | dict.fromkeys(dated) == expected | dict.fromkeys(dated)
    assert (await client.get("/v1/webhooks")).json()["pagination"]["total"] == 1
    assert (await client.get(f"/v1/webhooks/{registered['id']}/deliveries")).json()["data"] == []


async def test_dry_run_agrees_with_the_planner(house: House, client: httpx.AsyncClient) -> None:
    """What it counts is what a webhook that was there gets."""
    wishes: list[dict[str, Any]] = [
        {"events": ["*"], "filters": {}},
        {"events": ["execution.*"], "filters": {"workflowId": ["wf_1", "wf_2"]}},
        {"events": ["node.failed"], "filters": {}},
        {"events": ["execution.failed"], "filters": {"status": {"ne": "failed"}}},
        {"events": ["execution.failed"], "filters": {"duration": {"gte": 10}}, "disabled": True},
        {"events": ["endpoint.*", "delivery.*"], "filters": {}},
    ]
    hooks = [await register(client, **wish) for wish in wishes]
    for number in range(120):
        kind = ("execution.failed", "execution.completed", "node.failed", "vendor.invented")[number % 4]
        data = {"nodeId": "n", "duration": number % 20}
        await house.tell(failed(f"exec_{number}", type=kind, workflowId=f"wf_{number % 3}", data=data))
    await house.tell(failed("exec_old", backfill=True))
    for wish, hook in zip(wishes, hooks, strict=True):
        rehearsed = await rehearse(client, **wish)
        page = (await client.get(f"/v1/webhooks/{hook['id']}/deliveries?limit=100")).json()
        assert (rehearsed["matched"], rehearsed["lookedAt"]) == (await owed_to(house, hook["id"]), 121)
        latest = [row["executionId"] for row in page["data"][: rehearsal.MOST_EXAMPLES]]
        assert [example["executionId"] for example in rehearsed["examples"]] == latest


async def owed_to(house: House, endpoint_id: str) -> int:
    """How many deliveries a webhook of the first team got."""

    def work(reader: Reader) -> int:
        endpoint = reader.endpoint("acme", endpoint_id)
        assert endpoint is not None
        return reader.delivery_count(DeliveryQuery(endpoint.key))

    return await house.store.read(work)


async def test_dry_run_looks_at_the_latest_records_only(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the journal holds, an answer costs no more than so many of its last records."""
    monkeypatch.setattr(rehearsal, "MOST_RECORDS", 150)
    await house.tell(*(failed(f"exec_{number}") for number in range(250)))
    rehearsed = await rehearse(client)
    assert (rehearsed["lookedAt"], rehearsed["matched"]) == (150, 150)
    assert rehearsed["examples"][0]["executionId"] == "exec_249"


async def test_dry_run_looks_at_every_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same share of each."""
    monkeypatch.setattr(rehearsal, "MOST_RECORDS", 30)
    house = await open_house(partitions=3)
    await house.tell(*(failed(f"exec_{number}") for number in range(100)))
    held = await house.journal.bounds()
    async with client_of(house) as client:
        rehearsed = await rehearse(client)
    assert min(bounds.end for bounds in held.values()) > 10
    assert (rehearsed["lookedAt"], rehearsed["matched"], len(rehearsed["examples"])) == (30, 30, 5)


async def test_records_that_go_meanwhile_are_passed_over(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that is trimmed under the dry run leaves it with what is left."""
    await house.tell(*(failed(f"exec_{number}") for number in range(120)))
    read = MemoryJournal.read

    async def trim_and_read(journal: MemoryJournal, *place: Any) -> Any:
        monkeypatch.setattr(MemoryJournal, "read", read)
        await journal.trim(0, 50)
        return await journal.read(*place)

    monkeypatch.setattr(MemoryJournal, "read", trim_and_read)
    rehearsed = await rehearse(client)
    assert (rehearsed["lookedAt"], rehearsed["matched"]) == (70, 70)


async def test_journal_that_is_gone_as_a_whole_fits_nothing(house: House, client: httpx.AsyncClient) -> None:
    """Neither does an empty one."""
    empty = await rehearse(client)
    await house.tell(failed("exec_1"))
    await house.journal.trim(0, 1)
    trimmed = await rehearse(client)
    assert [(it["lookedAt"], it["matched"], it["examples"]) for it in (empty, trimmed)] == [(0, 0, [])] * 2


async def test_dry_runs_take_turns(house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many at once read no more at a time than one: streams that come back read from the same places."""
    await house.tell(failed("exec_1"))
    reading, most = 0, 0
    page = Replay.page

    async def counted(replay: Replay, *place: Any) -> Any:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        try:
            await asyncio.sleep(0)
            return await page(replay, *place)
        finally:
            reading -= 1

    monkeypatch.setattr(Replay, "page", counted)
    answers = await asyncio.gather(*(rehearse(client) for _ in range(5)))
    assert [(answer["matched"], most) for answer in answers] == [(1, 1)] * 5


@pytest.mark.parametrize(
    ("query", "changes", "status", "field"),
    [
        ("dryRun=yes", {}, 400, "dryRun"),
        ("dryRun=true&dryRun=true", {}, 400, "dryRun"),
        ("dryrun=true", {}, 400, "dryrun"),
        ("dryRun=true", {"url": "https://127.0.0.1/"}, 422, "url"),
        ("dryRun=true", {"events": ["execution.finished"]}, 422, "events.0"),
        ("dryRun=true", {"filters": {"status": "done"}}, 422, "filter[status]"),
        ("dryRun=true", {"headers": {"Host": "x"}}, 422, "headers.Host"),
    ],
)
async def test_dry_run_checks_everything(
    client: httpx.AsyncClient, query: str, changes: dict[str, Any], status: int, field: str
) -> None:
    """What cannot be registered cannot be tried out, and a misspelt dry run registers nothing."""
    answer = await client.post(f"/v1/webhooks?{query}", json=WISH | changes)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert (await client.get("/v1/webhooks")).json()["pagination"]["total"] == 0


async def test_false_dry_run_is_none(client: httpx.AsyncClient) -> None:
    """It registers."""
    assert (await client.post("/v1/webhooks?dryRun=false", json=WISH)).status_code == 201
