"""The raw history of an execution, its state as it was then, and lists that are paged both ways."""

import random
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.access.positions import position_token
from monitor.events.position import Position
from monitor.store import MemoryStore, open_sqlite_store
from tests.support.house import SEALER, House, open_house

LIST = "/v1/executions"
ONE = f"{LIST}/exec_1"


def event(kind: str, second: int, execution_id: str = "exec_1", **data: Any) -> dict[str, Any]:
    """An event of an execution at some second."""
    members = {"type": kind, "executionId": execution_id, "workflowId": "wf_1"}
    return {**members, "timestamp": f"2026-11-22T10:00:{second:02d}Z", "data": data}


STORY = (
    event("execution.queued", 0, trigger={"type": "webhook", "payload": {"a": 1}}),
    event("execution.started", 1, mode="webhook", inputData=[{"json": {"n": 1}}]),
    event("node.started", 2, nodeId="n1", nodeName="Fetch"),
    event("log.appended", 2, lines=[{"message": "hello", "level": "info"}]),
    event("node.completed", 3, nodeId="n1", outputData=[{"json": {"n": 2}}]),
    event("node.started", 4, nodeId="n2", nodeName="Send"),
    event("node.failed", 5, nodeId="n2", error={"type": "ConnectionError", "message": "no"}),
    event("execution.failed", 6, error={"type": "ConnectionError", "message": "no", "nodeId": "n2"}),
    event("execution.annotated", 7, note="looked at"),
)


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store, with three partitions."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store, partitions=3)
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the team."""
    async with house.client() as opened:
        yield opened


@pytest.fixture
async def told(house: House, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a service that was told the story."""
    await house.tell(*STORY)
    return client


async def whole(client: httpx.AsyncClient, address: str) -> dict[str, Any]:
    """The document at an address that answers."""
    answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_the_history_is_what_was_told(house: House, client: httpx.AsyncClient) -> None:
    """In order of arrival, with payloads, without repeats, and without what others were told."""
    for number, told in enumerate(STORY):
        await house.tell(told, event("execution.heartbeat", number, "exec_2"))
    await house.tell(STORY[2])
    history = await whole(client, f"{ONE}/events")
    assert [(it["type"], it["data"]) for it in history["events"]] == [(it["type"], it["data"]) for it in STORY]
    assert (history["removedEvents"], history["executionId"]) == (0, "exec_1")
    assert history["pagination"] == {"limit": 100, "hasMore": False, "nextCursor": None, "previousCursor": None}
    nodes = await whole(client, f"{ONE}/events?type=node.started,node.failed")
    assert [it["type"] for it in nodes["events"]] == ["node.started", "node.started", "node.failed"]


async def test_the_history_is_paged_both_ways(house: House, client: httpx.AsyncClient) -> None:
    """Forwards to its end and back again: the same pages; also where only some types are asked for."""
    kinds = ("execution.progress", "execution.heartbeat", "execution.heartbeat")
    await house.tell(*(event(kinds[n % 3], n % 60) | {"id": f"e{n}"} for n in range(450)))
    for asked, expected in (("", range(450)), ("&type=execution.progress", range(0, 450, 3))):
        base = f"{ONE}/events?limit=70{asked}"
        pages = [await whole(client, base)]
        while cursor := pages[-1]["pagination"]["nextCursor"]:
            pages.append(await whole(client, f"{base}&cursor={cursor}"))
        shown = [[it["id"] for it in page["events"]] for page in pages]
        assert list(chain(*shown)) == [f"e{n}" for n in expected]
        back, page = [], pages[-1]
        while cursor := page["pagination"]["previousCursor"]:
            page = await whole(client, f"{base}&cursor={cursor}")
            back.append([it["id"] for it in page["events"]])
        assert list(chain(*reversed(back))) == list(chain(*shown[:-1]))


async def test_what_retention_removed_is_counted(house: House, client: httpx.AsyncClient) -> None:
    """The rest is shown; a state of then cannot be folded any more."""
    await house.tell(*STORY)
    history = await whole(client, f"{ONE}/events")
    for partition, bounds in (await house.journal.bounds()).items():
        await house.journal.trim(partition, min(4, bounds.end))
    rest = await whole(client, f"{ONE}/events")
    assert (rest["removedEvents"], rest["events"]) == (4, history["events"][4:])
    gone = await client.get(ONE, params={"asOf": history["events"][-1]["position"]})
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "HISTORY_GONE")
    assert gone.json()["error"]["removedEvents"] == 4


async def test_an_execution_is_shown_as_it_was(house: House, client: httpx.AsyncClient) -> None:
    """At each of its positions it is what everybody saw then, with data and log; now it is what it is."""
    seen = []
    for told in STORY:
        await house.tell(told)
        seen.append(await client.get(f"{ONE}?include=data,logs"))
    history = await whole(client, f"{ONE}/events")
    for past, then in zip(history["events"], seen, strict=True):
        again = await client.get(ONE, params={"include": "data,logs", "asOf": past["position"]})
        assert (again.json(), again.headers["etag"]) == (then.json(), then.headers["etag"])
    now = await client.get(ONE, params={"include": "data,logs", "asOf": "2099-01-01T00:00:00Z"})
    assert now.json() == seen[-1].json()


@pytest.mark.parametrize(
    ("query", "status", "code", "field"),
    [
        ("?asOf=nonsense", 400, "INVALID_POSITION", "asOf"),
        ("?asOf=10:00", 400, "INVALID_REQUEST", "asOf"),
        ("?asOf=2020-01-01T00:00:00Z", 404, "EXECUTION_NOT_FOUND", None),
        ("?asOf=%00", 400, "INVALID_REQUEST", "asOf"),
        ("/events?limit=0", 400, "INVALID_REQUEST", "limit"),
        ("/events?limit=1001", 400, "INVALID_REQUEST", "limit"),
        ("/events?limit=-1", 400, "INVALID_REQUEST", "limit"),
        ("/events?cursor=abc", 400, "INVALID_CURSOR", "cursor"),
        ("/events?type=", 400, "INVALID_REQUEST", "type"),
        ("/events?types=a", 400, "INVALID_REQUEST", "types"),
    ],
)
async def test_wrong_questions_are_refused(
    told: httpx.AsyncClient, query: str, status: int, code: str, field: str | None
) -> None:
    """By name, with the documented code."""
    answer = await told.get(f"{ONE}{query}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("field")) == (status, code, field)


async def test_histories_belong_to_their_team(house: House, client: httpx.AsyncClient) -> None:
    """Another team's execution is not found, its cursors and foreign positions mean nothing."""
    await house.tell(*STORY)
    cursor = (await whole(client, f"{ONE}/events?limit=2"))["pagination"]["nextCursor"]
    async with house.client("rival") as rival:
        assert (await rival.get(f"{ONE}/events")).status_code == 404
        assert (await rival.get(f"{ONE}?asOf=2099-01-01T00:00:00Z")).status_code == 404
        await house.tell(*STORY, team="rival")
        refused = await rival.get(f"{ONE}/events?limit=2&cursor={cursor}")
        assert refused.json()["error"]["code"] == "INVALID_CURSOR"
    other = position_token(SEALER, Position("ffffffffffff", (9, 9, 9)))
    refused = await client.get(ONE, params={"asOf": other})
    assert refused.json()["error"]["code"] == "INVALID_POSITION"


@pytest.mark.parametrize("sort", ["startedAt", "-startedAt", "duration", "-duration"])
async def test_lists_are_stable_both_ways_while_executions_arrive(
    house: House, client: httpx.AsyncClient, sort: str
) -> None:
    """Walking there and back, at random: what was there all the time comes exactly once each way, in its order."""
    chance = random.Random(sort)
    for number in range(23):
        name = f"old_{number}"
        await house.tell(event("execution.started", number % 7, name))
        if number % 3:
            await house.tell(event("execution.completed", 30, name, duration=number % 5))
    base = f"{LIST}?limit=4&sort={sort}"
    before = [row["id"] for row in (await whole(client, f"{LIST}?limit=100&sort={sort}"))["data"]]
    page = await whole(client, base)
    assert page["pagination"]["previousCursor"] is None
    there = [row["id"] for row in page["data"]]
    for number in range(100):
        await house.tell(event("execution.started", chance.randrange(60), f"new_{number}"))
        if not (cursor := page["pagination"]["nextCursor"]):
            break
        page = await whole(client, f"{base}&cursor={cursor}")
        there += [row["id"] for row in page["data"]]
    back: list[str] = [row["id"] for row in reversed(page["data"])]
    while cursor := page["pagination"]["previousCursor"]:
        page = await whole(client, f"{base}&cursor={cursor}")
        assert page["pagination"]["hasMore"]
        back += [row["id"] for row in reversed(page["data"])]
    for walk in (there, back[::-1]):
        assert [name for name in walk if name.startswith("old")] == before
        assert len(set(walk)) == len(walk)


async def test_text_finds_errors_and_nodes(house: House, client: httpx.AsyncClient) -> None:
    """`q`, with filters and cursors that belong to it."""
    await house.tell(*STORY, event("execution.started", 0, "exec_2"), event("node.started", 1, "exec_2", nodeId="n1"))
    found = [(await whole(client, f"{LIST}?q={text}"))["data"] for text in ("connectionerror", "FETCH", "nothing")]
    assert [[row["id"] for row in rows] for rows in found] == [["exec_1"], ["exec_1", "exec_2"], []]
    page = await whole(client, f"{LIST}?q=fetch&limit=1")
    assert page["pagination"]["total"] == 2
    cursor = page["pagination"]["nextCursor"]
    for query, code in (("?limit=1", "INVALID_CURSOR"), ("?q=fetc&limit=1", "INVALID_CURSOR")):
        refused = await client.get(f"{LIST}{query}&cursor={cursor}")
        assert refused.json()["error"]["code"] == code
    for bad in ("", "%00", "a" * 201):
        assert (await client.get(f"{LIST}?q={bad}")).json()["error"]["field"] == "q"


async def test_a_page_of_large_events_ends_early(house: House, client: httpx.AsyncClient) -> None:
    """However many are asked for, an answer is of some megabytes; the pages join, both ways."""
    for number in range(24):
        await house.tell(event("log.appended", number, lines=[{"message": "x" * 900_000}]) | {"id": f"e{number}"})
    base = f"{ONE}/events?limit=1000"
    answers = [await client.get(base)]
    while cursor := answers[-1].json()["pagination"]["nextCursor"]:
        answers.append(await client.get(f"{base}&cursor={cursor}"))
    assert max(len(answer.content) for answer in answers) < 6 << 20
    shown = [[it["id"] for it in answer.json()["events"]] for answer in answers]
    assert list(chain(*shown)) == [f"e{number}" for number in range(24)]
    back, page = [], answers[-1].json()
    while cursor := page["pagination"]["previousCursor"]:
        page = await whole(client, f"{base}&cursor={cursor}")
        back.append([it["id"] for it in page["events"]])
    assert list(chain(*reversed(back))) == list(chain(*shown[:-1]))


async def test_a_state_of_too_many_bytes_is_refused(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events are held together while they are folded."""
    monkeypatch.setattr("monitor.executions.history.MOST_FOLDED_BYTES", 2_000_000)
    for number in range(3):
        await house.tell(event("log.appended", number, lines=[{"message": "x" * 900_000}]) | {"id": f"e{number}"})
    now = (await whole(client, f"{ONE}/events"))["events"]
    assert (await client.get(ONE, params={"asOf": now[1]["position"]})).status_code == 200
    refused = await client.get(ONE, params={"asOf": now[2]["position"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
