"""`?reveal=true`: secrets for those who may see them, never without a line in the audit."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.app import Parts, create_app, open_parts
from monitor.errors import StoreUnavailable
from monitor.executions.audit import Audit
from monitor.settings import read_settings
from tests.support.contract.checked import CHECKED
from tests.support.tokens import add_token, bearer

ONE = "/v1/executions/exec_1"
SECRET = "hunter2-of-the-mint"
DOORS = (
    f"{ONE}/data",
    f"{ONE}/data?nodeId=n1",
    f"{ONE}/data?format=csv",
    f"{ONE}/data?format=raw",
    f"{ONE}/nodes/n1/data",
    f"{ONE}/nodes/n1/data?iteration=0",
    f"{ONE}/events",
)


def event(kind: str, second: int, **data: Any) -> dict[str, Any]:
    """An event of the execution at some second."""
    members = {"type": kind, "executionId": "exec_1", "workflowId": "wf_1", "id": f"{kind}-{second}"}
    return {**members, "timestamp": f"2026-11-22T10:00:{second:02d}Z", "data": data}


STORY = (
    event("execution.started", 1, inputData=[{"json": {"password": SECRET}}]),
    event("node.completed", 2, nodeId="n1", outputData=[{"json": {"token": f"first {SECRET}"}}]),
    event("node.completed", 3, nodeId="n1", iteration=1, outputData=[{"json": {"token": SECRET}}]),
    event("node.completed", 4, nodeId="n2", outputData=[{"json": {"n": 2}}]),
)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A service that asks for tokens, without a server."""
    async with open_parts(read_settings({}, data=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an administrator, of a service that was told the story."""
    headers = bearer(await add_token(parts.store, "ada"))
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://monitor", headers=headers, event_hooks=CHECKED
    ) as client:
        await client.post("/v1/events", json=list(STORY))
        await parts.pipeline.catch_up()
        yield client


def revealing(door: str) -> str:
    """The same address with the wish."""
    return f"{door}{'&' if '?' in door else '?'}reveal=true"


async def lines(client: httpx.AsyncClient) -> list[tuple[str, str, str, dict[str, Any]]]:
    """The audit's lines about reveals, oldest first."""
    page = (await client.get("/v1/audit", params={"action": "execution.reveal"})).json()
    return [(row["principal"], row["object"], row["outcome"], row["detail"]) for row in reversed(page["data"])]


async def test_secrets_are_shown_with_a_line_in_the_audit(client: httpx.AsyncClient) -> None:
    """At every door that has the wish; without it, or with `false`, they are masked and nothing is noted."""
    for door in DOORS:
        for plain in (door, revealing(door).replace("true", "false")):
            masked = await client.get(plain)
            assert masked.status_code == 200, masked.text
            assert SECRET not in masked.text
            assert "***" in masked.text
    assert await lines(client) == []
    for door in DOORS:
        shown = await client.get(revealing(door))
        assert shown.status_code == 200, shown.text
        assert SECRET in shown.text
        assert "***" not in shown.text
        assert shown.headers["cache-control"] == "no-store"
    told = [("ada", "exec_1", "done", {"of": of}) for of in ("data", "node", "data", "data", "node", "node", "events")]
    assert [(*line[:3], {"of": line[3]["of"]}) for line in await lines(client)] == told
    assert [line[3].get("nodeId") for line in await lines(client)] == [None, "n1", None, None, "n1", "n1", None]


async def test_what_is_revealed_is_what_was_told(client: httpx.AsyncClient) -> None:
    """The latest run of each node, and the events; all that is not secret is as without the wish."""
    data = (await client.get(revealing(f"{ONE}/data"))).json()
    masked = (await client.get(f"{ONE}/data")).json()
    assert data["nodes"]["n1"]["output"] == [{"json": {"token": SECRET}}]
    assert (data["nodes"]["n2"], list(data["nodes"])) == (masked["nodes"]["n2"], list(masked["nodes"]))
    history = (await client.get(revealing(f"{ONE}/events"))).json()
    assert [it["data"] for it in history["events"]] == [it["data"] for it in STORY]


@pytest.mark.parametrize("door", DOORS)
async def test_who_may_not_is_refused_and_noted(parts: Parts, client: httpx.AsyncClient, door: str) -> None:
    """Also where nothing is masked, where there is no such execution, and who may not see data at all."""
    narrow = await add_token(parts.store, "bob", role="operator")
    viewer = await add_token(parts.store, "eve", role="viewer")
    for name, token, address in (
        ("bob", narrow, door),
        ("bob", narrow, door.replace("exec_1", "exec_0")),
        ("eve", viewer, door),
    ):
        answer = await client.get(revealing(address), headers=bearer(token))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "INSUFFICIENT_PERMISSIONS"), name
        assert SECRET not in answer.text
    found = await lines(client)
    assert [line[:3] for line in found] == [
        ("bob", "exec_1", "refused"),
        ("bob", "exec_0", "refused"),
        ("eve", "exec_1", "refused"),
    ]
    assert {line[3]["code"] for line in found} == {"INSUFFICIENT_PERMISSIONS"}


@pytest.mark.parametrize("door", DOORS)
async def test_what_is_not_there_is_not_revealed(parts: Parts, client: httpx.AsyncClient, door: str) -> None:
    """Another team's, one that nobody has, one that was deleted: all the same, and noted."""
    other = bearer(await add_token(parts.store, "zoe", team="zeta"))
    foreign = await client.get(revealing(door), headers=other)
    unknown = await client.get(revealing(door.replace("exec_1", "exec_0")))
    gone = event("execution.deleted", 9)
    await client.post("/v1/events", json=gone)
    await parts.pipeline.catch_up()
    deleted = await client.get(revealing(door))
    for answer in (foreign, unknown, deleted):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "EXECUTION_NOT_FOUND"), answer.text
        assert SECRET not in answer.text
    assert [line[2] for line in await lines(client)] == ["refused", "refused"]
    found = (await client.get("/v1/audit", headers=other)).json()["data"]
    assert [row["outcome"] for row in found] == ["refused"]


async def test_nothing_is_put_together_from_a_part_of_the_journal(parts: Parts, client: httpx.AsyncClient) -> None:
    """410, noted; the history shows what is left, and counts what is not."""
    (bounds,) = (await parts.journal.bounds()).values()
    await parts.journal.trim(0, bounds.start + 1)
    for door in DOORS[:-1]:
        answer = await client.get(revealing(door))
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "HISTORY_GONE"), answer.text
    rest = (await client.get(revealing(DOORS[-1]))).json()
    assert (rest["removedEvents"], [it["data"] for it in rest["events"]]) == (1, [it["data"] for it in STORY[1:]])
    assert [line[2] for line in await lines(client)] == ["refused"] * 6 + ["done"]


@pytest.mark.parametrize("door", DOORS)
async def test_nothing_is_revealed_without_the_audit(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """Where it cannot be written, the answer is an outage."""

    async def fails(*_args: Any, **_more: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(Audit, "record", fails)
    answer = await client.get(revealing(door))
    assert answer.status_code == 503, answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize("said", ["reveal=1", "reveal=", "reveal=true&reveal=false", "reveal=TRUE"])
async def test_wrong_wishes_are_refused(client: httpx.AsyncClient, said: str) -> None:
    """By name."""
    for door in DOORS:
        answer = await client.get(f"{door}{'&' if '?' in door else '?'}{said}")
        assert (answer.status_code, answer.json()["error"].get("field")) == (400, "reveal"), answer.text
