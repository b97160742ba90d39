"""The kin of an execution: retries up and down, parent and children, of its own team, whatever producers tell."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.executions import lineage
from monitor.store import MemoryStore, open_sqlite_store
from tests.support.house import House, open_house


def told(id_: str, second: int = 0, /, type_: str = "execution.started", **data: Any) -> dict[str, Any]:
    """An event of an execution."""
    timestamp = f"2026-11-22T10:00:{second:02d}Z"
    return {"type": type_, "executionId": id_, "workflowId": "wf_1", "timestamp": timestamp, "data": data}


@pytest.fixture(params=["memory", "sqlite"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A service over each store."""
    store = MemoryStore() if request.param == "memory" else await open_sqlite_store(tmp_path / "store.db")
    yield await open_house(store)
    await store.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the team."""
    async with house.client() as opened:
        yield opened


async def kin(client: httpx.AsyncClient, id_: str, **asked: Any) -> dict[str, Any]:
    """The lineage, with ids in place of executions."""
    answer = await client.get(f"/v1/executions/{id_}/lineage", params=asked)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    for name in ("retryOf", "retries", "children"):
        shown[name] = [row["id"] for row in shown[name]]
    return shown


async def test_retries_are_followed_both_ways(house: House, client: httpx.AsyncClient) -> None:
    """Up the nearest first; down by generation and start."""
    await house.tell(
        told("a"),
        told("b", 1, retryOf="a"),
        told("c", 3, retryOf="b"),
        told("d", 2, retryOf="b"),
        told("e", 4, retryOf="d"),
    )
    shown = await kin(client, "b")
    assert (shown["retryOf"], shown["retries"]) == (["a"], ["d", "c", "e"])
    assert ((await kin(client, "e"))["retryOf"], (await kin(client, "e"))["retries"]) == (["d", "b", "a"], [])
    assert (shown["moreRetryOf"], shown["moreRetries"], shown["parent"], shown["childrenByStatus"]) == (
        False,
        False,
        None,
        {},
    )
    row = (await client.get("/v1/executions/c/lineage")).json()["retryOf"][0]
    assert row == {
        "id": "b",
        "workflowId": "wf_1",
        "workflowName": None,
        "status": "running",
        "startedAt": "2026-11-22T10:00:01.000Z",
        "retryOf": "a",
    }


async def test_rings_and_long_chains_end(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is shown twice, nor is anybody one's own kin."""
    await house.tell(told("a", retryOf="b"), told("b", 1, retryOf="a"), told("self", retryOf="self"))
    assert [(await kin(client, "a"))[name] for name in ("retryOf", "retries")] == [["b"], ["b"]]
    assert [(await kin(client, "self"))[name] for name in ("retryOf", "retries")] == [[], []]
    monkeypatch.setattr(lineage, "MOST_KIN", 3)
    await house.tell(*(told(f"n{at}", at, **({"retryOf": f"n{at - 1}"} if at else {})) for at in range(9)))
    shown = await kin(client, "n4")
    assert (shown["retryOf"], shown["moreRetryOf"]) == (["n3", "n2", "n1"], True)
    assert (shown["retries"], shown["moreRetries"]) == (["n5", "n6", "n7"], True)
    assert (await kin(client, "n3"))["moreRetryOf"] is False
    assert (await kin(client, "n5"))["moreRetries"] is False
    await house.tell(*(told(f"s{at}", at, retryOf="self") for at in range(1, 5)))
    shown = await kin(client, "self")
    assert (shown["retries"], shown["moreRetries"]) == (["s1", "s2", "s3"], True)


async def test_children_come_in_pages_with_their_number_by_status(house: House, client: httpx.AsyncClient) -> None:
    """Counted over all pages, which are read both ways."""
    parent: dict[str, Any] = {"parent": {"executionId": "top", "nodeId": "n"}}
    await house.tell(
        told("top"),
        *(told(f"c{at}", at, **parent) for at in range(5)),
        told("c1", 9, "execution.completed"),
        told("c2", 9, "execution.failed"),
    )
    first = await kin(client, "top", limit=2)
    assert first["children"] == ["c0", "c1"]
    assert first["childrenByStatus"] == {"running": 3, "success": 1, "failed": 1}
    assert (first["pagination"]["total"], first["pagination"]["hasMore"]) == (5, True)
    second = await kin(client, "top", limit=2, cursor=first["pagination"]["nextCursor"])
    assert second["children"] == ["c2", "c3"]
    back = await kin(client, "top", limit=2, cursor=second["pagination"]["previousCursor"])
    assert (back["children"], back["pagination"]["previousCursor"]) == (["c0", "c1"], None)
    assert (await kin(client, "c3"))["parent"]["id"] == "top"
    other = await client.get("/v1/executions/c3/lineage", params={"cursor": first["pagination"]["nextCursor"]})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "INVALID_CURSOR")


async def test_what_is_deleted_foreign_or_unheard_of_is_absent(house: House, client: httpx.AsyncClient) -> None:
    """On every side; the execution itself is then not found."""
    about: dict[str, Any] = {"retryOf": "gone", "parent": {"executionId": "theirs"}}
    await house.tell(told("gone"), told("me", 1, **about), told("child", 2, parent={"executionId": "me"}))
    await house.tell(told("theirs"), told("spy", retryOf="me", parent={"executionId": "me"}), team="rival")
    await house.tell(told("gone", 3, "execution.deleted"), told("child", 3, "execution.deleted"))
    await house.tell(told("odd", retryOf="a\u0000b", parent={"executionId": "x" * 300}))
    shown = await kin(client, "me")
    assert [shown[name] for name in ("retryOf", "retries", "parent", "children")] == [[], [], None, []]
    assert (await kin(client, "odd"))["retryOf"] == []
    for unknown in ("gone", "theirs", "never"):
        answer = await client.get(f"/v1/executions/{unknown}/lineage")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "EXECUTION_NOT_FOUND")
