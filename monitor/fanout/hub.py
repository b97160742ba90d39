"""The hub: the pipeline publishes what it committed, every stream attaches here, and nobody waits for a subscriber.

`publish` appends and returns; `run` wakes readers, paced: the first event after silence goes out at once, the next
flush waits as long as the last one took, and the loop has a turn after every slice. REST reads wait here for a
position.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidPosition
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment, same_life
from monitor.fanout.channels import Selection
from monitor.fanout.feed import Feed, Limits, Tally
from monitor.fanout.frames import Wire
from monitor.fanout.replay import Replay
from monitor.projections.fold import Release

_SLICE: Final = 100
"""Readers woken between two turns of the loop: at 20 to 40 us a write, 2 to 4 ms."""

_LEAST_PAUSE_S: Final = 0.002
_BEAT_S: Final = 1.0

DRAIN_S: Final = 2.0
"""How long leaving subscribers may take to read where they stand."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """How the hub stands."""

    subscribers: int
    groups: int
    backlog_commits: int
    backlog_bytes: int
    ring_bytes: int
    tally: Tally


class Hub:
    """Fans committed releases out. Everything but the `async` methods happens at once, on the event loop."""

    def __init__(
        self, *, start: Position, replay: Replay, sealer: Sealer, clock: Clock, limits: Limits | None = None
    ) -> None:
        """`start` is where the store stands; `refill` then fetches what was released before."""
        self.limits = limits or Limits()
        self._feed = Feed(start, lambda position: position_token(sealer, position), self.limits)
        self._replay, self._clock = replay, clock
        self._attachments: set[Attachment] = set()
        self._news = asyncio.Event()
        self._awaited: list[tuple[Position, asyncio.Future[None]]] = []
        self._draining = False
        self._empty = asyncio.Event()
        self._beats_s = 0.0

    @property
    def position(self) -> Position:
        """Everything up to here was released."""
        return self._feed.position

    # --- from the pipeline -------------------------------------------------------------------------------------------

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Release what a commit contains; `position` is where the store stands after it. Never waits for a reader."""
        self._feed.publish(releases, position)
        self._announce()

    def announce_cut(self, partition: int, expected: int, first: int) -> None:
        """Tell every subscriber that records `expected` to `first - 1` are gone before anybody read them."""
        if first > expected:
            self._feed.cut(partition, first)
            self._announce()

    async def refill(self) -> None:
        """Fill the backlog from the journal's tail, so that clients which come back after a restart cost no query."""
        start, limits = self._feed.position, self.limits
        max_records = limits.replay_records // len(start.offsets)
        self._feed.restore(*await self._replay.tail(start, max_records, limits.replay_bytes))

    # --- for readers -------------------------------------------------------------------------------------------------

    def attach(self, wire: Wire) -> Attachment:
        """A new client that has selected nothing yet; `change` selects. Its owner calls `leave` in the end."""
        attachment = Attachment(self._feed, self._replay, wire, self._left)
        self._attachments.add(attachment)
        if self._draining:
            attachment.end("drain")
        return attachment

    def subscribe(self, selection: Selection, wire: Wire, start: Position | None = None) -> Attachment:
        """A new client of `selection`, from `start` on; None = now."""
        attachment = self.attach(wire)
        attachment.change(selection, start)
        return attachment

    def knows(self, position: Position) -> bool:
        """Whether a position is of the journal that this hub releases."""
        return same_life(position, self.position)

    async def earliest(self) -> Position:
        """Where the journal begins. Raises JournalUnavailable."""
        return await self._replay.earliest()

    async def reached(self, position: Position, timeout_s: float) -> bool:
        """Whether everything in `position` is released, now or within `timeout_s` seconds.

        Raises InvalidPosition for one of another journal.
        """
        if not self.knows(position):
            raise InvalidPosition("The position is of another journal.")
        if self.position.includes(position):
            return True
        waiting = (position, asyncio.get_running_loop().create_future())
        self._awaited.append(waiting)
        try:
            async with asyncio.timeout(timeout_s):
                await waiting[1]
        except TimeoutError:
            return False
        finally:
            self._awaited = [other for other in self._awaited if other is not waiting]
        return True

    def statistics(self) -> Statistics:
        """How the hub stands now."""
        feed = self._feed
        rings = sum(group.ring.size_bytes for group in feed.groups.values())
        backlog = feed.backlog
        return Statistics(len(self._attachments), len(feed.groups), len(backlog), backlog.size_bytes, rings, feed.tally)

    # --- time --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Wake readers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_forever(), name="flush")
            tasks.create_task(self._beat_forever(), name="beat")

    async def drain(self, grace_s: float = DRAIN_S) -> None:
        """Tell every subscriber where it stands and end it; new ones are sent away at once.

        Returns when all are gone, or after `grace_s` seconds: who does not read by then is left to the server.
        """
        self._draining = True
        for attachment in tuple(self._attachments):
            attachment.end("drain")
        try:
            async with asyncio.timeout(grace_s):
                while self._attachments:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            pass

    async def _flush_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            began_s = self._clock.monotonic_s()
            await self._flush()
            took_s = self._clock.monotonic_s() - began_s
            await self._clock.sleep(max(took_s, _LEAST_PAUSE_S))

    async def _flush(self) -> None:
        feed = self._feed
        for group in tuple(feed.dirty):
            feed.flush(group)
        woken, feed.ready = [*feed.waiting, *feed.ready], []
        for at in range(0, len(woken), _SLICE):
            for attachment in woken[at : at + _SLICE]:
                attachment.wake()
            # The woken ones write now, and whoever else is ready has a turn.
            await asyncio.sleep(0)

    async def _beat_forever(self) -> None:
        while True:
            await self._clock.sleep(_BEAT_S)
            self._beat()

    def _beat(self) -> None:
        """Checkpoints for groups that are far behind, and at every heartbeat a sign of life for the silent ones."""
        self._beats_s += _BEAT_S
        due = self._beats_s >= self.limits.heartbeat_s
        if due:
            self._beats_s = 0.0
        behind = sum(self._feed.position.offsets) - self.limits.checkpoint_records
        for group in self._feed.groups.values():
            if (due and group.silent) or sum(group.told.offsets) <= behind:
                self._feed.checkpoint(group)
            group.silent = group.silent or due
        if due:
            for attachment in tuple(self._feed.waiting):
                attachment.beat()
        if self._feed.ready:
            self._news.set()

    def _announce(self) -> None:
        self._news.set()
        for position, waiter in self._awaited:
            if not waiter.done() and self.position.includes(position):
                waiter.set_result(None)

    def _left(self, attachment: Attachment) -> None:
        self._attachments.discard(attachment)
        if not self._attachments:
            self._empty.set()
