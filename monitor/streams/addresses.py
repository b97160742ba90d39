"""What a stream's address says: a channel in the path, a subscription in the query string; the same for each transport.

Unknown parameters are refused: a misspelt filter that is ignored would show the wrong executions. In which form a GET
is answered, `Accept` says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from starlette.datastructures import QueryParams
from starlette.types import Scope

from monitor.errors import InvalidRequest, NotAcceptable
from monitor.fanout.channels import ALL, Subscription, channel, event_pattern
from monitor.projections.filter import parse_query
from monitor.streams.messages import MAX_PATTERNS
from monitor.streams.session import MAX_CHANNELS, OpenToken, Showing, Start, read_showing, read_start
from monitor.web.auth import TICKET
from monitor.web.params import FILTERS, Parameter, Text, Word, check_names, take_one
from monitor.web.paths import sent_path

Form = Literal["sse", "ndjson"]

_EVERYTHING: Final = "/v1/executions/stream"
_ONE: Final = re.compile(r"/v1/executions/([^/]+)/stream")

_SWITCH: Final = ("0", "1", "false", "true")

PARAMETERS: Final[Sequence[Parameter]] = (
    Text("channels", "executions, workflow:ID or execution:ID, separated by commas; everything where nothing is said."),
    Text("events", "Types, or beginnings of types such as node.*, separated by commas; else the lifecycle types."),
    Text("snapshot", "What is shown first: none, active, or recent:N with up to 1000."),
    Text("position", "Where to begin: a position, now, earliest or a time in ISO 8601."),
    Word("logs", _SWITCH, "Whether log lines are told."),
    Word("named", _SWITCH, "Whether server-sent events have their type as name."),
    Text(TICKET, "A ticket of POST /v1/stream-tickets, for who can send no header."),
    FILTERS,
)
"""What the addresses take beside what is in their path."""

_KNOWN: Final = [it.name for it in PARAMETERS if it is not FILTERS]

_FORMS: Final[Mapping[Form, str]] = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}
"""Media types of the forms; of two that are equally welcome, the first."""

_QUALITY: Final = re.compile(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)")

_MINUTE_US: Final = 60_000_000


class Wish(NamedTuple):
    """What an address asks for."""

    subscription: Subscription
    start: Start
    showing: Showing
    # Event types as names of server-sent events.
    named: bool
    # The execution whose end ends the stream; None = it goes on for ever.
    ends: str | None
    # Whether it says anything beyond "the stream": a WebSocket then is subscribed at once.
    explicit: bool


def is_stream(scope: Scope) -> bool:
    """Whether the address is one of a stream."""
    path = sent_path(scope)
    return path == _EVERYTHING or _ONE.fullmatch(path) is not None


def read_wish(scope: Scope, form: Form | Literal["websocket"], now_us: int, open_token: OpenToken) -> Wish:
    """The subscription in an address. Raises InvalidRequest, InvalidFilter or InvalidPosition."""
    query = QueryParams(scope.get("query_string", b""))
    check_names(query, _KNOWN, filters=True)
    one = _ONE.fullmatch(sent_path(scope))
    ends = unquote(one[1]) if one else None
    said, named = take_one(query, "snapshot"), _switch(query, "named")
    if named and form != "sse":
        raise InvalidRequest("only server-sent events have names; the frames here have a 'type'", field="named")
    return Wish(
        _subscription(query, ends, now_us),
        read_start(take_one(query, "position"), open_token),
        # Who follows one execution wants to see how it stands.
        read_showing("active" if said is None and ends else said),
        named,
        ends,
        bool(one or query.keys() - {TICKET}),
    )


def read_form(accept: Iterable[str]) -> Form:
    """The form that these `Accept` headers prefer (RFC 9110, 12.5.1). Raises NotAcceptable where they take neither."""
    ranges = dict(_range(said) for header in accept for said in header.split(",") if said.strip())
    form = max(_FORMS, key=lambda form: _welcome(_FORMS[form], ranges))
    if ranges and not _welcome(_FORMS[form], ranges)[0]:
        raise NotAcceptable(f"a stream is {' or '.join(_FORMS.values())}")
    return form


def _range(said: str) -> tuple[str, float]:
    """A media range and its quality."""
    name, *parameters = said.lower().split(";")
    qualities = [found[1] for parameter in parameters if (found := _QUALITY.fullmatch(parameter.strip()))]
    return name.strip(), float(qualities[0]) if qualities else 1.0


def _welcome(media_type: str, ranges: Mapping[str, float]) -> tuple[float, int]:
    """How welcome a type is: by the range that comes closest to it, and then by how close that is."""
    closest_first = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next(((ranges[name], -far) for far, name in enumerate(closest_first) if name in ranges), (0.0, 0))


def _subscription(query: QueryParams, ends: str | None, now_us: int) -> Subscription:
    channels = _words(query, "channels", MAX_CHANNELS)
    if ends is not None and channels:
        raise InvalidRequest("this address is one channel already", field="channels")
    events = _words(query, "events", MAX_PATTERNS)
    return Subscription(
        frozenset(map(channel, channels or [ALL if ends is None else f"execution:{ends}"])),
        frozenset(map(event_pattern, events)) if events else None,
        # In whole minutes, so that "the last day" of clients that come one after the other is one filter for the hub.
        parse_query(query.multi_items(), now_us - now_us % _MINUTE_US),
        _switch(query, "logs"),
    )


def _words(query: QueryParams, name: str, most: int) -> list[str]:
    words = [word for said in query.getlist(name) for word in said.split(",")]
    if len(words) > most:
        raise InvalidRequest(f"'{name}' takes at most {most} words", field=name)
    return words


def _switch(query: QueryParams, name: str) -> bool:
    said = take_one(query, name)
    if said is None:
        return False
    if said not in _SWITCH:
        raise InvalidRequest(f"'{name}' is 1 or 0", field=name)
    return said in ("1", "true")
