"""What a stream's address says: a channel in the path, a subscription in the query string; the same for each transport.

Unknown parameters are refused: a misspelt filter that is ignored would show the wrong executions.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from starlette.datastructures import QueryParams
from starlette.types import Scope

from monitor.errors import InvalidRequest
from monitor.fanout.channels import ALL, Subscription, channel, event_pattern
from monitor.projections.filter import parse_query
from monitor.streams.session import MAX_CHANNELS, MAX_PATTERNS, OpenToken, Start, read_start
from monitor.web.params import check_names, take_one
from monitor.web.paths import sent_path

_EVERYTHING: Final = "/v1/executions/stream"
_ONE: Final = re.compile(r"/v1/executions/([^/]+)/stream")

_KNOWN: Final = ("channels", "events", "position", "logs")


class Wish(NamedTuple):
    """What an address asks for."""

    subscription: Subscription
    start: Start
    # Whether it says anything beyond "the stream": a WebSocket then is subscribed at once.
    explicit: bool


def is_stream(scope: Scope) -> bool:
    """Whether the address is one of a stream."""
    path = sent_path(scope)
    return path == _EVERYTHING or _ONE.fullmatch(path) is not None


def read_wish(scope: Scope, now_us: int, open_token: OpenToken) -> Wish:
    """The subscription in an address. Raises InvalidRequest, InvalidFilter or InvalidPosition."""
    query = QueryParams(scope.get("query_string", b""))
    check_names(query, _KNOWN, filters=True)
    preset = _ONE.fullmatch(sent_path(scope))
    channels = _words(query, "channels", MAX_CHANNELS)
    if preset and channels:
        raise InvalidRequest("this address is one channel already", field="channels")
    if preset:
        channels = [f"execution:{unquote(preset[1])}"]
    events = _words(query, "events", MAX_PATTERNS)
    subscription = Subscription(
        frozenset(map(channel, channels or [ALL])),
        frozenset(map(event_pattern, events)) if events else None,
        parse_query(query.multi_items(), now_us),
        _switch(query, "logs"),
    )
    return Wish(subscription, read_start(take_one(query, "position"), open_token), bool(query or preset))


def _words(query: QueryParams, name: str, most: int) -> list[str]:
    words = [word for said in query.getlist(name) for word in said.split(",")]
    if len(words) > most:
        raise InvalidRequest(f"'{name}' takes at most {most} words", field=name)
    return words


def _switch(query: QueryParams, name: str) -> bool:
    said = take_one(query, name) or "0"
    if said not in ("0", "1", "true", "false"):
        raise InvalidRequest(f"'{name}' is 1 or 0", field=name)
    return said in ("1", "true")
