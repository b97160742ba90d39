"""Test sends at the desk: one real, signed attempt right now, whatever the state of the webhook, and what came of it.

Promises: it is recorded like every attempt, repeated by nobody, and says nothing of its lane; it is no port scanner: a
team has few of them a minute, and an address that must not be reached looks the same whatever is there.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Final

import msgspec

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import RateLimited, WebhookNotFound
from monitor.events.codec import format_time
from monitor.executions.audit import Audit
from monitor.executions.deliveries import Shown, find_delivery
from monitor.executions.webhooks import find_endpoint
from monitor.store.base import Store, Writer
from monitor.webhooks.delivery import Claimed, Planned
from monitor.webhooks.endpoint import TEST_TYPE, Endpoint
from monitor.webhooks.notices import PingBody
from monitor.webhooks.payload import SCHEMA_VERSION
from monitor.webhooks.posting import Poster
from monitor.webhooks.schedule import decide, outcome_of

PER_MINUTE: Final = 10
"""Tests of a team: enough to repair a receiver, too few to map a network."""

_MINUTE_S: Final = 60.0
_ID_BYTES: Final = 16

_SPARE_S: Final = 10.0
"""What a lease holds beyond the attempt: time to record it on a busy machine."""

_encode: Final = msgspec.json.Encoder().encode


class Turnstile:
    """Lets a webhook be tested by one at a time, and a team test `PER_MINUTE` times a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy: set[int] = set()
        # When the latest tests of each team began, by the monotonic clock.
        self._begun_s: dict[str, deque[float]] = {}

    @contextmanager
    def passing(self, endpoint: Endpoint) -> Iterator[None]:
        """Raises RateLimited, and tells when to come back."""
        if endpoint.key in self._busy:
            raise RateLimited("this webhook is being tested; wait for its answer", retry_after_s=1)
        now_s = self._clock.monotonic_s()
        begun_s = self._begun_s.setdefault(endpoint.team, deque(maxlen=PER_MINUTE))
        if len(begun_s) == PER_MINUTE and (rest_s := begun_s[0] + _MINUTE_S - now_s) > 0:
            raise RateLimited(f"a team can test {PER_MINUTE} times a minute", retry_after_s=ceil(rest_s))
        begun_s.append(now_s)
        self._busy.add(endpoint.key)
        try:
            yield
        finally:
            self._busy.discard(endpoint.key)


class Pings:
    """Sends tests. Every method raises StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        audit: Audit,
        poster: Poster,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        on_due: Callable[[], None],
    ) -> None:
        """`random_bytes` makes ids that nobody guesses; `on_due` wakes who delivers."""
        self._store, self._audit, self._poster, self._clock = store, audit, poster, clock
        self._random_bytes, self._on_due = random_bytes, on_due
        self._turnstile = Turnstile(clock)

    async def ping(self, who: Principal, endpoint_id: str) -> Shown:
        """The test, ended: delivered or failed, with its only attempt.

        Cancelled, or with the process gone, it has failed when its lease ends. Raises WebhookNotFound and RateLimited.
        """
        endpoint = await self._store.read(lambda reader: find_endpoint(reader, who, endpoint_id))
        with self._turnstile.passing(endpoint):
            claimed = await self._begin(who, endpoint)
            await self._attempt(claimed)
        # It made room in its lane.
        self._on_due()
        return await self._store.read(lambda reader: find_delivery(reader, who, claimed.id))

    async def _begin(self, who: Principal, endpoint: Endpoint) -> Claimed:
        now_us, name = self._clock.now_us(), self._random_bytes(_ID_BYTES).hex()
        until_us = now_us + round((endpoint.timeout_s + _SPARE_S) * 1_000_000)
        ping = _ping(endpoint, name, now_us)

        def work(writer: Writer) -> Claimed | None:
            self._audit.note(writer, who, "webhook.test", endpoint.id, deliveryId=ping.id)
            return writer.begin(ping, "test", now_us=now_us, lease=f"test.{name}", until_us=until_us)

        claimed = await self._store.write(work)
        if claimed is None:  # removed meanwhile
            raise WebhookNotFound(f"Webhook with ID '{endpoint.id}' not found", webhookId=endpoint.id)
        return claimed

    async def _attempt(self, claimed: Claimed) -> None:
        started_us = self._clock.now_us()
        answer = await self._poster.post(claimed, started_us)
        ended_us = self._clock.now_us()
        # A test is not tried again: nothing is left to chance.
        outcome = outcome_of(claimed, answer, decide(claimed, answer, ended_us, float), started_us, ended_us)
        await self._store.write(lambda writer: writer.finish([outcome]))


def _ping(endpoint: Endpoint, name: str, now_us: int) -> Planned:
    event_id = f"test_{name}"
    body: PingBody = {
        "event": TEST_TYPE,
        "timestamp": format_time(now_us),
        "data": {"webhookId": endpoint.id, "name": endpoint.name},
        "id": event_id,
        "type": TEST_TYPE,
        "schemaVersion": SCHEMA_VERSION,
    }
    return Planned(f"msg_{name}", endpoint.key, event_id, TEST_TYPE, endpoint.team, "", _encode(body), now_us)
