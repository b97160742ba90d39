"""Other origins: which web pages elsewhere may use the API from a browser, and what their scripts may read of answers.

The headers of CORS are Starlette's. A page that is not named gets no such header, so that its scripts read nothing;
what it may send at all is decided where credentials are taken.
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

SENT_HEADERS: Final = (
    *("authorization", "content-type", "idempotency-key", "if-none-match", "last-event-id", "prefer"),
    *("x-csrf-token", "x-n8n-api-key"),
)
"""What scripts of other origins may send."""

READ_HEADERS: Final = (
    *("etag", "location", "monitor-position", "preference-applied", "retry-after"),
    *("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
)
"""What they may read."""

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_PREFLIGHT_S: Final = 600


def open_to(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """`app`, which scripts of `origins` may use too. Without any: itself."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=_METHODS,
        allow_headers=SENT_HEADERS,
        allow_credentials=True,
        expose_headers=READ_HEADERS,
        max_age=_PREFLIGHT_S,
    )


def is_own_page(headers: Headers, origins: Collection[str]) -> bool:
    """Whether a request comes from a page of this service, of `origins`, or from none at all.

    Browsers name the origin of whatever changes something and of every WebSocket; where they leave it out, the page
    reads from its own origin (`Sec-Fetch-Site`), or somebody typed the address.
    """
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    try:
        authority = urlsplit(origin).netloc
    except ValueError:
        return False
    return origin.lower() in origins or (bool(authority) and authority.lower() == headers.get("host", "").lower())
