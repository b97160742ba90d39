"""An operation is served by its declaration: credentials, scope, parameters, and only then the handler."""

from itertools import pairwise

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from monitor.access.principal import Principal
from monitor.access.roles import ROLES, SCOPES, Role, lesser
from monitor.clock import SystemClock
from monitor.web.operations import Operation, routed
from monitor.web.params import Limit
from monitor.web.problems import exception_handlers
from monitor.web.replies import json_reply

LIMIT = Limit(default=1, most=9)


async def echo(request: Request, who: Principal) -> Response:
    """What was asked, and by whom."""
    return json_reply([request.method, request.url.path, who.name, dict(request.path_params)])


OPERATIONS = [
    Operation("GET", "/v1/things/{id}", echo, "executions:read"),
    Operation("DELETE", "/v1/things/{id}", echo, "executions:write"),
    Operation("GET", "/v1/things/count", echo, "executions:read", query=(LIMIT,)),
]


async def principal(connection: Scope) -> Principal:
    """Of the role that a header names."""
    roles: dict[bytes, Role] = {role.encode(): role for role in ROLES}
    return Principal("acme", "tester", roles[dict(connection["headers"])[b"x-role"]])


def client(role: Role) -> httpx.AsyncClient:
    """Somebody of this role."""
    application = Starlette(routes=routed(OPERATIONS, principal), exception_handlers=exception_handlers(SystemClock()))
    transport = httpx.ASGITransport(application)
    return httpx.AsyncClient(transport=transport, base_url="http://monitor", headers={"x-role": role})


async def test_method_and_address_choose_the_operation() -> None:
    """Methods share an address, a named address goes before one with a parameter, ids keep their slashes."""
    async with client("admin") as asker:
        assert (await asker.get("/v1/things/a%2Fb")).json()[3] == {"id": "a/b"}
        assert (await asker.delete("/v1/things/x")).json()[0] == "DELETE"
        assert (await asker.get("/v1/things/count")).json()[3] == {}
        assert (await asker.head("/v1/things/x")).status_code == 200
        refused = await asker.post("/v1/things/x")
        assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "DELETE"})


async def test_scope_is_asked_before_anything_else() -> None:
    """403 names the scope, also where the parameters are wrong."""
    async with client("viewer") as asker:
        assert (await asker.get("/v1/things/x")).status_code == 200
        error = (await asker.delete("/v1/things/x?y=1")).json()["error"]
    assert (error["code"], error["requiredPermission"]) == ("INSUFFICIENT_PERMISSIONS", "executions:write")
    assert set(error) == {"code", "message", "requiredPermission", "timestamp"}


@pytest.mark.parametrize("query", ["y=1", "limit=1&limit=2&y=2"])
async def test_undeclared_parameters_are_refused(query: str) -> None:
    """Whether the handler would have looked at them or not."""
    async with client("admin") as asker:
        assert (await asker.get(f"/v1/things/count?{query}")).json()["error"]["field"] == "y"


def test_roles_grow() -> None:
    """Each may what the one before it may; together they may everything."""
    ordered: list[Role] = ["viewer", "operator", "builder", "admin"]
    assert list(ROLES) == ordered
    assert all(ROLES[one] < ROLES[other] for one, other in pairwise(ordered))
    assert ROLES["admin"] == set(SCOPES)
    assert (lesser("admin", "viewer"), lesser("viewer", "builder")) == ("viewer", "viewer")


def test_token_narrows_its_role() -> None:
    """Scopes of a token count as far as the role has them."""
    who = Principal("acme", "ci", "viewer", frozenset({"executions:read", "admin"}))
    assert (who.may("executions:read"), who.may("admin"), who.may("executions:data")) == (True, False, False)
    assert Principal("acme", "boss", "admin").may("events:backfill")
