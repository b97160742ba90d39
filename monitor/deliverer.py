"""The webhook loop: claim, sign, send, record, reschedule. It runs beside the server.

Promises: an attempt is recorded before it is sent, so a crash repeats at most what was in flight, under the same id and
with the same bytes; nothing is polled; a receiver that hangs occupies its own lane only. One transaction records what
has ended and claims what is due: the busier it is, the more each of them does.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import count, takewhile
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from msgspec.structs import replace

from monitor.clock import Clock, rest
from monitor.errors import StoreUnavailable
from monitor.store.base import Store, Writer
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.delivery import Claimed, Outcome
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import after
from monitor.webhooks.notices import Notice, plan_notices
from monitor.webhooks.posting import Poster
from monitor.webhooks.schedule import Decision, decide, outcome_of

CONCURRENCY: Final = 256
"""Sends at work over all endpoints; beyond it they only compete for the same core."""

PATIENCE_S: Final = 1.0
"""A send that takes longer waits for its receiver, and costs nothing but its socket: it makes room for another."""

MOST_IN_FLIGHT: Final = 1024
"""Sends in flight, with those that only wait: hundreds of receivers that hang at once delay nobody else."""

_LANES_AT_EASE: Final = 16
"""As many slow receivers leave half of the room to others, ten times as many still a tenth of it."""

LEASE_S: Final = 60.0
"""How long a claim holds: the longest send (30 s), and time to record it on a busy machine."""

RECHECK_S: Final = 1.0
"""Pause when the store does not answer, and when all room is taken."""

_LEAST_REST_S: Final = 0.001

_OTHERS_AT_WORK_S: Final = 0.064
"""The least rest grows up to this while there is something to do that another deliverer has its hands on."""

LONGEST_REST_S: Final = 30.0
"""However far away the next retry is: the wall clock, which it is told by, may be set meanwhile."""

SHARED_REST_S: Final = 1.0
"""Instead, where other processes plan deliveries: a hint of theirs may be lost."""

SHARED_PORTION: Final = 32
"""Claimed at once where deliverers share a store: each takes its part of what came at one moment."""

CLOCK_STEP_S: Final = 2.0
"""A wall clock that lost more than this against the monotonic one was set back."""

SEEN_BY_ALL_S: Final = 300.0
"""Until then every deliverer has noticed it: processes that share a database look at its clock each minute, and one
that stood still for longer counts as dead.
"""

_STEP: Final = "clock-step"
"""What the first one to notice holds until then."""

GRACE_S: Final = 5.0
"""What a stop leaves to sends in flight; those that take longer are repeated after the restart."""

T = TypeVar("T")


class Statistics(NamedTuple):
    """What the deliverer holds now."""

    in_flight: int
    # Ended, but not recorded yet.
    unrecorded: int
    # Lanes whose breaker it saw open.
    broken_lanes: int


class _Ended(NamedTuple):
    """An attempt that is over, with what it means for its lane."""

    claimed: Claimed
    outcome: Outcome
    decision: Decision


class _Settled(NamedTuple):
    """What a transaction of the loop came to."""

    claimed: Sequence[Claimed]
    look_us: int | None
    # When it was, by the wall clock in microseconds and by the monotonic one in seconds.
    times: tuple[int, float]


class Deliverer:
    """Sends what the store says is owed."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        poster: Poster,
        clock: Clock,
        chance: Callable[[], float],
        metrics: Metrics,
        concurrency: int = CONCURRENCY,
        portion: int = MOST_IN_FLIGHT,
        longest_rest_s: float = LONGEST_REST_S,
    ) -> None:
        """`name` tells deliverers apart that share a store: one that returns under its name takes back what it held.

        `chance` gives numbers in [0, 1). `portion`: claimed at once, at most. `longest_rest_s`: without a look at the
        store, however little there seems to be to do. Where several share a store: SHARED_PORTION and SHARED_REST_S.
        """
        self._store, self._poster = store, poster
        self._clock, self._chance, self._metrics = clock, chance, metrics
        self._concurrency, self._portion, self._longest_rest_s = concurrency, portion, longest_rest_s
        self._least_rest_s = _LEAST_REST_S
        self._log = structlog.get_logger("deliverer")
        self._name = f"{name}."
        born_us = clock.now_us()
        self._holder = f"{self._name}{born_us}"
        self._leases = (f"{self._holder}.{number}" for number in count(1))
        # When each began, by the monotonic clock, oldest first.
        self._sends: dict[asyncio.Task[_Ended], float] = {}
        self._ended: list[_Ended] = []
        self._broken_lanes: set[int] = set()
        # By both clocks, when it last settled.
        self._settled = (born_us, clock.monotonic_s())
        self._woken = asyncio.Event()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    def statistics(self) -> Statistics:
        """What it holds now; never more than its concurrency allows."""
        return Statistics(len(self._sends), len(self._ended), len(self._broken_lanes))

    def wake(self) -> None:
        """Look at once: deliveries were planned. Call it on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until `stop`, then return; cancelled, it leaves what was in flight to the end of its lease."""
        self._idle.clear()
        try:
            await self._write(lambda writer: writer.release_leases(self._name, self._clock.now_us()))
            async with asyncio.TaskGroup() as group:
                while self._sends or not self._stopping:
                    self._woken.clear()
                    if rest_s := await self._turn(group):
                        await rest(self._woken, rest_s, self._clock)
            await self._write(partial(self._hand_back, tuple(self._ended)))
            self._count(self._ended)
            self._ended.clear()
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
        for send in tuple(self._sends):
            send.cancel()
        await self._idle.wait()

    # --- the loop ----------------------------------------------------------------------------------------------------

    async def _turn(self, group: asyncio.TaskGroup) -> float:
        """Record what has ended, start what is due, and return for how many seconds there is nothing else to do."""
        room = self._room()
        if not room and not self._ended:
            return RECHECK_S if self._sends else self._longest_rest_s
        ended, limit = tuple(self._ended), min(room, self._portion)
        settled = await self._write(partial(self._settle, ended, limit), shared=True)
        if settled is None:
            settled = await self._write(partial(self._settle_anew, ended, limit))
        claimed, look_us, self._settled = settled
        del self._ended[: len(ended)]
        self._count(ended)
        # What was claimed while `stop` was called is given back with the rest.
        for claim in () if self._stopping else claimed:
            send = group.create_task(self._deliver(claim), name=f"webhook {claim.id}")
            self._sends[send] = self._clock.monotonic_s()
            send.add_done_callback(self._note_end)
        self._least_rest_s = _LEAST_REST_S if claimed or ended else min(2 * self._least_rest_s, _OTHERS_AT_WORK_S)
        return self._rest_s(look_us) if len(claimed) < limit else 0.0

    def _count(self, ended: Sequence[_Ended]) -> None:
        """Group by group: for each attempt it would cost as much as signing."""
        for state, count_ in Counter(it.decision.state for it in ended).items():
            self._metrics.deliveries.labels(outcome=_OUTCOME_WORDS[state]).inc(count_)
        for error, count_ in Counter(it.decision.error for it in ended).items():
            self._metrics.attempts.labels(error=error or "none").inc(count_)

    def _room(self) -> int:
        """How many sends may begin: those that only wait for their receivers hold up nobody."""
        if self._stopping:
            return 0
        since_s = self._clock.monotonic_s() - PATIENCE_S
        waiting = sum(1 for _ in takewhile(lambda began_s: began_s < since_s, self._sends.values()))
        return max(0, min(self._concurrency - len(self._sends) + waiting, MOST_IN_FLIGHT - len(self._sends)))

    def _share(self) -> int:
        """How many sends a lane may have: the less room is left, the fewer.

        Receivers that answer, but late, open no breaker; however many of them there are, others find room.
        """
        return max(1, (MOST_IN_FLIGHT - len(self._sends)) // _LANES_AT_EASE)

    def _rest_s(self, look_us: int | None) -> float:
        """Seconds until there is something to do."""
        rest_s = self._longest_rest_s if look_us is None else (look_us - self._clock.now_us()) / 1_000_000
        if rest_s <= 0:
            return self._least_rest_s
        return min(max(rest_s, _LEAST_REST_S), self._longest_rest_s)

    def _lost_us(self, now_us: int, now_s: float) -> int:
        """By how much the wall clock was set back since it last settled; 0 = it was not."""
        lost_us = self._settled[0] - now_us + round((now_s - self._settled[1]) * 1_000_000)
        return lost_us if lost_us > CLOCK_STEP_S * 1_000_000 else 0

    def _settle(self, ended: Sequence[_Ended], limit: int, writer: Writer) -> _Settled | None:
        """Beside others; None when the clock was set back, which is for one alone."""
        # Looked at in here: while the store kept it waiting, the clock may have been set.
        now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
        if self._lost_us(now_us, now_s):
            return None
        self._record(ended, writer)
        return self._claim(limit, (now_us, now_s), writer)

    def _settle_anew(self, ended: Sequence[_Ended], limit: int, writer: Writer) -> _Settled:
        """Let nobody wait longer for a clock that was set back."""
        now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
        if lost_us := self._lost_us(now_us, now_s):
            self._log.warning("the clock was set back", by_s=lost_us / 1_000_000)
            if self._is_first(now_us, writer):
                writer.set_back(lost_us)
            # What ended before knew nothing of it.
            ended = [_set_back(it, lost_us) if it.outcome.finished_us > now_us else it for it in ended]
        self._record(ended, writer)
        return self._claim(limit, (now_us, now_s), writer)

    def _is_first(self, now_us: int, writer: Writer) -> bool:
        """Whether no other deliverer has made up for the same step of the clock already."""
        ends_us = now_us + round(SEEN_BY_ALL_S * 1_000_000)
        held = writer.lease(_STEP)
        if held is not None and held.until_us > ends_us:  # of a step before this one
            writer.give_back_lease(_STEP, held.holder)
        return writer.take_lease(_STEP, self._holder, now_us=now_us, until_us=ends_us)

    def _claim(self, limit: int, times: tuple[int, float], writer: Writer) -> _Settled:
        now_us, lease = times[0], next(self._leases)
        until_us = now_us + round(LEASE_S * 1_000_000)
        claimed = writer.claim(now_us=now_us, lease=lease, until_us=until_us, limit=limit, share=self._share())
        return _Settled(claimed, writer.next_look_us(), times)

    def _hand_back(self, ended: Sequence[_Ended], writer: Writer) -> None:
        self._record(ended, writer)
        writer.release_leases(self._name, self._clock.now_us())

    def _record(self, ended: Sequence[_Ended], writer: Writer) -> None:
        held = writer.finish([it.outcome for it in ended]) if ended else set()
        # Of two attempts at one delivery only the later one can have held the lease.
        latest = {it.outcome.key: it.outcome.n for it in sorted(ended, key=lambda it: it.outcome.n)}
        by_endpoint: dict[int, list[_Ended]] = {}
        for it in ended:
            if it.outcome.key in held and it.outcome.n == latest[it.outcome.key]:
                by_endpoint.setdefault(it.outcome.endpoint_key, []).append(it)
        # Read once, if at all: hundreds of receivers may fail at the same moment.
        hearers_in = cache(lambda team: [it for it in writer.endpoints(team) if it.is_operator])
        for endpoint_key, attempts in by_endpoint.items():
            self._move_lane(writer, endpoint_key, attempts, hearers_in)
        if lost := len(ended) - len(held):
            self._metrics.lost_leases.inc(lost)
            self._log.warning("attempts ended after their lease, or after their endpoint was removed", attempts=lost)

    def _move_lane(
        self,
        writer: Writer,
        endpoint_key: int,
        attempts: Sequence[_Ended],
        hearers_in: Callable[[str], Sequence[Endpoint]],
    ) -> None:
        """Let a lane and its endpoint follow what became of attempts, and tell who wants to know."""
        endpoint, before = writer.endpoint_of(endpoint_key), writer.lane(endpoint_key)
        if endpoint is None:
            return
        lane, notices, disables = before, list[Notice](), None
        for it in attempts:
            notices += _notices_of(it, endpoint)
            if it.claimed.endpoint.url != endpoint.url:
                continue  # what another receiver said says nothing of this one
            turn = after(lane, endpoint, it.decision.verdict, it.decision.lane_until_us, it.outcome.finished_us)
            lane, disables = turn.lane, disables or it.decision.disables or ("failing" if turn.disables else None)
            notices += [Notice(type_, endpoint, members) for type_, members in turn.notices]
        if lane is not before:
            writer.put_lane(endpoint_key, lane)
        (self._broken_lanes.discard if lane.breaker == "closed" else self._broken_lanes.add)(endpoint_key)
        now_us = attempts[-1].outcome.finished_us
        if disables is not None and endpoint.status != "disabled":
            disabled = replace(endpoint, status="disabled", reason=disables, updated_us=now_us)
            writer.update_endpoint(disabled)
            notices.append(Notice("endpoint.disabled", endpoint, {"reason": disables}))
        if notices:
            writer.owe(plan_notices(notices, hearers_in(endpoint.team), now_us))

    async def _write(self, work: Callable[[Writer], T], *, shared: bool = False) -> T:
        """What `work` answers. While the store does not, it is asked again; sends in flight go on meanwhile."""
        while True:
            try:
                return await self._store.write(work, shared=shared)
            except StoreUnavailable as error:
                self._log.warning("cannot record deliveries for the moment", code=error.code, reason=error.message)
                await self._clock.sleep(RECHECK_S)

    # --- one delivery ------------------------------------------------------------------------------------------------

    async def _deliver(self, claimed: Claimed) -> _Ended:
        started_us = self._clock.now_us()
        if claimed.n == 1:
            self._metrics.first_attempt.observe(max(0, started_us - claimed.planned_us) / 1_000_000)
        answer = await self._poster.post(claimed, started_us)
        ended_us = self._clock.now_us()
        decision = decide(claimed, answer, ended_us, self._chance)
        return _Ended(claimed, outcome_of(claimed, answer, decision, started_us, ended_us), decision)

    def _note_end(self, send: asyncio.Task[_Ended]) -> None:
        """All in one step: between two, the loop would ask the store once for what ended, and again for the room."""
        del self._sends[send]
        if not send.cancelled() and not send.exception():
            self._ended.append(send.result())
        self._woken.set()


def _set_back(it: _Ended, by_us: int) -> _Ended:
    """An attempt that ended before the clock was set back, as if it had been so all the time."""
    outcome, lane_until_us = it.outcome, it.decision.lane_until_us
    times = {"started_us": outcome.started_us - by_us, "finished_us": outcome.finished_us - by_us}
    outcome = replace(outcome, **times, due_us=None if outcome.due_us is None else outcome.due_us - by_us)
    return it._replace(outcome=outcome, decision=it.decision._replace(lane_until_us=max(0, lane_until_us - by_us)))


_OUTCOME_WORDS: Final = {"delivered": "delivered", "pending": "retried", "failed": "given_up"}
"""How the metrics call it."""


def _notices_of(it: _Ended, endpoint: Endpoint) -> list[Notice]:
    """What is told of the delivery itself."""
    outcome = it.outcome
    members: dict[str, Any] = {"deliveryId": it.claimed.id, "attempts": outcome.n}
    if outcome.reason in ("exhausted", "expired", "halted"):
        members |= {"reason": outcome.reason, "statusCode": outcome.status, "error": outcome.error}
        return [Notice("delivery.exhausted", endpoint, members)]
    if outcome.state == "delivered" and it.claimed.trigger == "retry":
        return [Notice("delivery.recovered", endpoint, members)]
    return []
