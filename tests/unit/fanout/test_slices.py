"""A slice keeps lifecycle frames as they are, the latest of progress, and as much of a log as anybody reads."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.codec import format_time, parse_time_us
from monitor.events.position import Position
from monitor.fanout.frames import Cut, Frame
from monitor.fanout.slices import MAX_LINE_BYTES, MAX_LINES, Slice
from monitor.fanout.wires import SSE, WEBSOCKET
from monitor.projections.fold import Release
from tests.support.clocks import NOON_US
from tests.support.webhooks import make_release

ZERO = Position("00" * 6, (0,))
SAID_AT = "2026-11-22T10:30:00Z"
"""The timestamp that all events here have."""


class Said(NamedTuple):
    """An event in short."""

    name: str
    execution_id: str = "exec_1"
    data: dict[str, Any] = {}  # noqa: RUF012 - never changed


def progress(completed: int, execution_id: str = "exec_1") -> Said:
    """How far an execution is."""
    return Said("execution.progress", execution_id, {"completed": completed})


def lines(*messages: str, execution_id: str = "exec_1", final: object = None, **members: Any) -> Said:
    """A log event with these lines."""
    said: dict[str, Any] = {"lines": [{"message": message, **members} for message in messages]}
    return Said("log.appended", execution_id, said if final is None else {**said, "final": final})


def release_at(offset: int, said: Said) -> Release:
    """The release of an event whose record stands at `offset`; its id is the offset."""
    release = make_release(said.name, execution_id=said.execution_id, data=said.data, offset=offset)
    event = msgspec.structs.replace(release.event, id=str(offset), time_us=NOON_US + offset * 1000)
    return msgspec.structs.replace(release, event=event)


def filled(story: Sequence[Said]) -> Slice:
    """A slice that took these events; the token behind each is how many they were."""
    slice_ = Slice()
    for offset, said in enumerate(story):
        frame = Frame(release_at(offset, said), ZERO.advanced(0, offset + 1))
        slice_.add(frame, WEBSOCKET, str(offset + 1))
    return slice_


def frames(*story: Said) -> list[dict[str, Any]]:
    """What goes out."""
    return [json.loads(frame) for frame in filled(story).frames(WEBSOCKET)]


def brief(*story: Said) -> list[tuple[str, str, int]]:
    """Of each frame that goes out: its type, the position that it tells, for how many events it stands."""
    return [(frame["type"], frame["position"], frame.get("coalesced", 1)) for frame in frames(*story)]


# --- lifecycle -------------------------------------------------------------------------------------------------------


def test_lifecycle_passes_as_it_is() -> None:
    """Equal ones too, and what nobody knows the class of."""
    names = ["execution.started", "node.started", "node.started", "command.accepted", "vendor.invented"]
    assert brief(*map(Said, names)) == [(name, str(at), 1) for at, name in enumerate(names, 1)]


def test_cuts_and_control_frames_keep_their_place() -> None:
    """They merge with nothing, and nothing merges over a cut's position."""
    slice_ = filled([progress(1)])
    slice_.add_control(b'{"type":"stream.checkpoint"}')
    slice_.add(Cut(0, 5, ZERO.advanced(0, 5)), WEBSOCKET, "5")
    told = [json.loads(frame) for frame in slice_.frames(WEBSOCKET)]
    assert [(frame["type"], frame.get("position")) for frame in told] == [
        ("execution.progress", "1"),
        ("stream.checkpoint", None),
        ("stream.gap", "5"),
    ]


def test_a_slice_knows_whether_it_holds_anything() -> None:
    """And how many bytes, about, which is what limits it."""
    assert not Slice()
    slice_ = filled([Said("node.started")])
    assert slice_
    [frame] = slice_.frames(WEBSOCKET)
    assert slice_.size_bytes == len(frame)


# --- progress --------------------------------------------------------------------------------------------------------


def test_of_progress_the_latest_stays_where_it_came() -> None:
    """With the number of events for which it stands."""
    told = frames(progress(1), Said("node.started", "exec_2"), progress(2), progress(3))
    assert [(frame["type"], frame["data"], frame.get("coalesced")) for frame in told] == [
        ("node.started", {}, None),
        ("execution.progress", {"completed": 3}, 3),
    ]


def test_progress_is_merged_by_execution_type_and_node() -> None:
    """A node that is no text counts as none: producers may write anything."""
    story = [
        progress(1),
        progress(1, "exec_2"),
        Said("execution.heartbeat"),
        Said("node.progress", data={"nodeId": "a"}),
        Said("node.progress", data={"nodeId": "b"}),
        Said("node.progress", data={"nodeId": ["no", "key"]}),
        Said("node.progress", data={"nodeId": {}}),
        Said("node.progress", data={"nodeId": "a"}),
        progress(2, "exec_2"),
    ]
    assert [(position, coalesced) for _, position, coalesced in brief(*story)] == [
        ("1", 1),
        ("3", 1),
        ("5", 1),
        ("7", 2),
        ("8", 2),
        ("9", 2),
    ]


def test_progress_is_never_merged_over_something_that_happened_to_its_execution() -> None:
    """Who reads on from there sees what was known then; other executions' events keep nothing apart."""
    story = [progress(1), Said("node.completed", "exec_2"), progress(2), Said("node.completed"), progress(3)]
    assert brief(*story) == [
        ("node.completed", "2", 1),
        ("execution.progress", "3", 2),
        ("node.completed", "4", 1),
        ("execution.progress", "5", 1),
    ]


def test_merging_is_counted_and_gives_its_bytes_back() -> None:
    """A slice of one execution's progress never grows."""
    slice_ = filled([progress(number) for number in range(100)])
    assert slice_.merged == 99
    assert len(slice_.frames(WEBSOCKET)) == 1
    assert slice_.size_bytes < 2 * len(slice_.frames(WEBSOCKET)[0])


# --- logs ------------------------------------------------------------------------------------------------------------


def test_log_events_that_follow_each_other_share_a_frame() -> None:
    """The last one with the lines of all, in order; each tells what it had left to its event: time and node."""
    early = "2026-11-22T09:00:00Z"
    of_a_node = Said(
        "log.appended", data={"nodeId": "n1", "lines": [{"message": "d"}, {"message": "e", "nodeId": "n2"}]}
    )
    [told] = frames(lines("a", "b"), lines("c", level="error", timestamp=early), of_a_node)
    assert (told["id"], told["version"], told["position"], told["coalesced"]) == ("2", 3, "3", 3)
    assert told["data"] == {
        "lines": [
            {"message": "a", "timestamp": SAID_AT},
            {"message": "b", "timestamp": SAID_AT},
            {"message": "c", "timestamp": early, "level": "error"},
            {"message": "d", "timestamp": SAID_AT, "nodeId": "n1"},
            {"message": "e", "timestamp": SAID_AT, "nodeId": "n2"},
        ]
    }


@pytest.mark.parametrize(
    "between", [lines("x", execution_id="exec_2"), Said("node.started", "exec_2"), progress(1), Said("node.started")]
)
def test_what_lies_between_keeps_lines_apart(between: Said) -> None:
    """Or a frame would claim what comes behind it."""
    assert [(name, coalesced) for name, _, coalesced in brief(lines("a"), between, lines("b"))] == [
        ("log.appended", 1),
        (between.name, 1),
        ("log.appended", 1),
    ]


@pytest.mark.parametrize("final", [0, 1])
def test_a_shared_frame_closes_the_log_if_one_of_its_events_does(final: int) -> None:
    """Whichever it was; a word that is not `true` closes nothing."""
    story = [lines("a", final="yes"), lines("b", final=False)]
    assert frames(*story)[0]["data"].get("final") is not True
    story[final] = lines("c", final=True)
    assert frames(*story)[0]["data"]["final"] is True


def test_a_single_log_event_passes_as_it_is() -> None:
    """However many lines it has, and whatever else its producer wrote."""
    said = Said("log.appended", data={"lines": [{"message": "x"}] * (MAX_LINES + 1), "shard": 7})
    [told] = frames(said)
    assert (told["data"], "coalesced" in told) == (said.data, False)


def test_lines_beyond_the_budget_become_a_gap_that_names_them() -> None:
    """Where the first of them would stand; one gap for all, with the link that returns them, and a token behind all."""
    budget = [lines(*["x"] * (MAX_LINES // 16)) for _ in range(16)]
    story = [*budget, lines("y", "y"), Said("node.started", "exec_2"), lines("z")]
    told = frames(*story)
    assert [(frame["type"], frame["position"]) for frame in told] == [
        ("log.appended", "16"),
        ("stream.log-gap", "17"),
        ("node.started", "18"),
        ("stream.checkpoint", "19"),
    ]
    first, last = (format_time(NOON_US + offset * 1000) for offset in (16, 18))
    assert told[1] == {
        "type": "stream.log-gap",
        "executionId": "exec_1",
        "count": 3,
        "from": first,
        "to": last,
        "href": f"/v1/executions/exec_1/logs?from={first}&to={last}&limit=1000",
        "position": "17",
    }
    slice_ = filled(story)
    assert (slice_.merged, slice_.omitted_lines) == (15, 3)


def test_a_gap_spans_the_lines_own_times() -> None:
    """The earliest and the latest, in whatever order they came; any id fits its link."""
    story = [lines(*["x"] * MAX_LINES, execution_id="a/b c")]
    story += [lines("late", execution_id="a/b c", timestamp="2026-11-22T12:00:00.900Z")]
    story += [lines("early", execution_id="a/b c", timestamp="2026-11-22T09:00:00.100Z")]
    gap = frames(*story)[1]
    assert (gap["from"], gap["to"]) == ("2026-11-22T09:00:00.100Z", "2026-11-22T12:00:00.900Z")
    parts = urlsplit(gap["href"])
    assert unquote(parts.path) == "/v1/executions/a/b c/logs"
    assert parts.path.count("/") == 4
    assert parse_qs(parts.query) == {"from": [gap["from"]], "to": [gap["to"]], "limit": ["1000"]}


def test_bytes_are_budgeted_as_well() -> None:
    """A few long lines are as much as many short ones; a short one may still fit behind one that did not."""
    half = "x" * (MAX_LINE_BYTES // 2)
    told = brief(lines(half), lines(half), lines("short"), lines(half))
    assert told == [
        ("log.appended", "1", 1),
        ("stream.log-gap", "2", 1),
        ("log.appended", "3", 1),
        ("stream.checkpoint", "4", 1),
    ]


def test_every_execution_has_a_budget_of_its_own() -> None:
    """A talkative one takes nothing from the others."""
    told = brief(lines(*["x"] * MAX_LINES), lines("y"), lines("z", execution_id="exec_2"))
    assert [name for name, _, _ in told] == ["log.appended", "stream.log-gap", "log.appended"]


def test_what_closes_a_log_is_never_left_out() -> None:
    """Whoever waits for the end of it would wait for ever."""
    told = frames(lines(*["x"] * MAX_LINES), lines("y"), lines("bye", final=True))
    assert [frame["type"] for frame in told] == ["log.appended", "stream.log-gap", "log.appended"]
    assert told[-1]["data"]["final"] is True


def test_server_sent_events_look_the_same() -> None:
    """Merged frames included."""
    slice_ = Slice()
    for offset, said in enumerate([lines("a"), lines("b"), progress(1), progress(2)]):
        slice_.add(Frame(release_at(offset, said), ZERO), SSE, f"t{offset}")
    blocks = [frame.split(b"\n") for frame in slice_.frames(SSE)]
    assert [block[0] for block in blocks] == [b"id: t1", b"id: t3"]
    assert [json.loads(block[1][6:])["coalesced"] for block in blocks] == [2, 2]


# --- cut off anywhere ------------------------------------------------------------------------------------------------


def story_of(plan: list[tuple[str, str, int]]) -> list[Said]:
    """Events by kind, execution and number of lines; every line says the place of its event."""
    return [
        {
            "lifecycle": Said("node.completed", execution_id),
            "progress": progress(1, execution_id),
            "heartbeat": Said("execution.heartbeat", execution_id),
            "log": lines(*[str(at)] * count, execution_id=execution_id),
        }[kind]
        for at, (kind, execution_id, count) in enumerate(plan)
    ]


STORIES = st.lists(
    st.tuples(
        st.sampled_from(["lifecycle", "progress", "heartbeat", "log", "log"]),
        st.sampled_from(["exec_1", "exec_2"]),
        st.sampled_from([1, 2, 100, MAX_LINES]),
    ),
    max_size=30,
).map(story_of)


def cut_off(told: Sequence[dict[str, Any]]) -> Iterator[tuple[Sequence[dict[str, Any]], int]]:
    """Every way to lose the connection within some frames, and where the client comes back then."""
    for received in range(len(told) + 1):
        position = max((int(frame["position"]) for frame in told[:received]), default=0)
        yield told[:received], position


def has_part_in(received: Sequence[dict[str, Any]], at: int, story: Sequence[Said]) -> bool:
    """Whether the event at a place of the story is among some frames, in whatever way, or outdone by what follows."""
    said, time_us = story[at], NOON_US + at * 1000
    of_it = [frame for frame in received if frame.get("executionId") == said.execution_id]
    if said.name == "log.appended":
        return any(
            str(at) in [line["message"] for line in frame["data"]["lines"]]
            if frame["type"] == "log.appended"
            else parse_time_us(frame["from"]) <= time_us <= parse_time_us(frame["to"])
            for frame in of_it
            if frame["type"] in ("log.appended", "stream.log-gap")
        )
    if any(frame.get("id") == str(at) for frame in of_it):
        return True
    return said.name != "node.completed" and any(said[:2] == other[:2] for other in story[at + 1 :])


@given(STORIES)
def test_every_prefix_is_safe(story: list[Said]) -> None:
    """What the last token claims was received, or is outdone by what follows; nothing received comes again."""
    for received, position in cut_off(frames(*story)):
        assert all(has_part_in(received, at, story) for at in range(position))
        assert all(int(frame["id"]) < position for frame in received if "id" in frame)


@given(STORIES)
def test_the_last_token_covers_everything(story: list[Said]) -> None:
    """Or who comes back with it would get again what it knows."""
    assert not story or frames(*story)[-1]["position"] == str(len(story))


@given(STORIES)
def test_nothing_is_unaccounted_for(story: list[Said]) -> None:
    """Every event stands in a frame of its own, in one that it shares, or in the count of a gap."""
    told = frames(*story)
    for name in ("node.completed", "execution.progress", "execution.heartbeat"):
        came = [frame.get("coalesced", 1) for frame in told if frame["type"] == name]
        assert sum(came) == sum(said.name == name for said in story)
    shown = sum(len(frame["data"]["lines"]) for frame in told if frame["type"] == "log.appended")
    left_out = sum(frame["count"] for frame in told if frame["type"] == "stream.log-gap")
    assert shown + left_out == sum(len(said.data["lines"]) for said in story if said.name == "log.appended")
    assert filled(story).omitted_lines == left_out
