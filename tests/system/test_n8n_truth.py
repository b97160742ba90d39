"""Real n8n logs, imported, answer as n8n's own API did: statuses, nodes and runs, whichever way they came in."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.service import Service

N8N = Path(__file__).parents[1] / "data" / "n8n"
LOGS = sorted(map(str, N8N.glob("*.log")))
TRUTH = {f"n8n:{found['execution']}": found for found in json.loads((N8N / "truth.json").read_text())["executions"]}
KILLED = "n8n:39"
"""Its process was killed, and its log just ends: nobody could tell from it that it crashed."""

OURS = {"success": "success", "error": "failed", "canceled": "cancelled", "waiting": "waiting"}
"""n8n's words for statuses, and ours."""

Answers = dict[str, dict[str, Any]]
Nodes = dict[str, tuple[int, str]]
"""Runs and last status of each node, by its name."""


async def test_answers_are_those_of_n8n(tmp_path: Path) -> None:
    """Every execution that the log alone can decide has n8n's status, and its nodes their runs and statuses."""
    await run_import(data=tmp_path / "data")
    async with serving(tmp_path / "data") as service:
        answers = await executions(service)
    assert answers.keys() == TRUTH.keys()
    assert answers[KILLED]["status"] == "running"
    decided = {name: answer for name, answer in answers.items() if name != KILLED}
    assert {name: answer["status"] for name, answer in decided.items()} == {
        name: OURS[found["status"]] for name, found in TRUTH.items() if name != KILLED
    }
    assert {name: nodes_of(answer) for name, answer in decided.items()} == {
        name: nodes_reported(found) for name, found in TRUTH.items() if name != KILLED
    }


async def test_every_way_in_gives_the_same(tmp_path: Path) -> None:
    """Offline or through a running service: equal answers to the last member; again changes none, versions neither."""
    await run_import(data=tmp_path / "offline")
    async with serving(tmp_path / "offline") as service:
        offline = await executions(service)
        await run_import("--url", service.url)
        assert await executions(service) == offline
    async with serving(tmp_path / "online") as service:
        await run_import("--url", service.url)
        online = await executions(service)
    assert without_times_of_storing(online) == without_times_of_storing(offline)


async def test_timeout_is_told_from_a_cancellation(tmp_path: Path) -> None:
    """n8n calls both canceled and tells them apart by the reason alone; here they are two statuses."""
    [line] = [line for line in (N8N / "regular-2.log").read_text().splitlines() if '"n8n.workflow.cancelled"' in line]
    log = tmp_path / "n8n.log"
    log.write_text(line.replace('"reason":"manual"', '"reason":"timeout"') + "\n")
    await run_import(files=[str(log)], data=tmp_path / "data")
    async with serving(tmp_path / "data") as service:
        [answer] = (await executions(service)).values()
    assert answer["status"] == "timeout"


async def run_import(*options: str, files: list[str] = LOGS, data: Path | None = None) -> None:
    """`monitor import n8n-log`, in a process of its own, to its good end."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MONITOR_")}
    command = [sys.executable, "-m", "monitor", "import", "n8n-log", *files, *options]
    process = await asyncio.create_subprocess_exec(
        *command, env=inherited | ({"MONITOR_DATA": str(data)} if data else {}), stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


@asynccontextmanager
async def serving(data: Path) -> AsyncIterator[Service]:
    """The service on this folder while the block runs."""
    service = Service(data)
    service.launch()
    try:
        await service.ready()
        yield service
        assert await service.stop() == 0
    finally:
        service.close()


async def executions(service: Service) -> Answers:
    """What the API says of every execution, nodes included."""
    async with service.client() as client:
        page = (await client.get("/v1/executions", params={"limit": 100, "include": "data"})).json()
        assert not page["pagination"]["hasMore"]
        return {row["id"]: row for row in page["data"]}


def nodes_of(answer: Mapping[str, Any]) -> Nodes:
    """A node is listed with its latest run; runs are counted from 0."""
    return {node["nodeName"]: (node["iteration"] + 1, node["status"]) for node in answer["executionData"]}


def nodes_reported(found: Mapping[str, Any]) -> Nodes:
    """Nodes that a retry took over from the execution before have not run in this one."""
    ran = [node for node in found["nodes"] if not node.get("inherited")]
    return {node["name"]: (node["runs"], OURS[node["status"]]) for node in ran}


def without_times_of_storing(answers: Answers) -> Answers:
    """What depends on the moment of the import."""
    stored = ("createdAt", "updatedAt")
    return {
        name: {key: value for key, value in answer.items() if key not in stored} for name, answer in answers.items()
    }
