"""Answers that are no errors: JSON, the position that a read stands at, and what its version saves to send again.

Written by msgspec, which also read what strangers sent: whatever it took it can write. Payloads go through as the
bytes that are stored (`msgspec.Raw`), without being parsed again.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from pydantic import WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from monitor.web.params import Text

Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in an answer: RFC 3339 in UTC."""

POSITION_HEADER: Final = "monitor-position"
"""How far the state was folded that an answer shows; fit for `minPosition` and for starting a stream."""


IF_NONE_MATCH: Final = Text("If-None-Match", "An ETag: answer with 304 while the version is still that one.")
"""Makes a read conditional."""


def json_reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def read_reply(content: object, position: str, *, secret: bool = False) -> Response:
    """The answer to a read. Nobody may keep it without asking again: state is live. A `secret` one nobody may keep."""
    headers = _read_headers(position)
    return json_reply(content, headers={**headers, "cache-control": "no-store"} if secret else headers)


def versioned_reply(request: Request, content: object, position: str, version: int) -> Response:
    """The answer to a read of one execution: with its version as ETag, and 304 for who has that version already."""
    headers = {**_read_headers(position), "etag": f'"{version}"'}
    if is_known(request.headers.get("if-none-match", ""), version):
        return Response(status_code=304, headers=headers)
    return json_reply(content, headers=headers)


def is_known(if_none_match: str, version: int) -> bool:
    """Whether an `If-None-Match` names `version` (RFC 9110, 13.1.2: a list of tags, compared weakly, or `*`)."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", f'"{version}"') for tag in tags)


def _read_headers(position: str) -> dict[str, str]:
    return {POSITION_HEADER: position, "cache-control": "private, no-cache"}
