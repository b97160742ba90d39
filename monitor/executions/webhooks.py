"""Webhooks at the desk: register, list, show and remove endpoints.

Every question is a principal's and sees its team alone: another team's webhook is not found. What was answered as done
survives a loss of power. Called by the native face, which does the spelling.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import InvalidWebhook, WebhookNotFound
from monitor.journal.base import Journal
from monitor.projections.filter import parse_json
from monitor.store.base import Reader, Store
from monitor.webhooks.endpoint import EVENT_CHOICES, SECRET_PURPOSE, Endpoint, Secret
from monitor.webhooks.signing import KEY_BYTES, secret_of
from monitor.webhooks.targets import Targets

_ID_BYTES: Final = 12
"""Ids cannot be guessed, and never meet."""


class Wish(NamedTuple):
    """What somebody asks to be told, and where. Nothing of it is checked yet but its shape."""

    url: str
    events: Sequence[str]
    filters: Mapping[str, Any]


class Registered(NamedTuple):
    """A new endpoint. The secret is shown this once."""

    endpoint: Endpoint
    secret: str

    def __repr__(self) -> str:
        return f"Registered({self.endpoint!r})"


class EndpointPage(NamedTuple):
    """Endpoints in order of registration."""

    rows: Sequence[Endpoint]
    has_more: bool
    total: int


class Webhooks:
    """The use cases of webhooks. Every method raises StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        journal: Journal,
        sealer: Sealer,
        targets: Targets,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`random_bytes` gives as many as it is asked for, fit for secrets."""
        self._store, self._journal, self._sealer = store, journal, sealer
        self._targets, self._clock, self._random_bytes = targets, clock, random_bytes

    async def register(self, who: Principal, wish: Wish) -> Registered:
        """A new endpoint of the team. It hears of what is appended once this returned, and of nothing from before.

        Raises InvalidWebhook or InvalidFilter, naming the member at fault, and JournalUnavailable.
        """
        self._targets.check_url(wish.url)
        events = _checked_events(wish.events)
        filter_ = parse_json(wish.filters)
        since = {partition: held.end for partition, held in (await self._journal.bounds()).items()}
        key, now_us = self._random_bytes(KEY_BYTES), self._clock.now_us()
        endpoint = Endpoint(
            key=0,
            id=f"wh_{self._random_bytes(_ID_BYTES).hex()}",
            team=who.team,
            url=wish.url,
            events=events,
            filter=filter_,
            created_us=now_us,
            updated_us=now_us,
            secrets=(Secret(self._sealer.seal(SECRET_PURPOSE, key), now_us),),
            since=since,
        )
        stored = await self._store.write(lambda writer: writer.add_endpoint(endpoint), durable=True)
        return Registered(stored, secret_of(key))

    async def listed(self, who: Principal, limit: int, after_key: int) -> EndpointPage:
        """The first `limit` of the team's endpoints behind the one with `after_key`."""

        def work(reader: Reader) -> EndpointPage:
            found = reader.endpoints(who.team, after_key=after_key, limit=limit + 1)
            return EndpointPage(found[:limit], len(found) > limit, reader.endpoint_count(who.team))

        return await self._store.read(work)

    async def endpoint(self, who: Principal, endpoint_id: str) -> Endpoint:
        """One endpoint. Raises WebhookNotFound."""
        return await self._store.read(lambda reader: find_endpoint(reader, who, endpoint_id))

    async def remove(self, who: Principal, endpoint_id: str) -> None:
        """Remove an endpoint and cancel what is owed to it. Raises WebhookNotFound."""
        removing = await self._store.write(lambda writer: writer.remove_endpoint(who.team, endpoint_id), durable=True)
        if removing is None:
            raise _not_found(endpoint_id)


def _checked_events(events: Sequence[str]) -> tuple[str, ...]:
    choices = ", ".join(EVENT_CHOICES)
    if not events:
        raise InvalidWebhook(f"'events' names what to send: one or more of {choices}", field="events")
    for place, name in enumerate(events):
        if name not in EVENT_CHOICES:
            raise InvalidWebhook(f"'events' does not know '{name}'; it takes {choices}", field=f"events.{place}")
    return tuple(dict.fromkeys(events))


def find_endpoint(reader: Reader, who: Principal, endpoint_id: str) -> Endpoint:
    """One of the principal's team. Raises WebhookNotFound."""
    endpoint = reader.endpoint(who.team, endpoint_id)
    if endpoint is None:
        raise _not_found(endpoint_id)
    return endpoint


def _not_found(endpoint_id: str) -> WebhookNotFound:
    return WebhookNotFound(f"Webhook with ID '{endpoint_id}' not found", webhookId=endpoint_id)
