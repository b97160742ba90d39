"""`/docs`: the contract for people, rendered by this service from the document that programs get at `/openapi.json`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.dashboard.files import File
from monitor.dashboard.reference import reference
from monitor.web.catalogues import catalogues

Render = Callable[[], dict[str, Any]]
"""Makes the document."""


def routes(openapi: Render) -> list[Route]:
    """The page, and what it loads."""
    return [
        Route("/docs", _Docs(openapi).reply),
        Route("/static/docs.js", File.read("docs.js", "text/javascript").reply),
        Route("/static/docs.css", File.read("docs.css", "text/css").reply),
    ]


@dataclass(slots=True)
class _Docs:
    openapi: Render
    # Made when it is first asked for: it costs a start nothing.
    file: File | None = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reply(self, request: Request) -> Response:
        """The page, or 304 for who has it already."""
        async with self.making:
            # In a thread, for it takes a second or two.
            if self.file is None:
                page = await asyncio.to_thread(self._page)
                self.file = File.of(page, "text/html")
        return await self.file.reply(request)

    def _page(self) -> bytes:
        return reference(self.openapi(), catalogues())
