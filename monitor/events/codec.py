"""Bytes to events and back. `decode` never raises: strangers' bytes become an Event or a Poison that says why.

Accepted forms: the canonical JSON event, CloudEvents 1.0 structured (`specversion` in the JSON) and binary (`ce_` or
`ce-` headers). The hot decoder is msgspec; `EventDocument` (schema.py) is the same contract in pydantic, and a
differential test holds them equal. What comes in can go out again, whichever JSON writer writes it.
"""

import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Final

import msgspec
import orjson
from msgspec import Meta

from monitor.events import cloudevents
from monitor.events.model import DEFAULT_TEAM, MAX_EVENT_BYTES, MAX_ID_CHARACTERS, Event, Poison, Record, Refusal
from monitor.events.types import CONTROL_PREFIX, DERIVED, TYPES, Family

TeamOf = Callable[[Record, str | None], str | None]
"""Team of a record, given the `teamId` of its body; None when the body claims a team that it must not."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_US: Final = 4_102_444_800_000_000
"""2100-01-01: a later time is a broken clock or an attack on everything that sorts by time."""

_LARGEST_INTEGER: Final = (1 << 53) - 1
"""Beyond it JSON readers in other languages lose digits (RFC 8259, section 6)."""

MAX_NESTING: Final = 128
"""Levels of `data`: more than workflows make, so few that no reader or writer of JSON runs out of stack."""

ORDINAL_HEADER: Final = "monitor-ordinal"
"""Set by intake on the second and later of identical items without an id in one request."""

DERIVED_ID_CHARACTERS: Final = 32
"""Sixteen bytes in hexadecimal digits."""

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class _Wire(msgspec.Struct, rename="camel", gc=False):
    type: _Id
    execution_id: _Id
    timestamp: Annotated[str, Meta(max_length=64)]
    workflow_id: _Id | None = None
    id: _Id | None = None
    source: _Id | None = None
    sequence: Annotated[int, Meta(ge=1, le=_LARGEST_INTEGER)] | None = None
    epoch: Annotated[int, Meta(ge=0, le=_LARGEST_INTEGER)] = 0
    data: dict[str, Any] | None = None
    backfill: bool = False
    team_id: _Id | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    specversion: str | None = None


_decoder: Final = msgspec.json.Decoder(_Wire)


class _Claim(msgspec.Struct, gc=False):
    """What any JSON object says of its team, whatever else is wrong with it: as an event, or as a CloudEvent."""

    team: Any = msgspec.field(name="teamId", default=None)
    extension: Any = msgspec.field(name="teamid", default=None)


_claims: Final = msgspec.json.Decoder(_Claim)


def decode(record: Record, team_of: TeamOf, *, is_known: bool = False) -> Event | Poison:
    """The event in `record`, or the poison that it is. Pure; never raises on any bytes.

    `is_known`: it was folded before. What was found fit then is not looked at again, which is a quarter of the work.
    """
    value = record.value
    try:
        if not value:
            raise Refusal("empty", None, "the record has no value")
        if len(value) > MAX_EVENT_BYTES:
            raise Refusal("too_large", None, f"the event has {len(value)} bytes; at most {MAX_EVENT_BYTES} are taken")
        return _event(record, value, _read(record, value), team_of, is_known)
    except Refusal as refusal:
        return Poison(record, refusal.reason, refusal.field, refusal.message, _owner(record, team_of))


def encode(event: Event) -> bytes:
    """The event as canonical JSON, with its id and team: reads as the same event again, but for its checksum."""
    members: dict[str, Any] = {
        "type": event.type,
        "executionId": event.execution_id,
        "workflowId": event.workflow_id,
        "timestamp": event.timestamp,
        "id": event.id,
        "teamId": event.team,
        "source": event.source or None,
        "sequence": event.sequence or None,
        "epoch": event.epoch or None,
        "backfill": event.backfill or None,
        "traceparent": event.traceparent,
        "tracestate": event.tracestate,
        "data": event.data,
    }
    return msgspec.json.encode({name: value for name, value in members.items() if value is not None})


def parse_time_us(text: str) -> int:
    """Microseconds since 1970-01-01 UTC of an RFC 3339 time with an offset. Raises ValueError with a plain sentence."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise ValueError("is not an RFC 3339 time such as 2026-11-22T10:30:01.204Z") from None
    if moment.tzinfo is None:
        raise ValueError("names no offset from UTC; append Z or +00:00")
    since = moment - _EPOCH
    time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not 0 <= time_us < LATEST_US:
        raise ValueError("lies outside the years 1970 to 2099")
    return time_us


def format_time(time_us: int) -> str:
    """RFC 3339 in UTC with milliseconds, as every answer of the service spells times."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us // 1000 % 1000:03d}Z"


def format_time_us(time_us: int) -> str:
    """The same with microseconds, where a time is compared with what an engine wrote."""
    return f"{format_time(time_us)[:-4]}{time_us % 1_000_000:06d}Z"


def digest_of(event_id: str) -> bytes:
    """Sixteen bytes that stand for an event id: BLAKE2b, so that strangers cannot make two ids collide."""
    return blake2b(event_id.encode(), digest_size=16).digest()


def derived_id(source: str, value: bytes, ordinal: int = 0) -> str:
    """The id of an event that came without one: equal for equal bytes of a source.

    `ordinal` tells apart identical items of one request, which are separate facts.
    """
    mark = blake2b(digest_size=16, person=b"monitor-event-id")
    mark.update(source.encode())
    mark.update(b"\0%d\0" % ordinal)
    mark.update(value)
    return mark.hexdigest()


def _read(record: Record, value: bytes) -> _Wire:
    if record.headers and cloudevents.is_binary(record.headers):
        return _convert(cloudevents.from_binary(record.headers, _loads(value)))
    if not value.isascii():
        # The decoder skips members that it does not know, so it would not see that their text is none.
        _check_utf8(value)
    try:
        wire = _decoder.decode(value)
    except msgspec.ValidationError:
        # A CloudEvent may lack our members, and of members that occur twice the last one holds.
        document = _loads(value)
        is_foreign = isinstance(document, dict) and "specversion" in document
        return _convert(cloudevents.from_structured(document) if is_foreign else document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(error) from None
    if wire.specversion is not None:
        return _convert(cloudevents.from_structured(_loads(value)))
    return wire


def _owner(record: Record, team_of: TeamOf) -> str:
    """Whose a record is that holds no event: by where it came in, and what it says where that is believed."""
    return team_of(record, _claimed_team(record.value)) or team_of(record, None) or DEFAULT_TEAM


def _claimed_team(value: bytes | None) -> str | None:
    if not value or len(value) > MAX_EVENT_BYTES:
        return None
    try:
        claim = _claims.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    said = claim.team or claim.extension
    return said if isinstance(said, str) and len(said) <= MAX_ID_CHARACTERS and said.isprintable() else None


def _check_utf8(value: bytes) -> None:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise _malformed(error) from None


def _loads(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> Refusal:
    return Refusal("malformed_json", None, f"the event is not JSON: {error}")


def _convert(document: Any) -> _Wire:
    try:
        return msgspec.convert(document, _Wire)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: msgspec.ValidationError) -> Refusal:
    """msgspec says `Expected ... - at `$.member``, or `Object missing required field `member``: keep both parts."""
    text, _, path = str(error).partition(" - at `$")
    if text.startswith("Object missing required field"):
        field = text.split("`")[1]
        return Refusal("missing_field", field, f"'{field}' is required")
    return Refusal("invalid_field", path.strip("`.") or None, text)


def _event(record: Record, value: bytes, wire: _Wire, team_of: TeamOf, is_known: bool) -> Event:
    name, source, data = wire.type, wire.source or "", wire.data or {}
    event_id = wire.id or derived_id(source, value, _ordinal(record))
    if not is_known:
        _check_names(wire, event_id)
    try:
        time_us = parse_time_us(wire.timestamp)
    except ValueError as error:
        raise Refusal("invalid_field", "timestamp", f"'timestamp' {error}") from None
    team = team_of(record, wire.team_id)
    if team is None:
        raise Refusal("foreign_team", "teamId", "'teamId' is not the team that this event came in for")
    if not is_known:
        _check_data(value, name, data)
    return Event(
        record,
        team,
        name,
        wire.execution_id,
        wire.workflow_id,
        time_us,
        wire.timestamp,
        event_id,
        digest_of(event_id),
        zlib.crc32(value) if record.original is None else record.original.checksum,
        source,
        wire.sequence or 0,
        wire.epoch,
        wire.backfill,
        data,
        wire.traceparent,
        wire.tracestate,
    )


def _check_names(wire: _Wire, event_id: str) -> None:
    name = wire.type
    if not f"{name}{wire.execution_id}{wire.workflow_id}{event_id}{wire.source}{wire.team_id}".isprintable():
        raise _unprintable(wire)
    if name.startswith(CONTROL_PREFIX) or name in DERIVED:
        raise Refusal("forbidden_type", "type", f"'{name}' is reserved for the monitor itself")


def _ordinal(record: Record) -> int:
    for name, raw in record.headers:
        if name == ORDINAL_HEADER and raw.isdigit() and len(raw) < 10:
            return int(raw)
    return 0


def _unprintable(wire: _Wire) -> Refusal:
    texts = {
        "type": wire.type,
        "executionId": wire.execution_id,
        "workflowId": wire.workflow_id,
        "id": wire.id,
        "source": wire.source,
        "teamId": wire.team_id,
    }
    field = next(field for field, text in texts.items() if text is not None and not text.isprintable())
    return Refusal("invalid_field", field, f"'{field}' holds characters that cannot be printed")


# --- data ------------------------------------------------------------------------------------------------------------


def _check_data(value: bytes, name: str, data: dict[str, Any]) -> None:
    """Only what identifies a fact must be right, and everything must be fit to be written again."""
    # Hardly an event has so many brackets at all; only those that do are walked. (Removing a byte and measuring is
    # twice as fast as counting it.)
    brackets = 2 * len(value) - len(value.replace(b"{", b"")) - len(value.replace(b"[", b""))
    if brackets > MAX_NESTING and _is_deeper(data, MAX_NESTING):
        raise Refusal("invalid_field", "data", f"'data' is nested more than {MAX_NESTING} levels deep")
    try:
        orjson.dumps(data)
    except TypeError:
        raise Refusal("invalid_field", "data", "'data' holds a whole number of more than 64 bits") from None
    kind = TYPES.get(name)
    if kind is not None and (check := _CHECKS.get(kind.family)):
        check(data)


def _is_deeper(data: Any, levels: int) -> bool:
    level = [data]
    for _ in range(levels):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _check_node(data: dict[str, Any]) -> None:
    _check_id("nodeId", data)
    for field, least in (("iteration", 0), ("attempt", 1)):
        number = data.get(field)
        if number is not None and (type(number) is not int or not least <= number <= _LARGEST_INTEGER):
            raise Refusal("invalid_field", f"data.{field}", f"'data.{field}' is a whole number from {least}")


def _check_command(data: dict[str, Any]) -> None:
    _check_id("commandId", data)


def _check_id(field: str, data: dict[str, Any]) -> None:
    said = data.get(field)
    if not isinstance(said, str) or not 0 < len(said) <= MAX_ID_CHARACTERS or not said.isprintable():
        raise Refusal("invalid_field", f"data.{field}", f"'data.{field}' is required: 1 to 256 printable characters")


def _check_lines(data: dict[str, Any]) -> None:
    lines = data.get("lines")
    if not isinstance(lines, list) or not lines or not all(map(_is_line, lines)):
        message = "'data.lines' is required: a list of log lines, each with a message"
        raise Refusal("invalid_field", "data.lines", message)


def _is_line(line: object) -> bool:
    return isinstance(line, dict) and isinstance(line.get("message"), str)


_CHECKS: Final[dict[Family, Callable[[dict[str, Any]], None]]] = {
    "node": _check_node,
    "log": _check_lines,
    "command": _check_command,
}
"""What `data` must hold, by family of types; executions ask for nothing."""
