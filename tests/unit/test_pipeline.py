"""The pipeline: journal in, state and releases out, exactly once in effect."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from monitor.access.teams import team_rule
from monitor.clock import SystemClock
from monitor.engines.histories import VARIED
from monitor.engines.traffic import traffic
from monitor.errors import JournalMismatch, StoreUnavailable
from monitor.events.model import Entry
from monitor.events.position import Position
from monitor.journal import MemoryJournal
from monitor.pipeline import WorkingSet, check_anchors
from monitor.projections.execution import Execution
from monitor.projections.fold import Release
from monitor.store.base import Store, Writer
from monitor.store.memory import MemoryStore
from tests.support.replay import contents, quiet_pipeline
from tests.support.service import eventually

T = TypeVar("T")

TEAM_OF = team_rule(exclusive=True, trust_body=False)


class RecordingOutlet:
    """Keeps what is released, and what the store holds at that moment."""

    def __init__(self) -> None:
        self.releases: list[Release] = []
        self.positions: list[Position] = []
        self.cuts: list[tuple[int, int, int]] = []

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        self.releases += releases
        self.positions.append(position)

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        self.cuts.append((partition, expected, first))


async def opened(journal: MemoryJournal) -> MemoryStore:
    """A store that is tied to the journal."""
    store = MemoryStore()
    bounds = await journal.bounds()
    await store.write(lambda writer: writer.bind(journal.incarnation, [held.start for held in bounds.values()]))
    return store


async def filled(entries: Sequence[Entry], partitions: int = 1) -> MemoryJournal:
    """A journal with these entries."""
    journal = MemoryJournal(partitions, clock=SystemClock())
    await journal.append(entries)
    return journal


def pipeline(journal: MemoryJournal, store: Store, outlet: RecordingOutlet, **options: Any) -> Any:
    """A pipeline whose releases are kept."""
    made = quiet_pipeline(journal, store, TEAM_OF, **options)
    made._hub = outlet
    return made


ENTRIES = list(traffic(3, 60, mix=VARIED, active=10, window=20, duplicates=0.1))


async def test_batches_of_any_size_give_the_same_state() -> None:
    """How the journal is cut into batches leaves no trace."""
    journal = await filled(ENTRIES, partitions=3)
    states = []
    for max_batch in (1, 7, 5000):
        store = await opened(journal)
        await pipeline(journal, store, RecordingOutlet(), max_batch=max_batch).catch_up()
        states.append(await contents(store))
    assert states[0] == states[1] == states[2]
    assert len(states[0]["executions"]) == 60


async def test_each_event_is_released_once_after_its_commit() -> None:
    """What streams hear is in the store, in order of the journal, and repeats are heard of once."""
    journal = await filled(ENTRIES)
    store, outlet = await opened(journal), RecordingOutlet()
    await pipeline(journal, store, outlet, max_batch=50).catch_up()
    told = [(release.event.execution_id, release.event.id) for release in outlet.releases]
    assert len(told) == len(set(told))
    assert outlet.positions[-1] == await store.read(lambda reader: reader.position())
    assert outlet.positions[-1].offsets == (len(ENTRIES),)


async def test_poison_is_quarantined_and_its_neighbours_are_folded() -> None:
    """First, in the middle and last in a batch: bytes and reason are kept, nothing else is harmed."""
    good = ENTRIES[:20]
    bad = [Entry(b"k", raw) for raw in (b"", b"\0\xff", b'{"type":"stream.hello","executionId":"x"}')]
    journal = await filled([bad[0], *good[:10], bad[1], *good[10:], bad[2]])
    store = await opened(journal)
    await pipeline(journal, store, RecordingOutlet()).catch_up()
    rows = await store.read(lambda reader: reader.quarantine(10))
    assert sorted((row.offset, row.value) for row in rows) == [(0, b""), (11, bad[1].value), (22, bad[2].value)]
    clean = await opened(lone := await filled(good))
    await pipeline(lone, clean, RecordingOutlet()).catch_up()
    assert (await contents(store))["executions"].keys() == (await contents(clean))["executions"].keys()


async def test_two_pipelines_on_one_store_change_nothing_twice() -> None:
    """Both fold the same partitions in turns; the offset row lets one through, the other reads on from there."""
    journal = await filled(ENTRIES, partitions=2)
    store = await opened(journal)
    outlets = [RecordingOutlet(), RecordingOutlet()]
    rivals = [pipeline(journal, store, outlet, max_batch=40) for outlet in outlets]
    consumers = [await journal.consumer(rival._find_offsets) for rival in rivals]
    turn = 0
    while (await store.read(lambda reader: reader.position())).offsets != tuple(
        held.end for held in (await journal.bounds()).values()
    ):
        await rivals[turn % 2].step(consumers[turn % 2])
        turn += 1
    clean = await opened(journal)
    await pipeline(journal, clean, RecordingOutlet()).catch_up()
    assert await contents(store) == await contents(clean)
    told = [(r.event.execution_id, r.event.id) for outlet in outlets for r in outlet.releases]
    assert len(told) == len(set(told))


class FailingStore:
    """A store whose disk is full now and then: of five transactions one fails early and one late, undone."""

    def __init__(self, store: MemoryStore) -> None:
        self.read, self.close = store.read, store.close
        self._store = store
        self._writes = 0

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False) -> T:
        self._writes += 1
        if self._writes % 5 == 0:
            raise StoreUnavailable("disk full")

        def fail_late(writer: Writer) -> T:
            work(writer)
            raise StoreUnavailable("disk full")

        return await self._store.write(fail_late if self._writes % 5 == 2 else work, durable=durable)


async def test_batch_that_could_not_be_stored_is_folded_again() -> None:
    """A store that fails for a while loses nothing and doubles nothing: the batch is read once more."""
    journal = await filled(ENTRIES, partitions=2)
    store, outlet = await opened(journal), RecordingOutlet()
    folding = pipeline(journal, FailingStore(store), outlet, max_batch=100)
    running = asyncio.create_task(folding.run())
    ends = tuple(held.end for held in (await journal.bounds()).values())

    async def is_folded() -> bool:
        return (await store.read(lambda reader: reader.position())).offsets == ends

    await eventually(is_folded)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    clean = await opened(journal)
    await pipeline(journal, clean, RecordingOutlet()).catch_up()
    assert await contents(store) == await contents(clean)
    told = [(release.event.execution_id, release.event.id) for release in outlet.releases]
    assert len(told) == len(set(told))


async def test_records_that_are_gone_are_reported_and_passed() -> None:
    """Retention was faster than the pipeline: quarantine and streams name the range, what is left is folded."""
    journal = await filled(ENTRIES)
    store, outlet = await opened(journal), RecordingOutlet()
    await journal.trim(0, 30)
    await pipeline(journal, store, outlet).catch_up()
    assert outlet.cuts == [(0, 0, 30)]
    rows = await store.read(lambda reader: reader.quarantine(10))
    assert [(row.reason, row.offset) for row in rows] == [("retention_cut", 0)]
    assert (await store.read(lambda reader: reader.position())).offsets == (len(ENTRIES),)


async def test_store_of_another_journal_is_refused() -> None:
    """A journal that is shorter, or holds another record before the offset, is not the one that was folded."""
    journal = await filled(ENTRIES)
    store = await opened(journal)
    await pipeline(journal, store, RecordingOutlet()).catch_up()
    await check_anchors(journal, store)
    with pytest.raises(JournalMismatch, match="ends at 10"):
        await check_anchors(await filled(ENTRIES[:10]), store)
    with pytest.raises(JournalMismatch, match="is not the one"):
        await check_anchors(await filled([*ENTRIES[:-1], ENTRIES[0]]), store)


def test_working_set_forgets_the_least_recently_touched() -> None:
    """It is a cache: bounded, and what it drops is loaded again."""
    kept = WorkingSet(2)
    for name in ("a", "b", "a", "c"):
        kept.keep({("default", name): Execution("default", name)})
    assert [name for _, name in kept._kept] == ["a", "c"]
