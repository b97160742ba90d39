"""One client's place in the feed: a position, a selection, and `next()` for whoever writes to its connection.

First come snapshots that are due, then whatever lies between the client's position and the live feed (`approach`), then
shared chunks. So resume, snapshot cut, another gateway, a changed selection and a reader that fell off its ring are one
case. A client with an outlet that has read everything is parked: the hub writes shared chunks to its socket, and no
task wakes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from monitor.access.positions import ended_token
from monitor.errors import Unavailable
from monitor.events.position import Position
from monitor.fanout.approach import Approach, Lost
from monitor.fanout.channels import ACTIVE, Selection, SnapshotWish, Subscription
from monitor.fanout.controls import Drain, End, Gap, GapReason, Reset, ResetReason, Slow, SnapshotEnd
from monitor.fanout.feed import Chunk, Feed, Group
from monitor.fanout.outlet import Label, Outlet, send_nowhere
from monitor.fanout.replay import Replay
from monitor.fanout.ring import Fallen
from monitor.fanout.showing import Due, Showing
from monitor.fanout.snapshots import Snapshots
from monitor.fanout.wires import Wire

_TAKEN_CHUNKS: Final = 256
"""Of the ring in one go; more small chunks than a full ring usually holds."""

_SLOW_S: Final = 1.0
"""Half a ring behind for less is a burst, not a slow reader."""

MAX_REPLIES: Final = 32
"""Replies that wait for a slow writer before no more of the client's messages are read."""

NOT_PARKED: Final = -1


class Attachment:
    """Reads the feed for one client. One task calls `next`; the other methods never wait, but for `room`."""

    # A dictionary of so many names takes a kilobyte, ten thousand times.
    __slots__ = (
        "_approach",
        "_cursor",
        "_feed",
        "_followed",
        "_group",
        "_is_looked_up",
        "_is_resuming",
        "_is_told_slow",
        "_on_leave",
        "_on_loss",
        "_outcome",
        "_replay",
        "_replies",
        "_retry_ms",
        "_room",
        "_showing",
        "_snapshots",
        "_told",
        "_wire",
        "_woken",
        "ended",
        "label",
        "opened_us",
        "outlet",
        "parked_at",
        "position",
        "selection",
        "send",
        "sent_bytes",
        "stuck_bytes",
        "stuck_since_s",
    )

    def __init__(
        self,
        feed: Feed,
        replay: Replay,
        snapshots: Snapshots,
        wire: Wire,
        *,
        label: Label,
        outlet: Outlet | None,
        on_leave: Callable[["Attachment"], None],
    ) -> None:
        self.label, self.selection = label, Selection(label.team)
        # What the client has: everything handed out.
        self.position = feed.position
        # Why it ended: `drain`, `unavailable`, `slow`, `ended`, or the closer's own word.
        self.ended: str | None = None
        self.sent_bytes = 0
        # The chunk of its ring that a parked client gets next.
        self.parked_at = NOT_PARKED
        self.outlet = outlet
        self.send = outlet.send if outlet is not None else send_nowhere
        # How much the full socket held when it last took something, and when that was.
        self.stuck_bytes, self.stuck_since_s = 0, 0.0
        self.opened_us = feed.clock.now_us()
        self._feed, self._replay, self._snapshots, self._wire = feed, replay, snapshots, wire
        self._on_leave = on_leave
        self._group: Group | None = None
        self._cursor = 0
        # The position that the client was told last.
        self._told = self.position
        # Short lists: a connection costs memory ten thousand times.
        self._replies: list[bytes] = []
        self._room: asyncio.Future[None] | None = None
        self._woken: asyncio.Future[None] | None = None
        self._approach: Approach | None = None
        self._showing = Showing(snapshots, label.team, wire)
        self._on_loss: SnapshotWish | None = None
        self._is_told_slow = self._is_resuming = False
        self._followed: str | None = None
        self._is_looked_up = True
        self._outcome: str | None = None
        # With `drain`: after what time the client should come back.
        self._retry_ms: int | None = None

    # --- what the client wants ---------------------------------------------------------------------------------------

    def change(
        self,
        selection: Selection,
        start: Position | None = None,
        *,
        snapshot: SnapshotWish | None = None,
        shown: frozenset[Subscription] | None = None,
        on_loss: SnapshotWish | None = ACTIVE,
    ) -> Position | None:
        """Select anew, and return the position from where on everything selected is delivered.

        A connection has one position: with `start` all of its subscriptions move there. Without, it goes on where the
        client stands; the first selection begins now, or with a `snapshot`, whose end then tells the position (None
        here). `shown`: only these subscriptions are new to the client. `on_loss`: what to show after a gap or reset.
        """
        is_first = not self.selection.subscriptions
        if is_first and self._feed.stale is not None:
            self.say("stream.stale", self._feed.stale)
        self._leave_group()
        new = selection.subscriptions - self.selection.subscriptions if snapshot is None else frozenset()
        self.selection, self._on_loss = selection, on_loss
        self._is_resuming = start is not None
        if start is not None and not start.is_comparable(self._feed.position):
            self.reset("incarnation")
        else:
            self._showing.keep(() if self._is_resuming else self._showing.due, selection.subscriptions, new)
            self.position = self._told = start or (self._feed.position if is_first else self.position)
            if snapshot is not None and not self._is_resuming:
                self._showing.due.append(Due(shown or selection.subscriptions, snapshot, stays=not is_first))
        self.wake()
        return self._known_position

    def follow_end(self, execution_id: str) -> None:
        """Let the stream finish by itself once that execution has ended and its log is complete."""
        self._followed, self._is_looked_up = execution_id, False
        self._feed.endings.follow((self.selection.team, execution_id), self)

    def finish(self, status: str | None) -> None:
        """The followed execution has ended with `status`, None = not after all: say so once all is read, and end."""
        self._outcome = status
        self.wake()

    def reset(self, reason: ResetReason) -> None:
        """Tell the client that its position means nothing here, and go on from now."""
        self._jump("stream.reset", Reset(reason=reason), None)

    def say(self, name: str, members: Mapping[str, Any], *, at: Position | None = None) -> None:
        """Send a control frame before anything else; `at` is the position it tells."""
        self._replies.append(self._wire.control(name, members, None if at is None else self._feed.seal(at)))
        self.wake()

    async def room(self) -> None:
        """Return once replies have room: called before the next message of the client is read."""
        while len(self._replies) >= MAX_REPLIES and self.ended is None:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def beat(self) -> None:
        """Keep a connection alive that is in no group."""
        if self._wire.heartbeat is not None and not self._replies:
            self._replies.append(self._wire.heartbeat)
            self.wake()

    def end(self, reason: str) -> None:
        """Let `next` return None once the replies are out; with `drain`, the client is first told where it stands.

        A socket that is full is not waited for. The first reason holds.
        """
        self.ended = self.ended or reason
        self._make_room()
        self.wake()

    def leave(self) -> None:
        """Leave the feed. Safe to call twice."""
        self._leave_group()
        self._showing.keep(())
        self._feed.full.discard(self)
        if self._followed is not None:
            self._feed.endings.unfollow((self.selection.team, self._followed), self)
        self.end("left")
        self._on_leave(self)

    # --- what the writer gets ----------------------------------------------------------------------------------------

    async def next(self) -> Chunk | None:
        """The next messages, as soon as there are any: all that is pending up to the limit of a chunk. None = ended.

        With an outlet, they come when that has room; a parked client gets chunks without this call returning.
        Cancelled, nothing is taken. What it returned counts as read: a client that breaks off comes back with the last
        token that it really saw.
        """
        while True:
            if self.outlet is not None and self.outlet.is_full and self.ended is None:
                await self._drained(self.outlet)
            elif self._replies:
                return self._handed(self._chunk(self._take_replies()))
            elif self.ended is not None:
                return self._farewell()
            elif (chunk := await self._advance()) is not None:
                return self._handed(chunk)

    def _farewell(self) -> Chunk | None:
        if self.ended != "drain" or self._retry_ms is None:
            return None
        # Who has subscribed to nothing yet may have a position of its own, which this one must not replace.
        at, members = self._known_position if self.selection.subscriptions else None, Drain(retryMs=self._retry_ms)
        self._retry_ms = None
        return self._chunk([self._wire.control("stream.drain", members, self._feed.seal(at) if at else None)])

    def _take_replies(self) -> list[bytes]:
        replies, self._replies = self._replies, []
        self._make_room()
        return replies

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _handed(self, chunk: Chunk) -> Chunk:
        self.sent_bytes += chunk.size_bytes
        self._feed.tally.delivered += chunk.events
        return chunk

    async def _advance(self) -> Chunk | None:
        if not self._is_looked_up:
            await self._look_up()
            return None
        if self._showing.due:
            return await self._read_snapshot()
        if self._group is not None:
            return await self._read_ring(self._group)
        if not self.selection.subscriptions:
            await self._wait(self._feed.waiting)
            return None
        return await self._come_near()

    async def _come_near(self) -> Chunk | None:
        approach = self._approach
        if approach is None:
            approach = Approach(self._feed, self._replay, self._wire, self.selection, self.position)
            self._approach = approach
        try:
            frames = await approach.read()
        except Lost as lost:
            if approach is self._approach:
                self._give_up(lost.reason)
            return None
        except Unavailable:
            self.end("unavailable")
            return None
        if approach is not self._approach:  # something else is selected meanwhile
            return None
        self.position, self._told = approach.position, approach.told
        if approach.has_arrived:
            frames += self._join_group(approach)
        elif not frames and approach.is_ahead and self.position.includes(self._feed.position):
            await self._wait(self._feed.waiting)
        if frames:
            return self._chunk(frames)
        await asyncio.sleep(0)
        return None

    async def _read_ring(self, group: Group) -> Chunk | None:
        try:
            chunks = group.ring.since(self._cursor, _TAKEN_CHUNKS)
        except Fallen:
            self._feed.tally.fallen += 1
            # At least: what it missed first is known no more.
            self._tell_slow(self.lag_records, group.ring.at(group.ring.first).made_s)
            self._leave_group()
            return None
        if not chunks and self._outcome is not None and group.pending:
            self._feed.flush(group)
            return None
        if not chunks:
            await self._read_all(group)
            return None
        is_old = self._feed.clock.monotonic_s() - chunks[0].made_s >= _SLOW_S
        if is_old and sum(chunk.size_bytes for chunk in chunks) > self._feed.limits.ring_bytes // 2:
            self._tell_slow(sum(chunk.events for chunk in chunks), chunks[0].made_s)
        taken = _within(chunks, self._feed.limits.chunk_bytes)
        self._cursor += len(taken)
        self.position = self._told = taken[-1].position
        if len(taken) == 1:
            return taken[0]
        return self._chunk([message for chunk in taken for message in chunk.messages], sum(c.events for c in taken))

    async def _read_all(self, group: Group) -> None:
        """Nothing is left to read for now."""
        self._is_told_slow = False
        if self._outcome is not None:
            self._say_end(self._outcome)
        elif self.outlet is None or not self.outlet.is_clear:
            # What the hub sends to the socket must not overtake what waits for it.
            await self._wait(group.waiting)
        else:
            self.parked_at = self._cursor
            group.parked[self] = None
            await self._sleep()

    async def _read_snapshot(self) -> Chunk | None:
        """Rows of the snapshot, as many as fit a chunk; behind the last one the position of its cut."""
        try:
            await self._showing.read(self.position, self._feed.base)
        except Unavailable:
            self.end("unavailable")
            return None
        frames, rows = self._showing.take(self._feed.limits.chunk_bytes)
        if rows is not None:
            due = self._showing.done()
            if not due.stays:
                self.position = rows.position if due.has is None else rows.position.merged(due.has)
            self._told = self.position
            members = SnapshotEnd(count=len(rows.frames))
            if rows.href:
                members["truncated"], members["href"] = True, rows.href
            frames.append(self._wire.control("stream.snapshot-end", members, self._feed.seal(self.position)))
            self._feed.tally.snapshots += 1
        return self._chunk(frames) if frames else None

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _look_up(self) -> None:
        """See whether the followed execution has ended before anybody listened."""
        assert self._followed is not None
        try:
            found = await self._snapshots.status(self.selection.team, self._followed)
        except Unavailable:
            self.end("unavailable")
            return
        self._is_looked_up = True
        if found is not None:
            self._feed.endings.found((self.selection.team, self._followed), *found)

    def _join_group(self, approach: Approach) -> list[bytes]:
        """Share chunks from here on. Nothing waits between the last scanned entry and this."""
        self._approach = None
        self._group = self._feed.join(self.selection, self._wire)
        self._cursor = self._group.ring.next
        if self._is_resuming:
            self._feed.tally.replayed += approach.replayed_records > 0
            self._feed.tally.resumed += approach.replayed_records == 0
        self._is_resuming = False
        if self._told == self.position:
            return []
        self._told = self.position
        return [self._wire.checkpoint(self._feed.seal(self.position))]

    def _give_up(self, reason: GapReason | Literal["ahead"]) -> None:
        if reason == "ahead":
            self.reset(reason)
        else:
            self._jump("stream.gap", Gap(reason=reason), self.position)

    def _jump(self, name: str, loss: Gap | Reset, has: Position | None) -> None:
        """Announce a loss and go on from now: with a snapshot, whose cut then is the position, or right away.

        `has` is what the client has got for certain; None where its position means nothing here.
        """
        tally, feed = self._feed.tally, self._feed
        tally.gaps += name == "stream.gap"
        tally.resets += name == "stream.reset"
        self._is_resuming = False
        now = feed.position if has is None else has.merged(feed.position)
        if has is not None:
            loss["lost"] = {"from": feed.seal(has), "to": feed.seal(now)}
        self._leave_group()
        self._showing.keep(())
        self.position = self._told = now
        if self._on_loss is None or not self.selection.subscriptions:
            self.say(name, loss, at=now)
        else:
            self._showing.due.append(Due(self.selection.subscriptions, self._on_loss, has))
            self.say(name, loss)

    def _tell_slow(self, events: int, since_s: float) -> None:
        if not self._is_told_slow:
            self._is_told_slow = True
            self._feed.tally.slow += 1
            lag_ms = round((self._feed.clock.monotonic_s() - since_s) * 1000)
            self.say("stream.slow", Slow(lagEvents=events, lagMs=lag_ms))

    def _say_end(self, status: str) -> None:
        """The last frame. Who comes back with its token is told that nothing follows."""
        self._feed.tally.ends += 1
        members = End(executionId=self._followed or "", status=status)
        token = ended_token(self._feed.seal(self.position))
        self._replies.append(self._wire.control("stream.end", members, token))
        self.end("ended")

    def _chunk(self, frames: Sequence[bytes], events: int | None = None) -> Chunk:
        chunk = self._feed.chunk(self._wire, frames, self.position)
        if events is not None:
            chunk.events = events
        return chunk

    def _leave_group(self) -> None:
        if self._group is not None:
            self._unpark()
            self._group.waiting.discard(self)
            self._feed.leave(self._group)
            self._group = None
        self._approach = None

    # --- for the hub -------------------------------------------------------------------------------------------------

    @property
    def wire(self) -> Wire:
        """How its frames look."""
        return self._wire

    @property
    def state(self) -> str:
        """What it does: live, slow, snapshot, ahead, catching_up, or idle (nothing selected)."""
        if self in self._feed.full or self._is_told_slow:
            return "slow"
        if self._showing.due:
            return "snapshot"
        if self._group is not None:
            return "live"
        if not self.selection.subscriptions:
            return "idle"
        return "ahead" if self._approach is not None and self._approach.is_ahead else "catching_up"

    @property
    def lag_records(self) -> int:
        """Records of the journal, anybody's, between the client and what was released."""
        pairs = zip(self._feed.position.offsets, self.position.offsets, strict=True)
        if self._group is not None and self._cursor_now >= self._group.ring.next and not self._group.pending:
            return 0
        return sum(max(0, released - had) for released, had in pairs)

    @property
    def _cursor_now(self) -> int:
        return self._cursor if self.parked_at == NOT_PARKED else self.parked_at

    @property
    def _known_position(self) -> Position | None:
        """Where the client stands; None inside a snapshot, which it starts again when it is cut off."""
        return self.position if self._showing.has_position else None

    def drain(self, retry_ms: int) -> None:
        """End it: somebody else, or this service once it is back, goes on. `next` tells the client where it stands."""
        self._retry_ms = retry_ms
        self.end("drain")

    def hold(self, rest: bytes) -> None:
        """Leave to the outlet what its socket has not taken of a chunk. It wakes this one, which goes on by itself."""
        assert self.outlet is not None
        self.outlet.write(rest)

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End the wait of `next`, if it waits: there is something to look at."""
        self._unpark()
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _unpark(self) -> None:
        """Take over from the hub what it has written so far."""
        if self.parked_at != NOT_PARKED:
            assert self._group is not None
            self._cursor, self.parked_at, self._told = self.parked_at, NOT_PARKED, self.position
            del self._group.parked[self]

    async def _wait(self, waiting: "set[Attachment]") -> None:
        waiting.add(self)
        try:
            await self._sleep()
        finally:
            waiting.discard(self)

    async def _sleep(self) -> None:
        """Until `wake`."""
        self._woken = asyncio.get_running_loop().create_future()
        try:
            await self._woken
        finally:
            self._unpark()
            self._woken = None

    async def _drained(self, outlet: Outlet) -> None:
        self.stuck_bytes, self.stuck_since_s = outlet.buffered_bytes, self._feed.clock.monotonic_s()
        # Whatever else wakes it meanwhile: a socket that takes nothing is as stuck as before.
        while outlet.is_full and self.ended is None:
            await self._wait(self._feed.full)


def _within(chunks: Sequence[Chunk], limit_bytes: int) -> Sequence[Chunk]:
    """As many chunks as fit; one in any case."""
    size_bytes = 0
    for count, chunk in enumerate(chunks):
        size_bytes += chunk.size_bytes
        if count and size_bytes > limit_bytes:
            return chunks[:count]
    return chunks
