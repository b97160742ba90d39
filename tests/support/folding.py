"""Folding by hand: events as short calls, one execution, everything that came out."""

import json
from typing import Any

from monitor.events.codec import decode, format_time
from monitor.events.model import DEFAULT_TEAM, Event, Poison, Record
from monitor.projections.execution import Execution
from monitor.projections.fold import Changes, fold
from monitor.projections.view import Summary, summary
from tests.support.clocks import NOON_US

ID = (DEFAULT_TEAM, "exec_1")


def at(second: float) -> str:
    """A time so many seconds past noon, as producers write it."""
    return format_time(NOON_US + round(second * 1_000_000))


class Run:
    """One execution and what the fold says about it."""

    def __init__(self) -> None:
        self.execution = Execution(*ID)
        self.offset = 0

    def take(self, *events: Event | Poison) -> Changes:
        """Fold a batch."""
        return fold(events, {ID: self.execution})

    def event(self, type_: str, second: float = 0, *, data: Any = None, **members: Any) -> Event:
        """The next event of the journal; `data` and other members as given."""
        document = {"type": type_, "executionId": ID[1], "timestamp": at(second), "id": f"evt_{self.offset}"}
        value = json.dumps({**document, **({} if data is None else {"data": data}), **members}).encode()
        record = Record(0, self.offset, None, value, (), NOON_US + self.offset)
        self.offset += 1
        event = decode(record, lambda _record, _claimed: DEFAULT_TEAM)
        assert isinstance(event, Event)
        return event

    def tell(self, type_: str, second: float = 0, *, data: Any = None, **members: Any) -> Changes:
        """Fold one event."""
        return self.take(self.event(type_, second, data=data, **members))

    def verdict(self, as_of: float) -> Changes:
        """The monitor presumes a crash, on evidence up to `as_of`."""
        said = {"status": "crashed", "provisional": True, "asOf": at(as_of)}
        return self.tell("execution.failed", 100, source="monitor", data=said)

    @property
    def view(self) -> Summary:
        """What everybody sees."""
        return summary(self.execution)
