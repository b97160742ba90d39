"""Deliveries at the desk: what became of what is owed to a webhook; send it again, call it off, see how it stands.

Every question is a principal's and sees its team alone: another team's delivery is not found. What was answered as done
survives a loss of power. Called by the native face, which does the spelling.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple, get_args

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import CannotCancelDelivery, CannotRetryDelivery, DeliveryNotFound
from monitor.executions.audit import Audit
from monitor.executions.webhooks import find_endpoint
from monitor.store.base import Reader, Store, Writer
from monitor.store.delivery_port import AttemptRow, Backlog, DeliveryQuery, DeliveryRow
from monitor.webhooks.delivery import DeliveryState
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane

Status = Literal["pending", "sending", "held", "delivered", "failed", "cancelled"]
"""As people see it. pending: sent by itself, sooner or later · held: waits for somebody, also behind a webhook that is
paused or disabled · sending: an attempt is under way.
"""

STATUSES: Final[tuple[Status, ...]] = get_args(Status)


class Wanted(NamedTuple):
    """Which deliveries of a webhook; what is empty or None lets all of them through."""

    statuses: Collection[str] = ()
    # Each a type, or the beginning of types with a star.
    event_types: Sequence[str] = ()
    execution_id: str | None = None
    # When they were planned: from the first up to, not including, the second.
    since_us: int | None = None
    until_us: int | None = None


class Shown(NamedTuple):
    """A delivery with every attempt at it."""

    delivery: DeliveryRow
    attempts: Sequence[AttemptRow]
    # None when it is removed.
    endpoint: Endpoint | None

    @property
    def status(self) -> Status:
        """How it stands."""
        row = self.delivery
        if row.state == "leased":
            return "sending"
        if row.state == "pending" and (row.reason == "halted" or not _is_served(self.endpoint)):
            return "held"
        return row.state


class DeliveryPage(NamedTuple):
    """Deliveries, the newest first."""

    rows: Sequence[Shown]
    has_more: bool


class Standing(NamedTuple):
    """How a webhook is doing."""

    endpoint: Endpoint
    lane: Lane
    # What is owed to it, by status: pending, held, sending.
    counts: Mapping[str, int]
    # When the oldest that is not being sent was planned; None when there is none.
    oldest_us: int | None
    now_us: int


class Deliveries:
    """The use cases of deliveries. Every method raises StoreUnavailable."""

    def __init__(self, *, store: Store, audit: Audit, clock: Clock, on_due: Callable[[], None]) -> None:
        """`on_due` wakes who delivers."""
        self._store, self._audit, self._clock, self._on_due = store, audit, clock, on_due

    async def listed(
        self, who: Principal, endpoint_id: str, wanted: Wanted, limit: int, before_key: int | None
    ) -> DeliveryPage:
        """The latest `limit` deliveries of a webhook before the one with `before_key`. Raises WebhookNotFound."""

        def work(reader: Reader) -> DeliveryPage:
            endpoint = find_endpoint(reader, who, endpoint_id)
            query = query_of(endpoint, wanted)._replace(before_key=before_key)
            found = reader.deliveries(query, limit + 1)
            rows = [Shown(row, reader.attempts(row.id), endpoint) for row in found[:limit]]
            return DeliveryPage(rows, len(found) > limit)

        return await self._store.read(work)

    async def single(self, who: Principal, delivery_id: str) -> Shown:
        """One delivery. Raises DeliveryNotFound."""
        return await self._store.read(lambda reader: find_delivery(reader, who, delivery_id))

    async def standing(self, who: Principal, endpoint_id: str) -> Standing:
        """How a webhook is doing. Raises WebhookNotFound."""

        def work(reader: Reader) -> Standing:
            endpoint = find_endpoint(reader, who, endpoint_id)
            backlog = reader.backlog(endpoint.key)
            counts = _counts(endpoint, backlog)
            return Standing(endpoint, reader.lane(endpoint.key), counts, backlog.oldest_us, self._clock.now_us())

        return await self._store.read(work)

    async def retry(self, who: Principal, delivery_id: str) -> Shown:
        """Make a delivery due now, with a fresh schedule, under its id and with its body.

        It keeps the rules of its webhook: order, pause, rate, circuit breaker. Raises DeliveryNotFound and
        CannotRetryDelivery.
        """

        def work(writer: Writer) -> Shown:
            shown = find_delivery(writer, who, delivery_id)
            if why_not := _why_not_again(shown):
                raise CannotRetryDelivery(why_not, **_told(shown))
            writer.redeliver([shown.delivery.key], "retry", due_us=self._clock.now_us())
            self._note(writer, who, "retry", shown)
            return find_delivery(writer, who, delivery_id)

        return await self._change(work)

    async def cancel(self, who: Principal, delivery_id: str) -> Shown:
        """End a delivery; who waits behind it goes on. An attempt under way may still arrive.

        Raises DeliveryNotFound and CannotCancelDelivery.
        """

        def work(writer: Writer) -> Shown:
            shown = find_delivery(writer, who, delivery_id)
            if not writer.cancel([shown.delivery.key], "asked", self._clock.now_us()):
                raise CannotCancelDelivery(f"The delivery is {shown.status}: nothing is left to cancel", **_told(shown))
            self._note(writer, who, "cancel", shown)
            return find_delivery(writer, who, delivery_id)

        return await self._change(work)

    def _note(self, writer: Writer, who: Principal, doing: str, shown: Shown) -> None:
        webhook_id = shown.endpoint.id if shown.endpoint else None
        self._audit.note(writer, who, f"delivery.{doing}", shown.delivery.id, webhookId=webhook_id)

    async def _change(self, work: Callable[[Writer], Shown]) -> Shown:
        changed = await self._store.write(work, durable=True)
        self._on_due()
        return changed


def query_of(endpoint: Endpoint, wanted: Wanted) -> DeliveryQuery:
    """The store's question about deliveries of an endpoint."""
    return DeliveryQuery(
        endpoint.key,
        states=_states(wanted.statuses, endpoint) if wanted.statuses else None,
        event_types=tuple(wanted.event_types) or None,
        execution_id=wanted.execution_id,
        since_us=wanted.since_us,
        until_us=wanted.until_us,
    )


def find_delivery(reader: Reader, who: Principal, delivery_id: str) -> Shown:
    """One of the principal's team, with its attempts. Raises DeliveryNotFound."""
    row = reader.delivery(who.team, delivery_id)
    if row is None:
        raise DeliveryNotFound(f"Delivery with ID '{delivery_id}' not found", deliveryId=delivery_id)
    return Shown(row, reader.attempts(row.id), reader.endpoint_of(row.endpoint_key))


# --- states ----------------------------------------------------------------------------------------------------------


def _is_served(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and endpoint.status == "active"


def _states(statuses: Collection[str], endpoint: Endpoint) -> tuple[DeliveryState, ...]:
    """What the store calls these statuses: behind a webhook that is not served everything pending is held."""
    is_served = _is_served(endpoint)
    states: dict[Status, tuple[DeliveryState, ...]] = {
        "pending": ("pending",) if is_served else (),
        "sending": ("leased",),
        "delivered": ("delivered",),
        "failed": ("failed",),
        "held": ("held",) if is_served else ("held", "pending"),
        "cancelled": ("cancelled",),
    }
    return tuple(state for status, known in states.items() if status in statuses for state in known)


def _counts(endpoint: Endpoint, backlog: Backlog) -> dict[str, int]:
    pending, held = backlog.counts["pending"], backlog.counts["held"]
    owed = (pending, held) if _is_served(endpoint) else (0, pending + held)
    return {"pending": owed[0], "held": owed[1], "sending": backlog.counts["leased"]}


def _why_not_again(shown: Shown) -> str | None:
    """Why a delivery is not sent again; None: it is."""
    if shown.endpoint is None:
        return "The webhook of this delivery is removed"
    if shown.delivery.trigger == "test":
        return f"This is a test; POST /v1/webhooks/{shown.endpoint.id}/test makes another one"
    if shown.status == "sending":
        return "The delivery is being sent: wait for its end"
    if shown.status == "cancelled":
        return "The delivery was cancelled, and stays so"
    return None


def _told(shown: Shown) -> dict[str, str | None]:
    return {"deliveryId": shown.delivery.id, "status": shown.status, "reason": shown.delivery.reason}
