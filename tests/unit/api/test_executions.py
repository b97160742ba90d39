"""Lists and single executions: strict questions, cursors, versions, positions, and one team's data only."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from monitor.access.positions import position_token
from monitor.events.position import Position
from monitor.executions import pages, reads
from monitor.store import MemoryStore, open_sqlite_store
from tests.support.house import JSON, SEALER, House, open_house


def started(number: int, **members: Any) -> dict[str, Any]:
    """The start of execution `number`, at second `number`."""
    return {
        "type": "execution.started",
        "executionId": f"exec_{number}",
        "workflowId": "wf_1",
        "timestamp": f"2026-11-22T10:00:{number:02d}Z",
        "data": {"mode": "manual"},
        **members,
    }


def ended(number: int, duration: float) -> dict[str, Any]:
    """Its end."""
    members = {"type": "execution.completed", "timestamp": f"2026-11-22T10:01:{number:02d}Z"}
    return started(number, **members, data={"duration": duration})


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service with seven executions of one team and one of another, over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    house = await open_house(store)
    await house.tell(*[started(number) for number in range(7)], ended(1, 5), ended(2, 0.5))
    await house.tell(started(0, executionId="exec_rival"), team="rival")
    yield house
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first team."""
    async with house.client() as opened:
        yield opened


async def ids(client: httpx.AsyncClient, query: str) -> list[str]:
    """What a list names."""
    answer = await client.get(f"/v1/executions{query}")
    assert answer.status_code == 200, answer.text
    return [row["id"].removeprefix("exec_") for row in answer.json()["data"]]


# --- questions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "code", "field"),
    [
        ("?limt=5", 400, "INVALID_REQUEST", "limt"),
        ("?limit=0", 400, "INVALID_REQUEST", "limit"),
        ("?limit=101", 400, "INVALID_REQUEST", "limit"),
        ("?sort=finishedAt", 400, "INVALID_REQUEST", "sort"),
        ("?include=logs", 400, "INVALID_REQUEST", "include"),
        ("?cursor=abc", 400, "INVALID_CURSOR", "cursor"),
        ("?minPosition=abc", 400, "INVALID_POSITION", "minPosition"),
        ("?filter[stauts]=failed", 422, "INVALID_FILTER", "filter[stauts]"),
        ("?filter[status]=error", 422, "INVALID_FILTER", "filter[status]"),
        ("?filter[dateRange]=1w", 422, "INVALID_FILTER", "filter[dateRange]"),
        ("?filter=failed", 422, "INVALID_FILTER", "filter"),
        ("?limit=-1", 400, "INVALID_REQUEST", "limit"),
        ("?limit=1000000000", 400, "INVALID_REQUEST", "limit"),
        ("?limit=5&limit=5", 400, "INVALID_REQUEST", "limit"),
        ("?cursor=%00", 400, "INVALID_CURSOR", "cursor"),
        ("?filter[startDate]=2026-11-23&filter[endDate]=2026-11-22", 422, "INVALID_FILTER", "filter[startDate]"),
        ("?filter[endDate]=2026-02-30", 422, "INVALID_FILTER", "filter[endDate]"),
        ("?filter[startedAt][gte]=soon", 422, "INVALID_FILTER", "filter[startedAt]"),
        ("?filter[duration][gte]=nan", 422, "INVALID_FILTER", "filter[duration]"),
        ("?filter[id]=a%00b", 422, "INVALID_FILTER", "filter[id]"),
        (f"?filter[id]={','.join(map(str, range(101)))}", 422, "INVALID_FILTER", "filter[id]"),
        ("?filter[retryOff]=exec_1", 422, "INVALID_FILTER", "filter[retryOff]"),
        (f"/{'x' * 5000}", 404, "EXECUTION_NOT_FOUND", None),
        ("/exec%00_1", 404, "EXECUTION_NOT_FOUND", None),
        ("/%ED%A0%80", 404, "EXECUTION_NOT_FOUND", None),
        ("/exec_1?include=everything", 400, "INVALID_REQUEST", "include"),
        ("/exec_1?limit=1", 400, "INVALID_REQUEST", "limit"),
        ("/exec_1/data?format=xml", 400, "INVALID_REQUEST", "format"),
        ("/exec_1/data?node=a", 400, "INVALID_REQUEST", "node"),
        ("/exec_1/logs?level=loud", 400, "INVALID_REQUEST", "level"),
        ("/exec_1/logs?limit=1001", 400, "INVALID_REQUEST", "limit"),
        ("/exec_1/logs?from=yesterday", 400, "INVALID_REQUEST", "from"),
        ("/exec_1/logs?to=2026-11-22T10:00:00", 400, "INVALID_REQUEST", "to"),
        ("/exec_1/logs?to=2026-11-22T10:00:00Z&from=2026-11-22T10:00:01Z", 400, "INVALID_REQUEST", "from"),
        ("/exec_1/logs?order=up", 400, "INVALID_REQUEST", "order"),
        ("/exec_1/logs?q=", 400, "INVALID_REQUEST", "q"),
        ("/exec_1/logs?cursor=garbage", 400, "INVALID_CURSOR", "cursor"),
        ("/exec_1/logs?since=2026-11-22T10:00:00Z", 400, "INVALID_REQUEST", "since"),
        ("/exec_1/nodes/n/data?format=json", 400, "INVALID_REQUEST", "format"),
    ],
)
async def test_wrong_questions_are_refused_by_name(
    client: httpx.AsyncClient, query: str, status: int, code: str, field: str | None
) -> None:
    """The envelope names the parameter."""
    response = await client.get(f"/v1/executions{query}")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error.get("field")) == (status, code, field)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "6543210"),
        ("?sort=startedAt", "0123456"),
        ("?sort=-duration&filter[status]=success", "12"),
        ("?sort=duration&filter[status]=success", "21"),
        ("?filter[status]=running&limit=2", "65"),
        ("?filter[duration][gte]=1", "1"),
        ("?filter[startDate]=2026-11-22T10:00:05Z", "65"),
        ("?filter[workflowId]=wf_2", ""),
        ("?filter[mode]=manual,webhook&filter[id]=exec_3", "3"),
    ],
)
async def test_lists_answer_the_question(client: httpx.AsyncClient, query: str, expected: str) -> None:
    """Filter, sort and limit; newest first where nothing is said."""
    assert "".join(await ids(client, query)) == expected


@pytest.mark.parametrize("sort", ["startedAt", "-startedAt", "duration", "-duration"])
async def test_pages_follow_each_other_without_gap_or_repeat(client: httpx.AsyncClient, sort: str) -> None:
    """In every sort, also where the sort column is empty."""
    whole = await ids(client, f"?sort={sort}")
    paged, cursor, pagination = [], "", {}
    for _ in range(3):
        answer = (await client.get(f"/v1/executions?sort={sort}&limit=3{cursor}")).json()
        paged += [row["id"].removeprefix("exec_") for row in answer["data"]]
        pagination = answer["pagination"]
        cursor = f"&cursor={pagination['nextCursor']}"
        assert (pagination["total"], pagination["hasMore"]) == (7, len(paged) < 7)
    assert (paged, pagination["nextCursor"]) == (whole, None)


async def test_a_relative_date_range_can_be_paged(client: httpx.AsyncClient) -> None:
    """The range moves with the clock, the cursor stays with the question."""
    base = "/v1/executions?filter[dateRange]=custom&filter[startDate]=2026-11-22&limit=1"
    first = (await client.get(base)).json()["pagination"]["nextCursor"]
    assert (await client.get(f"{base}&cursor={first}")).json()["data"][0]["id"] == "exec_5"
    relative = await client.get(f"/v1/executions?filter[dateRange]=30d&cursor={first}")
    assert relative.json()["error"]["code"] == "INVALID_CURSOR"


async def test_pages_with_data_end_early_rather_than_grow(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the ceiling of a page the rest comes with the next one."""
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 1000)
    await house.tell(*[started(number, type="execution.progress", data={"inputData": "x" * 600}) for number in (5, 6)])
    answer = (await client.get("/v1/executions?include=data&limit=5")).json()
    assert [row["id"] for row in answer["data"]] == ["exec_6", "exec_5"]
    rest = f"?include=data&limit=5&cursor={answer['pagination']['nextCursor']}"
    assert "".join(await ids(client, rest)) == "43210"


# --- versions and positions ------------------------------------------------------------------------------------------


async def test_a_known_version_is_not_sent_again(house: House, client: httpx.AsyncClient) -> None:
    """ETag is the version: 304 until something changed."""
    first = await client.get("/v1/executions/exec_3")
    known = {"if-none-match": first.headers["etag"]}
    assert first.headers["etag"] == f'"{first.json()["version"]}"'
    again = await client.get("/v1/executions/exec_3", headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    await house.tell(ended(3, 1))
    assert (await client.get("/v1/executions/exec_3", headers=known)).status_code == 200


async def test_a_read_after_an_answer_shows_what_was_accepted(house: House, client: httpx.AsyncClient) -> None:
    """The position of an ingest answer, given as `minPosition`, makes the read wait for it."""
    accepted = await client.post("/v1/events", json=started(9))
    await house.settle()
    read = await client.get(f"/v1/executions/exec_9?minPosition={accepted.json()['position']}")
    assert read.json()["id"] == "exec_9"
    assert read.headers["monitor-position"] == position_token(SEALER, house.hub.position)


async def test_a_position_that_is_not_reached_is_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After; nothing stale is shown."""
    monkeypatch.setattr(reads, "MAX_WAIT_S", 0.01)
    accepted = await client.post("/v1/events", json=started(9))
    for path in ("", "/exec_1", "/exec_1/data", "/exec_1/logs", "/exec_1/nodes/n/data"):
        read = await client.get(f"/v1/executions{path}?minPosition={accepted.json()['position']}")
        assert (read.status_code, read.json()["error"]["code"]) == (503, "POSITION_NOT_REACHED")
        assert read.headers["retry-after"] == "1"


async def test_a_position_of_another_journal_is_refused(client: httpx.AsyncClient) -> None:
    """It cannot be reached, however long one waits."""
    token = position_token(SEALER, Position("0123456789ab", (1,)))
    read = await client.get(f"/v1/executions?minPosition={token}")
    assert (read.status_code, read.json()["error"]["code"]) == (400, "INVALID_POSITION")


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution_id", ["n8n:42", "a/b", "ü 100%", "a?b#c", "a/data", "..", "x" * 256])
async def test_any_id_can_be_addressed(house: House, client: httpx.AsyncClient, execution_id: str) -> None:
    """Percent-encoded, whatever it holds; the same for nodes."""
    node = {"nodeId": execution_id, "outputData": [1]}
    await house.tell(started(1, executionId=execution_id, type="node.completed", data=node))
    name = quote(execution_id, safe="").replace(".", "%2E")  # else the client takes two dots for a way up
    path = f"/v1/executions/{name}"
    assert (await client.get(path)).json()["id"] == execution_id
    assert (await client.get(f"{path}/data")).json()["nodes"] == {execution_id: {"input": [], "output": [1]}}
    log = (await client.get(f"{path}/logs")).json()
    assert (log["executionId"], log["logs"]) == (execution_id, [])
    assert (await client.get(f"{path}/nodes/{name}/data")).json()["output"] == [1]


@pytest.mark.parametrize("path", ["exec_none", "a%00b", "%FF%FE", "x" * 257])
async def test_what_can_be_no_id_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    """The same 404 for words that no execution can have."""
    for address in (path, f"{path}/data", f"{path}/logs", f"{path}/nodes/n/data"):
        response = await client.get(f"/v1/executions/{address}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "EXECUTION_NOT_FOUND")


async def test_unknown_nodes_are_not_found(client: httpx.AsyncClient) -> None:
    """Both addresses of a node say which one is missing."""
    for path in ("/v1/executions/exec_1/nodes/n/data", "/v1/executions/exec_1/data?nodeId=n"):
        response = await client.get(path)
        assert (response.status_code, response.json()["error"]["nodeId"]) == (404, "n")


@pytest.mark.parametrize("path", ["/v1/executions", "/v1/executions/exec_1", "/v1/executions/exec_1/logs"])
async def test_head_and_options_are_answered(client: httpx.AsyncClient, path: str) -> None:
    """HEAD like GET, OPTIONS with the methods."""
    assert (await client.head(path)).headers["monitor-position"]
    assert set((await client.options(path)).headers["allow"].split(", ")) == {"GET", "HEAD"}
    refused = await client.put(path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")


# --- teams -----------------------------------------------------------------------------------------------------------


async def test_another_team_sees_nothing(house: House, client: httpx.AsyncClient) -> None:
    """Its executions are not listed, not counted and not found, and a cursor does not carry over."""
    cursor = (await client.get("/v1/executions?limit=1")).json()["pagination"]["nextCursor"]
    async with house.client("rival") as rival:
        answer = (await rival.get("/v1/executions?limit=1")).json()
        assert ([row["id"] for row in answer["data"]], answer["pagination"]["total"]) == (["exec_rival"], 1)
        for path in ("exec_1", "exec_1/data", "exec_1/logs", "exec_1/nodes/n/data"):
            assert (await rival.get(f"/v1/executions/{path}")).status_code == 404
        assert (await rival.get(f"/v1/executions?limit=1&cursor={cursor}")).json()["error"]["code"] == "INVALID_CURSOR"


async def test_two_teams_may_use_one_id(house: House) -> None:
    """Each sees its own execution of that name."""
    async with house.client("acme") as acme, house.client("rival") as rival:
        for client, mode in ((acme, "manual"), (rival, "webhook")):
            event = started(8, executionId="exec_same", data={"mode": mode})
            assert (await client.post("/v1/events", json=event, headers=JSON)).status_code == 200
        await house.settle()
        modes = [(await client.get("/v1/executions/exec_same")).json()["mode"] for client in (acme, rival)]
    assert modes == ["manual", "webhook"]
