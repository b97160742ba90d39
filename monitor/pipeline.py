"""The hot path on one screen: read, decode (and mask), fold, plan, commit, release.

One pipeline folds the partitions that its consumer is assigned. A batch is ONE store transaction that also moves the
offsets by compare-and-set, so replays, zombies and rebalances change nothing (`Fenced`: forget what was cached and read
on from where the store stands). Frames are released after the commit that contains them. `serving` runs it beside the
server.
"""

import asyncio
import gc
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import structlog

from monitor.access.decoding import Decoding
from monitor.clock import Clock
from monitor.errors import Fenced, JournalUnavailable, RetentionCut, StoreUnavailable
from monitor.events.blanking import anchor_of
from monitor.events.model import Poison, Record
from monitor.events.position import Position
from monitor.journal.base import Bounds, Consumer, Journal, Turnover
from monitor.projections.bursts import WINDOW, BurstLimits, Halt, find_burst, in_words
from monitor.projections.execution import Execution
from monitor.projections.fold import Changes, ExecutionId, Release, fold
from monitor.projections.verdicts import arm
from monitor.store.base import Commit, Moved, Store, Writer
from monitor.telemetry.health import Concern
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.payload import Bodies
from monitor.webhooks.planner import Planner
from monitor.working_set import WorkingSet

MAX_BATCH: Final = 2000
"""Records of a batch under pressure: measured optimum 1000 to 5000; this end keeps the event loop's neighbours
awake.
"""

POLL_WAIT_S: Final = 1.0
"""How long an idle poll waits for a first record; it only bounds how late a stop is noticed."""

RETRY_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Backoff after the journal or the store did not answer; the last one repeats."""

_LAST_WRITE_S: Final = 5.0
"""How long a stop waits for the batch in hand; a store that takes longer refuses one of us later."""

_NONE: Final = Turnover(0, 0)
_STARTING: Final = Concern("starting", "no partition is read yet")


class Outlet(Protocol):
    """Where releases go: the hub, which must not wait for anybody."""

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Take what a commit contains; `position` is where the store stands after it."""
        ...

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Records `expected` to `first - 1` of `partition` are gone before anybody read them."""
        ...


class Unheard:
    """An outlet of those whom nobody listens to: followers tell what this process commits, here and elsewhere."""

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Nothing happens."""

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Nothing happens."""


class Batch(NamedTuple):
    """What one transaction did."""

    changes: Changes
    position: Position
    deliveries: int
    # How many records it took, and which partitions stand still before their next one.
    records: int
    halts: Mapping[int, Halt]


class Statistics(NamedTuple):
    """How a pipeline is."""

    # Since its last commit, or since it was made.
    commit_age_s: float
    # Partitions that it folds.
    assigned: int
    turnover: Turnover


class Pipeline:
    """Folds the journal into the store and releases what it committed."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        hub: Outlet,
        decoding: Decoding,
        bodies: Bodies,
        on_deliveries: Callable[[], None],
        clock: Clock,
        metrics: Metrics,
        bursts: BurstLimits = BurstLimits(),  # noqa: B008 - frozen
        max_batch: int = MAX_BATCH,
    ) -> None:
        """`on_deliveries` is called on the event loop after a commit that planned deliveries; a partition halts when
        more records than `bursts` allows hold no event.
        """
        self._journal, self._store, self._hub = journal, store, hub
        self._decoding, self._on_deliveries = decoding, on_deliveries
        self._clock, self._metrics, self._bursts, self._max_batch = clock, metrics, bursts, max_batch
        self._log = structlog.get_logger("pipeline")
        self._working = WorkingSet()
        # The consumer does not stand where the store does, and folded executions may be ahead of it.
        self._is_astray = False
        # Whether it is known which partitions are folded here, be they none: others may have them all.
        self._is_placed = False
        self._next: dict[int, int] = {}
        self._planned: dict[int, int] = {}
        # What was read to its end, as of the last poll that brought nothing: further than `_next` where the journal's
        # last offsets hold no record.
        self._reached: Mapping[int, int] = {}
        self._bodies = bodies
        self._planner = Planner((), bodies)
        self._planner_version = -1
        # What stands against sending work here; None while all is well.
        self.trouble: Concern | None = _STARTING
        # Partitions that stand still until somebody lets them go on, and why.
        self.halts: Mapping[int, Halt] = {}
        # Somebody may have let a partition go on.
        self._doubts_halts = False
        self._committed_s = clock.monotonic_s()
        self._consumer: Consumer | None = None

    async def run(self) -> None:
        """Fold until cancelled. A step that fails for a while is retried; what else a step raises ends the run."""
        ends: Mapping[int, Bounds] = {}
        self._consumer = consumer = await self._journal.consumer(self._find_offsets)
        failures = 0
        try:
            while True:
                try:
                    if not ends:
                        ends = await self._journal.bounds()
                        self.trouble = self._backlog(ends)
                    await self.step(consumer)
                except (JournalUnavailable, StoreUnavailable) as error:
                    self.trouble = Concern(error.code.lower(), error.message)
                    self._log.warning("cannot fold for the moment", code=error.code, reason=error.message)
                    await self._clock.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                    failures += 1
                else:
                    self.trouble = self._backlog(ends)
                    failures = 0
        finally:
            await consumer.close()

    async def catch_up(self, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Fold what the journal holds now, but for partitions that halt, then return.

        `on_progress` hears how many records each step took.

        For work on the files of a service that does not run, such as an import.
        """
        ends = await self._journal.bounds()
        consumer = await self._journal.tail(self._find_offsets)
        try:
            while any(self._up_to(at) < held.end for at, held in ends.items() if at not in self.halts):
                on_progress(await self.step(consumer))
        finally:
            await consumer.close()

    async def lag(self) -> Mapping[int, int]:
        """Records of each partition that are not folded yet. Raises Unavailable."""
        return await self.unfolded(await self._journal.bounds())

    async def unfolded(self, ends: Mapping[int, Bounds]) -> Mapping[int, int]:
        """Records of each partition that are not folded yet of those that were there at `ends`. Raises Unavailable."""
        rows = await self._store.read(lambda reader: reader.offsets())
        return {
            partition: max(0, ends[partition].end - max(row.next, self._reached.get(partition, 0)))
            for partition, row in rows.items()
        }

    def statistics(self) -> Statistics:
        """How it is now."""
        age_s, consumer = self._clock.monotonic_s() - self._committed_s, self._consumer
        return Statistics(age_s, len(consumer.assigned), consumer.turnover) if consumer else Statistics(age_s, 0, _NONE)

    async def step(self, consumer: Consumer) -> int:
        """Fold what is there, at most one batch; returns how many records it took."""
        try:
            if self._doubts_halts:
                self._doubts_halts = False
                self._is_astray |= await self._is_let_go_on()
            if self._is_astray:
                # First, for somebody may say so again meanwhile.
                self._is_astray = False
                await consumer.reload()
            return await self._advance(consumer)
        except Fenced:
            self._metrics.fenced.inc()
            self._is_astray = True
            return 0
        except BaseException:
            self._is_astray = True
            raise

    def reload(self) -> None:
        """Read on, with the next step, from where the store stands by then: somebody let a partition go on."""
        self._is_astray = True

    def doubt_halts(self) -> None:
        """See, with the next step, whether a partition that stands still may go on: somebody decided something."""
        self._doubts_halts = bool(self.halts)

    async def _is_let_go_on(self) -> bool:
        stored = await self._store.read(lambda reader: reader.halts())
        return any(at not in stored or not stored[at].stands for at in self.halts)

    async def _advance(self, consumer: Consumer) -> int:
        try:
            records = await consumer.poll(self._max_batch, POLL_WAIT_S)
        except RetentionCut as cut:
            await self._pass_cut(cut)
            return 0
        if not records:
            self._reached = consumer.reached
            return 0
        with self._metrics.seconds.time():
            batch = await _to_its_end(self._store.write(lambda writer: self._project(writer, records), shared=True))
        read = {record.partition for record in records}
        self._next.update({partition: batch.position.offsets[partition] for partition in read})
        self._hub.publish(batch.changes.releases, batch.position)
        if batch.deliveries:
            self._on_deliveries()
        self._count(batch)
        if batch.halts:
            self._tell_halts(batch.halts)
        return batch.records

    # --- inside the store's transaction ------------------------------------------------------------------------------

    def _project(self, writer: Writer, records: Sequence[Record]) -> Batch:
        executions, changes = self._fold(writer, records)
        halts = self._halts_in(writer, records, changes) if changes.poison else {}
        if halts:
            # Folded too far, and executions are changed in place.
            self._working.clear()
            records = [it for it in records if it.partition not in halts or it.offset < halts[it.partition].offset]
            executions, changes = self._fold(writer, records)
        now_us = self._clock.now_us()
        arm(changes, now_us)
        deliveries = self._plan(writer).plan(changes.releases, self._planned, now_us)
        writer.commit(Commit(changes, self._moves(records), deliveries, halts))
        self._working.keep(executions)
        return Batch(changes, writer.position(), len(deliveries), len(records), halts)

    def _fold(self, writer: Writer, records: Sequence[Record]) -> tuple[dict[ExecutionId, Execution], Changes]:
        events = self._decoding.events(records)
        executions = self._working.take(writer, events)
        return executions, fold(events, executions)

    def _halts_in(self, writer: Writer, records: Sequence[Record], changes: Changes) -> dict[int, Halt]:
        """Where partitions halt instead of going on over `records`."""
        poison: dict[int, dict[int, Poison]] = {}
        for bad in changes.poison:
            poison.setdefault(bad.record.partition, {})[bad.record.offset] = bad
        known, found = writer.halts(), {}
        for partition, of in poison.items():
            read = [record for record in records if record.partition == partition]
            undecided = writer.undecided_in(partition, max(0, read[0].offset - WINDOW))
            forgiven = (known[partition].until or 0) if partition in known else 0
            halt = find_burst(read, of, undecided, self._bursts, forgiven=forgiven, now_us=self._clock.now_us())
            if halt is not None:
                found[partition] = halt
        return found

    def _plan(self, writer: Writer) -> Planner:
        version = writer.endpoints_version()
        if version != self._planner_version:
            self._planner, self._planner_version = Planner(writer.endpoints(None), self._bodies), version
        return self._planner

    def _moves(self, records: Sequence[Record]) -> dict[int, Moved]:
        last = {record.partition: record for record in records}
        return {
            partition: Moved(self._next[partition], record.offset + 1, anchor_of(record))
            for partition, record in last.items()
        }

    # --- offsets -----------------------------------------------------------------------------------------------------

    async def _find_offsets(self, partitions: Collection[int]) -> Mapping[int, int]:
        """The store's offsets of partitions that were just assigned, but for those that stand still; what was cached of
        before is forgotten.
        """
        rows, halted = await self._store.read(lambda reader: (reader.offsets(), reader.halts()))
        self._working.clear()
        # Others have what is not named here, and may be far ahead.
        self._next = {partition: rows[partition].next for partition in partitions}
        self._planned = {partition: rows[partition].planned for partition in partitions}
        self._is_placed = True
        self.halts = {at: row.halt for at, row in halted.items() if row.stands and at in partitions}
        self._metrics.halted.set(len(self.halts))
        return {partition: self._next[partition] for partition in partitions if partition not in self.halts}

    def _tell_halts(self, halts: Mapping[int, Halt]) -> None:
        for partition, halt in halts.items():
            self._log.error("a partition is halted", partition=partition, why=in_words(partition, halt))
        self.halts = {**self.halts, **halts}
        self._metrics.halted.set(len(self.halts))
        self._is_astray = True

    async def _pass_cut(self, cut: RetentionCut) -> None:
        """Records are gone for good: say so in quarantine, log and streams, then go on with the first one left."""
        self._log.error(
            "records are gone from the journal", partition=cut.partition, first=cut.expected, left=cut.first
        )
        await self._store.write(lambda writer: writer.pass_cut(cut.partition, cut.expected, cut.first))
        self._metrics.lost.inc(cut.first - cut.expected)
        self._hub.announce_cut(cut.partition, cut.expected, cut.first)
        self._is_astray = True

    def _backlog(self, ends: Mapping[int, Bounds]) -> Concern | None:
        """What is still to be folded of the records that were there at the start."""
        if not self._is_placed:
            return _STARTING
        reading = self._next.keys() - self.halts.keys()
        records = sum(max(0, ends[partition].end - self._up_to(partition)) for partition in reading)
        return Concern("catching_up", f"{records} records to fold") if records else None

    def _up_to(self, partition: int) -> int:
        """Everything below is folded; -1 before anything is known."""
        return max(self._next.get(partition, -1), self._reached.get(partition, -1))

    def _count(self, batch: Batch) -> None:
        metrics, changes = self._metrics, batch.changes
        self._committed_s = self._clock.monotonic_s()
        metrics.batches.inc()
        metrics.batch_records.observe(batch.records)
        metrics.applied.inc(batch.records - changes.duplicates - len(changes.poison))
        metrics.duplicates.inc(changes.duplicates)
        metrics.quarantined.inc(len(changes.poison))


async def _to_its_end(writing: Coroutine[Any, Any, Batch]) -> Batch:
    """What was written. Cancelled, it waits for the transaction all the same, which goes on in its thread anyway: then
    whoever is given the partitions next begins behind it.
    """
    task = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_LAST_WRITE_S)
        if task.done() and not task.cancelled():
            task.exception()  # said to be known: there is nobody left whom it concerns
        raise


def relax_collector() -> None:
    """Let the garbage collector look less often; for a process that folds, called once when everything is made.

    A batch makes tens of thousands of objects that die with it, hardly any in a cycle, beside as many that stay for
    long. With its defaults the collector goes through them again and again, for up to a third of all CPU.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
