"""Identifiers in paths survive whatever characters they hold."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from monitor.web.paths import IdRoute


async def logs(request: Request) -> Response:
    """Say which execution was named."""
    return JSONResponse({"logs": request.path_params["id"]})


async def execution(request: Request) -> Response:
    """Say which execution was named."""
    return JSONResponse({"id": request.path_params["id"]})


APPLICATION = Starlette(routes=[IdRoute("/x/{id}/logs", logs), IdRoute("/x/{id}", execution)])


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/x/exec_1", {"id": "exec_1"}),
        ("/x/n8n:42", {"id": "n8n:42"}),
        ("/x/n8n%3A42/logs", {"logs": "n8n:42"}),
        ("/x/a%2Fb", {"id": "a/b"}),
        ("/x/a%2Fb/logs", {"logs": "a/b"}),
        ("/x/a%2Flogs", {"id": "a/logs"}),
        ("/x/%C3%BC%20%25", {"id": "ü %"}),
    ],
)
async def test_ids_are_cut_from_the_path_as_sent(path: str, answer: dict[str, str]) -> None:
    """An encoded slash is part of the id, a plain one separates."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APPLICATION), base_url="http://monitor") as client:
        assert (await client.get(path)).json() == answer


async def test_plain_slashes_separate() -> None:
    """A path with a plain slash in the id names nothing."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(APPLICATION), base_url="http://monitor") as client:
        assert (await client.get("/x/a/b")).status_code == 404
