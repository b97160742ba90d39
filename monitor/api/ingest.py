"""`POST /v1/events`: one event, a JSON array, NDJSON or CloudEvents in; a verdict for every item out.

The answer comes after the journal's commit: what it calls accepted survives any crash. Items keep their own bytes,
since an event without an id is recognised by them. 200 as soon as one item is accepted or a repeat, else a 4xx whose
error names the first fault and carries all verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired

import msgspec
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from monitor.access.positions import position_token
from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.errors import ClientError, InvalidEvent, JournalUnavailable, TooLarge, UnsupportedMediaType
from monitor.events.model import MAX_ID_CHARACTERS
from monitor.events.schema import EventDocument
from monitor.intake import Headers, Intake, Receipt, Result
from monitor.web.bodies import read_body
from monitor.web.operations import Answer, Operation
from monitor.web.replies import json_reply

MAX_BODY_BYTES: Final = 10 << 20
MAX_ITEMS: Final = 10_000
"""Items of one request: about what one journal transaction takes without making others wait."""

_ONE_OR_MANY: Final = ("application/json", "application/cloudevents+json")
_MANY: Final = ("application/cloudevents-batch+json",)
_LINES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_TYPES: Final = (*_ONE_OR_MANY, *_MANY, *_LINES)

_NAME: Final = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_ID_CHARACTERS, "format": "printable"}

_MOST: Final = f"At most {MAX_ITEMS} items."

_Batch = Annotated[list[EventDocument], Field(min_length=1, description=_MOST)]

_SUBJECT: Final = {"type": "string", "pattern": "^executions/[^/]+(/nodes/[^/]+)?$"}

_CloudEvent = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": "A CloudEvent 1.0 whose data is that of an event.",
            "properties": {
                "specversion": {"const": "1.0"},
                **dict.fromkeys(("id", "source", "executionid"), _NAME),
                "type": {**_NAME, "type": "string"},
                "time": {"type": "string", "format": "date-time"},
                "data": {"type": ["object", "null"]},
            },
            "required": ["specversion", "type", "time"],
            "anyOf": [
                {"properties": {"executionid": {"type": "string"}}, "required": ["executionid"]},
                {"properties": {"subject": _SUBJECT}, "required": ["subject"]},
            ],
        }
    ),
]

_CloudEvents = Annotated[list[_CloudEvent], Field(min_length=1, description=_MOST)]

_Lines = Annotated[str, Field(min_length=1, description=f"An event on each line. {_MOST}")]

_BODIES: Final[Mapping[str, object]] = {
    "application/json": EventDocument | _Batch,
    "application/cloudevents+json": _CloudEvent,
    **dict.fromkeys(_MANY, _CloudEvents),
    **dict.fromkeys(_LINES, _Lines),
}
"""What the contract shows; items keep their own bytes, so no model reads them."""

_WHITESPACE: Final = b" \t\r\n"
_items_of: Final = msgspec.json.Decoder(list[msgspec.Raw])


class ItemFault(TypedDict):
    """Why an item was rejected."""

    code: str
    field: str | None
    message: str


class ItemVerdict(TypedDict):
    """What became of one item."""

    index: int
    """Which item of the request, from 0."""
    id: str | None
    """Given or derived; null where the item is no event."""
    verdict: Literal["accepted", "duplicate", "rejected"]
    error: NotRequired[ItemFault]


class Verdicts(TypedDict):
    """What became of the items, by number and one by one."""

    accepted: int
    duplicate: int
    rejected: int
    results: list[ItemVerdict]


class IngestReceipt(Verdicts):
    """The items that are called accepted are durable."""

    position: str
    """A read with `minPosition` at this shows what was sent."""


class Sent(NamedTuple):
    """What a request holds: events, and headers that belong to each."""

    items: list[bytes]
    headers: Headers = ()


def operations(*, intake: Intake, sealer: Sealer) -> list[Operation]:
    """The operations of this file."""
    return [
        Operation(
            "POST",
            "/v1/events",
            _Face(intake, sealer).ingest,
            "events:write",
            body=_BODIES,
            answers=(Answer(IngestReceipt),),
            errors=(InvalidEvent, JournalUnavailable),
            name="sendEvents",
        )
    ]


@dataclass(frozen=True, slots=True)
class _Face:
    intake: Intake
    sealer: Sealer

    async def ingest(self, request: Request, who: Principal) -> Response:
        """Take in what the body holds."""
        media_type = _media_type(request)
        sent = split(await read_body(request, MAX_BODY_BYTES), media_type, _attributes(request))
        receipt = await self.intake.accept(
            sent.items, team=who.team, headers=sent.headers, backfill=who.may("events:backfill")
        )
        if receipt.number_of("rejected") == len(receipt.results):
            raise _nothing_accepted(receipt)
        answer: IngestReceipt = {"position": position_token(self.sealer, receipt.position), **_verdicts(receipt)}
        return json_reply(answer)


def split(body: bytes, media_type: str, attributes: Headers = ()) -> Sent:
    """The events in a body, each as the bytes that its producer wrote. Pure.

    `attributes` are the `ce-` headers of a CloudEvent in binary mode, whose body is its data. Raises InvalidEvent for a
    body that is empty or no JSON as a whole, TooLarge for one with more than MAX_ITEMS items.
    """
    body = body.strip(_WHITESPACE)
    if attributes:
        return Sent([body], attributes)
    if not body:
        raise InvalidEvent("The body is empty; send at least one event.")
    if media_type in _LINES:
        items = [item for line in body.split(b"\n") if (item := line.strip(_WHITESPACE))]
    elif media_type in _MANY or body.startswith(b"["):
        items = _elements(body)
    else:
        items = [body]
    if len(items) > MAX_ITEMS:
        raise TooLarge(f"{len(items)} items are too many for one request; at most {MAX_ITEMS}", maxItems=MAX_ITEMS)
    return Sent(items)


def _elements(body: bytes) -> list[bytes]:
    try:
        items = [bytes(item) for item in _items_of.decode(body)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(f"The body is no JSON array: {error}") from None
    if not items:
        raise InvalidEvent("The array is empty; send at least one event.")
    return items


def _media_type(request: Request) -> str:
    """The media type, which must be told: without one, any web page could post here as a form does, unasked."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in _TYPES:
        raise UnsupportedMediaType(f"content-type '{said}' is not taken; send one of {', '.join(_TYPES)}")
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise UnsupportedMediaType(f"content-encoding '{coding}' is not taken; send the body as it is")
    return said


def _attributes(request: Request) -> Headers:
    """The attributes of a CloudEvent in binary mode; none for every other request."""
    if "ce-specversion" not in request.headers:
        return ()
    return tuple((name, value.encode("latin-1")) for name, value in request.headers.items() if name.startswith("ce-"))


def _nothing_accepted(receipt: Receipt) -> ClientError:
    """The error whose body tells what the answer would have told; 413 where size alone was the fault."""
    first = next(result.fault for result in receipt.results if result.fault)
    sizes = all(result.fault and result.fault.code == "too_large" for result in receipt.results)
    kind = TooLarge if sizes else InvalidEvent
    message = first.message if len(receipt.results) == 1 else f"None of the events could be accepted: {first.message}"
    return kind(message, field=first.field, reason=first.code, **_verdicts(receipt))


def _verdicts(receipt: Receipt) -> Verdicts:
    return {
        "accepted": receipt.number_of("accepted"),
        "duplicate": receipt.number_of("duplicate"),
        "rejected": receipt.number_of("rejected"),
        "results": [_result(result) for result in receipt.results],
    }


def _result(result: Result) -> ItemVerdict:
    verdict: ItemVerdict = {"index": result.place, "id": result.id, "verdict": result.verdict}
    if (fault := result.fault) is not None:
        verdict["error"] = {"code": fault.code, "field": fault.field, "message": fault.message}
    return verdict
