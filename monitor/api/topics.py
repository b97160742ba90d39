"""What travels over Kafka, for the contract: events in, commands out."""

from collections.abc import Sequence
from typing import Any, Final

from monitor.engines.base import CancelArgs, ExecuteArgs, RetryArgs
from monitor.engines.kafka import CommandDocument
from monitor.events.cloudevents import ATTRIBUTES
from monitor.events.schema import EventDocument
from monitor.events.types import DERIVED, TYPES
from monitor.web.async_contract import Channel, Exchange, Message
from monitor.web.contract import plain_text

_EVENTS: Final = """Events of executions, by who runs them. `MONITOR_JOURNAL` names the topic; this is its usual name.

A missing topic is made with 12 partitions, and one that is there is taken with those it has. Everything belongs to the
team `default`, or with `MONITOR_TRUST_TEAM=on` to that of `teamId`; headers are not believed. CloudEvents 1.0 are
taken as well: structured, or binary with attributes as headers `ce_...`. A record that is no event is put aside into
quarantine with its reason, never dropped, and the partition goes on."""

_COMMANDS: Final = """Commands for runners. `MONITOR_COMMANDS` names the topic; this is its usual name.

Each runner reads in a consumer group of its own, and answers with `command.accepted` or `command.refused` among the
events."""

_KEY: Final = {"kafka": {"key": {"type": "string", "description": "The `executionId`."}, "bindingVersion": "0.5.0"}}
"""Events and commands of one execution keep their order, in one partition (murmur2)."""


def spoken_topics() -> Sequence[Channel]:
    """Both topics."""
    return [
        Channel(
            id="events",
            address="executions.events.v1",
            doc=_EVENTS,
            servers=("kafka",),
            exchanges=[
                Exchange(id="takeEvents", action="receive", doc="What happens to executions.", messages=_events())
            ],
            bindings=_topic("executions.events.v1"),
        ),
        Channel(
            id="commands",
            address="executions.commands.v1",
            doc=_COMMANDS,
            servers=("kafka",),
            exchanges=[
                Exchange(id="sendCommands", action="send", doc="What runners are asked for.", messages=_commands())
            ],
            bindings=_topic("executions.commands.v1"),
        ),
    ]


def _topic(name: str) -> dict[str, Any]:
    return {"kafka": {"topic": name, "bindingVersion": "0.5.0"}}


def _events() -> list[Message]:
    known = [
        Message(id=kind.name, name=kind.name, doc=kind.doc, payload=kind, bindings=_KEY)
        for kind in TYPES.values()
        if kind.name not in DERIVED
    ]
    unknown = {"type": {"not": {"enum": list(TYPES)}}}
    doc = "An event of a type that the monitor does not know: it changes no state, is kept, and is forwarded."
    other = Message(
        id="event.other", name="any other type", doc=doc, payload=EventDocument, members=unknown, bindings=_KEY
    )
    return [*known, other, _cloud_event()]


def _cloud_event() -> Message:
    text = {"type": "string"}
    return Message(
        id="event.cloudevents",
        name="CloudEvents 1.0, binary",
        doc="An event whose attributes are headers, and whose value is its `data`.",
        payload={"type": ["object", "null"]},
        headers={
            "type": "object",
            "properties": {
                "ce_specversion": {"const": "1.0"},
                **{f"ce_{name}": text for name in ("type", *ATTRIBUTES)},
            },
            "required": ["ce_specversion", "ce_type", "ce_time"],
        },
        bindings=_KEY,
    )


def _commands() -> list[Message]:
    kinds = {"execute": ExecuteArgs, "cancel": CancelArgs, "retry": RetryArgs}
    return [
        Message(
            id=f"command.{kind}",
            name=kind,
            doc=plain_text(args.__doc__),
            payload=CommandDocument,
            members={"kind": {"const": kind}, "args": args},
            bindings=_KEY,
        )
        for kind, args in kinds.items()
    ]
