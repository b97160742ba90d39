"""Made-up histories are what an engine would tell, and hold everything that the wire form allows."""

import json
from collections import Counter
from itertools import chain
from typing import Any

from monitor.events.codec import decode
from monitor.events.model import Event, Record
from monitor.events.types import TYPES
from monitor.projections.execution import Execution
from monitor.projections.fold import fold
from monitor.projections.status import STATUSES
from tests.support.made_up import PLAIN, VARIED, histories

WireEvent = dict[str, Any]


def decoded(event: WireEvent, offset: int) -> Event:
    """The event as it comes out of a journal."""
    record = Record(0, offset, None, json.dumps(event).encode(), (), 1)
    result = decode(record, lambda _record, _team: "default")
    assert isinstance(result, Event), result
    return result


def status(history: list[WireEvent]) -> str:
    """The status that a history leaves its execution in."""
    execution = Execution("default", history[0]["executionId"])
    fold([decoded(event, at) for at, event in enumerate(history)], {("default", execution.id): execution})
    return execution.status


def test_a_plain_history_has_fifteen_events_of_450_bytes() -> None:
    """Most executions run to their end: queued, started, five nodes, two log events, the end."""
    plain = list(histories(1, 200))
    assert Counter(len(history) for history in plain).most_common(1)[0][0] == 15
    sizes = [len(json.dumps(event, separators=(",", ":"))) for event in chain(*plain)]
    assert 420 <= sum(sizes) / len(sizes) <= 480


def test_every_status_is_left_behind() -> None:
    """Both mixes reach all statuses; in the plain one most executions succeed."""
    assert {status(history) for history in histories(1, 400)} == set(STATUSES)
    assert {status(history) for history in histories(1, 100, mix=VARIED)} == set(STATUSES)
    assert sum(status(history) == "success" for history in histories(2, 100)) > 60


def test_equal_seeds_give_equal_histories() -> None:
    """The seed decides everything."""
    assert list(histories(3, 20, mix=VARIED)) == list(histories(3, 20, mix=VARIED))
    assert list(histories(3, 20, mix=VARIED)) != list(histories(4, 20, mix=VARIED))


def test_ids_and_sequences_are_those_of_an_honest_producer() -> None:
    """Ids occur once; each source counts each epoch from 1 without a hole."""
    for history in histories(5, 200, mix=VARIED):
        ids = [event["id"] for event in history if "id" in event]
        assert len(ids) == len(set(ids)) in (0, len(history))
        counted: dict[tuple[str, int], list[int]] = {}
        for event in history:
            if "sequence" in event:
                counted.setdefault((event["source"], event.get("epoch", 0)), []).append(event["sequence"])
        for numbers in counted.values():
            assert numbers == list(range(1, len(numbers) + 1))


def test_varied_histories_hold_everything_that_the_wire_allows() -> None:
    """Waits, retries, loops, restarts, several sources, missing ids, sequences and workflows all occur."""
    events = list(chain(*histories(6, 200, mix=VARIED)))
    kinds = {event["type"] for event in events}
    assert {"execution.waiting", "execution.resumed", "node.retrying", "node.cancelled"} <= kinds
    assert kinds <= set(TYPES)
    assert {event.get("epoch", 0) for event in events} == {0, 1}
    assert {event["source"] for event in events} == {"engine-1", "queue"}
    assert max(event["data"].get("iteration", 0) for event in events) > 0
    assert max(event["data"].get("attempt", 1) for event in events) == 2
    for member in ("id", "sequence", "workflowId"):
        assert {member in event for event in events} == {True, False}
    assert all("workflowId" in event for event in events if event["type"].startswith("execution."))


def test_plain_histories_leave_the_oddities_out() -> None:
    """Every plain event has an id, a sequence and a workflow, and every execution one source and one epoch."""
    for event in chain(*histories(7, 100, mix=PLAIN)):
        assert {"id", "sequence", "workflowId"} <= set(event)
        assert (event["source"], event.get("epoch", 0)) == ("engine-1", 0)
