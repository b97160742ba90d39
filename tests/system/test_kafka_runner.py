"""A runner of its own behind a Kafka topic, as the README shows it: asked, killed in the middle, asked again."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.engines.base import Cancel, Command, Execute, Retry
from monitor.engines.kafka import KafkaEngine, open_kafka_engine
from monitor.events.codec import format_time_us
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened, raw_producer
from tests.support.runner import Runner
from tests.support.service import Service, eventually

WORKFLOW = "nightly-report"


class Scene:
    """A service on Kafka, an engine that writes commands, and a runner that reads them."""

    def __init__(self, kafka: Kafka, events: str, commands: str, engine: KafkaEngine, folder: Path) -> None:
        self.kafka, self.events, self.engine = kafka, events, engine
        self.runner = Runner(folder / "runner", kafka=kafka.bootstrap, commands=commands, events=events)
        self.service = Service(folder / "data", journal=f"kafka://{kafka.bootstrap}/{events}")
        self.client = self.service.client()
        self.submitted: list[str] = []

    async def submit(self, *commands: Command) -> None:
        """Ask, as the desk does: the request is told before the engine hears of it."""
        async with raw_producer(self.kafka) as producer:
            for command in commands:
                about = {"commandId": command.command_id, "kind": command.kind}
                told = {
                    "type": "command.requested",
                    "source": "test",
                    "executionId": command.execution_id,
                    "workflowId": command.workflow_id,
                    "data": about,
                    "timestamp": format_time_us(SystemClock().now_us()),
                }
                key = command.execution_id.encode()
                await producer.send_and_wait(self.events, json.dumps(told).encode(), key=key)
                await self.engine.submit(command)
                self.submitted.append(command.command_id)

    async def shown(self, execution_id: str) -> dict[str, Any]:
        """The execution in REST; empty while it is not there."""
        answer = await self.client.get(f"/v1/executions/{execution_id}")
        found: dict[str, Any] = {} if answer.status_code == 404 else answer.raise_for_status().json()
        return found

    async def until(self, execution_id: str, status: str) -> dict[str, Any]:
        """The execution once it has this status."""

        found: dict[str, Any] = {}

        async def has() -> dict[str, Any] | None:
            nonlocal found
            found = await self.shown(execution_id)
            return found if found.get("status") == status else None

        reached: dict[str, Any] = await eventually(
            has, within_s=90, what=lambda: f"{execution_id}: {found}\n{self.runner.log.read_text()}"
        )
        return reached

    async def heard(self, *wanted: tuple[str, str]) -> None:
        """Returns once the topic holds events of these (execution, type)."""

        async def are_there() -> bool:
            held = {(it["executionId"], it["type"]) for it in await self.told()}
            return held.issuperset(wanted)

        await eventually(are_there, within_s=90, what=lambda: f"{wanted}\n{self.runner.log.read_text()}")

    async def told(self) -> list[dict[str, Any]]:
        """Every event in the topic, whoever wrote it; equal bytes once, as the service counts them."""
        values: dict[bytes | None, None] = {}
        async with opened(self.kafka, self.events) as journal:
            for partition, held in (await journal.bounds()).items():
                start, end = held
                while start < end and (records := await journal.read(partition, start, end, 1000)):
                    values |= dict.fromkeys(record.value for record in records)
                    start = records[-1].offset + 1
        return [json.loads(value or b"") for value in values]


@pytest.fixture
async def scene(kafka: Kafka, tmp_path: Path) -> AsyncIterator[Scene]:
    """All of it running."""
    events, commands = await kafka.create_topic(partitions=2), await kafka.create_topic(partitions=2)
    engine = await open_kafka_engine(f"kafka://{kafka.bootstrap}/{commands}", clock=SystemClock(), create=False)
    scene = Scene(kafka, events, commands, engine, tmp_path)
    try:
        scene.service.launch()
        scene.runner.launch()
        await scene.service.ready()
        yield scene
    finally:
        await scene.client.aclose()
        scene.runner.close()
        scene.service.close()
        await engine.close()


def execute(name: str, workflow: str = WORKFLOW) -> Execute:
    """Run the workflow as the execution `exec_NAME`."""
    return Execute(f"cmd_{name}", "default", f"exec_{name}", workflow, [{"json": {"n": 1}}])


def cancel(name: str) -> Cancel:
    """Stop `exec_NAME`."""
    return Cancel(f"cmd_stop_{name}", "default", f"exec_{name}", WORKFLOW)


async def test_commands_reach_a_runner_that_is_killed_in_the_middle(scene: Scene) -> None:
    """Each command is answered once in effect and carried out at most once; what died with the runner is found out.

    Execute, retry from a node, cancel of many, refusals; then a kill over running executions, and commands that come
    while nobody runs.
    """
    await scene.submit(execute("whole"), execute("elsewhere", "unknown"), cancel("never"))
    whole = await scene.until("exec_whole", "success")
    assert (whole["progress"]["completed"], whole["duration"] >= 6) == (3, True)
    assert (await scene.until("exec_elsewhere", "failed"))["error"]["type"] == "unknown_workflow"
    retry = Retry("cmd_again", "default", "exec_again", WORKFLOW, "exec_whole", start_nodes=["send"])
    many = [f"many_{number}" for number in range(3)]
    await scene.submit(retry, *map(execute, many))
    await scene.heard(*((f"exec_{name}", "node.started") for name in many))
    await scene.submit(*map(cancel, many))
    for name in many:
        await scene.until(f"exec_{name}", "cancelled")
    assert (await scene.until("exec_again", "success"))["retryOf"] == "exec_whole"

    await scene.submit(execute("dying_1"), execute("dying_2"))
    await scene.heard(("exec_dying_1", "node.started"), ("exec_dying_2", "node.started"))
    scene.runner.kill()
    await scene.submit(execute("after"), cancel("dying_1"))
    for name in ("dying_1", "dying_2"):
        crashed = await scene.until(f"exec_{name}", "crashed")
        assert (crashed["provisional"], crashed["reason"]) == (True, "no_heartbeat")
    scene.runner.launch()
    await scene.until("exec_after", "success")
    await scene.heard(("exec_dying_1", "command.refused"))

    told = await scene.told()
    of = Counter(it["type"] for it in told)
    answers = Counter(it["data"]["commandId"] for it in told if it["type"] in ("command.accepted", "command.refused"))
    assert answers == dict.fromkeys(scene.submitted, 1)
    assert of["execution.stalled"] == 2
    starts = Counter(it["executionId"] for it in told if it["type"] == "execution.started")
    runs = Counter((it["executionId"], it["data"]["nodeId"]) for it in told if it["type"] == "node.started")
    assert set(starts.values()) | set(runs.values()) == {1}
    assert [node for execution, node in runs if execution == "exec_again"] == ["send"]


async def test_commands_that_come_again_are_answered_again_and_not_run(scene: Scene) -> None:
    """A runner that dies before it notes how far it read, and a desk that is not sure, both cause repeats."""
    await scene.submit(execute("once"))
    await scene.until("exec_once", "running")
    await scene.engine.submit(execute("once"))
    scene.runner.kill()
    await scene.engine.submit(execute("once"))
    scene.runner.launch()
    await scene.submit(execute("next"))
    await asyncio.gather(scene.until("exec_next", "success"), scene.until("exec_once", "crashed"))
    runs = Counter(
        (it["executionId"], it["data"].get("nodeId")) for it in await scene.told() if it["type"] == "node.started"
    )
    assert max(runs.values()) == 1
