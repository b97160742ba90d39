"""Wishes: what somebody asks of a webhook endpoint, checked and fulfilled. Nothing is stored here.

Promises: whatever passes can be served as it was asked for; a member that would mean nothing is refused, not ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, cast
from urllib.parse import urlsplit

from msgspec.structs import replace

from monitor.access.sealing import Sealer
from monitor.errors import InvalidWebhook
from monitor.projections.filter import Filter, parse_json
from monitor.webhooks.endpoint import (
    EVENT_CHOICES,
    HEADERS_PURPOSE,
    OPERATOR_TYPES,
    OPERATOR_WILDCARDS,
    Endpoint,
    Ordering,
    Rate,
)
from monitor.webhooks.headers import check_headers, pack, unpack
from monitor.webhooks.signing import key_of
from monitor.webhooks.targets import Targets

MASKED: Final = "***"
"""How a header's value is shown. Sent back, it leaves the value as it is."""


class Wish(TypedDict, total=False):
    """What an endpoint is to be like. A member that is missing stays as it is, or as it is by default."""

    url: str
    name: str | None
    events: Sequence[str]
    filters: Mapping[str, Any]
    headers: Mapping[str, str]
    payload: Literal["full", "thin"]
    ordering: Ordering
    on_exhausted: Literal["skip", "halt"]
    max_in_flight: int
    rate: Rate | None
    retry_delays_s: tuple[int, ...] | None
    timeout_s: float
    give_up_on: tuple[int, ...]
    obeys_receiver: bool
    # Whether nothing is to be sent until somebody resumes it.
    disabled: bool


class Wishes:
    """Fulfils wishes."""

    def __init__(self, targets: Targets, sealer: Sealer) -> None:
        self._targets, self._sealer = targets, sealer

    def fulfilled(self, endpoint: Endpoint, wish: Wish) -> Endpoint:
        """`endpoint` as it is wished for. Raises InvalidWebhook or InvalidFilter, naming the member at fault."""
        members = cast("dict[str, Any]", {**wish})
        if "url" in wish:
            self._targets.check_url(wish["url"])
            if _origin(wish["url"]) != _origin(endpoint.url):
                endpoint = _without_headers(endpoint, wish)
        if "events" in wish:
            members["events"] = _checked_events(wish["events"])
        if "filters" in wish:
            members["filter"] = parse_json(members.pop("filters"))
        if "headers" in wish:
            members |= self._sealed(members.pop("headers"), endpoint)
        if "disabled" in wish:
            members |= _standing(endpoint, is_disabled=members.pop("disabled"))
        fulfilled = replace(endpoint, **members)
        _check_meaning(fulfilled)
        return fulfilled

    def _sealed(self, headers: Mapping[str, str], endpoint: Endpoint) -> dict[str, Any]:
        said = {name: self._value(name, value, endpoint) for name, value in headers.items()}
        check_headers(said)
        packed = self._sealer.seal(HEADERS_PURPOSE, pack(said)) if said else None
        return {"sealed_headers": packed, "header_names": tuple(said)}

    def _value(self, name: str, said: str, endpoint: Endpoint) -> str:
        """The value meant: the one that is kept already where the mask was sent back."""
        if said != MASKED:
            return said
        if endpoint.sealed_headers is None or name not in endpoint.header_names:
            raise InvalidWebhook(f"'headers.{name}' is the mask of a value, not a value", field=f"headers.{name}")
        return unpack(self._sealer.open(HEADERS_PURPOSE, endpoint.sealed_headers))[name]


def checked_key(secret: str) -> bytes:
    """The key in an endpoint's own secret. Raises InvalidWebhook, which does not repeat it."""
    try:
        return key_of(secret)
    except ValueError as error:
        raise InvalidWebhook(f"'secret' {error}", field="secret") from None


def _without_headers(endpoint: Endpoint, wish: Wish) -> Endpoint:
    """The endpoint for another host. Values that nobody can read are not sent there unless they are given again."""
    if endpoint.header_names and "headers" not in wish:
        names = ", ".join(endpoint.header_names)
        raise InvalidWebhook(
            f"'headers' ({names}) were meant for another host; give them again, or {{}}", field="headers"
        )
    return replace(endpoint, sealed_headers=None, header_names=())


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _checked_events(events: Sequence[str]) -> tuple[str, ...]:
    choices = ", ".join(EVENT_CHOICES)
    if not events:
        raise InvalidWebhook(f"'events' names what to send: one or more of {choices}", field="events")
    for place, name in enumerate(events):
        if name not in EVENT_CHOICES:
            raise InvalidWebhook(f"'events' does not know '{name}'; it takes {choices}", field=f"events.{place}")
    return tuple(dict.fromkeys(events))


def _standing(endpoint: Endpoint, *, is_disabled: bool) -> dict[str, Any]:
    """Disabled for the asking; or active again, unless it was only paused."""
    if (endpoint.status == "disabled") == is_disabled:
        return {}
    if is_disabled:
        return {"status": "disabled", "reason": "asked"}
    return {"status": "active", "reason": None}


def _check_meaning(endpoint: Endpoint) -> None:
    """Refuse what has none where an endpoint hears of webhooks themselves: those events belong to no execution."""
    if not endpoint.is_operator:
        return
    for place, name in enumerate(endpoint.events):
        if name not in (*OPERATOR_TYPES, *OPERATOR_WILDCARDS):
            raise InvalidWebhook(
                f"'events' mixes '{name}' with events about webhooks; register another webhook for those, since nobody "
                "would hear of this one's own troubles",
                field=f"events.{place}",
            )
    for field, is_set in (
        ("filters", endpoint.filter != Filter()),
        ("payload", endpoint.payload != "full"),
        ("ordering", endpoint.ordering != "none"),
    ):
        if is_set:
            raise InvalidWebhook(f"'{field}' means nothing for events about webhooks; leave it out", field=field)
