"""The consumer of the journals that live in this process: every partition is assigned at once and stays assigned.

It reads through the journal's own `read`, so that what is promised there (order, reported cuts) holds here too.
Used by the memory and SQLite drivers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from monitor.clock import Clock
from monitor.errors import RetentionCut
from monitor.events.model import Record
from monitor.journal.base import FindOffsets, Turnover

_NO_END: Final = 1 << 62


class Growth:
    """Tells whoever waits that the log has grown.

    Take `next` before looking into the log and wait on it afterwards: what is appended in between is not missed.
    """

    def __init__(self) -> None:
        self.next = asyncio.Event()

    def announce(self) -> None:
        """Wake everybody who waits now."""
        grown, self.next = self.next, asyncio.Event()
        grown.set()


class EmbeddedLog(Protocol):
    """What the consumer needs of its journal."""

    growth: Growth

    @property
    def partitions(self) -> int: ...

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]: ...


class EmbeddedConsumer:
    """Implements the Consumer port on top of an embedded log; `reload` it before the first poll."""

    def __init__(self, log: EmbeddedLog, find_offsets: FindOffsets, clock: Clock) -> None:
        self._log = log
        self._find_offsets = find_offsets
        self._clock = clock
        self._expected: dict[int, int] = {}
        # Partitions whose expected record is gone: reported once, then waiting for `reload`.
        self._cut: set[int] = set()
        # The partition to begin with, so that a busy one cannot fill every answer.
        self._turn = 0
        self._closed = False

    async def poll(self, max_records: int, wait_s: float) -> list[Record]:
        deadline_s = self._clock.monotonic_s() + wait_s
        while True:
            grown = self._log.growth.next
            records = await self._collect(max_records)
            remaining_s = deadline_s - self._clock.monotonic_s()
            if records or remaining_s <= 0 or self._closed:
                return records
            await _wait(grown, remaining_s)

    async def reload(self) -> None:
        offsets = await self._find_offsets(self.assigned)
        self._expected = dict(offsets)
        self._cut.clear()

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset() if self._closed else frozenset(range(self._log.partitions))

    @property
    def reached(self) -> Mapping[int, int]:
        return dict(self._expected)

    @property
    def turnover(self) -> Turnover:
        return Turnover(0, 0)

    async def close(self) -> None:
        self._closed = True
        self._log.growth.announce()

    async def _collect(self, max_records: int) -> list[Record]:
        """What is there now, from as many partitions as fit; the expected offsets move only when it is handed out."""
        records: list[Record] = []
        moved: dict[int, int] = {}
        for partition in self._in_turn():
            if len(records) < max_records:
                found = await self._read_on(partition, max_records - len(records))
                records += found
                moved |= {partition: found[-1].offset + 1} if found else {}
        # No await from here to the caller: a cancelled poll has moved nothing.
        self._expected |= moved
        self._turn += 1
        return records

    def _in_turn(self) -> list[int]:
        partitions = sorted(self._expected.keys() & self.assigned - self._cut)
        first = self._turn % len(partitions) if partitions else 0
        return partitions[first:] + partitions[:first]

    async def _read_on(self, partition: int, max_records: int) -> Sequence[Record]:
        try:
            return await self._log.read(partition, self._expected[partition], _NO_END, max_records)
        except RetentionCut:
            self._cut.add(partition)
            raise


async def _wait(event: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        pass
