"""Behind a proxy clients are known by the addresses that it tells; whom nobody named tells none."""

from pathlib import Path

import httpx
import pytest

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
            assert await anext(stream.aiter_lines())
            [connection] = (await client.get("/v1/streams")).json()["data"]
        assert httpx.URL(f"//{connection['client']}").host == address
    finally:
        service.close()
