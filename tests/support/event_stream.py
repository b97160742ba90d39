"""A reader of `text/event-stream` by the letter of the standard (WHATWG HTML 9.2.5 and 9.2.6), for bytes in any pieces.

It answers what a browser's EventSource would fire, so that what the service sends can be held against the standard and
not against a reader that forgives.
"""

import codecs
import re
from typing import Final, NamedTuple

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
"""Nothing else ends a line: U+0085, U+2028, VT or FF are ordinary characters of a value."""

_DIGITS: Final = re.compile(r"[0-9]+")


class Fired(NamedTuple):
    """A MessageEvent: what a listener for `type` gets."""

    type: str
    data: str
    last_event_id: str


class EventStream:
    """One response's body. What is left unfinished at its end is never fired."""

    def __init__(self) -> None:
        self.last_event_id = ""
        """What a reconnect sends; only the end of a block moves it."""
        self.retry_ms: int | None = None
        # Bytes that are no UTF-8 become U+FFFD; the decoder itself would keep a byte order mark.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._after_cr = False
        self._line = ""
        self._type = self._data = self._id = ""

    def feed(self, piece: bytes) -> list[Fired]:
        """What fires because of the next bytes."""
        text = self._without_mark(self._decoder.decode(piece))
        if not text:
            return []
        after_cr, self._after_cr = self._after_cr, text.endswith("\r")
        # A line has ended with its CR already when the LF comes; together they are one end.
        text = text.removeprefix("\n") if after_cr else text
        *lines, self._line = _LINE_END.split(self._line + text)
        return [fired for line in lines if (fired := self._read(line))]

    def _without_mark(self, text: str) -> str:
        if not text or self._begun:
            return text
        self._begun = True
        return text.removeprefix("\ufeff")

    def _read(self, line: str) -> Fired | None:
        if not line:
            return self._dispatch()
        if not line.startswith(":"):
            name, _, value = line.partition(":")
            self._take(name, value.removeprefix(" "))
        return None

    def _take(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._type = value
            case "data":
                self._data += value + "\n"
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if _DIGITS.fullmatch(value):
                self.retry_ms = int(value)

    def _dispatch(self) -> Fired | None:
        self.last_event_id = self._id
        kind, data = self._type or "message", self._data
        self._type = self._data = ""
        return Fired(kind, data.removesuffix("\n"), self.last_event_id) if data else None
