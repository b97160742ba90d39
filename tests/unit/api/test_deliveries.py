"""Deliveries are shown with every attempt, sent again, called off and tried out, by their own team alone."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from monitor.access.audit import AuditQuery
from monitor.api import deliveries, replays
from monitor.clock import SystemClock
from monitor.executions.deliveries import STATUSES
from monitor.executions.pings import PER_MINUTE
from monitor.store import MemoryStore, open_sqlite_store
from monitor.store.base import Writer
from tests.support.clocks import ManualClock
from tests.support.house import House, open_house
from tests.support.receiver import (
    LOOPBACK,
    Behaviour,
    Receiver,
    accepting_after,
    answering,
    receiving,
    saying,
)
from tests.support.service import eventually
from tests.support.webhook_house import client_of, delivering, failed, register


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
    """A client of a service that delivers."""
    async with delivering(house) as deliverer, client_of(house, allowed=LOOPBACK, on_due=deliverer.wake) as client:
        yield client


async def tell(house: House, client: httpx.AsyncClient, *execution_ids: str, **changes: Any) -> None:
    """These executions failed, one after the other; whoever delivers is woken by a change that is none."""
    for execution_id in execution_ids:
        await house.tell(failed(execution_id, **changes))
    for endpoint in (await client.get("/v1/webhooks")).json()["data"]:
        await client.patch(f"/v1/webhooks/{endpoint['id']}", json={"name": endpoint["name"]})


async def listed(client: httpx.AsyncClient, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    """The deliveries that fit."""
    answer = await client.get(f"/v1/webhooks/{webhook['id']}/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


async def in_states(client: httpx.AsyncClient, webhook: dict[str, Any], *statuses: str) -> list[dict[str, Any]]:
    """The deliveries, oldest first, once they have these statuses."""
    rows: list[dict[str, Any]] = []

    async def are_so() -> bool:
        rows[:] = (await listed(client, webhook, limit=100))[::-1]
        return [row["status"] for row in rows] == list(statuses)

    await eventually(are_so, what=lambda: str(rows))
    return rows


async def single(client: httpx.AsyncClient, delivery: dict[str, Any]) -> dict[str, Any]:
    """A delivery, complete."""
    answer = await client.get(f"/v1/webhook-deliveries/{delivery['id']}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ask(client: httpx.AsyncClient, delivery: dict[str, Any], what: str) -> tuple[int, dict[str, Any]]:
    """Retry or cancel it."""
    answer = await client.post(f"/v1/webhook-deliveries/{delivery['id']}/{what}")
    return answer.status_code, answer.json()


async def set_status(house: House, webhook: dict[str, Any], status: Any) -> None:
    """The webhook is paused, disabled or served from now on."""

    def work(writer: Writer) -> None:
        (endpoint,) = [it for it in writer.endpoints("acme") if it.id == webhook["id"]]
        writer.update_endpoint(replace(endpoint, status=status))

    await house.store.write(work)


# --- showing ---------------------------------------------------------------------------------------------------------


async def test_list_shows_attempts_in_short(house: House, receiver: Receiver) -> None:
    """When they were, how they ended, and what comes next; what was answered stands with the single delivery."""
    receiver.behave(answering(500, b"no"))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        await tell(house, client, "exec_1")

        async def attempted() -> Any:
            (delivery,) = await listed(client, webhook)
            return delivery if delivery["status"] == "pending" and delivery["attempts"] else None

        delivery = await eventually(attempted)
    (attempt,) = delivery.pop("attempts")
    assert delivery.pop("nextAttemptAt") > attempt.pop("finishedAt") >= attempt.pop("startedAt")
    assert 0 <= attempt.pop("duration") < 10
    assert attempt == {"number": 1, "trigger": "event", "statusCode": 500, "error": "status"}
    assert {**delivery, "createdAt": ""} == {
        "id": receiver.requests[0].headers["webhook-id"],
        "webhookId": webhook["id"],
        "event": "execution.failed",
        "eventId": "ev_exec_1",
        "executionId": "exec_1",
        "status": "pending",
        "reason": None,
        "trigger": "event",
        "step": 1,
        "createdAt": "",
    }


async def test_single_delivery_is_complete(house: House, receiver: Receiver) -> None:
    """The body as it was sent, and of every attempt where it went, what came back and how long each phase took."""
    receiver.behave(answering(503, b"later", retry_after="1", server="nginx"), answering(200, b"thanks"))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        await tell(house, client, "exec_1")
        (row,) = await in_states(client, webhook, "delivered")
        delivery = await single(client, row)
    first, second = delivery["attempts"]
    assert delivery["body"] == json.loads(receiver.requests[0].body)
    assert {**delivery, "body": 0, "attempts": 0} == {**row, "body": 0, "attempts": 0}
    assert (first["statusCode"], first["error"], first["url"]) == (503, "status", receiver.url)
    assert first["response"] == {
        "body": "later",
        "truncated": False,
        "headers": {"retry-after": "1", "server": "nginx"},
    }
    assert (second["number"], second["statusCode"], second["error"]) == (2, 200, None)
    assert second["response"]["body"] == "thanks"
    assert first["phases"].keys() == {"dns", "connect", "firstByte", "body", "total"}
    assert 0 < first["phases"]["firstByte"] <= first["phases"]["total"] < 10


HOSTILE = (
    b"HTTP/1.1 500 X\r\ncontent-length: 5\r\n\r\n\xff\0\xc3(\x1b",
    b"HTTP/1.1 500 X\r\nserver: a\r\nserver: b\r\nlocation: \xff\xfe\x7f\r\ncontent-length: 2\r\n\r\n\xed\xa0",
    b"HTTP/1.1 500 X\r\nserver: a\0b\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 500 X\r\nx-long: " + b"x" * 100_000 + b"\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 500 X\r\ncontent-length: 20000\r\n\r\n" + b'"\\\xff\n' * 5000,
)


@pytest.mark.parametrize("answer", HOSTILE, ids=["bytes", "headers", "nul", "long", "large"])
async def test_case_30_log_is_json_whatever_was_answered(house: House, receiver: Receiver, answer: bytes) -> None:
    """The attempt failed, or what it was told stands there harmless; the address answers proper JSON."""
    receiver.behave(saying(answer))
    async with client_of(house, allowed=LOOPBACK) as client:
        webhook = await register(client, url=receiver.url)
        test = await client.post(f"/v1/webhooks/{webhook['id']}/test")
        (row,) = await listed(client, webhook)
        delivery = await single(client, row)
    (attempt,) = delivery["attempts"]
    assert (test.json(), attempt["error"] in ("status", "protocol")) == (delivery, True)
    if attempt["response"] is not None:
        shown = attempt["response"]
        assert len(shown["body"]) <= 16 * 1024
        assert all(value.isprintable() and len(value) <= 200 for value in shown["headers"].values())
    json.dumps(delivery, ensure_ascii=True).encode("ascii")


async def test_deliveries_are_filtered(house: House) -> None:
    """By status, type, execution and time; several words are separated by commas."""
    async with client_of(house) as client:
        webhook = await register(client, events=["*"], filters={})
        await tell(house, client, "exec_1", "exec_2")
        await tell(house, client, "exec_3", type="node.failed", data={"nodeId": "n", "nodeName": "N"})
        one, two, three = (await listed(client, webhook))[::-1]
        await ask(client, two, "cancel")
        ids = {row["id"]: name for row, name in ((one, "1"), (two, "2"), (three, "3"))}

        async def found(**query: str) -> str:
            return "".join(sorted(ids[row["id"]] for row in await listed(client, webhook, **query)))

        assert await found(status="pending") == "13"
        assert await found(status="cancelled,failed") == "2"
        assert await found(event="node.*") == "3"
        assert await found(event="node.failed,execution.failed", status="pending") == "13"
        assert await found(executionId="exec_1") == "1"
        assert await found(since=one["createdAt"]) == "123"
        assert await found(until=one["createdAt"]) == ""
        assert await found(since="2099-01-01T00:00:00Z") == ""


async def test_pages_are_stable_while_deliveries_arrive(house: House) -> None:
    """Newcomers in front of the cursor neither repeat nor hide a row."""
    async with client_of(house) as client:
        webhook = await register(client)
        path = f"/v1/webhooks/{webhook['id']}/deliveries?limit=2&status=pending"
        await tell(house, client, *(f"exec_{n}" for n in range(5)))
        pages, more = list[dict[str, Any]](), ""
        for n in range(3):
            pages.append((await client.get(path + more)).json())
            more = f"&cursor={pages[-1]['pagination']['nextCursor']}"
            await tell(house, client, f"late_{n}")
    seen = [row["executionId"] for page in pages for row in page["data"]]
    assert seen == [f"exec_{n}" for n in (4, 3, 2, 1, 0)]
    assert pages[-1]["pagination"] == {"limit": 2, "hasMore": False, "nextCursor": None}


async def test_cursor_belongs_to_its_question(house: House) -> None:
    """To its webhook and its filters, and to nobody else's."""
    async with client_of(house) as client:
        webhook, other = await register(client), await register(client)
        await tell(house, client, "exec_1", "exec_2")
        path = f"/v1/webhooks/{webhook['id']}/deliveries?limit=1"
        cursor = (await client.get(path)).json()["pagination"]["nextCursor"]
        for wrong in (f"{path}&status=pending", f"/v1/webhooks/{other['id']}/deliveries?limit=1"):
            answer = await client.get(f"{wrong}&cursor={cursor}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_CURSOR")
        assert (await client.get(f"{path}&cursor={cursor}")).status_code == 200


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("status=leased", "status", "'status' does not know 'leased'"),
        ("status=cancel", "status", "did you mean 'cancelled'?"),
        ("since=yesterday", "since", "'since' is not an RFC 3339 time"),
        ("since=2026-11-22T10:00:01Z&until=2026-11-22T10:00:00Z", "since", "'since' is later than 'until'"),
        ("limit=101", "limit", "'limit' is a whole number from 1 to 100"),
        ("execution=x", "execution", "did you mean 'executionId'?"),
        (f"event={'x,' * 1001}", "event", "'event' holds 1001 types; at most 100 are taken"),
    ],
)
async def test_wrong_parameter_is_named(house: House, query: str, field: str, said: str) -> None:
    """Nothing is ignored."""
    async with client_of(house) as client:
        webhook = await register(client)
        answer = await client.get(f"/v1/webhooks/{webhook['id']}/deliveries?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["field"], said in error["message"]) == (400, field, True)


ADDRESSES = (
    *(("GET", f"/v1/webhooks/{{webhook}}/{below}") for below in ("deliveries", "stats")),
    ("POST", "/v1/webhooks/{webhook}/test"),
    ("GET", "/v1/webhook-deliveries/{delivery}"),
    *(("POST", f"/v1/webhook-deliveries/{{delivery}}/{what}") for what in ("retry", "cancel")),
)


@pytest.mark.parametrize(("method", "address"), ADDRESSES)
async def test_case_54_another_team_finds_nothing(house: House, method: str, address: str) -> None:
    """Neither seen nor changed, and not told apart from what is none."""
    async with client_of(house) as client, client_of(house, "rival") as rival:
        webhook = await register(client)
        await tell(house, client, "exec_1")
        (delivery,) = await listed(client, webhook)
        theirs = address.format(webhook=webhook["id"], delivery=delivery["id"])
        none = address.format(webhook="wh_none", delivery="msg_none")
        answers = [await rival.request(method, path) for path in (theirs, none)]
        after = await single(client, delivery)
    assert [answer.status_code for answer in answers] == [404, 404]
    assert {answer.json()["error"]["code"] for answer in answers} <= {"WEBHOOK_NOT_FOUND", "DELIVERY_NOT_FOUND"}
    assert (after["status"], after["attempts"]) == ("pending", [])


# --- held ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_case_50_what_waits_behind_a_webhook_is_held(house: House, receiver: Receiver, status: str) -> None:
    """Shown, counted and found as held; it leaves when the webhook is served again."""
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        await set_status(house, webhook, status)
        await tell(house, client, "exec_1", "exec_2")
        held = await in_states(client, webhook, "held", "held")
        assert [row["nextAttemptAt"] for row in held] == [None, None]
        assert len(await listed(client, webhook, status="held")) == 2
        assert await listed(client, webhook, status="pending") == []
        standing = (await client.get(f"/v1/webhooks/{webhook['id']}/stats")).json()
        assert standing["deliveries"] == {"pending": 0, "held": 2, "sending": 0}
        assert receiver.requests == []
        resumed = await client.post(f"/v1/webhooks/{webhook['id']}/resume")
        assert resumed.status_code == 200, resumed.text
        await in_states(client, webhook, "delivered", "delivered")


async def test_head_that_waits_for_somebody_is_held(house: House, receiver: Receiver) -> None:
    """Its order stands still until somebody retries it; then all of it arrives in order."""
    receiver.behave(answering(500), answering(200))
    async with at_work(house) as client:
        webhook = await register(
            client, url=receiver.url, ordering="strict", onExhausted="halt", retrySchedule=[1], giveUpOn=[]
        )
        await house.store.write(lambda writer: writer.update_endpoint(_impatient(writer)))
        await tell(house, client, "exec_1", "exec_2")
        head, _ = await in_states(client, webhook, "held", "pending")
        assert (head["reason"], [row["id"] for row in await listed(client, webhook, status="held")]) == (
            "halted",
            [head["id"]],
        )
        assert [row["nextAttemptAt"] for row in await listed(client, webhook, status="pending")] == [None]
        assert (await ask(client, head, "retry"))[0] == 202
        await in_states(client, webhook, "delivered", "delivered")
    sent = [json.loads(request.body)["executionId"] for request in receiver.requests]
    assert sent == ["exec_1", "exec_1", "exec_2"]


def _impatient(writer: Writer) -> Any:
    """The only endpoint, with a schedule of one attempt."""
    (endpoint,) = writer.endpoints("acme")
    return replace(endpoint, retry_delays_s=())


# --- again, and off --------------------------------------------------------------------------------------------------


async def test_case_41_retried_delivery_is_the_same(house: House, receiver: Receiver) -> None:
    """Id and body stay; the attempt has a time and a signature of its own."""
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        await tell(house, client, "exec_1")
        (row,) = await in_states(client, webhook, "delivered")
        second = int(receiver.requests[0].headers["webhook-timestamp"])
        await eventually(lambda: _is_past(second))
        status, retried = await ask(client, row, "retry")
        assert (status, retried["status"], retried["trigger"], retried["step"]) == (202, "pending", "retry", 0)
        await receiver.received(2)
        await in_states(client, webhook, "delivered")
        delivery = await single(client, row)
    first, again = receiver.requests
    assert (first.headers["webhook-id"], first.body) == (again.headers["webhook-id"], again.body)
    assert int(again.headers["webhook-timestamp"]) > second
    assert first.headers["webhook-signature"] != again.headers["webhook-signature"]
    assert [(it["number"], it["trigger"]) for it in delivery["attempts"]] == [(1, "event"), (2, "retry")]


async def _is_past(second: int) -> bool:
    return SystemClock().now_us() // 1_000_000 > second


async def test_failed_and_waiting_deliveries_are_retried_at_once(house: House, receiver: Receiver) -> None:
    """Whatever their schedule says: it begins anew."""
    receiver.behave(answering(500), answering(418), answering(200))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, giveUpOn=[418], retrySchedule=[3600, 3600], maxInFlight=1)
        await tell(house, client, "exec_1", "exec_2")
        waiting, given_up = await in_states(client, webhook, "pending", "failed")
        assert (waiting["step"], given_up["reason"]) == (1, "given_up")
        for row in (waiting, given_up):
            status, retried = await ask(client, row, "retry")
            assert (status, retried["step"], retried["reason"]) == (202, 0, None)
        await in_states(client, webhook, "delivered", "delivered")


async def test_case_49_sending_and_cancelled_deliveries_are_not_retried(house: House, receiver: Receiver) -> None:
    """409 that says why."""
    told = asyncio.Event()
    receiver.behave(accepting_after(told))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, maxInFlight=1)
        await tell(house, client, "exec_1", "exec_2")
        sending, waiting = await in_states(client, webhook, "sending", "pending")
        await ask(client, waiting, "cancel")
        refusals = [await ask(client, row, "retry") for row in (sending, waiting)]
        told.set()
        await in_states(client, webhook, "delivered", "cancelled")
    said = [(status, error["error"]["code"], error["error"]["status"]) for status, error in refusals]
    assert said == [(409, "CANNOT_RETRY_DELIVERY", "sending"), (409, "CANNOT_RETRY_DELIVERY", "cancelled")]
    assert len(receiver.requests) == 1


async def test_deliveries_are_called_off(house: House, receiver: Receiver) -> None:
    """Waiting, under way or held: who waits behind them goes on; what has ended stays as it is."""
    too_late = asyncio.Event()
    receiver.behave(accepting_after(too_late), answering(200))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, ordering="strict")
        await tell(house, client, "exec_1", "exec_2", "exec_3")
        under_way, waiting, last = await in_states(client, webhook, "sending", "pending", "pending")
        for row in (waiting, under_way):
            status, cancelled = await ask(client, row, "cancel")
            assert (status, cancelled["status"], cancelled["reason"]) == (200, "cancelled", "asked")
        await in_states(client, webhook, "cancelled", "cancelled", "delivered")
        too_late.set()
        await set_status(house, webhook, "paused")
        await tell(house, client, "exec_4")
        *_, held = await in_states(client, webhook, "cancelled", "cancelled", "delivered", "held")
        assert (await ask(client, held, "cancel"))[0] == 200
        refusals = [await ask(client, row, "cancel") for row in (waiting, last)]
    assert [(status, error["error"]["code"]) for status, error in refusals] == [(409, "CANNOT_CANCEL_DELIVERY")] * 2
    assert refusals[1][1]["error"]["status"] == "delivered"
    assert [json.loads(request.body)["executionId"] for request in receiver.requests] == ["exec_1", "exec_3"]


async def test_case_18_manual_retries_respect_the_cap(house: House, receiver: Receiver) -> None:
    """With room for one send, retries wait for each other, and for a test that is under way."""
    told, retried = asyncio.Event(), asyncio.Event()
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, maxInFlight=1)
        await tell(house, client, "exec_1", "exec_2")
        rows = await in_states(client, webhook, "delivered", "delivered")
        receiver.behave(accepting_after(told), accepting_after(retried))
        testing = asyncio.create_task(client.post(f"/v1/webhooks/{webhook['id']}/test"))
        await receiver.received(3)
        for row in rows:
            assert (await ask(client, row, "retry"))[0] == 202
        await in_states(client, webhook, "pending", "pending", "sending")
        told.set()
        assert (await testing).json()["status"] == "delivered"
        await receiver.received(4)
        sending = await eventually(lambda: listed(client, webhook, status="sending"))
        assert (len(sending), len(receiver.requests)) == (1, 4)
        retried.set()
        await in_states(client, webhook, "delivered", "delivered", "delivered")


async def test_case_45_removed_webhook_leaves_no_trouble(house: House, receiver: Receiver) -> None:
    """What waits is cancelled and counted, the answer to what is under way is on record, nothing repeats."""
    told = asyncio.Event()
    receiver.behave(accepting_after(told))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, maxInFlight=1)
        await tell(house, client, "exec_1", "exec_2", "exec_3")
        under_way, waiting, _ = await in_states(client, webhook, "sending", "pending", "pending")
        assert (await client.delete(f"/v1/webhooks/{webhook['id']}")).json()["cancelledDeliveries"] == 3
        told.set()

        async def is_recorded() -> Any:
            shown = await single(client, under_way)
            return shown if shown["attempts"][0]["finishedAt"] else None

        shown = await eventually(is_recorded)
        assert (shown["status"], shown["reason"], shown["webhookId"]) == ("cancelled", "removed", None)
        assert shown["attempts"][0]["statusCode"] == 200
        refusal = await ask(client, waiting, "retry")
        assert (refusal[0], refusal[1]["error"]["code"]) == (409, "CANNOT_RETRY_DELIVERY")
    assert len(receiver.requests) == 1


# --- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["active", "paused", "disabled"])
async def test_test_is_sent_whatever_the_state(house: House, receiver: Receiver, status: str) -> None:
    """Right now, signed, with what came back; it is recorded like any other."""
    receiver.behave(answering(202, b"pong"))
    async with client_of(house, allowed=LOOPBACK) as client:
        webhook = await register(client, url=receiver.url, events=["execution.failed"], name="mine")
        await set_status(house, webhook, status)
        answer = await client.post(f"/v1/webhooks/{webhook['id']}/test")
        (row,) = await listed(client, webhook)
        assert (answer.status_code, answer.json()) == (200, await single(client, row))
    (request,), tested = receiver.requests, answer.json()
    body = json.loads(request.body)
    assert (tested["status"], tested["trigger"], tested["event"]) == ("delivered", "test", "webhook.ping")
    assert (tested["body"], request.headers["webhook-id"]) == (body, tested["id"])
    assert request.headers["webhook-signature"].startswith("v1,")
    assert (body["event"], body["type"], body["id"]) == ("webhook.ping", "webhook.ping", tested["eventId"])
    assert body["data"] == {"webhookId": webhook["id"], "name": "mine"}
    (attempt,) = tested["attempts"]
    assert (attempt["statusCode"], attempt["error"], attempt["response"]["body"]) == (202, None, "pong")
    assert attempt["phases"]["total"] > 0


@pytest.mark.parametrize("status", [410, 429, 500])
async def test_failed_test_says_nothing_of_the_lane(house: House, receiver: Receiver, status: int) -> None:
    """It is not repeated, opens no breaker and disables nothing, also not when the receiver asks for it."""
    receiver.behave(answering(status, b"no", retry_after="60", webhook_delivery="disable"))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        tested = [(await client.post(f"/v1/webhooks/{webhook['id']}/test")).json() for _ in range(6)]
        assert {(it["status"], it["reason"]) for it in tested} == {("failed", "test")}
        standing = (await client.get(f"/v1/webhooks/{webhook['id']}/stats")).json()
        refusal = await ask(client, tested[0], "retry")
    assert (standing["status"], standing["breaker"], standing["consecutiveFailures"]) == ("active", "closed", 0)
    assert (standing["blockedUntil"], standing["failingSince"]) == (None, None)
    assert (refusal[0], refusal[1]["error"]["code"]) == (409, "CANNOT_RETRY_DELIVERY")
    assert len(receiver.requests) == 6


async def test_test_of_a_forbidden_address_tells_nothing(house: House, receiver: Receiver) -> None:
    """The same word whether somebody listens there or nobody does."""
    async with client_of(house, allowed=LOOPBACK) as allowed, client_of(house) as client:
        told = []
        for url in (receiver.url, "http://127.0.0.1:9/"):
            webhook = await register(allowed, url=url)
            told.append((await client.post(f"/v1/webhooks/{webhook['id']}/test")).json()["attempts"][0])
    assert [(it["statusCode"], it["error"], it["response"]) for it in told] == [(None, "blocked_address", None)] * 2
    assert (receiver.requests, told[0]["phases"].keys()) == ([], told[1]["phases"].keys())


async def test_webhook_is_tested_by_one_at_a_time(house: House, receiver: Receiver) -> None:
    """Whoever comes meanwhile is told when to come again; another webhook is another matter."""
    told = asyncio.Event()
    receiver.behave(accepting_after(told), answering(200))
    async with client_of(house, allowed=LOOPBACK) as client:
        webhook, other = await register(client, url=receiver.url), await register(client, url=receiver.url)
        first = asyncio.create_task(client.post(f"/v1/webhooks/{webhook['id']}/test"))
        await receiver.received(1)
        refused = await client.post(f"/v1/webhooks/{webhook['id']}/test")
        assert (await client.post(f"/v1/webhooks/{other['id']}/test")).status_code == 200
        told.set()
        assert (await first).status_code == 200
        assert (await client.post(f"/v1/webhooks/{webhook['id']}/test")).status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "1"


async def test_team_has_so_many_tests_a_minute(house: House, receiver: Receiver) -> None:
    """Over all of its webhooks; it does not use up another team's."""
    clock = ManualClock()
    async with client_of(house, allowed=LOOPBACK, clock=clock) as client:
        webhooks = [await register(client, url=receiver.url) for _ in range(2)]
        paths = [f"/v1/webhooks/{webhook['id']}/test" for webhook in webhooks]
        for n in range(PER_MINUTE):
            assert (await client.post(paths[n % 2])).status_code == 200
            await clock.advance(1)
        refused = await client.post(paths[0])
        assert (refused.status_code, refused.headers["retry-after"]) == (429, str(60 - PER_MINUTE))
        await clock.advance(60 - PER_MINUTE)
        assert [(await client.post(path)).status_code for path in paths] == [200, 429]
        async with client_of(house, "rival", allowed=LOOPBACK, clock=clock) as rival:
            theirs = await register(rival, url=receiver.url)
            assert (await rival.post(f"/v1/webhooks/{theirs['id']}/test")).status_code == 200


# --- secrets ---------------------------------------------------------------------------------------------------------


def echoing(receiver: Receiver) -> Behaviour:
    """A refusal that repeats what it was sent, headers and body, as receivers do that are being debugged."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = receiver.requests[-1]
        said = json.dumps({**request.headers, "body": request.body.decode()}).encode()
        await answering(500, said, location=f"/?{request.headers['x-gateway']}")(reader, writer)

    return echo


async def test_case_53_nothing_raw_is_stored_shown_or_sent_again(house: House, receiver: Receiver) -> None:
    """Neither by the stored body, nor by the log of attempts, a retry or a test, whatever is said back."""
    receiver.behave(echoing(receiver))
    raw = ("hunter2-of-the-event", "gateway-password-4711")
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, headers={"x-gateway": raw[1]}, retrySchedule=[3600])
        path = f"/v1/webhooks/{webhook['id']}"
        await tell(house, client, "exec_1", data={"db": {"password": raw[0]}, "text": "kept"})
        await receiver.received(1)
        test = await client.post(f"{path}/test")
        waiting, _ = await in_states(client, webhook, "pending", "failed")
        await ask(client, waiting, "retry")
        await receiver.received(3)
        await in_states(client, webhook, "pending", "failed")
        shown = [await client.get(f"/v1/webhook-deliveries/{row['id']}") for row in await listed(client, webhook)]
        shown += [test, await client.get(f"{path}/deliveries"), await client.get(path)]
    assert [value for value in raw for answer in shown if value in answer.text] == []
    assert [request for request in receiver.requests if raw[0].encode() in request.body] == []
    assert {request.headers["x-gateway"] for request in receiver.requests} == {raw[1]}
    assert json.loads(receiver.requests[0].body)["data"] == {"db": {"password": "***"}, "text": "kept"}
    secret = webhook["secret"].removeprefix("whsec_")
    assert [answer for answer in shown if secret in answer.text] == []


# --- standing --------------------------------------------------------------------------------------------------------


async def test_standing_tells_what_is_stuck_and_why(house: House, receiver: Receiver) -> None:
    """What is owed, since when, and what became of the latest attempts."""
    receiver.behave(answering(200), answering(500))
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url, retrySchedule=[3600], maxInFlight=1)
        path = f"/v1/webhooks/{webhook['id']}/stats"
        fresh = (await client.get(path)).json()
        await tell(house, client, *(f"exec_{n}" for n in range(7)))

        async def is_broken() -> Any:
            found = (await client.get(path)).json()
            return found if found["breaker"] == "open" else None

        broken = await eventually(is_broken)
    assert fresh == {
        "status": "active",
        "reason": None,
        "deliveries": {"pending": 0, "held": 0, "sending": 0},
        "oldestSeconds": None,
        "breaker": "closed",
        "blockedUntil": None,
        "failingSince": None,
        "consecutiveFailures": 0,
        "lastSuccessAt": None,
        "warnedPercent": None,
    }
    assert broken["deliveries"] == {"pending": 6, "held": 0, "sending": 0}
    assert broken["consecutiveFailures"] == 5
    assert broken["blockedUntil"] > broken["failingSince"] >= broken["lastSuccessAt"]
    assert 0 <= broken["oldestSeconds"] < 30


# --- documentation ---------------------------------------------------------------------------------------------------


def test_readme_names_every_status_and_address() -> None:
    """Tables of people are compared with those of the program."""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    section = readme.split("### See what became of it\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(STATUSES)
    anything: Any = None
    served = [
        *deliveries.operations(deliveries=anything, pings=anything, sealer=anything),
        *replays.operations(replays=anything, sealer=anything),
    ]
    addresses = {f"{operation.method} {operation.path}" for operation in served}
    assert set(re.findall(r"`((?:GET|POST) [^`]+)`", section)) == addresses


# --- the audit -------------------------------------------------------------------------------------------------------


async def test_audit_tells_who_sent_again_called_off_and_tried_out(house: House, receiver: Receiver) -> None:
    """Each once it was done, with the webhook; nothing of what was refused for its state, and nothing of reading."""
    async with at_work(house) as client:
        webhook = await register(client, url=receiver.url)
        await tell(house, client, "exec_1")
        [delivery] = await in_states(client, webhook, "delivered")
        assert (await ask(client, delivery, "cancel"))[0] == 409
        assert (await ask(client, delivery, "retry"))[0] == 202
        assert (await client.post(f"/v1/webhooks/{webhook['id']}/test")).status_code == 200
    async with client_of(house, allowed=LOOPBACK) as client:
        replay = (await client.post(f"/v1/webhooks/{webhook['id']}/replay", json={"status": ["delivered"]})).json()
        assert (await client.post(f"/v1/webhook-replays/{replay['id']}/cancel")).status_code == 200
        await tell(house, client, "exec_2")
        waiting = (await listed(client, webhook, status="pending"))[0]
        assert (await ask(client, waiting, "cancel"))[0] == 200
    found = await house.store.read(lambda reader: reader.audit(AuditQuery("acme"), 100))
    told = [(it.action, it.object) for it in reversed(found) if not it.action.startswith("webhook.c")]
    assert told == [
        ("delivery.retry", delivery["id"]),
        ("webhook.test", webhook["id"]),
        ("replay.start", replay["id"]),
        ("replay.cancel", replay["id"]),
        ("delivery.cancel", waiting["id"]),
    ]
    assert all(it.detail.get("webhookId", webhook["id"]) == webhook["id"] for it in found)
