"""The contract of topics, streams and webhooks as AsyncAPI 3.0, rendered from the declarations that speak there.

Rooms tell their channels: who sends what there, by the types that their messages are made of. What is the same for all
(servers, credentials, the schemas of events) is added here. Made when somebody asks for it first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from monitor import __version__
from monitor.events.schema import event_schema
from monitor.events.types import TYPES, EventType
from monitor.web.auth import COOKIE, TICKET
from monitor.web.contract import plain_text
from monitor.web.schemas import REF, Json, Mode, Schemas

Server = Literal["http", "websocket", "kafka", "receiver"]

Action = Literal["send", "receive"]
"""What this service does with a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of message."""

    # Unique in the contract.
    id: str
    # What its `type` says, or what else tells it from others.
    name: str
    doc: str
    # A TypedDict, a pydantic model, or a type of events.
    payload: object
    # Members of which more is known here than there, by name: a schema, or a type as above. A constant is always there.
    members: Mapping[str, object] = field(default_factory=dict)
    # Of its headers: a TypedDict, or a schema; None = it has none that say anything.
    headers: object = None
    # How it looks on some protocols.
    bindings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What is said on a channel at one occasion."""

    id: str
    action: Action
    doc: str
    messages: Sequence[Message]
    # What one of them is answered with, on the same channel.
    replies: Sequence[Message] = ()
    bindings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Where messages go."""

    id: str
    # None = each receiver chooses it.
    address: str | None
    doc: str
    servers: Sequence[Server]
    exchanges: Sequence[Exchange]
    # What stands for what in the address.
    parameters: Mapping[str, str] = field(default_factory=dict)
    bindings: Mapping[str, Json] = field(default_factory=dict)
    # Beyond AsyncAPI: members `x-...`.
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> Mapping[str, Message]:
        """All that is said here, by id."""
        return {it.id: it for exchange in self.exchanges for it in (*exchange.messages, *exchange.replies)}


def typed(name: str, payload: type) -> Message:
    """A message whose `type` says `name`."""
    doc = plain_text(payload.__doc__)
    return Message(id=name, name=name, doc=doc, payload=payload, members={"type": {"const": name}})


def data_of_event(kind: EventType) -> Json:
    """The `data` of events of this type, wherever they go."""
    return {"$ref": f"{_ref(kind.name)}/properties/data"}


def asyncapi(channels: Sequence[Channel]) -> Json:
    """The document."""
    schemas = Schemas(_documents(channels))
    messages = {name: it for channel in channels for name, it in _with_modes(channel)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Execution monitor",
            "version": __version__,
            "description": "Topics, streams and webhooks of the execution monitor; `/openapi.json` describes the rest. "
            "Durations are seconds, times RFC 3339 in UTC.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _SERVERS,
        "channels": {it.id: _channel(it) for it in channels},
        "operations": {each.id: _operation(each, it) for it in channels for each in it.exchanges},
        "components": {
            "messages": {name: _message(*it, schemas) for name, it in messages.items()},
            "schemas": {**_event_schemas(TYPES.values()), **schemas.components},
            "securitySchemes": _CREDENTIALS,
        },
    }


# --- parts -----------------------------------------------------------------------------------------------------------


_CREDENTIALS: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token that has the scope `executions:read`."},
    "ticket": {
        "type": "httpApiKey",
        "in": "query",
        "name": TICKET,
        "description": "For who can send no header: of `POST /v1/stream-tickets`, good for once, within 30 seconds.",
    },
    "session": {
        "type": "httpApiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of `POST /v1/session`, for pages of this service and of `MONITOR_ORIGINS`.",
    },
}

_FOR_SUBSCRIBERS: Final = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _CREDENTIALS]

_SERVERS: Final[Json] = {
    "http": {
        "host": "{host}",
        "protocol": "http",
        "description": "The service: streams as server-sent events, or as lines of JSON, by `Accept`.",
        "variables": {"host": {"default": "127.0.0.1:8080"}},
        "security": _FOR_SUBSCRIBERS,
    },
    "websocket": {
        "host": "{host}",
        "protocol": "ws",
        "description": "The same addresses by WebSocket, one text message a frame; here a client can say something.",
        "variables": {"host": {"default": "127.0.0.1:8080"}},
        "security": _FOR_SUBSCRIBERS,
    },
    "kafka": {
        "host": "{brokers}",
        "protocol": "kafka",
        "description": "The brokers of `MONITOR_JOURNAL` and `MONITOR_COMMANDS`.",
        "variables": {"brokers": {"default": "127.0.0.1:9092"}},
    },
    "receiver": {
        "host": "{receiver}",
        "protocol": "https",
        "description": "Whatever answers at the URL of a webhook (`POST /v1/webhooks`).",
        "variables": {"receiver": {"default": "receiver.example.com"}},
    },
}


def _channel(it: Channel) -> Json:
    parameters = {name: {"description": doc} for name, doc in it.parameters.items()}
    return {
        "address": it.address,
        "description": it.doc,
        "servers": [{"$ref": f"#/servers/{name}"} for name in it.servers],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in it.messages},
        **_said(parameters=parameters, bindings=it.bindings),
        **it.extensions,
    }


def _operation(it: Exchange, channel: Channel) -> Json:
    reply = {"channel": {"$ref": f"#/channels/{channel.id}"}, "messages": _references(it.replies, channel)}
    return {
        "action": it.action,
        "channel": {"$ref": f"#/channels/{channel.id}"},
        "summary": it.doc.partition("\n\n")[0],
        "description": it.doc,
        "messages": _references(it.messages, channel),
        **_said(bindings=it.bindings, reply=reply if it.replies else {}),
    }


def _references(messages: Sequence[Message], channel: Channel) -> list[Json]:
    return [{"$ref": f"#/channels/{channel.id}/messages/{it.id}"} for it in messages]


def _message(it: Message, mode: Mode, schemas: Schemas) -> Json:
    headers = _schema(it.headers, mode, schemas) if it.headers else {}
    return {
        "name": it.id,
        "title": it.name,
        "summary": it.doc,
        "contentType": "application/json",
        **_said(headers=headers, bindings=it.bindings),
        "payload": _payload(it, mode, schemas),
    }


def _payload(it: Message, mode: Mode, schemas: Schemas) -> Json:
    whole = _schema(it.payload, mode, schemas)
    if not it.members:
        return whole
    members = {name: _schema(said, mode, schemas) for name, said in it.members.items()}
    constants = [name for name, schema in members.items() if "const" in schema]
    return {"allOf": [whole, {"type": "object", "properties": members, "required": constants}]}


def _schema(said: object, mode: Mode, schemas: Schemas) -> Json:
    if isinstance(said, EventType):
        return {"$ref": _ref(said.name)}
    return said if isinstance(said, dict) else schemas.of(said, mode)


def _said(**parts: Mapping[str, Any]) -> Json:
    """Those parts in which there is anything."""
    return {name: said for name, said in parts.items() if said}


# --- schemas ---------------------------------------------------------------------------------------------------------


def _with_modes(channel: Channel) -> Iterator[tuple[str, tuple[Message, Mode]]]:
    """All messages, by id, and whether they are read here or written."""
    for it in channel.exchanges:
        ours: Mode = "serialization" if it.action == "send" else "validation"
        yield from ((message.id, (message, ours)) for message in it.messages)
        yield from ((message.id, (message, "serialization")) for message in it.replies)


def _documents(channels: Iterable[Channel]) -> Iterator[tuple[object, Mode]]:
    for channel in channels:
        for _, (message, mode) in _with_modes(channel):
            said = (message.payload, message.headers, *message.members.values())
            yield from ((it, mode) for it in said if not isinstance(it, dict | EventType | None))


def _event_schemas(kinds: Iterable[EventType]) -> Json:
    """What is written in the schema of each type, with its definitions beside it."""
    components: Json = {}
    for kind in kinds:
        schema = _led_here(event_schema(kind))
        components |= schema.pop("$defs", {})
        components[kind.name] = {word: said for word, said in schema.items() if word not in ("$schema", "$id")}
    return components


def _led_here(said: Any) -> Any:
    """The same with references to components, where they were to definitions of its own."""
    if isinstance(said, dict):
        return {
            name: it.replace("#/$defs/", _ref("")) if name == "$ref" and isinstance(it, str) else _led_here(it)
            for name, it in said.items()
        }
    return [_led_here(it) for it in said] if isinstance(said, list) else said


def _ref(name: str) -> str:
    return REF.format(model=name)
