"""`/openapi.json` and `/asyncapi.json`: what this service takes, answers and says, for programs.

Each is made when it is first asked for, in a thread, for that takes a second or two, and kept.
"""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from monitor.web.operations import Answer, Open
from monitor.web.replies import is_known

Render = Callable[[], dict[str, Any]]
"""Makes a document."""


def addresses(*, openapi: Render, asyncapi: Render) -> list[Open]:
    """The addresses of this file."""
    any_json = (Answer(dict[str, Any], headers=("etag",)), Answer(status=304, headers=("etag",)))
    return [
        Open("/openapi.json", _OpenApi(openapi).document, answers=any_json),
        Open("/asyncapi.json", _AsyncApi(asyncapi).document, answers=any_json),
    ]


@dataclass(slots=True)
class _Document:
    render: Render
    _content: bytes = field(default=b"", init=False)
    _making: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def reply(self, request: Request) -> Response:
        """The document, or 304 for who has it already."""
        async with self._making:
            self._content = self._content or await asyncio.to_thread(self._made)
        version = zlib.crc32(self._content)
        headers = {"etag": f'"{version}"', "cache-control": "no-cache"}
        if is_known(request.headers.get("if-none-match", ""), version):
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers, media_type="application/json")

    def _made(self) -> bytes:
        return msgspec.json.encode(self.render())


class _OpenApi(_Document):
    async def document(self, request: Request) -> Response:
        """The REST half of the contract: OpenAPI 3.1."""
        return await self.reply(request)


class _AsyncApi(_Document):
    async def document(self, request: Request) -> Response:
        """The other half: topics, streams and webhooks, in AsyncAPI 3.0."""
        return await self.reply(request)
