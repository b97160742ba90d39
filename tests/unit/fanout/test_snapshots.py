"""Snapshots: rows and position of one moment, shared by whoever asks for the same, bounded in number and size."""

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pytest

from monitor.errors import StoreUnavailable
from monitor.fanout.channels import ACTIVE, MAX_ROWS, SnapshotWish, Subscription
from monitor.fanout.snapshots import HELD, Rows, Snapshot, Snapshots
from monitor.fanout.wires import WEBSOCKET
from monitor.projections.filter import MAX_VALUES, matches, parse_json, parse_query
from monitor.projections.view import Summary
from monitor.store.base import Reader
from monitor.store.memory import MemoryStore
from tests.support.clocks import NOON_US, ManualClock, settle
from tests.support.released import World

T = TypeVar("T")

EVERYTHING = frozenset({"executions"})


def subscriptions(*channels: str, **members: Any) -> frozenset[Subscription]:
    """One subscription to these channels; to everything when none is named."""
    return frozenset({Subscription(frozenset(channels or EVERYTHING), **members)})


class GatedStore(MemoryStore):
    """A store whose reads wait while its gate is closed, and fail while it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_broken = False
        self.reads = 0

    async def read(self, work: Callable[[Reader], T]) -> T:
        self.reads += 1
        await self.gate.wait()
        if self.is_broken:
            raise StoreUnavailable
        return await super().read(work)


class Asking:
    """A world with a store that can be held up, and what asks it."""

    def __init__(self, clock: ManualClock, row: dict[str, Any] | None = None) -> None:
        self.clock, self.store = clock, GatedStore()
        self.world = World(clock=clock)
        self.world.store = self.store
        self.snapshots = Snapshots(self.store, lambda summary: row or {"mode": summary.mode}, clock)

    async def take(self, channels: str = "executions", wish: SnapshotWish = ACTIVE, team: str = "default") -> Snapshot:
        """Take a snapshot and keep it."""
        return await self.snapshots.take(team, subscriptions(channels), wish, WEBSOCKET, self.world.beginning)

    async def rows(self, asked: frozenset[Subscription], wish: SnapshotWish = ACTIVE) -> Rows:
        """What a snapshot brings; it is given back."""
        snapshot = await self.snapshots.take("default", asked, wish, WEBSOCKET, self.world.beginning)
        self.snapshots.give_back(snapshot)
        return snapshot.rows

    async def shown(self, asked: frozenset[Subscription], wish: SnapshotWish = ACTIVE) -> list[str]:
        """The executions in it."""
        return [json.loads(frame)["executionId"] for frame in (await self.rows(asked, wish)).frames]


@pytest.fixture
def asking() -> Asking:
    """Time by hand."""
    return Asking(ManualClock(NOON_US))


async def start(world: World, *execution_ids: str, workflow_id: str = "wf_1", **data: Any) -> None:
    """Let executions start, one second after the other."""
    for execution_id in execution_ids:
        second = sum(world.end.offsets)
        timestamp = f"2026-11-22T10:{second // 60:02}:{second % 60:02}.000Z"
        await world.append("execution.started", execution_id, workflow_id=workflow_id, data=data, timestamp=timestamp)


async def end(world: World, execution_id: str) -> None:
    """Let it end."""
    await world.append("execution.completed", execution_id, data={})


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_a_row_is_the_state_and_what_rest_shows(asking: Asking) -> None:
    """And the version behind which newer frames count; no position, for a cut-off snapshot begins again."""
    await start(asking.world, "a", mode="manual")
    await asking.world.append("execution.progress", "a", data={"completed": 1, "total": 4})
    [row] = (await asking.rows(subscriptions())).frames
    assert json.loads(row) == {
        "type": "stream.snapshot",
        "executionId": "a",
        "workflowId": "wf_1",
        "version": 2,
        "state": {
            "status": "running",
            "progress": {"completed": 1, "total": 4, "current": None, "message": None, "ratio": 0.25},
        },
        "execution": {"mode": "manual"},
    }


async def test_rows_and_position_are_of_one_moment(asking: Asking) -> None:
    """What happens afterwards is in neither."""
    await start(asking.world, "a")
    asking.store.gate.clear()
    asked = asyncio.create_task(asking.rows(subscriptions()))
    await settle()
    await start(asking.world, "b")
    asking.store.gate.set()
    rows = await asked
    assert (len(rows.frames), rows.position, rows.href) == (2, asking.world.end, None)
    await start(asking.world, "c")
    assert rows.position != asking.world.end


async def test_active_is_what_is_in_flight_in_the_channels(asking: Asking) -> None:
    """Queued, running and waiting; one that has a channel of its own is shown whatever its status, once."""
    await start(asking.world, "a", "b")
    await start(asking.world, "c", workflow_id="wf_2")
    await asking.world.append("execution.queued", "d")
    await asking.world.append("execution.waiting", "b")
    await end(asking.world, "a")
    assert set(await asking.shown(subscriptions())) == {"b", "c", "d"}
    assert set(await asking.shown(subscriptions("workflow:wf_1"))) == {"b", "d"}
    assert await asking.shown(subscriptions("execution:a")) == ["a"]
    assert sorted(await asking.shown(subscriptions("execution:a", "execution:b", "workflow:wf_1"))) == ["a", "b", "d"]
    assert await asking.shown(subscriptions("execution:nobody", "workflow:none")) == []


async def test_filters_hold_for_rows_too(asking: Asking) -> None:
    """Also for those that have a channel of their own."""
    await start(asking.world, "a", mode="manual")
    await start(asking.world, "b", mode="trigger")
    manual = parse_json({"mode": "manual"})
    assert await asking.shown(subscriptions(filter=manual)) == ["a"]
    assert await asking.shown(subscriptions("execution:a", "execution:b", filter=manual)) == ["a"]


async def test_a_filter_and_a_channel_on_the_same_field_narrow_each_other(asking: Asking) -> None:
    """As they do live."""
    for workflow_id in ("wf_1", "wf_2", "wf_3"):
        await start(asking.world, workflow_id, workflow_id=workflow_id)
    asked = subscriptions("workflow:wf_1", "workflow:wf_2", filter=parse_json({"workflowId": ["wf_2", "wf_3"]}))
    assert await asking.shown(asked) == ["wf_2"]
    failed = subscriptions(filter=parse_json({"status": "failed"}))
    assert await asking.shown(failed) == []


async def test_recent_is_the_newest_whatever_their_status(asking: Asking) -> None:
    """As many as were asked for, which is no truncation."""
    await start(asking.world, *"abcd")
    await end(asking.world, "c")
    rows = await asking.rows(subscriptions(), SnapshotWish("recent", 3))
    assert [json.loads(frame)["executionId"] for frame in rows.frames] == ["d", "c", "b"]
    assert rows.href is None


async def test_subscriptions_add_up_and_teams_stay_apart(asking: Asking) -> None:
    """What several subscriptions show comes once."""
    await start(asking.world, "a", mode="manual")
    await start(asking.world, "b", workflow_id="wf_2")
    await asking.world.append("execution.started", "c", team="blue", data={})
    both = subscriptions("workflow:wf_1", "workflow:wf_2") | subscriptions(filter=parse_json({"mode": "manual"}))
    assert sorted(await asking.shown(both)) == ["a", "b"]


# --- how much --------------------------------------------------------------------------------------------------------


def listed(href: str) -> Callable[[Summary], bool]:
    """Whether REST's list behind a link shows an execution."""
    parts = urlsplit(href)
    assert parts.path == "/v1/executions"
    found = parse_query(parse_qsl(parts.query, strict_parsing=bool(parts.query)), NOON_US)
    return lambda summary: matches(found, summary)


async def views(world: World) -> list[Summary]:
    """Every execution as it stands."""
    return await world.store.read(
        lambda reader: [found[0] for id_ in "abcd" if (found := reader.execution("default", id_))]
    )


@pytest.mark.parametrize(
    ("channels", "filters"),
    [
        ((), {}),
        (("workflow:wf 1&2",), {}),
        (("workflow:wf 1&2", "workflow:wf_9"), {"workflowId": ["wf_3", "wf 1&2"]}),
        ((), {"workflowName": "Näch=tlich+ %"}),
        ((), {"mode": ["manual", "trigger"], "tag": {"ne": "blue"}}),
        ((), {"startedAt": {"gte": "2026-11-22T09:59:59.000001Z", "lt": "2027-01-01"}}),
        ((), {"status": ["running", "failed"]}),
        ((), {"status": {"ne": "failed"}, "duration": {"ne": 1.5}}),
    ],
)
async def test_what_is_left_out_stands_in_the_list_that_is_named(
    asking: Asking, channels: tuple[str, ...], filters: dict[str, Any]
) -> None:
    """REST takes the link, and shows the same executions as the snapshot would if it had no end."""
    said: dict[str, Any] = {"workflowName": "Näch=tlich+ %", "mode": "manual", "tags": ["red"]}
    await start(asking.world, "a", "b", workflow_id="wf 1&2", **said)
    await asking.world.append("execution.queued", "c", workflow_id="wf_9", data={"mode": "other"})
    await start(asking.world, "d", workflow_id="wf 1&2", **said)
    await end(asking.world, "d")
    asked = subscriptions(*channels, filter=parse_json(filters))
    whole = await asking.shown(asked)
    rows = await asking.rows(asked, SnapshotWish("active", 1))
    assert len(rows.frames) == 1
    assert rows.href is not None
    is_listed = listed(rows.href)
    assert {view.id for view in await views(asking.world) if is_listed(view)} == set(whole)


@pytest.mark.parametrize("others", [[f"workflow:wf_{number}" for number in range(MAX_VALUES + 1)], ["workflow:wf,1"]])
async def test_where_no_query_string_can_tell_which_the_list_of_everything_is_named(
    asking: Asking, others: list[str]
) -> None:
    """A link that REST refuses, or takes for another one, would help nobody."""
    await start(asking.world, "a", "b")
    rows = await asking.rows(subscriptions("workflow:wf_1", *others), SnapshotWish("active", 1))
    assert rows.href is not None
    assert all(map(listed(rows.href), await views(asking.world)))


async def test_what_is_left_out_of_several_subscriptions_stands_in_the_list_of_everything(asking: Asking) -> None:
    """No one filter names what they add up to."""
    await start(asking.world, "a", "b")
    await start(asking.world, "c", "d", workflow_id="wf_2")
    both = subscriptions("workflow:wf_1") | subscriptions("workflow:wf_2")
    rows = await asking.rows(both, SnapshotWish("active", 1))
    assert rows.href is not None
    assert all(map(listed(rows.href), await views(asking.world)))


async def test_four_megabytes_are_enough() -> None:
    """The rest stands in the list; one row passes however large it is."""
    asking = Asking(ManualClock(NOON_US), {"text": "x" * (3 << 20)})
    await start(asking.world, "a", "b")
    rows = await asking.rows(subscriptions("workflow:wf_1"))
    assert len(rows.frames) == 1
    assert rows.href is not None
    assert "wf_1" in rows.href


async def test_two_thousand_rows_are_enough_and_those_that_were_named_come_first(asking: Asking) -> None:
    """Who named an execution is shown it, however many others there are."""
    await start(asking.world, "old", *map(str, range(MAX_ROWS)))
    await end(asking.world, "old")
    rows = await asking.rows(subscriptions("execution:old", "workflow:wf_1"))
    assert len(rows.frames) == MAX_ROWS
    assert rows.href is not None
    assert json.loads(rows.frames[0])["executionId"] == "old"


# --- sharing ---------------------------------------------------------------------------------------------------------


async def test_who_asks_for_the_same_within_a_second_shares_one_reading(asking: Asking) -> None:
    """While it is read and afterwards, as long as somebody sends it."""
    await start(asking.world, "a")
    asking.store.reads = 0
    asking.store.gate.clear()
    taking = [asyncio.create_task(asking.take()) for _ in range(50)]
    await settle()
    asking.store.gate.set()
    first, *others = await asyncio.gather(*taking)
    assert all(snapshot is first for snapshot in others)
    assert asking.store.reads == 1
    await asking.clock.advance(1.0)
    assert await asking.take() is first
    await asking.clock.advance(0.1)
    assert await asking.take() is not first
    assert asking.store.reads == 2


async def test_other_questions_are_read_by_themselves(asking: Asking) -> None:
    """Another team, channel, wish or wire."""
    await start(asking.world, "a")
    asking.store.reads = 0
    await asking.take("executions")
    await asking.take("workflow:wf_1")
    await asking.take("executions", SnapshotWish("recent", 5))
    await asking.take("executions", team="blue")
    assert asking.store.reads == 4


async def test_who_has_more_than_a_shared_reading_shows_gets_one_of_its_own(asking: Asking) -> None:
    """Or what lies between the two would be lost; others who have as much share that one."""
    await start(asking.world, "a")
    old = await asking.take()
    await start(asking.world, "b")
    at_least = asking.world.end
    own = await asking.snapshots.take("default", subscriptions(), ACTIVE, WEBSOCKET, at_least)
    assert (len(old.rows.frames), len(own.rows.frames), own.rows.position) == (1, 2, at_least)
    assert await asking.snapshots.take("default", subscriptions(), ACTIVE, WEBSOCKET, at_least) is own


async def test_only_so_many_are_held(asking: Asking) -> None:
    """Who asks for another one waits until one is given back."""
    await start(asking.world, "a")
    held = [await asking.take(f"workflow:{number}") for number in range(HELD)]
    waiting = asyncio.create_task(asking.take("workflow:wf_1"))
    await settle()
    assert not waiting.done()
    asking.snapshots.give_back(held[0])
    assert len((await waiting).rows.frames) == 1


@pytest.mark.parametrize("others", [0, 1])
async def test_a_taker_that_leaves_takes_nothing_along(asking: Asking, others: int) -> None:
    """Neither the reading that others wait for, nor a place."""
    await start(asking.world, "a")
    for _ in range(HELD + 1):
        asking.store.gate.clear()
        leaving = asyncio.create_task(asking.take())
        staying = [asyncio.create_task(asking.rows(subscriptions())) for _ in range(others)]
        await settle()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        asking.store.gate.set()
        assert [len((await rows).frames) for rows in staying] == [1] * others
    assert len((await asking.rows(subscriptions())).frames) == 1


async def test_a_failing_store_is_everybodys_failure_and_nobodys_afterwards(asking: Asking) -> None:
    """Places are given back, and the next one asks anew."""
    await start(asking.world, "a")
    asking.store.is_broken = True
    for _ in range(HELD + 1):
        answers = await asyncio.gather(*(asking.take() for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    asking.store.is_broken = False
    assert len((await asking.take()).rows.frames) == 1


async def test_a_reading_that_nobody_waits_for_any_more_fails_in_silence(asking: Asking) -> None:
    """Its only taker left before."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await start(asking.world, "a")
    asking.store.gate.clear()
    leaving = asyncio.create_task(asking.take())
    await settle()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    del leaving  # it holds on to the reading
    asking.store.is_broken = True
    asking.store.gate.set()
    await settle()
    gc.collect()
    assert complaints == []


async def test_a_status_is_told_with_how_long_nothing_has_changed(asking: Asking) -> None:
    """None for an execution that nobody knows."""
    await start(asking.world, "a")
    await asking.clock.advance(3.0)
    assert await asking.snapshots.status("default", "a") == ("running", 3.0)
    assert await asking.snapshots.status("blue", "a") is None
