"""The store port's part for endpoints and their lanes. Ledger, never rebuilt."""

from collections.abc import Sequence
from typing import Protocol

from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane


class EndpointReader(Protocol):
    """Questions about who is told by webhooks."""

    def endpoints(self, team: str | None, *, after_key: int = 0, limit: int | None = None) -> Sequence[Endpoint]:
        """Endpoints of a team in order of registration, behind `after_key`; of every team for None. Removed ones are
        gone.
        """
        ...

    def endpoint_count(self, team: str) -> int:
        """How many a team has."""
        ...

    def endpoint(self, team: str, endpoint_id: str) -> Endpoint | None:
        """One of a team; None when it has none of that id."""
        ...

    def endpoint_of(self, key: int) -> Endpoint | None:
        """The one of a key; None when it is gone."""
        ...

    def lane(self, endpoint_key: int) -> Lane:
        """What is remembered of an endpoint's receiver."""
        ...


class EndpointWriter(EndpointReader, Protocol):
    """What is stored of them."""

    def endpoints_version(self) -> int:
        """Changes whenever an endpoint does: the planner's table is made anew then."""
        ...

    def add_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Store it with a lane of its own and return it with its key."""
        ...

    def update_endpoint(self, endpoint: Endpoint) -> None:
        """Replace the stored one of its key. Its lane is looked at next time."""
        ...

    def remove_endpoint(self, team: str, endpoint_id: str) -> int | None:
        """Remove it with its lane and cancel what is owed to it: how much that was; None = there is no such one."""
        ...

    def put_lane(self, endpoint_key: int, lane: Lane) -> None:
        """Replace what is remembered of its receiver. Whoever does so has it looked at, by `finish` or
        `update_endpoint`.
        """
        ...
