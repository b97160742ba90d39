"""Deliveries at the desk: what became of what is owed to a webhook.

Every question is a principal's and sees its team alone. Called by the native face, which does the spelling.
"""

from collections.abc import Sequence
from typing import NamedTuple

from monitor.access.principal import Principal
from monitor.executions.webhooks import find_endpoint
from monitor.store.base import AttemptRow, DeliveryQuery, DeliveryRow, Reader, Store


class Delivered(NamedTuple):
    """A delivery and every attempt at it."""

    delivery: DeliveryRow
    attempts: Sequence[AttemptRow]


class Deliveries:
    """The use cases of deliveries. Every method raises StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def latest(self, who: Principal, endpoint_id: str, limit: int) -> Sequence[Delivered]:
        """The latest deliveries of an endpoint, newest first. Raises WebhookNotFound."""

        def work(reader: Reader) -> list[Delivered]:
            endpoint = find_endpoint(reader, who, endpoint_id)
            found = reader.deliveries(DeliveryQuery(endpoint.key), limit)
            return [Delivered(row, reader.attempts(row.id)) for row in found]

        return await self._store.read(work)
