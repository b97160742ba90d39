"""The janitor: what has served its time goes, what is still needed stays."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.access.teams import team_rule
from monitor.errors import StoreUnavailable
from monitor.events.model import Entry
from monitor.janitor import ROUND_S, Janitor
from monitor.journal import open_sqlite_journal
from monitor.journal.base import Bounds, Journal
from monitor.journal.memory import MemoryJournal
from monitor.store.base import Store
from monitor.store.memory import MemoryStore
from monitor.store.sqlite import open_sqlite_store
from tests.support.clocks import ManualClock
from tests.support.made_up import VARIED
from tests.support.replay import contents, quiet_pipeline
from tests.support.traffic import traffic

KEEP_S = 3600
ENTRIES = list(traffic(5, 30, mix=VARIED))
HALF = len(ENTRIES) // 2
TEAM_OF = team_rule(exclusive=True, trust_body=False)


@pytest.fixture
def clock() -> ManualClock:
    """Time that passes when a test says so."""
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Journal]:
    """Each embedded journal, of one partition."""
    in_memory = request.param == "memory"
    opened: Any = MemoryJournal(clock=clock) if in_memory else await open_sqlite_journal(tmp_path / "j.db", clock=clock)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, journal: Journal) -> AsyncIterator[Store]:
    """Each kind of store, tied to the journal."""
    opened: Any = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "s.db")
    await opened.write(lambda writer: writer.bind(journal.incarnation, [0]))
    yield opened
    await opened.close()


@pytest.fixture
def janitor(journal: Journal, store: Store, clock: ManualClock) -> Janitor:
    """One that keeps an hour."""
    return Janitor(journal=journal, store=store, clock=clock, keep_s=KEEP_S)


async def take_in(journal: Journal, store: Store, entries: Sequence[Entry]) -> None:
    """Append the entries, and fold what the journal holds in small batches."""
    await journal.append(entries)
    await quiet_pipeline(journal, store, TEAM_OF, max_batch=10).catch_up()


async def released(store: Store) -> list[int]:
    """Offsets whose releases are there."""
    return await store.read(lambda reader: sorted({it.offset for it in reader.releases(0, 0, len(ENTRIES))}))


async def test_records_go_when_their_time_is_over(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """The older half goes from the journal with its releases; the state that came of it stays as it was."""
    await take_in(journal, store, ENTRIES[:HALF])
    await clock.advance(KEEP_S)
    await take_in(journal, store, ENTRIES[HALF:])
    state, before = await contents(store), await released(store)
    await janitor.tidy()
    assert ((await journal.bounds())[0], await released(store)) == (Bounds(0, len(ENTRIES)), before)
    await clock.advance(1)
    await janitor.tidy()
    assert (await journal.bounds())[0] == Bounds(HALF, len(ENTRIES))
    assert await released(store) == [offset for offset in before if offset >= HALF]
    assert await contents(store) == state


async def test_record_that_is_not_folded_stays(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """Whatever its age: it is in no other place."""
    await take_in(journal, store, ENTRIES[:10])
    await journal.append(ENTRIES[10:])
    await clock.advance(100 * KEEP_S)
    await janitor.tidy()
    assert (await journal.bounds())[0] == Bounds(10, len(ENTRIES))
    await quiet_pipeline(journal, store, TEAM_OF).catch_up()
    assert await store.read(lambda reader: reader.quarantine(10)) == []


async def test_everything_may_go_and_offsets_go_on(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """A journal that was trimmed to its end takes the next record where it stood."""
    await take_in(journal, store, ENTRIES[:HALF])
    await clock.advance(KEEP_S + 1)
    await janitor.tidy()
    assert ((await journal.bounds())[0], await released(store)) == (Bounds(HALF, HALF), [])
    await take_in(journal, store, ENTRIES[HALF:])
    assert (await store.read(lambda reader: reader.position())).offsets == (len(ENTRIES),)


async def test_process_that_died_between_records_and_releases(
    journal: Journal, store: Store, clock: ManualClock, janitor: Janitor
) -> None:
    """Releases whose records are gone go in the next round, though nothing is left to trim."""
    await take_in(journal, store, ENTRIES)
    await journal.trim(0, len(ENTRIES))
    await janitor.tidy()
    assert await released(store) == []


class SharedJournal(MemoryJournal):
    """A journal that others trim, as Kafka is."""

    exclusive = False


async def test_releases_follow_a_journal_that_trims_itself(clock: ManualClock) -> None:
    """Retention of a shared journal is its own affair, and what it forgets is forgotten here too."""
    journal, store = SharedJournal(clock=clock), MemoryStore()
    await store.write(lambda writer: writer.bind(journal.incarnation, [0]))
    await take_in(journal, store, ENTRIES)
    janitor = Janitor(journal=journal, store=store, clock=clock, keep_s=KEEP_S)
    await clock.advance(100 * KEEP_S)
    await janitor.tidy()
    assert (await journal.bounds())[0] == Bounds(0, len(ENTRIES))
    await journal.trim(0, len(ENTRIES))
    await janitor.tidy()
    assert await released(store) == []


async def test_outage_ends_a_round_and_not_the_janitor(clock: ManualClock) -> None:
    """It says so and comes again."""
    journal, store = MemoryJournal(clock=clock), MemoryStore()
    await store.write(lambda writer: writer.bind(journal.incarnation, [0]))
    await take_in(journal, store, ENTRIES)
    reading = store.read
    failures = [StoreUnavailable("disk full")]

    async def failing_once(work: Any) -> Any:
        if failures:
            raise failures.pop()
        return await reading(work)

    store.read = failing_once  # type: ignore[method-assign]
    await clock.advance(KEEP_S + 1)
    running = asyncio.create_task(Janitor(journal=journal, store=store, clock=clock, keep_s=KEEP_S).run())
    await clock.advance(ROUND_S - 1)
    assert ((await journal.bounds())[0], failures) == (Bounds(0, len(ENTRIES)), [])
    await clock.advance(1)
    assert (await journal.bounds())[0] == Bounds(len(ENTRIES), len(ENTRIES))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
