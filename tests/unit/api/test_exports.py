"""Exports hold every row of their list once, in each form, and no formula."""

import csv
import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.access.principal import Principal
from monitor.events.position import Position
from monitor.executions.contents import Found
from monitor.executions.exports import PAGE_ROWS, Exports
from monitor.executions.pages import Listed
from monitor.executions.reads import Asked, Reading, Reads
from monitor.projections.filter import Filter
from monitor.store import MemoryStore, open_sqlite_store
from monitor.web.export_rows import COLUMNS
from tests.support.house import House, open_house

EXPORT = "/v1/executions/export"
TRIGGER = {"type": "webhook", "source": "github", "payload": {"secret": 1}}


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service with some executions, over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    house = await open_house(store)
    for number in range(12):
        data = {"workflowName": f"Flow {number}", "mode": "webhook", "trigger": TRIGGER, "tags": ["a", "b"]}
        await house.tell(told("started", number, **data, inputData=[{"n": number}]), told("completed", number))
    error = {"type": "=cmd()", "message": '=HYPERLINK("http://evil")', "nodeId": "-1"}
    await house.tell(told("started", 90), told("failed", 90, error=error, duration=1.5))
    await house.tell(told("started", 91), team="other")
    yield house
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Of the team that has them."""
    async with house.client() as client:
        yield client


def told(name: str, number: int, **data: Any) -> dict[str, Any]:
    """An event of one of the executions."""
    time = f"2026-11-22T10:{number % 60:02}:{'00' if name == 'started' else '30'}Z"
    members = {"type": f"execution.{name}", "executionId": f"exec_{number}", "workflowId": "wf_1", "timestamp": time}
    return members | {"data": data}


async def test_csv_is_what_the_list_says(client: httpx.AsyncClient) -> None:
    """One line each, newest first; what a spreadsheet would calculate is text; numbers stay numbers."""
    answer = await client.get(EXPORT)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["monitor-total"] == "13"
    assert answer.headers["content-disposition"].startswith('attachment; filename="executions-')
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert head == list(COLUMNS)
    listed = (await client.get("/v1/executions", params={"limit": 100})).json()["data"]
    assert [row[0] for row in rows] == [row["id"] for row in listed]
    by_id = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    broken, first = by_id["exec_90"], by_id["exec_0"]
    assert (broken["errorType"], broken["errorNodeId"], broken["duration"]) == ("'=cmd()", "'-1", "1.5")
    assert broken["errorMessage"] == '\'=HYPERLINK("http://evil")'
    assert (first["triggerType"], first["tags"], first["duration"]) == ("webhook", "a,b", "30.0")
    assert "exec_91" not in by_id


@pytest.mark.parametrize("format_", ["json", "ndjson"])
@pytest.mark.parametrize("include", ["", "data"])
async def test_documents_are_those_of_the_list(client: httpx.AsyncClient, format_: str, include: str) -> None:
    """With payloads where they are asked for."""
    more = {"include": include} if include else {}
    answer = await client.get(EXPORT, params={"format": format_, **more})
    found = answer.json()["data"] if format_ == "json" else [json.loads(line) for line in answer.text.splitlines()]
    assert found == (await client.get("/v1/executions", params={"limit": 100, **more})).json()["data"]
    assert ("inputData" in found[-1]) is bool(include)


async def test_filter_order_and_columns_are_obeyed(client: httpx.AsyncClient) -> None:
    """As in lists; columns in the order in which they are named."""
    query = {"filter[status]": "success", "sort": "startedAt", "columns": "status,id"}
    answer = await client.get(EXPORT, params=query)
    assert answer.text.split("\r\n")[:3] == ["status,id", "success,exec_0", "success,exec_1"]
    assert answer.headers["monitor-total"] == "12"


@pytest.mark.parametrize("format_", ["csv", "json", "ndjson"])
async def test_nothing_is_exported_as_nothing(client: httpx.AsyncClient, format_: str) -> None:
    """An empty file of its form."""
    answer = await client.get(EXPORT, params={"format": format_, "filter[status]": "crashed", **only_ids(format_)})
    assert answer.text == {"csv": "id\r\n", "json": '{"data":[]}', "ndjson": ""}[format_]


def only_ids(format_: str) -> dict[str, str]:
    """Of a CSV, one column."""
    return {"columns": "id"} if format_ == "csv" else {}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("format=xml", "format"),
        ("sort=duration", "sort"),
        ("columns=id,nmae", "columns"),
        ("columns=", "columns"),
        ("columns=id,id", "columns"),
        ("format=json&columns=id", "columns"),
        ("include=data", "include"),
        ("include=logs", "include"),
        ("limit=5", "limit"),
        ("filter[state]=failed", "filter[state]"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    """Before anything is sent."""
    answer = await client.get(f"{EXPORT}?{query}")
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["field"] == field


class Endless(Reads):
    """A list of as many pages as are asked for, each the same."""

    def __init__(self, pages: int, page: Reading[Listed]) -> None:
        self.left, self._page = pages, page

    async def listed(self, who: Principal, asked: Asked, at_least: Position | None) -> Reading[Listed]:
        assert (asked.counted is None) is (asked.after is None)
        self.left -= 1
        keys = range(self.left * PAGE_ROWS, (self.left + 1) * PAGE_ROWS)
        page = self._page.value._replace(after=(1, self.left) if self.left else None, keys=keys)
        return self._page._replace(value=page)


async def test_memory_is_that_of_a_page(house: House) -> None:
    """Twenty times the rows take no more of it; each page is asked for when the one before is gone."""
    who, asked = Principal("acme", "tester", "admin"), Asked(Filter(), "-startedAt", 1, None, with_data=False)
    listed, position = await house.reads.listed(who, asked._replace(limit=100), None)
    rows: list[Found] = (listed.rows * PAGE_ROWS)[:PAGE_ROWS]
    peaks = []
    for pages in (2, 40):
        exports = Exports(Endless(pages, Reading(listed._replace(rows=rows), position)))
        tracemalloc.start()
        export = await exports.begin(who, asked, None)
        count = 0
        async for page in export.pages:
            count += len([str(found) for found in page])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == pages * PAGE_ROWS
    assert peaks[1] < 1.2 * peaks[0]


async def test_every_row_comes_once_while_others_begin(house: House, client: httpx.AsyncClient) -> None:
    """Over several pages; what begins meanwhile is newer than all, and stays out."""
    await house.tell(*(told("started", 100 + number) for number in range(2 * PAGE_ROWS)))
    asked = Asked(Filter(), "-startedAt", 1, None, with_data=False)
    export = await Exports(house.reads).begin(Principal("acme", "tester", "admin"), asked, None)
    seen: list[str] = []
    async for page in export.pages:
        seen += [found.summary.id for found in page]
        late = told("started", 5000 + len(seen)) | {"timestamp": "2026-11-23T00:00:00Z"}
        await house.tell(late)
    assert len(seen) == len(set(seen)) == export.total == 13 + 2 * PAGE_ROWS
    assert not [id_ for id_ in seen if int(id_.removeprefix("exec_")) > 5000]
