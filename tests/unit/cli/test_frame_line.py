"""A frame is one line that a person can read at a glance."""

from typing import Any

import msgspec
import pytest
from rich.text import Text

from monitor.cli.frame_line import STYLES, announcement, lines_of
from monitor.cli.frames import Frame
from monitor.projections.loglines import LEVELS
from monitor.projections.status import STATUSES

FRAME: dict[str, Any] = {
    "type": "node.completed",
    "executionId": "exec_42",
    "workflowId": "wf_7",
    "timestamp": "2026-11-22T10:30:01.204Z",
    "data": {"nodeId": "slack_1", "nodeName": "Send to Slack"},
    "version": 7,
    "state": {"status": "running", "progress": {"completed": 3, "total": 5, "ratio": 0.6}},
    "position": "p",
}


LOG = FRAME | {
    "type": "log.appended",
    "data": {
        "lines": [
            {"timestamp": "2026-11-22T10:30:01.1Z", "level": "WARNING", "nodeId": "n", "message": "look out"},
            {"message": "and"},
            "no line",
        ]
    },
}
SNAPSHOT: dict[str, Any] = {
    "type": "stream.snapshot",
    **{name: FRAME[name] for name in ("executionId", "workflowId", "version", "state")},
    "execution": {"startedAt": "2026-11-22T10:30:00.000Z", "workflowName": "GitHub to Slack"},
}


def texts_of(frame: dict[str, Any]) -> list[Text]:
    """Its lines."""
    return list(lines_of(msgspec.convert(frame, Frame)))


def columns_of(line: Text) -> list[str]:
    """The words of a line."""
    return [column.strip() for column in line.plain.split("  ") if column.strip()]


def words_of(frame: dict[str, Any]) -> list[str]:
    """The columns of its only line."""
    [line] = texts_of(frame)
    return columns_of(line)


def test_event_tells_when_who_what_and_how_far() -> None:
    """In columns of fixed width."""
    expected = ["10:30:01.204", "exec_42", "wf_7", "node.completed", "Send to Slack", "running", "60%"]
    assert words_of(FRAME) == expected


def test_failure_tells_what_went_wrong() -> None:
    """The error's text stands where a node would."""
    failed = FRAME | {"type": "execution.failed", "data": {"error": {"message": "no"}}}
    assert words_of(failed)[4] == "no"


@pytest.mark.parametrize(
    "data", [{}, {"error": None}, {"error": "no"}, {"nodeId": "n"}, {"nodeName": 7}, {"error": {}}]
)
def test_any_data_of_a_stranger_has_a_line(data: dict[str, Any]) -> None:
    """Types outside the catalogue bring what they like."""
    assert words_of(FRAME | {"type": "custom.thing", "workflowId": None, "data": data})[2:4] == ["-", "custom.thing"]


@pytest.mark.parametrize(
    "more",
    [
        {"data": {"nodeName": "\x1b]0;owned\x07"}},
        {"data": {"error": {"message": "\x9b2J\nforged line"}}},
        {"type": "custom.\x1b[31m"},
        {"executionId": "\x1b[31m"},
        {"workflowId": "\u202egnp.exe"},
        {"timestamp": "2026-11-22T\x1b[2J"},
        {"state": FRAME["state"] | {"status": "\x9b2J"}},
        {"type": "log.appended", "data": {"lines": [{"level": "\x1b", "message": "\x1b]0;owned\x07\r\nforged"}]}},
        {"type": "log.appended", "data": {"lines": [{"timestamp": "x" * 11 + "\x1b", "nodeId": "\x9b"}]}},
        {"type": "stream.gap", "reason": "\x1b[2J", "state": None},
        {"type": "stream.log-gap", "href": "/\x1b[2J", "state": None},
    ],
)
def test_words_of_strangers_do_not_steer_the_terminal(more: dict[str, Any]) -> None:
    """Control characters are spelt out; nobody retitles the window, clears the screen or makes up a line."""
    assert [line.plain.isprintable() for line in texts_of(FRAME | more)] == [True]


def test_long_ids_do_not_break_the_columns() -> None:
    """They end in an ellipsis."""
    assert words_of(FRAME | {"executionId": "x" * 256})[1] == "x" * 12 + "…"


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_colour(status: str) -> None:
    """A word without one would be overlooked."""
    frame = FRAME | {"state": FRAME["state"] | {"status": status}}
    [line] = texts_of(frame)
    assert any(line.plain[span.start : span.end].strip() == status and span.style for span in line.spans)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_a_colour(level: str) -> None:
    """As every status has."""
    assert STYLES[level]


def test_log_is_a_line_for_each_of_its_own() -> None:
    """With time, level and node where it has them; what is no line is left out."""
    assert [columns_of(line) for line in texts_of(LOG)] == [
        ["10:30:01.1", "exec_42", "wf_7", "warn", "look out", "(n)"],
        ["10:30:01.204", "exec_42", "wf_7", "info", "and"],
    ]
    assert texts_of(LOG | {"data": {"lines": 7}}) == []


def test_row_of_a_snapshot_looks_like_an_event() -> None:
    """It tells since when, and which workflow it is."""
    assert words_of(SNAPSHOT) == ["10:30:00.000", "exec_42", "wf_7", "snapshot", "GitHub to Slack", "running", "60%"]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"type": "stream.gap", "reason": "retention"}, "events are missing (retention)"),
        (
            {"type": "stream.reset", "reason": "incarnation"},
            "events may be missing: the service does not know our position any more (incarnation)",
        ),
        (
            {"type": "stream.log-gap", "count": 7, "href": "/v1/executions/e/logs?from=a&to=b"},
            "log lines were left out: 7; /v1/executions/e/logs?from=a&to=b returns them",
        ),
        ({"type": "stream.slow", "lagEvents": 5, "lagMs": 900}, "we read too slowly"),
        ({"type": "stream.stale", "since": "t", "lag": 3}, "the service stands still; what it shows is stale"),
        ({"type": "stream.fresh"}, "the service goes on"),
        ({"type": "stream.hello"}, ""),
        ({"type": "stream.never-heard-of"}, ""),
    ],
)
def test_word_of_the_service_is_told_where_it_matters(frame: dict[str, Any], said: str) -> None:
    """On a line of its own; what concerns one connection alone is none of the reader's business."""
    assert announcement(msgspec.convert(frame, Frame)) == said
    assert [line.plain for line in texts_of(frame)] == ([f"-- {said}"] if said else [])
