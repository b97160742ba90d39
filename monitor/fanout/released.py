"""What commits released, kept as it came: the backlog's pieces, whose frames are made when somebody asks for them."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from monitor.events.position import Position
from monitor.fanout.frames import Cut, Entry, frames_of
from monitor.projections.fold import Release

_OBJECT_BYTES: Final = 2048
"""What a decoded event costs beside its bytes: records, dictionaries, strings."""


class Released:
    """What one commit released, as it came: the frames are made once, when somebody asks for them."""

    __slots__ = ("_entries", "_releases", "after", "before", "size_bytes")

    def __init__(self, releases: Sequence[Release], before: Position, after: Position, size_bytes: int) -> None:
        """Together the releases lie between the positions `before` and `after`."""
        self._releases, self.before, self.after, self.size_bytes = releases, before, after, size_bytes
        self._entries: Sequence[Entry] | None = None

    @classmethod
    def of_cut(cls, cut: Cut) -> "Released":
        """A cut, which stands where the lost records would."""
        batch = cls((), cut.position, cut.position, _OBJECT_BYTES)
        batch._entries = (cut,)
        return batch

    @property
    def entries(self) -> Sequence[Entry]:
        """The frames, in order; repeats of what `before` covers are left out."""
        if self._entries is None:
            self._entries = tuple(frames_of(self._releases, self.before))
        return self._entries

    def since(self, position: Position) -> Sequence[Entry]:
        """The entries from the first one that `position`, which includes `before`, does not cover."""
        first = bisect_left(self.entries, True, key=lambda entry: not _lies_behind(entry, position))
        return self.entries[first:]


def in_pieces(releases: Sequence[Release], before: Position, after: Position, piece_bytes: int) -> Iterator[Released]:
    """What a commit released between two positions, in pieces of about `piece_bytes` that keep records whole."""
    begin, size_bytes, last = 0, 0, len(releases) - 1
    for index, release in enumerate(releases):
        size_bytes += _size_bytes(release)
        if size_bytes >= piece_bytes and index < last and releases[index + 1].event.record != release.event.record:
            piece = releases[begin : index + 1]
            position = _behind(piece, before)
            yield Released(piece, before, position, size_bytes)
            begin, before, size_bytes = index + 1, position, 0
    if releases:
        yield Released(releases[begin:], before, after, size_bytes)


def _behind(releases: Sequence[Release], position: Position) -> Position:
    """Where `position` stands once it has these releases too."""
    ends = {release.event.record.partition: release.event.record.offset + 1 for release in releases}
    for partition, end in ends.items():
        position = position.advanced(partition, end)
    return position


def _size_bytes(release: Release) -> int:
    """About what it holds in memory: the producer's bytes, the decoded event, the encoded body."""
    return _OBJECT_BYTES + 4 * len(release.event.record.value or b"")


def _lies_behind(entry: Entry, position: Position) -> bool:
    """Whether this entry and all before it are covered: true up to some place of the batch, false from there on."""
    return entry.covered_by(position) and position.includes(entry.position)
