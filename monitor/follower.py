"""The gateways' feed: what others folded, read from the store's releases and the journal's bytes, handed to the hub.

A follower folds nothing and writes nothing. It reads the journal's tail beside those who fold it and tells a record as
soon as both are here, the bytes and what its commit said: so the hub is never ahead of the store, nothing is skipped
and nothing told twice, however late either of them is. It looks when the store hints at a commit, and by itself, for
hints may be lost. Where it stands is the hub's position and nothing else. `serving` runs it beside the server.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from monitor.access.decoding import Decoding
from monitor.clock import Clock, rest
from monitor.errors import IncarnationChanged, JournalUnavailable, RetentionCut, StoreUnavailable
from monitor.events.position import Position
from monitor.fanout.joining import by_offset, is_doubtful, joined
from monitor.fanout.window import Window
from monitor.journal.base import Bounds, Consumer, Journal
from monitor.projections.fold import Release
from monitor.store.base import Reader, Store
from monitor.store.releases import ReleasedBatch, Stretch
from monitor.telemetry.health import Concern
from monitor.telemetry.metrics import Metrics

LOOK_S: Final = 0.5
"""Between two looks without a hint: one small question to the store and one to the journal's client."""

BYTES_WAIT_S: Final = 0.1
"""How long a look waits for bytes of what is committed; meanwhile nobody hears a hint about other partitions."""

PAUSE_S: Final = (0.01, 0.05)
"""Between two steps, at least and at most, as long as one takes: under load each tells of several commits."""

TOLD_AT_ONCE: Final = 200
"""Releases, about 3 ms of work; then others have a turn."""

RETRY_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Backoff after the journal or the store did not answer; the last one repeats."""

_STARTING: Final = Concern("starting", "nothing is known of the store yet")


class Outlet(Protocol):
    """Where releases go: the hub, which must not wait for anybody."""

    @property
    def position(self) -> Position:
        """Everything up to here was told."""
        ...

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Take what was released up to `position`."""
        ...

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Records `expected` to `first - 1` of `partition` are gone before they could be told."""
        ...


class Look(NamedTuple):
    """What the store says at one moment."""

    # How far it is folded.
    position: Position
    # By partition what can be told now: it is committed, and its bytes are here.
    stretches: Mapping[int, Stretch]
    # By partition what was released there.
    batches: Mapping[int, Sequence[ReleasedBatch]]

    def of(self, partition: int) -> Sequence[ReleasedBatch]:
        """The partition's batches, in order."""
        return self.batches.get(partition, ())


class Follower:
    """Tells the hub what others committed, each partition in order."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        hub: Outlet,
        decoding: Decoding,
        clock: Clock,
        metrics: Metrics,
        window: Window | None = None,
    ) -> None:
        """`window` bounds what is read ahead of the store; None = the usual bounds."""
        self._journal, self._store, self._hub, self._decoding = journal, store, hub, decoding
        self._clock, self._metrics, self._window = clock, metrics, window or Window()
        self._log = structlog.get_logger("follower")
        # The consumer does not stand where it should.
        self._is_astray = False
        # Where records are left of partitions whose next ones are gone, as the journal says.
        self._cuts: dict[int, int] = {}
        # Partitions that are not read until the store moves: what was read of them ahead took all the room.
        self._left_out: set[int] = set()
        # Whether something is committed whose bytes are not here.
        self._lacks_bytes = False
        # What was read to its end, as of the last poll that brought nothing; see `Consumer.reached`.
        self._reached: Mapping[int, int] = {}
        # Where the store stood at the first look, and at the latest.
        self._goal: Position | None = None
        self._latest: Position | None = None
        # Where the store stood at the oldest look that is not told to its end, and when that was.
        self._behind: tuple[Position, float] | None = None
        self._woken = asyncio.Event()
        store.hints.listen("batch", self._woken.set)
        # What stands against sending work here; None while all is well.
        self.trouble: Concern | None = _STARTING

    async def run(self) -> None:
        """Follow until cancelled. A step that fails for a while is retried; what else a step raises ends the run."""
        consumer = await self._journal.tail(self._find_offsets)
        failures = 0
        try:
            while True:
                self._woken.clear()
                began_s = self._clock.monotonic_s()
                try:
                    await self.step(consumer)
                except (JournalUnavailable, StoreUnavailable) as error:
                    self.trouble = Concern(error.code.lower(), error.message)
                    self._log.warning("cannot follow for the moment", code=error.code, reason=error.message)
                    await self._clock.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                    failures += 1
                    continue
                failures, self.trouble = 0, self._backlog()
                least_s, most_s = PAUSE_S
                await self._clock.sleep(min(max(least_s, self._clock.monotonic_s() - began_s), most_s))
                if not self._lacks_bytes and not self._is_astray:
                    await rest(self._woken, LOOK_S, self._clock)
        finally:
            await consumer.close()

    async def step(self, consumer: Consumer) -> None:
        """Read ahead, look, and tell what can be told. Raises Unavailable; the next step then goes on."""
        if self._is_astray:
            await consumer.reload()
            self._is_astray = False
        await self._read_ahead(consumer)
        look = await self._look()
        await self._tell(look, await self._forgotten(look))
        self._pass_cuts(look.position)
        self._note(look.position)

    async def lag(self) -> Mapping[int, int]:
        """Records of each partition that are not told here yet. Raises Unavailable."""
        return await self.untold(await self._journal.bounds())

    async def untold(self, ends: Mapping[int, Bounds]) -> Mapping[int, int]:
        """Records of each partition that are not told here yet of those that were there at `ends`."""
        return {
            partition: max(0, ends[partition].end - self._up_to(partition, told))
            for partition, told in enumerate(self._hub.position.offsets)
        }

    def observe(self) -> None:
        """Bring the metrics up to date: how far this process is behind the store."""
        told, now_s = self._hub.position, self._clock.monotonic_s()
        for partition, folded in enumerate((self._latest or told).offsets):
            behind = max(0, folded - told.offsets[partition])
            self._metrics.follower_lag.labels(partition=str(partition)).set(behind)
        self._metrics.follower_lag_seconds.set(now_s - self._behind[1] if self._behind else 0)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read_ahead(self, consumer: Consumer) -> None:
        if not self._window.room:
            return
        try:
            records = await consumer.poll(self._window.room, BYTES_WAIT_S if self._lacks_bytes else 0)
        except RetentionCut as cut:
            self._cuts[cut.partition] = cut.first
            return
        self._window.add(records)
        if not records:
            self._reached = consumer.reached

    async def _find_offsets(self, partitions: Collection[int]) -> Mapping[int, int]:
        """Where to read on: behind what is here. Asked again, nothing that is gone was noticed yet."""
        self._cuts.clear()
        self._reached = {}
        return {partition: self._here(partition) for partition in partitions if partition not in self._left_out}

    def _here(self, partition: int) -> int:
        """Bytes of all records below are here, or are not needed any more."""
        return max(self._window.end(partition), self._hub.position.offsets[partition])

    async def _look(self) -> Look:
        told = self._hub.position
        here = [self._here(partition) for partition in range(len(told.offsets))]
        look = await self._store.read(lambda reader: _look(reader, told, here))
        if not look.position.is_comparable(told):
            raise IncarnationChanged("the store belongs to another journal than this process has told of")
        return look

    async def _forgotten(self, look: Look) -> Mapping[int, int]:
        """By partition: nobody knows any more what was released below."""
        doubtful = [at for at, stretch in look.stretches.items() if is_doubtful(stretch, look.of(at))]
        if not doubtful:
            return {}
        # After the look, for what is gone now may have been gone then.
        bounds = await self._journal.bounds()
        lost = [at for at in doubtful if bounds[at].start > look.stretches[at].start]
        first = {at: [batch.first for batch in look.of(at)[:1]] for at in lost}
        return {at: min(bounds[at].start, look.stretches[at].end, *first[at]) for at in lost}

    # --- telling -----------------------------------------------------------------------------------------------------

    async def _tell(self, look: Look, forgotten: Mapping[int, int]) -> None:
        """Tell what can be told. Cancelled, what was not told is told by whoever follows next."""
        telling = _Telling(self._hub)
        for partition, stretch in look.stretches.items():
            if partition in forgotten:
                self._tell_cut(telling, partition, forgotten[partition])
            for batch in look.of(partition):
                if not batch.releases:
                    self._tell_cut(telling, partition, batch.next)
                else:
                    await self._tell_batch(telling, batch, stretch)
            self._window.take(partition, stretch.end)
            telling.pass_by(partition, stretch.end)
        telling.finish()

    async def _tell_batch(self, telling: "_Telling", batch: ReleasedBatch, stretch: Stretch) -> None:
        stored = by_offset(batch.releases)
        while records := self._window.take(batch.partition, min(batch.next, stretch.end), TOLD_AT_ONCE):
            releases = joined(records, stored, self._decoding)
            if telling.add(releases, batch.partition, records[-1].offset + 1):
                await asyncio.sleep(0)

    def _tell_cut(self, telling: "_Telling", partition: int, first: int) -> None:
        """Say to streams that records are gone which nobody can tell of, and go on with the first one left."""
        expected = telling.position.offsets[partition]
        if first > expected:
            self._log.error("records are gone before they were told", partition=partition, first=expected, left=first)
            telling.cut(partition, first)
            self._window.take(partition, first)

    def _pass_cuts(self, folded: Position) -> None:
        """Say what the journal said is gone, as far as the store is past it: all before it is told by then."""
        for partition, first in self._cuts.items():
            passed = min(first, folded.offsets[partition])
            self._tell_cut(_Telling(self._hub), partition, passed)
            self._is_astray |= passed == first

    # --- where it stands ---------------------------------------------------------------------------------------------

    def _note(self, folded: Position) -> None:
        """Note what is left to tell, and make room where there is none for what comes next."""
        told = self._hub.position
        self._latest, self._goal = folded, self._goal or folded
        if self._behind is not None and told.includes(self._behind[0]):
            self._behind = None
        if self._behind is None and not told.includes(folded):
            self._behind = folded, self._clock.monotonic_s()
        behind = {at for at, next_offset in enumerate(folded.offsets) if next_offset > told.offsets[at]}
        self._lacks_bytes = not behind <= self._cuts.keys()
        if behind & self._left_out:
            self._left_out -= behind
            self._is_astray = True
        elif self._lacks_bytes and not self._window.room:
            # All of it is ahead of the store, of partitions that may stand still for long: they hold up no other.
            self._left_out.add(self._window.drop_largest())
            self._is_astray = True

    def _up_to(self, partition: int, told: int) -> int:
        """Everything below is told, or is no record."""
        return told if self._window.holds(partition) else max(told, self._reached.get(partition, 0))

    def _backlog(self) -> Concern | None:
        """What is still to be told of what was committed at the start."""
        if self._goal is None:
            return _STARTING
        pairs = zip(self._goal.offsets, self._hub.position.offsets, strict=True)
        records = sum(max(0, goal - told) for goal, told in pairs)
        return Concern("catching_up", f"{records} records to tell") if records else None


class _Telling:
    """What is handed to the hub in one go, however many partitions it is from."""

    def __init__(self, hub: Outlet) -> None:
        self._hub = hub
        self._releases: list[Release] = []
        # Where the hub stands once it has them.
        self.position = hub.position

    def add(self, releases: Sequence[Release], partition: int, next_offset: int) -> bool:
        """Have these told, which are all of the partition up to `next_offset`. True when some were told at once."""
        self._releases += releases
        self.pass_by(partition, next_offset)
        if len(self._releases) < TOLD_AT_ONCE:
            return False
        self.finish()
        return True

    def pass_by(self, partition: int, next_offset: int) -> None:
        """Nothing else was released of the partition below `next_offset`."""
        self.position = self.position.advanced(partition, next_offset)

    def cut(self, partition: int, first: int) -> None:
        """Have it told that the partition's records up to `first` are gone."""
        self.finish()
        self._hub.announce_cut(partition, self.position.offsets[partition], first)
        self.pass_by(partition, first)

    def finish(self) -> None:
        """Tell what is not told yet."""
        if self._releases or self.position != self._hub.position:
            releases, self._releases = self._releases, []
            self._hub.publish(releases, self.position)


def _look(reader: Reader, told: Position, here: Sequence[int]) -> Look:
    folded = reader.position()
    ends = map(min, here, folded.offsets)
    stretches = {
        partition: Stretch(start, end)
        for partition, (start, end) in enumerate(zip(told.offsets, ends, strict=False))
        if end > start
    }
    batches: dict[int, list[ReleasedBatch]] = defaultdict(list)
    for batch in reader.batches(stretches) if stretches else ():
        batches[batch.partition].append(batch)
    return Look(folded, stretches, batches)
