"""Frames: what subscribers read. A release becomes JSON once, whoever gets it; a wire adds its own few bytes around it.

Every frame carries the token of the position behind it: whoever comes back with that token gets what followed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NotRequired

from typing_extensions import TypedDict

from monitor.events.payloads import without_payloads
from monitor.events.position import Position
from monitor.events.types import TYPES, Class
from monitor.fanout.channels import Selection
from monitor.fanout.controls import Gap, State
from monitor.fanout.wires import Wire, encode
from monitor.projections.execution import Progress
from monitor.projections.fold import Release


class Told(TypedDict):
    """An event, with what it made of its execution."""

    type: str
    executionId: str
    workflowId: str
    timestamp: str
    """RFC 3339, by the producer's clock."""
    id: str
    """Tells repeats."""
    source: NotRequired[str]
    """Who says it."""
    sequence: NotRequired[int]
    """Dense per source, execution and epoch."""
    epoch: int
    """Counts restarts in place; the highest wins."""
    data: Mapping[str, Any]
    """As the event has it, masked; without payloads for who may not see them."""
    traceparent: NotRequired[str]
    """W3C Trace Context."""
    version: int
    """Of the execution after this event: what has a lower one is older."""
    state: State


class EventFrame(Told):
    """An event as it happened."""

    coalesced: NotRequired[int]
    """For how many events it stands, if they are several: progress that was outdone, or log lines."""
    position: str
    """Who comes back with it misses nothing that follows."""


Seal = Callable[[Position], str]
"""Makes the token of a position."""


class Frame:
    """One release on its way out. Encoded lazily: what nobody asked for costs nothing."""

    __slots__ = ("_bare_body", "_body", "_token", "offset", "partition", "position", "release")

    def __init__(self, release: Release, position: Position) -> None:
        """`position` is where the sender stands behind it."""
        record = release.event.record
        self.release, self.position = release, position
        self.partition, self.offset = record.partition, record.offset
        self._body: bytes | None = None
        self._bare_body: bytes | None = None
        self._token: str | None = None

    @property
    def stream_class(self) -> Class:
        """How streams may treat it."""
        return stream_class(self.release.event.type)

    def covered_by(self, position: Position) -> bool:
        """Whether who stands at `position` has it already."""
        return position.covers(self.partition, self.offset)

    def wanted_by(self, selection: Selection) -> bool:
        """Whether the selection's connections get it."""
        return selection.matches(self.release)

    def token(self, seal: Seal) -> str:
        """The token of the sender's own position behind it: right for everybody who got all before it."""
        if self._token is None:
            self._token = seal(self.position)
        return self._token

    def encoded_at(self, wire: Wire, token: str, coalesced: int = 1) -> bytes:
        """The frame for a client that then stands at `token`, standing for `coalesced` events."""
        body = self.body if wire.shows_payloads else self.bare_body
        if coalesced != 1:
            body = b'%b,"coalesced":%d' % (body, coalesced)
        return wire.event(self.release.event.type, body, token)

    @property
    def body(self) -> bytes:
        """Its JSON object, left open at its end for the position."""
        if self._body is None:
            self._body = encode_body(self.release)
        return self._body

    @property
    def bare_body(self) -> bytes:
        """The same without payloads."""
        if self._bare_body is None:
            data = without_payloads(self.release.event.data)
            self._bare_body = self.body if data is self.release.event.data else encode_body(self.release, data)
        return self._bare_body


class Cut:
    """Records that are gone from the journal before anybody read them: every subscriber is told."""

    __slots__ = ("offset", "partition", "position")

    stream_class: Class = "lifecycle"

    def __init__(self, partition: int, next_offset: int, position: Position) -> None:
        self.partition, self.offset, self.position = partition, next_offset - 1, position

    def covered_by(self, position: Position) -> bool:
        return position.covers(self.partition, self.offset)

    def wanted_by(self, _selection: Selection) -> bool:
        return True

    def token(self, seal: Seal) -> str:
        return seal(self.position)

    def encoded_at(self, wire: Wire, token: str) -> bytes:
        return wire.control("stream.gap", Gap(reason="retention"), token)


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


def stream_class(name: str) -> Class:
    """How streams may treat events of this type; what nobody knows is treated as carefully as can be."""
    kind = TYPES.get(name)
    return kind.stream_class if kind else "lifecycle"


def encode_body(release: Release, data: Mapping[str, Any] | None = None) -> bytes:
    """The JSON object of a release, left open at its end; with `data` in place of the event's own."""
    event = release.event
    document: Told = {
        "type": event.type,
        "executionId": event.execution_id,
        "workflowId": release.workflow_id,
        "timestamp": event.timestamp,
        "id": event.id,
        "epoch": event.epoch,
        "data": event.data if data is None else data,
        "version": release.version,
        "state": state(release.status, release.progress),
    }
    if event.source:
        document["source"] = event.source
    if event.sequence:
        document["sequence"] = event.sequence
    if event.traceparent:
        document["traceparent"] = event.traceparent
    return encode(document)[:-1]


def state(status: str, progress: Progress) -> State:
    """The state of an execution, as frames show it."""
    return {
        "status": status,
        "progress": {
            "completed": progress.completed,
            "total": progress.total,
            "current": progress.current,
            "message": progress.message,
            "ratio": progress.ratio(status),
        },
    }
