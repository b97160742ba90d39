"""What browsers are sent: files under a policy that lets nothing foreign run, each kept until it changes."""

import zlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Self

from starlette.requests import Request
from starlette.responses import Response

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
    # Kept, but asked for again each time: the files of one version belong together.
    "cache-control": "no-cache",
    # At `/` others get something else.
    "vary": "accept",
}


@dataclass(frozen=True, slots=True)
class File:
    """One of them."""

    content: bytes
    media_type: str
    # Its ETag: another one whenever the content is another.
    version: int

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Self:
        """The file with this content."""
        return cls(content, media_type, zlib.crc32(content))

    @classmethod
    def read(cls, name: str, media_type: str) -> Self:
        """The file of this name beside this module."""
        return cls.of(files(__package__).joinpath(name).read_bytes(), media_type)

    async def reply(self, request: Request) -> Response:
        """The file, or 304 for who has it already."""
        headers = {**_HEADERS, "etag": f'"{self.version}"'}
        if is_known(request.headers.get("if-none-match", ""), self.version):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)
