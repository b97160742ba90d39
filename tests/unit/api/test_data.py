"""What nodes carried: every run of a loop and of its tries, and the forms of a whole execution's data."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from monitor.executions import contents, reads
from monitor.web import data_csv
from tests.support.house import House, open_house

BASE = "/v1/executions/exec_1"


def node(type_: str, second: int, node_id: str, **data: Any) -> dict[str, Any]:
    """An event of a node."""
    return {
        "type": type_,
        "executionId": "exec_1",
        "workflowId": "wf_1",
        "timestamp": f"2026-11-22T10:30:{second:02d}Z",
        "data": {"nodeId": node_id, **data},
    }


LOOP = (
    node("node.started", 0, "a", iteration=0, nodeName="Ask"),
    node("node.failed", 2, "a", iteration=0, nodeName="Ask", inputData=["in"], outputData=["0.1"]),
    node("node.started", 3, "a", iteration=0, attempt=2, nodeName="Ask"),
    node("node.completed", 4, "a", iteration=0, attempt=2, duration=0.5, outputData=["0.2"]),
    node("node.started", 5, "a", iteration=1),
    node("node.completed", 7, "a", iteration=1, outputData=["1.1"]),
    node("node.started", 8, "a", iteration=10),
)


@pytest.fixture
async def house() -> House:
    """A service."""
    return await open_house()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the team."""
    async with house.client() as opened:
        yield opened


async def table(client: httpx.AsyncClient, query: str = "") -> list[list[str]]:
    """The rows of a CSV."""
    answer = await client.get(f"{BASE}/data?format=csv{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["monitor-position"]
    return list(csv.reader(io.StringIO(answer.text, newline="")))


async def test_every_run_of_a_node_is_listed(house: House, client: httpx.AsyncClient) -> None:
    """By iteration and attempt, with how it went; the latest is shown."""
    await house.tell(*LOOP)
    shown = (await client.get(f"{BASE}/nodes/a/data")).json()
    assert (shown["iteration"], shown["attempt"], shown["input"], shown["output"]) == (10, 1, [], [])

    def at(second: int) -> str:
        return f"2026-11-22T10:30:{second:02d}.000Z"

    assert shown["runs"] == [
        {
            "iteration": 0,
            "attempt": 1,
            "status": "failed",
            "startedAt": at(0),
            "stoppedAt": at(2),
            "duration": 2.0,
        },
        {
            "iteration": 0,
            "attempt": 2,
            "status": "success",
            "startedAt": at(3),
            "stoppedAt": at(4),
            "duration": 0.5,
        },
        {
            "iteration": 1,
            "attempt": 1,
            "status": "success",
            "startedAt": at(5),
            "stoppedAt": at(7),
            "duration": 2.0,
        },
        {"iteration": 10, "attempt": 1, "status": "running", "startedAt": at(8)},
    ]


@pytest.mark.parametrize(
    ("query", "output"),
    [
        ("iteration=0&attempt=1", ["0.1"]),
        ("iteration=0&attempt=2", ["0.2"]),
        ("iteration=0", ["0.2"]),
        ("attempt=2", ["0.2"]),
        ("iteration=1", ["1.1"]),
        ("attempt=1", []),
    ],
)
async def test_any_run_can_be_asked_for(house: House, client: httpx.AsyncClient, query: str, output: list[str]) -> None:
    """By one number or both: the latest that fits."""
    await house.tell(*LOOP)
    shown = (await client.get(f"{BASE}/nodes/a/data?{query}")).json()
    assert (shown["output"], len(shown["runs"])) == (output, 4)


async def test_run_that_there_was_not_is_not_found(house: House, client: httpx.AsyncClient) -> None:
    """Which says what was asked for."""
    await house.tell(*LOOP)
    answer = await client.get(f"{BASE}/nodes/a/data?iteration=1&attempt=2")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "NOT_FOUND")
    assert error["message"] == "Node 'a' has not run in execution 'exec_1', iteration 1, attempt 2"
    assert (error["nodeId"], error["iteration"], error["attempt"]) == ("a", 1, 2)


@pytest.mark.parametrize("query", ["attempt=0", "attempt=x", "iteration=-1", "iteration=9999999999", "iteration=²"])
async def test_what_can_be_no_run_is_refused(client: httpx.AsyncClient, query: str) -> None:
    """By name."""
    answer = await client.get(f"{BASE}/nodes/a/data?{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (400, "INVALID_REQUEST", query.partition("=")[0])


async def test_earlier_runs_are_counted_when_they_are_too_many(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest ones are listed, and any can be asked for."""
    await house.tell(*LOOP)
    monkeypatch.setattr(contents, "MAX_RUNS", 3)
    shown = (await client.get(f"{BASE}/nodes/a/data?iteration=0&attempt=1")).json()
    assert ([run["iteration"] for run in shown["runs"]], shown["earlierRuns"]) == ([0, 1, 10], 1)
    assert shown["output"] == ["0.1"]


async def test_data_is_a_table(house: House, client: httpx.AsyncClient) -> None:
    """A row for each item, a column for each member of any; what has no members stands under value."""
    await house.tell(
        node("node.completed", 1, "a", nodeName="Ask", outputData=[{"json": {"x": 1, "who": "=cmd()"}}, {"y": [1]}]),
        node("node.completed", 2, "b", inputData={"json": {"x": None, "item": True}}, outputData=[7, 'é, "q"']),
        node("node.completed", 3, "c", inputData=None, outputData=[]),
    )
    assert await table(client) == [
        ["nodeId", "nodeName", "direction", "item", "x", "who", "y", "json.item", "value"],
        ["a", "Ask", "output", "0", "1", "'=cmd()", "", "", ""],
        ["a", "Ask", "output", "1", "", "", "[1]", "", ""],
        ["b", "b", "input", "0", "", "", "", "true", ""],
        ["b", "b", "output", "0", "", "", "", "", "7"],
        ["b", "b", "output", "1", "", "", "", "", 'é, "q"'],
    ]
    only = await table(client, "&nodeId=b")
    assert [row[0] for row in only] == ["nodeId", "b", "b", "b"]
    assert await table(client, "&nodeId=c") == [["nodeId", "nodeName", "direction", "item"]]


async def test_name_of_a_member_is_no_formula_either(house: House, client: httpx.AsyncClient) -> None:
    """Whoever sends items chooses it."""
    await house.tell(node("node.completed", 1, "a", outputData=[{"json": {"=1+1": "@x"}}]))
    assert [row[4] for row in await table(client)] == ["'=1+1", "'@x"]


@pytest.mark.parametrize(
    ("room", "name"), [(data_csv, "MAX_PAGE_BYTES"), (data_csv, "_MOST_CELLS"), (reads, "MAX_DATA_BYTES")]
)
async def test_table_is_never_cut_short(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, room: Any, name: str
) -> None:
    """What is too large is refused, with a way out."""
    await house.tell(
        node("node.completed", 1, "a", outputData=[{"x": 1}]), node("node.completed", 2, "b", outputData=[{"y": 1}])
    )
    monkeypatch.setattr(room, name, 11)
    answer = await client.get(f"{BASE}/data?format=csv")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (413, "PAYLOAD_TOO_LARGE", "format")
    assert "nodeId" in error["message"]
    assert len(await table(client, "&nodeId=a")) == 2


async def test_raw_data_is_what_was_told(house: House, client: httpx.AsyncClient) -> None:
    """Not made a list; what nobody told is absent, null is null."""
    await house.tell(node("node.completed", 1, "a", inputData=None, outputData={"n": 1}), node("node.started", 2, "b"))
    raw = (await client.get(f"{BASE}/data?format=raw")).json()
    assert raw == {"executionId": "exec_1", "nodes": {"a": {"input": None, "output": {"n": 1}}, "b": {}}}
    as_json = (await client.get(f"{BASE}/data?format=json")).json()["nodes"]
    assert as_json == {"a": {"input": [], "output": [{"n": 1}]}, "b": {"input": [], "output": []}}
    one = (await client.get(f"{BASE}/data?format=raw&nodeId=a")).json()["nodes"]
    assert one == {"a": raw["nodes"]["a"]}
