"""What is said on streams, for the contract: frames, control frames, and the messages of clients."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitor.events.types import TYPES
from monitor.fanout.controls import CONTROLS
from monitor.fanout.frames import EventFrame
from monitor.streams.addresses import PARAMETERS
from monitor.streams.questions import QUESTIONS
from monitor.streams.session import FAREWELLS
from monitor.web.async_contract import Channel, Exchange, Message, data_of_event, typed
from monitor.web.filters import filter_parameters
from monitor.web.params import FILTERS, Parameter

_FRAMES: Final = """Events of what was subscribed to, each with what it made of its execution.

Server-sent events carry the position as `id`, the frame as `data`, and with `named=1` its type as `event`. Progress
that is outdone before it is sent, and log lines that follow each other, share a frame."""

_CONTROLS: Final = """The service's own words about the stream: their types begin with `stream.`, which no event's does.

As server-sent events they have their type as `event`; a checkpoint is there a block of an `id` alone, and a heartbeat a
comment. `stream.heartbeat` comes on lines of JSON alone; a WebSocket has pings of its own."""


def spoken_streams() -> Sequence[Channel]:
    """Both addresses."""
    return [
        _stream("executions", "/v1/executions/stream", "Live events of every execution, or of what is asked for.", {}),
        _stream(
            "execution",
            "/v1/executions/{id}/stream",
            "Live events of one execution, begun with how it stands; ends by itself when nothing more can follow.",
            {"id": "Id of the execution."},
        ),
    ]


def _stream(name: str, address: str, doc: str, parameters: Mapping[str, str]) -> Channel:
    is_of_one = bool(parameters)
    query = {"type": "object", "properties": dict(_query(is_of_one=is_of_one)), "additionalProperties": False}
    controls = [typed(type_, members) for type_, members in CONTROLS.items() if is_of_one or type_ != "stream.end"]
    return Channel(
        id=f"{name}Stream",
        address=address,
        doc=doc,
        servers=("http", "websocket"),
        parameters=parameters,
        bindings={"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
        extensions={"x-close-codes": _close_codes()},
        exchanges=[
            Exchange(id=f"{name}Events", action="send", doc=_FRAMES, messages=_frames()),
            Exchange(id=f"{name}Controls", action="send", doc=_CONTROLS, messages=controls),
            *(_answered(f"{type_}{name.capitalize()}", type_, members) for type_, members in QUESTIONS.items()),
        ],
    )


def _frames() -> list[Message]:
    known = [
        Message(
            id=f"frame.{kind.name}",
            name=kind.name,
            doc=kind.doc,
            payload=EventFrame,
            members={"type": {"const": kind.name}, "data": data_of_event(kind)},
        )
        for kind in TYPES.values()
    ]
    unknown = {"type": {"not": {"enum": list(TYPES)}}}
    doc = "An event of a type that the monitor does not know: forwarded as it is."
    return [*known, Message(id="frame.other", name="any other type", doc=doc, payload=EventFrame, members=unknown)]


def _answered(id_: str, type_: str, members: type) -> Exchange:
    question = typed(type_, members)
    answers = {"ping": "stream.pong", "unsubscribe": "stream.unsubscribed"}
    names = (answers.get(type_, "stream.subscribed"), "stream.error")
    replies = [typed(name, CONTROLS[name]) for name in names]
    return Exchange(id=id_, action="receive", doc=question.doc, messages=[question], replies=replies)


def _query(*, is_of_one: bool) -> list[tuple[str, Any]]:
    """Schemas of the parameters, by name."""
    said: list[tuple[str, Any]] = []
    for it in PARAMETERS:
        if it is FILTERS:
            said += [(shown["name"], {**shown["schema"], "description": shown["description"]}) for shown in _filters()]
        elif not (is_of_one and it.name == "channels"):
            said.append((it.name, _described(it)))
    return said


def _filters() -> list[dict[str, Any]]:
    return list(filter_parameters())


def _described(it: Parameter) -> dict[str, Any]:
    return {**it.schema(), "description": it.doc}


def _close_codes() -> list[dict[str, Any]]:
    return [{"code": it.code, "reason": reason, "description": it.doc} for reason, it in FAREWELLS.items()]
