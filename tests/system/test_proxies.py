"""Streams through real reverse proxies: nginx as it comes and with the README's lines, HAProxy as it comes."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.browser import Browser
from tests.support.debian import Unavailable
from tests.support.followers import STREAM, Follower, Followers, following
from tests.support.node_clients import prepare
from tests.support.proxies import DEFAULT_SITE, haproxy, nginx, readme_site
from tests.support.service import Service

FIRST_BYTE_S = 1.0

IDLE_S = 150.0
"""More than twice what is the default: nginx gives up after 60 s, Debian's HAProxy after 50 s."""

CHANNELS = ("executions",)

Put = Callable[[int, Path], AbstractAsyncContextManager[str]]


class Proxy(NamedTuple):
    """A way to be in front of the service."""

    put: Put
    takes_websockets: bool


PROXIES = {
    "nginx": Proxy(lambda port, folder: nginx(port, folder, DEFAULT_SITE), takes_websockets=False),
    "nginx with the README's lines": Proxy(
        lambda port, folder: nginx(port, folder, readme_site()), takes_websockets=True
    ),
    "haproxy": Proxy(haproxy, takes_websockets=True),
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """The service, ready."""
    service = Service(tmp_path / "data")
    service.launch()
    try:
        await service.ready()
        yield service
    finally:
        service.close()


async def test_frames_come_through_one_by_one(service: Service, tmp_path: Path) -> None:
    """Each as soon as it is made, the drain too; and when the service is back, everybody goes on where he stood."""
    async with behind_all(service, tmp_path) as (urls, followers):
        for url in urls:
            took_s = [await first_byte_s(url)]
            # A busy machine is late now and then; a proxy that holds bytes back always is.
            while took_s[-1] >= FIRST_BYTE_S and len(took_s) < 10:
                took_s.append(await first_byte_s(url))
            assert took_s[-1] < FIRST_BYTE_S, took_s
        for number in range(10):
            await tell(service, number, followers)
        assert await service.stop() == 0
        for follower in followers.values():
            await follower.until(lambda one: one.controls("drain"))
            assert follower.shown[-1].frame["type"] == "stream.drain"
            assert follower.shown[-1].token
        service.launch()
        await service.ready()
        await tell(service, 10, followers)


async def test_event_source_outlives_an_absence_behind_nginx(
    service: Service, tmp_path: Path, browser: Browser
) -> None:
    """Where nginx would answer 502, which ends an EventSource for good, the lines of the README let it come back."""
    browser.expected = re.compile(r"net::ERR_|favicon")
    require_node()
    async with (
        in_front(PROXIES["nginx with the README's lines"], service, tmp_path) as url,
        following(Followers(url, CHANNELS, browser).event_sources()) as followers,
    ):
        await tell(service, 0, followers)
        service.kill()
        for follower in followers.values():
            await follower.until(lambda one: one.states.count("open") >= 2)
        service.launch()
        await service.ready()
        await tell(service, 1, followers)
        assert {follower.states[-1] for follower in followers.values()} == {"open"}


@pytest.mark.long
@pytest.mark.timeout(IDLE_S + 120)
async def test_idle_streams_survive_every_default_timeout(service: Service, tmp_path: Path) -> None:
    """After two and a half minutes without an event, the next one arrives on the connection that was there before."""
    async with behind_all(service, tmp_path) as (_, followers):
        await asyncio.sleep(IDLE_S)  # the silence that is under test
        await tell(service, 0, followers)
        assert [name for name, follower in followers.items() if len(follower.controls("hello")) != 1] == []


@asynccontextmanager
async def behind_all(service: Service, folder: Path) -> AsyncIterator[tuple[list[str], Mapping[str, Follower]]]:
    """The URLs of all proxies at once, and everybody who gets through to the service."""
    urls: list[str] = []
    followers: dict[str, Follower] = {}
    async with AsyncExitStack() as stack:
        for number, (name, proxy) in enumerate(PROXIES.items()):
            own = folder / f"proxy-{number}"
            own.mkdir()
            urls.append(await stack.enter_async_context(in_front(proxy, service, own)))
            kinds = Followers(urls[-1], CHANNELS)
            through = kinds.plain() if proxy.takes_websockets else kinds.gets()
            found = await stack.enter_async_context(following(through))
            followers |= {f"{kind} behind {name}": follower for kind, follower in found.items()}
        yield urls, followers


@asynccontextmanager
async def in_front(proxy: Proxy, service: Service, folder: Path) -> AsyncIterator[str]:
    """The URL of the proxy in front of the service."""
    try:
        async with proxy.put(service.port, folder) as url:
            yield url
    except Unavailable as error:
        pytest.skip(str(error))


def require_node() -> None:
    """Its clients are at hand."""
    try:
        prepare()
    except Unavailable as error:
        pytest.skip(f"no clients of Node: {error}")


async def first_byte_s(url: str) -> float:
    """From the request to the first byte of the stream itself, in the slower of its two forms."""
    took_s = 0.0
    for form in ("text/event-stream", "application/x-ndjson"):
        began_s = time.monotonic()
        async with (
            httpx.AsyncClient(trust_env=False, verify=False, timeout=60) as client,  # noqa: S501 - nothing here is TLS
            client.stream("GET", f"{url}{STREAM}", headers={"accept": form}) as response,
        ):
            assert await anext(response.aiter_raw(1))
            assert response.headers["content-type"].startswith(form)
            took_s = max(took_s, time.monotonic() - began_s)
    return took_s


async def tell(service: Service, number: int, followers: Mapping[str, Follower]) -> None:
    """Post event `number`, past the proxy; return once everybody has been shown it, after the ones before it."""
    event = {"type": "execution.started", "executionId": f"e{number}", "timestamp": "2026-11-22T10:30:00Z"}
    async with service.client() as client:
        assert (await client.post("/v1/events", json=event)).status_code == 200
    for follower in followers.values():
        await follower.until(lambda one: len(one.events) > number)
        assert [shown.frame["executionId"] for shown in follower.events] == [f"e{n}" for n in range(number + 1)]
