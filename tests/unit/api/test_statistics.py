"""Statistics as the API's document shows them, over both stores: fields, sums, ranges, filters, refusals."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.api import statistics_documents
from monitor.events.codec import format_time, parse_time_us
from monitor.store import MemoryStore, open_sqlite_store
from tests.support.clocks import ManualClock
from tests.support.house import House, open_house

NOW = "2023-12-06T16:20:00Z"
WORKFLOW = ("wf_abcdef123456", "GitHub to Slack")
OTHER = ("wf_other", "Orders")
HOUR_US = 3_600_000_000
BASE = "/v1/executions/statistics"

_numbers = itertools.count()


def ended(at: str | int, status: str = "success", duration: float | None = 1.0, **members: Any) -> dict[str, Any]:
    """The end of an execution of its own, at a time."""
    types = {"success": "execution.completed", "cancelled": "execution.cancelled"}
    workflow, data = members.pop("workflow", WORKFLOW), members.pop("data", {})
    if duration is not None:
        data = {"duration": duration, **data}
    if status not in types:
        data = {"status": status, **data}
    return {
        "type": types.get(status, "execution.failed"),
        "executionId": f"exec_{next(_numbers)}",
        "workflowId": workflow[0],
        "timestamp": at if isinstance(at, str) else format_time(at),
        "data": {"workflowName": workflow[1], **data},
        **members,
    }


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service at a given time, over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store, clock=ManualClock(parse_time_us(NOW)))
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the team."""
    async with house.client() as opened:
        yield opened


async def ask(client: httpx.AsyncClient, address: str = BASE, **query: str) -> Any:
    """The answer to a question that is in order."""
    answer = await client.get(address, params={name.rstrip("_"): value for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def documented_day() -> list[dict[str, Any]]:
    """A day that adds up to the document's example: 1247 = 1189 + 58."""
    shown_hour = "2023-12-06T10:59:59.999Z"
    day = [ended(shown_hour, "success", 0.5), ended(shown_hour, "failed", 15.2)]
    day += [ended(shown_hour, "success" if number < 47 else "failed", 2.598) for number in range(50)]
    day += [ended(_hour(number), "success" if number < 274 else "failed", 1.974) for number in range(289)]
    day.append(ended(_hour(0), "failed", 2.114))
    words = ["success"] * 867 + ["failed"] * 25 + ["timeout"] * 8 + ["cancelled"] * 5
    durations = [3.615] * 904 + [4.24]
    pairs = zip(words, durations, strict=True)
    return [*day, *(ended(_hour(n), *pair, workflow=OTHER) for n, pair in enumerate(pairs))]


def _hour(number: int) -> int:
    """Any hour of the day but the one that is shown."""
    return parse_time_us("2023-12-06T11:00:00Z") + (number % 5) * HOUR_US


async def test_the_documented_example(house: House, client: httpx.AsyncClient) -> None:
    """Every member as it is spelt there, with its type and value; what is beside it is ours."""
    await house.tell(*documented_day())
    answer = await ask(client, period="24h", granularity="hour")
    expected = {
        "period": "24h",
        "granularity": "hour",
        "totalExecutions": 1247,
        "successfulExecutions": 1189,
        "failedExecutions": 58,
        "averageExecutionTime": 3.2,
        "byStatus": {"success": 1189, "failed": 45, "timeout": 8, "cancelled": 5},
    }
    assert {name: answer[name] for name in expected} == expected
    assert list(answer["byStatus"]) == ["success", "failed", "timeout", "cancelled"]
    bucket = next(it for it in answer["data"] if it["timestamp"] == "2023-12-06T10:00:00.000Z")
    del bucket["timestamp"]
    assert bucket == {
        "executions": 52,
        "successes": 48,
        "failures": 4,
        "avgTime": 2.8,
        "minTime": 0.5,
        "maxTime": 15.2,
    }
    share = next(it for it in answer["byWorkflow"] if it["workflowId"] == WORKFLOW[0])
    assert share == {
        "workflowId": "wf_abcdef123456",
        "workflowName": "GitHub to Slack",
        "executions": 342,
        "successRate": pytest.approx(0.94, abs=0.005),
        "avgTime": 2.1,
    }
    assert set(answer) - set(expected) - {"data", "byWorkflow"} == {
        *("from", "to", "successRate", "minExecutionTime", "maxExecutionTime", "percentiles", "inFlight"),
        *("byTrigger", "byError"),
    }
    assert answer["successRate"] == 1189 / 1247
    assert sum(it["executions"] for it in answer["data"]) == 1247
    assert len(answer["data"]) == 25


async def test_nothing_is_zeros(client: httpx.AsyncClient) -> None:
    """`data` covers the whole period; what cannot be said is null."""
    answer = await ask(client, period="7d")
    assert (answer["from"], answer["to"]) == ("2023-11-29T16:00:00.000Z", "2023-12-06T17:00:00.000Z")
    assert [it["timestamp"][:10] for it in answer["data"]] == [
        *("2023-11-29", "2023-11-30", "2023-12-01", "2023-12-02", "2023-12-03", "2023-12-04", "2023-12-05"),
        "2023-12-06",
    ]
    assert {tuple(it.values())[1:] for it in answer["data"]} == {(0, 0, 0, 0.0, 0.0, 0.0)}
    assert (answer["granularity"], answer["totalExecutions"], answer["successRate"]) == ("day", 0, None)
    assert answer["percentiles"] == {"p50": None, "p90": None, "p95": None, "p99": None}
    assert answer["byStatus"] == {"success": 0, "failed": 0, "timeout": 0, "cancelled": 0}


@pytest.mark.parametrize(
    ("query", "granularity", "buckets", "first"),
    [
        ({}, "hour", 25, "2023-12-05T16:00:00.000Z"),
        ({"period": "1h"}, "minute", 60, "2023-12-06T15:20:00.000Z"),
        ({"period": "1h", "granularity": "hour"}, "hour", 2, "2023-12-06T15:00:00.000Z"),
        ({"period": "24h", "granularity": "minute"}, "minute", 1440, "2023-12-05T16:20:00.000Z"),
        ({"period": "30d"}, "day", 31, "2023-11-06T00:00:00.000Z"),
        ({"period": "30d", "granularity": "week"}, "week", 5, "2023-11-06T00:00:00.000Z"),
        ({"from_": "2023-12-06T16:10:30Z"}, "minute", 10, "2023-12-06T16:10:00.000Z"),
        ({"from_": "2023-01-01T00:00:00Z", "to": "2023-01-01T01:00:00Z"}, "hour", 1, "2023-01-01T00:00:00.000Z"),
        ({"from_": "2023-01-01T00:00:00Z", "to": "2023-01-01T00:00:00.001Z"}, "hour", 1, "2023-01-01T00:00:00.000Z"),
    ],
)
async def test_buckets_cover_the_range(
    client: httpx.AsyncClient, query: dict[str, str], granularity: str, buckets: int, first: str
) -> None:
    """From the beginning of the first hour to the end of the current one; weeks begin on Monday."""
    answer = await ask(client, **query)
    assert (answer["granularity"], len(answer["data"])) == (granularity, buckets)
    assert answer["data"][0]["timestamp"] == first


@pytest.mark.parametrize("granularity", ["hour", "day", "week"])
async def test_granularity_changes_no_total(house: House, client: httpx.AsyncClient, granularity: str) -> None:
    """The range is the same; what ended before it is in no bucket, though its day is shown."""
    await house.tell(
        ended("2023-11-29T15:59:59Z"),
        ended("2023-11-29T16:00:00Z", duration=2.0),
        ended("2023-12-03T23:59:59Z", "failed", 4.0),
        ended("2023-12-04T00:00:00Z", duration=6.0),
        ended("2023-12-06T16:59:59Z", duration=8.0),
        ended("2023-12-06T17:00:00Z"),
    )
    answer = await ask(client, period="7d", granularity=granularity)
    assert (answer["totalExecutions"], answer["failedExecutions"], answer["averageExecutionTime"]) == (4, 1, 5.0)
    assert (answer["minExecutionTime"], answer["maxExecutionTime"]) == (2.0, 8.0)
    shown = [(it["timestamp"][:13], it["executions"]) for it in answer["data"] if it["executions"]]
    assert (
        shown
        == {
            "hour": [("2023-11-29T16", 1), ("2023-12-03T23", 1), ("2023-12-04T00", 1), ("2023-12-06T16", 1)],
            "day": [("2023-11-29T00", 1), ("2023-12-03T00", 1), ("2023-12-04T00", 1), ("2023-12-06T00", 1)],
            "week": [("2023-11-27T00", 2), ("2023-12-04T00", 2)],
        }[granularity]
    )


async def test_minutes_are_exact_and_count_what_was_deleted(house: House, client: httpx.AsyncClient) -> None:
    """Durations as they were measured, tombstones among them."""
    gone = ended("2023-12-06T16:10:59Z", "failed", 0.123457, data={"error": {"type": "E", "message": "x"}})
    await house.tell(
        ended("2023-12-06T15:19:59Z"),
        ended("2023-12-06T16:10:01Z", duration=0.123456),
        gone,
        {"type": "execution.deleted", "executionId": gone["executionId"], "timestamp": NOW},
    )
    answer = await ask(client, period="1h")
    bucket = next(it for it in answer["data"] if it["executions"])
    assert bucket == {
        "timestamp": "2023-12-06T16:10:00.000Z",
        "executions": 2,
        "successes": 1,
        "failures": 1,
        "avgTime": pytest.approx(0.1234565, abs=1e-6),
        "minTime": 0.123456,
        "maxTime": 0.123457,
    }
    assert (answer["percentiles"]["p50"], answer["percentiles"]["p99"]) == (0.123456, 0.123457)
    assert [it["executions"] for it in answer["byError"]] == [1]


async def test_filters_and_shares(house: House, client: httpx.AsyncClient) -> None:
    """By workflow, status, trigger and error; each share is of what was asked for."""
    hook = {"trigger": {"type": "webhook"}}
    refused = {"error": {"type": "ConnectionError", "message": "no answer from 10.0.0.7:443 after 30 s"}}
    again = {"error": {"type": "ConnectionError", "message": "no answer from 10.1.2.3:80 after 5 s"}}
    await house.tell(
        ended("2023-12-06T15:00:00Z", data=hook, duration=1.0),
        ended("2023-12-06T15:00:00Z", "failed", 3.0, data={**hook, **refused}),
        ended("2023-12-06T16:00:00Z", "failed", 5.0, data=again, workflow=OTHER),
        ended("2023-12-06T16:00:00Z", "cancelled", None, workflow=OTHER),
        {**ended(NOW), "type": "execution.started"},
        {**ended(NOW, workflow=OTHER), "type": "execution.queued"},
    )
    everything = await ask(client)
    [error] = everything["byError"]
    assert error == {
        "fingerprint": error["fingerprint"],
        "type": "ConnectionError",
        "message": "no answer from <n> after <n> s",
        "executions": 2,
    }
    assert everything["byTrigger"] == [
        {"trigger": None, "executions": 2, "successRate": 0.0, "avgTime": 5.0},
        {"trigger": "webhook", "executions": 2, "successRate": 0.5, "avgTime": 2.0},
    ]
    assert everything["inFlight"] == 2
    assert everything["averageExecutionTime"] == 3.0

    async def total(**query: str) -> tuple[int, int, float]:
        found = await ask(client, **query)
        assert sum(it["executions"] for it in found["data"]) == found["totalExecutions"]
        assert sum(it["executions"] for it in found["byWorkflow"]) == found["totalExecutions"]
        return found["totalExecutions"], found["inFlight"], found["averageExecutionTime"]

    assert await total(workflowId="wf_other") == (2, 1, 5.0)
    assert await total(workflowId="wf_none") == (0, 0, 0.0)
    assert await total(status="failed") == (2, 2, 4.0)
    assert await total(status="failed,cancelled") == (3, 2, 4.0)
    assert await total(trigger="webhook") == (2, 0, 2.0)
    assert await total(trigger="webhook", status="failed") == (1, 0, 3.0)
    assert await total(error=error["fingerprint"]) == (2, 0, 4.0)
    assert await total(error=error["fingerprint"], workflowId="wf_other") == (1, 0, 5.0)
    assert await total(period="1h", workflowId="wf_other", status="failed") == (1, 1, 5.0)


async def test_nodes(house: House, client: httpx.AsyncClient) -> None:
    """Finished runs by node; with `nodeId` the whole document is of them."""

    def run(node: str, at: str, type_: str = "node.completed", **data: Any) -> dict[str, Any]:
        return {**ended(at), "type": type_, "data": {"nodeId": node, **data}}

    await house.tell(
        run("a", "2023-12-06T15:10:00Z", duration=1.0),
        run("a", "2023-12-06T16:10:00Z", duration=2.0),
        run("a", "2023-12-06T16:10:00Z", "node.failed", duration=3.0, error={"message": "no"}),
        run("b", "2023-12-06T16:10:00Z", "node.skipped"),
        run("b", "2023-12-06T16:10:00Z", "node.started"),
        {**ended(NOW, workflow=OTHER), "executionId": "exec_o"},
    )
    found = (await ask(client, f"{BASE}/nodes"))["byNode"]
    assert [(it["nodeId"], it["executions"], it["failures"], it["avgTime"]) for it in found] == [
        ("a", 3, 1, 2.0),
        ("b", 1, 0, 0.0),
    ]
    assert found[0]["byStatus"] == {"success": 2, "failed": 1}
    assert found[0]["percentiles"] == {"p50": 2.0, "p90": 3.0, "p95": 3.0, "p99": 3.0}
    assert (found[0]["workflowId"], found[1]["percentiles"]["p50"]) == (WORKFLOW[0], None)
    only = await ask(client, f"{BASE}/nodes", nodeId="b", workflowId=WORKFLOW[0], period="1h")
    assert [it["nodeId"] for it in only["byNode"]] == ["b"]
    assert (await ask(client, f"{BASE}/nodes", status="failed"))["byNode"][0]["executions"] == 1
    one = await ask(client, nodeId="a")
    assert (one["totalExecutions"], one["failedExecutions"], one["inFlight"]) == (3, 1, 0)
    assert [it["executions"] for it in one["data"] if it["executions"]] == [1, 2]
    assert one["byError"][0]["message"] == "no"


async def test_a_team_counts_its_own(house: House) -> None:
    """Nothing of another team, not even the name of a workflow or the words of an error."""
    await house.tell(ended("2023-12-06T16:10:00Z", "failed", data={"error": {"message": "secret"}}), team="rival")
    async with house.client() as client:
        answer = await ask(client)
        fingerprint = "0" * 16
    async with house.client("rival") as client:
        theirs = await ask(client)
        fingerprint = theirs["byError"][0]["fingerprint"]
    assert (answer["totalExecutions"], answer["byWorkflow"], answer["byError"]) == (0, [], [])
    async with house.client() as client:
        assert (await ask(client, error=fingerprint))["totalExecutions"] == 0


async def test_more_workflows_than_are_told(house: House, client: httpx.AsyncClient) -> None:
    """Those with the most executions, and how many there are beside them."""
    crowd = [ended(NOW, workflow=(f"wf_{number}", "crowd")) for number in range(101)]
    await house.tell(*crowd, ended(NOW, workflow=("wf_100", "crowd")))
    answer = await ask(client)
    assert (len(answer["byWorkflow"]), answer["moreWorkflows"]) == (100, 1)
    assert answer["byWorkflow"][0]["workflowId"] == "wf_100"
    assert answer["totalExecutions"] == 102


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?period=2h", "period"),
        ("?periode=24h", "periode"),
        ("?granularity=month", "granularity"),
        ("?granularity=minute&period=7d", "granularity"),
        ("?granularity=minute&from=2023-12-04T00:00:00Z", "granularity"),
        ("?granularity=hour&from=2023-01-01T00:00:00Z", "granularity"),
        ("?from=1970-01-01T00:00:00Z", "granularity"),
        ("?to=2023-12-06T10:00:00Z", "to"),
        ("?from=yesterday", "from"),
        ("?from=2023-12-06T10:00:00", "from"),
        ("?from=2023-12-06T10:00:00Z&to=2023-12-06T10:00:00Z", "from"),
        ("?from=2023-12-07T10:00:00Z", "from"),
        ("?from=2023-12-06T10:00:00Z&period=24h", "period"),
        ("?status=running", "status"),
        ("?status=faild", "status"),
        ("?workflowId=", "workflowId"),
        ("?workflowId=a%00b", "workflowId"),
        ("?workflowId=a&workflowId=b", "workflowId"),
        ("?error=" + "x" * 300, "error"),
        ("?nodeId=a&trigger=webhook", "trigger"),
        ("?nodeId=a&granularity=minute", "granularity"),
        ("?limit=5", "limit"),
        ("/nodes?granularity=hour", "granularity"),
        ("/nodes?trigger=webhook", "trigger"),
    ],
)
async def test_questions_that_mean_nothing_are_refused(client: httpx.AsyncClient, query: str, field: str) -> None:
    """By the name of the parameter."""
    answer = await client.get(f"{BASE}{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (400, "INVALID_REQUEST", field)


async def test_percentiles_are_made_for_those_nodes_alone_that_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are waited for while they are made; the busiest come first, then those first in the alphabet."""
    house = await open_house()
    about = {"executionId": "e", "workflowId": "w", "timestamp": "2026-11-22T10:00:00Z"}
    runs = [(f"n{number:03}", 0) for number in range(130)] + [("n129", 1)]
    done = [about | {"type": "node.completed", "data": {"nodeId": id_, "iteration": at}} for id_, at in runs]
    await house.tell(about | {"type": "execution.started"}, *done, about | {"type": "execution.completed"})
    made: list[object] = []

    def counted(durations: object) -> dict[int, float]:
        made.append(durations)
        return {}

    monkeypatch.setattr(statistics_documents, "percentiles_us", counted)
    async with house.client() as client:
        asked = {"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"}
        answer = await client.get("/v1/executions/statistics/nodes", params=asked)
    told = answer.json()
    assert [row["nodeId"] for row in told["byNode"]] == ["n129", *(f"n{number:03}" for number in range(99))]
    assert (told["moreNodes"], len(made)) == (30, 100)
