"""Browsers come in by ticket and session: each stands for a token, ends with it, and serves nobody else's page."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from monitor.app import Parts, create_app, open_parts
from monitor.errors import SessionInvalid, TicketInvalid
from monitor.executions import sessions
from monitor.executions.credentials import Credentials
from monitor.executions.sessions import Sessions
from monitor.settings import read_settings
from monitor.web.auth import COOKIE
from tests.support.clocks import NOON_US, ManualClock
from tests.support.contract.checked import CHECKED
from tests.support.openings import TRANSPORTS, Transport, opened
from tests.support.server import Address, listening, until
from tests.support.tokens import add_token, bearer

DASHBOARD = "https://dashboard.example.com"
STREAM = "/v1/executions/stream"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """Of a service that asks for tokens; its clock stands still."""
    settings = read_settings({"MONITOR_AUTH": "on", "MONITOR_ORIGINS": DASHBOARD}, data=tmp_path / "data")
    async with open_parts(settings, ManualClock(NOON_US)) as parts:
        yield parts


@pytest.fixture
async def address(parts: Parts) -> AsyncIterator[Address]:
    """Where it listens; only what tests of sessions need runs beside."""
    running = asyncio.create_task(parts.hub.run())
    async with listening(create_app(parts)) as address:
        try:
            yield address
        finally:
            await parts.hub.drain(0.1)
            running.cancel()


@pytest.fixture
async def token(parts: Parts) -> str:
    """An operator's."""
    return await add_token(parts.store, "op", role="operator")


@pytest.fixture
async def client(address: Address) -> AsyncIterator[httpx.AsyncClient]:
    """A browser: it keeps cookies."""
    async with httpx.AsyncClient(
        base_url=address.http,
        trust_env=False,
        verify=False,  # noqa: S501
        timeout=60,
        event_hooks=CHECKED,
    ) as client:
        yield client


async def ticket(client: httpx.AsyncClient, token: str) -> str:
    """A fresh one."""
    answer = await client.post("/v1/stream-tickets", headers=bearer(token))
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["ticket"])


async def sign_in(client: httpx.AsyncClient, authorization: str) -> dict[str, Any]:
    """Begin a session."""
    answer = await client.post("/v1/session", headers={"authorization": authorization})
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


# --- tickets ---------------------------------------------------------------------------------------------------------


async def test_ticket_lets_in_once(client: httpx.AsyncClient, token: str) -> None:
    """In a header or in an address, and then never again; of many at once exactly one gets in."""
    shown = {"authorization": f"Ticket {await ticket(client, token)}"}
    assert (await client.get("/v1/executions", headers=shown)).status_code == 200
    assert code(await client.get("/v1/executions", headers=shown)) == (401, "TICKET_INVALID")
    contested = {"authorization": f"ticket {await ticket(client, token)}"}
    answers = await asyncio.gather(*(client.get("/v1/executions", headers=contested) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 7]


async def test_ticket_ages(client: httpx.AsyncClient, parts: Parts, token: str) -> None:
    """After half a minute it is worth nothing."""
    early, late = await ticket(client, token), await ticket(client, token)
    assert isinstance(parts.clock, ManualClock)
    await parts.clock.advance(29)
    assert (await client.get("/v1/executions", headers={"authorization": f"Ticket {early}"})).status_code == 200
    await parts.clock.advance(1)
    assert code(await client.get("/v1/executions", headers={"authorization": f"Ticket {late}"}))[0] == 401


@pytest.mark.parametrize("said", ["x", "", "0" * 64, "é", "a" * 100_000])
async def test_made_up_tickets_are_refused(client: httpx.AsyncClient, said: str) -> None:
    """Of whatever form."""
    answer = await client.get("/v1/executions", headers=[(b"authorization", f"Ticket {said}".strip().encode())])
    assert answer.status_code in (401, 431)


@pytest.mark.parametrize("said", ["x", "0" * 64, "é" * 64, "a" * 10_000])
async def test_made_up_tickets_cost_the_store_nothing(parts: Parts, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody without a credential keeps its one writer busy."""
    monkeypatch.setattr(parts.store, "write", None)
    with pytest.raises(TicketInvalid):
        await parts.sessions.redeemed(said)


async def test_ticket_in_an_address_changes_nothing(client: httpx.AsyncClient, token: str) -> None:
    """A form elsewhere could send it: it would sign a browser in as whoever made that form."""
    text = await ticket(client, token)
    refused = await client.post(f"/v1/session?ticket={text}")
    assert code(refused) == (400, "TOKEN_IN_URL")
    assert "set-cookie" not in refused.headers
    assert (await client.get("/v1/executions", headers={"authorization": f"Ticket {text}"})).status_code == 200


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stream_takes_a_ticket_in_its_address(
    client: httpx.AsyncClient, address: Address, token: str, transport: Transport
) -> None:
    """Where a browser can send no header; the same address lets nobody else in."""
    path = f"{STREAM}?ticket={await ticket(client, token)}"
    async with opened(address.http, path, transport) as stream:
        assert (await stream.frame() or {})["type"] == "stream.hello"
    async with opened(address.http, path, transport) as stream:
        refusal = await stream.frame() if transport == "websocket" else stream.body["error"]
        assert refusal is not None
        assert refusal["code"] == "TICKET_INVALID"


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_session_stands_for_its_token(client: httpx.AsyncClient, token: str) -> None:
    """Begun by ticket or token; no script reads the cookie, no other site sends it; it can be left."""
    for authorization in (f"Ticket {await ticket(client, token)}", f"Bearer {token}"):
        begun = await sign_in(client, authorization)
        assert (begun["name"], begun["role"]) == ("op", "operator")
        assert begun["scopes"] == ["executions:data", "executions:read", "executions:write", "webhooks:read"]
        shown = (await client.get("/v1/session")).json()
        assert shown == begun | {"expiresAt": None}
        left = await client.delete("/v1/session", headers={"x-csrf-token": shown["csrfToken"]})
        assert left.status_code == 204
        assert code(await client.get("/v1/session")) == (401, "AUTHENTICATION_REQUIRED")


async def test_cookie_is_for_browsers_alone(client: httpx.AsyncClient, token: str) -> None:
    """HttpOnly, SameSite=Strict, for the whole service, for twelve hours; nothing of the token stands in it."""
    answer = await client.post("/v1/session", headers=bearer(token))
    said = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(said.split("; "))
    assert token.split("_")[1] not in said
    assert token.split("_")[2] not in said


async def test_session_that_was_left_is_void_wherever_its_cookie_went(
    client: httpx.AsyncClient, parts: Parts, token: str
) -> None:
    """A copy of it opens nothing; other sessions of the token, and the token itself, go on."""
    await sign_in(client, f"Bearer {token}")
    other = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    client.cookies.clear()
    mine = await sign_in(client, f"Bearer {token}")
    copied = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    left = {"x-csrf-token": mine["csrfToken"]}
    assert (await client.delete("/v1/session", headers=left)).status_code == 204
    for _ in range(2):
        assert code(await client.get("/v1/executions", headers=copied)) == (401, "SESSION_INVALID")
        assert code(await client.delete("/v1/session", headers=copied | left)) == (401, "SESSION_INVALID")
    for headers in (other, bearer(token)):
        assert (await client.get("/v1/executions", headers=headers)).status_code == 200
    process = Sessions(
        store=parts.store,
        credentials=Credentials(parts.store, parts.clock),
        sealer=parts.sealer,
        clock=parts.clock,
        random_bytes=bytes,
    )
    with pytest.raises(SessionInvalid):
        await process.holder(copied["cookie"].partition("=")[2])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_session_that_was_left_loses_its_streams(
    client: httpx.AsyncClient, address: Address, parts: Parts, token: str, transport: Transport
) -> None:
    """They are told and closed; those of other sessions and of the token go on."""
    await sign_in(client, f"Bearer {token}")
    other = f"{COOKIE}={client.cookies[COOKIE]}"
    client.cookies.clear()
    mine = await sign_in(client, f"Bearer {token}")
    cookie = f"{COOKIE}={client.cookies[COOKIE]}"
    async with (
        opened(address.http, STREAM, transport, cookie=cookie) as stream,
        opened(address.http, STREAM, transport, cookie=other) as spared,
        opened(address.http, STREAM, transport, authorization=bearer(token)["authorization"]) as own,
    ):
        for each in (stream, spared, own):
            assert await each.frame()
        assert (await client.delete("/v1/session", headers={"x-csrf-token": mine["csrfToken"]})).is_success
        assert (await stream.until("stream.error"))[-1]["code"] == "SESSION_INVALID"
        assert await stream.frame() is None
        await until(lambda: parts.hub.statistics().subscribers == 2)


async def test_session_that_was_left_elsewhere_ends_here_within_a_second(
    client: httpx.AsyncClient, address: Address, parts: Parts, token: str
) -> None:
    """Another process over the same store tells it by the store alone."""
    await sign_in(client, f"Bearer {token}")
    text = client.cookies[COOKIE]
    elsewhere = Sessions(
        store=parts.store,
        credentials=Credentials(parts.store, parts.clock),
        sealer=parts.sealer,
        clock=parts.clock,
        random_bytes=bytes,
    )
    looking = asyncio.create_task(parts.credentials.run())
    try:
        assert isinstance(parts.clock, ManualClock)
        await parts.clock.advance(1)
        async with opened(address.http, STREAM, "sse", cookie=f"{COOKIE}={text}") as stream:
            assert await stream.frame()
            await elsewhere.leave(text)
            await parts.clock.advance(1)
            assert (await stream.until("stream.error"))[-1]["code"] == "SESSION_INVALID"
        assert code(await client.get("/v1/session")) == (401, "SESSION_INVALID")
    finally:
        looking.cancel()


async def test_sessions_that_were_left_are_bounded(
    client: httpx.AsyncClient, parts: Parts, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is remembered: of one token so many in twelve hours, and not the first of another one."""
    monkeypatch.setattr(sessions, "MOST_LEFT", 2)
    other = await add_token(parts.store, "other")
    answers = []
    for shown in (token, token, token, other):
        begun = await sign_in(client, f"Bearer {shown}")
        answers.append(await client.delete("/v1/session", headers={"x-csrf-token": begun["csrfToken"]}))
        client.cookies.clear()
    assert [answer.status_code for answer in answers] == [204, 204, 429, 204]
    assert (code(answers[2]), answers[2].headers["retry-after"]) == ((429, "RATE_LIMITED"), "43200")
    assert isinstance(parts.clock, ManualClock)
    await parts.clock.advance(12 * 3600)
    begun = await sign_in(client, f"Bearer {token}")
    parts.credentials._end_expired()  # what its loop does twice a second
    left = await client.delete("/v1/session", headers={"x-csrf-token": begun["csrfToken"]})
    assert left.status_code == 204


async def test_session_ends_by_itself(client: httpx.AsyncClient, parts: Parts, token: str) -> None:
    """After twelve hours, whatever the browser thinks."""
    await sign_in(client, f"Bearer {token}")
    assert isinstance(parts.clock, ManualClock)
    await parts.clock.advance(12 * 3600)
    assert code(await client.get("/v1/session")) == (401, "SESSION_INVALID")


@pytest.mark.parametrize("cookie", ["x", "a" * 4000, "é", "Ⅷ", '"', "a.b.c"])
async def test_made_up_sessions_are_refused(client: httpx.AsyncClient, cookie: str) -> None:
    """Sealed by nobody."""
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())]
    assert code(await client.get("/v1/session", headers=headers)) == (401, "SESSION_INVALID")


async def test_sealed_otherwise_is_no_session(client: httpx.AsyncClient, parts: Parts) -> None:
    """A position is sealed with the same key, for another purpose."""
    position = parts.sealer.token("position", b"\x93\xa1a\x01\xc4\x00")
    answer = await client.get("/v1/session", headers={"cookie": f"{COOKIE}={position}"})
    assert code(answer) == (401, "SESSION_INVALID")


async def test_change_takes_what_only_our_own_scripts_read(client: httpx.AsyncClient, token: str) -> None:
    """Without it, with another session's, or with a made-up one nothing is changed."""
    other = await sign_in(client, f"Bearer {token}")
    mine = await sign_in(client, f"Bearer {token}")
    for said in ({}, {"x-csrf-token": "x"}, {"x-csrf-token": other["csrfToken"]}):
        assert code(await client.delete("/v1/session", headers=said)) == (403, "CSRF_TOKEN_MISSING")
    assert (await client.delete("/v1/session", headers={"x-csrf-token": mine["csrfToken"]})).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": DASHBOARD}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_session_serves_no_page_of_strangers(
    client: httpx.AsyncClient, token: str, headers: dict[str, str], status: int
) -> None:
    """Even if a browser should send the cookie along."""
    await sign_in(client, f"Bearer {token}")
    assert (await client.get("/v1/executions", headers=headers)).status_code == status


async def test_stranger_opens_no_websocket_with_a_session(
    client: httpx.AsyncClient, address: Address, token: str
) -> None:
    """A WebSocket may be opened from any page: its origin decides."""
    await sign_in(client, f"Bearer {token}")
    cookie = f"{COOKIE}={client.cookies[COOKIE]}"
    for origin, expected in ((address.http, "stream.hello"), ("https://evil.example", "stream.error")):
        async with opened(address.http, STREAM, "websocket", cookie=cookie, origin=origin) as stream:
            assert (await stream.frame() or {})["type"] == expected


# --- the end of a token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_revoked_token_ends_streams_tickets_and_sessions(
    client: httpx.AsyncClient, address: Address, parts: Parts, token: str, transport: Transport
) -> None:
    """A running stream is told and closed; others go on; what was made of the token opens nothing any more."""
    other = await add_token(parts.store, "other", role="viewer")
    unused = await ticket(client, token)
    await sign_in(client, f"Bearer {token}")
    authorized = bearer(token)["authorization"]
    async with (
        opened(address.http, STREAM, transport, authorization=authorized) as stream,
        opened(address.http, STREAM, transport, authorization=bearer(other)["authorization"]) as spared,
    ):
        assert await stream.frame()
        assert await spared.frame()
        boss = await add_token(parts.store, "boss")
        [row] = [
            row for row in (await client.get("/v1/tokens", headers=bearer(boss))).json()["data"] if row["name"] == "op"
        ]
        assert (await client.delete(f"/v1/tokens/{row['id']}", headers=bearer(boss))).is_success
        told = await stream.until("stream.error")
        assert told[-1]["code"] == "TOKEN_REVOKED"
        assert await stream.frame() is None
        if stream.socket is not None:
            with pytest.raises(ConnectionClosed):
                await stream.socket.recv()
            assert stream.socket.close_code == 4001
        await until(lambda: parts.hub.statistics().subscribers == 1)
    for headers in (bearer(token), {"authorization": f"Ticket {unused}"}, {}):
        assert code(await client.get("/v1/session", headers=headers)) == (401, "TOKEN_REVOKED")


async def test_stream_that_began_while_its_token_ended_ends_too(
    address: Address, parts: Parts, token: str, client: httpx.AsyncClient
) -> None:
    """Whoever was let in right before, and attaches right after."""
    shown = (await client.get("/v1/session", headers=bearer(token))).json()
    assert shown["csrfToken"] is None
    [row] = await parts.store.read(lambda reader: reader.tokens("acme"))
    parts.hub.expel(row.id)
    async with opened(address.http, STREAM, "websocket", authorization=bearer(token)["authorization"]) as stream:
        assert "TOKEN_REVOKED" in [frame.get("code") for frame in await stream.rest()]
        assert stream.socket is not None
        assert stream.socket.close_code == 4001
