"""What a client's messages say, read strictly: JSON objects whose members are known, typed and bounded.

Everything raises InvalidRequest or InvalidFilter naming the member at fault. The session decides what follows from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from monitor.errors import InvalidRequest, MonitorError
from monitor.fanout.channels import EVERYTHING, Subscription, channel, event_pattern
from monitor.fanout.controls import Answered, Problem
from monitor.projections.filter import Filter, parse_json

MAX_PATTERNS: Final = 100
"""Event types and patterns of one subscription."""

MAX_ECHO_CHARACTERS: Final = 256
"""Of each text that an answer repeats from its question: answers stay small whatever was asked."""

NOTHING: Final = Subscription(frozenset())
"""What a subscription is before anybody says anything."""

Item = TypeVar("Item")


def read_document(message: str | bytes) -> Mapping[str, Any]:
    """The object in a message."""
    if isinstance(message, bytes):
        raise InvalidRequest("messages are text, not binary")
    try:
        document = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the message is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest("the message is not a JSON object")
    return document


def read_echo(document: Mapping[str, Any]) -> Answered:
    """The `id` that the answer repeats; empty where there is none."""
    said = document.get("id")
    if said is None:
        return {}
    if isinstance(said, bool) or not isinstance(said, str | int) or len(str(said)) > MAX_ECHO_CHARACTERS:
        raise InvalidRequest(f"'id' is a whole number or at most {MAX_ECHO_CHARACTERS} characters", field="id")
    return {"id": said}


def read_name(document: Mapping[str, Any]) -> str | None:
    """The name of a subscription; None where there is none."""
    said = document.get("name")
    if said is None or (isinstance(said, str) and 0 < len(said) <= MAX_ECHO_CHARACTERS and said.isprintable()):
        return said
    raise InvalidRequest(f"'name' is 1 to {MAX_ECHO_CHARACTERS} printable characters", field="name")


def read_channels(said: object) -> frozenset[str]:
    """At least one channel."""
    return _items(said, "channels", channel)


def altered(before: Subscription, document: Mapping[str, Any]) -> Subscription:
    """`before` with the members that a message gives; null puts one back to what it is when nobody says anything."""
    return replace(before, **{name: read(document[name]) for name, read in _READERS.items() if name in document})


def problem_members(error: MonitorError) -> Problem:
    """The members of `stream.error`, without repeating all of a long message."""
    details = {name: _bounded(said) for name, said in error.details.items()}
    return {**details, "code": error.code, "message": _bounded(error.message)}  # type: ignore[typeddict-item]


def _bounded(said: Any) -> Any:
    return said[:MAX_ECHO_CHARACTERS] if isinstance(said, str) else said


def _events(said: object) -> frozenset[str] | None:
    if said is None:
        return None
    if len(events := _items(said, "events", event_pattern)) > MAX_PATTERNS:
        raise InvalidRequest(f"'events' names at most {MAX_PATTERNS} types", field="events")
    return events


def _filter(said: object) -> Filter:
    if said is None:
        return EVERYTHING
    if not isinstance(said, dict):
        raise InvalidRequest('\'filter\' is an object such as {"status": ["failed"]}', field="filter")
    return parse_json(said)


def _logs(said: object) -> bool:
    if said is not None and not isinstance(said, bool):
        raise InvalidRequest("'logs' is true or false", field="logs")
    return bool(said)


def _items(said: object, name: str, read: Callable[[object], Item]) -> frozenset[Item]:
    if not isinstance(said, list) or not said:
        raise InvalidRequest(f"'{name}' is a list, and not an empty one", field=name)
    return frozenset(map(read, said))


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "channels": read_channels,
    "events": _events,
    "filter": _filter,
    "logs": _logs,
}
