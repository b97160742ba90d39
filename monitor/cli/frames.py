"""Frames as subscribers read them: lines of JSON, cut out of whatever pieces the network delivers.

Pure. A line that is no frame means that somebody else answers, or that a proxy spoiled the answer: `Garbage`, after
which nothing else from that connection can be trusted. Used by everything that watches a service.
"""

import re
from typing import Any, Final

import msgspec

MAX_LINE_BYTES: Final = 16 << 20
"""An event has at most 1 MiB, merged log lines a few: what is longer does not come from this service."""

CONTROL_PREFIX: Final = "stream."


class Garbage(ValueError):
    """What came is no frame."""


class Progress(msgspec.Struct, frozen=True):
    """How far an execution is."""

    completed: int | None = None
    total: int | None = None
    current: str | None = None
    message: str | None = None
    ratio: float = 0.0


class State(msgspec.Struct, frozen=True):
    """An execution as an event left it."""

    status: str
    progress: Progress


class Frame(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A frame of any kind; members that its type does not have are at their defaults."""

    type: str
    # Whoever comes back with it gets what followed; None where the frame does not move its reader.
    position: str | None = None
    # Events, and snapshots of executions
    execution_id: str = ""
    workflow_id: str | None = None
    timestamp: str = ""
    id: str | None = None
    epoch: int = 0
    data: dict[str, Any] = msgspec.field(default_factory=dict)
    version: int = 0
    state: State | None = None
    # Snapshots: the execution as reads return it
    execution: dict[str, Any] = msgspec.field(default_factory=dict)
    # Words of the service about the stream
    heartbeat_ms: float = msgspec.field(default=0.0, name="heartbeat_ms")
    retry_ms: float = 0.0
    status: str = ""
    reason: str = ""
    message: str = ""
    href: str = ""
    count: int = 0
    lag_events: int = 0

    @property
    def is_event(self) -> bool:
        """Whether it tells of an execution; the others (`stream.*`) are words about the stream itself."""
        return self.state is not None and not self.type.startswith(CONTROL_PREFIX)


class Lines:
    """Cuts bytes that come in any pieces into lines."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that `piece` completes, without their ends; empty ones are none. Raises Garbage."""
        *complete, rest = piece.split(b"\n")
        if complete:
            complete[0] = b"".join([*self._rest, complete[0]])
            self._rest, self._rest_bytes = [], 0
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        if self._rest_bytes > MAX_LINE_BYTES:
            raise Garbage(f"a line of more than {MAX_LINE_BYTES >> 20} MiB")
        return [line for line in map(bytes.strip, complete) if line]


def read_frame(line: bytes) -> Frame:
    """The frame on a line. Raises Garbage."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Garbage("an answer that is no frame of this service") from None


def json_line(line: bytes) -> str:
    """A line of JSON in plain ASCII: whatever strangers wrote into it, it neither steers a terminal nor fails to be
    written in the encoding of a pipe.
    """
    return _BEYOND_ASCII.sub(lambda found: _escaped(found[0]), line.decode())


def _escaped(character: str) -> str:
    r"""As `\uXXXX`, in two halves beyond the first 65,536 (RFC 8259, section 7)."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


_DECODER: Final = msgspec.json.Decoder(Frame)
_BEYOND_ASCII: Final = re.compile(r"[^ -~]")
