"""CloudEvents 1.0 become our own events, in structured and in binary mode."""

import json
from typing import Any

import pytest

from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, Event, Poison, Record

STRUCTURED = {
    "specversion": "1.0",
    "id": "evt_1",
    "source": "/engines/n8n/prod-1",
    "type": "com.example.node.completed",
    "subject": "executions/exec_42/nodes/slack_1",
    "time": "2026-11-22T10:30:01.204Z",
    "workflowid": "wf_7",
    "sequence": "0000000007",
    "epoch": 1,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "data": {"status": "success"},
}
BINARY = {
    "ce_specversion": "1.0",
    "ce_id": "evt_1",
    "ce_source": "/engines/n8n/prod-1",
    "ce_type": "execution.started",
    "ce_time": "2026-11-22T10:30:01Z",
    "ce_executionid": "exec_42",
    "ce_sequence": "7",
    "ce_backfill": "true",
}


def read(value: bytes, headers: dict[str, str] | None = None) -> Event | Poison:
    """Decoded from a journal with these headers."""
    pairs = tuple((name, text.encode()) for name, text in (headers or {}).items())
    return decode(Record(0, 0, None, value, pairs, 0), lambda _record, claimed: claimed or DEFAULT_TEAM)


def structured(**members: Any) -> Event | Poison:
    """The structured event with other attributes; None leaves one out."""
    return read(json.dumps({k: v for k, v in {**STRUCTURED, **members}.items() if v is not None}).encode())


def test_structured_attributes_become_members() -> None:
    """Node and execution come from the subject, our name from the end of the type."""
    event = structured()
    assert isinstance(event, Event)
    assert (event.type, event.execution_id, event.workflow_id) == ("node.completed", "exec_42", "wf_7")
    assert (event.id, event.source, event.sequence, event.epoch) == ("evt_1", "/engines/n8n/prod-1", 7, 1)
    assert event.data == {"nodeId": "slack_1", "status": "success"}
    assert event.traceparent == STRUCTURED["traceparent"]


def test_attributes_outrank_the_subject_and_data_outranks_both() -> None:
    """The more exact word holds."""
    event = structured(executionid="exec_9", nodeid="b")
    assert isinstance(event, Event)
    assert (event.execution_id, event.data["nodeId"]) == ("exec_9", "b")
    event = structured(nodeid="b", data={"nodeId": "c"})
    assert isinstance(event, Event)
    assert event.data["nodeId"] == "c"


def test_an_event_of_ours_may_carry_the_version_too() -> None:
    """Our spelling of members does not count in a CloudEvent."""
    event = structured(timestamp=5, executionId=None)
    assert isinstance(event, Event)
    assert event.timestamp == STRUCTURED["time"]


def test_unknown_types_stay_whole() -> None:
    """Only our own names are cut out of a longer one."""
    event = structured(type="com.example.invoice.paid")
    assert isinstance(event, Event)
    assert event.type == "com.example.invoice.paid"


@pytest.mark.parametrize("prefix", ["ce_", "ce-", "CE-"])
def test_binary_attributes_are_headers(prefix: str) -> None:
    """As Kafka and HTTP spell them, the payload being `data`."""
    headers = {name.replace("ce_", prefix): text for name, text in BINARY.items()}
    event = read(b'{"workflowName":"Orders"}', headers)
    assert isinstance(event, Event)
    assert (event.type, event.execution_id, event.sequence) == ("execution.started", "exec_42", 7)
    assert (event.backfill, event.data) == (True, {"workflowName": "Orders"})


def test_header_values_are_percent_decoded() -> None:
    """As the HTTP binding encodes what headers cannot carry."""
    event = read(b"{}", {**BINARY, "ce_executionid": "exec%20%E2%82%AC"})
    assert isinstance(event, Event)
    assert event.execution_id == "exec €"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"specversion": 1}, "specversion"),
        ({"data_base64": "AAAA", "data": None}, "data_base64"),
        ({"sequence": "seven"}, "sequence"),
        ({"sequence": "0"}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"epoch": -1}, "epoch"),
        ({"backfill": 1}, "backfill"),
        ({"time": None}, "timestamp"),
        ({"subject": None}, "executionId"),
        ({"subject": 5}, "executionId"),
        ({"data": [1]}, "data"),
        ({"type": None}, "type"),
        ({"type": "x.stream.end"}, None),
    ],
)
def test_what_the_specification_or_we_forbid_is_poison(members: dict[str, Any], field: str | None) -> None:
    """Named by the attribute or by the member that it fills; a control name inside a longer one is no forgery."""
    found = structured(**members)
    assert (found.field if isinstance(found, Poison) else None) == field


@pytest.mark.parametrize("text", [b"\xff", b"%ff"])
def test_headers_must_be_utf8(text: bytes) -> None:
    """Plain or percent-encoded."""
    headers = (("ce_specversion", b"1.0"), ("ce_id", text))
    found = decode(Record(0, 0, None, b"{}", headers, 0), lambda _record, _claimed: DEFAULT_TEAM)
    assert isinstance(found, Poison)
    assert found.field == "ce_id"
