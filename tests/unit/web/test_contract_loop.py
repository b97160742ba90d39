"""The contract is made once, and beside the event loop, which serves everybody else for that second or two."""

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from monitor.api import contract
from monitor.dashboard import docs
from monitor.web.operations import open_routes
from tests.support.schemas import FOLDER

CONTRACT: dict[str, Any] = json.loads((FOLDER / "openapi.json").read_bytes())


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json", "/docs"])
async def test_contract_is_made_once_in_a_thread(path: str) -> None:
    """However many ask at once before it is there."""
    made_in: list[int] = []

    def rendered() -> dict[str, Any]:
        made_in.append(threading.get_ident())
        return CONTRACT

    addresses = contract.addresses(openapi=rendered, asyncapi=rendered)
    application = Starlette(routes=[*open_routes(addresses), *docs.routes(rendered)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://monitor") as client:
        answers = await asyncio.gather(*(client.get(path) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == len(made_in) == 1
    assert threading.get_ident() not in made_in
