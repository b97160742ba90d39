"""Other people's web pages get nothing out of a service without credentials, and put nothing into it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.service import Service

EVENT = {"type": "execution.started", "executionId": "e1", "timestamp": "2026-11-22T10:30:00Z"}


async def test_no_door_opens_to_pages_from_elsewhere(tmp_path: Path) -> None:
    """Neither under a name that was pointed here, nor from a page that says where it is from."""
    service = Service(tmp_path / "data")
    service.launch()
    try:
        await service.ready()
        await assert_refused(service, {"host": f"evil.example:{service.port}"}, 421)
        await assert_refused(service, {"origin": "https://evil.example"}, 403)
        async with service.client() as client:
            assert (await client.get("/v1/executions")).json()["data"] == []
    finally:
        service.close()


async def test_named_page_shows_its_key_in_a_header_of_another_api(tmp_path: Path) -> None:
    """Its browser asks before it sends `X-N8N-API-KEY`, and is told that it may; that of a stranger is not."""
    page, stranger = "https://dashboard.example.com", "https://evil.example"
    asking = {"access-control-request-method": "GET", "access-control-request-headers": "x-n8n-api-key"}
    service = Service(tmp_path / "data", auth="on", origins=page)
    service.launch()
    try:
        await service.ready()
        shown = {"X-N8N-API-KEY": await service.first_token()}
        async with service.client() as client:
            may = await client.options("/api/v1/executions", headers={"origin": page, **asking})
            assert (may.status_code, may.headers["access-control-allow-origin"]) == (200, page)
            assert "x-n8n-api-key" in may.headers["access-control-allow-headers"].lower()
            answer = await client.get("/api/v1/executions", headers={"origin": page, **shown})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
            may_not = await client.options("/api/v1/executions", headers={"origin": stranger, **asking})
            assert (may_not.is_error, "access-control-allow-origin" in may_not.headers) == (True, False)
            answer = await client.get("/api/v1/executions", headers={"origin": stranger, **shown})
            assert "access-control-allow-origin" not in answer.headers
    finally:
        service.close()


async def assert_refused(service: Service, headers: Mapping[str, str], status: int) -> None:
    """Through REST, ingest, server-sent events and WebSocket."""
    async with service.client() as client:
        for path in ("/", "/v1/executions", "/v1/executions/stream", "/metrics"):
            assert (await client.get(path, headers=headers)).status_code == status
        sent = {**headers, "content-type": "application/json"}
        answer = await client.post("/v1/events", headers=sent, content=json.dumps(EVENT))
        assert answer.status_code == status
    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"ws://127.0.0.1:{service.port}/v1/executions/stream",
            proxy=None,
            open_timeout=60,
            additional_headers=headers,
        )
    assert refused.value.response.status_code == status
