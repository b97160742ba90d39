"""Clients that were written for other services, against a real one: loops by Node and Python, lines for curl, a file.

The service asks for tokens, each spelt as its document writes them, and runs workflows by `tests/support/obliging.py`.
Every test has a team of its own.
"""

import asyncio
import csv
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from monitor.access.tokens import Kind
from tests.support.loops import JavaScript, LoopFailed, Loops, Python, as_documented
from tests.support.obliging import MESSAGE
from tests.support.processes import dying_with_us
from tests.support.service import ANSWERED_WITHIN_S, Service, eventually
from tests.support.tokens import bearer

pytestmark = pytest.mark.timeout(600)

_numbers = count(1)


@dataclass(frozen=True)
class Team:
    """A team of the service, and its administrator's token."""

    service: Service
    name: str
    token: str

    def key(self, kind: Kind) -> str:
        """The token as a document spells such."""
        return self.token.replace("mon_", f"{kind}_")

    async def told(self, *events: dict[str, Any]) -> None:
        """Send events, and return when they are applied."""
        async with self.service.client() as client:
            answer = await client.post("/v1/events", json=events, headers=bearer(self.token))
            assert answer.json()["accepted"] == len(events), answer.text
            asked = {"minPosition": answer.json()["position"]}

            async def is_applied() -> bool:
                found = await client.get("/v1/executions", params=asked, headers=bearer(self.token))
                return found.status_code == 200

            await eventually(is_applied)

    async def all(self) -> list[dict[str, Any]]:
        """Its executions."""
        async with self.service.client() as client:
            data: list[dict[str, Any]] = (
                await client.get("/v1/executions", params={"limit": 100}, headers=bearer(self.token))
            ).json()["data"]
            return data

    async def ended(self) -> list[dict[str, Any]]:
        """Its executions, once none of them runs."""
        return list(await eventually(self._all_that_ended))

    async def _all_that_ended(self) -> list[dict[str, Any]]:
        found = await self.all()
        return [] if any(it["status"] in ("queued", "running", "waiting") for it in found) else found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all."""
    service = Service(tmp_path_factory.mktemp("clients") / "data", auth="on")
    service.program = ("-m", "tests.support.obliging")
    service.launch()
    try:
        asyncio.run(service.ready())
        yield service
    finally:
        service.close()


@pytest.fixture
async def team(service: Service) -> Team:
    """One that nobody has used."""
    name = f"team-{next(_numbers)}"
    async with service.client() as client:
        wish = {"name": "client", "role": "admin", "team": name}
        answer = await client.post("/v1/tokens", json=wish, headers=bearer(await service.first_token()))
    assert answer.status_code == 201, answer.text
    return Team(service, name, answer.json()["token"])


Speak = Callable[[Kind], Loops]


@pytest.fixture(params=["javascript", "python"])
def loops(request: pytest.FixtureRequest, team: Team, tmp_path: Path) -> Speak:
    """The loops in one language, with a key of that kind."""
    url = team.service.url
    if request.param == "python":
        return lambda kind: Python(url, team.key(kind))
    return lambda kind: JavaScript(url, team.key(kind), tmp_path)


def event(
    kind: str, execution_id: str, workflow_id: str = "orders", /, *, at: datetime | None = None, **data: Any
) -> dict[str, Any]:
    """An event of now, or of another time."""
    return {
        "type": kind,
        "executionId": execution_id,
        "workflowId": workflow_id,
        "timestamp": (at or datetime.now(UTC)).isoformat(),
        "data": data,
    }


def failed(execution_id: str, workflow_id: str = "orders") -> list[dict[str, Any]]:
    """An execution that has failed."""
    error = {"message": "Slack API error: channel_not_found"}
    return [
        event("execution.started", execution_id, workflow_id),
        event("execution.failed", execution_id, workflow_id, error=error),
    ]


class Story:
    """What happens in the pauses of a loop, one after the other; keeps how long each was to be."""

    def __init__(self, *chapters: Callable[[], Awaitable[Any]]) -> None:
        self.delays_ms: list[int] = []
        self._chapters = iter(chapters)

    async def __call__(self, delay_ms: int) -> None:
        self.delays_ms.append(delay_ms)
        await next(self._chapters)()


async def test_so1_poll_returns_the_result_once_the_execution_has_ended(team: Team, loops: Speak) -> None:
    """It goes on while the execution runs and while it waits."""
    await team.told(event("execution.started", "e1"))
    story = Story(
        lambda: team.told(event("execution.waiting", "e1", kind="webhook")),
        lambda: team.told(event("execution.completed", "e1", outputData={"slackMessageSent": True})),
    )
    [result] = await loops("so1_key").so1_wait("e1", story)
    assert json.loads(result) == {"success": True, "outputs": {"slackMessageSent": True}}
    assert story.delays_ms == [5000, 5000]


async def test_so1_poll_throws_the_error_of_an_execution_that_fails(team: Team, loops: Speak) -> None:
    """In the words of the execution."""
    await team.told(event("execution.started", "e1"))
    with pytest.raises(LoopFailed, match="Slack API error: channel_not_found"):
        await loops("so1_key").so1_wait("e1", Story(lambda: team.told(failed("e1")[1])))


async def test_so1_retry_returns_the_id_of_the_retry_that_succeeds(team: Team, loops: Speak) -> None:
    """Which is the only one."""
    await team.told(*failed("e1"))
    [said] = await loops("so1_key").so1_retry("e1", Story(*[team.ended] * 60))
    [retried] = [it for it in await team.all() if it["id"] != "e1"]
    assert (json.loads(said), "success", "e1") == (retried["id"], retried["status"], retried["retryOf"])


async def test_so1_retry_throws_the_error_of_a_retry_that_fails(team: Team, loops: Speak) -> None:
    """Its own, not that of the first one."""
    await team.told(*failed("e1", "orders-fails"))
    with pytest.raises(LoopFailed, match=MESSAGE):
        await loops("so1_key").so1_retry("e1", Story(*[team.ended] * 60))


@pytest.mark.parametrize(
    ("end", "word"),
    [
        (event("execution.completed", "exec_123"), "success"),
        (event("execution.failed", "exec_123", error={"message": "x"}), "error"),
        (event("execution.cancelled", "exec_123"), "canceled"),
        (event("execution.failed", "exec_123", status="crashed"), "crashed"),
    ],
)
async def test_n8n_monitor_tells_how_an_execution_ended(
    team: Team, loops: Speak, end: dict[str, Any], word: str
) -> None:
    """After every kind of end, and not before."""
    await team.told(event("execution.queued", "exec_123"))
    story = Story(
        lambda: team.told(event("execution.started", "exec_123")),
        lambda: team.told(event("execution.waiting", "exec_123", kind="timer")),
        lambda: team.told({**end, "timestamp": datetime.now(UTC).isoformat()}),
    )
    assert await loops("mon").n8n_wait(story) == [f"Execution finished with status: {word}"]
    assert story.delays_ms == [2000] * 3


async def test_n8n_clean_up_deletes_what_is_older_than_thirty_days(team: Team, loops: Speak) -> None:
    """Exactly that."""
    for days in (0, 29, 31, 400):
        at = datetime.now(UTC) - timedelta(days=days)
        kinds = ("execution.started", "execution.completed")
        await team.told(*(event(kind, f"of {days} days ago", at=at) for kind in kinds))
    assert await loops("mon").n8n_clean_up() == ["Deleted 2 old executions"]
    assert {it["id"] for it in await team.all()} == {"of 0 days ago", "of 29 days ago"}
    assert await loops("mon").n8n_clean_up() == []


async def test_n8n_retry_all_retries_each_execution_that_has_failed(team: Team, loops: Speak) -> None:
    """Once, and no other."""
    for execution_id in ("e1", "e2", "e3"):
        await team.told(*failed(execution_id))
    await team.told(*(event(f"execution.{it}", "good") for it in ("started", "completed")))
    said = await loops("mon").n8n_retry_all()
    assert said == [f"Retried execution {it}" for it in ("e3", "e2", "e1")]
    retries = [it for it in await team.ended() if it["id"] not in ("e1", "e2", "e3", "good")]
    assert sorted(it["retryOf"] for it in retries) == ["e1", "e2", "e3"]
    assert {it["status"] for it in retries} == {"success"}


async def curl(command: str) -> Any:
    """What a line for curl prints, read as JSON."""
    printed = await shell(command)
    return json.loads(printed) if printed else None


async def shell(command: str) -> bytes:
    """What a line of a document prints, in a shell whose proxies know nothing of the service."""
    pipe = asyncio.subprocess.PIPE
    ran = await asyncio.create_subprocess_exec(
        *dying_with_us(["sh", "-c", command]), env={**os.environ, "NO_PROXY": "*"}, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            printed, complaints = await ran.communicate()
    finally:
        if ran.returncode is None:
            ran.kill()
            await ran.wait()
    assert ran.returncode == 0, complaints.decode()
    return printed


async def test_so1_line_for_curl_executes_a_workflow(team: Team) -> None:
    """With the data that it is given."""
    line = as_documented("so1_execute.sh", team.service.url, team.key("so1_key"))
    answer = await curl(line)
    assert (answer["success"], answer["data"]["workflowId"]) == (True, "deploy-notification")
    [made] = await team.ended()
    assert (made["id"], made["status"]) == (answer["data"]["executionId"], "success")


async def test_n8n_lines_for_curl_do_what_the_document_says(team: Team) -> None:
    """One after the other, on the executions that it names."""

    async def run(name: str) -> Any:
        line = as_documented(f"n8n_{name}.sh", team.service.url, team.token)
        return await curl(line.replace("{workflowId}", "workflow_abc"))

    for execution_id in ("exec_456", "exec_789"):
        await team.told(*failed(execution_id, "workflow_abc"))
    await team.told(event("execution.started", "exec_123", "workflow_abc"))
    assert {it["id"] for it in (await run("list"))["data"]} == {"exec_456", "exec_789"}
    got = await run("get")
    assert (got["id"], got["status"], got["data"]["resultData"]) == ("exec_123", "running", {"runData": {}})
    stopped = await run("stop")
    assert (stopped["id"], stopped["status"]) == ("exec_123", "canceled")
    noted = await run("annotate")
    assert noted["annotation"] == {"tags": ["tag_production", "tag_urgent"], "vote": "up"}
    retried = await run("retry")
    assert (retried["mode"], retried["retryOf"]) == ("retry", "exec_123")
    await team.ended()
    assert await run("delete") == {"success": True}
    assert [it["id"] for it in await team.all()] == [retried["id"]]
    await team.told(*(event("execution.started", f"e{it}", "workflow_abc") for it in range(2)))
    await team.told(event("execution.started", "another", "workflow_xyz"))
    assert await run("stop_many") == {"stopped": 2}
    executed = await run("execute")
    assert executed["waitingForWebhook"] is False
    assert {executed["executionId"], "another"} <= {it["id"] for it in await team.all()}


async def test_team_export_is_a_file_that_csv_readers_read(team: Team, tmp_path: Path) -> None:
    """A line for each node execution in 16 columns, whatever stands in a name."""
    name, file = 'Order, "urgent"\nand late', tmp_path / "export.csv"
    node: dict[str, Any] = {"nodeId": "n1", "nodeName": "Charge; card", "nodeType": "http"}
    await team.told(
        event("execution.started", "e1", workflowName=name),
        event("node.started", "e1", **node),
        event("node.failed", "e1", **node, error={"message": "no, not today"}),
        event("execution.failed", "e1", error={"message": "no"}),
    )
    address = f"{team.service.url}/api/executions/team/{team.name}/export"
    await shell(f'curl -f -o "{file}" -H "Authorization: Bearer {team.key("sdk")}" "{address}?format=csv&days=7"')
    with file.open(newline="", encoding="utf-8") as lines:
        [row] = list(csv.DictReader(lines, strict=True))
    assert list(row) == [
        *("execution_id", "workflow_id", "workflow_name", "status", "trigger"),
        *("started_at", "completed_at", "duration_ms", "node_id", "node_type"),
        *("node_name", "node_status", "node_started_at", "node_completed_at"),
        *("node_duration_ms", "node_error"),
    ]
    assert (row["execution_id"], row["workflow_name"], row["status"]) == ("e1", name, "FAILED")
    assert (row["node_name"], row["node_status"], row["node_error"]) == ("Charge; card", "FAILED", "no, not today")
