"""A world beyond one process: a projector folds, gateways follow, and everything between them is late, lost or gone.

The projector is the product's pipeline. What it released is what a hub of its own would have told, so whatever a
gateway's hub is told is held against that, release by release.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from monitor.errors import JournalUnavailable, StoreUnavailable
from monitor.events.model import Entry, Record
from monitor.events.position import Position
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.fanout.window import Window
from monitor.follower import Follower
from monitor.journal import MemoryJournal
from monitor.journal.base import Bounds, FindOffsets
from monitor.journal.embedded import EmbeddedConsumer, Growth
from monitor.pipeline import Pipeline
from monitor.projections.fold import Release
from monitor.store.base import Reader, Store
from monitor.store.hints import Hints
from monitor.telemetry.metrics import Metrics
from tests.support.chronicle import Chronicle, Row
from tests.support.decoding import usual
from tests.support.replay import quiet_pipeline

T = TypeVar("T")


class Cluster(Chronicle):
    """What is appended is folded when the projector gets to it; what that released is remembered as what happened."""

    async def begin(self) -> None:
        """Have the store and a projector."""
        # All that was appended.
        self.entries: list[Entry] = []
        # What the projector passed: (partition, expected, first).
        self.cuts: list[tuple[int, int, int]] = []
        # Partitions that stand still.
        self.halted: set[int] = set()
        await self.bound()
        self.projector: Pipeline = quiet_pipeline(self.journal, self.store, self._team_of)
        self.projector._hub = self
        self._consumer = await self.journal.consumer(self._find_offsets)

    async def fold(self, records: int) -> None:
        """Let the projector take so many records, or pass what is gone."""
        self.projector._max_batch = records
        before = self.end
        if await self._has_news():
            await self.projector.step(self._consumer)
        touched = {(it.event.team, it.event.execution_id) for it in self.between(before, self.end)}
        for team, id_ in touched:
            found = await self.store.read(lambda reader, team=team, id_=id_: reader.execution(team, id_))  # type: ignore[misc]
            self._now = {known: row for known, row in self._now.items() if known != id_}
            if found is not None:
                self._now[id_] = Row(found[0].version, found[0].status, found[0].workflow_id)
        self.states[self.end] = self._now

    async def _find_offsets(self, partitions: Collection[int]) -> Mapping[int, int]:
        found = await self.projector._find_offsets(partitions)
        return {at: offset for at, offset in found.items() if at not in self.halted}

    async def _has_news(self) -> bool:
        """A poll for nothing would wait."""
        bounds = await self.journal.bounds()
        moving = [at for at in bounds if at not in self.halted]
        return any(bounds[at].end > self.end.offsets[at] for at in moving)

    async def forget(self) -> None:
        """Let the janitor have the releases go whose records are gone."""
        held = await self.journal.bounds()
        for partition, (start, _) in held.items():
            await self.store.write(lambda writer, at=partition, start=start: writer.forget_releases(at, start, 1000))  # type: ignore[misc]

    async def _commit(self, key: str, value: bytes, team: str) -> list[Release]:
        self.entries.append(Entry(key.encode(), value))
        await self.journal.append(self.entries[-1:])
        return []

    # --- as the projector's own hub ----------------------------------------------------------------------------------

    def publish(self, releases: Sequence[Release] | Hub, position: Position | int | None = None) -> None:  # type: ignore[override]
        """Remember what was released."""
        assert not isinstance(releases, Hub)
        assert isinstance(position, Position)
        for partition, next_offset in enumerate(position.offsets):
            records = self._released[partition]
            records += [[] for _ in range(len(records), next_offset)]
        for release in releases:
            record = release.event.record
            self._released[record.partition][record.offset].append(release)
            self.releases[release.event.id] = release

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Remember that nothing was released of these records, and that nobody knows what they held."""
        self.cuts.append((partition, expected, first))
        self._released[partition] += [[] for _ in range(expected, first)]


class LateJournal:
    """The journal as one gateway sees it: bytes come late, partition by partition, and now and then nothing at all."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.growth, self.partitions = Growth(), journal.partitions
        # Up to where it has arrived.
        self.shown = [0] * journal.partitions
        self.is_down = False
        # Gateways read on by themselves only; a poll of theirs never waits.
        self._journal = journal

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        self._check()
        return await self._journal.read(partition, start, min(end, self.shown[partition]), max_records)

    async def bounds(self) -> dict[int, Bounds]:
        self._check()
        return await self._journal.bounds()

    def _check(self) -> None:
        if self.is_down:
            raise JournalUnavailable("The brokers are away.")


class OddStore:
    """The store as one gateway sees it: it may not answer, and hints may get lost."""

    def __init__(self, store: Store) -> None:
        self.write, self.wipe, self.close, self.hints = store.write, store.wipe, store.close, Hints()
        self.is_down = False
        self._store = store

    async def read(self, work: Callable[[Reader], T]) -> T:
        if self.is_down:
            raise StoreUnavailable("The database is away.")
        return await self._store.read(work)


class Auditor:
    """Stands between a follower and its hub, and complains of whatever a pipeline in its place would not have said."""

    def __init__(self, world: Cluster, hub: Hub) -> None:
        self.hub, self.complaints = hub, list[str]()
        self.cuts = self.told = 0
        self._world = world

    @property
    def position(self) -> Position:
        return self.hub.position

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        world, before = self._world, self.hub.position
        if not position.includes(before):
            self.complaints.append(f"back from {before.offsets} to {position.offsets}")
        if not world.end.includes(position):
            self.complaints.append(f"at {position.offsets}, ahead of the store at {world.end.offsets}")
        expected = list(world.between(before, position))
        for partition, first_gone, first_left in world.cuts:
            if position.offsets[partition] > max(first_gone, before.offsets[partition]) < first_left:
                self.complaints.append(f"not a word about {first_gone} to {first_left} of {partition}")
        told = sorted(releases, key=lambda it: it.event.record.partition)
        if told != expected:
            self.complaints.append(f"told {_ids(told)}, not {_ids(expected)}")
        self.told += len(releases)
        self.hub.publish(releases, position)

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        if self.position.offsets[partition] != expected:
            self.complaints.append(f"a cut at {expected}, not at {self.position.offsets[partition]}")
        if first > self._world.end.offsets[partition]:
            self.complaints.append(f"a cut up to {first}, ahead of the store")
        if self._world.trimmed[partition] <= expected:
            self.complaints.append(f"a cut of {expected} to {first}, of which nothing is gone")
        self.cuts += 1
        self.hub.announce_cut(partition, expected, first)


class Gateway:
    """A hub that is fed by a follower, which may end at any time and begin anew."""

    def __init__(self, world: Cluster, limits: Limits, chance: random.Random) -> None:
        self.world, self.limits, self.chance = world, limits, chance
        self.journal, self.store = LateJournal(world.journal), OddStore(world.store)
        self.hub = world.hub(limits)
        self.auditor = Auditor(world, self.hub)
        self.most_held = 0
        # Of followers that have ended.
        self.complaints: list[str] = []

    async def follow(self) -> None:
        """A new follower of the hub, where that stands."""
        self.follower = Follower(
            journal=self.world.journal,
            store=self.store,
            hub=self.auditor,
            decoding=usual(self.world._team_of),
            clock=self.world.clock,
            metrics=Metrics(),
            window=Window(max_records=self.chance.choice((3, 8, 40)), max_bytes=self.chance.choice((4000, 1 << 20))),
        )
        self.follower._journal = self.journal  # type: ignore[assignment]
        self._find: FindOffsets = self.follower._find_offsets
        self.consumer = EmbeddedConsumer(self.journal, self._find, self.world.clock)
        await self.consumer.reload()

    async def restart(self) -> None:
        """The process ends, and another one begins where the store stands; its backlog is filled from the journal."""
        self.complaints += self.auditor.complaints
        self.hub = self.world.hub(self.limits, start=self.world.end)
        await self.hub.refill()
        self.auditor = Auditor(self.world, self.hub)
        await self.follow()

    async def step(self) -> None:
        """Let the follower do what it can."""
        try:
            await self.follower.step(self.consumer)
        except (JournalUnavailable, StoreUnavailable):
            pass
        window = self.follower._window
        self.most_held = max(self.most_held, window._count)

    def show(self, partitions: Collection[int], most: int | None = None) -> None:
        """Let bytes arrive."""
        for partition in partitions:
            end = self.world.journal._end(partition)
            self.journal.shown[partition] = end if most is None else min(end, self.journal.shown[partition] + most)

    async def arrive(self) -> None:
        """All is well again, and it comes to where the store is."""
        self.journal.is_down = self.store.is_down = False
        self.show(range(self.journal.partitions))
        for _ in range(2000):
            if self.hub.position == self.world.end:
                return
            await self.step()
            await asyncio.sleep(0)
        self.complaints.append(f"stays at {self.hub.position.offsets}, not at {self.world.end.offsets}")


def _ids(releases: Sequence[Release]) -> list[str]:
    return [release.event.id for release in releases]
