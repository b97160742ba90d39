"""What REST says when everything has been told: every execution, and the log lines that streams left out."""

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from tests.support.soak.client import Client
from tests.support.soak.telling import Told


async def every_execution(client: httpx.AsyncClient) -> dict[str, Mapping[str, Any]]:
    """By id, as the list shows them page after page."""
    answers: dict[str, Mapping[str, Any]] = {}
    after: str | None = ""
    while after is not None:
        cursor = {"cursor": after} if after else {}
        page = (await client.get("/v1/executions", params={"limit": 100, **cursor})).json()
        answers |= {row["id"]: row for row in page["data"]}
        after = page["pagination"]["nextCursor"]
    return answers


async def lines_left_out(client: httpx.AsyncClient, clients: Iterable[Client], told: Told) -> dict[str, set[int]]:
    """What each address that a log gap named returns: the numbers of its lines."""
    lines_at = {}
    for href in {href for each in clients for href in each.diary.gaps}:
        lines = (await client.get(href)).json()["logs"]
        lines_at[href] = {told.line_number(line["message"]) for line in lines}
    return lines_at
