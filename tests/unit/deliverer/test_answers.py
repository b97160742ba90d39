"""What a receiver answers is obeyed, and its owner hears of what was given up: once, and never about itself."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest

from monitor.store.base import Store
from monitor.store.ledger import LedgerReads
from monitor.store.memory_ledger import MemoryLedger
from tests.support.clocks import NOON_US, ManualClock
from tests.support.delivering import (
    FailingStore,
    delivering,
    idle,
    leap,
    notices_to,
    owe,
    pass_time,
    passing_until,
    recorded,
    register,
    rows,
    stored,
)
from tests.support.receiver import Behaviour, Receiver, answering, receiving, saying
from tests.support.service import eventually

DAY_S = 86_400
TEN_YEARS_S = 10 * 365 * DAY_S
IN_FIVE_MINUTES = format_datetime(datetime.fromtimestamp(NOON_US / 1_000_000, UTC) + timedelta(minutes=5), usegmt=True)


# --- when it comes again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        (["retry-after: 120"], 120),
        ([f"retry-after: {IN_FIVE_MINUTES}"], 300),
        (["retry-after: 0"], 5),
        (["retry-after: -5"], 5),
        (["retry-after: abc"], 5),
        ([f"retry-after: {TEN_YEARS_S}"], DAY_S),
        (["retry-after: 60", "retry-after: 7"], 60),
        ([], 5),
    ],
)
async def test_case_25_retry_after_is_obeyed(
    store: Store, receiver: Receiver, clock: ManualClock, headers: list[str], after_s: float
) -> None:
    """Case 25: seconds, a date, or else the schedule; a day at most; the first of two. It holds for the whole lane."""
    endpoint = await register(store, receiver.url)
    head = "\r\n".join(["HTTP/1.1 429 Slow Down", "content-length: 0", *headers, "", ""])
    receiver.behave(saying(head.encode()), answering(200))
    async with delivering(store, clock) as deliverer:
        await owe(store, clock, [endpoint], "ev_1")
        deliverer.wake()
        await receiver.received(1)
        await idle(clock, deliverer)
        await owe(store, clock, [endpoint], "ev_2")
        deliverer.wake()
        await pass_time(clock, deliverer, after_s - 1, (after_s - 1) / 4)
        assert len(receiver.requests) == 1
        await clock.advance(2)
        await recorded(store, endpoint, "delivered", "delivered", passing=clock)


async def test_case_26_unavailable_receiver_is_asked_on_schedule(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 26: 503 without Retry-After comes again after five seconds, then after five minutes."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(503), answering(503), answering(200))
    async with delivering(store, clock) as deliverer:
        for count, delay_s in ((1, 5), (2, 300)):
            await receiver.received(count)
            await idle(clock, deliverer)
            ((row, _),) = await rows(store, endpoint)
            assert row.due_us is not None
            # Time went on while it was sent, a second at each look.
            assert row.step == count
            assert delay_s - 4 <= (row.due_us - clock.now_us()) / 1_000_000 <= delay_s
            await clock.advance(delay_s - 4)
            sent = partial(_has_more, receiver, count)
            await passing_until(clock, sent)
        await recorded(store, endpoint, "delivered")


async def test_case_26_schedule_that_is_used_up_is_told_once(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 26: ten times 500 and it has failed, while all others of its lane arrive; one operator event says so."""
    hearer = await register(store, receiver.url, "wh_hearer", events=("delivery.exhausted",))
    async with receiving() as broken:
        endpoint = await register(store, broken.url)
        (bad,) = await owe(store, clock, [endpoint], "ev_bad")
        broken.behave(answering(500))
        async with delivering(store, clock) as deliverer:
            for count in range(1, 11):
                await broken.received(2 * count - 1)
                await idle(clock, deliverer)
                # What arrives in between keeps the breaker closed.
                broken.behave(answering(200))
                await owe(store, clock, [endpoint], f"ev_{count}")
                deliverer.wake()
                await broken.received(2 * count)
                await idle(clock, deliverer)
                broken.behave(answering(500))
                row, attempts = (await rows(store, endpoint))[0]
                assert (row.step, len(attempts)) == (count, count)
                if row.due_us is not None:
                    leap(clock, (row.due_us - clock.now_us()) / 1_000_000)
            await pass_time(clock, deliverer, DAY_S, DAY_S / 4)
            (row, _), *others = await rows(store, endpoint)
            (notice,) = await notices_to(store, hearer)
    assert (row.id, row.state, row.reason) == (bad.id, "failed", "exhausted")
    assert {other.state for other, _ in others} == {"delivered"}
    assert (notice["type"], notice["deliveryId"], notice["attempts"], notice["statusCode"]) == (
        "delivery.exhausted",
        *(bad.id, 10, 500),
    )


# --- what it says of itself ------------------------------------------------------------------------------------------


async def test_case_24_gone_receiver_is_not_asked_again(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Case 24: 410, though several heard it, disables once; what is owed is held, and the owner hears of it once."""
    hearer = await register(store, receiver.url, "wh_hearer", events=("endpoint.*",))
    async with receiving() as gone:
        endpoint = await register(store, gone.url)
        await owe(store, clock, [endpoint], "ev_1", "ev_2", "ev_3")
        told = asyncio.Event()

        async def say_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await told.wait()
            await answering(410)(reader, writer)

        gone.behave(answering(410), say_later)
        async with delivering(store, clock) as deliverer:
            await recorded(store, hearer, "delivered")
            leap(clock, 1)
            told.set()
            await idle(clock, deliverer)
            await owe(store, clock, [endpoint], "ev_4")
            deliverer.wake()
            await pass_time(clock, deliverer, DAY_S, DAY_S / 4)
            found = await rows(store, endpoint)
            notices = await notices_to(store, hearer)
        disabled = await stored(store, endpoint)
        assert (disabled.status, disabled.reason, len(gone.requests)) == ("disabled", "gone", 3)
    assert {(row.state, row.step) for row, _ in found} == {("pending", 0)}
    assert [[one.error for one in attempts] for _, attempts in found] == [*[["gone"]] * 3, []]
    assert [(notice["type"], notice["webhookId"], notice["reason"]) for notice in notices] == [
        ("endpoint.disabled", endpoint.id, "gone")
    ]


@pytest.mark.parametrize(
    ("said", "follows"),
    [
        ((500, "abort-message"), ("failed", "aborted", "active")),
        ((500, "disable"), ("pending", None, "disabled")),
        ((200, "abort-message"), ("delivered", None, "active")),
        ((200, "disable"), ("delivered", None, "disabled")),
        ((500, "please-stop"), ("pending", None, "active")),
    ],
)
async def test_case_27_receiver_says_how_to_go_on(
    store: Store, receiver: Receiver, clock: ManualClock, said: tuple[int, str], follows: tuple[str | None, ...]
) -> None:
    """Case 27: `webhook-delivery` ends a delivery that failed, or disables; what was accepted is delivered anyhow."""
    endpoint = await register(store, receiver.url)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(said[0], webhook_delivery=said[1]))
    async with delivering(store, clock) as deliverer:
        await receiver.received(1)
        await idle(clock, deliverer)
        ((row, _),) = await rows(store, endpoint)
    assert (row.state, row.reason, (await stored(store, endpoint)).status) == follows


async def test_case_27_owner_may_ignore_what_receivers_say(
    store: Store, receiver: Receiver, clock: ManualClock
) -> None:
    """Case 27: where the endpoint says so, the header is an answer's business and no order."""
    endpoint = await register(store, receiver.url, obeys_receiver=False)
    await owe(store, clock, [endpoint], "ev_1")
    receiver.behave(answering(500, webhook_delivery="disable"), answering(200))
    async with delivering(store, clock):
        await recorded(store, endpoint, "delivered", passing=clock)
    assert (await stored(store, endpoint)).status == "active"


# --- operator events -------------------------------------------------------------------------------------------------


async def test_endpoint_that_fails_for_days_is_disabled(store: Store, receiver: Receiver, clock: ManualClock) -> None:
    """Its owner is warned at 50, 70 and 90 % of five days, and told in the end; the last word is said once."""
    hearer = await register(store, receiver.url, "wh_hearer", events=("endpoint.*",))
    async with receiving() as dead:
        endpoint = await register(store, dead.url)
        dead.behave(answering(500))
        async with delivering(store, clock) as deliverer:
            for n in range(44):
                await owe(store, clock, [endpoint], f"ev_{n}")
                deliverer.wake()
                await pass_time(clock, deliverer, DAY_S / 8, DAY_S / 8)
            notices = await notices_to(store, hearer)
        assert ((await stored(store, endpoint)).reason, len(dead.requests) < 80) == ("failing", True)
    assert [(notice["type"], notice.get("percent")) for notice in notices] == [
        *(("endpoint.failing", percent) for percent in (50, 70, 90)),
        ("endpoint.disabled", None),
    ]


async def test_case_55_two_that_hear_of_each_other_stay_silent(store: Store, clock: ManualClock) -> None:
    """Case 55: operator endpoints that fail cause no operator events, however long they do."""
    async with receiving() as broken:
        broken.behave(answering(500))
        wishes = ("endpoint.*", "delivery.*", "lane.*")
        hearers = [
            await register(store, broken.url, f"wh_{at}", events=wishes, retry_delays_s=(60,)) for at in range(2)
        ]
        endpoint = await register(store, broken.url, "wh_plain", retry_delays_s=(60,))
        await owe(store, clock, [endpoint], "ev_1", "ev_2")
        async with delivering(store, clock) as deliverer:
            deliverer.wake()
            await pass_time(clock, deliverer, 8 * DAY_S, DAY_S / 4)
        for hearer in hearers:
            notices = await notices_to(store, hearer)
            assert [(notice["type"], notice["webhookId"]) for notice in notices] == [
                ("delivery.exhausted", endpoint.id)
            ] * 2


async def test_many_that_fail_at_once_read_the_hearers_once(
    store: Store, receiver: Receiver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who wants to know is looked up once for all that is recorded together: events wait for that transaction."""
    told, unsteady, asked = asyncio.Event(), FailingStore(store), list[str | None]()
    for ledger in (MemoryLedger, LedgerReads):
        monkeypatch.setattr(ledger, "endpoints", _noting(ledger.endpoints, asked))
    hearer = await register(store, receiver.url, "wh_hearer", events=("endpoint.*",))
    async with receiving() as gone:
        gone.behave(_going_after(told))
        endpoints = [await register(store, gone.url, f"wh_{number}") for number in range(20)]
        await owe(store, clock, endpoints, "ev_1")
        async with delivering(unsteady, clock) as deliverer:
            await gone.received(20)
            unsteady.fails = True
            told.set()

            async def are_unrecorded() -> bool:
                return deliverer.statistics().unrecorded == 20

            await eventually(are_unrecorded)
            unsteady.fails = False
            await recorded(store, hearer, *["delivered"] * 20, passing=clock)
    # What had ended when the store failed is recorded first, and then all the rest.
    assert 1 <= len(asked) <= 2


def _has_more(receiver: Receiver, count: int) -> bool:
    return len(receiver.requests) > count


def _noting(ask: Callable[..., Any], asked: list[str | None]) -> Callable[..., Any]:
    def noting(self: Any, team: str | None, **page: Any) -> Any:
        asked.append(team)
        return ask(self, team, **page)

    return noting


def _going_after(told: asyncio.Event) -> Behaviour:
    async def go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await told.wait()
        await answering(410)(reader, writer)

    return go
