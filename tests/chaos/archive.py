"""Every record of a journal, kept where nothing can cut it: what the final count goes by."""

import random
from collections.abc import Sequence
from typing import Final

from monitor.clock import SystemClock
from monitor.events.model import Entry, Record
from monitor.journal.base import Bounds, Journal
from monitor.journal.memory import MemoryJournal

_PAGE: Final = 2000


class Archive(MemoryJournal):
    """Reads like the journal, as if what it is not to hold had never had a record."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal.partitions, clock=SystemClock())
        self.incarnation, self.exclusive = journal.incarnation, journal.exclusive
        self._held: dict[int, dict[int, Record]] = {partition: {} for partition in range(journal.partitions)}
        self._gone = dict.fromkeys(self._held, range(0))

    async def add(self, journal: Journal) -> None:
        """Copy what the journal holds now."""
        for partition, (start, end) in (await journal.bounds()).items():
            at = start
            while at < end and (records := await journal.read(partition, at, end, _PAGE)):
                fresh = {record.offset: record for record in records if record.offset not in self._gone[partition]}
                self._held[partition] |= fresh
                at = records[-1].offset + 1

    def forget(self, partition: int, start: int, end: int) -> list[Record]:
        """Nobody can have read these from the journal: hold them no more, and never again."""
        self._gone[partition] = range(start, end)
        held = self._held[partition]
        return [held.pop(offset) for offset in range(start, end) if offset in held]

    @property
    def records(self) -> Sequence[Record]:
        """All of them."""
        return [record for held in self._held.values() for record in held.values()]

    async def shuffled(self) -> MemoryJournal:
        """A journal that has the same records, each execution's in any order."""
        other = MemoryJournal(self.partitions, clock=SystemClock())
        other.exclusive = self.exclusive
        records = list(self.records)
        random.Random(0).shuffle(records)
        await other.append([Entry(it.key or b"", it.value or b"", it.headers) for it in records])
        return other

    async def bounds(self) -> dict[int, Bounds]:
        return {partition: Bounds(0, max(held, default=-1) + 1) for partition, held in self._held.items()}

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        held = self._held[partition]
        return [held[offset] for offset in sorted(held) if start <= offset < end][:max_records]
