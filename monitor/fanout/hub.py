"""The hub: the pipeline publishes what it committed, every stream attaches here, and nobody waits for a subscriber.

`publish` appends and returns; `run` hands chunks out, paced: the first event after silence goes out at once, the next
flush waits as long as the last one took, and the loop has a turn after every slice. Readers with an outlet that have
read everything are written to; others are woken. REST waits here: for a position, or for what becomes of an execution.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from monitor.access.positions import position_token
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidPosition, Shed
from monitor.events.position import Position
from monitor.fanout.attachment import Attachment
from monitor.fanout.channels import Selection
from monitor.fanout.controls import Fresh, Stale
from monitor.fanout.expulsion import Expulsion
from monitor.fanout.feed import Feed, Limits, Tally
from monitor.fanout.flushing import SLICE, Flushing
from monitor.fanout.outlet import Label, Outlet
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.fanout.watches import Watches
from monitor.fanout.wires import Wire
from monitor.projections.fold import Release
from monitor.telemetry.metrics import Metrics

_LEAST_PAUSE_S: Final = 0.002
_BEAT_S: Final = 1.0

DRAIN_S: Final = 2.0
"""How long leaving subscribers may take to read where they stand."""

_SPREAD_S: Final = 1.0
"""Over this time a drain sends many subscribers away, so that they do not all come back at once."""

RETRY_MS: Final = (1000, 3000)
"""Between these a client comes back after a drain."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """How the hub stands."""

    subscribers: int
    groups: int
    backlog_commits: int
    backlog_bytes: int
    ring_bytes: int
    # Readers whose sockets are full now.
    full: int
    # How many are connected, by transport.
    transports: Counter[str]
    # How many have gone, by reason.
    departures: Counter[str]
    tally: Tally


class Connection(NamedTuple):
    """One subscriber, for people."""

    label: Label
    since_us: int
    # live, slow, snapshot, ahead, catching_up, idle
    state: str
    selection: Selection
    position: Position
    # Records of the journal, anybody's, that were released since.
    lag_records: int
    sent_bytes: int
    buffered_bytes: int


class Hub:
    """Fans committed releases out. Everything but the `async` methods happens at once, on the event loop."""

    def __init__(
        self,
        *,
        start: Position,
        replay: Replay,
        snapshots: Snapshots,
        sealer: Sealer,
        clock: Clock,
        metrics: Metrics | None = None,
        limits: Limits | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`start` is where the store stands; `refill` then fetches what was released before."""
        # Requests that wait for one execution.
        self.watches = Watches()
        self.limits, self._metrics = limits or Limits(), metrics or Metrics()
        self._feed = Feed(start, lambda position: position_token(sealer, position), clock, self.limits)
        self._replay, self._snapshots, self._clock = replay, snapshots, clock
        self._chance = chance or random.Random()  # noqa: S311 - spreads clients in time, guards nothing
        self._attachments: set[Attachment] = set()
        self._news = asyncio.Event()
        self._awaited: list[tuple[Position, asyncio.Future[None]]] = []
        self._departures: Counter[str] = Counter()
        self._draining = False
        # Tokens that have ended while this process lives: few, and their ids are short.
        self._expulsion = Expulsion()
        self._empty = asyncio.Event()
        self._beats_s = 0.0
        # When the journal took the first event that was published since the last flush.
        self._oldest_us: int | None = None
        self._flushing = Flushing(self._feed, clock)

    @property
    def position(self) -> Position:
        """Everything up to here was released."""
        return self._feed.position

    # --- from the pipeline -------------------------------------------------------------------------------------------

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Release what a commit contains; `position` is where the store stands after it. Never waits for a reader."""
        self._feed.publish(releases, position)
        if self.watches:
            self.watches.note(releases)
        if releases and self._oldest_us is None:
            self._oldest_us = releases[0].event.record.stored_us
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

    def attach(self, wire: Wire, label: Label, outlet: Outlet | None = None) -> Attachment:
        """A new client that has selected nothing yet; `change` selects. Its owner calls `leave` in the end.

        With an `outlet` the hub writes to the client's socket itself. Raises Shed when there are too many clients.
        """
        if len(self._attachments) >= self.limits.connections:
            self._feed.tally.shed += 1
            raise Shed
        attachment = Attachment(
            self._feed, self._replay, self._snapshots, wire, label=label, outlet=outlet, on_leave=self._left
        )
        self._attachments.add(attachment)
        self._expulsion.apply(attachment)
        if self._draining:
            attachment.drain(self._retry_ms())
        return attachment

    def connections(self, team: str) -> list[Connection]:
        """The team's subscribers."""
        return [
            Connection(
                each.label,
                each.opened_us,
                each.state,
                each.selection,
                each.position,
                each.lag_records,
                each.sent_bytes,
                each.outlet.buffered_bytes if each.outlet is not None else 0,
            )
            for each in self._attachments
            if each.label.team == team
        ]

    def expel(self, credential: str) -> None:
        """End what was opened with that token or session, now and later: it is good no more. Who reads is told so."""
        self._expulsion.add(credential)
        for attachment in tuple(self._attachments):
            if credential in (attachment.label.token_id, attachment.label.session_id):
                self._expulsion.apply(attachment)

    def stale(self, members: Stale) -> None:
        """Tell everybody, once, that the service stands still; newcomers too, until `freshen`."""
        if self._feed.stale is None:
            self._tell("stream.stale", members)
        self._feed.stale = self._feed.stale or members

    def freshen(self) -> None:
        """It goes on, if it stood still."""
        if self._feed.stale is not None:
            self._feed.stale = None
            self._tell("stream.fresh", Fresh())

    def _tell(self, name: str, members: Mapping[str, Any]) -> None:
        for attachment in tuple(self._attachments):
            attachment.say(name, members)

    def knows(self, position: Position) -> bool:
        """Whether a position is of the journal that this hub releases."""
        return position.is_comparable(self.position)

    async def earliest(self) -> Position:
        """Where the journal begins. Raises JournalUnavailable."""
        return await self._replay.earliest()

    async def at_time(self, time_us: int) -> Position:
        """Before the first record that the journal took at `time_us` or later. Raises JournalUnavailable."""
        return await self._replay.at_time(time_us)

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
        return Statistics(
            subscribers=len(self._attachments),
            groups=len(feed.groups),
            backlog_commits=len(backlog),
            backlog_bytes=backlog.size_bytes,
            ring_bytes=rings,
            full=len(feed.full),
            transports=Counter(each.label.transport for each in self._attachments),
            departures=self._departures,
            tally=feed.tally,
        )

    # --- time --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hand out what comes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_forever(), name="flush")
            tasks.create_task(self._beat_forever(), name="beat")

    async def drain(self, grace_s: float = DRAIN_S) -> None:
        """Tell every subscriber where it stands and end it; new ones are sent away at once.

        Returns when all are gone, or after `grace_s` seconds: who does not read by then is left to the server.
        """
        self._draining = True
        self.watches.end()
        leaving = tuple(self._attachments)
        for number, attachment in enumerate(leaving, 1):
            attachment.drain(self._retry_ms())
            if number % SLICE == 0:
                await self._clock.sleep(_SPREAD_S * SLICE / len(leaving))
        try:
            async with asyncio.timeout(grace_s):
                while self._attachments:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            pass

    def _retry_ms(self) -> int:
        return self._chance.randint(*RETRY_MS)

    async def _flush_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._flush()
            await self._clock.sleep(max(self._flushing.worked_s, _LEAST_PAUSE_S))

    async def _flush(self) -> None:
        oldest_us, self._oldest_us = self._oldest_us, None
        await self._flushing.flush()
        self._metrics.flush_seconds.observe(self._flushing.worked_s)
        if oldest_us is not None:
            self._metrics.delivery_lag.observe(max(0, self._clock.now_us() - oldest_us) / 1_000_000)

    async def _beat_forever(self) -> None:
        while True:
            await self._clock.sleep(_BEAT_S)
            self._beat()

    def _beat(self) -> None:
        """Checkpoints for groups that are far behind, at every heartbeat a sign of life for the silent ones, and what
        else comes with time: ends, and sockets that take nothing.
        """
        self._feed.endings.check()
        self._sweep()
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
        if self._feed.ready or self._feed.unpushed:
            self._news.set()

    def _sweep(self) -> None:
        """Close sockets that have taken nothing for long. A slow one that takes something is left alone."""
        now_s = self._clock.monotonic_s()
        for attachment in tuple(self._feed.full):
            if attachment.outlet is None:
                continue
            buffered_bytes = attachment.outlet.buffered_bytes
            if buffered_bytes != attachment.stuck_bytes:
                attachment.stuck_bytes, attachment.stuck_since_s = buffered_bytes, now_s
            elif now_s - attachment.stuck_since_s >= self.limits.stuck_s:
                self._feed.tally.stuck += 1
                attachment.end("slow")

    def _announce(self) -> None:
        self._news.set()
        for position, waiter in self._awaited:
            if not waiter.done() and self.position.includes(position):
                waiter.set_result(None)

    def _left(self, attachment: Attachment) -> None:
        if attachment in self._attachments:
            self._attachments.discard(attachment)
            self._departures[attachment.ended or "left"] += 1
        if not self._attachments:
            self._empty.set()
