"""The pipeline: journal in, state and releases out, exactly once in effect."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from monitor.access.teams import team_rule
from monitor.anchors import check_anchors
from monitor.clock import SystemClock
from monitor.errors import Fenced, JournalMismatch, StoreUnavailable
from monitor.events.model import Entry, Record
from monitor.events.position import Position
from monitor.journal import MemoryJournal
from monitor.journal.base import FindOffsets
from monitor.journal.embedded import EmbeddedConsumer
from monitor.pipeline import Pipeline
from monitor.projections.execution import Execution
from monitor.projections.fold import Release
from monitor.store.base import Reader, Store, Writer
from monitor.store.memory import MemoryStore
from monitor.working_set import WorkingSet
from tests.support.clocks import settle
from tests.support.made_up import VARIED
from tests.support.quarantine import quarantined
from tests.support.replay import contents, deliveries, quiet_pipeline
from tests.support.server import until
from tests.support.service import eventually
from tests.support.traffic import traffic
from tests.support.webhooks import make_endpoint

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


@asynccontextmanager
async def running(folding: Pipeline) -> AsyncIterator[None]:
    """The pipeline at work while the block runs."""
    task = asyncio.create_task(folding.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def folded(journal: MemoryJournal, store: Store) -> None:
    """Returns once the store has everything that the journal holds."""
    ends = tuple(held.end for held in (await journal.bounds()).values())

    async def is_folded() -> bool:
        return (await store.read(lambda reader: reader.position())).offsets == ends

    await eventually(is_folded)


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
    found = await store.read(quarantined)
    assert [(it.row.offset, it.value) for it in found] == [(0, b""), (11, bad[1].value), (22, bad[2].value)]
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


async def test_case_03_late_commit_of_an_old_owner_owes_nothing_twice() -> None:
    """What lost its partitions and writes nevertheless is undone as a whole, with the deliveries that it planned."""
    journal = await filled(ENTRIES)
    store, clean = await opened(journal), await opened(journal)
    for each in (store, clean):
        await each.write(lambda writer: writer.add_endpoint(make_endpoint()))
    late, owner = (pipeline(journal, store, RecordingOutlet(), max_batch=50) for _ in range(2))
    consumers = [await journal.consumer(rival._find_offsets) for rival in (late, owner)]
    await owner.step(consumers[1])
    before = await deliveries(store)
    assert before
    await late.step(consumers[0])
    assert late._metrics.fenced._value.get() == 1
    assert await deliveries(store) == before
    await late.catch_up()
    await pipeline(journal, clean, RecordingOutlet()).catch_up()
    assert await deliveries(store) == await deliveries(clean)


class FailingStore:
    """A store whose transactions and reads fail in this order, None standing for one that ends well; then all do."""

    def __init__(
        self, store: MemoryStore, writes: Iterable[Exception | None], reads: Iterable[Exception | None] = ()
    ) -> None:
        self.close, self.hints, self.wipe = store.close, store.hints, store.wipe
        self._store = store
        self._writes, self._reads = iter(writes), iter(reads)

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:
        """Fails at its end: everything was done, and is undone."""
        failure = next(self._writes, None)

        def work_and_fail(writer: Writer) -> T:
            done = work(writer)
            if failure is not None:
                raise failure
            return done

        return await self._store.write(work_and_fail, durable=durable, shared=shared)

    async def read(self, work: Callable[[Reader], T]) -> T:
        if (failure := next(self._reads, None)) is not None:
            raise failure
        return await self._store.read(work)


FULL = StoreUnavailable("disk full")


@pytest.mark.parametrize(
    ("writes", "reads"),
    [
        pytest.param([None, FULL, None, None, FULL, FULL], [], id="full disk"),
        pytest.param([None, Fenced(), None, Fenced()], [], id="rows that somebody else changed"),
        pytest.param([None, Fenced()], [None, FULL], id="and no answer where to go on"),
    ],
)
async def test_batch_that_could_not_be_stored_is_folded_again(
    writes: list[Exception | None], reads: list[Exception | None]
) -> None:
    """A store that fails for a while loses nothing and doubles nothing: the batch is read once more."""
    journal = await filled(ENTRIES, partitions=2)
    store, outlet = await opened(journal), RecordingOutlet()
    async with running(pipeline(journal, FailingStore(store, writes, reads), outlet, max_batch=100)):
        await folded(journal, store)
    clean = await opened(journal)
    await pipeline(journal, clean, RecordingOutlet()).catch_up()
    assert await contents(store) == await contents(clean)
    told = [(release.event.execution_id, release.event.id) for release in outlet.releases]
    assert len(told) == len(set(told))


async def test_cut_that_could_not_be_stored_is_passed_later() -> None:
    """It is reported again until quarantine has it; the partition does not stand still for ever."""
    journal = await filled(ENTRIES)
    store, outlet = await opened(journal), RecordingOutlet()
    await journal.trim(0, 30)
    async with running(pipeline(journal, FailingStore(store, [FULL, Fenced()]), outlet)):
        await folded(journal, store)
    assert outlet.cuts == [(0, 0, 30)]
    rows = await store.read(lambda reader: reader.quarantine(10))
    assert [(row.reason, row.offset) for row in rows] == [("retention_cut", 0)]


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


async def test_trouble_stands_until_a_step_succeeds() -> None:
    """Whoever asks between two attempts must not be told that all is well."""
    journal = await filled(ENTRIES[:5])
    store = await opened(journal)
    seen: list[str | None] = []

    class WatchingStore(FailingStore):
        async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:
            seen.append(folding.trouble and folding.trouble.code)
            return await super().write(work, durable=durable, shared=shared)

    folding = pipeline(journal, WatchingStore(store, [FULL, FULL]), RecordingOutlet())
    assert folding.trouble.code == "starting"
    async with running(folding):
        await folded(journal, store)
        await until(lambda: folding.trouble is None)
    assert seen == ["catching_up", "store_unavailable", "store_unavailable"]


class UnassignedConsumer:
    """A member of a group that has not been given anything yet."""

    reached: Mapping[int, int] = {}

    async def poll(self, *_: object) -> list[Record]:
        """Nothing, for now."""
        await asyncio.sleep(0)
        return []

    async def close(self) -> None:
        """Nothing is held."""


class UnassignedJournal(MemoryJournal):
    """A journal whose group takes its time."""

    async def consumer(self, _find_offsets: object) -> Any:
        return UnassignedConsumer()


async def test_pipeline_without_a_partition_is_not_ready() -> None:
    """An empty answer says nothing about records of partitions that nobody reads."""
    journal = UnassignedJournal(clock=SystemClock())
    folding = pipeline(journal, await opened(journal), RecordingOutlet())
    async with running(folding):
        await settle()
        assert folding.trouble.code == "starting"


@pytest.mark.parametrize("left", [{0}, set()], ids=["some", "all"])
async def test_partitions_that_others_took_are_no_backlog(left: set[int]) -> None:
    """What a group gives to somebody else need not be caught up here; a process that is given nothing is ready."""
    journal = await filled(ENTRIES, partitions=2)

    class TakenAway(EmbeddedConsumer):
        """Loses partitions before it has read one."""

        @property
        def assigned(self) -> frozenset[int]:
            return frozenset(left)

    class SharedJournal(MemoryJournal):
        """The same records, given by a group."""

        partitions, append, bounds = journal.partitions, journal.append, journal.bounds

        async def consumer(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
            await find_offsets({0, 1})
            consumer = TakenAway(journal, find_offsets, SystemClock())
            await consumer.reload()
            return consumer

    folding = pipeline(SharedJournal(2, clock=SystemClock()), await opened(journal), RecordingOutlet())
    async with running(folding):
        await until(lambda: folding.trouble is None)


async def test_stop_waits_for_the_batch_in_hand() -> None:
    """The partitions are given away when the store has what was read of them."""
    journal = await filled(ENTRIES[:5])
    store = await opened(journal)
    begun, may_end = asyncio.Event(), asyncio.Event()
    course: list[str] = []

    class SlowStore(FailingStore):
        async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:
            begun.set()
            await may_end.wait()
            written = await super().write(work, durable=durable, shared=shared)
            course.append("written")
            return written

    class LeavingConsumer(EmbeddedConsumer):
        async def close(self) -> None:
            course.append("left")
            await super().close()

    class WatchedJournal(MemoryJournal):
        partitions, append, bounds = journal.partitions, journal.append, journal.bounds

        async def consumer(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
            consumer = LeavingConsumer(journal, find_offsets, SystemClock())
            await consumer.reload()
            return consumer

    folding = pipeline(WatchedJournal(clock=SystemClock()), SlowStore(store, []), RecordingOutlet())
    working = asyncio.create_task(folding.run())
    await begun.wait()
    working.cancel()
    await settle()
    assert course == []
    may_end.set()
    await asyncio.wait([working])
    assert course == ["written", "left"]
    assert working.cancelled()


def test_working_set_forgets_the_least_recently_touched() -> None:
    """It is a cache: bounded, and what it drops is loaded again."""
    kept = WorkingSet(2)
    for name in ("a", "b", "a", "c"):
        kept.keep({("default", name): Execution("default", name)})
    assert [name for _, name in kept._kept] == ["a", "c"]
