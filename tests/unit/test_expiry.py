"""Executions go when they have been kept long enough, by events; statistics stay, and so does who still runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor.app import Parts, open_parts
from monitor.clock import SystemClock
from monitor.events.codec import format_time
from monitor.projections.filter import Filter
from monitor.settings import Settings
from monitor.store.base import Reader
from monitor.store.execution_port import ListQuery
from tests.support.clocks import NOON_US
from tests.support.folders import rows, told

DAY_S = 86_400.0
KEEP = "30d,failed=90d,workflow:wf_noisy=7d,team:acme=180d"


class LaterClock(SystemClock):
    """Waits as ever, and shows the day that a test wants."""

    def __init__(self) -> None:
        self.days = 0.0

    def now_us(self) -> int:
        """So many days after noon."""
        return NOON_US + round(self.days * DAY_S * 1_000_000)


@asynccontextmanager
async def folding(data: Path, clock: LaterClock, keep: str = KEEP, **settings: Any) -> AsyncIterator[Parts]:
    """A folder whose journal is folded as it grows, at a time that tests decide."""
    async with open_parts(Settings(data=data, keep=keep, **settings), clock) as parts:
        hub = asyncio.create_task(parts.hub.run())
        pipeline = asyncio.create_task(parts.pipeline.run())
        try:
            yield parts
        finally:
            for task in (hub, pipeline):
                task.cancel()
            await asyncio.gather(hub, pipeline, return_exceptions=True)


def life(
    id_: str, end: str | None = "execution.completed", workflow: str = "wf_1", **data: Any
) -> list[dict[str, Any]]:
    """An execution of noon with a node and its payload, and its end where it has one."""
    about = {"executionId": id_, "workflowId": workflow, "timestamp": format_time(NOON_US)}
    events = [
        about | {"type": "execution.started", "id": f"{id_}.1", "data": {"inputData": {"secret": f"of {id_}"}} | data},
        about | {"type": "node.completed", "id": f"{id_}.2", "data": {"nodeId": "n", "outputData": "x" * 100}},
        about | {"type": "log.appended", "id": f"{id_}.3", "data": {"lines": [{"message": f"line of {id_}"}]}},
    ]
    return events if end is None else [*events, about | {"type": end, "id": f"{id_}.4"}]


async def ids(parts: Parts, team: str = "default") -> set[str]:
    """Of the executions that are listed."""

    def read(reader: Reader) -> set[str]:
        page, _ = reader.executions(ListQuery(team, Filter(), "-startedAt", 1000))
        assert page.total == len(page.rows)
        return {row.id for row in page.rows}

    return await parts.store.read(read)


async def tidied(parts: Parts, clock: LaterClock, days: float) -> None:
    """A round of the expiry, so many days after noon."""
    clock.days = days
    await parts.expiry.tidy()


@pytest.fixture
def clock() -> LaterClock:
    """It stands at noon."""
    return LaterClock()


async def test_rules_decide_when_each_goes(tmp_path: Path, clock: LaterClock) -> None:
    """By workflow, team and status; what runs, or is tagged `keep`, stays."""
    async with folding(tmp_path / "data", clock) as parts:
        events = [
            *life("success"),
            *life("failed", "execution.failed"),
            *life("noisy", "execution.failed", "wf_noisy"),
            *life("running", None),
            *life("pinned", tags=["keep", "other"]),
        ]
        await told(parts, events)
        await told(parts, life("theirs"), team="acme")
        everything = await ids(parts)
        statistics = await parts.store.read(lambda reader: reader.statistics("default"))
        for days, gone in ((6.9, set()), (7.1, {"noisy"}), (29.9, set()), (30.1, {"success"}), (90.1, {"failed"})):
            everything -= gone
            await tidied(parts, clock, days)
            assert await ids(parts) == everything, days
        assert everything == {"running", "pinned"}
        assert await parts.store.read(lambda reader: reader.statistics("default")) == statistics
        assert await ids(parts, "acme") == {"theirs"}
        await tidied(parts, clock, 180.1)
        assert await ids(parts, "acme") == set()


async def test_what_is_left_goes_with_the_records(tmp_path: Path, clock: LaterClock) -> None:
    """A deleted one absorbs late events as long as the journal could tell them again; then nothing of it is left."""
    data = tmp_path / "data"
    async with folding(data, clock, keep="7d", journal_keep_s=3600) as parts:
        await told(parts, [*life("old"), *life("young", None)])
        statistics = await parts.store.read(lambda reader: reader.statistics("default"))
        await tidied(parts, clock, 8)
        assert await ids(parts) == {"young"}
        await told(parts, life("old")[2:3])
        assert await ids(parts) == {"young"}
    assert rows(data / "store.db", "SELECT id, deleted FROM executions ORDER BY id") == [("old", 1), ("young", 0)]
    for table in ("nodes", "payloads", "log_lines", "tags"):
        assert rows(data / "store.db", f"SELECT DISTINCT key FROM {table}") in ([], [(2,)]), table  # noqa: S608
    async with folding(data, clock, keep="7d", journal_keep_s=3600) as parts:
        await told(parts, life("young", None)[1:2])
        await tidied(parts, clock, 9)
        await parts.janitor.tidy()
        await tidied(parts, clock, 9.1)
        assert await parts.store.read(lambda reader: reader.statistics("default")) == statistics
    assert rows(data / "store.db", "SELECT id FROM executions") == [("young",)]
    assert rows(data / "store.db", "SELECT DISTINCT key FROM progress") == [(2,)]


async def test_each_goes_from_its_own_team_also_where_the_body_alone_names_it(
    tmp_path: Path, clock: LaterClock
) -> None:
    """As on a shared journal, where what intake writes beside an event means nothing."""
    async with folding(tmp_path / "data", clock, keep="30d,team:acme=7d") as parts:
        await told(parts, life("same"))
        await told(parts, life("same"), team="acme")
        taken: list[Any] = []
        publish = parts.intake.publish

        async def seen(events: Any, *, team: str) -> Any:
            taken.extend((event.get("teamId"), team) for event in events)
            return await publish(events, team=team)

        parts.intake.publish = seen  # type: ignore[method-assign]
        await tidied(parts, clock, 8)
        assert taken == [("acme", "acme")]
        assert (await ids(parts), await ids(parts, "acme")) == ({"same"}, set())


async def test_a_round_ends_where_deleting_does_not_help(tmp_path: Path, clock: LaterClock) -> None:
    """An execution that is still there once its end is folded is left to the next round, not deleted for ever."""
    async with folding(tmp_path / "data", clock, keep="7d") as parts:
        await told(parts, life("stays"))
        publish = parts.intake.publish
        rounds: list[int] = []

        async def lost(events: Any, *, team: str) -> Any:
            rounds.append(len(events))
            assert len(rounds) < 10, "it goes on for ever"
            return await publish([], team=team)

        parts.intake.publish = lost  # type: ignore[method-assign]
        await tidied(parts, clock, 8)
        assert rounds == [1]
        assert await ids(parts) == {"stays"}


@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
async def test_writers_hardly_notice(tmp_path: Path, clock: LaterClock, count: int) -> None:
    """However many go: each portion holds the store for some milliseconds only."""
    data = tmp_path / "data"
    async with folding(data, clock, keep="7d") as parts:
        for start in range(0, count, 500):
            await told(parts, [event for n in range(start, start + 500) for event in life(f"exec_{n}")], batch=2000)
        held_ms: list[float] = []
        store: Any = parts.store
        inner = store._write

        def timed(*args: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return inner(*args)
            finally:
                held_ms.append((time.perf_counter() - began_s) * 1000)

        store._write = timed
        began_s = time.perf_counter()
        await tidied(parts, clock, 8)
        took_s = time.perf_counter() - began_s
        assert await ids(parts) == set()
    held_ms.sort()
    assert len(held_ms) >= count / 50
    p50, p99 = held_ms[len(held_ms) // 2], held_ms[len(held_ms) * 99 // 100]
    print(f"{count} executions removed in {took_s:.1f} s; a portion holds the store p50 {p50:.1f}, p99 {p99:.1f} ms")
    assert p50 < 50
