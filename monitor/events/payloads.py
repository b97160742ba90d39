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
    """`data` without its payloads; itself where it has none."""
    trigger = data.get("trigger")
    has_payload = isinstance(trigger, dict) and "payload" in trigger
    if not has_payload and _MEMBERS.isdisjoint(data):
        return data
    kept = {name: value for name, value in data.items() if name not in _MEMBERS}
    if isinstance(trigger, dict) and has_payload:
        kept["trigger"] = {name: value for name, value in trigger.items() if name != "payload"}
    return kept
