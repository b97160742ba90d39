"""Every failure of a request is answered with the one envelope, and internals stay inside."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.clock import Clock, SystemClock
from monitor.errors import ExecutionNotFound, JournalError, PositionNotReached
from monitor.web.problems import exception_handlers

FAILURES: dict[str, Exception] = {
    "missing": ExecutionNotFound("Execution with ID 'exec_invalid' not found", executionId="exec_invalid"),
    "early": PositionNotReached(),
    "broken": JournalError("partition 3 of 10.0.0.7 is gone"),
    "bug": ZeroDivisionError("secret"),
}


class NoonClock(SystemClock):
    def now_us(self) -> int:
        return 1_795_348_800_000_000


async def fail(request: Request) -> Response:
    """A route that raises what its path names."""
    raise FAILURES[request.path_params["name"]]


def application(clock: Clock) -> Starlette:
    """An application with that route alone."""
    return Starlette(routes=[Route("/fail/{name}", fail)], exception_handlers=exception_handlers(clock))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client that gets the answer even where the application raises."""
    transport = httpx.ASGITransport(application(NoonClock()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as opened:
        yield opened


def error_of(response: httpx.Response) -> Any:
    """What the envelope holds, and that there is nothing beside it."""
    assert list(response.json()) == ["error"]
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


async def test_an_error_carries_code_message_time_and_details(client: httpx.AsyncClient) -> None:
    """The envelope is the documented one, details beside it."""
    response = await client.get("/fail/missing")
    assert response.status_code == 404
    assert error_of(response) == {
        "code": "EXECUTION_NOT_FOUND",
        "message": "Execution with ID 'exec_invalid' not found",
        "executionId": "exec_invalid",
        "timestamp": "2026-11-22T12:00:00.000Z",
    }


async def test_passing_failures_say_when_to_come_back(client: httpx.AsyncClient) -> None:
    """503 carries Retry-After in seconds."""
    response = await client.get("/fail/early")
    assert (response.status_code, error_of(response)["code"]) == (503, "POSITION_NOT_REACHED")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("name", ["broken", "bug"])
async def test_internals_stay_inside(client: httpx.AsyncClient, name: str) -> None:
    """A failure of ours is one plain sentence, whatever the exception says."""
    response = await client.get(f"/fail/{name}")
    assert response.status_code == 500
    assert error_of(response)["code"] == "INTERNAL_ERROR"
    assert error_of(response)["message"] == "Something went wrong inside the monitor."


async def test_unexpected_failures_reach_the_server(client: httpx.AsyncClient) -> None:
    """They are raised again after the answer, so that the server logs them."""
    transport = httpx.ASGITransport(application(NoonClock()))
    async with httpx.AsyncClient(transport=transport, base_url="http://monitor") as loud:
        with pytest.raises(ZeroDivisionError):
            await loud.get("/fail/bug")


async def test_unknown_paths_are_named(client: httpx.AsyncClient) -> None:
    """404 in the same envelope."""
    response = await client.get("/nowhere")
    assert response.status_code == 404
    assert (error_of(response)["code"], error_of(response)["path"]) == ("NOT_FOUND", "/nowhere")


async def test_options_tell_the_methods(client: httpx.AsyncClient) -> None:
    """OPTIONS is answered for every address."""
    response = await client.options("/fail/missing")
    assert (response.status_code, response.content) == (204, b"")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_unknown_methods_name_the_known_ones(client: httpx.AsyncClient) -> None:
    """405 carries Allow."""
    response = await client.delete("/fail/missing")
    assert (response.status_code, error_of(response)["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
