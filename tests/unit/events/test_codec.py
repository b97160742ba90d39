"""The codec turns any bytes into an event or into poison that says why; it never raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.codec import (
    ORDINAL_HEADER,
    decode,
    derived_id,
    digest_of,
    format_time,
    parse_time_us,
)
from monitor.events.model import DEFAULT_TEAM, MAX_EVENT_BYTES, Event, Poison, Record
from monitor.events.types import TYPES

FULL = {
    "type": "node.completed",
    "executionId": "exec_42",
    "workflowId": "wf_7",
    "timestamp": "2026-11-22T10:30:01.204+01:00",
    "id": "evt_1",
    "source": "n8n:prod-1",
    "sequence": 7,
    "epoch": 2,
    "backfill": True,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
    "data": {"nodeId": "slack_1", "duration": 0.304},
}


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    """The bytes at a place in the journal."""
    return Record(3, 17, b"exec_42", value, headers, 5)


def read(value: bytes | None, *headers: tuple[str, bytes]) -> Event | Poison:
    """Decoded for whatever team the body claims."""
    return decode(record(value, *headers), lambda _record, claimed: claimed or DEFAULT_TEAM)


def event(**members: Any) -> Event:
    """The full event with other members; None leaves one out."""
    found = read(json.dumps({k: v for k, v in {**FULL, **members}.items() if v is not None}).encode())
    assert isinstance(found, Event)
    return found


def poison(value: bytes | None, *headers: tuple[str, bytes]) -> tuple[str, str | None]:
    """Reason and field of what must be poison."""
    found = read(value, *headers)
    assert isinstance(found, Poison)
    assert found.message
    return found.reason, found.field


def broken(**members: Any) -> tuple[str, str | None]:
    """Why the full event is refused with other members."""
    return poison(json.dumps({**FULL, **members}).encode())


def test_every_member_arrives() -> None:
    """All that a producer wrote is in the event, times in microseconds beside the producer's spelling."""
    value = json.dumps(FULL).encode()
    found = event()
    assert found.record == record(value)
    assert (found.team, found.type, found.execution_id, found.workflow_id) == (
        DEFAULT_TEAM,
        "node.completed",
        "exec_42",
        "wf_7",
    )
    assert (found.time_us, found.timestamp) == (1_795_339_801_204_000, "2026-11-22T10:30:01.204+01:00")
    assert (found.id, found.digest, found.source) == ("evt_1", digest_of("evt_1"), "n8n:prod-1")
    assert (found.sequence, found.epoch, found.backfill) == (7, 2, True)
    assert (found.traceparent, found.tracestate) == (FULL["traceparent"], "vendor=1")
    assert found.data == FULL["data"]


def test_three_members_are_enough() -> None:
    """Type, execution and time; everything else has a value that says nothing."""
    found = read(b'{"type":"execution.started","executionId":"e","timestamp":"2026-11-22T10:30:00Z"}')
    assert isinstance(found, Event)
    assert (found.workflow_id, found.source, found.sequence, found.epoch, found.backfill, found.data) == (
        None,
        "",
        0,
        0,
        False,
        {},
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"executionId": 5}, ("invalid_field", "executionId")),
        ({"executionId": ""}, ("invalid_field", "executionId")),
        ({"executionId": "x" * 257}, ("invalid_field", "executionId")),
        ({"executionId": "a\x00b"}, ("invalid_field", "executionId")),
        ({"workflowId": "a\nb"}, ("invalid_field", "workflowId")),
        ({"id": "a\tb"}, ("invalid_field", "id")),
        ({"source": "\u202e"}, ("invalid_field", "source")),
        ({"type": "a\x7f"}, ("invalid_field", "type")),
        ({"type": "stream.end"}, ("forbidden_type", "type")),
        ({"type": "execution.conflict"}, ("forbidden_type", "type")),
        ({"timestamp": "yesterday"}, ("invalid_field", "timestamp")),
        ({"timestamp": "2026-11-22T10:30:01"}, ("invalid_field", "timestamp")),
        ({"timestamp": "9999-12-31T23:59:59Z"}, ("invalid_field", "timestamp")),
        ({"sequence": -1}, ("invalid_field", "sequence")),
        ({"sequence": 0}, ("invalid_field", "sequence")),
        ({"sequence": 1.0}, ("invalid_field", "sequence")),
        ({"sequence": True}, ("invalid_field", "sequence")),
        ({"epoch": -1}, ("invalid_field", "epoch")),
        ({"epoch": None}, ("invalid_field", "epoch")),
        ({"backfill": "yes"}, ("invalid_field", "backfill")),
        ({"data": []}, ("invalid_field", "data")),
        ({"data": {"nodeId": "n", "huge": 1 << 64}}, ("invalid_field", "data")),
        ({"data": {}}, ("invalid_field", "data.nodeId")),
        ({"data": {"nodeId": 5}}, ("invalid_field", "data.nodeId")),
        ({"data": {"nodeId": "n", "attempt": 0}}, ("invalid_field", "data.attempt")),
        ({"data": {"nodeId": "n", "iteration": -1}}, ("invalid_field", "data.iteration")),
        ({"type": "log.appended", "data": {"lines": []}}, ("invalid_field", "data.lines")),
        ({"type": "log.appended", "data": {"lines": ["a"]}}, ("invalid_field", "data.lines")),
        ({"type": "command.requested", "data": {"commandId": ""}}, ("invalid_field", "data.commandId")),
    ],
)
def test_poison_names_field_and_reason(members: dict[str, Any], expected: tuple[str, str]) -> None:
    """Stable words for programs, a sentence for people."""
    assert broken(**members) == expected


@pytest.mark.parametrize("name", ["type", "executionId", "timestamp"])
def test_a_missing_member_is_named(name: str) -> None:
    """Each of the three that are required."""
    value = json.dumps({member: said for member, said in FULL.items() if member != name}).encode()
    assert poison(value) == ("missing_field", name)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "malformed_json"),
        (b'{"type":"\xff"}', "malformed_json"),
        (json.dumps(FULL).encode()[:-1] + b',"zzz":"\xff"}', "malformed_json"),
        (b" " * (MAX_EVENT_BYTES + 1), "too_large"),
    ],
)
def test_bytes_that_are_no_json_are_poison(value: bytes | None, reason: str) -> None:
    """Nothing, too much, or not JSON in UTF-8."""
    assert poison(value) == (reason, None)


def test_poison_keeps_the_record() -> None:
    """Quarantine needs the place and the bytes."""
    found = read(b"{")
    assert found.record == record(b"{")


def test_a_foreign_team_is_refused() -> None:
    """The rule of the door decides; None from it means that the body claims what it must not."""
    found = decode(record(json.dumps({**FULL, "teamId": "them"}).encode()), lambda _record, _claimed: None)
    assert isinstance(found, Poison)
    assert (found.reason, found.field) == ("foreign_team", "teamId")


def test_unknown_types_and_members_survive() -> None:
    """What newer producers say is kept and asks for nothing."""
    found = event(type="execution.teleported", data={"anything": [1]}, newer="member")
    assert (found.type, found.data) == ("execution.teleported", {"anything": [1]})
    assert found.type not in TYPES


def test_an_event_without_an_id_gets_one_from_its_bytes() -> None:
    """Equal bytes of a source, equal id; another source, other bytes or another place among equals, another id."""
    value = json.dumps({**FULL, "id": None}).encode()
    first, again, second = read(value), read(value), read(value, (ORDINAL_HEADER, b"1"))
    assert isinstance(first, Event)
    assert isinstance(again, Event)
    assert isinstance(second, Event)
    assert first.id == again.id == derived_id("n8n:prod-1", value)
    assert second.id == derived_id("n8n:prod-1", value, 1) != first.id
    assert derived_id("other", value) != first.id


@pytest.mark.parametrize("ordinal", [b"", b"x", b"-1", b"1" * 10, "１".encode()])
def test_an_odd_ordinal_counts_as_none(ordinal: bytes) -> None:
    """On a shared journal anybody writes headers."""
    value = json.dumps({**FULL, "id": None}).encode()
    found = read(value, (ORDINAL_HEADER, ordinal))
    assert isinstance(found, Event)
    assert found.id == derived_id("n8n:prod-1", value)


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-22T10:30:00Z", 1_795_343_400_000_000),
        ("2026-11-22t10:30:00.5z", 1_795_343_400_500_000),
        ("2026-11-22 11:30:00.000001+01:00", 1_795_343_400_000_001),
        ("2099-12-31T23:59:59.999999Z", 4_102_444_799_999_999),
    ],
)
def test_times_are_microseconds_since_1970(text: str, expected_us: int) -> None:
    """Whatever the offset and the spelling."""
    assert parse_time_us(text) == expected_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1795343400",
        "2026-11-22",
        "2026-11-22T10:30:00",
        "2026-W47-7T10:30:00Z",
        "2026-11-22T10:30:00,5Z",
        "2026-02-30T10:30:00Z",
        "1969-12-31T23:59:59.999999Z",
        "2100-01-01T00:00:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """With a sentence that fits behind the field's name."""
    with pytest.raises(ValueError, match=r"^(is not|names no|lies outside)"):
        parse_time_us(text)


@given(st.integers(0, 4_102_444_799_999))
def test_formatted_times_read_back(time_ms: int) -> None:
    """To the millisecond that answers carry."""
    assert parse_time_us(format_time(time_ms * 1000)) == time_ms * 1000


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(("ce_specversion", "ce-type", "ce_sequence", "ce_id", "ce_subject", ORDINAL_HEADER, "x")),
        st.binary(max_size=12) | st.sampled_from((b"1.0", b"%ff", b"execution.started", b"executions/e/nodes/n")),
    ),
    max_size=5,
).map(tuple)


@given(st.binary(max_size=200), HEADERS)
@settings(max_examples=1000, deadline=None)
def test_no_bytes_make_it_raise(value: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
    """Random bytes under random headers."""
    assert isinstance(read(value, *headers), Event | Poison)


@given(st.integers(0, 400), st.binary(max_size=6), st.integers(0, 6), HEADERS)
@settings(max_examples=2000, deadline=None)
def test_no_damage_makes_it_raise(at: int, patch: bytes, cut: int, headers: tuple[tuple[str, bytes], ...]) -> None:
    """A good event with some bytes replaced."""
    value = json.dumps(FULL).encode()
    damaged = value[:at] + patch + value[at + cut :]
    found = read(damaged, *headers)
    assert isinstance(found, Event | Poison)
    known = decode(record(damaged, *headers), lambda _record, claimed: claimed or DEFAULT_TEAM, is_known=True)
    assert isinstance(known, Event | Poison)
    if isinstance(found, Event):
        assert json.loads(json.dumps(found.data)) == found.data
        assert known == found
