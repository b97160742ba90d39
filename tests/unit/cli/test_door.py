"""A service's answer becomes one verdict per event, or one sentence about why there are none."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from monitor.cli.door import Verdict, http_door, pause_s, read_answer
from monitor.errors import Unavailable

ACCEPTED = {"results": [{"index": 0, "id": "a", "verdict": "accepted"}]}


def test_verdicts_come_in_order_of_the_events() -> None:
    """Whatever the order of the answer."""
    answer = {
        "position": "p",
        "results": [
            {"index": 2, "id": None, "verdict": "rejected", "error": {"code": "x", "field": "type", "message": "why"}},
            {"index": 0, "id": "a", "verdict": "accepted"},
            {"index": 1, "id": "b", "verdict": "duplicate"},
        ],
    }
    expected = [Verdict("accepted"), Verdict("duplicate"), Verdict("rejected", "why")]
    assert read_answer("u", 200, json.dumps(answer).encode(), 3) == expected


def test_refused_request_may_tell_each_event() -> None:
    """When none was taken, the verdicts stand inside the error."""
    results = [{"index": 0, "verdict": "rejected", "error": {"message": "no type"}}]
    answer = {"error": {"code": "INVALID_EVENT", "message": "none", "results": results}}
    assert read_answer("u", 400, json.dumps(answer).encode(), 1) == [Verdict("rejected", "no type")]


def test_request_refused_as_a_whole_rejects_every_event() -> None:
    """A body that is too large, for instance."""
    answer = {"error": {"code": "PAYLOAD_TOO_LARGE", "message": "too large"}}
    assert read_answer("u", 413, json.dumps(answer).encode(), 2) == [Verdict("rejected", "too large")] * 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b'{"error":{"code":"JOURNAL_UNAVAILABLE","message":"The journal does not answer."}}'),
        (200, b"<html>another program</html>"),
        (404, b"\xff"),
        (200, b'{"results":[]}'),
        (200, b'["a"]'),
    ],
)
def test_answer_without_verdicts_says_that_nothing_was_taken(status: int, body: bytes) -> None:
    """Something else may be listening there, or the journal be away."""
    with pytest.raises(Unavailable, match="http://u took nothing: "):
        read_answer("http://u", status, body, 1)


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """A server whose ingest address is `handler`."""
    application = web.Application()
    application.router.add_post("/v1/events", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_events_travel_as_lines() -> None:
    """One request, each event as it is, on a line of its own."""
    seen: list[tuple[str, bytes]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((request.content_type, await request.read()))
        return web.json_response({"results": [{"index": at, "verdict": "accepted"} for at in range(2)]})

    async with answering(take) as url, http_door(f"{url}/") as push:
        assert await push([b'{"a":1}', b"x"]) == [Verdict("accepted"), Verdict("accepted")]
    assert seen == [("application/x-ndjson", b'{"a":1}\nx')]


async def test_service_that_asks_for_a_moment_gets_it() -> None:
    """503 with Retry-After is asked again, with the same bytes."""
    answers = iter([web.Response(status=503, headers={"retry-after": "0"}), web.json_response(ACCEPTED)])
    bodies: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return next(answers)

    async with answering(take) as url, http_door(url) as push:
        assert await push([b"{}"]) == [Verdict("accepted")]
    assert bodies == [b"{}", b"{}"]


async def test_service_that_never_has_a_moment_is_given_up() -> None:
    """Ten times, then the caller hears its words."""
    asked = 0

    async def put_off(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response(
            {"error": {"code": "UNAVAILABLE", "message": "not now"}}, status=503, headers={"retry-after": "0"}
        )

    async with answering(put_off) as url, http_door(url) as push:
        with pytest.raises(Unavailable, match="took nothing: not now; doing the same again is harmless"):
            await push([b"{}"])
    assert asked == 10


@pytest.mark.parametrize("said", ["Wed, 21 Oct 2026 07:28:00 GMT", "", "nan", "inf", "-1", "1e9", "86400", "²"])
def test_a_pause_that_is_none_or_too_long_is_not_obeyed(said: str) -> None:
    """Proxies answer 503 in words of their own; nobody waits a day for them, and nothing breaks."""
    assert pause_s(said) == 1.0


async def test_nobody_there_is_one_sentence_with_the_cure() -> None:
    """The usual mistake is a service that was not started."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and not listening
        async with http_door(f"http://127.0.0.1:{unused.getsockname()[1]}") as push:
            with pytest.raises(Unavailable, match=r"nobody answers at .*; start `monitor serve`, or name its address"):
                await push([b"{}"])


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1"])
async def test_address_that_is_none_is_said_to_be_silent(url: str) -> None:
    """No traceback for a typing mistake."""
    async with http_door(url) as push:
        with pytest.raises(Unavailable, match="nobody answers at"):
            await push([b"{}"])
