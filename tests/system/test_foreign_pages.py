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
