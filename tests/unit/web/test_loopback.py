"""Web pages of other people get no answer from a service that asks nobody who he is."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from monitor.clock import SystemClock
from monitor.web.loopback import LoopbackOnly
from tests.support.server import Address, listening


async def page(_: object) -> PlainTextResponse:
    """Something that only this machine may read."""
    return PlainTextResponse("secret")


async def stream(socket: WebSocket) -> None:
    """Something that only this machine may follow."""
    await socket.accept()
    await socket.send_text("secret")
    await socket.close()


@pytest.fixture
async def address() -> AsyncIterator[Address]:
    """A service with both behind the guard."""
    inside = Starlette(routes=[Route("/", page, methods=["GET", "POST"]), WebSocketRoute("/", stream)])
    async with listening(LoopbackOnly(inside, SystemClock())) as address:
        yield address


HERE = ("localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:8080", "127.8.9.10:1", "[::1]", "[::1]:8080")
ELSEWHERE = (
    "evil.example",
    "evil.example:8080",
    "0.0.0.0:8080",
    "192.168.1.7",
    "[fe80::1]:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example@localhost",
    "localhost@evil.example",
    "evil.example/localhost",
    "[::1",
    "::1",
    "",
)


@pytest.mark.parametrize("host", HERE)
async def test_names_of_this_machine_are_answered(address: Address, host: str) -> None:
    """With any port: a tunnel or a container may show the service under another one."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(address.http, headers={"host": host, "origin": f"http://{host}"})
    assert (answer.status_code, answer.text) == (200, "secret")


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_every_other_name_is_refused_with_the_cure(address: Address, host: str) -> None:
    """A name that somebody pointed at 127.0.0.1 stays somebody's."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(address.http, headers={"host": host})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (421, "MISDIRECTED_REQUEST")
    assert "address it as localhost or 127.0.0.1" in error["message"]


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://localhost.evil.example:8080", "file://"])
async def test_a_page_from_elsewhere_may_neither_read_nor_write(address: Address, origin: str) -> None:
    """It knows the right name, but a browser tells where it is from."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, address.http, headers={"origin": origin})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FOREIGN_ORIGIN")


async def test_a_second_host_does_not_hide_behind_the_first(address: Address) -> None:
    """Whichever of them a proxy or a browser meant."""
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith((b"HTTP/1.1 421 ", b"HTTP/1.1 400 "))


async def test_programs_that_name_no_host_are_no_browsers(address: Address) -> None:
    """Probes that still speak HTTP/1.0 are answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.endswith(b"secret")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 421), ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403)],
)
async def test_a_websocket_is_refused_before_it_opens(address: Address, headers: dict[str, str], status: int) -> None:
    """No rule of the browser would keep a page from opening one."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(address.ws, proxy=None, open_timeout=60, additional_headers=headers)
    assert refused.value.response.status_code == status


async def test_a_websocket_of_this_machine_opens(address: Address) -> None:
    """From a page of this machine as well as from a program."""
    for headers in ({}, {"origin": "http://localhost:3000"}):
        async with connect(address.ws, proxy=None, open_timeout=60, additional_headers=headers) as client:
            assert await client.recv() == "secret"


async def test_origins_that_were_named_are_welcome() -> None:
    """Under a name of this machine, and no others beside them."""
    inside = Starlette(routes=[Route("/", page)])
    async with (
        listening(LoopbackOnly(inside, SystemClock(), ["https://dashboard.example.com"])) as address,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        for origin, status in (("https://Dashboard.example.com", 200), ("https://evil.example", 403)):
            assert (await client.get(address.http, headers={"origin": origin})).status_code == status
