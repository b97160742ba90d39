"""Replay: what was released earlier, read again from the journal and the store's releases. It never folds.

The journal holds the events, the store what each commit said about them; joined by offset they are the releases that
the hub published then. Called for clients that come back later than the backlog reaches, and once at start to fill it.
"""

import asyncio
import heapq
from collections import deque
from typing import Final, NamedTuple

from monitor.access.decoding import Decoding
from monitor.errors import RetentionCut
from monitor.events.position import Position
from monitor.fanout.joining import by_offset, is_doubtful, joined
from monitor.journal.base import Bounds, Journal
from monitor.projections.fold import Release
from monitor.store.base import Store
from monitor.store.releases import Stretch

PAGE_RECORDS: Final = 100
"""At 500 bytes an event about one chunk; at 1 MiB, the largest, still bounded."""

CONCURRENT_PAGES: Final = 4
"""Reads at a time, whoever wants them: a thousand clients that come back do not stampede the store."""


class Page(NamedTuple):
    """Releases from one partition, and the position after them."""

    releases: list[Release]
    position: Position
    # Of all records read, also those of other teams.
    size_bytes: int


class Replay:
    """Reads releases again, page by page. One page at a time per caller, a few at a time in all."""

    def __init__(self, journal: Journal, store: Store, decoding: Decoding) -> None:
        self._journal, self._store, self._decoding = journal, store, decoding
        self._slots = asyncio.Semaphore(CONCURRENT_PAGES)

    async def page(self, position: Position, cut: Position, max_records: int, team: str | None = None) -> Page:
        """The next releases between `position` and `cut`, of one team or all, from the partition furthest behind.

        Raises RetentionCut when records are gone, and Unavailable when journal or store do not answer.
        """
        behind = [end - start for start, end in zip(position.offsets, cut.offsets, strict=True)]
        partition = behind.index(max(behind))
        start, end = position.offsets[partition], cut.offsets[partition]
        async with self._slots:
            records = await self._journal.read(partition, start, end, max_records)
            # Offsets may have holes: an empty answer means that nothing is left before the cut.
            next_offset = records[-1].offset + 1 if records else end
            stretch = Stretch(start, next_offset)
            batches = await self._store.read(lambda reader: reader.batches({partition: stretch}))
            if is_doubtful(stretch, batches):
                # Retention may have come between the two reads.
                first = (await self._journal.bounds())[partition].start
                if first > start:
                    raise RetentionCut(partition, start, first)
        stored = by_offset(release for batch in batches for release in batch.releases)
        return Page(
            joined(records, stored, self._decoding, team),
            position.advanced(partition, next_offset),
            sum(len(record.value or b"") for record in records),
        )

    async def earliest(self) -> Position:
        """Where the journal begins now."""
        bounds = await self._journal.bounds()
        return Position(self._journal.incarnation, tuple(bounds[p].start for p in range(self._journal.partitions)))

    async def latest(self) -> Position:
        """Where the journal ends now."""
        bounds = await self._journal.bounds()
        return Position(self._journal.incarnation, tuple(bounds[p].end for p in range(self._journal.partitions)))

    async def at_time(self, time_us: int) -> Position:
        """Before the first record of each partition that the journal took at `time_us` or later.

        Found by halving: the journal's times hardly ever go back, and where producers set them (Kafka's CreateTime)
        the answer is as exact as they are. A time before what is left is a position whose next record is gone, so
        that whoever begins there is told of the gap.
        """
        bounds = await self._journal.bounds()
        offsets = [await self._at_time(p, bounds[p], time_us) for p in range(self._journal.partitions)]
        return Position(self._journal.incarnation, tuple(offsets))

    async def _at_time(self, partition: int, bounds: Bounds, time_us: int) -> int:
        low, high = bounds
        gone = low
        while low < high:
            middle = (low + high) // 2
            try:
                records = await self._journal.read(partition, middle, high, 1)
            except RetentionCut as cut:  # trimmed meanwhile
                low = gone = cut.first
                continue
            if not records or records[0].stored_us >= time_us:
                high = middle
            else:
                low = records[0].offset + 1
        # Whatever is left was stored later: what is gone may have been too.
        return low - 1 if 0 < low == gone < bounds.end else low

    async def tail(self, cut: Position, max_records: int, max_bytes: int) -> tuple[Position, list[Release]]:
        """The last releases before `cut`, and where they begin.

        From at most `max_records` offsets of a partition, and with `max_bytes` of records in all: the oldest ones go.
        """
        earliest = await self.earliest()
        base = Position(
            cut.incarnation,
            # Retention may have gone beyond the cut; the base never does.
            tuple(
                min(end, max(start, end - max_records))
                for start, end in zip(earliest.offsets, cut.offsets, strict=True)
            ),
        )
        partitions: list[deque[Release]] = [deque() for _ in base.offsets]
        position, size_bytes = base, 0
        while not position.includes(cut):
            try:
                page = await self.page(position, cut, PAGE_RECORDS)
            except RetentionCut:  # trimmed meanwhile: what is left starts later
                return cut, []
            for release in page.releases:
                partitions[release.event.record.partition].append(release)
                size_bytes += _size_bytes(release)
            while size_bytes > max_bytes:
                oldest = min(filter(None, partitions), key=lambda releases: _stored_us(releases[0])).popleft()
                size_bytes -= _size_bytes(oldest)
                base = base.advanced(oldest.event.record.partition, oldest.event.record.offset + 1)
            position = page.position
        return base, list(heapq.merge(*partitions, key=_stored_us))


def _stored_us(release: Release) -> int:
    return release.event.record.stored_us


def _size_bytes(release: Release) -> int:
    return len(release.event.record.value or b"")
