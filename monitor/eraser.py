"""The eraser: takes what deleted executions told out of the files, some seconds after they were deleted.

Of each a blank stays in the journal (`events/blanking`), so that no offset, duplicate or anchor changes; what the store
deleted is wiped from its file too. What is still to be done stands in the store, in the transaction that deletes: a
process that was killed goes on at its next start. A shared journal is nobody's to change: there the topic's retention
erases. Runs beside the server.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from monitor.access.decoding import Decoding
from monitor.clock import Clock
from monitor.errors import Unavailable
from monitor.events.blanking import blank_of
from monitor.events.model import Event, Record
from monitor.journal.base import Journal
from monitor.store.base import Store, Writer
from monitor.store.expiry import Erasure

ROUND_S: Final = 2.0

PORTION: Final = 1_000
"""Executions that are looked for at a time: each time the journal is looked through from the first one's beginning."""

_LOOKED_AT: Final = 5_000
"""Records that are looked through at a time: some milliseconds of a reader."""

_PICKED: Final = 20
"""Records that are blanked at a time: the release of a batch is written anew for each, in a millisecond or two."""

_BLANKED_BYTES: Final = 1 << 20
"""What one transaction writes over: whoever appends waits some milliseconds for it."""

REST_S: Final = 0.005
"""Between two portions: about as long as one takes, so that half of the time is everybody else's."""


class Eraser:
    """Blanks the records of deleted executions. Two of them are harmless: a blank is not blanked again."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        wipe_store: Callable[[], Awaitable[bool]],
        decoding: Decoding,
        clock: Clock,
    ) -> None:
        """`wipe_store` has no file hold what the store deleted, and is asked again when it says False."""
        self._journal, self._store, self._wipe_store = journal, store, wipe_store
        self._decoding, self._clock = decoding, clock
        self._log = structlog.get_logger("eraser")

    async def run(self) -> None:
        """Look every two seconds until cancelled."""
        while True:
            try:
                await self.tidy()
            except Unavailable as error:
                self._log.warning("cannot erase for the moment", code=error.code, reason=error.message)
            await self._clock.sleep(ROUND_S)

    async def tidy(self) -> None:
        """One round: erase what is to be erased, as far as no reader stands in the way."""
        while erasures := await self._store.read(lambda reader: reader.erasures(PORTION)):
            by_partition: dict[int, list[Erasure]] = {}
            for erasure in erasures:
                by_partition.setdefault(erasure.partition, []).append(erasure)
            blanked = sum([await self._blank(partition, some) for partition, some in by_partition.items()])
            if not (await self._journal.wipe() and await self._wipe_store()):
                break
            await self._store.write(partial(_note_erased, erasures))
            self._log.info("erased deleted executions", executions=len(erasures), records=blanked)

    async def _blank(self, partition: int, erasures: Sequence[Erasure]) -> int:
        """Blank the records of these, slice by slice; returns how many."""
        wanted = {(it.team, it.id): it for it in erasures}
        keys = {it.id.encode() for it in erasures}
        start, end = min(it.first for it in erasures), max(it.last for it in erasures) + 1
        start = max(start, (await self._journal.bounds())[partition].start)
        blanked = 0
        for at in range(start, end, _LOOKED_AT):
            offsets = await self._journal.find(partition, at, min(at + _LOOKED_AT, end), keys)
            while offsets:
                some = offsets[:_PICKED]
                records = await self._journal.pick(partition, some)
                blanks = self._blanks(records, wanted)
                # First, for a record that is blanked is not looked at again.
                await self._store.write(partial(_blank_releases, partition, [blank.offset for _, blank in blanks]))
                for portion in _slices(blanks):
                    await self._journal.blank(portion)
                    blanked += len(portion)
                    await self._clock.sleep(REST_S)
                # None of them is there where retention was faster: the others may be.
                last = records[-1].offset if records else some[-1]
                offsets = [offset for offset in offsets if offset > last]
            await self._clock.sleep(REST_S)
        return blanked

    def _blanks(self, records: Sequence[Record], wanted: Mapping[tuple[str, str], Erasure]) -> list[tuple[int, Record]]:
        """What takes the place of those of `records` that are to go, each with the number of bytes that go."""
        events = self._decoding.revealed([record for record in records if record.original is None])
        return [
            (len(event.record.value or b""), blank_of(event))
            for event in events
            if isinstance(event, Event) and (event.team, event.execution_id) in wanted
        ]


def _blank_releases(partition: int, offsets: Sequence[int], writer: Writer) -> None:
    writer.blank_releases(partition, offsets)


def _note_erased(erasures: Sequence[Erasure], writer: Writer) -> None:
    writer.erased(erasures)


def _slices(blanks: Sequence[tuple[int, Record]]) -> Iterator[list[Record]]:
    some: list[Record] = []
    size_bytes = 0
    for bytes_gone, blank in blanks:
        some.append(blank)
        size_bytes += bytes_gone
        if size_bytes >= _BLANKED_BYTES:
            yield some
            some, size_bytes = [], 0
    if some:
        yield some
