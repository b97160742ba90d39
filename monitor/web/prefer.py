"""`Prefer: wait=N` (RFC 7240, 4.3): a client says how long it would rather wait for an answer than come back for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import Request

from monitor.errors import InvalidRequest
from monitor.web.params import Text

T = TypeVar("T")

MOST_WAIT_S: Final = 60
"""Proxies give up on a silent connection about then."""

PREFER: Final = Text("Prefer", f"wait=N: answer when it has ended, within N seconds, up to {MOST_WAIT_S}.")


def wanted_wait_s(request: Request) -> int | None:
    """Seconds that the client would wait, at most MOST_WAIT_S; None where it says nothing that can be understood, which
    the RFC has us ignore.
    """
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            value = value.strip().strip('"')
            if name.strip().lower() == "wait" and value.isascii() and value.isdigit():
                return min(int(value[:9]), MOST_WAIT_S)
    return None


def applied(wait_s: int | None) -> dict[str, str]:
    """The header that tells which preference was honoured."""
    return {} if wait_s is None else {"preference-applied": f"wait={wait_s}"}


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; when the client goes away first, `work` is cancelled. The body must have been read."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise InvalidRequest("the connection ended before the answer")
        return task.result()
    finally:
        for it in (task, gone):
            it.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
