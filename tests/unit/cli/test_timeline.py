"""The story of an execution reads the same whether the stream tells it or REST, and strangers cannot forge it."""

from typing import Any

import msgspec
import pytest

from monitor.cli.frames import Frame
from monitor.cli.timeline import (
    Entry,
    entries_of,
    entry_text,
    log_entry,
    run_entries,
    status_entry,
    title,
)
from monitor.projections.status import STATUSES

START_US = 1_795_343_400_000_000
START = "2026-11-22T10:30:00.000Z"
AT = "2026-11-22T10:31:04.250Z"
AT_US = START_US + 64_250_000

Members = dict[str, Any]


def event(kind: str, stands: str = "running", /, *, progress: Members | None = None, **data: Any) -> Frame:
    """An event 64.25 s after the start."""
    state = {"status": stands, "progress": progress or {}}
    return msgspec.convert({"type": kind, "timestamp": AT, "data": data, "version": 1, "state": state}, Frame)


def told(frame: Frame) -> list[tuple[str, str, str]]:
    """Word, subject and detail of what it tells."""
    entries = entries_of(frame)
    assert {entry.at_us for entry in entries} <= {AT_US}
    return [entry[1:] for entry in entries]


CARD: Members = {"nodeId": "charge", "nodeName": "Charge card"}
DECLINED: Members = {"type": "Declined", "message": "no funds"}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (event("node.started", **CARD), ("running", "Charge card", "")),
        (event("node.completed", **CARD, duration=0.3041), ("success", "Charge card", "0.304 s")),
        (event("node.completed", **CARD, status="timeout"), ("timeout", "Charge card", "")),
        (event("node.failed", **CARD, error=DECLINED), ("failed", "Charge card", "Declined: no funds")),
        (event("node.retrying", **CARD, attempt=2, error="no"), ("waiting", "Charge card #2", "retrying  no")),
        (event("node.skipped", nodeId="x", iteration=3), ("skipped", "x [3]", "")),
        (event("node.progress", **CARD, message="half"), ("progress", "Charge card", "half")),
        (event("node.started"), ("running", "", "")),
        (event("execution.started"), ("running", "execution started", "")),
        (event("execution.waiting", "waiting", kind="x", until="y"), ("waiting", "execution waiting", "for x until y")),
        (event("execution.completed", "success", duration=5.3), ("success", "execution completed", "5.300 s")),
        (event("execution.failed", "timeout", error="slow"), ("timeout", "execution failed", "slow")),
        (event("execution.cancelled", "cancelled", reason="enough"), ("cancelled", "execution cancelled", "enough")),
        (event("command.refused", kind="cancel", reason="late"), ("running", "command.refused", "cancel late")),
        (event("custom.thing"), ("running", "custom.thing", "")),
        (
            event("execution.progress", progress={"completed": 3, "total": 5, "current": "Charge card", "ratio": 0.6}),
            ("progress", "3/5  60%  Charge card", ""),
        ),
        (event("execution.progress", progress={"message": "on", "ratio": 0.6}), ("progress", "60%  on", "")),
    ],
)  # fmt: skip
def test_each_event_has_its_words(frame: Frame, expected: tuple[str, str, str]) -> None:
    """Status, who, and what about."""
    assert told(frame) == [expected]


def test_sign_of_life_is_no_news() -> None:
    """It comes every few seconds."""
    assert told(event("execution.heartbeat")) == []


@pytest.mark.parametrize(
    "data",
    [{"nodeName": 7}, {"nodeId": ["n"]}, {"error": [1]}, {"error": {"message": {}}}, {"duration": "x", "attempt": ""}],
)  # fmt: skip
def test_any_data_of_a_stranger_has_words(data: Members) -> None:
    """Producers write what they like."""
    for kind in ("node.failed", "execution.waiting", "custom.thing", "execution.failed", "node.progress"):
        assert len(told(event(kind, **data))) == 1


def test_log_has_an_entry_per_line() -> None:
    """With its own time where it has one."""
    lines = [{"timestamp": START, "level": "WARN", "nodeId": "n", "message": "a"}, {"message": "b"}, "no line"]
    assert entries_of(event("log.appended", lines=lines)) == [
        Entry(START_US, "warn", "a", "(n)"),
        Entry(AT_US, "info", "b"),
    ]


def test_rest_tells_runs_in_order_of_time() -> None:
    """In the words of the events."""
    runs = [
        {**CARD, "status": "running", "startedAt": AT, "stoppedAt": None},
        {"nodeId": "order", "status": "success", "startedAt": START, "stoppedAt": START, "duration": 1},
    ]
    assert run_entries({}, runs) == [
        Entry(START_US, "success", "order", "1.000 s"),
        Entry(AT_US, "running", "Charge card"),
    ]
    more = run_entries({"moreNodes": 7}, [])
    assert more == [Entry(None, "note", "and 7 more nodes, too many or too large to be shown")]


@pytest.mark.parametrize(
    ("execution", "expected"),
    [
        ({"status": "running", "startedAt": START}, Entry(None, "running", "execution is under way")),
        (
            {"status": "waiting", "waiting": {"kind": "approval"}},
            Entry(None, "waiting", "execution is under way", "for approval"),
        ),
        (
            {"status": "failed", "stoppedAt": AT, "duration": 5.3, "error": DECLINED},
            Entry(AT_US, "failed", "execution has ended", "5.300 s  Declined: no funds"),
        ),
        (
            {"status": "crashed", "stoppedAt": AT, "provisional": True},
            Entry(AT_US, "crashed", "execution has ended, as is presumed"),
        ),
    ],
)
def test_rest_tells_how_it_stands(execution: Members, expected: Entry) -> None:
    """Since when, where that is the end."""
    assert status_entry(execution) == expected


@pytest.mark.parametrize(
    ("at_us", "start_us", "shown"),
    [
        (AT_US, START_US, "01:04.250"),
        (START_US, START_US, "00:00.000"),
        (START_US + 7_384_250_000, START_US, "2:03:04.250"),
        (START_US - 200_000, START_US, "-00:00.200"),
        (None, START_US, ""),
        (AT_US, None, ""),
    ],
)
def test_time_is_relative_to_the_start(at_us: int | None, start_us: int | None, shown: str) -> None:
    """Or nothing where one of both is not known."""
    assert entry_text(Entry(at_us, "running", "x"), start_us).plain == f"{shown:>11}  running    x"


def test_line_of_several_lines_goes_on_below() -> None:
    """A stack trace stays readable; its lines cannot be taken for entries."""
    entry = Entry(None, "error", "Traceback:\r\n  File x\n00:01.000  success    forged", "(n)")
    below = " " * 24
    assert entry_text(entry, None).plain.splitlines() == [
        "             error      Traceback:",
        f"{below}  File x",
        f"{below}00:01.000  success    forged  (n)",
    ]


@pytest.mark.parametrize("hostile", ["\x1b]0;owned\x07", "\x9b2J", "\u202egnp", "\r\x1b[1A"])
def test_words_of_strangers_do_not_steer_the_terminal(hostile: str) -> None:
    """Wherever they stand."""
    entries = [
        *entries_of(event("node.failed", hostile, nodeName=hostile, error={"type": hostile, "message": hostile})),
        *entries_of(event(f"custom.{hostile}", hostile, kind=hostile, reason=hostile)),
        *entries_of(event("execution.waiting", hostile, kind=hostile, until=hostile)),
        *entries_of(event("execution.progress", progress={"current": hostile, "message": hostile})),
        *entries_of(msgspec.convert({"type": "stream.gap", "reason": hostile}, Frame)),
        log_entry({"level": hostile, "nodeId": hostile, "message": hostile, "timestamp": hostile}),
        status_entry({"status": hostile, "reason": hostile}),
        *run_entries({"moreNodes": hostile}, [{"nodeId": hostile, "status": hostile}]),
    ]
    assert all(entry_text(entry, START_US).plain.isprintable() for entry in entries)
    assert title(hostile, hostile, {"workflowName": hostile, "mode": hostile, "startedAt": hostile}).plain.isprintable()


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_colour(status: str) -> None:
    """As in `tail`."""
    line = entry_text(Entry(None, status, "x"), None)
    assert any(line.plain[span.start : span.end].strip() == status and span.style for span in line.spans)


@pytest.mark.parametrize(
    ("workflow_id", "execution", "shown"),
    [
        (None, {}, "exec_42"),
        ("wf_7", {}, "exec_42  wf_7"),
        (
            "wf_7",
            {"workflowName": "GitHub to Slack", "mode": "webhook", "startedAt": START},
            f"exec_42  GitHub to Slack (wf_7)  webhook  {START}",
        ),
    ],
)
def test_title_tells_what_is_known(workflow_id: str | None, execution: Members, shown: str) -> None:
    """Which may be nothing but the id."""
    assert title("exec_42", workflow_id, execution).plain == shown
