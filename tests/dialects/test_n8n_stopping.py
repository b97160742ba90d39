"""n8n's stopMany: all that is found is stopped, and the count that is told is true, whatever engines do."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from monitor.api.dialects.n8n import stopping
from monitor.clock import SystemClock
from monitor.engines.base import Accepted, Answer, Command, Refused
from monitor.events.codec import format_time
from monitor.executions.bulk import AT_ONCE, MOST_EXECUTIONS
from tests.support.commanding import CommandHouse, commanding
from tests.support.service import eventually

STOP = "/api/v1/executions/stopMany"
RUNNING = {"filter": {"status": ["running"]}}
MORE_THAN_A_JOB = MOST_EXECUTIONS + 50


class Stopper:
    """Stops what it is asked to, but for those that it refuses and those whose end it never tells."""

    def __init__(self, refused: Iterable[str] = (), silent: Iterable[str] = ()) -> None:
        self.refused, self.silent = set(refused), set(silent)
        self.asked = Counter[str]()
        self.tell: Callable[[Sequence[Mapping[str, Any]]], Awaitable[Any]]

    def serves(self, team: str, workflow_id: str) -> bool:
        """The one workflow."""
        return workflow_id == "wf"

    async def submit(self, command: Command) -> Answer:
        """Tell an end, or not."""
        self.asked[command.execution_id] += 1
        if command.execution_id in self.refused:
            return Refused("it cannot be stopped now", "busy")
        if command.execution_id not in self.silent:
            now = format_time(SystemClock().now_us())
            about = {"executionId": command.execution_id, "workflowId": "wf", "timestamp": now}
            await self.tell([{**about, "type": "execution.cancelled", "data": {}}])
        return Accepted(command.execution_id)

    async def run(self) -> None:
        """Work at nothing."""
        await asyncio.Event().wait()


async def begin(house: CommandHouse, engine: Stopper, count: int) -> None:
    """Let so many executions run, `exec_0` first."""

    async def tell(events: Sequence[Mapping[str, Any]]) -> None:
        await house.house.intake.publish(events, team="acme")

    engine.tell = tell
    about = {"type": "execution.started", "workflowId": "wf", "data": {}}
    at = SystemClock().now_us() - 3_600_000_000
    told = [{**about, "executionId": f"exec_{it}", "timestamp": format_time(at + it)} for it in range(count)]
    await house.tell(*told)


async def running(client: httpx.AsyncClient) -> int:
    """How many still run."""
    page = (await client.get("/api/v1/executions?status=running&limit=1")).json()
    assert not page["estimated"]
    return int(page["count"])


async def stop(client: httpx.AsyncClient) -> int:
    """How many the answer says have stopped."""
    answer = await client.post(STOP, json=RUNNING)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["stopped"])


async def test_more_than_a_job_takes_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document promises all of them: one answer counts what several jobs did."""
    monkeypatch.setattr(stopping, "WAIT_S", 300.0)
    engine = Stopper()
    async with commanding(engine) as house, house.client() as client:
        await begin(house, engine, MORE_THAN_A_JOB)
        assert await stop(client) == MORE_THAN_A_JOB
        assert await running(client) == 0
        assert engine.asked.total() == MORE_THAN_A_JOB


async def test_only_what_has_stopped_is_counted() -> None:
    """Neither what its engine refuses to stop nor what it takes and never ends: they run on."""
    engine = Stopper(refused=["exec_1"], silent=["exec_2"])
    async with commanding(engine) as house, house.client() as client:
        await begin(house, engine, 4)
        assert await stop(client) == 2
        page = (await client.get("/api/v1/executions?status=running")).json()["data"]
        assert [row["id"] for row in page] == ["exec_2", "exec_1"]


async def test_answer_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before the last was asked, where the first keep silent; the last is asked all the same."""
    monkeypatch.setattr(stopping, "WAIT_S", 1.0)
    count = 2 * AT_ONCE + 1
    engine = Stopper(silent=[f"exec_{it}" for it in range(count)])
    async with commanding(engine) as house, house.client() as client:
        await begin(house, engine, count)
        assert await stop(client) == 0
        assert len(engine.asked) < count
        await eventually(lambda: _has_asked(engine, count))


async def test_sent_twice_at_once_stops_each_once() -> None:
    """Both answers are true: no execution ends twice, and none is counted that has not stopped."""
    engine = Stopper()
    async with commanding(engine) as house, house.client() as client:
        await begin(house, engine, 12)
        told = await asyncio.gather(stop(client), stop(client))
        assert max(told) <= 12 <= sum(told)
        assert await running(client) == 0
        page = (await client.get("/v1/executions?limit=100")).json()["data"]
        assert {row["status"] for row in page} == {"cancelled"}
        assert await stop(client) == 0


async def test_work_goes_on_without_who_asked() -> None:
    """A client that is gone before the answer: what it asked for is done."""
    engine = Stopper()
    async with commanding(engine) as house, house.client() as client:
        await begin(house, engine, 30)
        asking = asyncio.create_task(stop(client))
        await eventually(lambda: _has_asked(engine, 1))
        asking.cancel()

        async def is_done() -> bool:
            return await running(client) == 0

        await eventually(is_done)


async def _has_asked(engine: Stopper, count: int) -> bool:
    return len(engine.asked) >= count


async def test_nothing_to_stop_makes_no_job() -> None:
    """Zero, at once."""
    engine = Stopper()
    async with commanding(engine) as house, house.client() as client:
        assert await stop(client) == 0
        assert engine.asked.total() == 0
