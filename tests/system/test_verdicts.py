"""Verdicts by a real service: told while it listens, revoked by a late sign of life, and never by its own absence."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.clock import SystemClock
from monitor.events.codec import format_time_us
from tests.support.service import Service, eventually

HEARTBEAT_S = 2
"""Longer than any pause of this very process."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that is ready."""
    service = Service(tmp_path / "data")
    service.launch()
    await service.ready()
    yield service
    service.close()


async def test_silence_crash_and_recovery(service: Service) -> None:
    """An execution stops to give signs of life: stalled, then presumed crashed; a late heartbeat revokes it.

    All of it is heard on its stream in that order and seen in REST, and another that promised nothing is left alone.
    """
    async with service.client() as client, heard(client, "exec_1") as told:
        await say(client, "execution.started", "exec_1", {"heartbeat": 1})
        await say(client, "execution.started", "exec_2", {})
        await eventually(lambda: has(told, "execution.stalled"), what=lambda: str(told))
        await eventually(lambda: has(told, "execution.failed"), what=lambda: str(told))
        view = await shown(client, "exec_1")
        assert (view["status"], view["provisional"], view["reason"]) == ("crashed", True, "no_heartbeat")
        await eventually(lambda: is_back(client, "exec_1"), what=lambda: str(told))
        await say(client, "execution.completed", "exec_1")
        await eventually(lambda: has(told, "execution.completed"), what=lambda: str(told))
        expected = ["started", "stalled", "failed", "recovered", "heartbeat"]
        assert [type_.removeprefix("execution.") for type_ in told[:5]] == expected
        assert told[-1] == "execution.completed"
        assert (await shown(client, "exec_2"))["status"] == "running"


@pytest.mark.parametrize("absence", ["stopped", pytest.param("killed", marks=pytest.mark.long)])
async def test_absence_presumes_nobody_dead(service: Service, absence: str) -> None:
    """The service is away for several heartbeats, while the engine goes on; it is heard again, and never judged.

    One that died meanwhile is found out afterwards: the service listens again.
    """
    engine = Engine(service)
    await engine.start()
    async with service.client() as client:
        await say(client, "execution.started", "dead", {"heartbeat": HEARTBEAT_S})
    away_s = 3.5 * HEARTBEAT_S
    if absence == "stopped":
        os.kill(service.pid, signal.SIGSTOP)
        await asyncio.sleep(away_s)  # the absence itself
        os.kill(service.pid, signal.SIGCONT)
    else:
        service.kill()
        await asyncio.sleep(away_s)  # the absence itself
        service.launch()
    await service.ready()
    async with service.client() as client:
        await eventually(lambda: is_crashed(client, "dead"))
        await engine.stop()
        await say(client, "execution.completed", engine.id)
        async with heard(client, engine.id) as told:
            await eventually(lambda: has(told, "execution.completed"), what=lambda: str(told))
    assert [type_ for type_ in told if type_ != "execution.heartbeat"] == ["execution.started", "execution.completed"]
    assert engine.beats > away_s


class Engine:
    """Gives a sign of life four times in a heartbeat, for as long as it takes, whether it is heard or not."""

    id = "alive"

    def __init__(self, service: Service) -> None:
        self._service, self.beats = service, 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Its execution runs when this returns."""
        async with self._service.client() as client:
            await say(client, "execution.started", self.id, {"heartbeat": HEARTBEAT_S})
        self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """No further signs."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        async with self._service.client() as client:
            client.timeout = httpx.Timeout(HEARTBEAT_S)
            while True:
                try:
                    await say(client, "execution.heartbeat", self.id)
                    self.beats += 1
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(HEARTBEAT_S / 4)  # its pace


async def say(client: httpx.AsyncClient, type_: str, execution_id: str, data: dict[str, Any] | None = None) -> None:
    """An engine says so, now."""
    now = format_time_us(SystemClock().now_us())
    event = {"type": type_, "executionId": execution_id, "workflowId": "wf", "timestamp": now, "data": data or {}}
    (await client.post("/v1/events", json=event)).raise_for_status()


async def shown(client: httpx.AsyncClient, execution_id: str) -> dict[str, Any]:
    """The execution in REST."""
    found: dict[str, Any] = (await client.get(f"/v1/executions/{execution_id}")).raise_for_status().json()
    return found


async def is_crashed(client: httpx.AsyncClient, execution_id: str) -> bool:
    """Whether it is presumed dead; what was acknowledged just before an absence is applied, and so known, after it."""
    answer = await client.get(f"/v1/executions/{execution_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return False
    return bool(answer.raise_for_status().json()["status"] == "crashed")


async def is_back(client: httpx.AsyncClient, execution_id: str) -> bool:
    """Whether it is thought to be alive after another sign of life."""
    await say(client, "execution.heartbeat", execution_id)
    view = await shown(client, execution_id)
    return (view["status"], view.get("provisional"), view.get("stalled")) == ("running", None, None)


async def has(told: list[str], type_: str) -> bool:
    """Whether it was heard of."""
    return type_ in told


@asynccontextmanager
async def heard(client: httpx.AsyncClient, execution_id: str) -> AsyncIterator[list[str]]:
    """The types of an execution's events, as its stream tells them from the beginning, while the block runs."""
    told: list[str] = []
    reading = asyncio.create_task(read(client, execution_id, told))
    try:
        yield told
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def read(client: httpx.AsyncClient, execution_id: str, told: list[str]) -> None:
    """Until its end."""
    wanted = {"channels": f"execution:{execution_id}", "events": "execution.*", "position": "earliest"}
    headers = {"accept": "application/x-ndjson"}
    async with client.stream("GET", "/v1/executions/stream", params=wanted, headers=headers, timeout=None) as answer:
        async for line in answer.aiter_lines():
            type_ = json.loads(line).get("type", "") if line else ""
            if type_.startswith("execution."):
                told.append(type_)
