"""The feed: what this process has released, who wants it, and the latest of it kept for those who come back.

Every commit's releases are appended once to the backlog (all teams, for resuming without a query), and each release
once to every group whose selection wants it. The feed decides and remembers; `hub` adds time and waiting, `attachment`
reads it for one client.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from monitor.clock import Clock
from monitor.events.position import Position
from monitor.fanout.channels import VALUES_OF, Dimension, Selection
from monitor.fanout.controls import Stale
from monitor.fanout.endings import Endings
from monitor.fanout.frames import Cut, Entry, Seal
from monitor.fanout.released import Released, in_pieces
from monitor.fanout.ring import Ring
from monitor.fanout.slices import Slice
from monitor.fanout.wires import Wire
from monitor.projections.fold import Release

if TYPE_CHECKING:
    from monitor.fanout.attachment import Attachment


_BACKLOG_PIECES: Final = 64
"""The backlog forgets in pieces: what it holds is within some percent of its limit, however large a commit was."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What fan-out may hold and do. Bytes and counts are per process unless said otherwise."""

    connections: int = 10_000
    # Of a group: a reader that is further behind goes on from the backlog.
    ring_bytes: int = 256 * 1024
    # Of a chunk, give or take one event: the unit in which slow readers get data.
    chunk_bytes: int = 64 * 1024
    # About 10,000 events of ordinary size.
    backlog_bytes: int = 32 * 1024 * 1024
    # Of one catch-up from the journal: beyond it a snapshot is the cheaper way.
    replay_records: int = 10_000
    replay_bytes: int = 16 * 1024 * 1024
    replay_s: float = 30.0
    heartbeat_s: float = 15.0
    # A client that got nothing for so many records gets a checkpoint at the next second, far below `replay_records`.
    checkpoint_records: int = 1000
    # A socket that takes nothing for so long is closed.
    stuck_s: float = 10.0
    # A log that said nothing for so long after the execution's end is complete.
    settle_s: float = 2.0


@dataclass(slots=True)
class Tally:
    """What happened so far."""

    published: int = 0
    chunks: int = 0
    # Frames times subscribers that they were handed to.
    delivered: int = 0
    # Progress frames outdone by a later one and log events that share a frame; log lines left out.
    merged: int = 0
    omitted_lines: int = 0
    # Slow readers that fell off their ring, were told that they are slow, were closed.
    fallen: int = 0
    slow: int = 0
    stuck: int = 0
    # Pages read again from the journal.
    pages: int = 0
    # How clients that came with a position were served: from memory, from the journal, or not without a loss.
    resumed: int = 0
    replayed: int = 0
    gaps: int = 0
    resets: int = 0
    snapshots: int = 0
    ends: int = 0
    # Sent away at the door.
    shed: int = 0


class Chunk:
    """Messages ready to be written, and where a client stands once it has them."""

    __slots__ = ("_framed", "_wire", "events", "made_s", "messages", "position", "size_bytes")

    def __init__(self, wire: Wire, messages: tuple[bytes, ...], position: Position, events: int, made_s: float) -> None:
        """Of `events` frames, made at `made_s` of the monotonic clock."""
        self.messages, self.position, self.events, self.made_s = messages, position, events, made_s
        self.size_bytes = sum(map(len, messages))
        self._wire = wire
        self._framed: bytes | None = None

    @property
    def framed(self) -> bytes:
        """The bytes for the socket, made once for everybody."""
        if self._framed is None:
            self._framed = self._wire.framed(self.messages)
        return self._framed


@dataclass(eq=False, slots=True)
class Group:
    """Everybody with one selection on one kind of connection: a ring of chunks that all of them share."""

    selection: Selection
    wire: Wire
    ring: Ring[Chunk]
    # The last position that its members were told.
    told: Position
    members: int = 0
    # Members that have read everything: those that the hub wakes, and those whose sockets it writes to itself. These
    # in the order in which they came, which is about that of their sockets in memory: a write costs a tenth less.
    waiting: "set[Attachment]" = field(default_factory=set)
    parked: "dict[Attachment, None]" = field(default_factory=dict)
    # The chunk that the hub hands to parked members next.
    pushed: int = 0
    pending: Slice = field(default_factory=Slice)
    # The entry that was routed here last, so that one that is found in several ways comes once.
    latest: Entry | None = None
    # Whether members heard nothing since the last beat.
    silent: bool = True


Routes = dict[Dimension, dict[str, set[Group]]]


class Feed:
    """State without waiting: everything here happens at once, on the event loop."""

    def __init__(self, start: Position, seal: Seal, clock: Clock, limits: Limits) -> None:
        """`start`: up to where releases were published before this process began."""
        self.position = start
        self.seal, self.clock, self.limits = seal, clock, limits
        self.backlog: Ring[Released] = Ring(limits.backlog_bytes)
        # Where the backlog began.
        self._start = start
        self.groups: dict[tuple[Selection, Wire], Group] = {}
        self.dirty: set[Group] = set()
        self.endings = Endings(clock, limits.settle_s)
        # Groups with chunks that parked members have not got.
        self.unpushed: set[Group] = set()
        # Attachments that wait for any news: ahead of this process, or without a subscription.
        self.waiting: set[Attachment] = set()
        # Those whose sockets are full.
        self.full: set[Attachment] = set()
        # Those that have something to read now; the hub wakes them.
        self.ready: list[Attachment] = []
        # What is told of a standstill of the service; None = it goes on.
        self.stale: Stale | None = None
        self.tally = Tally()
        self._routes: dict[str, Routes] = {}

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
        for entry in batch.entries if self.groups or self.endings else ():
            self.position = entry.position
            self._route(entry)
        self.position = batch.after

    def _route(self, entry: Entry) -> None:
        if isinstance(entry, Cut):
            for group in self.groups.values():
                self._append(group, entry)
            return
        if self.endings:
            self.endings.note(entry.release)
        for dimension, table in self._routes.get(entry.release.event.team, {}).items():
            for value in VALUES_OF[dimension](entry.release):
                for group in table.get(value, ()) if value is not None else ():
                    if group.latest is not entry:
                        group.latest = entry
                        if entry.wanted_by(group.selection):
                            self._append(group, entry)

    def _append(self, group: Group, entry: Entry) -> None:
        group.pending.add(entry, group.wire, entry.token(self.seal))
        group.told = entry.position
        self.dirty.add(group)
        # A chunk never ends between the frames of one record: where it ends, its readers can be told to stand.
        if group.pending.size_bytes >= self.limits.chunk_bytes and entry.covered_by(self.position):
            self.flush(group)

    # --- groups ------------------------------------------------------------------------------------------------------

    def join(self, selection: Selection, wire: Wire) -> Group:
        """The group of this selection. Its ring's end is where the feed stands now."""
        group = self.groups.get((selection, wire))
        if group is None:
            group = Group(selection, wire, Ring(self.limits.ring_bytes), self.position)
            self.groups[selection, wire] = group
            for dimension, value in selection.keys:
                tables = self._routes.setdefault(selection.team, {})
                tables.setdefault(dimension, {}).setdefault(value, set()).add(group)
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
        self.unpushed.discard(group)
        tables = self._routes[group.selection.team]
        for dimension, value in group.selection.keys:
            table = tables[dimension]
            table[value].discard(group)
            if not table[value]:
                del table[value]
            if not table:
                del tables[dimension]
        if not tables:
            del self._routes[group.selection.team]

    def flush(self, group: Group) -> None:
        """Join what is pending into one chunk of the ring."""
        self.dirty.discard(group)
        pending = group.pending
        if not pending:
            return
        if group.pushed == group.ring.next and len(group.waiting) + len(group.parked) == group.members:
            group.ring.clear()  # everybody has read it
        self.ready += group.waiting
        group.waiting.clear()
        if group.parked:
            self.unpushed.add(group)
        else:
            group.pushed = group.ring.next + 1
        frames = pending.frames(group.wire)
        chunk = self.chunk(group.wire, frames, self.position)
        group.pending, group.silent = Slice(), False
        group.ring.append(chunk, chunk.size_bytes)
        self.tally.chunks += 1
        self.tally.merged += pending.merged
        self.tally.omitted_lines += pending.omitted_lines

    def chunk(self, wire: Wire, frames: Sequence[bytes], position: Position) -> Chunk:
        """A chunk of these frames."""
        return Chunk(wire, wire.joined(frames), position, len(frames), self.clock.monotonic_s())

    def checkpoint(self, group: Group) -> None:
        """Tell a group where it stands, or at least that the connection lives."""
        moved = group.told != self.position
        frame = group.wire.checkpoint(self.seal(self.position)) if moved else group.wire.heartbeat
        if frame is not None and not group.pending:
            group.pending.add_control(frame)
            group.told = self.position
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
