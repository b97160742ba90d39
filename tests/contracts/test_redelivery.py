"""What people decide about deliveries: sent again, called off, replayed, set aside, forgotten. All drivers do it alike.

Lanes and orders are those of one endpoint unless a test says otherwise; time is what a test says.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.store import Store, open_postgres_store, open_sqlite_store
from monitor.store.delivery_port import DeliveryQuery, Replay
from monitor.store.memory import MemoryStore
from monitor.webhooks.delivery import Claimed
from tests.contracts.ledger_contract import NOW_US, SECOND_US, endpoint, outcome, planned
from tests.contracts.store_contract import INCARNATION, STARTS

LATER_US = NOW_US + 60 * SECOND_US
REPLAY = Replay(id="rp_1", team="default", endpoint_key=1, query=DeliveryQuery(1), created_us=NOW_US, matched=9)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind of store, with the endpoint of key 1."""
    opened: Store
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "sqlite":
        opened = await open_sqlite_store(tmp_path / "store.db")
    else:
        opened = await open_postgres_store(request.getfixturevalue("postgres_url"))
    await opened.write(lambda writer: writer.bind(INCARNATION, STARTS))
    await opened.write(lambda writer: writer.add_endpoint(endpoint()))
    yield opened
    await opened.close()


async def owe(store: Store, *names: str, **members: Any) -> None:
    """Deliveries of these ids, due at once, in this order."""
    await store.write(lambda writer: writer.owe([planned(name, 1, **members) for name in names]))


async def claim(store: Store, now_us: int = NOW_US, lease: str = "lease_1") -> list[Claimed]:
    """Everything that may be sent."""
    until_us = now_us + 30 * SECOND_US
    return await store.write(lambda writer: writer.claim(now_us=now_us, lease=lease, until_us=until_us, limit=100))


async def names_claimed(store: Store, now_us: int = LATER_US) -> list[str]:
    """Ids of what may be sent, in the order in which it is."""
    return [it.id for it in await claim(store, now_us)]


async def end(store: Store, claimed: Sequence[Claimed], **members: Any) -> None:
    """These attempts are over: accepted, unless said otherwise."""
    await store.write(lambda writer: writer.finish([outcome(it, **members) for it in claimed]))


async def states(store: Store) -> dict[str, tuple[str, str | None]]:
    """State and reason of every delivery, by id."""
    rows = await store.read(lambda reader: reader.deliveries(DeliveryQuery(1), 1000))
    return {row.id: (row.state, row.reason) for row in reversed(rows)}


async def found(store: Store, **tests: Any) -> list[str]:
    """Ids of the deliveries that fit, oldest first; counting and collecting them agrees."""
    query = DeliveryQuery(1, **tests)
    rows = await store.read(lambda reader: reader.deliveries(query, 1000))
    keys = [row.key for row in reversed(rows)]
    assert await store.read(lambda reader: reader.keys_of(query, 0, 1000)) == keys
    assert await store.read(lambda reader: reader.delivery_count(query)) == len(keys)
    return [row.id for row in reversed(rows)]


# --- again -----------------------------------------------------------------------------------------------------------


async def test_again_is_a_fresh_start(store: Store) -> None:
    """A failed delivery is due with a whole schedule, under its id, and its attempts go on counting."""
    await owe(store, "dlv_1")
    await end(store, await claim(store), state="failed", reason="exhausted", error="status", step=10)
    assert await names_claimed(store) == []
    assert await store.write(lambda writer: writer.redeliver([1], "retry", due_us=LATER_US)) == 1
    (again,) = await claim(store, LATER_US)
    assert (again.id, again.n, again.step, again.trigger, again.first_us) == ("dlv_1", 2, 0, "retry", LATER_US)


async def test_who_is_sent_or_called_off_is_not_sent_again(store: Store) -> None:
    """Nobody sends twice at once, and nobody revives what was cancelled; states can be narrowed further."""
    await owe(store, "sending", "cancelled", "delivered")
    claimed = await claim(store)
    await end(store, claimed[2:])
    assert await store.write(lambda writer: writer.cancel([2], "asked", NOW_US)) == 1
    assert await store.write(lambda writer: writer.redeliver([1, 2, 3], "retry", due_us=LATER_US, states=["held"])) == 0
    assert await store.write(lambda writer: writer.redeliver([1, 2, 3, 4], "retry", due_us=LATER_US)) == 1
    assert await states(store) == {
        "sending": ("leased", None),
        "cancelled": ("cancelled", "asked"),
        "delivered": ("pending", None),
    }


async def test_order_holds_for_what_is_sent_again(store: Store) -> None:
    """Each waits for those before it, in the order in which they were owed first."""
    await owe(store, "dlv_1", "dlv_2", "dlv_3", order_key="exec_1")
    for _ in range(3):
        await end(store, await claim(store))
    assert await store.write(lambda writer: writer.redeliver([3, 1, 2], "retry", due_us=LATER_US)) == 3
    sent = []
    for _ in range(3):
        claimed = await claim(store, LATER_US)
        sent += [it.id for it in claimed]
        await end(store, claimed)
    assert sent == ["dlv_1", "dlv_2", "dlv_3"]


async def test_order_holds_where_several_are_sent_again(store: Store) -> None:
    """Of every order whoever came first meanwhile waits for what is sent again, however many orders there are."""
    orders = [f"exec_{number}" for number in range(3)]
    for name in ("early", "late"):
        for order in orders:
            await owe(store, f"{name}_{order}", order_key=order)
        if name == "early":
            await end(store, await claim(store))
    assert await store.write(lambda writer: writer.redeliver([1, 2, 3], "retry", due_us=LATER_US)) == 3
    for name in ("early", "late"):
        claimed = await claim(store, LATER_US)
        assert sorted(it.id for it in claimed) == [f"{name}_{order}" for order in orders]
        await end(store, claimed)


async def test_case_48_live_events_do_not_wait_for_replayed_ones(store: Store) -> None:
    """Two queues of an order, the replayed one behind; neither holds up the other, each keeps its order."""
    await owe(store, "old_1", "old_2", order_key="exec_1")
    for _ in range(2):
        await end(store, await claim(store))
    await store.write(lambda writer: writer.redeliver([1, 2], "replay", due_us=NOW_US, rank=1, replay_key=1))
    await owe(store, "new_1", "new_2", order_key="exec_1")
    first = await claim(store, LATER_US)
    assert [it.id for it in first] == ["new_1", "old_1"]
    await end(store, first)
    assert await names_claimed(store) == ["new_2", "old_2"]


async def test_halted_order_goes_on_when_its_head_is_sent_again(store: Store) -> None:
    """A head that waits for somebody counts as held, and holds back the others until then."""
    await owe(store, "head", "next", order_key="exec_1")
    await end(store, await claim(store), state="pending", reason="halted", error="status")
    assert await names_claimed(store) == []
    assert (await found(store, states=("held",)), await found(store, states=("pending",))) == (["head"], ["next"])
    assert await found(store, states=("held", "pending", "leased")) == ["head", "next"]
    counts = (await store.read(lambda reader: reader.backlog(1))).counts
    assert counts == {"pending": 1, "leased": 0, "held": 1}
    assert await store.write(lambda writer: writer.redeliver([1], "retry", due_us=LATER_US, states=["held"])) == 1
    claimed = await claim(store, LATER_US)
    assert [it.id for it in claimed] == ["head"]
    await end(store, claimed)
    assert await names_claimed(store) == ["next"]


async def test_who_waits_behind_a_cancelled_one_goes_on(store: Store) -> None:
    """Whether it waits or is under way: the late end of the latter changes nothing but its attempt."""
    await owe(store, "dlv_1", "dlv_2", "dlv_3", order_key="exec_1")
    (under_way,) = await claim(store)
    assert await store.write(lambda writer: writer.cancel([1], "asked", NOW_US)) == 1
    claimed = await claim(store)
    assert [it.id for it in claimed] == ["dlv_2"]
    assert await store.write(lambda writer: writer.finish([outcome(under_way)])) == set()
    await store.write(lambda writer: writer.cancel([2], "asked", NOW_US))
    assert await names_claimed(store) == ["dlv_3"]
    assert (await states(store))["dlv_1"] == ("cancelled", "asked")


# --- questions -------------------------------------------------------------------------------------------------------


async def test_deliveries_are_found_by_every_test(store: Store) -> None:
    """By type and its beginning, to the letter; by execution, time, key and trigger."""
    await owe(store, "node", event_type="node.completed", execution_id="exec_2")
    await owe(store, "upper", event_type="Node.completed")
    await owe(store, "late", due_us=LATER_US)
    await store.write(lambda writer: writer.redeliver([3], "retry", due_us=LATER_US))
    assert await found(store, event_types=("node.*",)) == ["node"]
    assert await found(store, event_types=("node.*", "execution.failed")) == ["node", "late"]
    assert await found(store, event_types=("*",)) == ["node", "upper", "late"]
    assert await found(store, event_types=("node.",)) == []
    assert await found(store, execution_id="exec_2") == ["node"]
    assert await found(store, since_us=LATER_US) == ["late"]
    assert await found(store, until_us=LATER_US) == ["node", "upper"]
    assert await found(store, before_key=2) == ["node"]
    assert await found(store, triggers=("event",)) == ["node", "upper"]
    assert await found(store, states=()) == []
    assert await store.read(lambda reader: reader.keys_of(DeliveryQuery(1), 1, 1)) == [2]


# --- tests -----------------------------------------------------------------------------------------------------------


async def test_case_18_test_is_leased_at_once_and_fills_its_lane(store: Store) -> None:
    """It waits for nobody, and as long as it takes there is less room for others."""
    await store.write(lambda writer: writer.add_endpoint(endpoint("wh_2", max_in_flight=1)))
    await store.write(lambda writer: writer.owe([planned("live", 2)]))
    until_us = NOW_US + 30 * SECOND_US
    begun = await store.write(
        lambda it: it.begin(planned("ping", 2), "test", now_us=NOW_US, lease="ping", until_us=until_us)
    )
    assert begun is not None
    assert (begun.id, begun.n, begun.trigger, begun.is_probe) == ("ping", 1, "test", False)
    assert await claim(store) == []
    await end(store, [begun])
    assert [it.id for it in await claim(store, LATER_US)] == ["live"]


async def test_interrupted_test_has_failed(store: Store) -> None:
    """Nobody waits for it any more: it is not sent again, neither after its lease nor by who returns."""
    lease: Any = {"now_us": NOW_US, "until_us": NOW_US + SECOND_US}
    await owe(store, "live")
    await claim(store, lease="here.1")
    await store.write(lambda writer: writer.begin(planned("ping_1", 1), "test", lease="here.2", **lease))
    assert await store.write(lambda writer: writer.release_leases("here.2", NOW_US)) == 1
    await store.write(lambda writer: writer.begin(planned("ping_2", 1), "test", lease="here.2", **lease))
    assert await names_claimed(store, NOW_US + 2 * SECOND_US) == []
    assert await names_claimed(store, LATER_US) == ["live"]
    assert await states(store) == {
        "live": ("leased", None),
        "ping_1": ("failed", "interrupted"),
        "ping_2": ("failed", "interrupted"),
    }
    attempts = await store.read(lambda reader: reader.attempts("ping_2"))
    assert [(it.n, it.trigger, it.error) for it in attempts] == [(1, "test", "interrupted")]


# --- replays ---------------------------------------------------------------------------------------------------------


async def test_replay_knows_what_nobody_has_sent_yet(store: Store) -> None:
    """What was tried is its schedule's affair; ended, it gives back what it queued, as it was."""
    await owe(store, "tried", "again", "never", "waiting")
    accepted, again, refused, refused_too = await claim(store)
    await end(store, [accepted, again])
    await end(store, [refused, refused_too], state="failed", reason="exhausted", error="status")
    key = (await store.write(lambda writer: writer.put_replay(REPLAY))).key
    options: Any = {"due_us": NOW_US, "rank": 1, "replay_key": key}
    assert await store.write(lambda writer: writer.redeliver([1, 2, 3, 4], "replay", **options)) == 4
    assert await store.read(lambda reader: reader.untried(key)) == 4
    tried = (await claim(store))[0]
    assert await store.read(lambda reader: reader.untried(key)) == 0
    await store.write(lambda writer: writer.release_leases("lease_1", NOW_US))
    await end(store, [tried])
    assert await store.read(lambda reader: reader.untried(key)) == 0
    await store.write(lambda writer: writer.redeliver([2], "retry", due_us=NOW_US))
    assert await store.write(lambda writer: writer.end_replayed(key, NOW_US)) == 3
    assert await states(store) == {
        "tried": ("delivered", None),
        "again": ("pending", None),
        "never": ("failed", "replay_cancelled"),
        "waiting": ("failed", "replay_cancelled"),
    }
    assert await store.write(lambda writer: writer.end_replayed(key, NOW_US)) == 0


async def test_replays_are_kept_by_team_and_endpoint(store: Store) -> None:
    """Those that run are found without their team; one that is stored again takes the place of what it was."""
    first = await store.write(lambda writer: writer.put_replay(REPLAY))
    ended = await store.write(lambda it: it.put_replay(Replay(**{**_members(REPLAY), "id": "rp_2", "state": "done"})))
    moved = Replay(**{**_members(first), "cursor": 7, "queued": 3})
    await store.write(lambda writer: writer.put_replay(moved))
    assert await store.read(lambda reader: reader.replays(1)) == [ended, moved]
    assert await store.read(lambda reader: reader.replays(None)) == [moved]
    assert await store.read(lambda reader: reader.replay("default", "rp_1")) == moved
    assert await store.read(lambda reader: reader.replay("red", "rp_1")) is None
    assert await store.read(lambda reader: reader.replays(2)) == []


def _members(replay: Replay) -> dict[str, Any]:
    return {name: getattr(replay, name) for name in replay.__struct_fields__}


# --- too much, and too old -------------------------------------------------------------------------------------------


async def test_overflow_is_set_aside_and_the_end_of_executions_is_not(store: Store) -> None:
    """The oldest events of nodes and logs, portion by portion, never more than what is beyond the limit."""
    await owe(store, "end_1", "end_2")
    await owe(store, "node_1", "node_2", "node_3", event_type="node.completed")
    await owe(store, "end_3")
    overflow = [await store.write(lambda writer: writer.hold_overflow(4, LATER_US, most=1)) for _ in range(3)]
    assert overflow == [{1: 1}, {1: 1}, {}]
    assert [await store.write(lambda writer: writer.hold_overflow(1, LATER_US, most=9)) for _ in range(2)] == [
        {1: 1},
        {},
    ]
    assert await found(store, states=("held",)) == ["node_1", "node_2", "node_3"]
    assert (await states(store))["node_1"] == ("held", "overflow")
    assert await names_claimed(store) == ["end_1", "end_2", "end_3"]


async def test_case_57_what_has_ended_is_forgotten_in_portions(store: Store) -> None:
    """With attempts and bodies, when it is old; what is pending, held or young stays."""
    await owe(store, "dlv_1", "dlv_2", body=b"shared")
    await owe(store, "node", event_type="node.completed")
    await owe(store, "halted", "waiting", order_key="x")
    await owe(store, "young", due_us=LATER_US)
    await store.write(lambda writer: writer.hold_overflow(4, NOW_US, most=1))
    first, second, halted = await claim(store)
    await end(store, [first])
    await end(store, [halted], state="pending", reason="halted", error="status")
    await end(store, [second])
    await end(store, await claim(store, LATER_US))
    first_two = await store.write(lambda writer: writer.forget_deliveries(LATER_US, 0, 2))
    others = await store.write(lambda writer: writer.forget_deliveries(LATER_US, first_two[1], 2))
    last = await store.write(lambda writer: writer.forget_deliveries(LATER_US, others[1], 2))
    assert (first_two, others, last) == ((2, 2), (0, 4), (0, 0))
    assert list(await states(store)) == ["node", "halted", "waiting", "young"]
    assert await store.read(lambda reader: reader.attempts("dlv_1")) == []
    await store.write(lambda writer: writer.redeliver([3], "retry", due_us=LATER_US))
    assert await names_claimed(store, LATER_US) == ["node"]
