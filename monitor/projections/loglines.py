"""Log lines of executions: read from `log.appended`, kept as a set, shown in order of time."""

from typing import Any, Final, NamedTuple

from monitor.events.codec import parse_time_us
from monitor.events.model import Event
from monitor.projections.members import text

LEVELS: Final = ("debug", "info", "warn", "error")

_SPELLINGS: Final = {
    "warning": "warn",
    "err": "error",
    "fatal": "error",
    "critical": "error",
    "trace": "debug",
}


Spot = tuple[int, int, int]
"""Where a line stands in its execution's log: (time_us, event_tie, place)."""


class LogLine(NamedTuple):
    """One line. (time_us, event_tie, place) orders and identifies it within its execution."""

    time_us: int
    event_tie: int
    # Place in its event, from 0.
    place: int
    level: str
    node_id: str | None
    message: str
    # Anything JSON that the producer added; None = nothing.
    data: Any

    @property
    def spot(self) -> Spot:
        """Where it stands."""
        return self.time_us, self.event_tie, self.place


def read_lines(event: Event, tie: int) -> list[LogLine]:
    """The lines of a `log.appended` event, `tie` their part of its id; a line without a usable time has its event's."""
    return [_read_line(event, tie, index, line) for index, line in enumerate(event.data["lines"])]


def level_of(said: object) -> str:
    """One of LEVELS for whatever a producer calls it; `info` for words that nobody knows."""
    word = said.lower() if isinstance(said, str) else "info"
    word = _SPELLINGS.get(word, word)
    return word if word in LEVELS else "info"


def _read_line(event: Event, tie: int, index: int, line: dict[str, Any]) -> LogLine:
    node_id = text(line.get("nodeId")) or text(event.data.get("nodeId"))
    return LogLine(
        _time_us(event, line),
        tie,
        index,
        level_of(line.get("level")),
        node_id,
        line["message"],
        line.get("data"),
    )


def _time_us(event: Event, line: dict[str, Any]) -> int:
    said = line.get("timestamp")
    try:
        return parse_time_us(said) if isinstance(said, str) else event.time_us
    except ValueError:
        return event.time_us
