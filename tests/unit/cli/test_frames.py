"""Lines come whole from whatever pieces the network delivers; what is no frame is noticed."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.frames import MAX_LINE_BYTES, Frame, Garbage, Lines, Progress, State, json_line, read_frame

TEXT = '{"a":"é\\n"}\n\n{"b":1}\r\n{"c":"€"}\n{"half'.encode()
LINES = ['{"a":"é\\n"}'.encode(), b'{"b":1}', '{"c":"€"}'.encode()]


@pytest.mark.parametrize("at", range(len(TEXT) + 1))
def test_lines_are_the_same_wherever_the_bytes_are_cut(at: int) -> None:
    """In the middle of a character, of a line end, of nothing; half a line is none."""
    lines = Lines()
    assert lines.feed(TEXT[:at]) + lines.feed(TEXT[at:]) == LINES


@given(st.lists(st.binary(max_size=4)), st.binary(max_size=3))
def test_lines_are_what_stands_between_line_ends(pieces: list[bytes], end: bytes) -> None:
    """For any bytes in any pieces."""
    lines = Lines()
    found = [line for piece in [*pieces, end, b"\n"] for line in lines.feed(piece)]
    whole = b"".join([*pieces, end, b"\n"])
    assert found == [line.strip() for line in whole.split(b"\n") if line.strip()]


def test_endless_line_is_garbage() -> None:
    """Memory is bounded, whoever answers."""
    lines, piece = Lines(), b"x" * (1 << 20)
    for _ in range(MAX_LINE_BYTES // len(piece)):
        assert lines.feed(piece) == []
    with pytest.raises(Garbage, match="a line of more than 16 MiB"):
        lines.feed(b"x")


def test_frame_has_its_members_typed() -> None:
    """An event with its state, and a word of the service."""
    event = {
        "type": "node.started",
        "executionId": "e1",
        "workflowId": "w",
        "timestamp": "t",
        "id": "x",
        "epoch": 1,
        "data": {"nodeId": "n"},
        "version": 3,
        "position": "p",
        "coalesced": 2,
        "unheard": [],
        "state": {"status": "running", "progress": {"completed": 1, "total": 2, "current": "n", "ratio": 0.5}},
    }
    assert read_frame(json.dumps(event).encode()) == Frame(
        type="node.started",
        position="p",
        execution_id="e1",
        workflow_id="w",
        timestamp="t",
        id="x",
        epoch=1,
        data={"nodeId": "n"},
        version=3,
        state=State("running", Progress(1, 2, "n", None, 0.5)),
    )
    hello = read_frame(b'{"type":"stream.hello","sid":"s","heartbeat_ms":15000,"limits":{}}')
    drain = read_frame(b'{"type":"stream.drain","retryMs":1200,"position":"p"}')
    assert (hello.heartbeat_ms, drain.retry_ms, drain.position) == (15000, 1200, "p")
    assert [frame.is_event for frame in (read_frame(json.dumps(event).encode()), hello, drain)] == [True, False, False]


def test_snapshot_is_no_event() -> None:
    """It has a state like one, but tells how things stand and not what happened."""
    row = {"type": "stream.snapshot", "executionId": "e", "version": 1, "state": {"status": "running", "progress": {}}}
    assert not read_frame(json.dumps(row).encode()).is_event


@pytest.mark.parametrize(
    "line",
    [
        *(b"<html>", b"{}", b'"a"', b"[]", b'{"type":7}', b'{"type":"stream.hel', b"\xff\xfe", b'{"type":"a"}{}'),
        b'{"type":"a","state":{"status":"running"}}',
        b'{"type":"a","version":"1"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_frame_is_garbage(line: bytes) -> None:
    """Of another program, of a proxy, of half a connection."""
    with pytest.raises(Garbage):
        read_frame(line)


@given(st.text())
def test_json_for_programs_is_plain_ascii_and_says_the_same(said: str) -> None:
    """Strangers' characters neither steer a terminal nor fail to be written to a pipe in another encoding."""
    try:
        line = msgspec.json.encode({"said": said})
    except UnicodeEncodeError:
        return  # half a pair cannot be sent
    shown = json_line(line)
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == {"said": said}
