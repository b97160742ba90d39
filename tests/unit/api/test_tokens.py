"""`/v1/tokens` and the door that they open, over the whole application and a real store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.access.audit import AuditQuery
from monitor.app import Parts, create_app, open_parts
from monitor.settings import read_settings
from tests.support.contract.checked import CHECKED
from tests.support.tokens import SECRET, add_token, bearer

UNKNOWN = b"Bearer mon_%b_%b" % (b"0" * 16, b"0" * 64)
ASKED = {"name": "ci", "role": "operator"}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A service that asks for tokens, without a server."""
    async with open_parts(read_settings({}, data=tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client without credentials, at 192.0.2.7."""
    transport = httpx.ASGITransport(create_app(parts), client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://monitor", event_hooks=CHECKED) as client:
        yield client


@pytest.fixture
async def admin(parts: Parts) -> dict[str, str]:
    """The header of an administrator of the team acme."""
    return bearer(await add_token(parts.store, "ada"))


@pytest.fixture
async def root(parts: Parts) -> dict[str, str]:
    """That of an administrator of the team default."""
    return bearer(await add_token(parts.store, "root", team="default"))


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


# --- the door --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code", "challenge"),
    [
        ([], "AUTHENTICATION_REQUIRED", 'Bearer realm="monitor"'),
        ([b""], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Bearer"], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Bearer "], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Basic dTpw"], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Bearer so1_key_abc"], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Bearer mon_\xff\xfe"], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Bearer mon_\x00"], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([b"Bearer " + b"x" * 1_000_000], "TOKEN_MALFORMED", 'Bearer realm="monitor", error="invalid_token"'),
        ([UNKNOWN], "TOKEN_INVALID", 'Bearer realm="monitor", error="invalid_token"'),
    ],
)  # fmt: skip
async def test_who_shows_no_token_is_told_what_to_show(
    client: httpx.AsyncClient, headers: list[bytes], code: str, challenge: str
) -> None:
    """401 with a challenge (RFC 6750), whatever stands in the header; nothing of it is repeated."""
    answer = await client.get("/v1/executions", headers=[(b"authorization", value) for value in headers])
    assert code_of(answer) == (401, code)
    assert answer.headers["www-authenticate"] == challenge
    assert len(answer.content) < 500


async def test_scheme_is_taken_in_any_case(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """As RFC 9110 has it; and spaces around the token are no part of it."""
    token = admin["authorization"].removeprefix("Bearer ")
    for said in (f"bearer {token}", f"BEARER   {token} "):
        assert (await client.get("/v1/executions", headers={"authorization": said})).status_code == 200


async def test_two_headers_are_refused(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Proxies differ in which of them they look at."""
    twice = [("authorization", admin["authorization"])] * 2
    assert code_of(await client.get("/v1/executions", headers=twice)) == (401, "TOKEN_MALFORMED")


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "Token", "whatever"])
async def test_token_in_the_url_is_refused(client: httpx.AsyncClient, admin: dict[str, str], name: str) -> None:
    """Also beside a good one, under any name that a token stands under; its cure is named, itself is not."""
    token = admin["authorization"].removeprefix("Bearer ")
    for headers in ({}, admin):
        for path in ("/v1/executions", "/v1/executions/stream", "/v1/executions/e1/stream"):
            answer = await client.get(path, params={name: token}, headers=headers)
            assert code_of(answer) == (400, "TOKEN_IN_URL")
            assert "Authorization: Bearer" in answer.json()["error"]["message"]
            assert token not in answer.text


async def test_ended_tokens_are_refused_with_the_reason(
    client: httpx.AsyncClient, parts: Parts, admin: dict[str, str]
) -> None:
    """To who holds them; streams are opened by the same door."""
    expired = bearer(await add_token(parts.store, "old", expires_us=parts.clock.now_us() - 1))
    made = (await client.post("/v1/tokens", json=ASKED, headers=admin)).json()
    await client.delete(f"/v1/tokens/{made['id']}", headers=admin)
    for path in ("/v1/executions", "/v1/executions/stream"):
        assert code_of(await client.get(path, headers=expired)) == (401, "TOKEN_EXPIRED")
        assert code_of(await client.get(path, headers=bearer(made["token"]))) == (401, "TOKEN_REVOKED")


@pytest.mark.parametrize(
    ("networks", "status"),
    [
        ((), 200),
        (("192.0.2.0/24",), 200),
        (("10.0.0.0/8", "192.0.2.7/32"), 200),
        (("10.0.0.0/8",), 403),
        (("::/0",), 403),
    ],
)
async def test_token_admits_the_addresses_of_its_networks(
    client: httpx.AsyncClient, parts: Parts, networks: tuple[str, ...], status: int
) -> None:
    """Any where it names none."""
    token = bearer(await add_token(parts.store, "ci", networks=networks))
    assert (await client.get("/v1/executions", headers=token)).status_code == status


async def test_ipv4_is_itself_on_a_socket_for_both(parts: Parts) -> None:
    """Such a socket shows `::ffff:192.0.2.7`; what is no address is in no network."""
    token = bearer(await add_token(parts.store, "ci", networks=("192.0.2.0/24",)))
    for address, status in (("::ffff:192.0.2.7", 200), ("::ffff:192.0.3.7", 403), ("testclient", 403), ("", 403)):
        transport = httpx.ASGITransport(create_app(parts), client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://monitor", event_hooks=CHECKED) as client:
            assert (await client.get("/v1/executions", headers=token)).status_code == status


async def test_scope_that_is_missing_is_named(client: httpx.AsyncClient, parts: Parts) -> None:
    """By REST and by streams alike."""
    viewer = bearer(await add_token(parts.store, "v", role="viewer"))
    sender = bearer(await add_token(parts.store, "s", scopes=("events:write",)))
    for path, token, scope in (
        ("/v1/webhooks", viewer, "webhooks:read"),
        ("/v1/tokens", viewer, "admin"),
        ("/v1/executions", sender, "executions:read"),
        ("/v1/executions/stream", sender, "executions:read"),
    ):
        answer = await client.get(path, headers=token)
        assert code_of(answer) == (403, "INSUFFICIENT_PERMISSIONS")
        assert answer.json()["error"]["requiredPermission"] == scope


# --- making and showing ----------------------------------------------------------------------------------------------


async def test_token_is_shown_once_and_opens_its_team(
    client: httpx.AsyncClient, parts: Parts, admin: dict[str, str]
) -> None:
    """In the answer to its making; afterwards everything about it but itself is told."""
    asked = {
        **ASKED,
        "scopes": ["executions:read", "webhooks:read"],
        "expiresIn": 3600,
        "allowedAddresses": ["192.0.2.0/24"],
        "rateLimit": 5,
    }
    answer = await client.post("/v1/tokens", json=asked, headers=admin)
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/tokens/{made['id']}")
    token = made.pop("token")
    expected = {
        "team": "acme",
        "name": "ci",
        "role": "operator",
        "scopes": ["executions:read", "webhooks:read"],
        "status": "active",
        "createdBy": "ada",
        "revokedAt": None,
        "lastUsedAt": None,
        "allowedAddresses": ["192.0.2.0/24"],
        "rateLimit": 5,
    }
    assert expected == {name: made[name] for name in expected}
    assert (await client.get("/v1/webhooks", headers=bearer(token))).status_code == 200
    assert (await client.get(f"/v1/tokens/{made['id']}", headers=admin)).json() == made
    rows = (await client.get("/v1/tokens", headers=admin)).json()["data"]
    assert [row["name"] for row in rows] == ["ada", "ci"]
    assert token.rpartition("_")[2].encode() not in (parts.settings.data / "store.db").read_bytes()


async def test_tokens_are_listed_page_by_page(client: httpx.AsyncClient, parts: Parts, admin: dict[str, str]) -> None:
    """To the end, each once; another question's cursor is none."""
    for name in "bcde":
        await add_token(parts.store, name)
    names, cursor = list[str](), dict[str, str]()
    while True:
        page = (await client.get("/v1/tokens", params={"limit": 2, **cursor}, headers=admin)).json()
        names += [row["name"] for row in page["data"]]
        assert page["pagination"]["total"] == 5
        if not page["pagination"]["hasMore"]:
            break
        cursor = {"cursor": page["pagination"]["nextCursor"]}
    assert names == ["ada", *"bcde"]
    other = bearer(await add_token(parts.store, "zoe", team="zeta"))
    assert code_of(await client.get("/v1/tokens", params=cursor, headers=other)) == (400, "INVALID_CURSOR")


async def test_nobody_gives_away_more_than_he_has(client: httpx.AsyncClient, parts: Parts) -> None:
    """A narrow administrator's tokens are as narrow; asking for more is refused."""
    narrow = bearer(await add_token(parts.store, "n", scopes=("admin", "executions:read")))
    made = (await client.post("/v1/tokens", json={"name": "x", "role": "admin"}, headers=narrow)).json()
    assert made["scopes"] == ["admin", "executions:read"]
    asked = {"name": "x", "role": "operator", "scopes": ["executions:read", "executions:write"]}
    answer = await client.post("/v1/tokens", json=asked, headers=narrow)
    assert code_of(answer) == (403, "INSUFFICIENT_PERMISSIONS")
    assert answer.json()["error"]["requiredPermission"] == "executions:write"


async def test_other_teams_are_out_of_reach_but_for_who_runs_the_service(
    client: httpx.AsyncClient, parts: Parts, admin: dict[str, str], root: dict[str, str]
) -> None:
    """Refused alike whether there is such a team or not; an administrator of `default` may."""
    await add_token(parts.store, "zoe", team="zeta")
    refusals = set()
    for team in ("zeta", "none", "default"):
        for answer in (
            await client.post("/v1/tokens", json={**ASKED, "team": team}, headers=admin),
            await client.get("/v1/tokens", params={"team": team}, headers=admin),
        ):
            refusals.add((*code_of(answer), answer.json()["error"]["message"]))
    assert len(refusals) == 1
    assert next(iter(refusals))[:2] == (403, "INSUFFICIENT_PERMISSIONS")
    made = (await client.post("/v1/tokens", json={**ASKED, "team": "zeta"}, headers=root)).json()
    assert made["team"] == "zeta"
    one = f"/v1/tokens/{made['id']}"
    assert code_of(await client.get(one, headers=root)) == (404, "TOKEN_NOT_FOUND")
    assert (await client.delete(one, params={"team": "zeta"}, headers=root)).json()["status"] == "revoked"
    for headers in (admin, root):
        unknown = (await client.get(one.replace(made["id"], "tok_0"), headers=headers)).json()["error"]
        foreign = (await client.get(one, headers=headers)).json()["error"]
        assert unknown["message"].replace("tok_0", made["id"]) == foreign["message"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"role": "root"}, "role"),
        ({"role": ["admin"]}, "role"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["execution:read"]}, "scopes"),
        ({"scopes": "executions:read"}, "scopes"),
        ({"scopes": [1]}, "scopes.0"),
        ({"scopes": ["admin"]}, "scopes"),
        ({"team": ""}, "team"),
        ({"team": "a\0b"}, "team"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "2099-01-01T00:00:00Z", "expiresIn": 5}, "expiresIn"),
        ({"expiresIn": 0}, "expiresIn"),
        ({"expiresIn": 10**30}, "expiresIn"),
        ({"expiresIn": True}, "expiresIn"),
        ({"allowedAddresses": ["10.0.0.1/8"]}, "allowedAddresses"),
        ({"allowedAddresses": ["home"]}, "allowedAddresses"),
        ({"allowedAddresses": ["::/0"] * 101}, "allowedAddresses"),
        ({"rateLimit": 0}, "rateLimit"),
        ({"digest": "x"}, "digest"),
    ],
)
async def test_fault_in_a_wish_is_named(
    client: httpx.AsyncClient, parts: Parts, admin: dict[str, str], changes: dict[str, Any], field: str
) -> None:
    """422 with the member; nothing is made."""
    answer = await client.post("/v1/tokens", json={**ASKED, **changes}, headers=admin)
    assert code_of(answer) == (422, "INVALID_TOKEN")
    assert answer.json()["error"]["field"] == field
    assert await parts.store.read(lambda reader: reader.token_count("acme")) == 1


# --- the audit of it -------------------------------------------------------------------------------------------------


async def test_changes_of_tokens_are_in_the_audit(
    client: httpx.AsyncClient, parts: Parts, root: dict[str, str]
) -> None:
    """Who, what, from where, without any secret; a team reads what was done to its tokens by others, not from where."""
    made = (await client.post("/v1/tokens", json={**ASKED, "team": "zeta"}, headers=root)).json()
    for _ in range(2):
        await client.delete(f"/v1/tokens/{made['id']}", params={"team": "zeta"}, headers=root)
    for team, principal, address in (("default", "root", "192.0.2.7"), ("zeta", "default/root", None)):
        entries = await parts.store.read(lambda reader, team=team: reader.audit(AuditQuery(team), 10))  # type: ignore[misc]
        assert [(it.action, it.object) for it in entries] == [
            ("token.revoke", made["id"]),
            ("token.create", made["id"]),
        ]
        assert {(it.principal, it.address) for it in entries} == {(principal, address)}
        assert made["token"].rpartition("_")[2] not in repr(entries)
        assert SECRET.hex() not in repr(entries)


# --- the first one ---------------------------------------------------------------------------------------------------


async def test_first_token_is_made_once(client: httpx.AsyncClient, parts: Parts) -> None:
    """For an administrator of the service; not again when it is revoked."""
    made = await parts.tokens.first()
    assert made is not None
    headers = bearer(made.text)
    rows = (await client.get("/v1/tokens", headers=headers)).json()["data"]
    assert [(row["team"], row["role"], row["createdBy"]) for row in rows] == [("default", "admin", "local")]
    assert await parts.tokens.first() is None
    await client.delete(f"/v1/tokens/{made.token.id}", headers=headers)
    assert await parts.tokens.first() is None
