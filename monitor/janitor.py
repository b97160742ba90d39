"""The janitor: forgets what has served its time. Runs beside the server, once a minute, in small steps."""

from collections.abc import Mapping
from typing import Final

import structlog

from monitor.clock import Clock
from monitor.errors import Unavailable
from monitor.journal.base import Bounds, Journal
from monitor.store.base import Store, Writer

ROUND_S: Final = 60.0


class Janitor:
    """Trims the embedded journal to its retention time, never beyond what is folded; releases go with their records."""

    def __init__(self, *, journal: Journal, store: Store, clock: Clock, keep_s: int) -> None:
        """`keep_s`: how long applied records stay, for resuming streams and for rebuilds."""
        self._journal, self._store, self._clock, self._keep_s = journal, store, clock, keep_s
        self._log = structlog.get_logger("janitor")

    async def run(self) -> None:
        """Tidy up every minute until cancelled."""
        while True:
            try:
                await self.tidy()
            except Unavailable as error:
                self._log.warning("cannot tidy up for the moment", code=error.code, reason=error.message)
            await self._clock.sleep(ROUND_S)

    async def tidy(self) -> None:
        """One round: forget applied records that are older than the retention time, then releases without records."""
        if self._journal.exclusive:
            await self._trim()
        # By what the journal says and not by what was trimmed just now: a shared one trims itself, and a process that
        # died in between is made up for.
        held = await self._journal.bounds()
        await self._store.write(lambda writer: _forget_releases(writer, held))

    async def _trim(self) -> None:
        before_us = self._clock.now_us() - self._keep_s * 1_000_000
        offsets = await self._store.read(lambda reader: reader.offsets())
        for partition, held in (await self._journal.bounds()).items():
            applied = Bounds(held.start, min(held.end, offsets[partition].next))
            cut = await self._first_since(partition, applied, before_us)
            if cut > held.start:
                await self._journal.trim(partition, cut)
                self._log.info("forgot old records", partition=partition, before=cut)

    async def _first_since(self, partition: int, held: Bounds, since_us: int) -> int:
        """The first offset in `held` that was stored at `since_us` or later, by bisection; `held.end` when none was."""
        low, high = held
        while low < high:
            middle = (low + high) // 2
            records = await self._journal.read(partition, middle, high, 1)
            if records and records[0].stored_us < since_us:
                low = records[0].offset + 1
            else:
                high = middle
        return low


def _forget_releases(writer: Writer, held: Mapping[int, Bounds]) -> None:
    for partition, (start, _) in held.items():
        writer.forget_releases(partition, start)
