"""Scripts of named origins may use the API; those of others read nothing of it."""

from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.clock import SystemClock
from monitor.web.origins import is_own_page, open_to
from monitor.web.replies import json_reply
from tests.support.openings import opened
from tests.support.released import World
from tests.support.server import Address, listening, streaming

DASHBOARD = "https://dashboard.example.com"
STRANGER = "https://evil.example"


async def echo(_: Request) -> Response:
    """Something to read."""
    return json_reply({"secret": 1}, headers={"etag": '"1"'})


@pytest.fixture
async def address() -> AsyncIterator[Address]:
    """A service that one other origin may use."""
    app = Starlette(routes=[Route("/v1/things", echo, methods=["GET", "DELETE"])])
    async with listening(open_to(app, [DASHBOARD])) as address:
        yield address


async def asked(address: Address, method: str = "GET", **headers: str) -> httpx.Response:
    """An answer to a browser."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, f"{address.http}/v1/things", headers=named)


async def test_named_origin_reads_answers_with_its_credentials(address: Address) -> None:
    """And the headers that tell position, version and limits."""
    answer = await asked(address, origin=DASHBOARD)
    assert answer.headers["access-control-allow-origin"] == DASHBOARD
    assert answer.headers["access-control-allow-credentials"] == "true"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"etag", "monitor-position", "retry-after"} <= exposed
    assert answer.headers["vary"] == "Origin"


async def test_stranger_reads_nothing(address: Address) -> None:
    """A browser shows no script what carries no header, and sends nothing that it has to ask for first."""
    answer = await asked(address, origin=STRANGER)
    assert "access-control-allow-origin" not in answer.headers
    asking = {"access_control_request_method": "DELETE", "access_control_request_headers": "authorization"}
    assert (await asked(address, "OPTIONS", origin=STRANGER, **asking)).status_code == 400
    allowed = await asked(address, "OPTIONS", origin=DASHBOARD, **asking)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, DASHBOARD)


async def test_streams_are_open_to_named_origins_too() -> None:
    """The headers come with the frames, which still go straight to the socket."""
    world = await World(clock=SystemClock()).bound()
    async with streaming(world.hub(), world, around=lambda app: open_to(app, [DASHBOARD])) as address:
        for origin, allowed in ((DASHBOARD, DASHBOARD), (STRANGER, None)):
            async with opened(address.http, "/v1/executions/stream", "sse", origin=origin) as stream:
                assert await stream.frame() is not None
                assert stream.headers.get("access-control-allow-origin") == allowed


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://monitor:8080", "host": "monitor:8080"}, True),
        ({"origin": "https://Monitor:8080", "host": "monitor:8080"}, True),
        ({"origin": "http://monitor", "host": "monitor:8080"}, False),
        ({"origin": DASHBOARD, "host": "monitor"}, True),
        ({"origin": DASHBOARD.upper(), "host": "monitor"}, True),
        ({"origin": f"{DASHBOARD}.evil.example", "host": "monitor"}, False),
        ({"origin": STRANGER, "host": "monitor", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "null", "host": "null"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://[", "host": "["}, False),
        ({"origin": "", "host": ""}, False),
    ],
)
def test_own_pages_are_told_from_others(headers: Mapping[str, str], is_own: bool) -> None:
    """By the origin that the browser names; an origin that hides itself is a stranger's."""
    assert is_own_page(Headers(headers), {DASHBOARD}) is is_own


def test_without_other_origins_nothing_stands_in_between() -> None:
    """The application itself."""
    app = Starlette()
    assert open_to(app, ()) is app
