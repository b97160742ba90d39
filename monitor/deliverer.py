"""The webhook loop: claim, sign, send, record, reschedule. It runs beside the server.

Promises: an attempt is recorded before it is sent, so a crash repeats at most what was in flight, under the same id and
with the same bytes; nothing is polled; a receiver that hangs occupies its own lane only. One transaction records what
has ended and claims what is due: the busier it is, the more each of them does.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Final, NamedTuple, TypeVar

import structlog

from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.errors import StoreUnavailable
from monitor.store.base import Store, Writer
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.delivery import Answer, Claimed, Outcome
from monitor.webhooks.endpoint import SECRET_PURPOSE
from monitor.webhooks.schedule import decide
from monitor.webhooks.sender import LIMITS, Sender
from monitor.webhooks.signing import signed_headers

CONCURRENCY: Final = 256
"""Sends in flight over all endpoints; beyond it they only compete for the same core."""

LANE_CAP: Final = 8
"""Sends in flight to one endpoint: enough for a receiver at a distance, little enough for a small one."""

LEASE_S: Final = LIMITS.total_s + 30.0
"""How long a claim holds: the longest send, and time to record it on a busy machine."""

RECHECK_S: Final = 1.0
"""Pause when the store does not answer, or when what is due waits for room in a lane of somebody else's."""

LONGEST_REST_S: Final = 30.0
"""However far away the next retry is: the wall clock, which it is told by, may be set meanwhile."""

GRACE_S: Final = 5.0
"""What a stop leaves to sends in flight; those that take longer are repeated after the restart."""

T = TypeVar("T")


class Statistics(NamedTuple):
    """What the deliverer holds now."""

    in_flight: int
    # Ended, but not recorded yet.
    unrecorded: int


class Deliverer:
    """Sends what the store says is owed."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        sender: Sender,
        sealer: Sealer,
        clock: Clock,
        chance: Callable[[], float],
        metrics: Metrics,
        concurrency: int = CONCURRENCY,
        lane_cap: int = LANE_CAP,
    ) -> None:
        """`name` tells deliverers apart that share a store: one that returns under its name takes back what it held.

        `chance` gives numbers in [0, 1).
        """
        self._store, self._sender, self._sealer = store, sender, sealer
        self._clock, self._chance, self._metrics = clock, chance, metrics
        self._concurrency, self._lane_cap = concurrency, lane_cap
        self._log = structlog.get_logger("deliverer")
        self._name = f"{name}."
        born_us = clock.now_us()
        self._leases = (f"{self._name}{born_us}.{number}" for number in count(1))
        self._sends: set[asyncio.Task[None]] = set()
        self._outcomes: list[Outcome] = []
        self._woken = asyncio.Event()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    def statistics(self) -> Statistics:
        """What it holds now; never more than its concurrency allows."""
        return Statistics(len(self._sends), len(self._outcomes))

    def wake(self) -> None:
        """Look at once: deliveries were planned. Call it on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until `stop`, then return; cancelled, it leaves what was in flight to the end of its lease."""
        self._idle.clear()
        try:
            await self._write(lambda writer: writer.release_leases(self._name))
            async with asyncio.TaskGroup() as group:
                while self._sends or not self._stopping:
                    self._woken.clear()
                    await self._rest(await self._turn(group))
            await self._write(partial(self._hand_back, tuple(self._outcomes)))
            self._outcomes.clear()
        finally:
            self._idle.set()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Claim no more, let sends in flight end within `grace_s` seconds and give the rest back.

        Returns when that is stored, or `run` is over for another reason.
        """
        self._stopping = True
        self._woken.set()
        if self._sends:
            await asyncio.wait(self._sends, timeout=grace_s)
        for send in self._sends:
            send.cancel()
        await self._idle.wait()

    # --- the loop ----------------------------------------------------------------------------------------------------

    async def _turn(self, group: asyncio.TaskGroup) -> float:
        """Record what has ended, start what is due, and return for how many seconds there is nothing else to do."""
        room = 0 if self._stopping else self._concurrency - len(self._sends)
        if not room and not self._outcomes:
            return LONGEST_REST_S
        ended = tuple(self._outcomes)
        claimed, rest_s = await self._write(partial(self._settle, ended, room))
        del self._outcomes[: len(ended)]
        # What was claimed while `stop` was called is given back with the rest.
        for claim in () if self._stopping else claimed:
            send = group.create_task(self._deliver(claim), name=f"webhook {claim.id}")
            self._sends.add(send)
            send.add_done_callback(self._note_end)
        return rest_s

    def _settle(self, outcomes: Sequence[Outcome], room: int, writer: Writer) -> tuple[list[Claimed], float]:
        self._record(outcomes, writer)
        now_us = self._clock.now_us()
        until_us = now_us + round(LEASE_S * 1_000_000)
        claimed = writer.claim(
            now_us=now_us, lease=next(self._leases), until_us=until_us, limit=room, lane_cap=self._lane_cap
        )
        return claimed, _rest_s(writer.next_due_us(), now_us)

    def _hand_back(self, outcomes: Sequence[Outcome], writer: Writer) -> None:
        self._record(outcomes, writer)
        writer.release_leases(self._name)

    def _record(self, outcomes: Sequence[Outcome], writer: Writer) -> None:
        lost = len(outcomes) - writer.finish(outcomes)
        if lost:
            self._log.warning("attempts ended after their lease, or after their endpoint was removed", attempts=lost)

    async def _write(self, work: Callable[[Writer], T]) -> T:
        """What `work` answers. While the store does not, it is asked again; sends in flight go on meanwhile."""
        while True:
            try:
                return await self._store.write(work)
            except StoreUnavailable as error:
                self._log.warning("cannot record deliveries for the moment", code=error.code, reason=error.message)
                await self._clock.sleep(RECHECK_S)

    async def _rest(self, rest_s: float) -> None:
        """Return when somebody wakes, or after `rest_s` seconds."""
        alarm = asyncio.create_task(self._ring(rest_s), name="webhook alarm")
        try:
            await self._woken.wait()
        finally:
            alarm.cancel()

    async def _ring(self, delay_s: float) -> None:
        await self._clock.sleep(delay_s)
        self._woken.set()

    # --- one delivery ------------------------------------------------------------------------------------------------

    async def _deliver(self, claimed: Claimed) -> None:
        started_us = self._clock.now_us()
        answer = await self._attempt(claimed, started_us)
        ended_us = self._clock.now_us()
        decision = decide(claimed.n, answer, ended_us, self._chance)
        self._outcomes.append(
            Outcome(
                claimed.id,
                claimed.n,
                claimed.lease,
                started_us,
                ended_us,
                answer.status,
                decision.error,
                answer.body,
                decision.state,
                decision.due_us,
            )
        )
        self._metrics.deliveries.labels(outcome=_OUTCOME_WORDS[decision.state]).inc()

    async def _attempt(self, claimed: Claimed, now_us: int) -> Answer:
        try:
            key = self._sealer.open(SECRET_PURPOSE, claimed.sealed_secret)
            headers = signed_headers(claimed.id, now_us // 1_000_000, claimed.body, [key])
            return await self._sender.send(claimed.url, headers, claimed.body)
        except Exception:  # noqa: BLE001 - the rim: trouble with one endpoint must not end the deliveries to all
            self._log.exception("could not attempt a delivery", delivery=claimed.id)
            return Answer(None, "internal")

    def _note_end(self, send: asyncio.Task[None]) -> None:
        self._sends.discard(send)
        self._woken.set()


_OUTCOME_WORDS: Final = {"delivered": "delivered", "pending": "retried", "failed": "given_up"}
"""How the metrics call it."""


def _rest_s(due_us: int | None, now_us: int) -> float:
    """Seconds until there is something to do; what is due already waits for room."""
    if due_us is None:
        return LONGEST_REST_S
    return min((due_us - now_us) / 1_000_000, LONGEST_REST_S) if due_us > now_us else RECHECK_S
