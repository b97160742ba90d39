"""What the command line asks for becomes one question to the stream; what comes is shown once."""

import json
import random
from typing import Any

import pytest

from monitor.cli.course import Course
from monitor.cli.screen import Screen
from monitor.cli.service import Unwatchable, open_service
from monitor.cli.subscription import Subscription
from monitor.cli.tail import Wanted, condition, query_of, show
from monitor.projections.filter import FIELDS, parse_query
from tests.support.scripted import Act, Document, HastyClock, Script, scripted

STATE = {"status": "running", "progress": {"ratio": 0.5}}
HELLO = {"type": "stream.hello", "position": "hello"}


@pytest.mark.parametrize(
    ("wanted", "query"),
    [
        (Wanted(), {}),
        (Wanted(channels=["executions"]), {"channels": "executions"}),
        (Wanted(channels=["execution:e"], workflows=["a", "b"]), {"channels": "execution:e,workflow:a,workflow:b"}),
        (Wanted(statuses=["failed,timeout", "crashed"]), {"filter[status]": "failed,timeout,crashed"}),
        (Wanted(events=["execution.*", "node.failed"]), {"events": "execution.*,node.failed"}),
        (Wanted(conditions=["duration>=5", "mode!=a"]), {"filter[duration][gte]": "5", "filter[mode][ne]": "a"}),
        (Wanted(logs=True), {"logs": "1"}),
        (Wanted(recent=20), {"snapshot": "recent:20"}),
        (Wanted(since="earliest"), {}),
    ],
)  # fmt: skip
def test_question_says_what_is_wanted(wanted: Wanted, query: dict[str, str]) -> None:
    """And no snapshot after a gap, unless one was asked for; where to begin is the course's."""
    assert dict(query_of(wanted)) == {"snapshot": "none"} | query


@pytest.mark.parametrize(
    ("said", "pair"),
    [
        ("duration>=5", ("filter[duration][gte]", "5")),
        ("duration > 0.5", ("filter[duration][gt]", "0.5")),
        ("duration<5", ("filter[duration][lt]", "5")),
        (" duration <= 5 ", ("filter[duration][lte]", "5")),
        ("status!=success", ("filter[status][ne]", "success")),
        ("tag=a,b", ("filter[tag]", "a,b")),
        ("workflowName=a=b>c", ("filter[workflowName]", "a=b>c")),
        ("startedAt>=2026-11-22T10:30:00Z", ("filter[startedAt][gte]", "2026-11-22T10:30:00Z")),
    ],
)
def test_condition_is_the_filter_of_lists(said: str, pair: tuple[str, str]) -> None:
    """Written as people write it; the service's own grammar takes each of these."""
    assert condition(said) == pair
    assert len(parse_query([pair], 0).tests) == 1


@pytest.mark.parametrize(
    "said", ["", "duration", "=5", "duration>=", "duration=>5", "filter[x]=1", "a b=c", "duration==5"]
)
def test_what_is_no_condition_is_said_in_one_line(said: str) -> None:
    """With an example; what its field may be is the service's to say."""
    with pytest.raises(Unwatchable, match=r"is no condition; write --filter 'duration>=5'"):
        condition(said)


def test_fields_are_left_to_the_service() -> None:
    """Each that it knows can be written."""
    assert [condition(f"{name}=x")[0] for name in FIELDS] == [f"filter[{name}]" for name in FIELDS]


def test_beginning_is_said_once() -> None:
    """Two of them contradict each other."""
    with pytest.raises(Unwatchable, match="choose one"):
        query_of(Wanted(since="now", recent=1))


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event."""
    members = {"type": "node.started", "id": f"e{number}", "executionId": "x", "timestamp": "2026-11-22T10:30:00.000Z"}
    return {**members, "version": number, "state": STATE, "position": f"p{number}", **more}


def row(execution_id: str, version: int) -> dict[str, Any]:
    """An execution in a snapshot."""
    return {"type": "stream.snapshot", "executionId": execution_id, "version": version, "state": STATE, "execution": {}}


async def shown(capsys: pytest.CaptureFixture[str], *scripts: Script, limit: int, as_json: bool) -> list[str]:
    """The lines that come out of a service with these scripts."""
    async with scripted() as fake, open_service(fake.url) as service:
        fake.streams.extend(scripts)
        subscription = Subscription(
            service,
            "/v1/executions/stream",
            [],
            Course(fake.url, 0.0, patience_s=60),
            clock=HastyClock(),
            chance=random.Random(1),
            on_pause=lambda _why, _pause_s: None,
        )
        await show(subscription, Screen(), as_json=as_json, limit=limit)
    return capsys.readouterr().out.splitlines()


async def test_events_and_what_is_missing_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Until as many events were shown as were wanted; a log is one event, whatever its lines."""
    log = event(2, type="log.appended", data={"lines": [{"message": "one"}, {"message": "two"}]})
    gap = {"type": "stream.gap", "reason": "retention", "position": "p2"}
    lines = await shown(capsys, [HELLO, event(1), log, gap, event(3), event(4), Act.HANG], limit=3, as_json=False)
    assert [line.split()[3:5] for line in lines if line[0] != "-"] == [
        *(["node.started", "running"], ["info", "one"], ["info", "two"], ["node.started", "running"])
    ]
    assert [line for line in lines if line[0] == "-"] == ["-- events are missing (retention)"]


async def test_programs_get_each_frame_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    """But for those that concern a connection, of which they have none."""
    subscribed = {"type": "stream.subscribed", "channels": ["executions"], "position": "p0"}
    unheard = {"type": "stream.unheard", "members": ["é\x9b"]}
    gap = {"type": "stream.gap", "reason": "budget", "lost": {"from": "a", "to": "b"}, "position": "p1"}
    dropped: list[Document] = [HELLO, {"type": "stream.checkpoint", "position": "p1"}, {"type": "stream.heartbeat"}]
    drain = {"type": "stream.drain", "retryMs": 1}
    told: list[Document] = [subscribed, unheard, gap, event(7, data={"big": 1 << 70, "text": "\x1b[2J"}, coalesced=3)]
    scripts: list[Script] = [[*dropped, *told[:2], drain, Act.END], [HELLO, *told[2:], Act.HANG]]
    lines = await shown(capsys, *scripts, limit=1, as_json=True)
    assert [json.loads(line) for line in lines] == told
    assert all(line.isascii() and line.isprintable() for line in lines)


async def test_snapshot_that_was_cut_off_is_not_shown_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no position and begins again; rows that have moved on meanwhile are shown as they are now."""
    end = {"type": "stream.snapshot-end", "count": 3, "position": "p0"}
    scripts: list[Script] = [
        [HELLO, row("a", 1), row("b", 2), Act.CUT],
        [HELLO, row("a", 1), row("b", 3), row("c", 4), end, event(5), Act.CUT],
        [HELLO, {"type": "stream.gap", "reason": "slow"}, row("a", 1), end, event(6), Act.HANG],
    ]
    lines = await shown(capsys, *scripts, limit=2, as_json=True)
    told = [(frame.get("executionId"), frame.get("version")) for frame in map(json.loads, lines)]
    expected = [("a", 1), ("b", 2), ("b", 3), ("c", 4), (None, None), ("x", 5), (None, None), ("a", 1), (None, None)]
    assert told == [*expected, ("x", 6)]
