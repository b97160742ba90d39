"""Webhooks at the desk: register, list, show, change, pause, resume and remove endpoints.

Every question is a principal's and sees its team alone: another team's webhook is not found. What was answered as done
survives a loss of power. Called by the native face, which does the spelling.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from msgspec.structs import replace

from monitor.access.principal import Principal
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import WebhookNotFound
from monitor.executions.audit import Audit
from monitor.executions.rehearsal import Rehearsal, Rehearsed
from monitor.executions.wishes import Wish, Wishes, checked_key
from monitor.journal.base import Journal
from monitor.projections.filter import Filter
from monitor.store.base import Reader, Store, Writer
from monitor.store.delivery_port import DeliveryQuery
from monitor.webhooks.delivery import DeliveryState
from monitor.webhooks.endpoint import SECRET_PURPOSE, Endpoint, Secret
from monitor.webhooks.lane import enabled
from monitor.webhooks.signing import KEY_BYTES, secret_of

_ID_BYTES: Final = 12
"""Ids cannot be guessed, and never meet."""

PORTION: Final = 1000
"""Deliveries that one transaction moves: those of others wait some milliseconds."""

_HELD: Final[tuple[DeliveryState, ...]] = ("held",)


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


class Resumed(NamedTuple):
    """An endpoint that is served again."""

    endpoint: Endpoint
    # Of what was held.
    cancelled: int
    # What it is owed now.
    pending: int


class Webhooks:
    """The use cases of webhooks. Every method raises StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        journal: Journal,
        audit: Audit,
        rehearsal: Rehearsal,
        wishes: Wishes,
        sealer: Sealer,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        on_due: Callable[[], None],
    ) -> None:
        """`random_bytes` gives as many as it is asked for, fit for secrets; `on_due` wakes who delivers."""
        self._store, self._journal, self._rehearsal, self._wishes = store, journal, rehearsal, wishes
        self._audit = audit
        self._sealer, self._clock, self._random_bytes, self._on_due = sealer, clock, random_bytes, on_due

    # --- registering -------------------------------------------------------------------------------------------------

    async def register(self, who: Principal, wish: Wish, secret: str | None = None) -> Registered:
        """A new endpoint of the team. It hears of what is appended once this returned, and of nothing from before.

        `wish` has at least a URL and events; without an own `secret` it gets a random one. Raises InvalidWebhook or
        InvalidFilter, naming the member at fault, and JournalUnavailable.
        """
        drafted = self._drafted(who, wish, secret)
        since = {partition: held.end for partition, held in (await self._journal.bounds()).items()}
        endpoint = replace(drafted.endpoint, since=since)

        def work(writer: Writer) -> Endpoint:
            self._audit.note(writer, who, "webhook.create", endpoint.id, name=endpoint.name)
            return writer.add_endpoint(endpoint)

        return drafted._replace(endpoint=await self._store.write(work, durable=True))

    async def rehearse(self, who: Principal, wish: Wish, secret: str | None = None) -> Rehearsed:
        """What `register` would make, and which of the latest events that would have been sent. Nothing is stored."""
        return await self._rehearsal.of(self._drafted(who, wish, secret).endpoint)

    def _drafted(self, who: Principal, wish: Wish, secret: str | None) -> Registered:
        key = self._random_bytes(KEY_BYTES) if secret is None else checked_key(secret)
        now_us = self._clock.now_us()
        blank = Endpoint(
            key=0,
            id=f"wh_{self._random_bytes(_ID_BYTES).hex()}",
            team=who.team,
            url="",
            events=(),
            filter=Filter(),
            created_us=now_us,
            updated_us=now_us,
            secrets=(Secret(self._sealer.seal(SECRET_PURPOSE, key), now_us),),
            since={},
        )
        return Registered(self._wishes.fulfilled(blank, wish), secret_of(key))

    # --- showing -----------------------------------------------------------------------------------------------------

    async def listed(self, who: Principal, limit: int, after_key: int) -> EndpointPage:
        """The first `limit` of the team's endpoints behind the one with `after_key`."""

        def work(reader: Reader) -> EndpointPage:
            found = reader.endpoints(who.team, after_key=after_key, limit=limit + 1)
            return EndpointPage(found[:limit], len(found) > limit, reader.endpoint_count(who.team))

        return await self._store.read(work)

    async def endpoint(self, who: Principal, endpoint_id: str) -> Endpoint:
        """One endpoint. Raises WebhookNotFound."""
        return await self._store.read(lambda reader: find_endpoint(reader, who, endpoint_id))

    # --- changing ----------------------------------------------------------------------------------------------------

    async def change(self, who: Principal, endpoint_id: str, wish: Wish) -> Endpoint:
        """The endpoint as it is wished for from now on; what is queued stays queued, and goes to the new URL.

        Raises WebhookNotFound, InvalidWebhook and InvalidFilter.
        """
        return await self._alter(who, "change", endpoint_id, lambda endpoint: self._wishes.fulfilled(endpoint, wish))

    async def pause(self, who: Principal, endpoint_id: str) -> Endpoint:
        """Send nothing until it is resumed; what it is owed waits. A disabled one stays so. Raises WebhookNotFound."""

        def paused(endpoint: Endpoint) -> Endpoint:
            return replace(endpoint, status="paused") if endpoint.status == "active" else endpoint

        return await self._alter(who, "pause", endpoint_id, paused)

    async def resume(self, who: Principal, endpoint_id: str, keep_since_us: int | None) -> Resumed:
        """Serve a paused or disabled endpoint again, slowly at first. Raises WebhookNotFound.

        Of what was held, for whatever reason, that is sent which was planned at `keep_since_us` or later (0: all; None:
        nothing), and the rest is cancelled. Again, it changes nothing.
        """

        def dropped(endpoint: Endpoint) -> DeliveryQuery:
            return _held(endpoint)._replace(until_us=keep_since_us)

        def cancel(keys: Sequence[int], writer: Writer) -> int:
            return writer.cancel(keys, "not_resumed", self._clock.now_us())

        def resend(keys: Sequence[int], writer: Writer) -> int:
            return writer.redeliver(keys, "event", due_us=self._clock.now_us(), states=_HELD)

        cancelled = await self._move(who, endpoint_id, dropped, cancel)
        await self._move(who, endpoint_id, lambda it: DeliveryQuery(it.key, _HELD), resend)
        endpoint = await self._alter(who, "resume", endpoint_id, lambda it: replace(it, status="active", reason=None))
        pending = await self._store.read(
            lambda reader: reader.delivery_count(DeliveryQuery(endpoint.key, ("pending", "leased")))
        )
        return Resumed(endpoint, cancelled, pending)

    async def remove(self, who: Principal, endpoint_id: str) -> int:
        """Remove an endpoint and cancel what is owed to it: how much that was. Raises WebhookNotFound."""

        def owed(endpoint: Endpoint) -> DeliveryQuery:
            return DeliveryQuery(endpoint.key, ("pending", "leased", "held"))

        def cancel(keys: Sequence[int], writer: Writer) -> int:
            return writer.cancel(keys, "removed", self._clock.now_us())

        cancelled = await self._move(who, endpoint_id, owed, cancel)

        def removed(writer: Writer) -> int | None:
            rest = writer.remove_endpoint(who.team, endpoint_id)
            if rest is not None:
                self._audit.note(writer, who, "webhook.remove", endpoint_id, cancelledDeliveries=cancelled + rest)
            return rest

        rest = await self._store.write(removed, durable=True)
        if rest is None:
            raise _not_found(endpoint_id)
        return cancelled + rest

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _alter(
        self, who: Principal, doing: str, endpoint_id: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint:
        """Store the endpoint as `change` makes it, if that is another one; the audit calls it `doing`."""

        def work(writer: Writer) -> Endpoint:
            endpoint = find_endpoint(writer, who, endpoint_id)
            changed = change(endpoint)
            if changed == endpoint:
                return endpoint
            changed = replace(changed, updated_us=self._clock.now_us())
            if (changed.status == "active" and endpoint.status != "active") or changed.url != endpoint.url:
                # What its receiver did before says nothing any more.
                writer.put_lane(endpoint.key, enabled(writer.lane(endpoint.key)))
            writer.update_endpoint(changed)
            self._audit.note(writer, who, f"webhook.{doing}", endpoint_id)
            return changed

        altered = await self._store.write(work, durable=True)
        self._on_due()
        return altered

    async def _move(
        self,
        who: Principal,
        endpoint_id: str,
        chosen: Callable[[Endpoint], DeliveryQuery],
        move: Callable[[Sequence[int], Writer], int],
    ) -> int:
        """Move the deliveries that are `chosen` of an endpoint as it stands, in portions. Returns how many.

        Looking for them may take long, and is done outside of any transaction that others wait for.
        """
        count = 0
        keys: Sequence[int] = (0,)

        def find(reader: Reader) -> Sequence[int]:
            return reader.keys_of(chosen(find_endpoint(reader, who, endpoint_id)), keys[-1], PORTION)

        while keys := await self._store.read(find):
            count += await self._store.write(partial(move, keys), durable=True)
        return count


def _held(endpoint: Endpoint) -> DeliveryQuery:
    """What waits for somebody to resume the endpoint. While it is served: what overflowed, or has halted its order."""
    return DeliveryQuery(endpoint.key, _HELD if endpoint.status == "active" else ("pending", "held"))


def find_endpoint(reader: Reader, who: Principal, endpoint_id: str) -> Endpoint:
    """One of the principal's team. Raises WebhookNotFound."""
    endpoint = reader.endpoint(who.team, endpoint_id)
    if endpoint is None:
        raise _not_found(endpoint_id)
    return endpoint


def _not_found(endpoint_id: str) -> WebhookNotFound:
    return WebhookNotFound(f"Webhook with ID '{endpoint_id}' not found", webhookId=endpoint_id)
