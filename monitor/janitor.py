"""The janitor: forgets what has served its time. Runs beside the server, once a minute, in small steps."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog

from monitor.clock import Clock
from monitor.errors import Unavailable
from monitor.journal.base import Bounds, Journal
from monitor.store.base import Store, Writer
from monitor.store.order_port import JOB_KEEP_S, KEY_KEEP_S
from monitor.webhooks.notices import Notice, plan_notices

ROUND_S: Final = 60.0

FORGOTTEN_AT_ONCE: Final = 100
"""Deliveries that one transaction forgets: whoever sends waits some milliseconds for it."""

RELEASES_AT_ONCE: Final = 100
"""Batches of each partition whose releases one transaction forgets: Kafka drops the records of a day at once."""

ORDERS_AT_ONCE: Final = 200
"""Idempotency keys, or executions of old jobs, that one transaction forgets: a few milliseconds."""

HELD_AT_ONCE: Final = 1_000
"""Deliveries that one transaction sets aside; more than of the above, for each of these counts what is pending."""

REST_S: Final = 0.005
"""Between two portions: about as long as one takes, so that half of the time is everybody else's."""

MOST_PENDING: Final = 100_000
"""Deliveries that may wait in a lane. What tells less than the end of an execution is set aside beyond it."""


class Janitor:
    """Trims the embedded journal to its retention time, never beyond what is folded; releases go with their records.

    Deliveries go when they have ended and are old; lanes that overflow are relieved, and their owners told.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        store: Store,
        clock: Clock,
        keep_s: int,
        webhook_keep_s: int,
        on_due: Callable[[], None],
        most_pending: int = MOST_PENDING,
    ) -> None:
        """`keep_s`: how long applied records stay, for resuming streams and for rebuilds; `webhook_keep_s`: how long
        deliveries do. `on_due` wakes who delivers.
        """
        self._journal, self._store, self._clock, self._on_due = journal, store, clock, on_due
        self._keep_s, self._webhook_keep_s, self._most_pending = keep_s, webhook_keep_s, most_pending
        # Endpoints that overflowed in the last round, and whose owners know: who is behind for hours is told once.
        self._told: frozenset[int] = frozenset()
        self._log = structlog.get_logger("janitor")

    async def run(self) -> None:
        """Tidy up every minute until cancelled."""
        while True:
            try:
                await self.tidy()
            except Unavailable as error:
                self._log.warning("cannot tidy up for the moment", code=error.code, reason=error.message)
            await self._clock.sleep(ROUND_S)

    async def tidy(self) -> None:
        """One round: forget applied records that are older than the retention time, then releases without records;
        forget deliveries, idempotency keys and finished jobs; relieve lanes.
        """
        if self._journal.exclusive:
            await self._trim()
        # By what the journal says and not by what was trimmed just now: a shared one trims itself, and a process that
        # died in between is made up for.
        held = await self._journal.bounds()
        while await self._store.write(partial(_forget_releases, held)):
            await self._clock.sleep(REST_S)
        await self._forget_deliveries()
        await self._forget_orders()
        await self._relieve_lanes()

    async def _trim(self) -> None:
        before_us = self._clock.now_us() - self._keep_s * 1_000_000
        offsets = await self._store.read(lambda reader: reader.offsets())
        for partition, held in (await self._journal.bounds()).items():
            applied = Bounds(held.start, min(held.end, offsets[partition].next))
            cut = await self._first_since(partition, applied, before_us)
            if cut > held.start:
                await self._journal.trim(partition, cut)
                self._log.info("forgot old records", partition=partition, before=cut)

    async def _forget_deliveries(self) -> None:
        """Portion by portion: writers take turns, so that others come in between."""
        before_us = self._clock.now_us() - self._webhook_keep_s * 1_000_000
        forgotten, looked_at = 0, 0
        while True:
            count, looked_at = await self._store.write(partial(_forget_deliveries, before_us, looked_at))
            forgotten += count
            if not looked_at:
                break
            await self._clock.sleep(REST_S)
        if forgotten:
            self._log.info("forgot old deliveries", deliveries=forgotten)

    async def _forget_orders(self) -> None:
        now_us = self._clock.now_us()
        for forget, keep_s in ((_forget_keys, KEY_KEEP_S), (_forget_jobs, JOB_KEEP_S)):
            while await self._store.write(partial(forget, now_us - keep_s * 1_000_000)):
                await self._clock.sleep(REST_S)
        # Of processes that died; as long as keys are kept is long enough for everybody to see that they ended.
        await self._store.write(lambda writer: writer.forget_leases(now_us - KEY_KEEP_S * 1_000_000))

    async def _relieve_lanes(self) -> None:
        """Set aside what is too much for lanes, portion by portion."""
        backlog = await self._store.read(lambda reader: reader.backlog(None))
        relief = _Relief(self._most_pending, self._told)
        if backlog.counts["pending"] > self._most_pending:
            while await self._store.write(partial(relief.go_on, self._clock.now_us())):
                await self._clock.sleep(REST_S)
        self._told = relief.told.intersection(relief.held)
        if relief.held:
            deliveries = sum(relief.held.values())
            self._log.warning("lanes overflow", lanes=len(relief.held), deliveries=deliveries)
            self._on_due()

    async def _first_since(self, partition: int, held: Bounds, since_us: int) -> int:
        """The first offset in `held` that was stored at `since_us` or later, by bisection; `held.end` when none was."""
        low, high = held
        while low < high:
            middle = (low + high) // 2
            records = await self._journal.read(partition, middle, high, 1)
            if records and records[0].stored_us < since_us:
                low = records[0].offset + 1
            else:
                high = middle
        return low


class _Relief:
    """One round of setting aside: a lane's owner is told when it is over, in the transaction that ends it."""

    def __init__(self, most_pending: int, told: frozenset[int]) -> None:
        """`told`: endpoints whose owners know already."""
        self._most_pending, self.told = most_pending, told
        # How many were set aside, by endpoint.
        self.held: dict[int, int] = {}

    def go_on(self, now_us: int, writer: Writer) -> bool:
        """One portion of every lane that overflows. Returns whether there may be more."""
        portions = writer.hold_overflow(self._most_pending, now_us, HELD_AT_ONCE)
        for key, count in portions.items():
            self.held[key] = self.held.get(key, 0) + count
        for key in self.held.keys() - self.told:
            if portions.get(key, 0) < HELD_AT_ONCE:
                self._tell(writer, key, now_us)
        return HELD_AT_ONCE in portions.values()

    def _tell(self, writer: Writer, key: int, now_us: int) -> None:
        self.told |= {key}
        about = writer.endpoint_of(key)
        if about is not None:
            notice = Notice("lane.backlog", about, {"held": self.held[key], "limit": self._most_pending})
            writer.owe(plan_notices([notice], writer.endpoints(about.team), now_us))


def _forget_deliveries(before_us: int, looked_at: int, writer: Writer) -> tuple[int, int]:
    return writer.forget_deliveries(before_us, looked_at, FORGOTTEN_AT_ONCE)


def _forget_keys(before_us: int, writer: Writer) -> int:
    return writer.forget_idempotent_requests(before_us, ORDERS_AT_ONCE)


def _forget_jobs(before_us: int, writer: Writer) -> int:
    return writer.forget_bulk_jobs(before_us, ORDERS_AT_ONCE)


def _forget_releases(held: Mapping[int, Bounds], writer: Writer) -> bool:
    """One portion of every partition. Returns whether there may be more."""
    forgotten = [writer.forget_releases(at, start, RELEASES_AT_ONCE) for at, (start, _) in held.items()]
    return RELEASES_AT_ONCE in forgotten
