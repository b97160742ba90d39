"""`/v1/quarantine`: records that could not be applied are seen, left out and replayed, over the whole application."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.app import Parts, create_app, open_parts
from monitor.events.model import TEAM_HEADER, Entry, Poison, Record
from monitor.projections.fold import Changes
from monitor.settings import read_settings
from monitor.store import Commit
from tests.support.tokens import add_token, bearer

SECRET = "hunter2-of-the-mint"
NO_EVENT = (
    f'{{"type": "execution.started", "password": "{SECRET}", "data": {{"customer": "ann@example.com"}}}}'.encode()
)
GOOD = json.dumps(
    {"type": "execution.started", "executionId": "e1", "timestamp": "2026-11-22T10:00:00Z", "workflowId": "wf"}
).encode()
OF_ACME = ((TEAM_HEADER, b"acme"),)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A service that asks for tokens, without a server."""
    async with open_parts(read_settings({}, data=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an administrator of the team acme."""
    async with client_of(parts, await add_token(parts.store, "ada")) as client:
        yield client


def client_of(parts: Parts, token: str) -> httpx.AsyncClient:
    """Who shows that token."""
    transport = httpx.ASGITransport(create_app(parts))
    return httpx.AsyncClient(transport=transport, base_url="http://monitor", headers=bearer(token))


async def came_in(parts: Parts, *values: bytes, headers: tuple[tuple[str, bytes], ...] = OF_ACME) -> None:
    """Have the journal hold these, past intake, and the pipeline read them."""
    await parts.journal.append([Entry(b"k", value, headers) for value in values])
    await parts.pipeline.catch_up()


async def refused_before(parts: Parts, value: bytes, team: str = "acme") -> None:
    """A record that an earlier version of these rules refused."""
    record = Record(0, 999, b"k", value, ((TEAM_HEADER, team.encode()),), 1)
    changes = Changes(poison=[Poison(record, "invalid_field", "data", "as it was then", team)])
    await parts.store.write(lambda writer: writer.commit(Commit(changes, {}, ())))


async def listed(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    """What the list shows."""
    answer = await client.get("/v1/quarantine", params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


async def told(client: httpx.AsyncClient) -> list[tuple[str, str, str, Any]]:
    """The audit, oldest first."""
    rows = (await client.get("/v1/audit")).json()["data"]
    return [(row["action"], row["object"], row["outcome"], row["detail"].get("code")) for row in reversed(rows)]


async def test_records_are_listed_newest_first_page_by_page(parts: Parts, client: httpx.AsyncClient) -> None:
    """Each with its place, reason and size, narrowed by what is asked; a cursor belongs to its question."""
    await came_in(parts, b"no event", b"{}", b"neither", NO_EVENT)
    newest = (await listed(client, limit=1))[0]
    assert newest == {
        "id": "qr_000000000004",
        "partition": 0,
        "offset": 3,
        "storedAt": newest["storedAt"],
        "reason": "missing_field",
        "field": "executionId",
        "message": "'executionId' is required",
        "size": len(NO_EVENT),
        "state": "undecided",
        "decidedAt": None,
        "decidedBy": None,
    }
    assert [row["offset"] for row in await listed(client, reason="malformed_json")] == [2, 0]
    assert await listed(client, partition=1) == []
    assert await listed(client, until=newest["storedAt"][:-5] + "Z", since="2026-01-01T00:00:00Z", limit=100) == []
    first = (await client.get("/v1/quarantine", params={"limit": 3})).json()
    cursor = first["pagination"]["nextCursor"]
    assert [row["offset"] for row in await listed(client, limit=3, cursor=cursor)] == [0]
    other = await client.get("/v1/quarantine", params={"cursor": cursor, "reason": "empty"})
    assert other.json()["error"]["code"] == "INVALID_CURSOR"


@pytest.mark.parametrize(
    "said", ["state=open", "limit=0", "partition=-1", "since=yesterday", "reason=", "stat=accepted"]
)
async def test_question_that_is_none_is_refused(client: httpx.AsyncClient, said: str) -> None:
    """With the name of what is wrong."""
    answer = await client.get(f"/v1/quarantine?{said}")
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == said.partition("=")[0]


async def test_bytes_are_shown_masked_and_revealed_with_a_line_in_the_audit(
    parts: Parts, client: httpx.AsyncClient
) -> None:
    """As base64, and as text where they are some; what is no JSON is masked as text."""
    await came_in(parts, NO_EVENT, b"\xff password=" + SECRET.encode())
    text, raw = [(await client.get(f"/v1/quarantine/{row['id']}")).json() for row in reversed(await listed(client))]
    for shown in (text, raw):
        assert SECRET not in str(shown) + base64.b64decode(shown["value"]["base64"]).decode(errors="replace")
    assert json.loads(text["value"]["text"])["data"] == {"customer": "[email]"}
    assert base64.b64decode(text["value"]["base64"]).decode() == text["value"]["text"]
    assert (raw["value"]["text"], base64.b64decode(raw["value"]["base64"])) == (None, b"\xff password=***")
    assert text["key"] == {"base64": "aw==", "text": "k"}
    assert await told(client) == []
    revealed = (await client.get(f"/v1/quarantine/{text['id']}", params={"reveal": "true"})).json()
    assert revealed["value"]["text"] == NO_EVENT.decode()
    blind = await add_token(parts.store, "eve", scopes=("admin",))
    refused = await client.get(f"/v1/quarantine/{text['id']}?reveal=true", headers=bearer(blind))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "INSUFFICIENT_PERMISSIONS")
    viewer = await add_token(parts.store, "vic", role="viewer")
    assert (await client.get(f"/v1/quarantine/{text['id']}?reveal=true", headers=bearer(viewer))).status_code == 403
    line = ("quarantine.reveal", text["id"])
    refusal = (*line, "refused", "INSUFFICIENT_PERMISSIONS")
    assert await told(client) == [(*line, "done", None), refusal, refusal]


async def test_record_without_a_team_belongs_to_default(parts: Parts, client: httpx.AsyncClient) -> None:
    """Others do not hear of it; and it hears of nobody else's."""
    await came_in(parts, b"of nobody", headers=())
    await came_in(parts, b"of acme")
    root = bearer(await add_token(parts.store, "root", team="default"))
    [ours] = await listed(client)
    [theirs] = (await client.get("/v1/quarantine", headers=root)).json()["data"]
    assert (ours["offset"], theirs["offset"]) == (1, 0)
    for method, path in (("GET", ""), ("POST", "/accept"), ("POST", "/replay")):
        answer = await client.request(method, f"/v1/quarantine/{theirs['id']}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "QUARANTINE_NOT_FOUND")
    assert [row["state"] for row in (await client.get("/v1/quarantine", headers=root)).json()["data"]] == ["undecided"]


@pytest.mark.parametrize(
    "id_", ["1", "qr_1", "qr_000000000099", "qr_99999999999999999999", "qr_00000000000\u0661", "%00"]
)
async def test_unknown_record_is_not_found(client: httpx.AsyncClient, id_: str) -> None:
    """Whatever the id looks like."""
    assert (await client.get(f"/v1/quarantine/{id_}")).status_code == 404
    assert (await client.post(f"/v1/quarantine/{id_}/accept")).status_code == 404


async def test_accepted_record_is_decided_once(parts: Parts, client: httpx.AsyncClient) -> None:
    """By whom and when is told; again, nothing changes, in the audit neither."""
    await came_in(parts, b"no event")
    [row] = await listed(client)
    first = (await client.post(f"/v1/quarantine/{row['id']}/accept")).json()
    assert first == row | {"state": "accepted", "decidedBy": "ada", "decidedAt": first["decidedAt"]}
    assert (await client.post(f"/v1/quarantine/{row['id']}/accept")).json() == first
    assert await listed(client, state="accepted") == [first]
    assert await listed(client, state="undecided") == []
    assert await told(client) == [("quarantine.accept", row["id"], "done", None)]
    assert await metric(client, "monitor_quarantine_undecided") == 0


async def metric(client: httpx.AsyncClient, name: str) -> float:
    """What `/metrics` says."""
    return float(dict(line.rsplit(" ", 1) for line in (await client.get("/metrics")).text.splitlines())[name])


async def test_record_that_is_an_event_by_now_is_replayed_once(parts: Parts, client: httpx.AsyncClient) -> None:
    """It is applied under its own id, for its team; a second replay appends nothing, and accepting it is too late."""
    await refused_before(parts, GOOD)
    assert await metric(client, "monitor_quarantine_undecided") == 1
    [row] = await listed(client)
    replayed = (await client.post(f"/v1/quarantine/{row['id']}/replay")).json()
    assert (replayed["state"], replayed["decidedBy"]) == ("replayed", "ada")
    await parts.pipeline.catch_up()
    reached = await client.get("/v1/executions/e1", params={"minPosition": replayed["position"]})
    assert reached.json()["status"] == "running"
    again = (await client.post(f"/v1/quarantine/{row['id']}/replay")).json()
    assert again == replayed | {"position": None}
    assert (await parts.journal.bounds())[0].end == 1
    late = await client.post(f"/v1/quarantine/{row['id']}/accept")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "CANNOT_ACCEPT_RECORD")
    assert [it[0] for it in await told(client)] == ["quarantine.replay", "quarantine.accept"]


async def test_replay_that_a_crash_cut_in_two_changes_nothing_twice(parts: Parts, client: httpx.AsyncClient) -> None:
    """Appended, and not noted as replayed: the next replay is a repeat."""
    await refused_before(parts, GOOD)
    await came_in(parts, GOOD)
    [row] = await listed(client)
    version = (await client.get("/v1/executions/e1")).json()["version"]
    assert (await client.post(f"/v1/quarantine/{row['id']}/replay")).json()["state"] == "replayed"
    await parts.pipeline.catch_up()
    assert (await client.get("/v1/executions/e1")).json()["version"] == version
    assert await metric(client, "monitor_events_duplicate_total") == 1


async def test_accepted_record_can_still_be_replayed(parts: Parts, client: httpx.AsyncClient) -> None:
    """Whoever accepts a burst may find the cure later."""
    await refused_before(parts, GOOD)
    [row] = await listed(client)
    await client.post(f"/v1/quarantine/{row['id']}/accept")
    assert (await client.post(f"/v1/quarantine/{row['id']}/replay")).json()["state"] == "replayed"


async def test_record_that_still_is_no_event_is_not_replayed(parts: Parts, client: httpx.AsyncClient) -> None:
    """The refusal says why, without its secrets, and what can be done; nothing is appended, nothing decided."""
    await came_in(parts, b"no event", NO_EVENT, GOOD, GOOD.replace(b'"wf"', b'"wf", "teamId": "zeta"'))
    await came_in(parts, GOOD.replace(b'"wf"', b'"wf", "id": "same"'), GOOD.replace(b'"wf"', b'"w2", "id": "same"'))
    await parts.store.write(lambda writer: writer.pass_cut(0, 6, 9))
    end = (await parts.journal.bounds())[0].end
    root = bearer(await add_token(parts.store, "root", team="default"))
    rows = await listed(client) + (await client.get("/v1/quarantine", headers=root)).json()["data"]
    assert sorted(row["reason"] for row in rows) == [
        *("foreign_team", "id_reused", "malformed_json", "missing_field", "retention_cut")
    ]
    for row in rows:
        headers = root if row["reason"] == "retention_cut" else client.headers
        answer = await client.post(f"/v1/quarantine/{row['id']}/replay", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CANNOT_REPLAY_RECORD"), row
        assert "accept" in answer.json()["error"]["message"]
    assert (await parts.journal.bounds())[0].end == end
    assert {row["state"] for row in await listed(client)} == {"undecided"}
    assert [it[2:] for it in await told(client)] == [("refused", "CANNOT_REPLAY_RECORD")] * 4


async def test_replay_keeps_the_headers_that_make_it_an_event(parts: Parts, client: httpx.AsyncClient) -> None:
    """A CloudEvent in binary mode is told by them alone."""
    attributes = {"specversion": "1.0", "type": "execution.started", "id": "c1", "source": "s", "executionid": "e2"}
    headers = tuple((f"ce_{name}", said.encode()) for name, said in attributes.items())
    record = Record(0, 999, b"k", b"{}", (*OF_ACME, *headers, ("ce_time", b"2026-11-22T10:00:00Z")), 1)
    changes = Changes(poison=[Poison(record, "invalid_field", None, "then", "acme")])
    await parts.store.write(lambda writer: writer.commit(Commit(changes, {}, ())))
    [row] = await listed(client)
    assert (await client.post(f"/v1/quarantine/{row['id']}/replay")).json()["state"] == "replayed"
    await parts.pipeline.catch_up()
    assert (await client.get("/v1/executions/e2")).json()["status"] == "running"


async def test_nobody_replays_into_another_team(parts: Parts, client: httpx.AsyncClient) -> None:
    """What was this team's and is another's by now is for whoever runs the service."""
    record = Record(0, 999, b"k", GOOD, ((TEAM_HEADER, b"zeta"),), 1)
    changes = Changes(poison=[Poison(record, "invalid_field", None, "then", "acme")])
    await parts.store.write(lambda writer: writer.commit(Commit(changes, {}, ())))
    [row] = await listed(client)
    answer = await client.post(f"/v1/quarantine/{row['id']}/replay")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CANNOT_REPLAY_RECORD")
    assert "zeta" not in answer.text


async def halted(parts: Parts) -> None:
    """Have the one partition halt on a burst of 150, at its hundred and first."""
    await came_in(parts, *[b"no event"] * 150)


async def test_halted_partition_goes_on_by_whoever_runs_the_service(parts: Parts, client: httpx.AsyncClient) -> None:
    """Another team's administrator is refused; who may is told how much was accepted, once, and the audit keeps it."""
    assert (await client.get("/v1/quarantine/halts")).json() == {"data": []}
    await halted(parts)
    [halt] = (await client.get("/v1/quarantine/halts")).json()["data"]
    assert halt == {
        "partition": 0,
        "offset": 100,
        "first": 0,
        "records": 101,
        "reason": "malformed_json",
        "haltedAt": halt["haltedAt"],
    }
    assert [concern.code for concern in parts.health().against if concern.code != "starting"] == ["halted"]
    resume = {"partition": 0}
    refused = await client.post("/v1/quarantine/resume", json=resume)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "INSUFFICIENT_PERMISSIONS")
    root = bearer(await add_token(parts.store, "root", team="default"))
    answers = [(await client.post("/v1/quarantine/resume", json=resume, headers=root)).json() for _ in range(2)]
    assert answers == [
        {"partition": 0, "resumed": True, "accepted": 100},
        {"partition": 0, "resumed": False, "accepted": 0},
    ]
    await parts.pipeline.catch_up()
    assert (await parts.store.read(lambda reader: reader.position())).offsets == (150,)
    assert len(await listed(client, state="accepted", limit=100)) == 100
    assert await told(client) == [("quarantine.resume", "0", "refused", "INSUFFICIENT_PERMISSIONS")]
    lines = (await client.get("/v1/audit", headers=root)).json()["data"]
    assert [(it["action"], it["detail"]) for it in lines] == [
        ("quarantine.resume", {"offset": 100, "until": 150, "accepted": 100})
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"partition": 1}, 404), ({"partition": -1}, 400), ({}, 400), ({"partition": "0"}, 400), ({"partitions": 0}, 400)],
)
async def test_partition_that_is_none_is_refused(client: httpx.AsyncClient, body: Any, status: int) -> None:
    """With the name of what is wrong."""
    assert (await client.post("/v1/quarantine/resume", json=body)).status_code == status
