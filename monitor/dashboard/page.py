"""The page's three files, read once at the start and sent under a policy that lets nothing foreign run.

Plain files without a build. They tell nothing of any execution: what the page shows, it reads from the API as everybody
does. `app` puts these routes before the doors in words, which everybody but a browser gets at `/`.
"""

import zlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from monitor.web.replies import is_known

_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
        # Strangers' text is only ever shown: the browser itself refuses to take any of it for markup.
        *("require-trusted-types-for 'script'", "trusted-types 'none'"),
    ]
)

_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # Kept, but asked for again each time: the three files of one version belong together.
    "cache-control": "no-cache",
    # At `/` others get something else.
    "vary": "accept",
}


def routes() -> list[Route]:
    """The page for browsers, and what it loads."""
    return [
        _ForBrowsers("/", _read("page.html", "text/html").reply),
        Route("/static/page.js", _read("page.js", "text/javascript").reply),
        Route("/static/page.css", _read("page.css", "text/css").reply),
    ]


class _ForBrowsers(Route):
    """A route for who says that HTML is welcome; `curl` and other programs go on to the next one."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            return Match.NONE, {}
        return super().matches(scope)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    # Its ETag: another one whenever the content is another.
    version: int

    async def reply(self, request: Request) -> Response:
        """The file, or 304 for who has it already."""
        headers = {**_HEADERS, "etag": f'"{self.version}"'}
        if is_known(request.headers.get("if-none-match", ""), self.version):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def _read(name: str, media_type: str) -> _File:
    content = files(__package__).joinpath(name).read_bytes()
    return _File(content, media_type, zlib.crc32(content))
