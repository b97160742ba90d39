"""The course of a stream that reconnects: where its reader stands, how long silence is believed, when it comes back.

Pure: time and chance are arguments. A connection counts as a failure until it brought its reader further; the pause
grows with failures in a row and is never shorter than what the service asked for. Used by `subscription`.
"""

from typing import Final

from monitor.cli.frames import Frame
from monitor.cli.service import Away, Unwatchable

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
"""With its spread of one half no stampede after a restart, and nobody who watches is blind for long."""

_LONGEST_OBEYED_S: Final = 60.0
"""A service in its right mind does not ask for more."""

_HEARTBEAT_S: Final = 15.0
"""Until the service says its own."""

_SILENT_HEARTBEATS: Final = 2.5
"""One may be late and one lost; after that nobody is there."""

_NO_STEP: Final = frozenset(
    f"stream.{word}"
    for word in ("hello", "subscribed", "snapshot", "gap", "reset", "drain", "shed", "error", "stale", "slow")
)
"""Frames after which a reader is no further than before: a connection that brings nothing else is a failure."""


class Course:
    """One reader's. `take` is called with every frame, `heard` with other signs of life, `lost` after each failure."""

    def __init__(
        self, url: str, now_s: float, *, patience_s: float, position: str | None = None, waits: bool = False
    ) -> None:
        """`position` is where the reader wants to begin, in any form that the stream's address takes; None = as the
        address has it. A service that never answered is given up at once, unless its reader `waits` for it.
        """
        self._url = url
        self.position = position
        # Whether the service gave us the position: one that it does not know any more is no mistake of the user.
        self.has_moved = False
        self.silence_s = _HEARTBEAT_S * _SILENT_HEARTBEATS
        # How a connection that ends now has ended, if it said so.
        self.farewell: Away | None = None
        self._patience_s = patience_s
        self._heard_s = now_s
        self._is_known = waits
        self.failures = 0

    def connecting(self) -> None:
        """A connection begins."""
        self.farewell = None

    def take(self, frame: Frame, now_s: float) -> None:
        """Note what a frame says about the connection."""
        self._is_known = True
        if frame.type == "stream.hello":
            # Its position was told before the service had looked at ours.
            if frame.heartbeat_ms > 0:
                self.silence_s = frame.heartbeat_ms / 1000 * _SILENT_HEARTBEATS
            return
        if frame.type not in _NO_STEP:
            self._heard_s, self.failures = now_s, 0
        if frame.type in ("stream.drain", "stream.shed", "stream.error"):
            reason = frame.message or _FAREWELLS.get(frame.type, "")
            self.farewell = Away(reason, pause_s=frame.retry_ms / 1000, is_its_word=True)
        if frame.position is not None:
            self.go_to(frame.position)

    def heard(self, now_s: float) -> None:
        """The service answered a question beside the stream."""
        self._heard_s, self._is_known = now_s, True

    def go_to(self, position: str | None) -> None:
        """Stand at a position that the service gave; None = begin anew."""
        self.position, self.has_moved = position, position is not None

    def lost(self, why: Away, now_s: float, chance: float) -> float:
        """The seconds to wait before the next try; `chance` is from 0 to 1. Raises Unwatchable when it is no use."""
        if not (self._is_known or why.is_its_word):
            raise Unwatchable(
                f"nobody answers at {self._url} ({why.reason}); start `monitor serve`, or name its address with --url"
            )
        if now_s - self._heard_s >= self._patience_s:
            raise Unwatchable(
                f"no answer from {self._url} for {self._patience_s:.0f} s ({why.reason}); see that `monitor serve` "
                "runs there, or wait longer with --patience"
            )
        pause_s = min(_FIRST_PAUSE_S * (1 << min(self.failures, 10)), _LONGEST_PAUSE_S) * (0.5 + chance / 2)
        asked_s = min(why.pause_s, _LONGEST_OBEYED_S) * (1 + chance / 4)
        self.failures += 1
        return max(pause_s, asked_s)


_FAREWELLS: Final = {
    "stream.drain": "the service is about to end",
    "stream.shed": "the service has too many connections",
}
