"""The log lines that a follower was told, so that none is told twice when a log is read again after a gap.

Pure. Answers do not say which event brought a line, so lines are known by what they say, and counted: one that is in
the log twice is told twice. Memory is bounded. Used by `watch`.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from monitor.cli.frame_line import log_lines_in
from monitor.cli.frames import Frame
from monitor.events.codec import parse_time_us
from monitor.projections.loglines import level_of
from monitor.projections.members import text

MOST_LINES: Final = 50_000
"""About ten MiB. Of a longer log, what a gap left out among older lines is not told any more."""

Line = Mapping[str, Any]


class ToldLines:
    """Of one execution. `told` with every event; `begin` and then `news` with each page when the log is read."""

    def __init__(self) -> None:
        # Up to this time lines may be forgotten, and are not read again; None = all are remembered.
        self.forgotten_us: int | None = None
        self._told: Counter[int] = Counter()
        self._order: deque[tuple[int, int]] = deque()
        # In the answer that is being read: all lines so far, and those of the millisecond in which its page ended.
        self._read: Counter[int] = Counter()
        self._edge: Counter[int] = Counter()
        # Told from it: the events that brought them may still come by stream, which is behind a later answer.
        self._ahead: Counter[int] = Counter()

    def told(self, frame: Frame) -> Sequence[Line]:
        """The lines of an event, but for those that an answer was ahead with; now they are told."""
        found = []
        for line in log_lines_in(frame):
            answered = _as_answered(frame, line)
            identity = _identity(answered)
            if self._ahead[identity]:
                self._ahead[identity] -= 1
            else:
                self._add(answered, identity)
                found.append(line)
        return found

    def begin(self) -> None:
        """A log is about to be read, from its beginning or from `forgotten_us` on."""
        self._read.clear()
        self._edge.clear()

    def news(self, page: Sequence[Line]) -> Sequence[Line]:
        """Those lines of `page` that were not told; now they are. A page begins anywhere in the millisecond in which
        the one before it ended, and follows it without a hole.
        """
        again = self._edge.copy()
        found = []
        for line in page:
            identity = _identity(line)
            if again[identity]:
                again[identity] -= 1
                continue
            self._read[identity] += 1
            if self._read[identity] > self._told[identity]:
                self._add(line, identity)
                self._ahead[identity] += 1
                found.append(line)
        self._edge = Counter(_identity(line) for line in page if time_us(line) == time_us(page[-1]))
        return found

    def _add(self, line: Line, identity: int) -> None:
        self._told[identity] += 1
        self._order.append((time_us(line) or 0, identity))
        if len(self._order) > MOST_LINES:
            at_us, oldest = self._order.popleft()
            self._told[oldest] -= 1
            self._ahead[oldest] = min(self._ahead[oldest], self._told[oldest])
            if not self._told[oldest]:
                del self._told[oldest], self._ahead[oldest]
            self.forgotten_us = max(self.forgotten_us or 0, at_us)


def time_us(line: Line) -> int | None:
    """When a line was written; None when nobody can tell."""
    try:
        return parse_time_us(str(line.get("timestamp")))
    except ValueError:
        return None


def _identity(line: Line) -> int:
    """Equal for a line of an event and the same line in an answer, which has milliseconds and our words for levels."""
    at_us = time_us(line)
    said = line.get("message"), msgspec.json.encode(line.get("data"), order="sorted")
    return hash((at_us and at_us // 1000, level_of(line.get("level")), text(line.get("nodeId")), *said))


def _as_answered(frame: Frame, line: Line) -> Line:
    """A line of an event as an answer shows it: without a time or a node of its own it has the event's."""
    own = {} if time_us(line) is None else {"timestamp": line["timestamp"]}
    node_id = text(line.get("nodeId")) or text(frame.data.get("nodeId"))
    return {**line, "nodeId": node_id, "timestamp": frame.timestamp, **own}
