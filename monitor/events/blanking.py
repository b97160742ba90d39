"""Blanks: what is left in the journal of a record whose execution was deleted.

A blank tells the same fact (type, execution, time, id, source, order) without what it told of the execution: of its
data only what orders status and is counted stays. So nobody who reads on, reads again or folds anew misses a record,
and none is taken for another one: the checksum and the anchor of the bytes of before stay beside it. Pure.
"""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from monitor.events.codec import encode, parse_time_us
from monitor.events.model import TEAM_HEADER, Event, Original, Record
from monitor.events.types import TYPES


def anchor_of(record: Record) -> bytes:
    """Eight bytes that recognise a record when the journal is opened again; a blank keeps those of its original."""
    if record.original is not None:
        return record.original.anchor
    mark = blake2b(digest_size=8, person=b"monitor-anchor")
    mark.update(b"%d\0" % record.offset)
    mark.update(record.value or b"")
    return mark.digest()


def blank_of(event: Event) -> Record:
    """The blank that takes the place of the event's record."""
    record = event.record
    bare = msgspec.structs.replace(event, data=_counted(event), traceparent=None, tracestate=None)
    return record._replace(
        value=encode(bare),
        # Attributes of a CloudEvent would be read as the event.
        headers=tuple(header for header in record.headers if header[0] == TEAM_HEADER),
        original=Original(event.checksum, anchor_of(record)),
    )


def _counted(event: Event) -> dict[str, Any]:
    """What of its data is counted or orders what is; words of the producer's own are none of it."""
    data, kind = event.data, TYPES.get(event.type)
    if kind is None:
        return {}
    kept = {name: data[name] for name, is_fit in _KEPT.items() if is_fit(data.get(name))}
    if isinstance(status := data.get("status"), str) and status in kind.outcomes:
        kept["status"] = status
    trigger = data.get("trigger")
    if isinstance(said := trigger.get("type") if isinstance(trigger, Mapping) else trigger, str):
        kept["trigger"] = {"type": said}
    if kind.family == "node":
        kept["nodeId"] = data["nodeId"]
    elif kind.family == "command":
        kept["commandId"] = data["commandId"]
    elif kind.family == "log":
        kept["lines"] = [{"message": ""}]
    return kept


def _is_number(said: object) -> bool:
    return type(said) in (int, float)


def _is_time(said: object) -> bool:
    try:
        return isinstance(said, str) and parse_time_us(said) >= 0
    except ValueError:
        return False


def _is_flag(said: object) -> bool:
    return said is True


_KEPT: Final[Mapping[str, Callable[[object], bool]]] = {
    "duration": _is_number,
    "iteration": _is_number,
    "attempt": _is_number,
    "provisional": _is_flag,
    "final": _is_flag,
    # Of verdicts: the evidence that they rest on.
    "asOf": _is_time,
    # Of commands: which ones would have begun it.
    "kind": ("execute", "retry").__contains__,
}
