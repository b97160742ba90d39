"""Flushing: what is pending becomes chunks, which go to the sockets of parked readers; all others are woken.

The hot path of fan-out: `_write` is the only code that runs once per subscriber and flush. `hub` paces it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from monitor.clock import Clock
from monitor.fanout.attachment import Attachment
from monitor.fanout.feed import Chunk, Feed, Group

SLICE: Final = 100
"""Sockets written or readers woken between two turns of the loop: at 10 to 40 us each, 1 to 4 ms."""


class Flushing:
    """Hands out what the feed has. One task calls `flush`."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        # How long the last flush worked, without the turns of others.
        self.worked_s = 0.0
        self._feed, self._clock = feed, clock
        # Handed out since the loop last had a turn.
        self._handed = 0
        self._turn_began_s = 0.0

    async def flush(self) -> None:
        """Do it once, with all that is pending now. The loop has a turn after every slice."""
        feed, self.worked_s = self._feed, 0.0
        self._turn_began_s = self._clock.monotonic_s()
        for group in tuple(feed.dirty):
            feed.flush(group)
        for group in tuple(feed.unpushed):
            await self._push(group)
        woken, feed.ready = [*feed.waiting, *feed.ready], []
        for attachment in woken:
            attachment.wake()
            self._handed += 1
            if self._handed >= SLICE:
                await self._yield()
        await self._yield()

    async def _push(self, group: Group) -> None:
        """Write what is new to the sockets of parked readers, one chunk after the other."""
        for at, chunk in self._unpushed(group):
            readers = tuple(group.parked)
            while readers:
                now, readers = readers[: SLICE - self._handed], readers[SLICE - self._handed :]
                self._write(group, now, at, chunk)
                self._handed += len(now)
                if self._handed >= SLICE:
                    await self._yield()
        self._feed.unpushed.discard(group)

    def _write(self, group: Group, readers: Sequence[Attachment], at: int, chunk: Chunk) -> None:
        """Hand a chunk to those of `readers` that wait for it: the one place that runs once per subscriber."""
        framed, position, size_bytes, after, written = chunk.framed, chunk.position, chunk.size_bytes, at + 1, 0
        framed_bytes, parked = len(framed), group.parked
        for attachment in readers:
            # Since the list was made it may have read on by itself, parked behind this chunk, or selected anew.
            if attachment.parked_at == at and attachment in parked:
                attachment.parked_at = after
                attachment.position = position
                attachment.sent_bytes += size_bytes
                # Fetched first: as a method call the interpreter would look it up in the class, each time.
                send = attachment.send
                try:
                    sent_bytes = send(framed)
                except OSError:
                    sent_bytes = 0
                if sent_bytes != framed_bytes:
                    attachment.hold(framed[sent_bytes:])
                written += 1
        self._feed.tally.delivered += written * chunk.events

    def _unpushed(self, group: Group) -> Iterator[tuple[int, Chunk]]:
        """Chunks that parked readers have not got, also those that come while this goes on."""
        while group.pushed < group.ring.next:
            if group.pushed < group.ring.first:
                # A burst beyond the ring: whoever is behind it goes on from the backlog.
                for attachment in tuple(group.parked):
                    if attachment.parked_at < group.ring.first:
                        attachment.wake()
                group.pushed = group.ring.first
            at = group.pushed
            yield at, group.ring.at(at)
            group.pushed = at + 1

    async def _yield(self) -> None:
        """Give the loop a turn: the woken ones write now, and whoever else is ready goes on."""
        self._handed = 0
        self.worked_s += self._clock.monotonic_s() - self._turn_began_s
        await asyncio.sleep(0)
        self._turn_began_s = self._clock.monotonic_s()
