"""Pages of a log: in both orders and both directions, by text, each line once."""

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.executions import lines
from monitor.store import MemoryStore, open_sqlite_store
from tests.support.house import House, open_house

LOGS = "/v1/executions/exec_1/logs"
COUNT = 23


def appended(second: int, *messages: str, **line: Any) -> dict[str, Any]:
    """Lines of one moment."""
    return {
        "type": "log.appended",
        "executionId": "exec_1",
        "workflowId": "wf_1",
        "timestamp": f"2026-11-22T10:00:{second:02d}Z",
        "data": {"lines": [{"message": message, **line} for message in messages]},
    }


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service with a log, several lines of which are of one moment."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    house = await open_house(store)
    numbers = [str(number) for number in range(COUNT)]
    await house.tell(*(appended(at, *numbers[at : at + 5]) for at in range(0, COUNT, 5)))
    yield house
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the team."""
    async with house.client() as opened:
        yield opened


async def page(client: httpx.AsyncClient, **asked: Any) -> tuple[list[str], dict[str, Any]]:
    """Messages and pagination."""
    answer = await client.get(LOGS, params=asked)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["pagination"]["hasMore"] is (shown["pagination"]["nextCursor"] is not None)
    return [line["message"] for line in shown["logs"]], shown["pagination"]


async def walked(client: httpx.AsyncClient, link: str, **asked: Any) -> list[list[str]]:
    """The pages from one on, along their links."""
    pages: list[list[str]] = []
    cursor = asked.pop("cursor", None)
    while cursor is not None or not pages:
        messages, pagination = await page(client, **asked, **({} if cursor is None else {"cursor": cursor}))
        pages.append(messages)
        assert len(pages) <= COUNT + 2
        cursor = pagination[link]
    return pages


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 4, COUNT - 1, COUNT, 1000])
async def test_pages_hold_each_line_once_both_ways(client: httpx.AsyncClient, order: str, limit: int) -> None:
    """There and back again."""
    whole = [str(number) for number in range(COUNT)]
    whole = whole[::-1] if order == "desc" else whole
    pages = await walked(client, "nextCursor", order=order, limit=limit)
    assert [line for part in pages for line in part] == whole
    assert all(len(part) == limit for part in pages[:-1])
    _, pagination = await page(client, order=order, limit=limit)
    while cursor := pagination["nextCursor"]:
        _, pagination = await page(client, order=order, limit=limit, cursor=cursor)
    if cursor := pagination["previousCursor"]:
        back = await walked(client, "previousCursor", order=order, limit=limit, cursor=cursor)
        assert [line for part in reversed(back) for line in part] + pages[-1] == whole


async def test_log_without_anything_said_begins_with_the_oldest(client: httpx.AsyncClient) -> None:
    """On its first page nothing is before, on the last nothing behind."""
    messages, pagination = await page(client)
    assert messages == [str(number) for number in range(COUNT)]
    assert pagination == {"limit": 100, "hasMore": False, "nextCursor": None, "previousCursor": None}
    assert (await page(client, order="desc", limit=2))[0] == ["22", "21"]


async def test_what_is_written_meanwhile_moves_no_page(house: House, client: httpx.AsyncClient) -> None:
    """Older lines come up on the way back, newer ones at the end."""
    _, first = await page(client, limit=10)
    await house.tell(appended(0, "older", timestamp="2026-11-22T09:00:00Z"), appended(50, "newer"))
    messages, second = await page(client, limit=10, cursor=first["nextCursor"])
    assert messages == [str(number) for number in range(10, 20)]
    back, pagination = await page(client, limit=10, cursor=second["previousCursor"])
    assert back == [str(number) for number in range(10)]
    assert (await page(client, limit=10, cursor=pagination["previousCursor"]))[0] == ["older"]
    assert (await page(client, order="desc", limit=1))[0] == ["newer"]


async def test_text_is_found_whatever_its_case(house: House, client: httpx.AsyncClient) -> None:
    """In messages alone, also in letters beyond ASCII; with level, node and order."""
    await house.tell(
        appended(30, "Straße 100% gesperrt", level="warn", nodeId="n"),
        appended(31, "STRASSE frei"),
        appended(32, "x_y"),
    )
    assert (await page(client, q="strasse"))[0] == ["Straße 100% gesperrt", "STRASSE frei"]
    assert (await page(client, q="STRASSE", order="desc", limit=1))[0] == ["STRASSE frei"]
    assert (await page(client, q="strasse", level="warn", nodeId="n"))[0] == ["Straße 100% gesperrt"]
    assert (await page(client, q="%"))[0] == ["Straße 100% gesperrt"]
    assert (await page(client, q="_"))[0] == ["x_y"]
    assert (await page(client, q="nodeId"))[0] == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_by_text_hold_each_line_once(client: httpx.AsyncClient, order: str) -> None:
    """A next page is promised where there is one, and holds something."""
    whole = [str(number) for number in range(COUNT) if "1" in str(number)]
    pages = await walked(client, "nextCursor", order=order, limit=3, q="1")
    assert [line for part in pages for line in part] == (whole[::-1] if order == "desc" else whole)
    assert all(pages)


async def test_long_search_ends_early_and_goes_on(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little it finds, there and back."""
    monkeypatch.setattr(lines, "MOST_SEEN", 4)
    monkeypatch.setattr(lines, "_PORTION", 2)
    pages = await walked(client, "nextCursor", q="21", limit=5)
    assert [line for part in pages for line in part] == ["21"]
    assert len(pages) == 6
    cursor = (await page(client, q="21", limit=5))[1]["nextCursor"]
    middle = (await page(client, q="21", limit=5, cursor=cursor))[1]
    back = await walked(client, "previousCursor", q="21", limit=5, cursor=middle["previousCursor"])
    assert [line for part in back for line in part] == []


@pytest.mark.parametrize(("order", "text"), [("asc", "3"), ("desc", "19")])
async def test_way_back_from_an_empty_page_misses_nothing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, order: str, text: str
) -> None:
    """The line itself that it began behind is found again."""
    monkeypatch.setattr(lines, "MOST_SEEN", 4)
    monkeypatch.setattr(lines, "_PORTION", 2)
    found, first = await page(client, q=text, order=order)
    empty, second = await page(client, q=text, order=order, cursor=first["nextCursor"])
    back, _ = await page(client, q=text, order=order, cursor=second["previousCursor"])
    assert (found, empty, back) == ([text], [], [text])


async def test_cursor_of_another_question_is_refused(client: httpx.AsyncClient) -> None:
    """Another order, text, level, node, time or execution."""
    cursor = (await page(client, limit=2))[1]["nextCursor"]
    for other in ({"order": "desc"}, {"q": "1"}, {"level": "info"}, {"nodeId": "n"}, {"from": "2026-11-22T10:00:00Z"}):
        answer = await client.get(LOGS, params={**other, "limit": 2, "cursor": cursor})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_CURSOR"), other
    # The limit is none: pages may grow.
    assert len((await page(client, limit=5, cursor=cursor))[0]) == 5


async def test_neighbours_share_no_line(client: httpx.AsyncClient) -> None:
    """Not even where several are of one moment."""
    pages = await walked(client, "nextCursor", limit=2)
    assert all(not set(one) & set(other) for one, other in pairwise(pages))
