"""A journal in memory: the reference of the port's promises, and the log of tests. It survives nothing."""

import secrets
from collections.abc import Collection, Sequence

from monitor.clock import Clock
from monitor.errors import JournalUnavailable, RetentionCut
from monitor.events.model import Entry, Place, Record
from monitor.events.position import INCARNATION_BYTES
from monitor.journal.base import Bounds, FindOffsets
from monitor.journal.embedded import EmbeddedConsumer, Growth
from monitor.journal.partitioner import partition_for


class MemoryJournal:
    """Implements the Journal port with one list per partition."""

    exclusive = True

    def __init__(self, partitions: int = 1, *, clock: Clock) -> None:
        self.incarnation = secrets.token_hex(INCARNATION_BYTES)
        self.partitions = partitions
        self.growth = Growth()
        self._clock = clock
        self._logs: list[list[Record]] = [[] for _ in range(partitions)]
        # Offset of the first record still there, by partition.
        self._starts = [0] * partitions
        self._closed = False

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        self._check_open()
        stored_us = self._clock.now_us()
        places = [self._append(entry, stored_us) for entry in entries]
        self.growth.announce()
        return places

    async def bounds(self) -> dict[int, Bounds]:
        self._check_open()
        return {
            partition: Bounds(self._starts[partition], self._end(partition)) for partition in range(self.partitions)
        }

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        self._check_open()
        first = self._starts[partition]
        if start < first:
            raise RetentionCut(partition, start, first)
        stop = max(start, min(end, start + max_records))
        return self._logs[partition][start - first : stop - first]

    async def pick(self, partition: int, offsets: Sequence[int]) -> Sequence[Record]:
        self._check_open()
        first, end = self._starts[partition], self._end(partition)
        return [self._logs[partition][offset - first] for offset in offsets if first <= offset < end]

    async def consumer(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
        consumer = EmbeddedConsumer(self, find_offsets, self._clock)
        await consumer.reload()
        return consumer

    async def tail(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
        return await self.consumer(find_offsets)

    async def trim(self, partition: int, before: int) -> None:
        self._check_open()
        gone = min(before, self._end(partition)) - self._starts[partition]
        if gone > 0:
            del self._logs[partition][:gone]
            self._starts[partition] += gone

    async def find(self, partition: int, start: int, end: int, keys: Collection[bytes]) -> Sequence[int]:
        first = self._starts[partition]
        found = self._logs[partition][max(0, start - first) : max(0, end - first)]
        return [record.offset for record in found if record.key in keys]

    async def blank(self, blanks: Sequence[Record]) -> None:
        for blank in blanks:
            if blank.offset >= (first := self._starts[blank.partition]):
                self._logs[blank.partition][blank.offset - first] = blank

    async def wipe(self) -> bool:
        return True

    async def close(self) -> None:
        self._closed = True

    def _append(self, entry: Entry, stored_us: int) -> Place:
        partition = partition_for(entry.key, self.partitions)
        place = Place(partition, self._end(partition))
        came_us = stored_us if entry.stored_us is None else entry.stored_us
        self._logs[partition].append(Record(*place, entry.key, entry.value, entry.headers, came_us))
        return place

    def _end(self, partition: int) -> int:
        return self._starts[partition] + len(self._logs[partition])

    def _check_open(self) -> None:
        if self._closed:
            raise JournalUnavailable("The journal is closed.")
