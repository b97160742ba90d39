"""Nothing of one team reaches another: every operation of the route table, every stream, cursor and webhook.

The matrix is made from the route table: a new operation is tried by itself, and fails here until `two_teams` knows the
ids and the body that it takes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from monitor.errors import (
    AddressNotAllowed,
    ForeignTeam,
    InsufficientPermissions,
    InvalidCursor,
    MonitorError,
    TokenExpired,
    TokenInUrl,
    TokenInvalid,
    TokenMalformed,
    TokenMissing,
    TokenRevoked,
)
from monitor.executions import failures
from monitor.web.operations import Operation
from monitor.web.params import CURSOR, REVEAL
from tests.support.tokens import bearer
from tests.support.two_teams import UNKNOWN, Team, Teams, address, gist, is_refusal, open_teams, said, story

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEARD_WITHIN_S: Final = 120.0

TELLS_OF_THE_PROCESS: Final = frozenset({"/v1/streams"})
"""Addresses whose answer changes by itself."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def teams(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Teams]:
    """Two teams with the same ids of everything."""
    async with open_teams(tmp_path_factory.mktemp("teams") / "data") as opened:
        yield opened


def is_own(operation: Operation) -> bool:
    """Whether it is about something that an id names."""
    return "{" in operation.path


def shows(teams: Teams, answer: httpx.Response, asked: Mapping[str, str]) -> list[str]:
    """What of theirs stands in an answer, beside the ids that were asked for."""
    theirs = {teams.theirs.mark, teams.theirs.name, *teams.theirs.ids.values()} - {*asked.values(), "node_1"}
    return [word for word in theirs if word in said(answer)]


def next_cursor(document: Any) -> str | None:
    """Where the page goes on, wherever the face tells it."""
    pagination = document.get("pagination") or document.get("data")
    if "nextCursor" in document:
        found: str | None = document["nextCursor"]
        return found
    return next_cursor(pagination)


# --- the route table -------------------------------------------------------------------------------------------------


async def test_case_54_what_is_anothers_is_not_there(teams: Teams) -> None:
    """Each operation answers to a foreign id as to one that nobody has: webhooks, deliveries and replays among them."""
    wrong = []
    for operation in filter(is_own, teams.operations):
        foreign = await teams.ask(operation, teams.theirs.ids, teams.ours.headers)
        unknown = await teams.ask(operation, UNKNOWN, teams.ours.headers)
        refusal = 403 if ForeignTeam in operation.errors else 404
        if gist(foreign, teams.theirs.ids) != gist(unknown, UNKNOWN) or foreign.status_code != refusal:
            wrong.append(f"{operation.method} {operation.path}: {foreign.status_code} {unknown.status_code}")
        wrong += [f"{operation.path} shows {word}" for word in shows(teams, foreign, teams.theirs.ids)]
    assert wrong == []


async def test_answers_hold_what_is_ours_alone(teams: Teams) -> None:
    """Everything that can be asked, of what both teams have under one id and of lists; and it leaves theirs alone."""
    before = await everything(teams, teams.theirs)
    own = {**teams.ours.ids, "executions": "exec_1"}
    wrong = []
    # What removes comes last, so that there is something to ask about.
    for operation in sorted(
        teams.operations, key=lambda it: ("GET", "POST", "PUT", "PATCH", "DELETE").index(it.method)
    ):
        answer = await teams.ask(operation, own, teams.ours.headers)
        if operation.method == "DELETE" and operation.path.endswith("/executions/{id}"):
            own["executions"] = await teams.another(teams.ours)
        if not (answer.status_code < 300 or answer.status_code == 409):
            wrong.append(f"{operation.method} {operation.path}: {answer.status_code} {answer.text}")
        wrong += [f"{operation.path} shows {word}" for word in shows(teams, answer, {})]
    assert wrong == []
    assert await everything(teams, teams.theirs) == before


async def test_what_is_anothers_is_not_revealed(teams: Teams) -> None:
    """The same answers as without the wish: the journal is read for nobody else's execution."""
    tried = [it for it in teams.operations if any(parameter is REVEAL for parameter in it.query)]
    assert len(tried) >= 3
    wrong = []
    for operation in tried:
        foreign = await teams.ask(operation, teams.theirs.ids, teams.ours.headers, reveal="true")
        unknown = await teams.ask(operation, UNKNOWN, teams.ours.headers, reveal="true")
        if gist(foreign, teams.theirs.ids) != gist(unknown, UNKNOWN) or foreign.status_code != 404:
            wrong.append(f"{operation.path}: {foreign.text} {unknown.text}")
        own = await teams.ask(operation, teams.ours.ids, teams.ours.headers, reveal="true")
        wrong += [f"{operation.path}: {own.text}"] if own.status_code != 200 else []
        wrong += [f"{operation.path} shows {word}" for word in shows(teams, own, {})]
    assert wrong == []


async def test_everything_shows_its_own_mark(teams: Teams) -> None:
    """To its own team; otherwise nobody would notice where it is shown to others."""
    found = await everything(teams, teams.theirs)
    marked = {path for path, (_, text) in found.items() if teams.theirs.mark in text}
    assert marked >= {
        "/v1/executions",
        "/v1/executions/{id}",
        "/v1/executions/{id}/data",
        "/v1/executions/{id}/logs",
        "/v1/exports/{id}/file",
        "/v1/webhooks",
        "/v1/webhooks/{id}",
        "/v1/tokens",
        "/v1/tokens/{id}",
        "/v1/quarantine/{id}",
    }


async def everything(teams: Teams, team: Team) -> dict[str, tuple[int, str]]:
    """What a team reads, by address."""
    reads = [it for it in teams.operations if it.method == "GET" and it.path not in TELLS_OF_THE_PROCESS]
    return {it.path: gist(await teams.ask(it, team.ids, team.headers), {}) for it in reads}


async def test_cursor_of_theirs_is_none_of_ours(teams: Teams) -> None:
    """Not even in the list of the same name, under the same question; neither forwards nor back."""
    tried = [it for it in teams.operations if any(parameter is CURSOR for parameter in it.query)]
    assert len(tried) >= 4
    wrong, backwards = [], 0
    for operation in tried:
        theirs = await teams.ask(operation, teams.theirs.ids, teams.theirs.headers, limit="1")
        cursor = next_cursor(theirs.json())
        assert cursor, f"{operation.path}: two_teams makes no two rows of it"
        second = await teams.ask(operation, teams.theirs.ids, teams.theirs.headers, limit="1", cursor=cursor)
        cursors = [cursor]
        if "previousCursor" in second.json().get("pagination", {}):
            backwards += 1
            cursors.append(second.json()["pagination"]["previousCursor"])
        for cursor in cursors:
            again = await teams.ask(operation, teams.theirs.ids, teams.theirs.headers, limit="1", cursor=cursor)
            answer = await teams.ask(operation, teams.ours.ids, teams.ours.headers, limit="1", cursor=cursor)
            is_refused = is_refusal(operation, answer, InvalidCursor)
            if again.status_code != 200 or not is_refused:
                wrong.append(f"{operation.path}: {again.status_code} {answer.text}")
    assert wrong == []
    assert backwards >= 3


async def test_every_operation_refuses_who_may_not(teams: Teams, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, garbage, an unknown, expired, revoked one, one from elsewhere: before anything else is looked at."""
    # So many at once would be taken for guesses.
    monkeypatch.setattr(failures, "MOST_FAILURES", 1_000_000)
    expired = (await teams.token("acme", expiresIn=1))["token"]
    revoked = await teams.token("acme")
    elsewhere = (await teams.token("acme", allowedAddresses=["192.0.2.0/24"]))["token"]
    gone = await teams.client.delete(f"/v1/tokens/{revoked['id']}", headers=teams.ours.headers)
    assert gone.json()["status"] == "revoked"
    await asyncio.sleep(1.0)  # so long lives the shortest token
    refusals: dict[type[MonitorError], dict[str, str]] = {
        TokenMissing: {},
        TokenMalformed: bearer("garbage"),
        TokenInvalid: bearer(f"mon_{'0' * 16}_{'0' * 64}"),
        TokenExpired: bearer(expired),
        TokenRevoked: bearer(revoked["token"]),
        AddressNotAllowed: bearer(elsewhere),
    }
    wrong = []
    for operation in teams.operations:
        for kind, headers in refusals.items():
            for ids in (teams.ours.ids, UNKNOWN):
                answer = await teams.ask(operation, ids, headers)
                if not is_refusal(operation, answer, kind):
                    wrong.append(f"{operation.method} {operation.path}: {answer.text} instead of {kind.code}")
                if ("www-authenticate" in answer.headers) != (kind.status == 401):
                    wrong.append(f"{operation.method} {operation.path}: challenge")
    assert wrong == []


async def test_case_54_scope_that_is_missing_is_named(teams: Teams) -> None:
    """403 whatever else the token has, and whether there is such a thing or not; webhooks and replays too."""
    without = {scope: await teams.token_without(scope) for scope in {it.scope for it in teams.operations}}
    wrong = []
    for operation in teams.operations:
        for ids in (teams.ours.ids, teams.theirs.ids, UNKNOWN):
            answer = await teams.ask(operation, ids, without[operation.scope])
            named = f"this needs the scope '{operation.scope}'"
            if not is_refusal(operation, answer, InsufficientPermissions, named):
                wrong.append(f"{operation.method} {operation.path}: {answer.text}")
    assert wrong == []


async def test_token_in_a_url_opens_nothing(teams: Teams) -> None:
    """Wherever it stands, beside a good header too."""
    wrong = []
    for operation in teams.operations:
        for headers in ({}, teams.ours.headers):
            answer = await teams.ask(operation, teams.ours.ids, headers, token=teams.ours.token)
            if not is_refusal(operation, answer, TokenInUrl) or teams.ours.token in answer.text:
                wrong.append(f"{operation.method} {operation.path}: {answer.text}")
    assert wrong == []


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Authorization: Bearer a\x00b", 400),
        (b"Authorization: Bearer \xff\xfe", 401),
        (b"Authorization: Bearer x\r\nAuthorization: Bearer y", 401),
        (b"Authorization:", 401),
        (b"Authorization", 400),
    ],
    ids=lambda said: repr(said)[:30],
)
@pytest.mark.parametrize("path", [b"/v1/executions", b"/v1/executions/stream"])
async def test_header_that_no_client_sends_is_refused(teams: Teams, path: bytes, header: bytes, status: int) -> None:
    """On the bare socket: by the server where it is no HTTP, else by the door; nothing is told of what went wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(teams.url.rpartition(":")[2]))
    writer.write(b"GET %b HTTP/1.1\r\nHost: monitor\r\nConnection: close\r\n%b\r\n\r\n" % (path, header))
    async with asyncio.timeout(HEARD_WITHIN_S):
        answer = await reader.read(4096)
    writer.close()
    assert int(answer.split()[1]) == status
    assert b"Traceback" not in answer


# --- streams ---------------------------------------------------------------------------------------------------------

WISHES: Final = (
    {"channels": "executions"},
    {"channels": "workflow:wf_1,execution:last"},
    {"channels": "execution:exec_1,execution:last"},
    {"channels": "execution:only_2,workflow:wf_only_2,execution:last"},
    {"channels": "executions", "snapshot": "recent:100", "logs": "1", "events": "*"},
    {"channels": "executions", "position": "earliest", "events": "*", "logs": "1"},
)


async def listen_by_lines(teams: Teams, accept: str, params: Mapping[str, str], has_all: Callable[[str], bool]) -> str:
    """What a subscriber over HTTP hears."""
    heard = ""
    headers = {**teams.ours.headers, "accept": accept}
    async with teams.client.stream("GET", "/v1/executions/stream", params=params, headers=headers) as answer:
        assert answer.status_code == 200
        async for text in answer.aiter_text():
            heard += text
            if has_all(heard):
                break
    return heard


async def listen_by_websocket(teams: Teams, params: Mapping[str, str], has_all: Callable[[str], bool]) -> str:
    """What a subscriber by WebSocket hears, who asks within the connection."""
    heard = ""
    address = teams.url.replace("http", "ws") + "/v1/executions/stream"
    wish: dict[str, Any] = {**params, "channels": params["channels"].split(",")}
    wish |= {"events": [params["events"]]} if "events" in params else {}
    wish |= {"logs": True} if "logs" in params else {}
    async with connect(
        address, additional_headers=teams.ours.headers, proxy=None, open_timeout=60, close_timeout=1
    ) as socket:
        await socket.send(json.dumps({"type": "subscribe", **wish}))
        async for message in socket:
            heard += str(message) + "\n"
            if has_all(heard):
                break
    return heard


@pytest.mark.parametrize("params", WISHES, ids=lambda params: " ".join(params.values()))
@pytest.mark.parametrize("transport", ["text/event-stream", "application/x-ndjson", "websocket"])
async def test_streams_tell_ours_what_is_ours(teams: Teams, transport: str, params: Mapping[str, str]) -> None:
    """From the first frame to the last, whichever channel was asked for: live, from a snapshot and from the journal."""

    def has_last(heard: str) -> bool:
        return '"executionId":"last"' in heard.replace(" ", "")

    if transport == "websocket":
        listening = asyncio.create_task(listen_by_websocket(teams, params, has_last))
    else:
        listening = asyncio.create_task(listen_by_lines(teams, transport, params, has_last))
    async with asyncio.timeout(HEARD_WITHIN_S):
        while not listening.done():
            # Again and again: the subscriber may not be there yet.
            for team in (teams.theirs, teams.ours):
                names = ("exec_1", "last") if team is teams.ours else ("exec_1", "only_2", "last")
                again = asyncio.get_running_loop().time()
                events = [
                    {**event, "id": f"{event['id']}-{again}"}
                    for name in names
                    for event in story(name, "wf_1", team.mark)
                ]
                await teams.told(team, *events)
    heard = await listening
    assert teams.theirs.mark not in heard
    assert teams.ours.mark in heard


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_stream_of_a_foreign_execution_is_that_of_none(teams: Teams, accept: str) -> None:
    """It opens, for what is not there may come; its frames differ in the id alone."""
    firsts = []
    for execution_id in (teams.theirs.ids["executions"], UNKNOWN["executions"]):
        path, headers = f"/v1/executions/{execution_id}/stream", {**teams.ours.headers, "accept": accept}
        async with teams.client.stream("GET", path, params={"snapshot": "active"}, headers=headers) as answer:
            heard = ""
            async for text in answer.aiter_text():
                heard += text
                if "stream.snapshot-end" in heard or "stream.end" in heard:
                    break
        assert teams.theirs.mark not in heard
        kinds = [word.partition('"')[0] for word in heard.split('"type":"')[1:]]
        firsts.append((answer.status_code, kinds))
    assert firsts[0] == firsts[1]


async def test_streams_refuse_who_may_not(teams: Teams) -> None:
    """As every operation does, on each transport."""
    blind = await teams.token_without("executions:read")
    for headers, status in (({}, 401), (bearer("garbage"), 401), (blind, 403)):
        for path in ("/v1/executions/stream", "/v1/executions/exec_1/stream"):
            for accept in ("text/event-stream", "application/x-ndjson"):
                answer = await teams.client.get(path, headers={**headers, "accept": accept})
                assert answer.status_code == status
            assert await is_refused(teams, path, headers)


async def is_refused(teams: Teams, path: str, headers: Mapping[str, str]) -> bool:
    """Whether a WebSocket is closed with nothing told but why."""
    async with connect(
        teams.url.replace("http", "ws") + path, additional_headers=headers, proxy=None, open_timeout=60
    ) as socket:
        heard = [json.loads(await socket.recv())["type"]]
        with pytest.raises(ConnectionClosedError, match="unauthorized"):
            heard.append(await socket.recv())
    return heard == ["stream.error"]


# --- webhooks --------------------------------------------------------------------------------------------------------


async def test_case_54_receivers_hear_of_their_own_team(teams: Teams) -> None:
    """In bodies and headers; the other team's receiver hears of the other."""
    for team, other in ((teams.ours, teams.theirs), (teams.theirs, teams.ours)):
        came = [f"{request.headers} {request.body.decode()}" for request in teams.receivers[team.name].requests]
        assert any(team.mark in text for text in came)
        assert not any(other.mark in text for text in came)


async def test_event_of_another_team_is_refused(teams: Teams) -> None:
    """Whoever names it; there is no such door."""
    event = {"type": "execution.started", "executionId": "x", "timestamp": "2026-11-22T10:30:00Z", "teamId": "zeta"}
    answer = await teams.client.post("/v1/events", json=event, headers=teams.ours.headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["rejected"] == 1


async def test_operation_of_a_new_kind_must_be_described() -> None:
    """Nobody forgets it: without ids it cannot be asked."""

    async def handler(*_: object) -> httpx.Response:
        raise AssertionError

    unheard_of = Operation("GET", "/v1/gadgets/{id}", handler, "admin")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="has no 'gadgets'"):
        address(unheard_of, UNKNOWN)
