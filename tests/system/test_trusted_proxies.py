"""Behind a proxy clients are known by the addresses that it tells; whom nobody named tells none."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest

from monitor.access.tokens import token_text
from tests.support.service import Service

STREAM = "/v1/executions/stream"


@pytest.mark.parametrize(("trusted", "address"), [("", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.9")])
async def test_forwarded_address_counts_where_its_teller_is_trusted(tmp_path: Path, trusted: str, address: str) -> None:
    """Whoever is connected is listed under it."""
    service = Service(tmp_path / "data", **({"trusted_proxies": trusted} if trusted else {}))
    service.launch()
    try:
        await service.ready()
        headers = {"x-forwarded-for": "203.0.113.9", "accept": "text/event-stream"}
        async with service.client() as client, client.stream("GET", STREAM, headers=headers) as stream:
            lines = stream.aiter_lines()  # held: the stream is closed with it
            assert await anext(lines)
            [connection] = (await client.get("/v1/streams")).json()["data"]
        assert httpx.URL(f"//{connection['client']}").host == address
    finally:
        service.close()


async def test_guesses_count_for_the_address_that_a_trusted_proxy_tells(tmp_path: Path) -> None:
    """Whoever guesses is told to wait, and nobody else behind the proxy."""
    async with guarded(tmp_path, trusted_proxies="127.0.0.0/8") as client:
        refused = await refusal(client, ["203.0.113.9"])
        assert refused.json()["error"]["code"] == "RATE_LIMITED"
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        assert (await guess(client, "203.0.113.10")).status_code == 401


async def test_guesses_count_for_who_only_claims_to_be_others(tmp_path: Path) -> None:
    """Where no proxy is trusted, nobody gets away by another address in a header."""
    async with guarded(tmp_path) as client:
        await refusal(client, [f"203.0.113.{number}" for number in range(250)])


@asynccontextmanager
async def guarded(tmp_path: Path, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that asks for tokens."""
    service = Service(tmp_path / "data", auth="on", **settings)
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:
            yield client
    finally:
        service.close()


async def guess(client: httpx.AsyncClient, address: str) -> httpx.Response:
    """The answer to a token that nobody made."""
    shown = {"authorization": f"Bearer {token_text('tok_' + '0' * 16, bytes(32))}"}
    return await client.get("/v1/executions", headers=shown | {"x-forwarded-for": address})


async def refusal(client: httpx.AsyncClient, addresses: Sequence[str]) -> httpx.Response:
    """The first answer that is not about the token, among many guesses."""
    told = cycle(addresses)
    # Beside each other: one after the other, a slow machine would never be too fast.
    for _ in range(20):
        for answer in await asyncio.gather(*(guess(client, address) for address in islice(told, 250))):
            if answer.status_code != 401:
                assert answer.status_code == 429, answer.text
                return answer
    raise AssertionError("nobody was told to wait")
