"""Frames: what subscribers read. A release becomes JSON once, whoever gets it; a wire adds its own few bytes around it.

Every frame carries the token of the position behind it: whoever comes back with that token gets what followed. Control
frames (`stream.*`) are the service's own words; no producer can send one, since the codec refuses their types.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import orjson

from monitor.events.position import Position
from monitor.fanout.channels import Selection
from monitor.projections.fold import Release

Seal = Callable[[Position], str]
"""Makes the token of a position."""

_OBJECT_BYTES: Final = 2048
"""What a decoded event costs beside its bytes: records, dictionaries, strings."""


class Wire(Protocol):
    """How frames look on one kind of connection."""

    # What keeps a silent connection alive; None where the protocol has pings of its own.
    heartbeat: bytes | None

    def event(self, body: bytes, token: str) -> bytes:
        """An event's frame: `body` is its JSON object with everything but the position and the closing brace."""
        ...

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        """The frame `name` with `members`; with `token` the client's position moves there."""
        ...

    def checkpoint(self, token: str) -> bytes:
        """Nothing happened, but the position is now `token`."""
        ...

    def joined(self, frames: Sequence[bytes]) -> tuple[bytes, ...]:
        """The messages that bring `frames`: as few as the protocol allows."""
        ...


class _WebSocket:
    """One text message per frame."""

    heartbeat: bytes | None = None

    def event(self, body: bytes, token: str) -> bytes:
        return b'%b,"position":"%b"}' % (body, token.encode())

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        return _document(name, members, token)

    def checkpoint(self, token: str) -> bytes:
        return self.control("stream.checkpoint", {}, token)

    def joined(self, frames: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(frames)


class _ServerSentEvents:
    """Blocks of `text/event-stream` (WHATWG HTML 9.2). Events have the default name, so that `onmessage` gets them.

    JSON never holds a raw line break, so one `data:` line is enough. A checkpoint is a block without data: it moves the
    client's last event id and fires nothing.
    """

    heartbeat: bytes | None = b":\n\n"

    def event(self, body: bytes, token: str) -> bytes:
        mark = token.encode()
        return b'id: %b\ndata: %b,"position":"%b"}\n\n' % (mark, body, mark)

    def control(self, name: str, members: Mapping[str, Any], token: str | None = None) -> bytes:
        block = b"event: %b\ndata: %b\n\n" % (name.encode(), _document(name, members, token))
        return block if token is None else b"id: %b\n%b" % (token.encode(), block)

    def checkpoint(self, token: str) -> bytes:
        return b"id: %b\n\n" % token.encode()

    def joined(self, frames: Sequence[bytes]) -> tuple[bytes, ...]:
        return (b"".join(frames),)


WEBSOCKET: Final[Wire] = _WebSocket()
SSE: Final[Wire] = _ServerSentEvents()


class Frame:
    """One release on its way out. Encoded lazily: what nobody asked for costs nothing."""

    __slots__ = ("_body", "_token", "offset", "partition", "position", "release")

    def __init__(self, release: Release, position: Position) -> None:
        """`position` is where the sender stands behind it."""
        record = release.event.record
        self.release, self.position = release, position
        self.partition, self.offset = record.partition, record.offset
        self._body: bytes | None = None
        self._token: str | None = None

    def covered_by(self, position: Position) -> bool:
        """Whether who stands at `position` has it already."""
        return position.covers(self.partition, self.offset)

    def wanted_by(self, selection: Selection) -> bool:
        """Whether the selection's connections get it."""
        return selection.matches(self.release)

    def encoded(self, wire: Wire, seal: Seal) -> bytes:
        """The frame as the sender's own position stands behind it: shared by everybody who got all before it."""
        if self._token is None:
            self._token = seal(self.position)
        return self.encoded_at(wire, self._token)

    def encoded_at(self, wire: Wire, token: str) -> bytes:
        """The frame for one client that stands elsewhere."""
        if self._body is None:
            self._body = encode_body(self.release)
        return wire.event(self._body, token)


class Cut:
    """Records that are gone from the journal before anybody read them: every subscriber is told."""

    __slots__ = ("offset", "partition", "position")

    size_bytes = _OBJECT_BYTES

    def __init__(self, partition: int, next_offset: int, position: Position) -> None:
        self.partition, self.offset, self.position = partition, next_offset - 1, position

    def covered_by(self, position: Position) -> bool:
        return position.covers(self.partition, self.offset)

    def wanted_by(self, _selection: Selection) -> bool:
        return True

    def encoded(self, wire: Wire, seal: Seal) -> bytes:
        return self.encoded_at(wire, seal(self.position))

    def encoded_at(self, wire: Wire, token: str) -> bytes:
        return wire.control("stream.gap", {"reason": "retention"}, token)


Entry = Frame | Cut
"""What travels through the hub."""


def frames_of(releases: Sequence[Release], position: Position) -> Iterator[Frame]:
    """Frames for the releases of whole records that `position` does not cover; `position` moves along with them.

    Only the last frame of a record covers it. A derived event goes ahead of its cause, which has the same record:
    whoever is cut off between the two gets both again.
    """
    last = len(releases) - 1
    for index, release in enumerate(releases):
        record = release.event.record
        if position.covers(record.partition, record.offset):
            continue
        if index == last or releases[index + 1].event.record != record:
            position = position.advanced(record.partition, record.offset + 1)
        yield Frame(release, position)


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
        batch = cls((), cut.position, cut.position, cut.size_bytes)
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


def encode_body(release: Release) -> bytes:
    """The JSON object of a release, left open at its end for the position."""
    event = release.event
    document: dict[str, Any] = {
        "type": event.type,
        "executionId": event.execution_id,
        "workflowId": release.workflow_id,
        "timestamp": event.timestamp,
        "id": event.id,
    }
    if event.source:
        document["source"] = event.source
    if event.sequence:
        document["sequence"] = event.sequence
    document["epoch"] = event.epoch
    document["data"] = event.data
    if event.traceparent:
        document["traceparent"] = event.traceparent
    document["version"] = release.version
    document["state"] = _state(release)
    return _encode(document)[:-1]


def _state(release: Release) -> dict[str, Any]:
    progress = release.progress
    return {
        "status": release.status,
        "progress": {
            "completed": progress.completed,
            "total": progress.total,
            "current": progress.current,
            "message": progress.message,
            "ratio": progress.ratio(release.status),
        },
    }


def _document(name: str, members: Mapping[str, Any], token: str | None) -> bytes:
    position = {} if token is None else {"position": token}
    return _encode({"type": name, **members, **position})


def _encode(document: Mapping[str, Any]) -> bytes:
    """orjson, and msgspec for the few things that only the decoder takes: integers of any length, deep nesting."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return msgspec.json.encode(document)
