"""The feed: what this process has released, who wants it, and the latest of it kept for those who come back.

Every commit's releases are appended once to the backlog (all teams, for resuming without a query), and each release
once to every group whose selection wants it. The feed decides and remembers; `hub` adds time and waiting, `attachment`
reads it for one client.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from monitor.events.position import Position
from monitor.fanout.channels import Key, Selection, channels_of
from monitor.fanout.frames import Cut, Entry, Released, Seal, Wire, in_pieces
from monitor.fanout.ring import Ring
from monitor.projections.fold import Release

if TYPE_CHECKING:
    from monitor.fanout.attachment import Attachment


_BACKLOG_PIECES: Final = 64
"""The backlog forgets in pieces: what it holds is within some percent of its limit, however large a commit was."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What fan-out may hold and do. Bytes and counts are per process unless said otherwise."""

    # Of a group: a reader that is further behind goes on from the backlog.
    ring_bytes: int = 256 * 1024
    # Of a chunk, give or take one event: the unit in which slow readers get data.
    chunk_bytes: int = 64 * 1024
    # About 10,000 events of ordinary size.
    backlog_bytes: int = 32 * 1024 * 1024
    # Of one catch-up from the journal: beyond it a snapshot is the cheaper way.
    replay_records: int = 10_000
    replay_bytes: int = 16 * 1024 * 1024
    heartbeat_s: float = 15.0
    # A client that got nothing for so many records gets a checkpoint at the next second, far below `replay_records`.
    checkpoint_records: int = 1000


@dataclass(slots=True)
class Tally:
    """What happened so far."""

    published: int = 0
    chunks: int = 0
    # Slow readers that fell off their ring.
    fallen: int = 0
    # Read again from the journal.
    pages: int = 0
    gaps: int = 0
    resets: int = 0


class Chunk(NamedTuple):
    """Messages ready to be written, and where a client stands once it has them."""

    messages: tuple[bytes, ...]
    position: Position
    size_bytes: int


@dataclass(eq=False, slots=True)
class Group:
    """Everybody with one selection on one kind of connection: a ring of chunks that all of them share."""

    selection: Selection
    wire: Wire
    ring: Ring[Chunk]
    # The last position that its members were told.
    told: Position
    members: int = 0
    # Members that have read everything and wait for the next chunk.
    waiting: "set[Attachment]" = field(default_factory=set)
    pending: list[bytes] = field(default_factory=list)
    pending_bytes: int = 0
    # The entry that was routed here last, so that one that matches several channels comes once.
    latest: Entry | None = None
    # Whether members heard nothing since the last beat.
    silent: bool = True


class Feed:
    """State without waiting: everything here happens at once, on the event loop."""

    def __init__(self, start: Position, seal: Seal, limits: Limits) -> None:
        """`start`: up to where releases were published before this process began."""
        self.position = start
        self.seal, self.limits = seal, limits
        self.backlog: Ring[Released] = Ring(limits.backlog_bytes)
        # Where the backlog began.
        self._start = start
        self.groups: dict[tuple[Selection, Wire], Group] = {}
        self.dirty: set[Group] = set()
        # Attachments that wait for any news: ahead of this process, or without a subscription.
        self.waiting: set[Attachment] = set()
        # Those that have something to read now; the hub wakes them.
        self.ready: list[Attachment] = []
        self.tally = Tally()
        self._routes: dict[Key, set[Group]] = {}

    # --- in ----------------------------------------------------------------------------------------------------------

    def publish(self, releases: Sequence[Release], position: Position) -> None:
        """Take what a commit released; `position` is where the store stands after it. Repeats are left out."""
        after = self.position.merged(position)
        for piece in self._in_pieces(releases, self.position, after):
            self._keep(piece)
        self.position = after
        self.tally.published += len(releases)

    def cut(self, partition: int, next_offset: int) -> None:
        """Tell everybody that records below `next_offset` are gone."""
        position = self.position.advanced(partition, next_offset)
        self._keep(Released.of_cut(Cut(partition, next_offset, position)))

    def restore(self, base: Position, releases: Sequence[Release]) -> None:
        """Fill the empty backlog with `releases`, which are all that lie between `base` and the position."""
        self._start = base
        for piece in self._in_pieces(releases, base, self.position):
            self.backlog.append(piece, piece.size_bytes)

    def _in_pieces(self, releases: Sequence[Release], before: Position, after: Position) -> Iterator[Released]:
        return in_pieces(releases, before, after, self.limits.backlog_bytes // _BACKLOG_PIECES)

    def _keep(self, batch: Released) -> None:
        """Frames are made when somebody wants them: now for those who listen, later for those who come back."""
        self.backlog.append(batch, batch.size_bytes)
        for entry in batch.entries if self.groups else ():
            self.position = entry.position
            self._route(entry)
        self.position = batch.after

    def _route(self, entry: Entry) -> None:
        if isinstance(entry, Cut):
            for group in self.groups.values():
                self._append(group, entry)
            return
        team = entry.release.event.team
        for name in channels_of(entry.release):
            for group in self._routes.get((team, name), ()):
                if group.latest is not entry:
                    group.latest = entry
                    if entry.wanted_by(group.selection):
                        self._append(group, entry)

    def _append(self, group: Group, entry: Entry) -> None:
        frame = entry.encoded(group.wire, self.seal)
        group.pending.append(frame)
        group.pending_bytes += len(frame)
        group.told = entry.position
        self.dirty.add(group)
        # A chunk never ends between the frames of one record: where it ends, its readers can be told to stand.
        if group.pending_bytes >= self.limits.chunk_bytes and entry.covered_by(self.position):
            self.flush(group)

    # --- groups ------------------------------------------------------------------------------------------------------

    def join(self, selection: Selection, wire: Wire) -> Group:
        """The group of this selection. Its ring's end is where the feed stands now."""
        group = self.groups.get((selection, wire))
        if group is None:
            group = Group(selection, wire, Ring(self.limits.ring_bytes), self.position)
            self.groups[selection, wire] = group
            for key in selection.keys:
                self._routes.setdefault(key, set()).add(group)
        self.flush(group)
        group.members += 1
        return group

    def leave(self, group: Group) -> None:
        """Undo one `join`; a group that nobody is in vanishes."""
        group.members -= 1
        if group.members:
            return
        del self.groups[group.selection, group.wire]
        self.dirty.discard(group)
        for key in group.selection.keys:
            self._routes[key].discard(group)
            if not self._routes[key]:
                del self._routes[key]

    def flush(self, group: Group) -> None:
        """Join what is pending into one chunk of the ring."""
        self.dirty.discard(group)
        if not group.pending:
            return
        if len(group.waiting) == group.members:
            group.ring.clear()  # everybody has read it
        self.ready += group.waiting
        group.waiting.clear()
        size_bytes, messages = group.pending_bytes, group.wire.joined(group.pending)
        group.pending, group.pending_bytes, group.silent = [], 0, False
        group.ring.append(Chunk(messages, self.position, size_bytes), size_bytes)
        self.tally.chunks += 1

    def checkpoint(self, group: Group) -> None:
        """Tell a group where it stands, or at least that the connection lives."""
        moved = group.told != self.position
        frame = group.wire.checkpoint(self.seal(self.position)) if moved else group.wire.heartbeat
        if frame is not None and not group.pending:
            group.pending, group.pending_bytes, group.told = [frame], len(frame), self.position
            self.flush(group)

    # --- out ---------------------------------------------------------------------------------------------------------

    @property
    def base(self) -> Position:
        """Where the backlog begins: it holds whatever this position does not cover."""
        dropped = self.backlog.dropped
        return self._start if dropped is None else dropped.after

    def since(self, position: Position, max_entries: int) -> tuple[list[Entry], bool]:
        """Entries of the backlog from the first one that `position` does not cover, and whether these are all.

        About `max_entries` of them; `position` includes `base`.
        """
        low, high = self.backlog.first, self.backlog.next
        while low < high:
            middle = (low + high) // 2
            if position.includes(self.backlog.at(middle).after):
                low = middle + 1
            else:
                high = middle
        entries: list[Entry] = []
        while low < self.backlog.next and len(entries) < max_entries:
            entries += self.backlog.at(low).since(position)
            low += 1
        return entries, low == self.backlog.next
