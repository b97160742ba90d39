"""Whatever is sent over a WebSocket is answered as RFC 6455 and the contract say, and no other subscriber notices.

The list of frames follows the Autobahn suite's sections on frames, fragments, UTF-8, closing and limits.
"""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from monitor.access.positions import open_position, position_token
from monitor.access.sealing import KEY_BYTES, Sealer, load_key
from monitor.events.position import Position
from monitor.streams.session import MAX_MESSAGE_CHARACTERS
from tests.support.followers import STREAM, Follower, Followers, following
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    closing,
    handshake,
    made,
    opened,
    upgraded,
)
from tests.support.service import Service, eventually

# One service, and subscribers beside it, through all of it.
pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCHED = "watched"
"""The workflow that the witnesses are interested in."""

QUIET = ("stream.heartbeat", "stream.checkpoint")
"""What lines of JSON bring when nothing happens."""

SAID = b'{"type":"ping"}'

NOT_UTF8 = {
    "a surrogate": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    "an overlong zero": b"\xc0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "a continuation byte": b"\x80",
    "an unfinished character": b"\xe1\xbd",
    "a byte of no encoding": b"\xff",
}

MALFORMED: Mapping[str, tuple[bytes, int]] = {
    **{f"reserved bits {bits:03b}": (made(TEXT, SAID, reserved=bits), 1002) for bits in range(1, 8)},
    **{
        f"reserved bit of a {name}": (made(code, reserved=4), 1002)
        for name, code in {"ping": PING, "close": CLOSE}.items()
    },
    **{f"reserved opcode {code:#x}": (made(code, b"x"), 1002) for code in (*range(3, 8), *range(11, 16))},
    "reserved opcode between fragments": (made(TEXT, b"{", fin=False) + made(0x5) + made(CONTINUATION, b"}"), 1002),
    **{f"unmasked opcode {code:#x}": (made(code, masked=False), 1002) for code in (TEXT, BINARY, PING, CLOSE)},
    **{f"fragment of control {code:#x}": (made(code, fin=False), 1002) for code in (PING, PONG, CLOSE)},
    **{f"126 bytes of control {code:#x}": (made(code, b"\x03\xe8" + b"x" * 124), 1002) for code in (PING, PONG, CLOSE)},
    **{f"text with {what}": (made(TEXT, text), 1007) for what, text in NOT_UTF8.items()},
    **{
        f"fragments with {what}": (made(TEXT, text[:1], fin=False) + made(CONTINUATION, text[1:]), 1007)
        for what, text in NOT_UTF8.items()
    },
    "continuation of nothing": (made(CONTINUATION, SAID), 1002),
    "first fragment of nothing": (made(CONTINUATION, SAID, fin=False), 1002),
    "continuation after the end": (
        made(TEXT, b"{", fin=False) + made(CONTINUATION, b"}") + made(CONTINUATION, b"}"),
        1002,
    ),
    "text among fragments": (made(TEXT, b"{", fin=False) + made(TEXT, b"}"), 1002),
    "binary among fragments": (made(TEXT, b"{", fin=False) + made(BINARY, b"}"), 1002),
    **{
        f"close code {code}": (closing(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "half a close code": (made(CLOSE, b"\x03"), 1002),
    "close reason that is no UTF-8": (closing(1000, b"bye \xff"), 1007),
    "more than memory": (made(TEXT, announced=(1 << 63) - 1), 1009),
    "the highest bit of a length": (made(TEXT, announced=1 << 63), 1009),
    "more than the server takes": (made(BINARY, announced=1 << 20), 1009),
    "too much in fragments": (made(TEXT, bytes(200_000), fin=False) + made(CONTINUATION, bytes(200_000)), 1009),
    "more than a message": (made(TEXT, b" " * (MAX_MESSAGE_CHARACTERS + 1)), 1009),
}

FAREWELLS: Mapping[str, tuple[bytes, int]] = {
    **{f"code {code}": (closing(code), code) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011)},
    **{f"code {code}": (closing(code), code) for code in (3000, 3999, 4000, 4999)},
    "no code": (made(CLOSE), 1005),
    "a long reason": (closing(1000, "é".encode() * 61), 1000),
    "frames behind it": (closing(1000) + made(TEXT, SAID) + made(0x3), 1000),
}


BAD_MESSAGES: Mapping[str, tuple[str | bytes, str]] = {
    "binary": (SAID, "INVALID_REQUEST"),
    "no JSON": ("subscribe", "INVALID_REQUEST"),
    "nothing": ("", "INVALID_REQUEST"),
    "two documents": ("{}{}", "INVALID_REQUEST"),
    "no object": ("[]", "INVALID_REQUEST"),
    "nested deep": ("[" * MAX_MESSAGE_CHARACTERS, "INVALID_REQUEST"),
    "nested deep inside": (
        '{"type":"subscribe","channels":["executions"],"filter":' + '{"a":' * 5000 + "1" + "}" * 5001,
        "INVALID_REQUEST",
    ),
    "a number without bounds": ('{"type":"ping","id":1e999999}', "INVALID_REQUEST"),
    "an unknown type": ('{"type":"publish"}', "INVALID_REQUEST"),
    "a forged frame": ('{"type":"stream.reset","reason":"ahead"}', "INVALID_REQUEST"),
    "an unknown member": ('{"type":"ping","channels":[]}', "INVALID_REQUEST"),
    "an unknown channel": ('{"type":"subscribe","channels":["team:red"]}', "INVALID_REQUEST"),
    "a channel with a line break": ('{"type":"subscribe","channels":["execution:a\\nb"]}', "INVALID_REQUEST"),
    "an unknown field": (
        '{"type":"subscribe","channels":["executions"],"filter":{"stauts":["failed"]}}',
        "INVALID_FILTER",
    ),
    "a pattern that is none": (
        '{"type":"subscribe","channels":["executions"],"events":["*.completed"]}',
        "INVALID_REQUEST",
    ),
    "a position that is none": (
        '{"type":"subscribe","channels":["executions"],"position":"yesterday"}',
        "INVALID_POSITION",
    ),
}

BAD_HANDSHAKES: Mapping[str, tuple[bytes, bytes]] = {
    "of another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
    "of random bytes": (bytes(range(256)), b"400"),
    "without a key": (handshake(STREAM, sec_websocket_key=None), b"400"),
    "with a short key": (handshake(STREAM, sec_websocket_key="c2hvcnQ="), b"400"),
    "with a key that is no base64": (handshake(STREAM, sec_websocket_key="?" * 24), b"400"),
    "of another version": (handshake(STREAM, sec_websocket_version="8"), b"400"),
    "without a version": (handshake(STREAM, sec_websocket_version=None), b"400"),
    "by POST": (handshake(STREAM).replace(b"GET", b"POST"), b"405"),
    "from a page elsewhere": (handshake(STREAM, origin="https://evil.example"), b"403"),
    "to another host": (handshake(STREAM, host="evil.example"), b"421"),
    "to no stream": (handshake("/v1/nothing"), b"403"),
}


# --- the service, and who is not to notice ---------------------------------------------------------------------------


class Witnesses:
    """Subscribers beside the one that misbehaves, and what they have to see: every event, at once, and nothing else."""

    def __init__(self, client: httpx.AsyncClient, followers: Mapping[str, Follower]) -> None:
        self._client, self._followers = client, followers
        self._told: list[str] = []

    async def see_on(self) -> None:
        """Return once each of them has seen one more event, on the connection that it has had from the beginning."""
        self._told.append(f"e{len(self._told)}")
        said = {"type": "execution.started", "executionId": self._told[-1], "workflowId": WATCHED}
        said["timestamp"] = "2026-11-22T10:30:00Z"
        assert (await self._client.post("/v1/events", json=said)).status_code == 200
        for follower in self._followers.values():
            await follower.until(lambda one: one.shown[-1].frame.get("executionId") == self._told[-1])
            frames = [shown.frame for shown in follower.shown]
            hello, subscribed, *events = [frame for frame in frames if frame["type"] not in QUIET]
            assert (hello["type"], subscribed["type"]) == ("stream.hello", "stream.subscribed")
            assert [event.get("executionId") for event in events] == self._told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service that lives through all of it, and ends cleanly when asked."""
    service = Service(tmp_path_factory.mktemp("frames") / "data")
    service.launch()
    try:
        await service.ready()
        yield service
        assert await service.stop() == 0
        assert "Exception in ASGI application" not in service.log.read_text()
    finally:
        service.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def witnesses(service: Service) -> AsyncIterator[Witnesses]:
    """By WebSocket, httpx-sse and curl."""
    async with (
        service.client() as client,
        following(Followers(service.url, [f"workflow:{WATCHED}"]).plain()) as followers,
    ):
        yield Witnesses(client, followers)


@pytest_asyncio.fixture(loop_scope="module")
async def websocket(service: Service, witnesses: Witnesses) -> AsyncIterator[RawWebSocket]:
    """The one that misbehaves; afterwards the others go on as before."""
    async with upgraded(service.port, STREAM) as websocket:
        yield websocket
    await witnesses.see_on()


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "code"), MALFORMED.values(), ids=MALFORMED)
async def test_malformed_frame_closes_with_its_code(websocket: RawWebSocket, sent: bytes, code: int) -> None:
    """1002 for what breaks the protocol, 1007 for text that is none, 1009 for what is too large."""
    await websocket.send(sent)
    assert await websocket.close_code() == code


@pytest.mark.parametrize(("sent", "code"), FAREWELLS.values(), ids=FAREWELLS)
async def test_farewell_is_returned(websocket: RawWebSocket, sent: bytes, code: int) -> None:
    """The close frame comes back with its code, and what was sent behind it is not read."""
    await websocket.send(sent)
    assert await websocket.close_code() == code


@pytest.mark.parametrize("payload", [b"", b"\x00\xff\xfe\r\n", b"x" * 125], ids=["empty", "binary", "longest"])
async def test_ping_is_answered_with_its_payload(websocket: RawWebSocket, payload: bytes) -> None:
    """Also between the fragments of a message, which is answered after it."""
    await websocket.send(made(TEXT, SAID[:3], fin=False) + made(PING, payload))
    assert await websocket.next(PONG) == payload
    await websocket.send(made(CONTINUATION, SAID[3:]))
    assert await answer(websocket) == {"type": "stream.pong"}


async def test_pong_that_nobody_asked_for_is_ignored(websocket: RawWebSocket) -> None:
    """As the standard's one-way heartbeat."""
    await websocket.send(made(PONG, b"anybody there?") + made(TEXT, SAID))
    assert await answer(websocket) == {"type": "stream.pong"}


async def test_message_may_come_in_any_pieces(websocket: RawWebSocket) -> None:
    """Fragments of one byte and of none, cut inside a character, each byte in a segment of its own."""
    said = json.dumps({"type": "ping", "id": "🚀é"}, ensure_ascii=False).encode()
    fragments = [made(TEXT, fin=False), *(made(CONTINUATION, bytes([byte]), fin=False) for byte in said)]
    for byte in b"".join([*fragments, made(CONTINUATION)]):
        await websocket.send(bytes([byte]))
    assert await answer(websocket) == {"type": "stream.pong", "id": "🚀é"}


async def test_messages_in_one_segment_are_answered_in_order(websocket: RawWebSocket) -> None:
    """However many."""
    await websocket.send(b"".join(made(TEXT, b'{"type":"ping","id":%d}' % number) for number in range(200)))
    assert [(await answer(websocket))["id"] for _ in range(200)] == list(range(200))


async def test_socket_that_is_half_closed_is_closed(websocket: RawWebSocket) -> None:
    """Who says no more cannot answer a ping."""
    websocket.send_end()
    assert await websocket.close_code() is None


# --- readers that take nothing ---------------------------------------------------------------------------------------


async def test_malformed_frame_of_one_who_does_not_read(service: Service, witnesses: Witnesses) -> None:
    """The close frame waits behind what he has not taken, and nothing comes after it."""
    async with stuck(service) as websocket:
        await websocket.send(made(0x3))
        await gone(service, "execution:flood")
        await flood(service)
        assert await websocket.close_code() == 1002
    await witnesses.see_on()


@pytest.mark.long
async def test_reader_that_takes_nothing_is_sent_away(service: Service, witnesses: Witnesses) -> None:
    """After ten seconds, with 4008 behind what is left for him."""
    async with stuck(service) as websocket:
        await gone(service, "execution:flood")
        assert await websocket.close_code() == 4008
    await witnesses.see_on()


@asynccontextmanager
async def stuck(service: Service) -> AsyncIterator[RawWebSocket]:
    """Somebody who has subscribed to everything and whose socket is full."""
    async with upgraded(service.port, STREAM, receive_bytes=4096) as websocket:
        await websocket.send(made(TEXT, b'{"type":"subscribe","channels":["execution:flood"],"events":["*"]}'))
        assert (await answer(websocket))["type"] == "stream.subscribed"
        await flood(service)
        yield websocket


async def flood(service: Service) -> None:
    """More than the kernel keeps for a reader, for one who wants to know about it."""
    node = {"type": "node.completed", "executionId": "flood", "timestamp": "2026-11-22T10:30:00Z"}
    async with service.client() as client:
        for _ in range(5):
            event = {**node, "id": uuid.uuid4().hex, "data": {"nodeId": "n1", "outputData": "x" * 900_000}}
            assert (await client.post("/v1/events", json=event)).status_code == 200


async def gone(service: Service, channel: str) -> None:
    """Return when the service lists nobody with this channel."""
    async with service.client() as client:

        async def is_gone() -> bool:
            listed = (await client.get("/v1/streams")).json()["data"]
            return all(channel not in stream["channels"] for stream in listed)

        await eventually(is_gone)


# --- handshakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "status"), BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
async def test_bad_handshake_is_refused_by_a_status(
    service: Service, witnesses: Witnesses, sent: bytes, status: bytes
) -> None:
    """Before anything is opened."""
    async with opened(service.port, sent) as connection:
        assert (await connection.head()).split()[1] == status
    await witnesses.see_on()


async def test_handshake_may_come_byte_by_byte(service: Service, witnesses: Witnesses) -> None:
    """Each in a segment of its own."""
    async with opened(service.port) as websocket:
        for byte in handshake(STREAM):
            await websocket.send(bytes([byte]))
        assert (await websocket.head()).startswith(b"HTTP/1.1 101 ")
        await websocket.send(made(TEXT, SAID))
        assert await answer(websocket) == {"type": "stream.pong"}
    await witnesses.see_on()


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "code"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
async def test_bad_message_is_answered(websocket: RawWebSocket, said: str | bytes, code: str) -> None:
    """With a code that stays the same, and the connection lives."""
    await websocket.send(made(TEXT, said.encode()) if isinstance(said, str) else made(BINARY, said))
    error = await answer(websocket)
    assert (error["type"], error["code"]) == ("stream.error", code)
    assert error["message"]
    await websocket.send(made(TEXT, SAID))
    assert await answer(websocket) == {"type": "stream.pong"}


async def test_subscription_beyond_the_limit_is_refused(websocket: RawWebSocket) -> None:
    """The hundred before it stay."""
    for number in range(101):
        said = {"type": "subscribe", "channels": [f"workflow:{number}"], "id": number}
        await websocket.send(made(TEXT, json.dumps(said).encode()))
    *granted, refused = [await answer(websocket) for _ in range(101)]
    assert {frame["type"] for frame in granted} == {"stream.subscribed"}
    assert (refused["type"], refused["id"]) == ("stream.error", 100)
    await websocket.send(made(TEXT, b'{"type":"unsubscribe","channels":["workflow:0"]}'))
    assert (await answer(websocket))["type"] == "stream.unsubscribed"


async def test_position_that_leads_nowhere_is_told_in_band(websocket: RawWebSocket, service: Service) -> None:
    """Cut, forged or of another deployment: an error. Of another journal, or beyond the end of this one: a reset."""
    sealer = Sealer(load_key(service.data / "key"))
    here = await subscribe(websocket, None)
    token = here["position"]
    assert [(await subscribe(websocket, bad))["code"] for bad in unreadable(token)] == ["INVALID_POSITION"] * 4
    foreign = position_token(sealer, Position("00" * 6, (3,)))
    position = open_position(sealer, token)
    ahead = position_token(sealer, position.advanced(0, position.offsets[0] + 1000))
    for led_nowhere, reason in ((foreign, "incarnation"), (ahead, "ahead")):
        frame = await subscribe(websocket, led_nowhere)
        while frame["type"] != "stream.reset":
            frame = await answer(websocket)
        assert frame["reason"] == reason


def unreadable(token: str) -> Sequence[str]:
    """Tokens that this deployment did not make."""
    other = position_token(Sealer(bytes(KEY_BYTES)), Position("00" * 6, (3,)))
    return token[:-1], token + "A", token[:9] + ("B" if token[9] == "A" else "A") + token[10:], other


async def subscribe(websocket: RawWebSocket, position: str | None) -> Mapping[str, Any]:
    """Subscribe to one execution that does not exist; returns the first answer."""
    said = {"type": "subscribe", "channels": ["execution:none"], **({"position": position} if position else {})}
    await websocket.send(made(TEXT, json.dumps(said).encode()))
    return await answer(websocket)


async def answer(websocket: RawWebSocket) -> Mapping[str, Any]:
    """The next frame that is no greeting and no checkpoint."""
    while (text := await websocket.next(TEXT)) is not None:
        document: Mapping[str, Any] = json.loads(text)
        if document["type"] not in ("stream.hello", "stream.checkpoint"):
            return document
    raise AssertionError("the connection ended without an answer")
