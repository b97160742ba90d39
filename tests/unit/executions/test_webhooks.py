"""A webhook is changed, paused and resumed: what is owed to it follows its owner's word, and nothing gets lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.events.codec import format_time
from monitor.executions import webhooks
from monitor.store import MemoryStore, open_sqlite_store
from monitor.store.delivery_port import DeliveryQuery, DeliveryRow
from monitor.store.ledger import LedgerWrites
from monitor.store.memory_ledger import MemoryLedger
from monitor.webhooks.lane import Lane
from monitor.webhooks.signing import key_of, signed_headers
from tests.support.clocks import ManualClock
from tests.support.house import House, open_house
from tests.support.receiver import LOOPBACK, answering, receiving
from tests.support.service import eventually
from tests.support.webhook_house import client_of, delivering, failed, register


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store)
    await store.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock ahead of the one that plans deliveries: what is planned is due."""
    return ManualClock(SystemClock().now_us() + 3600 * 1_000_000)


@pytest.fixture
async def client(house: House, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first team."""
    async with client_of(house, allowed=LOOPBACK, clock=clock) as opened:
        yield opened


async def owed(house: House) -> list[DeliveryRow]:
    """Every delivery of the only endpoint, oldest first."""
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    return list(await house.store.read(lambda reader: reader.deliveries(DeliveryQuery(endpoint.key), 1000)))[::-1]


async def states(house: House) -> list[tuple[str, str, str | None]]:
    """Execution, state and reason of each."""
    return [(row.execution_id, row.state, row.reason) for row in await owed(house)]


async def lane(house: House) -> Lane:
    """What is remembered of the only endpoint's receiver."""
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    return await house.store.read(lambda reader: reader.lane(endpoint.key))


async def post(client: httpx.AsyncClient, path: str, body: Any = None) -> dict[str, Any]:
    """The answer, which is 200."""
    answer = await client.post(f"/v1/webhooks/{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def patch(client: httpx.AsyncClient, id_: str, **changes: Any) -> dict[str, Any]:
    """The answer to a change, which is 200."""
    answer = await client.patch(f"/v1/webhooks/{id_}", json=changes)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


# --- changing --------------------------------------------------------------------------------------------------------


async def test_case_46_next_attempt_uses_the_new_url_and_secret(
    house: House, clock: ManualClock, client: httpx.AsyncClient
) -> None:
    """Case 46: each attempt goes where the endpoint is then, signed as it is then; its row keeps the URL it used."""
    async with receiving() as old, receiving() as new, delivering(house, clock) as deliverer:
        old.behave(answering(500))
        id_ = (await register(client, url=old.url))["id"]
        await house.tell(failed("exec_1"))
        deliverer.wake()

        async def attempted() -> bool:
            return [row.state for row in await owed(house) if row.step == 1] == ["pending"]

        await eventually(attempted)
        await patch(client, id_, url=new.url)
        secret = (await post(client, f"{id_}/secret/rotate", {"overlapSeconds": 0}))["secret"]
        await clock.advance(60)
        deliverer.wake()
        (request,) = await new.received(1)
    assert len(old.requests) == 1
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    timestamp_s = int(request.headers["webhook-timestamp"])
    expected = signed_headers(old.requests[0].headers["webhook-id"], timestamp_s, request.body, [key_of(secret)])
    assert {name: request.headers[name] for name in names} == expected
    assert request.body == old.requests[0].body
    attempts = await house.store.read(lambda reader: reader.attempts(request.headers["webhook-id"]))
    assert [attempt.detail.url for attempt in attempts if attempt.detail] == [old.url, new.url]


async def test_own_headers_are_sent_as_they_are_now(house: House, client: httpx.AsyncClient) -> None:
    """Replaced as a whole; the mask that answers show stands for the value it hides."""
    async with receiving() as receiver:
        id_ = (await register(client, url=receiver.url, headers={"X-Key": "one", "X-Old": "two"}))["id"]
        await patch(client, id_, headers={"X-Key": "***", "X-New": "three"})
        await house.tell(failed("exec_1"))
        async with delivering(house):
            (request,) = await receiver.received(1)
    sent = {name: value for name, value in request.headers.items() if name.startswith("x-")}
    assert sent == {"x-key": "one", "x-new": "three"}


async def test_case_47_queued_deliveries_stay_when_the_filter_changes(house: House, client: httpx.AsyncClient) -> None:
    """Case 47: what comes after the answer follows the new filter, and that alone."""
    id_ = (await register(client))["id"]
    await house.tell(failed("exec_1"), failed("exec_2", workflowId="wf_other"))
    await patch(client, id_, filters={"workflowId": "wf_other"})
    await house.tell(failed("exec_3"), failed("exec_4", workflowId="wf_other"))
    assert await states(house) == [("exec_1", "pending", None), ("exec_4", "pending", None)]


async def test_case_47_what_is_appended_after_the_answer_follows_it(house: House, client: httpx.AsyncClient) -> None:
    """Case 47: however a registration or a change races with commits, none is missed."""

    async def registered() -> str:
        return str((await register(client))["id"])

    async def changed() -> str:
        await patch(client, other["id"], filters={"workflowId": "wf_abcdef123456"})
        return str(other["id"])

    for number in range(20):
        other = await register(client, filters={"workflowId": "wf_none"})
        racing = asyncio.create_task(house.tell(*(failed(f"racing_{number}_{place}") for place in range(10))))
        id_ = await (registered() if number % 2 else changed())
        await house.intake.accept([json.dumps(failed(f"after_{number}")).encode()], team="acme")
        await racing
        await house.settle()
        page = (await client.get(f"/v1/webhooks/{id_}/deliveries?limit=100")).json()
        assert f"after_{number}" in [row["executionId"] for row in page["data"]]


async def test_change_of_nothing_is_none(client: httpx.AsyncClient) -> None:
    """The answer shows the webhook as it is, unchanged since."""
    registered = await register(client)
    del registered["secret"]
    assert [await patch(client, registered["id"]), await patch(client, registered["id"], maxInFlight=8)] == [
        registered,
        registered,
    ]


async def test_change_is_dated(clock: ManualClock, client: httpx.AsyncClient) -> None:
    """`updatedAt` tells when it was made; `createdAt` stays."""
    registered = await register(client)
    await clock.advance(5)
    changed = await patch(client, registered["id"], name="night")
    assert changed["createdAt"] == registered["createdAt"] == registered["updatedAt"]
    assert changed["updatedAt"] == format_time(clock.now_us())


async def test_new_url_gets_a_chance_at_once(house: House, client: httpx.AsyncClient) -> None:
    """What the old receiver did holds up nothing; other changes leave it remembered."""
    registered = await register(client)
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    broken = Lane(breaker="open", probes=3, blocked_until_us=1 << 60, failures=9, failing_since_us=1)
    await house.store.write(lambda writer: writer.put_lane(endpoint.key, broken))
    await patch(client, registered["id"], name="night")
    assert await lane(house) == broken
    await patch(client, registered["id"], url="https://example.com/new")
    assert await lane(house) == Lane(ramp=1)


# --- pausing and resuming --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["paused", "disabled"])
async def test_case_50_events_while_nothing_is_sent_are_sent_later(
    house: House, client: httpx.AsyncClient, how: str
) -> None:
    """Case 50: they are held, counted and recovered in their order."""
    async with receiving() as receiver, delivering(house) as deliverer:
        id_ = (await register(client, url=receiver.url, maxInFlight=1))["id"]
        stopped = await post(client, f"{id_}/pause") if how == "paused" else await patch(client, id_, disabled=True)
        assert (stopped["status"], stopped["reason"]) == (how, None if how == "paused" else "asked")
        await house.tell(failed("exec_1"))
        await house.tell(failed("exec_2"))
        deliverer.wake()
        assert await states(house) == [("exec_1", "pending", None), ("exec_2", "pending", None)]
        resumed = await post(client, f"{id_}/resume")
        assert (resumed["status"], resumed["reason"]) == ("active", None)
        assert (resumed["pendingDeliveries"], resumed["cancelledDeliveries"]) == (2, 0)
        deliverer.wake()
        requests = await receiver.received(2)
    assert [json.loads(request.body)["executionId"] for request in requests] == ["exec_1", "exec_2"]


async def test_case_24_gone_receiver_is_disabled_and_resumed(
    house: House, clock: ManualClock, client: httpx.AsyncClient
) -> None:
    """Case 24: the answer shows why, what is owed is held, and goes out once its owner resumed it."""
    async with receiving() as receiver, delivering(house, clock) as deliverer:
        receiver.behave(answering(410), answering(200))
        id_ = (await register(client, url=receiver.url, maxInFlight=1))["id"]
        await house.tell(failed("exec_1"))
        await house.tell(failed("exec_2"))
        deliverer.wake()

        async def disabled() -> Any:
            shown = (await client.get(f"/v1/webhooks/{id_}")).json()
            return shown if shown["status"] == "disabled" else None

        assert (await eventually(disabled))["reason"] == "gone"
        assert await states(house) == [("exec_1", "pending", None), ("exec_2", "pending", None)]
        resumed = await post(client, f"{id_}/resume", {"held": "all"})
        assert (resumed["status"], resumed["pendingDeliveries"]) == ("active", 2)
        deliverer.wake()
        requests = await receiver.received(3)
    told = [json.loads(request.body)["executionId"] for request in requests]
    assert (told[0], sorted(told[1:])) == ("exec_1", ["exec_1", "exec_2"])


@pytest.mark.parametrize("held", ["none", {"since": "2099-01-01T00:00:00Z"}])
async def test_held_events_can_be_dropped(
    monkeypatch: pytest.MonkeyPatch, house: House, client: httpx.AsyncClient, held: Any
) -> None:
    """They are cancelled, however many, and say why; what comes later is sent."""
    monkeypatch.setattr(webhooks, "PORTION", 2)
    id_ = (await register(client))["id"]
    await post(client, f"{id_}/pause")
    await house.tell(*(failed(f"exec_{number}") for number in range(5)))
    resumed = await post(client, f"{id_}/resume", {"held": held})
    assert (resumed["status"], resumed["cancelledDeliveries"], resumed["pendingDeliveries"]) == ("active", 5, 0)
    await house.tell(failed("exec_5"))
    cancelled = [(f"exec_{number}", "cancelled", "not_resumed") for number in range(5)]
    assert await states(house) == [*cancelled, ("exec_5", "pending", None)]


async def test_events_held_since_a_time_are_sent(house: House, client: httpx.AsyncClient) -> None:
    """Those planned before are cancelled."""
    id_ = (await register(client))["id"]
    await post(client, f"{id_}/pause")
    await house.tell(failed("exec_1"))
    await house.tell(failed("exec_2"))
    since = format_time((await owed(house))[1].planned_us)[:-1]
    since += f"{(await owed(house))[1].planned_us % 1000:03d}Z"
    resumed = await post(client, f"{id_}/resume", {"held": {"since": since}})
    assert (resumed["cancelledDeliveries"], resumed["pendingDeliveries"]) == (1, 1)
    assert await states(house) == [("exec_1", "cancelled", "not_resumed"), ("exec_2", "pending", None)]


async def test_pausing_and_resuming_twice_changes_nothing_more(house: House, client: httpx.AsyncClient) -> None:
    """A request that is sent again drops nothing that has come meanwhile, nor what is remembered of the receiver."""
    id_ = (await register(client))["id"]
    paused = [await post(client, f"{id_}/pause") for _ in range(2)]
    assert paused[0] == paused[1]
    resumed = await post(client, f"{id_}/resume", {"held": "none"})
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    remembered = Lane(failures=3, failing_since_us=1)
    await house.store.write(lambda writer: writer.put_lane(endpoint.key, remembered))
    await house.tell(failed("exec_1"))
    again = await post(client, f"{id_}/resume", {"held": "none"})
    assert again == resumed | {"pendingDeliveries": 1}
    assert await states(house) == [("exec_1", "pending", None)]
    assert await lane(house) == remembered


async def test_resumed_lane_starts_slowly(house: House, client: httpx.AsyncClient) -> None:
    """With one send, and without the failures of before."""
    id_ = (await register(client))["id"]
    (endpoint,) = await house.store.read(lambda reader: reader.endpoints(None))
    past = Lane(breaker="open", blocked_until_us=1 << 60, failures=9, failing_since_us=1, last_success_us=5)
    await house.store.write(lambda writer: writer.put_lane(endpoint.key, past))
    await post(client, f"{id_}/pause")
    assert await lane(house) == past
    await post(client, f"{id_}/resume")
    assert await lane(house) == Lane(ramp=1, last_success_us=5)


async def test_paused_endpoint_that_is_disabled_says_so_until_it_is_resumed(client: httpx.AsyncClient) -> None:
    """The stronger word counts: neither a pause nor a repetition takes its reason away."""
    id_ = (await register(client))["id"]
    await post(client, f"{id_}/pause")
    assert (await patch(client, id_, disabled=False))["status"] == "paused"
    disabled = await patch(client, id_, disabled=True)
    assert (disabled["status"], disabled["reason"]) == ("disabled", "asked")
    assert await post(client, f"{id_}/pause") == disabled
    enabled = await patch(client, id_, disabled=False)
    assert (enabled["status"], enabled["reason"]) == ("active", None)


@pytest.mark.parametrize("is_paused", [False, True])
async def test_what_an_overflow_set_aside_is_sent_again(
    house: House, client: httpx.AsyncClient, is_paused: bool
) -> None:
    """Resuming lets go of everything that is held, also where nothing was paused."""
    id_ = (await register(client, events=["*"]))["id"]
    nodes = [failed(f"exec_{number}", type="node.failed", data={"nodeId": "n"}) for number in range(3)]
    await house.tell(*nodes)
    await house.store.write(lambda writer: writer.hold_overflow(1, SystemClock().now_us(), 100))
    assert [state for _, state, _ in await states(house)] == ["held", "held", "pending"]
    if is_paused:
        await post(client, f"{id_}/pause")
    resumed = await post(client, f"{id_}/resume")
    assert (resumed["pendingDeliveries"], resumed["cancelledDeliveries"]) == (3, 0)
    assert [(state, reason) for _, state, reason in await states(house)] == [("pending", None)] * 3


async def test_halted_order_goes_on_when_it_is_resumed(
    house: House, clock: ManualClock, client: httpx.AsyncClient
) -> None:
    """What has used up its retries gets them anew, and what waits behind it follows."""
    async with receiving() as receiver, delivering(house, clock) as deliverer:
        receiver.behave(answering(500), answering(500), answering(200))
        wish = {"url": receiver.url, "ordering": "strict", "onExhausted": "halt", "retrySchedule": [1]}
        id_ = (await register(client, **wish))["id"]
        await house.tell(failed("exec_1"), failed("exec_2"))

        async def attempted(number: int) -> bool:
            head = (await owed(house))[0]
            return (head.attempts, head.state) == (number, "pending")

        deliverer.wake()
        await eventually(partial(attempted, 1))
        await clock.advance(60)
        deliverer.wake()
        await eventually(partial(attempted, 2))
        assert await states(house) == [("exec_1", "pending", "halted"), ("exec_2", "pending", None)]
        await post(client, f"{id_}/resume")
        deliverer.wake()
        requests = await receiver.received(4)
    assert [json.loads(it.body)["executionId"] for it in requests] == ["exec_1", "exec_1", "exec_1", "exec_2"]


async def test_what_is_answered_as_done_survives_a_loss_of_power(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every address writes durably."""
    write, lasting = house.store.write, set[bool]()

    async def noted(work: Any, *, durable: bool = False) -> Any:
        lasting.add(durable)
        return await write(work, durable=durable)

    monkeypatch.setattr(house.store, "write", noted)
    id_ = (await register(client))["id"]
    await patch(client, id_, name="night")
    for below in ("pause", "resume", "secret/rotate", "secret/revoke"):
        await post(client, f"{id_}/{below}")
    await client.delete(f"/v1/webhooks/{id_}")
    assert lasting == {True}


async def test_whoever_delivers_is_woken(house: House) -> None:
    """A resumed endpoint need not wait for the next event."""
    woken: list[None] = []
    async with client_of(house, on_due=lambda: woken.append(None)) as client:
        id_ = (await register(client))["id"]
        await post(client, f"{id_}/pause")
        woken.clear()
        await post(client, f"{id_}/resume")
    assert woken


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"held": "some"}, "held", '\'held\' takes "all", "none" or {"since": TIME}'),
        ({"held": 0}, "held", "'held' takes"),
        ({"held": {"since": 0}}, "held", "'held' takes"),
        ({"held": {"since": "2026-11-22T00:00:00Z", "until": "x"}}, "held", "'held' takes"),
        ({"held": {"since": "yesterday"}}, "held", "'held' is not an RFC 3339 time"),
        ({"hold": "all"}, "hold", "unknown member 'hold'; did you mean 'held'?"),
    ],
)
async def test_wrong_resumption_is_refused(client: httpx.AsyncClient, body: Any, field: str, said: str) -> None:
    """It stays paused, and what is held stays held."""
    id_ = (await register(client))["id"]
    paused = await post(client, f"{id_}/pause")
    answer = await client.post(f"/v1/webhooks/{id_}/resume", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "INVALID_WEBHOOK", field)
    assert error["message"].startswith(said)
    assert (await client.get(f"/v1/webhooks/{id_}")).json() == paused


async def test_what_is_owed_is_cancelled_in_portions(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing a webhook with a long queue holds up nobody: events of others come in between."""
    portions: list[int] = []
    for ledger in (MemoryLedger, LedgerWrites):
        monkeypatch.setattr(ledger, "cancel", noting(ledger.cancel, portions))
    monkeypatch.setattr(webhooks, "PORTION", 2)
    id_ = (await register(client))["id"]
    await house.tell(*(failed(f"exec_{number}") for number in range(5)))
    removed = await client.delete(f"/v1/webhooks/{id_}")
    assert (removed.json(), list(filter(None, portions))) == ({"id": id_, "cancelledDeliveries": 5}, [2, 2, 1])


def noting(cancel: Callable[..., int], portions: list[int]) -> Callable[..., int]:
    """`cancel`, which notes how many deliveries it is to end."""

    def noted(self: Any, keys: Sequence[int], *told: Any) -> int:
        portions.append(len(keys))
        return cancel(self, keys, *told)

    return noted
