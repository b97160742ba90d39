"""An endpoint: a registered webhook URL, what it wants to hear, from where in the journal on, and how it is served."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from monitor.events.types import TYPES
from monitor.projections.filter import Filter

EndpointStatus = Literal["active", "paused", "disabled"]

Ordering = Literal["none", "execution", "strict"]
"""What waits for what: nothing, an execution's events for the earlier ones, every event for all earlier ones."""

WILDCARDS: Final = ("execution.*", "node.*", "*")
"""What an endpoint may ask for beside single types; they also cover types outside the catalogue."""

OPERATOR_TYPES: Final = (
    *("endpoint.failing", "endpoint.disabled", "endpoint.recovered"),
    *("delivery.exhausted", "delivery.recovered", "lane.backlog"),
)
"""What webhooks say of themselves. `*` does not cover them: who wants them names them."""

OPERATOR_WILDCARDS: Final = ("endpoint.*", "delivery.*", "lane.*")

EVENT_CHOICES: Final = (*WILDCARDS, *TYPES, *OPERATOR_WILDCARDS, *OPERATOR_TYPES)
"""Everything that an endpoint may ask for."""

TEST_TYPE: Final = "webhook.ping"
"""The type of a test send. It is no event, and nobody asks for it."""

SECRET_PURPOSE: Final = "webhook-secret"  # noqa: S105 - names what is sealed
"""What an endpoint's keys are sealed for."""

HEADERS_PURPOSE: Final = "webhook-headers"
"""What an endpoint's own headers are sealed for: they often hold a password."""

MAX_IN_FLIGHT: Final = 8
"""Sends in flight to one endpoint: enough for a receiver at a distance, little enough for a small one."""

MOST_IN_FLIGHT: Final = 32
"""What an endpoint may ask for instead."""

TIMEOUT_S: Final = 15.0
"""Of a send, from the name to the last byte of the answer. Who works longer on a webhook should answer first."""


class Secret(msgspec.Struct, frozen=True):
    """A key that signs, sealed. The first of an endpoint is the current one; older ones sign until they expire."""

    sealed: bytes
    created_us: int
    # None for the current one.
    expires_us: int | None = None


class Rate(msgspec.Struct, frozen=True):
    """How fast a lane may be served: a bucket of `burst` tokens that fills at `per_s` a second; a send takes one."""

    per_s: float
    burst: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A registered webhook URL. Its secrets are kept sealed; nothing prints them."""

    # The store's integer key; 0 until it is stored.
    key: int
    id: str
    team: str
    url: str
    # For people.
    name: str | None = None
    # Exact types or wildcards: EVENT_CHOICES.
    events: tuple[str, ...]
    filter: Filter
    status: EndpointStatus = "active"
    # Why it is disabled: a stable word (`gone`, `failing`, `receiver`, `asked`); None unless it is.
    reason: str | None = None
    created_us: int
    updated_us: int
    # Newest first; never empty.
    secrets: tuple[Secret, ...]
    # First offset of each partition that it may hear of: the journal's end when it was registered. A partition that is
    # missing counts from 0.
    since: Mapping[int, int]
    # Headers of its own, by name: a MessagePack map, sealed; None = none. Their names are no secret.
    sealed_headers: bytes | None = None
    header_names: tuple[str, ...] = ()
    # thin: without `data`, which `dataUrl` leads to.
    payload: Literal["full", "thin"] = "full"
    ordering: Ordering = "none"
    # What follows in an ordered queue when its head has used up its schedule: the next one, or nothing until somebody
    # retries or cancels the head.
    on_exhausted: Literal["skip", "halt"] = "skip"
    max_in_flight: int = MAX_IN_FLIGHT
    rate: Rate | None = None
    # Seconds before each retry, counted from the end of the attempt before; None = the schedule of everybody.
    retry_delays_s: tuple[int, ...] | None = None
    timeout_s: float = TIMEOUT_S
    # Statuses that end a delivery at once.
    give_up_on: tuple[int, ...] = ()
    # Whether its `webhook-delivery` response header is obeyed.
    obeys_receiver: bool = True

    def __repr__(self) -> str:
        return f"Endpoint({self.id!r}, team={self.team!r}, status={self.status!r})"

    def wants(self, type_: str) -> bool:
        """Whether it asked for events of this type, by name or wildcard."""
        return not {type_, wildcard_of(type_)}.isdisjoint(self.events) or (
            "*" in self.events and not _is_operator(type_)
        )

    @property
    def is_operator(self) -> bool:
        """Whether it hears of webhooks themselves. Its own troubles cause no such event: they would never end."""
        return any(map(_is_operator, self.events))


def wildcard_of(type_: str) -> str:
    """The narrowest wildcard that covers the type."""
    wildcard = f"{type_.partition('.')[0]}.*"
    return wildcard if wildcard in (*WILDCARDS, *OPERATOR_WILDCARDS) else "*"


def live_secrets(endpoint: Endpoint, now_us: int) -> Sequence[Secret]:
    """Those that sign now, newest first."""
    return [it for it in endpoint.secrets if it.expires_us is None or it.expires_us > now_us]


def _is_operator(name: str) -> bool:
    return name in OPERATOR_TYPES or name in OPERATOR_WILDCARDS
