"""Payloads: the members of an event's `data` that carry what a workflow works on, rather than what happened.

They are kept apart from everything else, each in a slot of its own, and shown to those alone who may see them
(`executions:data`).
"""

from collections.abc import Mapping
from typing import Any, Final

PAYLOADS: Final = (("inputData", "input"), ("outputData", "output"))
"""Members, and the slot in which each is stored. A trigger's `payload` is the third."""

_MEMBERS: Final = frozenset(member for member, _ in PAYLOADS)


def without_payloads(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`data` without its payloads, and without what producers added to lines of a log; itself where it has none."""
    trigger, lines = data.get("trigger"), data.get("lines")
    bare: dict[str, Any] = {}
    if isinstance(trigger, dict) and "payload" in trigger:
        bare["trigger"] = _without("payload", trigger)
    if isinstance(lines, list) and any(isinstance(line, dict) and "data" in line for line in lines):
        bare["lines"] = [_without("data", line) if isinstance(line, dict) else line for line in lines]
    if not bare and _MEMBERS.isdisjoint(data):
        return data
    return {name: bare.get(name, value) for name, value in data.items() if name not in _MEMBERS}


def _without(name: str, members: Mapping[str, Any]) -> dict[str, Any]:
    return {other: value for other, value in members.items() if other != name}
