"""Real n8n logs tell what n8n's own API reported in the end, in any order of files, twice, or cut anywhere."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.codec import decode
from monitor.events.model import Event, Record
from monitor.events.types import TYPES, reported_status, status_rank
from monitor.sources.n8n_lines import TELLING, Line, Node, read_lines
from monitor.sources.n8n_log import Translator, WireEvent, translate

DATA = Path(__file__).parents[2] / "data" / "n8n"
LOGS = {path.name: path.read_bytes().splitlines(keepends=True) for path in sorted(DATA.glob("*.log"))}
LINES = [(name, number, line) for name, lines in LOGS.items() for number, line in enumerate(lines, 1)]
TRUTH = {execution["execution"]: execution for execution in json.loads((DATA / "truth.json").read_text())["executions"]}
# Its process was killed: the log just ends.
KILLED = "39"

# n8n's words for statuses, and ours.
OURS = {"success": "success", "error": "failed", "canceled": "cancelled", "waiting": "waiting"}

Told = dict[str, tuple[str, dict[str, list[str]]]]


def told_by(events: Iterable[WireEvent]) -> Told:
    """Status of each execution and the statuses of each node's runs, as a reader of the events sees them."""
    statuses: dict[str, str] = {}
    runs: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for event in sorted(events, key=order):
        kind, data = TYPES[event["type"]], event["data"]
        number = event["executionId"].partition(":")[2]
        status = reported_status(kind, data.get("status"))
        if kind.family == "node" and status:
            runs[number][data["nodeName"]][data["iteration"]] = status
        elif kind.family == "execution" and status and not is_over(statuses.get(number)):
            statuses[number] = status
    return {
        number: (status, {name: [by[i] for i in sorted(by)] for name, by in runs[number].items()})
        for number, status in statuses.items()
    }


def order(event: WireEvent) -> tuple[str, int]:
    """By time; of the same instant, later phases and stronger ends come last."""
    status = reported_status(TYPES[event["type"]], event["data"].get("status"))
    return event["timestamp"], status_rank(status) if status else 0


def is_over(status: str | None) -> bool:
    """Whether the execution has ended: its first end holds."""
    return status in ("success", "failed", "cancelled", "timeout")


def expected(execution: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """What the API reported: nodes of earlier runs succeeded, the last run has the node's status."""
    nodes = [node for node in execution["nodes"] if not node.get("inherited")]
    runs = {node["name"]: ["success"] * (node["runs"] - 1) + [OURS[node["status"]]] for node in nodes}
    return OURS[execution["status"]], runs


def by_id(events: Iterable[WireEvent]) -> dict[str, str]:
    """The text of each event by its id; two texts under one id are an error."""
    texts: dict[str, str] = {}
    for event in events:
        text = json.dumps(event, sort_keys=True)
        assert texts.setdefault(event["id"], text) == text
    return texts


ALL = translate(LOGS.items()).events


@pytest.mark.parametrize("number", [number for number in TRUTH if number != KILLED])
def test_status_and_nodes_equal_the_truth(number: str) -> None:
    """Every execution that the log alone can decide has the status, nodes, runs and node statuses of n8n's API."""
    assert told_by(ALL)[number] == expected(TRUTH[number])


def test_nothing_of_the_captures_is_refused_or_left_over() -> None:
    """Each execution of the truth is told, no other, and no line is refused."""
    assert translate(LOGS.items()).refused == []
    assert set(told_by(ALL)) == set(TRUTH)


def test_a_killed_process_leaves_its_execution_running() -> None:
    """A log that just ends proves no end: the execution stays running, its open node too."""
    assert told_by(ALL)[KILLED] == ("running", {"Webhook": ["success"], "Wait 20s": ["running"]})


def test_errors_equal_the_truth() -> None:
    """A failed execution carries n8n's message and points to the failing node, as does that node."""
    for number, execution in TRUTH.items():
        if execution["status"] != "error":
            continue
        mine = [event for event in ALL if event["executionId"] == f"n8n:{number}"]
        (failed,) = [event["data"]["error"] for event in mine if event["type"] == "execution.failed"]
        (node,) = [event["data"] for event in mine if event["type"] == "node.failed"]
        assert failed["message"] == node["error"]["message"] == execution["errorMessage"]
        assert failed["nodeName"] == node["nodeName"] == execution["lastNodeExecuted"]
        assert failed["nodeId"] == node["nodeId"]


def test_events_are_accepted_by_the_codec_and_marked_as_imported() -> None:
    """Each event decodes, names instance and source, and is `backfill` unless it was asked otherwise."""
    for event in ALL:
        decoded = decode(Record(0, 0, None, json.dumps(event).encode(), (), 0), lambda _record, _team: "default")
        assert isinstance(decoded, Event)
        assert decoded.execution_id.startswith("n8n:")
        assert decoded.source == "n8n-log:n8n"
        assert decoded.backfill
    live = translate(LOGS.items(), "prod-1", backfill=False).events
    assert {(event["source"], event.get("backfill")) for event in live} == {("n8n-log:prod-1", None)}
    assert all(event["executionId"].startswith("prod-1:") for event in live)


def test_queued_executions_wait_until_a_worker_takes_them() -> None:
    """With a queue main's `started` means queued; the worker's `dequeued`, 20 s later here, is the start."""
    mine = {event["type"]: event["timestamp"] for event in ALL if event["executionId"] == "n8n:99"}
    assert mine["execution.queued"] == "2026-11-22T01:24:10.062Z"
    assert mine["execution.started"] == "2026-11-22T01:24:29.762Z"


def test_addresses_of_people_stay_behind() -> None:
    """Names and addresses of n8n's users are not carried over; error messages are, for masking is not done here."""
    texts = json.dumps([event for event in ALL if "error" not in event["data"]])
    assert "@" not in texts
    assert "firstName" not in texts


def test_the_order_of_the_files_makes_no_difference() -> None:
    """Whatever order files are given in, the same events come out."""
    for files in itertools.permutations(LOGS.items()):
        assert translate(files).events == ALL


def test_files_given_twice_make_no_difference() -> None:
    """A line that comes again, under whatever file name, is told once."""
    assert translate([*LOGS.items(), *((f"copy of {name}", lines) for name, lines in LOGS.items())]).events == ALL


@pytest.mark.parametrize("name", LOGS)
def test_a_file_cut_at_any_line_is_completed_by_the_next_import(name: str) -> None:
    """An import of a log still being written tells a part of the whole, under the same ids, with the same texts."""
    whole = by_id(ALL)
    others = [(other, lines) for other, lines in LOGS.items() if other != name]
    for cut in range(len(LOGS[name])):
        part = by_id(translate([*others, (name, LOGS[name][:cut])]).events)
        assert all(whole.get(event_id, text) == text for event_id, text in part.items())


@pytest.mark.parametrize("name", LOGS)
def test_a_file_that_lost_its_beginning_contradicts_nothing(name: str) -> None:
    """After a rotation took the first lines away, no id that was imported before comes with another text."""
    whole = by_id(ALL)
    for cut in range(len(LOGS[name])):
        part = by_id(translate([(name, LOGS[name][cut:])]).events)
        assert all(whole.get(event_id, text) == text for event_id, text in part.items())


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_shuffled_and_corrupted_lines_never_raise_and_never_vanish(data: st.DataObject) -> None:
    """Whatever happened to a log: good lines are told as before, and each bad one is refused at its place."""
    chosen = data.draw(st.lists(st.sampled_from(LINES), max_size=60))
    broken = data.draw(st.sets(st.integers(0, max(len(chosen) - 1, 0)), max_size=8)) if chosen else set()
    lines = [corrupted(line, data) if at in broken else line for at, (_, _, line) in enumerate(chosen)]
    translation = translate([("shuffled.log", lines)])
    by_id(translation.events)
    refused = {int(place.rpartition(":")[2]) - 1 for place, _ in translation.refused}
    assert refused <= broken
    for at in broken - refused:  # still a line: told, or silent
        assert b'"__type"' in lines[at] or not lines[at].strip()


def corrupted(line: bytes, data: st.DataObject) -> bytes:
    """The line cut, or with a byte replaced, or another line's middle inside."""
    at = data.draw(st.integers(0, len(line) - 1))
    return data.draw(
        st.sampled_from([line[:at], line[at:], line[:at] + b"\xff" + line[at + 1 :], line[:at] + b'{"' + line[at:]])
    )


@given(st.lists(st.integers(0, len(LINES) - 1), unique=True, max_size=200))
@settings(max_examples=100, deadline=None)
def test_an_id_never_stands_for_two_texts(kept: list[int]) -> None:
    """Any part of the lines, as rotation and loss may leave it, agrees with the whole wherever ids are the same."""
    whole = by_id(ALL)
    files: dict[str, list[bytes]] = defaultdict(list)
    for at in sorted(kept):
        files[LINES[at][0]].append(LINES[at][2])
    part = by_id(translate(files.items()).events)
    assert all(whole.get(event_id, text) == text for event_id, text in part.items())


def test_there_is_a_rule_for_each_telling_line() -> None:
    """What reading lets through, translating knows."""
    for name in TELLING:
        node = Node("n", "N", "set")
        payload = {"executionId": "1"}
        Translator().feed(Line("a.log:1", "id", 1_000_000, name, "1", None, node, payload))


# --- what the captures do not hold -----------------------------------------------------------------------------------

NodeLine = tuple[str, str]


def story(*told: str | NodeLine, **payload: Any) -> list[WireEvent]:
    """The events of one execution whose lines, a millisecond apart, are named by event or by (event, node)."""
    translator, events = Translator(), []
    for at, one in enumerate(told):
        name, node = (one, None) if isinstance(one, str) else (one[0], Node(one[1], one[1], f"base.{one[1]}"))
        line = Line(f"a.log:{at}", f"id-{at}", at * 1000, name, "1", "wf", node, {"executionId": "1", **payload})
        events += translator.feed(line)
    return events


def types(events: Sequence[WireEvent]) -> list[str]:
    """What the events are, in order."""
    return [event["type"] for event in events]


def test_a_timeout_is_a_failure_with_status_timeout() -> None:
    """n8n cancels what runs too long; the `failed` that follows is not told."""
    events = story("workflow.started", "workflow.cancelled", "workflow.failed", reason="timeout")
    assert types(events) == ["execution.started", "execution.failed"]
    assert events[-1]["data"] == {"status": "timeout", "reason": "timeout"}


def test_a_timed_wait_is_one_run_of_its_node() -> None:
    """A timed wait leaves only a second pair of its node in the log: the first end was the beginning of the wait."""
    pair: list[NodeLine] = [("node.started", "wait"), ("node.finished", "wait")]
    events = story("workflow.started", *pair, *pair, "workflow.success")
    assert types(events)[1:] == [
        "node.started",
        "node.waiting",
        "node.resumed",
        "node.completed",
        "execution.completed",
    ]
    assert {event["data"]["iteration"] for event in events[1:-1]} == {0}


def test_the_last_finished_node_waits_until_it_is_known_how_it_finished() -> None:
    """A log that ends at a finished node does not tell yet whether the node failed."""
    assert types(story("workflow.started", ("node.started", "a"), ("node.finished", "a"))) == [
        "execution.started",
        "node.started",
    ]


def test_a_failing_execution_ends_its_open_nodes() -> None:
    """The node that n8n names failed, the others that never finished are cancelled."""
    opened = [("node.started", "agent"), ("node.started", "tool")]
    events = story("workflow.started", *opened, "workflow.failed", lastNodeExecuted="tool", errorMessage="no")
    assert types(events)[3:] == ["node.cancelled", "node.failed", "execution.failed"]


def test_a_late_line_of_a_worker_follows_the_end_that_main_told() -> None:
    """Lines that a fast clock puts after the end are told as that end left them."""
    late: list[NodeLine] = [("node.started", "a"), ("node.finished", "a")]
    assert types(story("workflow.success", *late))[1:] == ["node.started", "node.completed"]
    assert types(story("workflow.cancelled", *late))[1:] == ["node.started", "node.cancelled"]
    assert types(story("workflow.failed", *late, lastNodeExecuted="a"))[1:] == ["node.started", "node.failed"]


def test_a_throttled_execution_is_queued_until_it_starts() -> None:
    """n8n's own concurrency limit makes executions wait without a queue."""
    assert types(story("execution.throttled", "workflow.started")) == ["execution.queued", "execution.started"]


def test_a_finish_whose_start_was_lost_is_a_run_of_its_own() -> None:
    """Losing a line costs that line only."""
    finish = ("node.finished", "a")
    events = story(finish, finish, "workflow.success")
    assert [(event["type"], event["data"].get("iteration")) for event in events] == [
        ("node.completed", 0),
        ("node.completed", 1),
        ("execution.completed", None),
    ]


def test_lines_read_from_a_capture_keep_their_file_and_number() -> None:
    """The place of a line names file and line number as an editor counts them."""
    first = next(iter(read_lines("regular-1.log", LOGS["regular-1.log"])))
    assert isinstance(first, Line)
    number = int(first.place.removeprefix("regular-1.log:"))
    assert first.id.encode() in LOGS["regular-1.log"][number - 1]
