"""Commands against a real `monitor serve` with its demo workflows: seen alike everywhere, and safe from a kill."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service import Service, eventually

BUSY_S = 120.0


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that is ready."""
    running = Service(tmp_path / "data")
    running.launch()
    try:
        await running.ready()
        yield running
    finally:
        running.close()


async def ended(client: httpx.AsyncClient, execution_id: str) -> dict[str, Any]:
    """The execution, when it has ended."""
    shown: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal shown
        shown = (await client.get(f"/v1/executions/{execution_id}")).json()
        return shown.get("status") in ("success", "failed", "cancelled")

    await eventually(has_ended, within_s=BUSY_S, what=lambda: str(shown))
    return shown


async def frames_of(client: httpx.AsyncClient, execution_id: str) -> list[dict[str, Any]]:
    """Every frame of an execution that has ended, from its beginning."""
    path = f"/v1/executions/{execution_id}/stream"
    asked = {"position": "earliest", "events": "*"}
    heard = []
    async with client.stream("GET", path, params=asked, headers={"accept": "application/x-ndjson"}, timeout=60) as it:
        async for line in it.aiter_lines():
            frame = json.loads(line)
            heard.append(frame)
            if frame["type"] == "stream.end":
                break
    return heard


async def test_rest_frames_and_history_agree_on_every_command(service: Service) -> None:
    """Execute, cancel, and a retry from a node: the same commands wherever one looks."""
    async with service.client() as client:
        asked = (await client.post("/v1/workflows/demo-wait/execute", json={"input": [{"json": {"a": 1}}]})).json()
        first = asked["executionId"]
        assert (await client.post(f"/v1/executions/{first}/cancel", timeout=60)).status_code == 200
        body = {"fromNode": "publish", "loadWorkflow": True}
        retried = (await client.post(f"/v1/executions/{first}/retry", json=body, timeout=60)).json()
        second = retried["executionId"]
        assert (await ended(client, second))["status"] == "success"
        expected = {
            first: [("execute", "completed"), ("cancel", "completed")],
            second: [("retry", "completed")],
        }
        for execution_id, commands in expected.items():
            rows = (await client.get(f"/v1/executions/{execution_id}/commands")).json()["data"]
            assert [(row["kind"], row["status"]) for row in rows] == commands
            frames = [it for it in await frames_of(client, execution_id) if it["type"].startswith("command.")]
            told = [(it["type"], it["data"]["commandId"]) for it in frames]
            for row in rows:
                phases = {type_.removeprefix("command.") for type_, id_ in told if id_ == row["id"]}
                assert phases == {"requested", "accepted", "completed"}
            history = (await client.get(f"/v1/executions/{execution_id}/events")).json()["events"]
            events = [it for it in history if it["type"].startswith("command.")]
            assert [(it["type"], it["data"]["commandId"]) for it in events] == told


async def test_stop_many_with_a_preview(service: Service) -> None:
    """A dozen that run: previewed, stopped by one request, and each ended once."""
    async with service.client() as client:
        # All at once, and no more: left to itself, each of them ends after some seconds.
        asking = [client.post("/v1/workflows/demo-wait/execute") for _ in range(12)]
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [202] * 12
        found = {"filter": {"status": ["queued", "running", "waiting"]}}
        preview = (await client.post("/v1/executions/bulk/stop", json={**found, "dryRun": True})).json()
        assert preview["affected"] == 12
        wish = {**found, "previewToken": preview["previewToken"]}
        started = await client.post("/v1/executions/bulk/stop", json=wish, timeout=60)
        job = started.json()

        async def is_done() -> bool:
            nonlocal job
            job = (await client.get(started.headers["location"])).json()
            return bool(job["status"] == "done")

        await eventually(is_done, within_s=BUSY_S, what=lambda: str(job))
        assert job["counts"] == {"done": 12}
        rows = (await client.get("/v1/executions?limit=100")).json()["data"]
        assert [row["status"] for row in rows] == ["cancelled"] * 12


@pytest.mark.parametrize(
    "pause_s", [0.01, *(pytest.param(it, marks=pytest.mark.long) for it in (0.0, 0.002, 0.05, 0.1, 0.3))]
)
async def test_a_command_survives_a_kill_once_or_fails_visibly(service: Service, pause_s: float) -> None:
    """Killed at some instruction while it carries requests out, and asked again: one execution for each key."""
    keys = [f"order-{number}" for number in range(6)]
    async with service.client() as client:
        asking = [asyncio.create_task(execute(client, key)) for key in keys]
        await asyncio.sleep(pause_s)  # where the kill hits is left to chance; none of the outcomes depends on it
        service.kill()
        before = [it for it in await asyncio.gather(*asking) if it is not None]
    service.launch()
    await service.ready()
    async with service.client() as client:
        answers = [await execute(client, key) for key in keys]
        ids = [answer["executionId"] for answer in answers if answer is not None]
        assert len(set(ids)) == len(keys)
        assert {answer["executionId"] for answer in before} <= set(ids), "who was answered is told the same again"
        rows = (await client.get("/v1/executions?limit=100")).json()["data"]
        assert {row["id"] for row in rows} == set(ids)
        for execution_id in ids:
            commands = (await client.get(f"/v1/executions/{execution_id}/commands")).json()["data"]
            assert [row["kind"] for row in commands] == ["execute"]
            assert commands[0]["status"] in ("accepted", "completed")


async def execute(client: httpx.AsyncClient, key: str) -> dict[str, Any] | None:
    """The answer to a request with a key; None where there was none."""
    try:
        answer = await client.post("/v1/workflows/demo-loop/execute", headers={"idempotency-key": key}, timeout=60)
    except httpx.TransportError:
        return None
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def test_switched_off_there_are_no_demo_workflows(tmp_path: Path) -> None:
    """`MONITOR_DEMO=off`: nobody knows them."""
    service = Service(tmp_path / "data", demo="off")
    service.launch()
    try:
        await service.ready()
        async with service.client() as client:
            answer = await client.post("/v1/workflows/demo-loop/execute")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "WORKFLOW_NOT_FOUND")
    finally:
        service.close()


async def test_a_drain_keeps_nobody_waiting(service: Service) -> None:
    """Who waits for an execution when the service is told to end gets his answer, and the service ends in time."""
    async with service.client() as client:
        path, headers = "/v1/workflows/demo-wait/execute", {"prefer": "wait=60"}
        asking = asyncio.create_task(client.post(path, headers=headers, timeout=60))

        async def is_waiting() -> bool:
            rows = (await client.get("/v1/executions")).json()["data"]
            return [row["status"] for row in rows] == ["waiting"]

        await eventually(is_waiting, within_s=BUSY_S)
        assert await service.stop() == 0
        assert (await asking).status_code == 202
