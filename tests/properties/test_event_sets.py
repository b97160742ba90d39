"""What property tests draw is what may be in a journal, and all of it occurs."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.codec import decode
from monitor.events.model import Event, Record
from tests.support.histories import EXECUTION_ID, WireEvent, arrivals, event_sets


@given(event_sets())
@settings(max_examples=200, deadline=None)
def test_every_drawn_event_decodes(events: list[WireEvent]) -> None:
    """All are events of the one execution, as the codec takes them from a journal."""
    for event in events:
        decoded = decode(Record(0, 0, None, json.dumps(event).encode(), (), 0), lambda _record, _team: "default")
        assert isinstance(decoded, Event)
        assert decoded.execution_id == EXECUTION_ID


@given(event_sets(), st.data())
@settings(max_examples=100, deadline=None)
def test_arrivals_lose_and_invent_nothing(events: list[WireEvent], data: st.DataObject) -> None:
    """Each event arrives at least once, and nothing else does."""
    arrived = {json.dumps(event, sort_keys=True) for event in data.draw(arrivals(events))}
    assert arrived == {json.dumps(event, sort_keys=True) for event in events}
