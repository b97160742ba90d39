"""Those who run the service learn how it is, and strangers where its doors are."""

from collections.abc import AsyncIterator

import httpx
import pytest

from monitor.telemetry.health import Concern, Health
from tests.support.house import House, open_house


@pytest.fixture
async def house() -> House:
    """A service."""
    return await open_house()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with house.client() as opened:
        yield opened


async def test_a_healthy_service_is_alive_and_ready(client: httpx.AsyncClient) -> None:
    """Both probes answer 200."""
    assert (await client.get("/livez")).json() == {"status": "alive"}
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})


async def test_a_service_that_is_not_ready_says_why_and_stays_alive(house: House, client: httpx.AsyncClient) -> None:
    """503 with words for people and programs."""
    house.health = Health([Concern("lagging", "1200 records are not applied yet")])
    ready = await client.get("/readyz")
    reasons = [{"code": "lagging", "message": "1200 records are not applied yet"}]
    assert (ready.status_code, ready.json()) == (503, {"status": "not ready", "reasons": reasons})
    assert (await client.get("/livez")).status_code == 200


async def test_requests_are_counted_by_method_and_status(client: httpx.AsyncClient) -> None:
    """Invented methods share one series, so that strangers cannot make more."""
    await client.get("/livez")
    await client.get("/nowhere")
    await client.request("BREW", "/livez")
    exposition = await client.get("/metrics")
    assert exposition.headers["content-type"].startswith("text/plain; version=0.0.4")
    counted = {line for line in exposition.text.splitlines() if line.startswith("monitor_http_requests_total")}
    assert counted == {
        'monitor_http_requests_total{method="GET",status="200"} 1.0',
        'monitor_http_requests_total{method="GET",status="404"} 1.0',
        'monitor_http_requests_total{method="other",status="405"} 1.0',
    }


async def test_lag_is_what_is_not_applied_yet(house: House, client: httpx.AsyncClient) -> None:
    """Looked at when asked, and metrics answer also while the journal does not."""
    event = {"type": "execution.started", "executionId": "e", "timestamp": "2026-11-22T10:30:00Z"}
    await client.post("/v1/events", json=event)
    lag = 'monitor_lag_records{partition="0"}'
    assert f"{lag} 1.0" in (await client.get("/metrics")).text
    await house.settle()
    assert f"{lag} 0.0" in (await client.get("/metrics")).text
    await house.journal.close()
    assert f"{lag} 0.0" in (await client.get("/metrics")).text


async def test_the_front_page_names_the_doors(client: httpx.AsyncClient) -> None:
    """Plain text that can be read in a terminal."""
    front = await client.get("/")
    assert front.headers["content-type"] == "text/plain; charset=utf-8"
    for door in ("/v1/executions", "/v1/executions/stream", "/v1/events", "/v1/webhooks", "/readyz"):
        assert door in front.text


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/v1/executions/a/b/c", "/favicon.ico"])
async def test_unknown_addresses_get_the_envelope(client: httpx.AsyncClient, path: str) -> None:
    """404 with the path that was asked for."""
    response = await client.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert response.json()["error"]["path"] == path
