"""What the service sends as `text/event-stream` is what the standard says it is: read by its letter, at every cut."""

import asyncio
import http.client
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from monitor.events.codec import decode
from monitor.events.model import DEFAULT_TEAM, MAX_EVENT_BYTES, Event, Record
from monitor.events.position import Position
from monitor.fanout.frames import Frame
from monitor.fanout.wires import SSE, SSE_NAMED, WEBSOCKET, Wire
from monitor.projections.execution import Execution
from monitor.projections.fold import fold
from tests.support.browser import Browser
from tests.support.event_stream import EventStream, Fired
from tests.support.event_stream_cases import CASES, Case
from tests.support.service import Service
from tests.support.traffic import traffic

HOSTILE = (
    # Everything that some reader somewhere takes for the end of a line.
    *"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029",
    "\r\n\r\n",
    # What is special in a stream, at its beginning or in a value.
    *("\0", "\ufeff", ":", "data: x", "\n\ndata: x\n\n", "\nid: 7\n", "\nevent: stream.reset\n", "\nretry: 1\n"),
    # Characters of one to four bytes, combining, reversing, the last one.
    *("\x7f", "é", "…", "🚀", "e\u0301", "\u202e", "\U0010ffff"),
    # What is special in JSON, or in a page.
    *('"', "\\", "\\u0000", "}", "</script>"),
)

PRINTABLE = ("id: 7", "data:", ": a comment", " a blank ahead", "a blank behind ", "event", "🚀é", "message")
"""As far as names of events and identifiers may go."""

STARTED = {"type": "execution.started", "executionId": "exec_1", "timestamp": "2026-11-22T10:30:00Z", "id": "1"}

Cuts = Iterable[tuple[int, ...]]


# --- the tests' reader -----------------------------------------------------------------------------------------------


async def test_browser_reads_the_cases_as_the_tests_do(browser: Browser) -> None:
    """Chromium fires the same events with the same ids, so agreement with our reader is agreement with browsers."""
    browser.expected = re.compile("favicon")
    types = sorted({fired.type for case in CASES.values() for fired in case.fired})
    async with telling(list(CASES.values())) as url:
        page = await browser.open(f"{url}/")
        seen = await page.evaluate(
            """async ([count, types]) => {
                const read = (number) => new Promise((resolve) => {
                    const source = new EventSource(`/${number}`);
                    const fired = [];
                    const hear = ({type, data, lastEventId}) => fired.push([type, data, lastEventId]);
                    for (const type of types) source.addEventListener(type, hear);
                    source.onerror = () => { source.close(); resolve(fired); };
                });
                return Promise.all(Array.from({length: count}, (_, number) => read(number)));
            }""",
            [len(CASES), types],
        )
    fired = {name: tuple(itertools.starmap(Fired, events)) for name, events in zip(CASES, seen, strict=True)}
    assert fired == {name: case.fired for name, case in CASES.items()}


@asynccontextmanager
async def telling(cases: Sequence[Case]) -> AsyncIterator[str]:
    """A server with an empty page at `/`, and each case by its number as a stream that ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).split()[1].removeprefix(b"/")
        kind, body = (b"text/event-stream", cases[int(asked)].body) if asked.isdigit() else (b"text/html", b"")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\n%b" % (kind, body))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


# --- the wires -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [SSE, SSE_NAMED], ids=["default names", "named"])
def test_hostile_strings_come_through_at_every_cut(wire: Wire) -> None:
    """In values, names, identifiers and types: an event each, with the text that a WebSocket shows, under its id."""
    frames = [frame_of(data={"texts": HOSTILE, "names": dict.fromkeys(HOSTILE)})]
    frames += [frame_of(type=word, executionId=word, workflowId=word, id=word) for word in PRINTABLE]
    hello = {"text": "".join(HOSTILE)}
    blocks = [b"retry: 2000\n", wire.control("stream.hello", hello, "t")]
    fired = [Fired("stream.hello", WEBSOCKET.control("stream.hello", hello, "t").decode(), "t")]
    for number, frame in enumerate(frames):
        blocks += [frame.encoded_at(wire, f"t{number}"), wire.checkpoint(f"c{number}"), wire.heartbeat or b""]
        name = frame.release.event.type if wire is SSE_NAMED else "message"
        fired.append(Fired(name, frame.encoded_at(WEBSOCKET, f"t{number}").decode(), f"t{number}"))
    body = b"".join(blocks)
    assert_read(body, every_cut(body), fired, f"c{len(frames) - 1}")


@pytest.mark.parametrize("filling", ["x", "\u2028", "🚀", '"'], ids=["ASCII", "three bytes", "four bytes", "escaped"])
def test_largest_event_comes_through_cut_where_buffers_end(filling: str) -> None:
    """Around every line end, and around every 64 KiB."""
    room = MAX_EVENT_BYTES - len(json.dumps({**STARTED, "data": {"text": ""}}))
    frame = frame_of(data={"text": filling * (room // len(json.dumps(filling, ensure_ascii=False)[1:-1].encode()))})
    body = frame.encoded_at(SSE, "t1") + SSE.checkpoint("t2")
    lines = [found.start() + side for found in re.finditer(b"\n", body) for side in (-1, 0, 1)]
    buffers = [at + side for at in range(1 << 16, len(body), 1 << 16) for side in (-1, 0, 1)]
    text = frame.encoded_at(WEBSOCKET, "t1").decode()
    assert_read(body, [*((at,) for at in lines), tuple(buffers)], [Fired("message", text, "t1")], "t2")


def frame_of(**members: Any) -> Frame:
    """The frame of an event with these members, as it comes out of codec and fold."""
    value = json.dumps({**STARTED, **members}, ensure_ascii=False).encode()
    event = decode(Record(0, 4, None, value, (), 0), lambda _record, _said: DEFAULT_TEAM)
    assert isinstance(event, Event), event
    id_ = (event.team, event.execution_id)
    [*_, release] = fold([event], {id_: Execution(*id_)}).releases
    return Frame(release, Position("00" * 6, (5,)))


# --- a real service --------------------------------------------------------------------------------------------------


async def test_recorded_stream_says_what_a_websocket_shows(tmp_path: Path) -> None:
    """From the first byte to the drain, at every cut: the same texts in the same order, each under its own token."""
    target = "/v1/executions/stream?channels=executions&events=*"
    service = Service(tmp_path / "data")
    service.launch()
    try:
        await service.ready()
        async with (
            connect(f"ws://127.0.0.1:{service.port}{target}", proxy=None, open_timeout=60) as websocket,
            service.client() as client,
        ):
            plain, named = [await recording(service.port, each) for each in (target, f"{target}&named=1")]
            for entry in islice(traffic(5), 12):
                assert (await client.post("/v1/events", content=entry.value, headers=JSON)).status_code == 200
            assert await service.stop() == 0
            texts = await everything(websocket)
    finally:
        service.close()
    frames = [(text, json.loads(text)) for text in texts]
    for body, names in ((await plain, default_name), (await named, own_name)):
        assert re.match(rb"retry: [0-9]+\n", body)
        read = EventStream().feed(body)
        told = [Fired(names(frame), text, frame["position"]) for text, frame in frames]
        assert list(map(without_own, read)) == list(map(without_own, told))
        assert_read(body, every_cut(body), read, told[-1].last_event_id)


JSON = {"content-type": "application/json"}


async def recording(port: int, target: str) -> asyncio.Task[bytes]:
    """Brings the body of a GET, which has begun, when it has ended."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", target)
    response = await asyncio.to_thread(connection.getresponse)
    head = {name.lower(): value for name, value in response.getheaders()}
    assert head["content-type"] == "text/event-stream; charset=utf-8"
    assert set(head["cache-control"].split(", ")) == {"no-store", "no-transform"}
    assert head["x-accel-buffering"] == "no"

    def read() -> bytes:
        with closing(connection):
            return response.read()

    return asyncio.create_task(asyncio.to_thread(read))


def without_own(fired: Fired) -> Fired:
    """Without what each connection is told for itself: its name, and when to come back."""
    return fired._replace(data=re.sub(r'"(sid|retryMs)":("[0-9a-f]+"|\d+)', "", fired.data))


def own_name(frame: Mapping[str, Any]) -> str:
    """What an EventSource fires an event under that has its type for a name."""
    name: str = frame["type"]
    return name


def default_name(frame: Mapping[str, Any]) -> str:
    """And one without a name; the service's own words always have theirs."""
    return frame["type"] if frame["type"].startswith("stream.") else "message"


async def everything(websocket: ClientConnection) -> Sequence[str]:
    """All texts up to the close frame."""
    texts: list[str] = []
    while True:
        try:
            texts.append(await websocket.recv(decode=True))
        except ConnectionClosed:
            return texts


# --- cuts ------------------------------------------------------------------------------------------------------------


def every_cut(body: bytes) -> Cuts:
    """None, each one, and all at once."""
    yield ()
    yield tuple(range(1, len(body)))
    yield from ((at,) for at in range(1, len(body)))


def assert_read(body: bytes, cuts: Cuts, fired: Sequence[Fired], last_event_id: str) -> None:
    """The body fires this in whatever pieces it comes, and leaves the client at `last_event_id`."""
    for cut in cuts:
        stream = EventStream()
        pieces = (body[begin:end] for begin, end in itertools.pairwise((0, *cut, len(body))))
        assert [event for piece in pieces for event in stream.feed(piece)] == fired
        assert stream.last_event_id == last_event_id
