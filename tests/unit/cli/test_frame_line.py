"""A frame is one line that a person can read at a glance."""

from typing import Any

import pytest

from monitor.cli.frame_line import is_event, line_of
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


def words_of(frame: dict[str, Any]) -> list[str]:
    """The columns of its line."""
    return [column.strip() for column in line_of(frame).plain.split("  ") if column.strip()]


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
    ],
)
def test_words_of_strangers_do_not_steer_the_terminal(more: dict[str, Any]) -> None:
    """Control characters are spelt out; nobody retitles the window, clears the screen or makes up a line."""
    assert line_of(FRAME | more).plain.isprintable()


def test_long_ids_do_not_break_the_columns() -> None:
    """They end in an ellipsis."""
    assert words_of(FRAME | {"executionId": "x" * 256})[1] == "x" * 12 + "…"


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_colour(status: str) -> None:
    """A word without one would be overlooked."""
    frame = FRAME | {"state": FRAME["state"] | {"status": status}}
    line = line_of(frame)
    assert any(line.plain[span.start : span.end].strip() == status and span.style for span in line.spans)


def test_word_of_the_service_is_no_event() -> None:
    """It is shown by its name alone."""
    hello = {"type": "stream.hello", "position": "p"}
    assert (is_event(hello), is_event(FRAME), words_of(hello)) == (False, True, ["stream.hello"])
