"""An endpoint: a registered webhook URL, what it wants to hear, and from where in the journal on."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from monitor.events.types import TYPES
from monitor.projections.filter import Filter

EndpointStatus = Literal["active", "paused", "disabled"]

WILDCARDS: Final = ("execution.*", "node.*", "*")
"""What an endpoint may ask for beside single types; they also cover types outside the catalogue."""

EVENT_CHOICES: Final = (*WILDCARDS, *TYPES)
"""Everything that an endpoint may ask for."""

SECRET_PURPOSE: Final = "webhook-secret"  # noqa: S105 - names what is sealed
"""What an endpoint's key is sealed for."""


class Endpoint(msgspec.Struct, frozen=True):
    """A registered webhook URL. Its secret is kept sealed; nothing prints it."""

    # The store's integer key; 0 until it is stored.
    key: int
    id: str
    team: str
    url: str
    # Exact types, or `execution.*`, `node.*`, `*`.
    events: tuple[str, ...]
    filter: Filter
    status: EndpointStatus
    created_us: int
    sealed_secret: bytes
    # First offset of each partition that it may hear of: the journal's end when it was registered. A partition that is
    # missing counts from 0.
    since: Mapping[int, int]

    def __repr__(self) -> str:
        return f"Endpoint({self.id!r}, team={self.team!r}, status={self.status!r})"
