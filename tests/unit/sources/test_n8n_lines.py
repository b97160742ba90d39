"""Every line of an n8n event log is told, known to be silent, or refused with its place."""

import json
from typing import Any

import pytest

from monitor.sources.n8n_lines import Line, Node, Refused, read_lines

EVENT_ID = "e3dfc235-ea4e-4f84-933d-497aa69d6b3f"


def written(name: str = "n8n.workflow.started", payload: object = None, **members: object) -> bytes:
    """A line as n8n writes it, with these members in place of the usual ones."""
    event = {"__type": "$$EventMessageWorkflow", "id": EVENT_ID, "ts": "2026-11-22T01:12:06.167Z", "eventName": name}
    return json.dumps(event | {"payload": {"executionId": "7"} if payload is None else payload} | members).encode()


def only(line: bytes) -> Line | Refused:
    """What a log of this one line tells."""
    (told,) = read_lines("main.log", [line])
    return told


def test_a_line_is_told_with_place_time_execution_and_workflow() -> None:
    """A well-formed line becomes typed, its time in microseconds whatever offset it is written with."""
    payload = {"executionId": "7", "workflowId": "wf"}
    told = only(written(payload=payload, ts="2026-11-22T02:12:06.167+01:00"))
    assert told == Line("main.log:1", EVENT_ID, 1_795_309_926_167_000, "workflow.started", "7", "wf", None, payload)


def test_a_number_counts_as_the_number_of_an_execution() -> None:
    """Whether n8n writes the execution's number as text or as a number makes no difference."""
    told = only(written(payload={"executionId": 7}))
    assert isinstance(told, Line)
    assert told.execution == "7"


@pytest.mark.parametrize(
    ("payload", "node"),
    [
        ({"nodeId": "id", "nodeName": "Prep", "nodeType": "set"}, Node("id", "Prep", "set")),
        ({"nodeName": "Prep"}, Node("Prep", "Prep", "")),
        ({"nodeId": "id"}, Node("id", "id", "")),
    ],
)
def test_a_node_is_known_by_its_id_else_by_its_name(payload: dict[str, Any], node: Node) -> None:
    """Logs of old versions name a node without its id."""
    told = only(written("n8n.node.started", {"executionId": "7", **payload}))
    assert isinstance(told, Line)
    assert told.node == node


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b'{"__type":"$$EventMessageConfirm","confirm":"x","ts":"2026-11-22T01:10:19.788Z","source":{"id":"0"}}',
        written("n8n.audit.workflow.executed"),
        written("n8n.queue.job.completed"),
        written("n8n.ai.tool.called"),
        written("n8n.audit.user.login.success", {"_email": "owner@example.com"}),
        written("n8n.audit.user.execution.deleted", {"executionIds": ["3"]}),
    ],
)
def test_a_line_that_says_nothing_new_about_an_execution_is_silent(line: bytes) -> None:
    """Confirmations, logins, bookkeeping of jobs and deletions inside n8n are no events of an execution."""
    assert list(read_lines("main.log", [line])) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"__type":"$$EventMess', "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"__type":"x","payload":[]}', "Expected `object`, got `array` - at `$.payload`"),
        (b'{"__type":"\xff"}', "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (
            written("n8n.workflow.exploded"),
            "the event name 'n8n.workflow.exploded' is unknown, yet it is about an execution",
        ),
        (written(id=""), "'id' is missing or is no id"),
        (written(id="a\nb"), "'id' is missing or is no id"),
        (written(ts="yesterday"), "'ts' is not an RFC 3339 time such as 2026-11-22T10:30:01.204Z"),
        (written(ts="2026-11-22T01:12:06.167"), "'ts' names no offset from UTC; append Z or +00:00"),
        (written(payload={"executionId": "../7"}), "'payload.executionId' is not the number of an execution"),
        (written(payload={"executionId": True}), "'payload.executionId' is not the number of an execution"),
        (written(payload={}), "'payload.executionId' is not the number of an execution"),
        (written("n8n.node.started"), "'payload' names no node"),
    ],
)
def test_a_line_that_cannot_be_told_is_refused_with_its_place(line: bytes, reason: str) -> None:
    """Nothing is lost silently: file, line number and reason are reported, and the other lines are told."""
    good = written()
    told = list(read_lines("main.log", [good, line, good]))
    assert [type(one) for one in told] == [Line, Refused, Line]
    assert told[1] == Refused("main.log:2", reason)


def test_nesting_without_end_is_refused() -> None:
    """A line that would exhaust the reader's stack is reported like any other bad line."""
    told = only(b'{"__type":"x","payload":{"a":' + b"[" * 100_000)
    assert isinstance(told, Refused)
