"""One client's place in the feed: a position, a selection, and `next()` for whoever writes to its connection.

A position is a set of records, and attaching is always the same: go on at the earliest entry that the set does not
cover, drop covered ones one by one, and answer tokens that are the union of the client's set and what was scanned.
What the backlog has lost comes from the journal; once the feed's set includes the client's, chunks are shared.
So resume, another gateway, a changed selection and a reader that fell off its ring are one case.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from monitor.errors import RetentionCut, Unavailable
from monitor.events.position import Position
from monitor.fanout.channels import Selection
from monitor.fanout.feed import Chunk, Feed, Group
from monitor.fanout.frames import Entry, Wire, frames_of
from monitor.fanout.replay import PAGE_RECORDS, Replay
from monitor.fanout.ring import Fallen

_SCANNED_ENTRIES: Final = 500
"""Of the backlog in one go: about a millisecond, then others have their turn."""

_TAKEN_CHUNKS: Final = 256
"""Of the ring in one go; more small chunks than a full ring usually holds."""

MAX_REPLIES: Final = 32
"""Replies that wait for a slow writer before no more of the client's messages are read."""


class Attachment:
    """Reads the feed for one client. One task calls `next`; the other methods never wait, but for `room`."""

    def __init__(self, feed: Feed, replay: Replay, wire: Wire, on_leave: Callable[["Attachment"], None]) -> None:
        self.selection = Selection("")
        # What the client has: everything handed out by `next`.
        self.position = feed.position
        # Why it ended: `drain`, `unavailable`, or the closer's own word.
        self.ended: str | None = None
        self._is_parted = False
        self._feed, self._replay, self._wire, self._on_leave = feed, replay, wire, on_leave
        self._group: Group | None = None
        self._cursor = 0
        # The position that the client was told last.
        self._told = self.position
        self._replies: deque[bytes] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._woken: asyncio.Future[None] | None = None
        # Counts `change`: what was read meanwhile for the old selection is void.
        self._changes = 0
        self._replayed_records = self._replayed_bytes = 0
        self._page_records = PAGE_RECORDS
        # Whether a position beyond the feed's was looked for in the journal.
        self._in_journal = False

    # --- what the client wants ---------------------------------------------------------------------------------------

    def change(self, selection: Selection, start: Position | None = None) -> Position:
        """Select anew, from `start` on, and return the position from where on everything selected is delivered.

        Without `start` it goes on where the client stands; the first selection begins now. A connection has one
        position: with `start` all of its subscriptions move there.
        """
        if start is None:
            start = self.position if self.selection.subscriptions else self._feed.position
        self._leave_group()
        self.selection = selection
        self._changes += 1
        self._replayed_records = self._replayed_bytes = 0
        self._in_journal = False
        if same_life(start, self._feed.position):
            self.position = self._told = start
        else:
            self._jump("stream.reset", "incarnation", self._feed.position)
        self.wake()
        return self.position

    def reset(self, reason: str) -> None:
        """Tell the client that its position means nothing here, and go on from now."""
        self._jump("stream.reset", reason, self._feed.position)

    def say(self, name: str, members: Mapping[str, Any], *, at: Position | None = None) -> None:
        """Send a control frame before anything else; `at` is the position it tells."""
        self._replies.append(self._wire.control(name, members, None if at is None else self._feed.seal(at)))
        if len(self._replies) >= MAX_REPLIES:
            self._room.clear()
        self.wake()

    async def room(self) -> None:
        """Return once replies have room: called before the next message of the client is read."""
        await self._room.wait()

    def beat(self) -> None:
        """Keep a connection alive that is in no group."""
        if self._wire.heartbeat is not None and not self._replies:
            self._replies.append(self._wire.heartbeat)
            self.wake()

    def end(self, reason: str) -> None:
        """Let `next` return None once the replies are out; with `drain`, the client is first told where it stands.

        The first reason holds.
        """
        self.ended = self.ended or reason
        self.wake()

    def leave(self) -> None:
        """Leave the feed. Safe to call twice."""
        self._leave_group()
        self.end("left")
        self._on_leave(self)

    # --- what the writer gets ----------------------------------------------------------------------------------------

    async def next(self) -> Chunk | None:
        """The next messages, as soon as there are any: all that is pending up to the limit of a chunk. None = ended.

        Cancelled, nothing is taken. What it returned counts as read: a client that breaks off comes back with the last
        token that it really saw.
        """
        while not self._replies:
            if self.ended is not None:
                return self._farewell()
            chunk = await self._advance()
            if chunk is not None:
                return chunk
        replies = list(self._replies)
        self._replies.clear()
        self._room.set()
        return self._chunk(replies)

    def _farewell(self) -> Chunk | None:
        if self.ended != "drain" or self._is_parted:
            return None
        self._is_parted = True
        return self._chunk([self._wire.control("stream.drain", {}, self._feed.seal(self.position))])

    async def _advance(self) -> Chunk | None:
        if self._group is not None:
            return await self._read_ring(self._group)
        if not self.selection.subscriptions:
            await self._wait(self._feed.waiting)
            return None
        if self.position.includes(self._feed.base):
            return await self._read_backlog()
        return await self._read_journal()

    async def _read_ring(self, group: Group) -> Chunk | None:
        try:
            chunks = group.ring.since(self._cursor, _TAKEN_CHUNKS)
        except Fallen:
            self._feed.tally.fallen += 1
            self._leave_group()
            return None
        if not chunks:
            await self._wait(group.waiting)
            return None
        taken = _within(chunks, self._feed.limits.chunk_bytes)
        self._cursor += len(taken)
        self.position = self._told = taken[-1].position
        if len(taken) == 1:
            return taken[0]
        return self._chunk([message for chunk in taken for message in chunk.messages])

    async def _read_backlog(self) -> Chunk | None:
        entries, are_all = self._feed.since(self.position, _SCANNED_ENTRIES)
        frames, scanned = self._encode(entries, _SCANNED_ENTRIES)
        if are_all and scanned == len(entries):
            self.position = self.position.merged(self._feed.position)
            if self.position == self._feed.position:
                frames += self._join_group()
            elif not frames:
                await self._wait_ahead()
        if frames:
            return self._chunk(frames)
        await asyncio.sleep(0)
        return None

    async def _read_journal(self) -> Chunk | None:
        """A page of what the backlog does not reach back to. Its frames are this client's own."""
        feed, changes = self._feed, self._changes
        if self._spent(feed.base):
            self._give_up("budget")
            return None
        try:
            page = await self._replay.page(self.position, feed.base, self._page_records, self.selection.team)
        except RetentionCut:
            if changes == self._changes:
                self._give_up("retention")
            return None
        except Unavailable:
            self.end("unavailable")
            return None
        if changes != self._changes:
            return None
        feed.tally.pages += 1
        start = self.position
        entries = list(frames_of(page.releases, start))
        frames, scanned = self._encode(entries, len(entries))
        if scanned == len(entries):
            self.position = self.position.merged(page.position)
            self._page_records = min(2 * self._page_records, PAGE_RECORDS)
            self._replayed_bytes += page.size_bytes
        else:
            # The rest of the page is read again, so that no client holds one: the next page is what fits a chunk.
            self._page_records = scanned
            self._replayed_bytes += sum(map(len, frames))
        self._replayed_records += sum(self.position.offsets) - sum(start.offsets)
        return self._chunk(frames) if frames else None

    # --- steps -------------------------------------------------------------------------------------------------------

    def _encode(self, entries: Sequence[Entry], max_entries: int) -> tuple[list[bytes], int]:
        """Frames for the next entries up to the limits, and how many entries that took. The position moves along."""
        frames: list[bytes] = []
        size_bytes = scanned = 0
        for scanned, entry in enumerate(entries, 1):
            if not entry.covered_by(self.position):
                self.position = self.position.merged(entry.position)
                if entry.wanted_by(self.selection):
                    frames.append(self._encoded(entry))
                    size_bytes += len(frames[-1])
                    self._told = self.position
            # Never between the frames of one record: the next page would begin with the first of them again.
            if (size_bytes >= self._feed.limits.chunk_bytes or scanned >= max_entries) and entry.covered_by(
                self.position
            ):
                break
        return frames, scanned

    def _encoded(self, entry: Entry) -> bytes:
        if self.position == entry.position:
            return entry.encoded(self._wire, self._feed.seal)
        return entry.encoded_at(self._wire, self._feed.seal(self.position))

    def _join_group(self) -> list[bytes]:
        """Share chunks from here on. Nothing waits between the last scanned entry and this."""
        self._group = self._feed.join(self.selection, self._wire)
        self._cursor = self._group.ring.next
        self._replayed_records = self._replayed_bytes = 0
        if self._told == self.position:
            return []
        self._told = self.position
        return [self._wire.checkpoint(self._feed.seal(self.position))]

    async def _wait_ahead(self) -> None:
        """The client knows records that this process has not released yet: wait, if the journal has them at all."""
        if self._in_journal:
            await self._wait(self._feed.waiting)
            return
        changes = self._changes
        try:
            end = await self._replay.latest()
        except Unavailable:
            self.end("unavailable")
            return
        if changes == self._changes:
            self._in_journal = end.includes(self.position)
            if not self._in_journal:
                self.reset("ahead")

    def _spent(self, goal: Position) -> bool:
        limits = self._feed.limits
        missing = sum(max(0, end - start) for start, end in zip(self.position.offsets, goal.offsets, strict=True))
        return self._replayed_records + missing > limits.replay_records or self._replayed_bytes > limits.replay_bytes

    def _give_up(self, reason: str) -> None:
        self._jump("stream.gap", reason, self.position.merged(self._feed.position))

    def _jump(self, name: str, reason: str, position: Position) -> None:
        tally = self._feed.tally
        if name == "stream.gap":
            tally.gaps += 1
        else:
            tally.resets += 1
        self.position = self._told = position
        self.say(name, {"reason": reason}, at=position)

    def _chunk(self, frames: Sequence[bytes]) -> Chunk:
        return Chunk(self._wire.joined(frames), self.position, sum(map(len, frames)))

    def _leave_group(self) -> None:
        if self._group is not None:
            self._group.waiting.discard(self)
            self._feed.leave(self._group)
            self._group = None

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End the wait of `next`, if it waits: there is something to look at."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _wait(self, waiting: "set[Attachment]") -> None:
        self._woken = asyncio.get_running_loop().create_future()
        waiting.add(self)
        try:
            await self._woken
        finally:
            waiting.discard(self)
            self._woken = None


def _within(chunks: Sequence[Chunk], limit_bytes: int) -> Sequence[Chunk]:
    """As many chunks as fit; one in any case."""
    size_bytes = 0
    for count, chunk in enumerate(chunks):
        size_bytes += chunk.size_bytes
        if count and size_bytes > limit_bytes:
            return chunks[:count]
    return chunks


def same_life(one: Position, other: Position) -> bool:
    """Whether two positions are of one journal and can be compared."""
    return one.incarnation == other.incarnation and len(one.offsets) == len(other.offsets)
