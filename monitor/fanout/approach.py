"""The way of one client from its position to the live feed: the backlog, and from the journal what that has lost.

It starts at the earliest entry that the client's set of records does not cover, drops covered ones one by one, and
makes tokens that are the union of the client's set and what was scanned. Who is ahead of this process waits, as long
as the journal has what it knows.
"""

from collections.abc import Sequence
from typing import Final, Literal

from monitor.errors import RetentionCut
from monitor.events.position import Position
from monitor.fanout.channels import Selection
from monitor.fanout.controls import GapReason
from monitor.fanout.feed import Feed
from monitor.fanout.frames import Entry, frames_of
from monitor.fanout.replay import PAGE_RECORDS, Replay
from monitor.fanout.slices import Slice
from monitor.fanout.wires import Wire

_SCANNED_ENTRIES: Final = 500
"""Of the backlog in one go: about a millisecond, then others have their turn."""


class Lost(Exception):
    """There is no way without a loss. `reason`: retention, budget, or ahead (of the journal itself)."""

    def __init__(self, reason: GapReason | Literal["ahead"]) -> None:
        super().__init__(reason)
        self.reason = reason


class Approach:
    """One client's way. One task reads; whoever selects anew starts another one."""

    def __init__(self, feed: Feed, replay: Replay, wire: Wire, selection: Selection, position: Position) -> None:
        # What the client has once it got everything that `read` returned, and the last position that it was told.
        self.position = self.told = position
        # Whether the client knows records that this process has not released yet.
        self.is_ahead = False
        # Records that came from the journal.
        self.replayed_records = 0
        self._replayed_bytes = 0
        self._began_s: float | None = None
        self._page_records = PAGE_RECORDS
        self._feed, self._replay, self._wire, self._selection = feed, replay, wire, selection

    @property
    def has_arrived(self) -> bool:
        """Whether the client has exactly what the feed has released."""
        return self.position == self._feed.position

    async def read(self) -> list[bytes]:
        """The next frames, about a chunk of them; maybe none. Raises Lost, JournalUnavailable and StoreUnavailable.

        When it has arrived, nothing was awaited since the last entry was scanned.
        """
        if self.position.includes(self._feed.base):
            return await self._read_backlog()
        return await self._read_journal()

    async def _read_backlog(self) -> list[bytes]:
        entries, are_all = self._feed.since(self.position, _SCANNED_ENTRIES)
        frames, scanned = self._encode(entries, _SCANNED_ENTRIES)
        if are_all and scanned == len(entries):
            self.position = self.position.merged(self._feed.position)
            if not frames and not self.has_arrived and not self.is_ahead:
                await self._look_ahead()
        return frames

    async def _look_ahead(self) -> None:
        end = await self._replay.latest()
        if not end.includes(self.position):
            raise Lost("ahead")
        self.is_ahead = True

    async def _read_journal(self) -> list[bytes]:
        """A page of what the backlog does not reach back to. Its frames are this client's own."""
        feed, start = self._feed, self.position
        if self._is_too_dear():
            raise Lost("budget")
        try:
            page = await self._replay.page(start, feed.base, self._page_records, self._selection.team)
        except RetentionCut:
            raise Lost("retention") from None
        feed.tally.pages += 1
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
        self.replayed_records += sum(self.position.offsets) - sum(start.offsets)
        return frames

    def _is_too_dear(self) -> bool:
        """Whether the journal's part costs more than it may, counting what is certainly still to come."""
        limits, now_s = self._feed.limits, self._feed.clock.monotonic_s()
        self._began_s = now_s if self._began_s is None else self._began_s
        pairs = zip(self.position.offsets, self._feed.base.offsets, strict=True)
        records = self.replayed_records + sum(max(0, end - start) for start, end in pairs)
        return (
            records > limits.replay_records
            or self._replayed_bytes > limits.replay_bytes
            or now_s - self._began_s > limits.replay_s
        )

    def _encode(self, entries: Sequence[Entry], max_entries: int) -> tuple[list[bytes], int]:
        """Frames for the next entries up to the limits, and how many entries that took. The position moves along."""
        slice_, scanned = Slice(), 0
        for scanned, entry in enumerate(entries, 1):
            if not entry.covered_by(self.position):
                self.position = self.position.merged(entry.position)
                if entry.wanted_by(self._selection):
                    slice_.add(entry, self._wire, self._token_behind(entry))
                    self.told = self.position
            is_enough = slice_.size_bytes >= self._feed.limits.chunk_bytes or scanned >= max_entries
            # Never between the frames of one record: the next page would begin with the first of them again.
            if is_enough and entry.covered_by(self.position):
                break
        self._feed.tally.merged += slice_.merged
        self._feed.tally.omitted_lines += slice_.omitted_lines
        return slice_.frames(self._wire), scanned

    def _token_behind(self, entry: Entry) -> str:
        """Shared by all who got everything before the entry; others have one of their own."""
        if self.position == entry.position:
            return entry.token(self._feed.seal)
        return self._feed.seal(self.position)
