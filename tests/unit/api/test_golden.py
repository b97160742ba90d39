"""The examples of the API's document come out of the API as they stand there, word by word."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.house import House, open_house

ISSUE = {"action": "opened", "issue": {"number": 123, "title": "Bug report"}}
SENT = {"ok": True, "ts": "1701860205.123456"}


def event(type_: str, second: int, id_: str, **data: Any) -> dict[str, Any]:
    """An event of the documented execution."""
    return {
        "type": type_,
        "executionId": id_,
        "workflowId": "wf_abcdef123456",
        "timestamp": f"2023-12-06T10:30:{second:02d}Z",
        "source": "engine",
        "data": data,
    }


def opening(id_: str) -> dict[str, Any]:
    """How both examples began."""
    trigger = {"type": "webhook", "source": "github", "timestamp": "2023-12-06T10:30:00Z", "payload": ISSUE}
    return event(
        "execution.started",
        0,
        id_,
        workflowName="GitHub to Slack Notification",
        mode="webhook",
        trigger=trigger,
        metadata={"retryCount": 0, "queueTime": 0.1},
    )


FAILED = (
    opening("exec_failed"),
    event(
        "execution.failed",
        15,
        "exec_failed",
        status="failed",
        duration=15.2,
        error={
            "type": "ConnectionError",
            "message": "Failed to connect to Slack API",
            "nodeId": "slack_1",
            "timestamp": "2023-12-06T10:30:15Z",
        },
        metadata={"memoryUsage": 45.2},
    ),
)

LINES = (
    {
        "timestamp": "2023-12-06T10:30:00Z",
        "level": "info",
        "nodeId": "webhook_1",
        "message": "Webhook received payload",
        "data": {"contentType": "application/json", "size": 512},
    },
    {
        "timestamp": "2023-12-06T10:30:01Z",
        "level": "debug",
        "nodeId": "slack_1",
        "message": "Sending message to Slack",
        "data": {"channel": "#dev-alerts", "messageLength": 25},
    },
    {
        "timestamp": "2023-12-06T10:30:05Z",
        "level": "info",
        "nodeId": "slack_1",
        "message": "Message sent successfully",
        "data": {"messageId": "1701860205.123456"},
    },
)

WEBHOOK = {"nodeId": "webhook_1", "nodeName": "GitHub Webhook", "nodeType": "webhook"}
SLACK = {"nodeId": "slack_1", "nodeName": "Send to Slack", "nodeType": "slack"}

SUCCEEDED = (
    opening("exec_1234567890"),
    event("node.started", 0, "exec_1234567890", **WEBHOOK),
    event("log.appended", 0, "exec_1234567890", lines=[LINES[0]]),
    event(
        "node.completed",
        1,
        "exec_1234567890",
        **WEBHOOK,
        status="success",
        duration=1.0,
        outputData=[{"json": ISSUE}],
    ),
    event("node.started", 1, "exec_1234567890", **SLACK, inputData=[{"json": ISSUE}]),
    event("log.appended", 1, "exec_1234567890", lines=[LINES[1]]),
    event("log.appended", 5, "exec_1234567890", lines=[LINES[2]]),
    event("node.completed", 5, "exec_1234567890", **SLACK, status="success", duration=4.3, outputData=[{"json": SENT}]),
    event(
        "execution.completed",
        5,
        "exec_1234567890",
        status="success",
        duration=5.3,
        metadata={"memoryUsage": 32.1, "nodeCount": 2, "dataTransferred": 1024},
        outputData={"posted": True},
        inputData={"from": "hook"},
    ),
)


@pytest.fixture
async def house() -> House:
    """A service that has seen both examples."""
    house = await open_house()
    await house.tell(*FAILED)
    await house.tell(*SUCCEEDED)
    return house


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the team."""
    async with house.client() as opened:
        yield opened


def documented(shown: Any, expected: Any) -> Any:
    """`shown` without what `expected` does not name, times without their milliseconds: what a reader compares."""
    if isinstance(expected, dict) and isinstance(shown, dict):
        return {name: documented(shown[name], expected[name]) for name in shown if name in expected}
    if isinstance(expected, list) and isinstance(shown, list) and len(expected) == len(shown):
        return [documented(one, other) for one, other in zip(shown, expected, strict=True)]
    return shown.replace(".000Z", "Z") if isinstance(shown, str) else shown


async def test_list_shows_the_documented_row(client: httpx.AsyncClient) -> None:
    """Trigger without payload, error and metadata without being asked for; no payloads."""
    answer = (await client.get("/v1/executions?filter[status]=failed&limit=5")).json()
    expected = {
        "id": "exec_failed",
        "workflowId": "wf_abcdef123456",
        "workflowName": "GitHub to Slack Notification",
        "status": "failed",
        "mode": "webhook",
        "trigger": {"type": "webhook", "source": "github", "timestamp": "2023-12-06T10:30:00Z"},
        "startedAt": "2023-12-06T10:30:00Z",
        "stoppedAt": "2023-12-06T10:30:15Z",
        "duration": 15.2,
        "error": {
            "type": "ConnectionError",
            "message": "Failed to connect to Slack API",
            "nodeId": "slack_1",
            "timestamp": "2023-12-06T10:30:15Z",
        },
        "metadata": {"retryCount": 0, "queueTime": 0.1, "memoryUsage": 45.2},
    }
    (row,) = answer["data"]
    assert documented(row, expected) == expected
    assert set(row) - set(expected) == {"createdAt", "updatedAt", "version", "progress"}
    assert row["trigger"] == expected["trigger"]
    pagination = {"limit": 5, "hasMore": False, "nextCursor": None, "total": 1}
    assert documented(answer["pagination"], pagination) == pagination
    assert set(answer["pagination"]) - set(pagination) == {"previousCursor"}


async def test_list_counts_as_documented(house: House) -> None:
    """127 failed ones, five a page, and an opaque word for the next."""
    async with house.client("other") as client:
        failures = (FAILED[1] | {"executionId": f"exec_{number}"} for number in range(127))
        await house.tell(*failures, *SUCCEEDED, team="other")
        answer = (await client.get("/v1/executions?filter[status]=failed&limit=5")).json()
        assert set(answer) == {"data", "pagination"}
        assert len(answer["data"]) == 5
        pagination = answer["pagination"]
        assert {name: pagination[name] for name in ("limit", "hasMore", "total")} == {
            "limit": 5,
            "hasMore": True,
            "total": 127,
        }
        following = await client.get(f"/v1/executions?filter[status]=failed&limit=5&cursor={pagination['nextCursor']}")
        assert len(following.json()["data"]) == 5


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("filter[workflowId]=wf_abcdef123456", 2),
        ("filter[mode]=webhook", 2),
        ("filter[mode]=manual", 0),
        ("filter[dateRange]=1d", 0),
        ("filter[dateRange]=7d", 0),
        ("filter[dateRange]=30d", 0),
        ("filter[dateRange]=custom&filter[startDate]=2023-12-06T00:00:00Z&filter[endDate]=2023-12-07T00:00:00Z", 2),
        ("filter[dateRange]=custom&filter[startDate]=2023-12-07T00:00:00Z", 0),
        ("sort=startedAt", 2),
        ("sort=-startedAt", 2),
        ("sort=duration", 2),
        ("include=data,error,metadata", 2),
        ("filter[status]=failed&limit=10&include=error", 1),
        ("limit=100", 2),
    ],
)
async def test_every_documented_parameter_of_lists_is_taken(client: httpx.AsyncClient, query: str, count: int) -> None:
    """And means something."""
    answer = await client.get(f"/v1/executions?{query}")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == count


async def test_every_documented_part_can_be_included(client: httpx.AsyncClient) -> None:
    """Alone and together, as the document's clients ask."""
    at = "/v1/executions/exec_1234567890"
    for include, members in {
        "data": {"executionData", "inputData", "outputData"},
        "logs": {"logs"},
        "metadata": {"metadata"},
        "data,logs": {"executionData", "logs"},
        "data,error,logs,metadata": {"executionData", "logs", "metadata"},
    }.items():
        shown = (await client.get(f"{at}?include={include}")).json()
        assert members <= set(shown), include
    assert {"executionData", "logs"} & set((await client.get(at)).json()) == set()


async def test_get_shows_the_documented_execution(client: httpx.AsyncClient) -> None:
    """Each node once, its items, and the trigger with its payload."""
    answer = (await client.get("/v1/executions/exec_1234567890?include=data,error")).json()
    expected = {
        "id": "exec_1234567890",
        "workflowId": "wf_abcdef123456",
        "workflowName": "GitHub to Slack Notification",
        "status": "success",
        "mode": "webhook",
        "trigger": {"type": "webhook", "source": "github", "payload": ISSUE, "timestamp": "2023-12-06T10:30:00Z"},
        "startedAt": "2023-12-06T10:30:00Z",
        "stoppedAt": "2023-12-06T10:30:05Z",
        "duration": 5.3,
        "inputData": {"from": "hook"},
        "outputData": {"posted": True},
        "executionData": [
            {
                **WEBHOOK,
                "status": "success",
                "startedAt": "2023-12-06T10:30:00Z",
                "stoppedAt": "2023-12-06T10:30:01Z",
                "duration": 1.0,
                "outputData": [{"json": ISSUE}],
            },
            {
                **SLACK,
                "status": "success",
                "startedAt": "2023-12-06T10:30:01Z",
                "stoppedAt": "2023-12-06T10:30:05Z",
                "duration": 4.3,
                "inputData": [{"json": ISSUE}],
                "outputData": [{"json": SENT}],
            },
        ],
        "metadata": {
            "retryCount": 0,
            "queueTime": 0.1,
            "memoryUsage": 32.1,
            "nodeCount": 2,
            "dataTransferred": 1024,
        },
    }
    assert documented(answer, expected) == expected
    assert set(answer) - set(expected) == {"createdAt", "updatedAt", "version", "progress", "logLines"}
    assert [set(node) - set(WEBHOOK) for node in answer["executionData"]] == [
        {"status", "startedAt", "stoppedAt", "duration", "outputData", "iteration", "attempt"},
        {"status", "startedAt", "stoppedAt", "duration", "inputData", "outputData", "iteration", "attempt"},
    ]


async def test_data_shows_the_documented_nodes(client: httpx.AsyncClient) -> None:
    """Input and output of each node, an empty list where there was none."""
    expected = {
        "executionId": "exec_1234567890",
        "nodes": {
            "webhook_1": {"input": [], "output": [{"json": ISSUE}]},
            "slack_1": {"input": [{"json": ISSUE}], "output": [{"json": SENT}]},
        },
    }
    assert (await client.get("/v1/executions/exec_1234567890/data")).json() == expected
    only = (await client.get("/v1/executions/exec_1234567890/data?nodeId=slack_1&format=json")).json()
    assert only == expected | {"nodes": {"slack_1": {"input": [{"json": ISSUE}], "output": [{"json": SENT}]}}}


async def test_node_data_shows_the_documented_node(client: httpx.AsyncClient) -> None:
    """One node with its name; beside it which run is shown, and which there are."""
    answer = (await client.get("/v1/executions/exec_1234567890/nodes/slack_1/data")).json()
    expected = {
        "nodeId": "slack_1",
        "nodeName": "Send to Slack",
        "input": [{"json": ISSUE}],
        "output": [{"json": SENT}],
    }
    assert {name: answer[name] for name in expected} == expected
    assert set(answer) - set(expected) == {"iteration", "attempt", "runs"}


async def test_node_data_shows_the_other_documented_items(house: House, client: httpx.AsyncClient) -> None:
    """What the document's own example of this address carries."""
    wanted = [{"json": {"message": "New issue: Bug report", "channel": "#dev-alerts"}}]
    sent = [{"json": {**SENT, "channel": "C1234567890", "message": {"text": "New issue: Bug report"}}}]
    await house.tell(event("node.completed", 5, "exec_alert", **SLACK, inputData=wanted, outputData=sent))
    shown = (await client.get("/v1/executions/exec_alert/nodes/slack_1/data")).json()
    expected = {"nodeId": "slack_1", "nodeName": "Send to Slack", "input": wanted, "output": sent}
    assert {name: shown[name] for name in expected} == expected


async def test_logs_show_the_documented_lines(client: httpx.AsyncClient) -> None:
    """All of them, by level, by node, and as part of the execution."""
    answer = (await client.get("/v1/executions/exec_1234567890/logs")).json()
    expected = {"executionId": "exec_1234567890", "logs": list(LINES)}
    assert documented(answer, expected) == expected
    assert set(answer) - set(expected) == {"pagination"}
    assert [set(line) for line in answer["logs"]] == [set(line) for line in LINES]
    base = "/v1/executions/exec_1234567890/logs"
    assert len((await client.get(f"{base}?level=debug")).json()["logs"]) == 1
    assert len((await client.get(f"{base}?level=debug,info")).json()["logs"]) == 3
    assert [line["nodeId"] for line in (await client.get(f"{base}?nodeId=slack_1")).json()["logs"]] == ["slack_1"] * 2
    assert len((await client.get(f"{base}?limit=1")).json()["logs"]) == 1
    whole = (await client.get("/v1/executions/exec_1234567890?include=logs")).json()
    assert whole["logs"] == answer["logs"]


async def test_a_time_that_an_answer_shows_finds_its_line(house: House, client: httpx.AsyncClient) -> None:
    """Both ends of a range are included, in the milliseconds that are shown, however finely a line was stamped."""
    times = [f"2026-11-22T10:30:0{second}.204{fine}Z" for second in range(3) for fine in ("000", "999")]
    lines = [{"message": str(number), "timestamp": time} for number, time in enumerate(times)]
    await house.tell(event("log.appended", 1, "exec_fine", lines=lines))
    base = "/v1/executions/exec_fine/logs"
    shown = [line["timestamp"] for line in (await client.get(base)).json()["logs"]]

    async def found(**asked: str) -> str:
        logs = (await client.get(base, params=asked)).json()["logs"]
        return "".join(line["message"] for line in logs)

    assert await found(**{"from": shown[2], "to": shown[3]}) == "23"
    assert await found(**{"from": shown[1]}) == "012345"
    assert await found(to=shown[1]) == "01"
    assert await found(**{"from": "2026-11-22T11:30:02+01:00", "limit": "1"}) == "4"


async def test_not_found_is_spelt_as_documented(client: httpx.AsyncClient) -> None:
    """Code and message of the document."""
    response = await client.get("/v1/executions/exec_invalid")
    error = response.json()["error"]
    assert response.status_code == 404
    assert (error["code"], error["message"]) == (
        "EXECUTION_NOT_FOUND",
        "Execution with ID 'exec_invalid' not found",
    )
    assert set(error) == {"code", "message", "timestamp", "executionId"}


@pytest.mark.parametrize("name", ["workflowName", "mode", "trigger", "startedAt"])
async def test_required_members_are_there_before_they_are_known(house: House, name: str) -> None:
    """A stub of which only a node is known has null where nobody told, and no optional members."""
    await house.tell(event("node.progress", 1, "exec_stub", nodeId="n"))
    async with house.client() as client:
        stub = (await client.get("/v1/executions/exec_stub")).json()
    assert (stub["status"], stub[name]) == ("running", None)
    assert {"stoppedAt", "duration", "error", "executionData", "inputData"} & set(stub) == set()


async def test_what_is_no_list_becomes_the_only_item(house: House) -> None:
    """Items are lists, as the document types them, whatever engines send."""
    await house.tell(event("node.completed", 1, "exec_odd", nodeId="n", inputData={"a": 1}, outputData=None))
    async with house.client() as client:
        node = (await client.get("/v1/executions/exec_odd?include=data")).json()["executionData"][0]
    assert (node["inputData"], "outputData" in node) == ([{"a": 1}], False)


async def test_loops_show_their_latest_run(house: House) -> None:
    """One entry per node id: its latest iteration and attempt."""
    await house.tell(
        *[
            event("node.completed", second, "exec_loop", nodeId="n", iteration=second, outputData=[second])
            for second in (2, 0, 1)
        ]
    )
    async with house.client() as client:
        nodes = (await client.get("/v1/executions/exec_loop?include=data")).json()["executionData"]
    assert [(node["iteration"], node["outputData"]) for node in nodes] == [(2, [2])]


async def test_strangers_numbers_survive(house: House) -> None:
    """The largest whole number that is taken comes out with every digit, in payloads and in members."""
    big = 2**64 - 1
    await house.tell(event("execution.completed", 1, "exec_big", outputData={"n": big}, metadata={"n": big}))
    async with house.client() as client:
        shown = json.loads((await client.get("/v1/executions/exec_big?include=data")).content)
    assert (shown["outputData"], shown["metadata"]) == ({"n": big}, {"n": big})
