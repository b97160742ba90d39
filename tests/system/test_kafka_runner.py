"""A runner of its own behind a Kafka topic, as the README shows it: asked, killed in the middle, asked again."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.engines.base import Execute
from monitor.engines.kafka import open_kafka_engine
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened
from tests.support.runner import Runner
from tests.support.service import Service, eventually

WORKFLOW = "nightly-report"


class Scene:
    """A service on Kafka that writes commands, and a runner that reads them."""

    def __init__(self, kafka: Kafka, events: str, commands: str, folder: Path) -> None:
        self.kafka, self.events = kafka, events
        self.commands = f"kafka://{kafka.bootstrap}/{commands}"
        self.runner = Runner(folder / "runner", kafka=kafka.bootstrap, commands=commands, events=events)
        self.service = Service(folder / "data", journal=f"kafka://{kafka.bootstrap}/{events}", commands=self.commands)
        self.client = self.service.client()

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """The answer to a request that is taken."""
        answer = await self.client.post(path, json=body or {}, headers=headers, timeout=120)
        assert answer.status_code in (200, 202), answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def execute(self, workflow: str = WORKFLOW) -> str:
        """A new execution that somebody asked for."""
        return str(
            (await self.post(f"/v1/workflows/{workflow}/execute", {"input": [{"json": {"n": 1}}]}))["executionId"]
        )

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
    scene = Scene(kafka, events, commands, tmp_path)
    try:
        scene.service.launch()
        scene.runner.launch()
        await scene.service.ready()
        yield scene
    finally:
        await scene.client.aclose()
        scene.runner.close()
        scene.service.close()


async def test_commands_reach_a_runner_that_is_killed_in_the_middle(scene: Scene) -> None:
    """Each command is answered once in effect and carried out at most once; what died with the runner is found out.

    Execute and wait, retry from a node, stop many, a refusal; then a kill over running executions, and a command that
    comes while nobody runs.
    """
    whole = await scene.post(f"/v1/workflows/{WORKFLOW}/execute", prefer="wait=100")
    assert (whole["status"], whole["progress"]["completed"], whole["duration"] >= 6) == ("success", 3, True)
    elsewhere = await scene.execute("unknown")
    retried = await scene.post(f"/v1/executions/{whole['id']}/retry", {"fromNode": "send"})
    assert (await scene.until(elsewhere, "failed"))["error"]["type"] == "unknown_workflow"
    assert (await scene.until(retried["executionId"], "success"))["retryOf"] == whole["id"]
    many = [await scene.execute() for _ in range(3)]
    for execution_id in many:
        await scene.until(execution_id, "running")
    stopped = await scene.post(f"/v1/executions/{many[0]}/cancel", {"reason": "enough"})
    assert (stopped["executionId"], stopped["status"]) == (many[0], "cancelled")
    preview = await scene.post("/v1/executions/bulk/stop", {"filter": {"status": "running"}, "dryRun": True})
    assert preview["affected"] == 2
    await scene.post("/v1/executions/bulk/stop", {"previewToken": preview["previewToken"]})
    for execution_id in many:
        await scene.until(execution_id, "cancelled")

    dying = [await scene.execute() for _ in range(2)]
    for execution_id in dying:
        await scene.until(execution_id, "running")
    scene.runner.kill()
    after = await scene.execute()
    for execution_id in dying:
        crashed = await scene.until(execution_id, "crashed")
        assert (crashed["provisional"], crashed["reason"]) == (True, "no_heartbeat")
    scene.runner.launch()
    await scene.until(after, "success")

    told = await scene.told()
    asked = [it["data"]["commandId"] for it in told if it["type"] == "command.requested"]
    answers = Counter(it["data"]["commandId"] for it in told if it["type"] in ("command.accepted", "command.refused"))
    assert (len(asked), answers) == (1 + 2 + 3 + 3 + 3, dict.fromkeys(asked, 1))
    starts = Counter(it["executionId"] for it in told if it["type"] == "execution.started")
    runs = Counter((it["executionId"], it["data"]["nodeId"]) for it in told if it["type"] == "node.started")
    assert set(starts.values()) | set(runs.values()) == {1}
    assert [node for execution_id, node in runs if execution_id == retried["executionId"]] == ["send"]
    # A runner that is held up for seconds is told so, too.
    assert {it["executionId"] for it in told if it["type"] == "execution.stalled"}.issuperset(dying)


async def test_commands_that_come_again_are_answered_again_and_not_run(scene: Scene) -> None:
    """A runner that dies before it notes how far it read, and a desk that is not sure, both cause repeats."""
    once = Execute("cmd_once", "default", "exec_once", WORKFLOW)
    engine = await open_kafka_engine(scene.commands, clock=SystemClock(), create=False)
    try:
        await engine.submit(once)
        await scene.until("exec_once", "running")
        await engine.submit(once)
        scene.runner.kill()
        await engine.submit(once)
    finally:
        await engine.close()
    scene.runner.launch()
    await scene.until(await scene.execute(), "success")
    await scene.until("exec_once", "crashed")
    told = await scene.told()
    runs = Counter((it["executionId"], it["data"].get("nodeId")) for it in told if it["type"] == "node.started")
    answers = [it for it in told if it["type"] == "command.accepted" and it["executionId"] == "exec_once"]
    assert (max(runs.values()), len(answers)) == (1, 1)
