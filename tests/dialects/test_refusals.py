"""What a dialect refuses, it refuses with its own status, in its own words, and without a trace of how it works."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from monitor.app import Parts, create_app, open_parts
from monitor.settings import read_settings
from tests.support.contract.checked import CHECKED, faults_of
from tests.support.tokens import add_token

NESTED, DEEP = "2 MB of brackets", "20 KB of brackets"
BODIES: Final = {NESTED: '{"data":' + "[" * 1_000_000 + "]" * 1_000_000 + "}", DEEP: '{"data":' + "[" * 20_000}
HUGE: Final = 10**9
CURSOR: Final = "CURSOR"
"""Stands for a cursor that another dialect gave."""

SO1: Final[Mapping[tuple[str, str, Any], tuple[int, str]]] = {
    ("GET", "/v1/n8n/executions/nobody", None): (404, "execution_not_found"),
    ("GET", "/v1/n8n/executions/theirs", None): (404, "execution_not_found"),
    ("GET", "/v1/n8n/executions/nobody/logs", None): (404, "execution_not_found"),
    ("GET", "/v1/n8n/executions/ended?includeData=yes", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions/ended/logs?level=loud", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?status=failed", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?status=error&status=success", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?state=error", None): (400, "invalid_request"),
    ("GET", f"/v1/n8n/executions?cursor={CURSOR}", None): (400, "invalid_cursor"),
    ("GET", "/v1/n8n/executions?cursor=made-up", None): (400, "invalid_cursor"),
    ("GET", "/v1/n8n/executions?limit=0", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?limit=-1", None): (400, "invalid_request"),
    ("GET", f"/v1/n8n/executions?limit={HUGE}", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?startedAfter=yesterday", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?startedAfter=2026-02-30T00:00:00Z", None): (400, "invalid_request"),
    ("GET", "/v1/n8n/executions?startedAfter=2026-01-02&startedBefore=2026-01-01", None): (400, "invalid_request"),
    ("POST", "/v1/n8n/executions/ended/cancel", None): (409, "cannot_cancel_execution"),
    ("POST", "/v1/n8n/executions/nobody/cancel", None): (404, "execution_not_found"),
    ("POST", "/v1/n8n/executions/theirs/cancel", None): (404, "execution_not_found"),
    ("POST", "/v1/n8n/executions/runs/retry", None): (409, "cannot_retry_execution"),
    ("POST", "/v1/n8n/executions/runs/retry", '{"fromNode": ""}'): (400, "invalid_request"),
    ("POST", "/v1/n8n/executions/runs/retry", '{"from": "a"}'): (400, "invalid_request"),
    ("DELETE", "/v1/n8n/executions/runs", None): (409, "cannot_delete_execution"),
    ("DELETE", "/v1/n8n/executions/nobody", None): (404, "execution_not_found"),
    ("POST", "/v1/n8n/workflows/nowhere/execute", "{}"): (404, "workflow_not_found"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", "data=1"): (400, "invalid_request"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", "[]"): (400, "invalid_request"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", '{"mode": "later"}'): (400, "invalid_request"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", '{"mode": "sync", "timeout": 0}'): (400, "invalid_request"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", '{"timeout": 1000000000}'): (400, "invalid_request"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", '{"data": 1, "data": 2}'): (400, "invalid_request"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", NESTED): (413, "payload_too_large"),
    ("POST", "/v1/n8n/workflows/demo-loop/execute", DEEP): (400, "invalid_request"),
    ("GET", "/v1/n8n/nothing", None): (404, "not_found"),
    ("GET", "/v1/n8n", None): (404, "not_found"),
    ("PUT", "/v1/n8n/executions/ended", "{}"): (405, "method_not_allowed"),
}
TEAM: Final[Mapping[tuple[str, str, Any], int]] = {
    ("GET", "/api/executions", None): 400,
    ("GET", "/api/executions/nobody", None): 404,
    ("GET", "/api/executions/theirs", None): 404,
    ("GET", "/api/executions/team/other", None): 403,
    ("GET", "/api/executions/team/nobody", None): 403,
    ("GET", "/api/executions/team/other/export", None): 403,
    ("GET", "/api/executions/team/nobody/export", None): 403,
    ("GET", "/api/executions/team/acme?status=success", None): 400,
    ("GET", "/api/executions/team/acme?status=TIMEOUT", None): 400,
    ("GET", "/api/executions/team/acme?page=-1", None): 400,
    ("GET", "/api/executions/team/acme?page=1.5", None): 400,
    ("GET", f"/api/executions/team/acme?page={HUGE}", None): 400,
    ("GET", "/api/executions/team/acme?page=999999999", None): 400,
    ("GET", "/api/executions/team/acme?size=0", None): 400,
    ("GET", f"/api/executions/team/acme?size={HUGE}", None): 400,
    ("GET", f"/api/executions/team/acme?cursor={CURSOR}", None): 400,
    ("GET", "/api/executions/team/acme?from=yesterday", None): 400,
    ("GET", "/api/executions/team/acme?from=2026-01-02&to=2026-01-01", None): 400,
    ("GET", "/api/executions/team/acme/export?format=xml", None): 400,
    ("GET", "/api/executions/team/acme/export?days=0", None): 400,
    ("GET", f"/api/executions/team/acme/export?days={HUGE}", None): 400,
    ("POST", "/api/executions/ended/cancel", None): 409,
    ("POST", "/api/executions/nobody/cancel", None): 404,
    ("POST", "/api/executions/theirs/cancel", None): 404,
    ("GET", "/api/executions/ended/nothing", None): 404,
    ("DELETE", "/api/executions/ended", None): 405,
}


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """A service that asks for tokens, with an execution that ended, two that run, and one of another team."""
    async with open_parts(read_settings({}, data=tmp_path / "data")) as opened:
        begun = {"type": "execution.started", "timestamp": "2026-11-22T10:30:00Z", "workflowId": "wf_1"}
        ended = {**begun, "type": "execution.completed", "executionId": "ended"}
        told = [{**begun, "executionId": name} for name in ("ended", "runs", "runs-too")]
        await opened.intake.publish([*told, ended], team="acme")
        await opened.intake.publish([{**begun, "executionId": "theirs"}], team="other")
        await opened.pipeline.catch_up()
        yield opened


@asynccontextmanager
async def asking(parts: Parts, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows these headers."""
    shown = {name.replace("_", "-"): said for name, said in headers.items()}
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://monitor", headers=shown, event_hooks=CHECKED
    ) as client:
        yield client


async def sent(client: httpx.AsyncClient, method: str, path: str, body: str | None, cursor: str = "") -> httpx.Response:
    """The answer to a request."""
    told: dict[str, Any] = (
        {} if body is None else {"content": BODIES.get(body, body), "headers": {"content-type": "application/json"}}
    )
    return await client.request(method, path.replace(CURSOR, cursor), **told)


def so1_code(answer: httpx.Response) -> str:
    """The code of a refusal that is worded as the document of SO1 has it."""
    said = answer.json()
    assert faults_of("So1Error", said) == []
    assert list(said) == ["success", "error", "metadata"]
    assert said["error"]["message"]
    return str(said["error"]["code"])


def check_team_error(answer: httpx.Response) -> None:
    """Fail unless it is a refusal as the document of NodeLoom has it."""
    said = answer.json()
    assert faults_of("TeamError", said) == []
    assert list(said) == ["status", "error", "message", "timestamp", "path"]
    phrase = httpx.codes.get_reason_phrase(answer.status_code)
    assert (said["status"], said["error"], said["path"]) == (answer.status_code, phrase, answer.request.url.path)
    assert said["message"]
    assert datetime.fromisoformat(said["timestamp"]).tzinfo == UTC


async def foreign_cursor(client: httpx.AsyncClient) -> str:
    """Of a page of n8n's list."""
    return str((await client.get("/api/v1/executions?limit=1")).json()["nextCursor"])


async def test_so1_refuses_in_its_own_words(parts: Parts) -> None:
    """Each with the code of the service in small letters."""
    async with asking(parts, authorization=f"Bearer {await add_token(parts.store, 'ada')}") as client:
        cursor = await foreign_cursor(client)
        answers = {case: await sent(client, *case, cursor) for case in SO1}
    assert {case: (it.status_code, so1_code(it)) for case, it in answers.items()} == dict(SO1)


async def test_team_refuses_in_its_own_words(parts: Parts) -> None:
    """A foreign team is refused whether it exists or not, an execution of its is unknown."""
    async with asking(parts, authorization=f"Bearer {await add_token(parts.store, 'ada')}") as client:
        cursor = await foreign_cursor(client)
        answers = {case: await sent(client, *case, cursor) for case in TEAM}
    assert {case: it.status_code for case, it in answers.items()} == dict(TEAM)
    for answer in answers.values():
        check_team_error(answer)
    foreign, unknown = (answers["GET", f"/api/executions/team/{name}", None].json() for name in ("other", "nobody"))
    assert foreign["message"] == unknown["message"]


async def test_body_of_another_type_is_refused(parts: Parts) -> None:
    """415, since pages of other sites can send it."""
    async with asking(parts, authorization=f"Bearer {await add_token(parts.store, 'ada')}") as client:
        answer = await client.post(
            "/v1/n8n/workflows/demo-loop/execute", content="{}", headers={"content-type": "text/plain"}
        )
    assert (answer.status_code, so1_code(answer)) == (415, "unsupported_media_type")


async def spelt(parts: Parts, kind: str, name: str = "ada", **changes: Any) -> str:
    """A new token that begins as those of some API."""
    return f"{kind}_{(await add_token(parts.store, name, **changes)).removeprefix('mon_')}"


async def test_credentials_are_told_apart(parts: Parts) -> None:
    """Each dialect takes its own way to begin a token and ours; the others' are refused, as is what is dead."""
    kinds = {kind: await spelt(parts, kind, kind) for kind in ("mon", "so1_key", "sdk")}
    shown = {
        **{kind: {"authorization": f"Bearer {token}"} for kind, token in kinds.items()},
        "none": {},
        "n8n's header": {"x_n8n_api_key": kinds["mon"]},
        "basic": {"authorization": "Basic dTpw"},
        "unknown": {"authorization": f"Bearer mon_{'0' * 16}_{'0' * 64}"},
        "expired": {"authorization": f"Bearer {await spelt(parts, 'mon', 'expired', expires_us=2)}"},
        "revoked": {"authorization": f"Bearer {await spelt(parts, 'mon', 'revoked', revoked_us=2)}"},
    }
    so1, team = {}, {}
    for name, headers in shown.items():
        async with asking(parts, **headers) as client:
            of_so1, of_team = [await client.get(path) for path in ("/v1/n8n/executions", "/api/executions/team/acme")]
        so1[name] = "" if of_so1.status_code == 200 else so1_code(of_so1)
        team[name] = of_team.status_code
        assert of_so1.status_code == (401 if so1[name] else 200)
        if of_team.status_code != 200:
            check_team_error(of_team)
    refused = {"none", "n8n's header", "basic", "unknown", "expired", "revoked"}
    assert team == {name: 401 if name in refused | {"so1_key"} else 200 for name in shown}
    assert so1 == {
        "mon": "",
        "so1_key": "",
        "sdk": "invalid_api_key",
        "none": "missing_authorization",
        "n8n's header": "missing_authorization",
        "basic": "invalid_api_key",
        "unknown": "invalid_api_key",
        "expired": "expired_api_key",
        "revoked": "invalid_api_key",
    }


async def test_who_may_only_read_changes_nothing(parts: Parts) -> None:
    """403, and the scope that is missing is named."""
    async with asking(parts, authorization=f"Bearer {await spelt(parts, 'mon', role='viewer')}") as client:
        so1 = await client.post("/v1/n8n/executions/runs/cancel")
        team = await client.post("/api/executions/runs/cancel")
    assert (so1.status_code, so1_code(so1)) == (403, "insufficient_permissions")
    assert so1.json()["error"]["details"] == {"requiredPermission": "executions:write"}
    assert (team.status_code, "executions:write" in team.json()["message"]) == (403, True)
    check_team_error(team)


async def test_who_asks_too_often_is_told_when_to_come_back(parts: Parts) -> None:
    """With the one code that the document of SO1 spells in capitals."""
    for path in ("/v1/n8n/executions", "/api/executions/team/acme"):
        async with asking(parts, authorization=f"Bearer {await spelt(parts, 'mon', path, rate=1)}") as client:
            answers = await asyncio.gather(*(client.get(path) for _ in range(40)))
        refused = [it for it in answers if it.status_code != 200]
        assert {(it.status_code, it.headers["retry-after"], it.headers["x-ratelimit-limit"]) for it in refused} == {
            (429, "1", "1")
        }
        if path.startswith("/v1"):
            assert {so1_code(it) for it in refused} == {"RATE_LIMIT_EXCEEDED"}
        else:
            check_team_error(refused[0])
