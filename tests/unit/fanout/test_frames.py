"""Frames: one JSON per release, a few bytes of protocol around it, a token behind it."""

import json
from typing import Any

import msgspec
import pytest
from websockets import frames

from monitor.events.position import Position
from monitor.fanout.frames import Frame, encode_body, frames_of
from monitor.fanout.slices import Slice
from monitor.fanout.wires import NDJSON, SSE, SSE_NAMED, WEBSOCKET, Wire, without_payloads
from monitor.projections.fold import Release
from tests.support.webhooks import make_release

ZERO = Position("00" * 6, (0,))


def at(release: Release, offset: int, **changes: Any) -> Release:
    """The release as if its record stood at `offset`, its event changed."""
    record = release.event.record._replace(partition=0, offset=offset)
    event = msgspec.structs.replace(release.event, record=record, **changes)
    return msgspec.structs.replace(release, event=event)


RELEASE = at(make_release("node.completed"), 4)


def test_members_that_say_nothing_are_left_out() -> None:
    """No source, no sequence, no trace: as the producer wrote it."""
    bare = at(RELEASE, 4, source="", sequence=0, traceparent=None)
    full = at(RELEASE, 4, source="n8n:1", sequence=7, traceparent="00-1-2-01")
    assert json.loads(encode_body(bare) + b"}").keys() & {"source", "sequence", "traceparent"} == set()
    document = json.loads(encode_body(full) + b"}")
    assert (document["source"], document["sequence"], document["traceparent"]) == ("n8n:1", 7, "00-1-2-01")


def test_the_workflow_is_the_one_that_the_execution_belongs_to() -> None:
    """Also where the event names none."""
    release = at(msgspec.structs.replace(RELEASE, workflow_id="wf_9"), 4, workflow_id=None)
    assert json.loads(encode_body(release) + b"}")["workflowId"] == "wf_9"


@pytest.mark.parametrize(
    "data",
    [
        {"number": 123456789012345678901234567890},
        {"deep": json.loads("[" * 300 + "]" * 300)},
        {"text": "\u2028 \r\n \x00 \x7f \ufeff 🚀"},
        {"id: forged\n\ndata": "event: stream.reset\n\n"},
    ],
)
def test_whatever_the_codec_took_can_be_sent(data: dict[str, Any]) -> None:
    """Long integers and deep nesting as well; never a raw line break, which would end an SSE line."""
    body = encode_body(at(RELEASE, 4, data=data))
    assert json.loads(body + b"}")["data"] == data
    assert not {10, 13} & set(body)


@pytest.mark.parametrize("wire", [WEBSOCKET, SSE, SSE_NAMED, NDJSON])
def test_readers_without_the_right_to_payloads_get_the_rest(wire: Wire) -> None:
    """Everything else is there, the frames are shared by nobody who may see more, and what carries none is the same."""
    trigger = {"type": "webhook", "payload": {"card": "secret"}, "source": "github"}
    data = {"inputData": ["secret"], "outputData": {"a": "secret"}, "trigger": trigger, "mode": "webhook"}
    bare = without_payloads(wire)
    full, plain = Frame(at(RELEASE, 4, data=data), ZERO), Frame(at(RELEASE, 5, data={"nodeId": "n"}), ZERO)
    assert full.encoded_at(wire, "t").count(b"secret") == 3
    shown = full.encoded_at(bare, "t")
    assert b"secret" not in shown
    assert b'"data":{"trigger":{"type":"webhook","source":"github"},"mode":"webhook"}' in shown
    assert plain.encoded_at(bare, "t") == plain.encoded_at(wire, "t")
    lines = [{"message": "hello", "data": "secret"}, {"message": "again"}]
    log = Frame(at(RELEASE, 6, data={"lines": lines}), ZERO).encoded_at(bare, "t")
    assert b'"data":{"lines":[{"message":"hello"},{"message":"again"}]}' in log
    assert (bare.name, bare.shows_payloads, wire.shows_payloads) == (wire.name, False, True)


def test_merged_log_lines_carry_no_payload_either() -> None:
    """Unknown members of an event are kept, and so are those that look like payloads."""
    lines = [{"level": "info", "message": "hello", "data": {"order": "secret"}}]
    logs = [make_release("log.appended", data={"lines": lines, "inputData": "secret"}) for _ in range(2)]
    for wire, count in ((SSE, 3), (without_payloads(SSE), 0)):
        pending = Slice()
        for offset, log in enumerate(logs):
            pending.add(Frame(at(log, offset), ZERO), wire, "t")
        [frame] = pending.frames(wire)
        assert (frame.count(b"secret"), frame.count(b"hello")) == (count, 2)


def test_a_websocket_message_is_the_document() -> None:
    """Nothing around it."""
    message = Frame(RELEASE, ZERO).encoded_at(WEBSOCKET, "token")
    assert json.loads(message)["position"] == "token"


def test_an_sse_block_carries_its_id_and_one_line_of_data() -> None:
    """Without an event name, so that `onmessage` gets it."""
    block = Frame(RELEASE, ZERO).encoded_at(SSE, "token")
    first, second, *rest = block.split(b"\n")
    assert (first, second[:6], rest) == (b"id: token", b"data: ", [b"", b""])
    assert json.loads(second[6:])["position"] == "token"


def test_a_release_is_encoded_once_for_everybody() -> None:
    """Whatever the wire and whatever the token; and sealed once."""
    sealed = []

    def seal(position: Position) -> str:
        sealed.append(position)
        return "token"

    frame = Frame(RELEASE, ZERO)
    frame.encoded_at(SSE, frame.token(seal))
    body = frame.body
    frame.encoded_at(SSE, frame.token(seal))
    frame.encoded_at(WEBSOCKET, "other")
    assert frame.body is body
    assert sealed == [ZERO]


def test_named_events_say_their_type_and_lines_end_with_their_line() -> None:
    """The same document on every wire."""
    frame = Frame(RELEASE, ZERO)
    named, line = frame.encoded_at(SSE_NAMED, "token"), frame.encoded_at(NDJSON, "token")
    assert named == b"event: node.completed\n" + frame.encoded_at(SSE, "token")
    assert line == frame.encoded_at(WEBSOCKET, "token") + b"\n"


@pytest.mark.parametrize("name", ["open", "error"])
def test_words_of_an_event_source_itself_are_no_names(name: str) -> None:
    """Or its user would be told of a lost connection."""
    frame = Frame(at(RELEASE, 4, type=name), ZERO)
    assert frame.encoded_at(SSE_NAMED, "token") == frame.encoded_at(SSE, "token")


def test_a_line_is_one_line_for_every_reader() -> None:
    """Python's own idea of lines included."""
    text = "a\u0085b\u2028c\u2029d\u000be\u001cf"
    frame = Frame(at(RELEASE, 4, data={"text": text}), ZERO)
    for line in (frame.encoded_at(NDJSON, "token"), NDJSON.control("stream.error", {"message": text})):
        [only] = line.decode().splitlines()
        assert text in (json.loads(only).get("data", {}).get("text"), json.loads(only).get("message"))


@pytest.mark.parametrize(("size_bytes", "header"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_text_frames_are_those_of_the_standard(size_bytes: int, header: int) -> None:
    """As another implementation writes them (RFC 6455, 5.2)."""
    message = b"x" * size_bytes
    standard = frames.Frame(frames.Opcode.TEXT, message).serialize(mask=False)
    assert WEBSOCKET.framed([message, message]) == 2 * standard
    assert len(standard) == header + size_bytes


def test_http_chunks_carry_their_length() -> None:
    """In hexadecimal digits (RFC 9112, 7.1)."""
    assert SSE.framed([b"x" * 26]) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_joining_makes_one_write_of_sse_and_keeps_websocket_messages_apart() -> None:
    """One message per event is what WebSocket clients expect."""
    assert SSE.joined([b"a", b"b"]) == (b"ab",)
    assert WEBSOCKET.joined([b"a", b"b"]) == (b"a", b"b")


def test_checkpoints_move_a_position_and_fire_nothing() -> None:
    """An SSE block without data; over WebSocket a control frame."""
    assert SSE.checkpoint("token") == b"id: token\n\n"
    assert json.loads(WEBSOCKET.checkpoint("token")) == {"type": "stream.checkpoint", "position": "token"}


def test_only_the_last_frame_of_a_record_covers_it() -> None:
    """A derived event goes ahead of its cause: whoever is cut off between the two gets both again."""
    derived, cause, other = at(RELEASE, 4, type="execution.conflict"), RELEASE, at(RELEASE, 6)
    made = list(frames_of([derived, cause, other], ZERO))
    assert [frame.position.offsets for frame in made] == [(0,), (5,), (7,)]


def test_covered_releases_are_left_out() -> None:
    """Whole records, their derived events included."""
    derived, cause, other = at(RELEASE, 4, type="execution.conflict"), RELEASE, at(RELEASE, 6)
    made = list(frames_of([derived, cause, other], ZERO.advanced(0, 5)))
    assert [frame.offset for frame in made] == [6]
