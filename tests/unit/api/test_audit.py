"""`GET /v1/audit`, and who may send history: over the whole application and a real store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.app import Parts, create_app, open_parts
from monitor.settings import read_settings
from tests.support.contract.checked import CHECKED
from tests.support.tokens import add_token, bearer, make_token


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A service that asks for tokens, without a server."""
    async with open_parts(read_settings({}, data=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the token of an administrator, at 192.0.2.7."""
    headers = bearer(await add_token(parts.store, "ada"))
    transport = httpx.ASGITransport(create_app(parts), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://monitor", headers=headers, event_hooks=CHECKED
    ) as client:
        yield client


async def test_audit_is_told_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    """Each line once, with who, what, to what, from where, and details without secrets."""
    made = [(await client.post("/v1/tokens", json={"name": n, "role": "viewer"})).json() for n in "abc"]
    await client.delete(f"/v1/tokens/{made[0]['id']}")
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/audit", params={"limit": 3, **cursor})).json()
        rows += page["data"]
        if not page["pagination"]["hasMore"]:
            break
        cursor = {"cursor": page["pagination"]["nextCursor"]}
    assert [(row["action"], row["object"]) for row in rows] == [
        ("token.revoke", made[0]["id"]),
        *(("token.create", it["id"]) for it in reversed(made)),
    ]
    assert {name: said for name, said in rows[0].items() if name != "timestamp"} == {
        "principal": "ada",
        "tokenId": make_token("ada").id,
        "address": "192.0.2.7",
        "action": "token.revoke",
        "object": made[0]["id"],
        "outcome": "done",
        "detail": {"name": "a", "role": "viewer", "scopes": None},
    }
    other = await client.get("/v1/audit", params={**cursor, "action": "token.create"})
    assert other.json()["error"]["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize(
    ("tests", "count"),
    [
        ({"action": "token.create"}, 2),
        ({"action": "token"}, 0),
        ({"principal": "ada"}, 2),
        ({"principal": "bob"}, 0),
        ({"object": "tok_none"}, 0),
    ],
)
async def test_audit_is_narrowed(client: httpx.AsyncClient, tests: dict[str, str], count: int) -> None:
    """By exact words."""
    for name in "ab":
        await client.post("/v1/tokens", json={"name": name, "role": "viewer"})
    assert len((await client.get("/v1/audit", params=tests)).json()["data"]) == count


async def test_what_becomes_of_a_webhook_is_in_the_audit(client: httpx.AsyncClient) -> None:
    """Each change with its word, none where nothing changed, and no secret in any."""
    asked = {"url": "https://example.com/secret-path", "events": ["execution.failed"], "name": "n"}
    made = (await client.post("/v1/webhooks", json=asked)).json()
    address = f"/v1/webhooks/{made['id']}"
    await client.patch(address, json={"name": "m"})
    for _ in range(2):
        await client.post(f"{address}/pause")
    await client.post(f"{address}/resume")
    rotated = (await client.post(f"{address}/secret/rotate")).json()
    await client.post(f"{address}/secret/revoke")
    await client.delete(address)
    await client.delete(address)
    answer = await client.get("/v1/audit", params={"object": made["id"]})
    assert [row["action"].removeprefix("webhook.") for row in reversed(answer.json()["data"])] == [
        *("create", "change", "pause", "resume", "rotate-secret", "revoke-secrets", "remove"),
    ]
    for secret in (made["secret"], rotated["secret"], "secret-path"):
        assert secret not in answer.text


async def test_history_is_taken_from_who_may_send_it(client: httpx.AsyncClient, parts: Parts) -> None:
    """Without the scope each item of it is refused by name, and its neighbours are taken."""
    event = {"type": "execution.started", "timestamp": "2026-11-22T10:30:00Z"}
    items = [{**event, "executionId": "old", "backfill": True}, {**event, "executionId": "new"}]
    builder = bearer(await add_token(parts.store, "b", role="builder"))
    answer = (await client.post("/v1/events", json=items, headers=builder)).json()
    assert [it["verdict"] for it in answer["results"]] == ["rejected", "accepted"]
    fault = answer["results"][0]["error"]
    assert (fault["code"], fault["field"]) == ("forbidden_backfill", "backfill")
    assert "events:backfill" in fault["message"]
    alone = await client.post("/v1/events", json=items[0], headers=builder)
    assert (alone.status_code, alone.json()["error"]["reason"]) == (400, "forbidden_backfill")
    by_admin = (await client.post("/v1/events", json=items)).json()
    assert [it["verdict"] for it in by_admin["results"]] == ["accepted", "duplicate"]
