"""Deleting and annotating by HTTP: one event each, visible when the answer comes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.commanding import CommandHouse, commanding


@pytest.fixture
async def house() -> AsyncIterator[CommandHouse]:
    """With an execution that runs, and one that has ended."""
    async with commanding() as house:
        await house.tell(event("execution.started", "exec_running"), event("execution.completed", "exec_ended"))
        yield house


@pytest.fixture
async def client(house: CommandHouse) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's."""
    async with house.client() as client:
        yield client


def event(type_: str, execution_id: str, **data: Any) -> dict[str, Any]:
    """An event of some engine."""
    about = {"executionId": execution_id, "workflowId": "wf_1", "timestamp": "2023-12-06T10:30:00Z", "source": "e"}
    return {"type": type_, **about, "data": {"tags": ["first"], **data}}


async def test_a_deleted_execution_is_gone(client: httpx.AsyncClient) -> None:
    """204, then 404 wherever it is looked for; a second deletion finds nothing."""
    assert (await client.delete("/v1/executions/exec_ended")).status_code == 204
    assert (await client.get("/v1/executions/exec_ended")).status_code == 404
    assert [row["id"] for row in (await client.get("/v1/executions")).json()["data"]] == ["exec_running"]
    again = await client.delete("/v1/executions/exec_ended")
    assert (again.status_code, again.json()["error"]["code"]) == (404, "EXECUTION_NOT_FOUND")


async def test_what_runs_is_deleted_by_force_alone(client: httpx.AsyncClient) -> None:
    """Otherwise 409 with its status and the cure."""
    answer = await client.delete("/v1/executions/exec_running")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (409, "CANNOT_DELETE_EXECUTION", "running")
    assert (await client.get("/v1/executions/exec_running")).status_code == 200
    assert (await client.delete("/v1/executions/exec_running?force=true")).status_code == 204
    assert (await client.get("/v1/executions/exec_running")).status_code == 404


async def test_a_note_is_taken_and_taken_back(client: httpx.AsyncClient) -> None:
    """Members that are left out stay; null takes one back, and tags become those that it started with."""
    at = "/v1/executions/exec_ended"
    noted = (await client.patch(at, json={"tags": ["a", "b"], "vote": "up", "note": "odd"})).json()
    assert (noted["tags"], noted["annotation"]) == (["a", "b"], {"tags": ["a", "b"], "vote": "up", "note": "odd"})
    changed = (await client.patch(at, json={"vote": "down", "note": None})).json()
    assert (changed["tags"], changed["annotation"]) == (["a", "b"], {"tags": ["a", "b"], "vote": "down"})
    bare = (await client.patch(at, json={"tags": None, "vote": None})).json()
    assert bare["tags"] == ["first"]
    assert "annotation" not in bare
    answer = await client.get(at)
    assert (answer.json(), answer.headers["etag"]) == (bare, f'"{bare["version"]}"')


async def test_an_execution_is_found_by_its_tags(client: httpx.AsyncClient) -> None:
    """At once."""
    await client.patch("/v1/executions/exec_ended", json={"tags": ["urgent"]})
    found = (await client.get("/v1/executions?filter[tag]=urgent")).json()["data"]
    assert [row["id"] for row in found] == ["exec_ended"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"vote": "sideways"}, "vote"),
        ({"tags": "a"}, "tags"),
        ({"tags": [""]}, None),
        ({"tags": ["x"] * 51}, "tags"),
        ({"notes": "a"}, "notes"),
        ({"note": "x" * 10_001}, "note"),
        ({"note": 7}, "note"),
    ],
)
async def test_what_is_no_note_is_refused(client: httpx.AsyncClient, body: Any, field: str | None) -> None:
    """400 naming the member."""
    answer = await client.patch("/v1/executions/exec_ended", json=body)
    assert answer.status_code == 400
    assert field is None or answer.json()["error"]["field"] == field
    assert "annotation" not in (await client.get("/v1/executions/exec_ended")).json()


async def test_another_teams_execution_is_not_there(house: CommandHouse) -> None:
    """Neither to be deleted nor to be annotated."""
    async with house.client(team="else") as stranger:
        assert (await stranger.delete("/v1/executions/exec_ended?force=true")).status_code == 404
        assert (await stranger.patch("/v1/executions/exec_ended", json={"vote": "up"})).status_code == 404
