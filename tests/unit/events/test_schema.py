"""Decoder and model are one contract: they take and refuse the same bytes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.events.codec import MAX_NESTING, decode
from monitor.events.model import DEFAULT_TEAM, MAX_EVENT_BYTES, Event, Record
from monitor.events.schema import EventDocument, event_schema
from monitor.events.types import DERIVED, TYPES

PLAIN = {"type": "execution.started", "executionId": "e", "timestamp": "2026-11-22T10:30:01.204Z"}
NODE = {**PLAIN, "type": "node.started", "data": {"nodeId": "n"}}
LOG = {**PLAIN, "type": "log.appended", "data": {"lines": [{"message": "m"}]}}
COMMAND = {**PLAIN, "type": "command.requested", "data": {"commandId": "c"}}


def decoder_takes(value: bytes) -> bool:
    """Whether the bytes are an event to the codec."""
    record = Record(0, 0, None, value, (), 0)
    return isinstance(decode(record, lambda _record, claimed: claimed or DEFAULT_TEAM), Event)


def model_takes(value: bytes) -> bool:
    """Whether they are one to the model."""
    try:
        EventDocument.read(value)
    except ValueError:
        return False
    return True


def nested(levels: int) -> Any:
    """An object with so many levels."""
    inner: Any = 1
    for _ in range(levels):
        inner = {"x": inner}
    return inner


def sized(size: int) -> bytes:
    """An event of exactly so many bytes."""
    text = json.dumps({**PLAIN, "data": {"pad": ""}}).encode()
    return text.replace(b'"pad": ""', b'"pad": "%b"' % (b"x" * (size - len(text))))


def with_member(name: str, raw: str, base: dict[str, Any] = PLAIN) -> bytes:
    """An event with a member spelled as given."""
    rest = {member: value for member, value in base.items() if member != name}
    return f'{json.dumps(rest)[:-1]}, "{name}": {raw}}}'.encode()


def with_data(name: str, raw: str, base: dict[str, Any]) -> bytes:
    """An event with a member of `data` spelled as given."""
    data = {member: value for member, value in base["data"].items() if member != name}
    comma = ", " if data else ""
    return with_member("data", f'{json.dumps(data)[:-1]}{comma}"{name}": {raw}}}', base)


HUGE = "9" * 30
ODD_VALUES = (
    *("null", "true", "false", "0", "1", "-1", "1.0", "1e0", "1.5", HUGE, f"-{HUGE}", "9" * 5000, "1e400", "NaN"),
    *('""', '"x"', '"' + "x" * 256 + '"', '"' + "x" * 257 + '"', '"' + "\U0001f600" * 256 + '"', '"a\\u0000b"'),
    *(
        '"\\ud800"',
        '"\\udc00x"',
        '"\\ud83d\\ude00"',
        '"a\\nb"',
        '"tab\\t"',
        '"\\u200b"',
        "[]",
        "{}",
        '["x"]',
        '{"x": 1}',
    ),
    *(
        "9007199254740991",
        "9007199254740992",
        "18446744073709551615",
        "18446744073709551616",
        "01",
        "+1",
        ".5",
        "'x'",
        "",
    ),
)
TIMES = (
    *("2026-11-22T10:30:01Z", "2026-11-22t10:30:01z", "2026-11-22 10:30:01+05:30", "2026-11-22T10:30:01.123456789Z"),
    *("2026-11-22T10:30:01", "2026-11-22", "2026-11-22T10:30Z", "2026-W47-7T10:30:00Z", "2026-11-22T10:30:01,204Z"),
    *(
        "20261122T103001Z",
        "2026-11-22T24:00:00Z",
        "2026-02-30T10:30:01Z",
        "9999-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
    ),
    *("2099-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"),
    *("9999-12-31T23:59:59-23:59", "yesterday", "1795343400", "", " 2026-11-22T10:30:01Z", "２０２６-11-22T10:30:01Z"),
)
MEMBERS = (
    *("type", "executionId", "timestamp", "workflowId", "id", "source", "sequence", "epoch", "data", "backfill"),
    *("teamId", "traceparent", "tracestate"),
)
CORPUS = {
    "plain": json.dumps(PLAIN).encode(),
    "empty": b"",
    "blank": b" \n",
    "no object": b"[]",
    "two": b"{}{}",
    "half": json.dumps(PLAIN).encode()[:-5],
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(),
    "surrounded by space": b"\n" + json.dumps(PLAIN, indent=2).encode() + b"\n",
    "key twice, bad then good": b'{"executionId": 1,' + json.dumps(PLAIN).encode()[1:],
    "key twice, good then bad": json.dumps(PLAIN).encode()[:-1] + b', "executionId": 1}',
    "key twice, forged type last": json.dumps(PLAIN).encode()[:-1] + b', "type": "stream.end"}',
    "NUL in a string": json.dumps(PLAIN).encode().replace(b"started", b"star\x00ted"),
    "NUL behind": json.dumps(PLAIN).encode() + b"\x00",
    "invalid UTF-8 in a known member": with_member("source", '"x"').replace(b'"x"', b'"\xff"'),
    "invalid UTF-8 in an unknown member": with_member("zzz", '"x"').replace(b'"x"', b'"\xff"'),
    "invalid UTF-8 in a key": with_member("zzz", '"x"').replace(b"zzz", b"z\xc3"),
    "overlong UTF-8": with_member("zzz", '"x"').replace(b'"x"', b'"\xc0\x80"'),
    "encoded surrogate": with_member("zzz", '"x"').replace(b'"x"', b'"\xed\xa0\x80"'),
    "other letters": json.dumps({**PLAIN, "executionId": "日本語"}, ensure_ascii=False).encode(),
    "unknown members": json.dumps({**PLAIN, "zzz": {"a": [1]}, "ExecutionId": 5}).encode(),
    "snake case": json.dumps({**PLAIN, "workflow_id": 5}).encode(),
    "1 MiB": sized(MAX_EVENT_BYTES),
    "1 MiB + 1": sized(MAX_EVENT_BYTES + 1),
    "deepest": json.dumps({**PLAIN, "data": nested(MAX_NESTING)}).encode(),
    "too deep": json.dumps({**PLAIN, "data": nested(MAX_NESTING + 1)}).encode(),
    "absurdly deep": with_member("data", "[" * 100_000 + "]" * 100_000),
    "wide": json.dumps({**PLAIN, "data": {"rows": [{}] * 1000}}).encode(),
    "forged control frame": json.dumps({**PLAIN, "type": "stream.end"}).encode(),
    "unknown type": json.dumps({**PLAIN, "type": "execution.exploded"}).encode(),
    "CRLF in a type": json.dumps({**PLAIN, "type": "execution.started\r\n"}).encode(),
    **{f"derived {name}": json.dumps({**PLAIN, "type": name}).encode() for name in sorted(DERIVED)},
    **{f"without {name}": json.dumps({k: v for k, v in PLAIN.items() if k != name}).encode() for name in PLAIN},
    **{f"{name} = {raw[:40]}": with_member(name, raw) for name in MEMBERS for raw in ODD_VALUES},
    **{f"time {time}": with_member("timestamp", json.dumps(time)) for time in TIMES},
    **{f"data.zzz = {raw[:40]}": with_data("zzz", raw, {**PLAIN, "data": {}}) for raw in ODD_VALUES},
    **{f"{name} without data": json.dumps({**PLAIN, "type": name}).encode() for name in TYPES},
    **{f"{name} with null": with_member("data", "null", {**PLAIN, "type": name}) for name in TYPES},
    **{
        f"data.{name} = {raw[:40]}": with_data(name, raw, base)
        for name, base in (
            *(("nodeId", NODE), ("iteration", NODE), ("attempt", NODE), ("status", NODE), ("duration", NODE)),
            *(("lines", LOG), ("final", LOG), ("commandId", COMMAND), ("kind", COMMAND)),
        )
        for raw in ODD_VALUES
    },
    **{
        f"line {line}": with_data("lines", f"[{line}]", LOG)
        for line in (
            "1",
            "{}",
            '{"message": 1}',
            '{"message": null}',
            '{"message": ""}',
            '{"message": "m", "level": 1}',
        )
    },
}


@pytest.mark.parametrize("name", CORPUS)
def test_decoder_and_model_agree(name: str) -> None:
    """On everything that strangers have been seen to send, and worse."""
    assert decoder_takes(CORPUS[name]) is model_takes(CORPUS[name])


def test_the_corpus_has_both_kinds() -> None:
    """It would prove little if all of it were refused, or all taken."""
    taken = sum(map(decoder_takes, CORPUS.values()))
    assert len(CORPUS) // 5 < taken < len(CORPUS) - len(CORPUS) // 5


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    base=st.sampled_from((PLAIN, NODE, LOG, COMMAND)),
    members=st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=8), JSON, max_size=3),
    data=st.dictionaries(
        st.sampled_from(("nodeId", "iteration", "attempt", "lines", "commandId", "status")), JSON, max_size=2
    ),
)
@settings(max_examples=1500, deadline=None)
def test_they_agree_on_whatever_json_there_is(
    base: dict[str, Any], members: dict[str, Any], data: dict[str, Any]
) -> None:
    """Any value in any member."""
    members.pop("specversion", None)
    value = json.dumps({**base, "data": base.get("data", {}) | data, **members}).encode()
    assert decoder_takes(value) is model_takes(value)


@pytest.mark.parametrize(
    "kind", [kind for kind in TYPES.values() if kind.name not in DERIVED], ids=lambda kind: kind.name
)
def test_a_schema_names_its_type_and_what_it_asks_for(kind: Any) -> None:
    """What the schema requires is what the model refuses to do without."""
    schema = event_schema(kind)
    assert schema["properties"]["type"] == {"const": kind.name}
    takes_nothing = model_takes(json.dumps({**PLAIN, "type": kind.name}).encode())
    assert ("data" in schema["required"]) is not takes_nothing
