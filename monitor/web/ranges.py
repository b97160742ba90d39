"""`Range` and `If-Range`: the rest of a file for whose download was cut off (RFC 9110, 13.1.5 and 14)."""

import re
from typing import Final, NamedTuple

from starlette.datastructures import Headers

from monitor.errors import RangeNotSatisfiable
from monitor.web.params import Text

RANGE: Final = Text("Range", "Which bytes: `bytes=1000-` is all but the first thousand.")
IF_RANGE: Final = Text("If-Range", "The ETag of which the range is to be; all of the file where it is another one.")

_ONE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class Span(NamedTuple):
    """Bytes from `start` up to before `end`."""

    start: int
    end: int


def take_range(headers: Headers, size_bytes: int, etag: str) -> Span | None:
    """The bytes that are asked for; None for all of them.

    What is no single range of bytes is passed over, as the RFC permits. Raises RangeNotSatisfiable.
    """
    asked = _ONE.fullmatch(headers.get("range", "").strip())
    if asked is None or asked.group() == "bytes=-" or headers.get("if-range", etag).strip() != etag:
        return None
    first, last = asked.groups()
    if not first:
        span = Span(max(0, size_bytes - int(last)), size_bytes)
    elif last and int(last) < int(first):
        return None
    else:
        span = Span(int(first), min(int(last) + 1, size_bytes) if last else size_bytes)
    if span.start >= span.end:
        refusal = RangeNotSatisfiable(size=size_bytes)
        refusal.headers = {"content-range": f"bytes */{size_bytes}"}
        raise refusal
    return span
