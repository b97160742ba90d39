"""What webhooks receive, for the contract: events, the troubles of webhooks themselves, and test sends."""

from typing import Final

from monitor.events.types import TYPES
from monitor.web.async_contract import Channel, Exchange, Message, data_of_event
from monitor.web.contract import plain_text
from monitor.webhooks.endpoint import TEST_TYPE
from monitor.webhooks.notices import NOTICES, About, PingBody, Said
from monitor.webhooks.payload import Body
from monitor.webhooks.signing import SignedHeaders

_CHANNEL: Final = """The URL of a webhook, as it was registered with `POST /v1/webhooks`.

Every attempt at a delivery has the same id and body, and is signed as Standard Webhooks asks. 2xx takes it; anything
else is tried again for three days, in the order that the webhook asks for. 410 disables the webhook, 429 and 503 are
obeyed with their `Retry-After`."""

_POST: Final = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}


def spoken_webhooks() -> Channel:
    """What every receiver may get."""
    return Channel(
        id="webhook",
        address=None,
        doc=_CHANNEL,
        servers=("receiver",),
        exchanges=[
            Exchange(
                id="deliverEvents",
                action="send",
                doc="What a webhook asked for by `events` and `filters`.",
                messages=_events(),
                bindings=_POST,
            ),
            Exchange(
                id="deliverNotices",
                action="send",
                doc="What webhooks say of themselves, to those that asked for it by name.",
                messages=[_notice(type_, data) for type_, data in NOTICES.items()],
                bindings=_POST,
            ),
            Exchange(id="deliverTest", action="send", doc="A test.", messages=[_ping()], bindings=_POST),
        ],
    )


def _events() -> list[Message]:
    known = [
        Message(
            id=f"webhook.{kind.name}",
            name=kind.name,
            doc=kind.doc,
            payload=Body,
            members={**_named(kind.name), "data": data_of_event(kind)},
            headers=SignedHeaders,
        )
        for kind in TYPES.values()
    ]
    unknown = {"type": {"not": {"enum": list(TYPES)}}}
    doc = "An event of a type that the monitor does not know: for webhooks that asked for all of its kind, or for `*`."
    other = Message(
        id="webhook.other", name="any other type", doc=doc, payload=Body, members=unknown, headers=SignedHeaders
    )
    return [*known, other]


def _notice(type_: str, data: type) -> Message:
    members = {**_named(type_), "data": data}
    doc = plain_text(data.__doc__)
    return Message(id=type_, name=type_, doc=doc, payload=Said, members=members, headers=SignedHeaders)


def _ping() -> Message:
    members = {**_named(TEST_TYPE), "data": About}
    doc = plain_text(PingBody.__doc__)
    return Message(id=TEST_TYPE, name=TEST_TYPE, doc=doc, payload=PingBody, members=members, headers=SignedHeaders)


def _named(type_: str) -> dict[str, object]:
    return {name: {"const": type_} for name in ("type", "event")}
