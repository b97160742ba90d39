"""Many executions at once by HTTP: a preview first, then a job that does what single commands do, once each."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from monitor.access.audit import AuditQuery
from monitor.access.principal import Principal
from monitor.executions.bulk import MOST_EXECUTIONS, MOST_JOBS, PREVIEW_S
from monitor.store.order_port import BulkItem, BulkJob
from tests.support.clocks import settle
from tests.support.commanding import CommandHouse, commanding
from tests.support.house import SEALER
from tests.support.service import eventually

IN_FLIGHT = {"status": ["queued", "running", "waiting"]}


@pytest.fixture
async def house() -> AsyncIterator[CommandHouse]:
    """With the demo engine alone, slow enough to be stopped."""
    async with commanding(speed=0.5) as house:
        yield house


@pytest.fixture
async def client(house: CommandHouse) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's."""
    async with house.client() as client:
        yield client


async def execute(client: httpx.AsyncClient, count: int) -> list[str]:
    """The ids of so many new executions, the latest first as lists show them."""
    answers = [await client.post("/v1/workflows/demo-loop/execute") for _ in range(count)]
    return [answer.json()["executionId"] for answer in answers]


async def ask(client: httpx.AsyncClient, kind: str, **body: Any) -> httpx.Response:
    """The answer to a wish."""
    return await client.post(f"/v1/executions/bulk/{kind}", json=body)


async def done(client: httpx.AsyncClient, started: httpx.Response) -> dict[str, Any]:
    """The job, when it has finished."""
    assert started.status_code == 202, started.text
    at, job = started.headers["location"], started.json()

    async def is_done() -> bool:
        nonlocal job
        job = (await client.get(at)).json()
        return bool(job["status"] == "done")

    await eventually(is_done, what=lambda: str(job))
    return dict(job)


async def statuses(client: httpx.AsyncClient) -> dict[str, str]:
    """By id."""
    rows = (await client.get("/v1/executions?limit=100")).json()["data"]
    return {row["id"]: row["status"] for row in rows}


async def test_stop_many_after_a_preview(client: httpx.AsyncClient) -> None:
    """The preview counts and shows, and changes nothing; the run stops each, and says so of each."""
    ids = await execute(client, 12)
    preview = (await ask(client, "stop", filter=IN_FLIGHT, dryRun=True)).json()
    assert (preview["dryRun"], preview["matched"], preview["affected"]) == (True, 12, 12)
    assert len(preview["sample"]) == 10
    assert {row["id"] for row in preview["sample"]} <= set(ids)
    assert "cancelled" not in (await statuses(client)).values()
    job = await done(client, await ask(client, "stop", filter=IN_FLIGHT, previewToken=preview["previewToken"]))
    assert (job["kind"], job["count"], job["counts"], job["progress"]) == ("stop", 12, {"done": 12}, 1.0)
    assert {item["executionId"] for item in job["items"]} == set(ids)
    assert set((await statuses(client)).values()) == {"cancelled"}


async def test_what_came_after_the_preview_is_left_alone(client: httpx.AsyncClient) -> None:
    """The token stands for what was there."""
    seen = await execute(client, 2)
    token = (await ask(client, "stop", filter=IN_FLIGHT, dryRun=True)).json()["previewToken"]
    [late] = await execute(client, 1)
    job = await done(client, await ask(client, "stop", previewToken=token))
    assert {item["executionId"] for item in job["items"]} == set(seen)
    assert (await statuses(client))[late] != "cancelled"


async def test_what_came_after_is_passed_over_in_one_look(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """However much it is: a run asks for its executions once."""
    seen = await execute(client, 3)
    token = (await ask(client, "stop", filter={"workflowId": "demo-loop"}, dryRun=True)).json()["previewToken"]
    at = {"workflowId": "demo-loop", "timestamp": "2099-01-01T00:00:00Z", "type": "execution.started"}
    await house.tell(*({**at, "executionId": f"late-{number}"} for number in range(500)))
    store: Any = house.house.store
    looks, read = list[Any](), store.read

    async def counting(work: Any) -> Any:
        def look(reader: Any) -> Any:
            listed = reader.executions

            def executions(query: Any) -> Any:
                looks.append(query)
                return listed(query)

            reader.executions = executions
            return work(reader)

        return await read(look)

    store.read = counting
    started = await ask(client, "stop", previewToken=token)
    store.read = read
    assert {item["executionId"] for item in (await done(client, started))["items"]} == set(seen)
    assert len(looks) == 1


async def test_jobs_of_one_team_do_not_keep_others_waiting(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """A team that asks for as much as it may: another's job is done long before."""
    nobody = [f"exec_none_{number}" for number in range(MOST_EXECUTIONS)]
    jobs = [await ask(client, "stop", ids=nobody) for _ in range(MOST_JOBS)]
    async with house.client(team="else") as stranger:
        theirs = await done(stranger, await ask(stranger, "stop", ids=["exec_none"]))
    assert theirs["counts"] == {"refused": 1}
    shown = (await client.get(jobs[-1].headers["location"])).json()
    assert shown["status"] == "running"


async def test_jobs_that_have_not_finished_are_bounded(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """Whoever asks for more waits; other teams do not."""
    [first] = (await done(client, await ask(client, "stop", ids=["exec_none"])))["items"]
    store = house.house.store
    for number in range(MOST_JOBS):
        job = BulkJob(id=f"bulk_{number}", team="acme", actor="ada", kind="stop", force=False, count=1, created_us=1)
        await store.write(lambda writer, job=job: writer.add_bulk_job(job, [first["executionId"]]))  # type: ignore[misc]
    refused = await ask(client, "stop", ids=["exec_none"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert int(refused.headers["retry-after"]) > 0
    async with house.client(team="else") as stranger:
        assert (await ask(stranger, "stop", ids=["exec_none"])).status_code == 202
    house.bulk.wake()

    async def is_room() -> bool:
        return (await ask(client, "stop", ids=["exec_none"])).status_code == 202

    await eventually(is_room)


async def test_the_same_token_is_the_same_job(client: httpx.AsyncClient) -> None:
    """Sent twice by whoever got no answer."""
    await execute(client, 2)
    token = (await ask(client, "stop", filter=IN_FLIGHT, dryRun=True)).json()["previewToken"]
    jobs = [await done(client, await ask(client, "stop", previewToken=token)) for _ in range(2)]
    assert jobs[0] == jobs[1]


async def test_the_same_token_at_once_is_one_job(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """As of an impatient client; the audit knows of one."""
    await execute(client, 2)
    token = (await ask(client, "stop", filter=IN_FLIGHT, dryRun=True)).json()["previewToken"]
    store: Any = house.house.store
    read = store.read

    async def slow(work: Any) -> Any:
        found = await read(work)
        await asyncio.sleep(0.05)  # as threads are
        return found

    store.read = slow
    answers = await asyncio.gather(*(ask(client, "stop", previewToken=token) for _ in range(5)))
    store.read = read
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    told = await store.read(lambda reader: reader.audit(AuditQuery("acme", "bulk.stop"), 10))
    assert len(told) == 1


async def test_executions_are_named_by_their_ids(client: httpx.AsyncClient) -> None:
    """No preview is needed; each gets the answer that it would get alone."""
    [running] = await execute(client, 1)
    job = await done(client, await ask(client, "stop", ids=[running, "exec_none", running]))
    assert job["counts"] == {"done": 1, "refused": 1}
    assert [(it["executionId"], it["outcome"], it.get("code")) for it in job["items"]] == [
        (running, "done", None),
        ("exec_none", "refused", "EXECUTION_NOT_FOUND"),
    ]
    again = await done(client, await ask(client, "stop", ids=[running]))
    assert again["items"][0]["code"] == "CANNOT_CANCEL_EXECUTION"


async def test_retry_and_delete_many(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """New executions that name those that they repeat; then nothing is left of the old ones."""
    ids = await execute(client, 3)
    refused = await done(client, await ask(client, "retry", ids=ids))
    assert {item["code"] for item in refused["items"]} == {"CANNOT_RETRY_EXECUTION"}
    kept = await done(client, await ask(client, "delete", ids=ids))
    assert {item["code"] for item in kept["items"]} == {"CANNOT_DELETE_EXECUTION"}
    await done(client, await ask(client, "stop", ids=ids))
    retried = await done(client, await ask(client, "retry", ids=ids))
    assert retried["counts"] == {"done": 3}
    for item in retried["items"]:
        found = (await client.get(f"/v1/executions/{item['newExecutionId']}")).json()
        assert found["retryOf"] == item["executionId"]
    deleted = await done(client, await ask(client, "delete", ids=ids))
    assert deleted["counts"] == {"done": 3}
    assert set(await statuses(client)) == {item["newExecutionId"] for item in retried["items"]}
    forced = await done(client, await ask(client, "delete", ids=list(await statuses(client)), force=True))
    assert forced["counts"] == {"done": 3}
    assert await statuses(client) == {}


async def test_a_job_goes_on_where_a_dead_process_left_it(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """What it had done, told or not, is not done again, and counts as done."""
    ids = await execute(client, 3)
    job = await done(client, await ask(client, "stop", ids=ids))
    store = house.house.store
    found = await store.read(lambda reader: reader.bulk_job("acme", job["id"]))
    assert found is not None
    await store.write(lambda writer: writer.finish_bulk_job(replace(found, finished_us=None)))
    await store.write(lambda writer: writer.put_bulk_item(found.key, 1, BulkItem(ids[1])))
    house.bulk.wake()
    again = await done(client, await client.post("/v1/executions/bulk/stop", json={"ids": ids}))
    assert again["counts"] == {"refused": 3}

    async def is_done() -> bool:
        shown = (await client.get(f"/v1/bulk-jobs/{job['id']}")).json()
        return bool(shown["counts"] == {"done": 3} and shown["status"] == "done")

    await eventually(is_done)
    for execution_id in ids:
        commands = (await client.get(f"/v1/executions/{execution_id}/commands")).json()["data"]
        assert [row["kind"] for row in commands] == ["execute", "cancel"]


async def test_a_job_that_another_process_ends_keeps_nobody_waiting(house: CommandHouse) -> None:
    """Whoever waits for it looks again when there is news in the store."""
    asked = BulkJob(id="bulk_1", team="acme", actor="tester", kind="stop", count=0, created_us=1)
    job = await house.house.store.write(lambda writer: writer.add_bulk_job(asked, []))
    waiting = asyncio.create_task(house.bulk.settled(Principal("acme", "tester", "operator"), job.id, 300))
    await settle()
    await house.house.store.write(lambda writer: writer.finish_bulk_job(replace(job, finished_us=2)))
    house.bulk.wake()
    async with asyncio.timeout(60):
        assert (await waiting).job.finished_us == 2


async def test_a_key_makes_two_requests_one_job(client: httpx.AsyncClient) -> None:
    """As for every command."""
    ids = await execute(client, 1)
    asking = [
        client.post("/v1/executions/bulk/stop", json={"ids": ids}, headers={"idempotency-key": "k"}) for _ in range(5)
    ]
    answers = await asyncio.gather(*asking)
    assert len({answer.content for answer in answers}) == 1
    assert (await done(client, answers[0]))["counts"] == {"done": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "previewToken"),
        ({"filter": {"status": "running"}}, "previewToken"),
        ({"dryRun": True}, "filter"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"] * (MOST_EXECUTIONS + 1)}, "ids"),
        ({"ids": ["x"], "filter": {}}, None),
        ({"filter": {"statu": "failed"}, "dryRun": True}, "filter[statu]"),
        ({"filter": {"status": "failed"}, "dryRun": True, "limit": 0}, "limit"),
        ({"filter": {"status": "failed"}, "dryRun": True, "limit": 10**9}, "limit"),
        ({"previewToken": "garbage"}, "previewToken"),
        ({"id": "x"}, "id"),
    ],
)
async def test_what_is_no_wish_is_refused(client: httpx.AsyncClient, body: Any, field: str | None) -> None:
    """422 naming the member."""
    answer = await ask(client, "stop", **body)
    assert answer.status_code == 422, answer.text
    assert field in (None, answer.json()["error"].get("field"))


async def test_a_token_stands_for_its_own_question(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """Not for another verb, another filter, another team, nor for ever."""
    await execute(client, 1)
    token = (await ask(client, "stop", filter=IN_FLIGHT, dryRun=True)).json()["previewToken"]
    async with house.client(team="else") as stranger:
        answers = [
            await ask(client, "delete", previewToken=token),
            await ask(client, "stop", previewToken=token, filter={"status": "failed"}),
            await ask(stranger, "stop", previewToken=token),
            await ask(client, "stop", previewToken=_aged(token, PREVIEW_S + 1)),
        ]
    assert [answer.status_code for answer in answers] == [422] * 4
    assert "cancelled" not in (await statuses(client)).values()


def _aged(token: str, by_s: int) -> str:
    """The token as it would be, had it been made so much earlier."""
    from monitor.executions.bulk import _decode, _encode

    sealed = _decode(SEALER.untoken("bulk:stop:acme", token))
    return SEALER.token("bulk:stop:acme", _encode(replace(sealed, at_us=sealed.at_us - by_s * 1_000_000)))


async def test_another_teams_job_is_not_there(house: CommandHouse, client: httpx.AsyncClient) -> None:
    """404 as for one that nobody has; its executions are refused one by one."""
    ids = await execute(client, 1)
    job = await done(client, await ask(client, "stop", ids=ids))
    async with house.client(team="else") as stranger:
        for id_ in (job["id"], "bulk_none"):
            answer = await stranger.get(f"/v1/bulk-jobs/{id_}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "BULK_JOB_NOT_FOUND")
        foreign = await done(stranger, await ask(stranger, "delete", ids=ids, force=True))
        assert foreign["items"][0]["code"] == "EXECUTION_NOT_FOUND"
    assert ids[0] in await statuses(client)
