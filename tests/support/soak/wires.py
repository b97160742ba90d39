"""Bytes of a stream to frames, for the three transports: lean, so that hundreds of clients fit beside their service.

Each reader takes the answer to its request from the first byte on. Pure; what has to be sent back is left in `answers`.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final, Protocol

import orjson

from tests.support.event_stream import EventStream
from tests.support.raw_websocket import CLOSE, PING, PONG, TEXT, made

Frame = dict[str, Any]

_HEAD_END: Final = b"\r\n\r\n"


class Refused(Exception):
    """The answer is not a stream."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Reader(Protocol):
    """Makes frames of one connection's bytes."""

    # What is to be sent back now; whoever sends it empties the list.
    answers: list[bytes]
    # The code of a close frame; None = there was none.
    close_code: int | None
    # Whether the answer's head came, and is as it should be.
    is_begun: bool

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that are complete now; a checkpoint of server-sent events is one as well. Raises Refused."""
        ...


class _Answer:
    """The head of the answer, and the bytes behind it."""

    def __init__(self, status: int) -> None:
        self.answers: list[bytes] = []
        self.close_code: int | None = None
        self._status = status
        self.is_begun = False
        self._held = b""

    def _body(self, data: bytes) -> bytes:
        """What is there of the body, with what was held back of it."""
        self._held += data
        if not self.is_begun:
            head, found, rest = self._held.partition(_HEAD_END)
            if not found:
                return b""
            if (status := int(head.split(b" ", 2)[1])) != self._status:
                raise Refused(status)
            self.is_begun, self._held = True, rest
        return self._held


class WebSocketReader(_Answer):
    """Text messages, pings and the close frame."""

    def __init__(self) -> None:
        super().__init__(101)

    def feed(self, data: bytes) -> Iterator[Frame]:
        held, at = self._body(data), 0
        while (found := _frame_at(held, at)) is not None:
            opcode, payload, at = found
            if opcode == TEXT:
                yield orjson.loads(payload)
            elif opcode == PING:
                self.answers.append(made(PONG, payload))
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2])
                self.answers.append(made(CLOSE, payload))
        if self.is_begun:
            self._held = held[at:]


class _Chunked(_Answer):
    """A body in chunks."""

    def __init__(self) -> None:
        super().__init__(200)

    def _data(self, data: bytes) -> bytes:
        held, at, pieces = self._body(data), 0, []
        while (line_end := held.find(b"\r\n", at)) >= 0:
            begin = line_end + 2
            end = begin + int(held[at:line_end], 16)
            if len(held) < end + 2:
                break
            pieces.append(held[begin:end])
            at = end + 2
        if self.is_begun:
            self._held = held[at:]
        return b"".join(pieces)


class EventReader(_Chunked):
    """Server-sent events, read by the letter of the standard."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = EventStream()
        self._position = ""

    def feed(self, data: bytes) -> Iterator[Frame]:
        for fired in self._stream.feed(self._data(data)):
            frame: Frame = orjson.loads(fired.data)
            if "position" not in frame and fired.last_event_id != self._position:
                # A checkpoint stood between them.
                self._position = fired.last_event_id
                yield {"type": "stream.checkpoint", "position": self._position}
            # What a browser would send when it comes back is what the frame says.
            assert fired.last_event_id == frame.get("position", self._position), fired
            assert fired.type == (frame["type"] if frame["type"].startswith("stream.") else "message"), fired
            self._position = fired.last_event_id
            yield frame
        if self._stream.last_event_id != self._position:
            self._position = self._stream.last_event_id
            yield {"type": "stream.checkpoint", "position": self._position}


class LineReader(_Chunked):
    """Lines of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._line = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        *lines, self._line = (self._line + self._data(data)).split(b"\n")
        for line in lines:
            yield orjson.loads(line)


def _frame_at(held: bytes, at: int) -> tuple[int, bytes, int] | None:
    """The whole frame of a server at this place, and where the next one begins; None = it is not complete."""
    if len(held) < at + 2:
        return None
    first, length, begin = held[at], held[at + 1], at + 2
    if length == 126:
        begin += 2
    elif length == 127:
        begin += 8
    if len(held) < begin:
        return None
    if length >= 126:
        [length] = struct.unpack_from("!H" if length == 126 else "!Q", held, at + 2)
    if len(held) < begin + length:
        return None
    return first & 0xF, held[begin : begin + length], begin + length
