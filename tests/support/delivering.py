"""A real deliverer over a real store and real sockets, and what tests of it say and ask."""

import asyncio
import base64
import hashlib
import heapq
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.deliverer import CONCURRENCY, LEASE_S, Deliverer
from monitor.errors import StoreUnavailable
from monitor.projections.fold import Changes
from monitor.store.base import Commit, Store, Writer
from monitor.store.delivery_port import AttemptRow, DeliveryQuery, DeliveryRow
from monitor.telemetry.metrics import Metrics
from monitor.webhooks.delivery import Planned
from monitor.webhooks.endpoint import SECRET_PURPOSE, Endpoint
from monitor.webhooks.planner import Planner
from monitor.webhooks.posting import Poster
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets
from tests.support.clocks import ManualClock, settle
from tests.support.receiver import LOOPBACK, Request
from tests.support.service import eventually
from tests.support.webhooks import BODIES, KEY, make_endpoint, make_release

SEALER = Sealer(bytes(32))

HASTY_S = 1.0
"""Long enough for an answer on a busy machine, short enough to wait for the lack of one."""


async def register(store: Store, url: str, id_: str = "wh_1", **members: Any) -> Endpoint:
    """An endpoint that wants everything."""
    endpoint = make_endpoint(id_, url=url, sealed_secret=SEALER.seal(SECRET_PURPOSE, KEY), **members)
    return await store.write(lambda writer: writer.add_endpoint(endpoint))


async def owe(
    store: Store, clock: Clock, endpoints: Iterable[Endpoint], *event_ids: str, execution_id: str = "exec_1"
) -> list[Planned]:
    """Events of an execution that happened, planned and committed as the pipeline does it."""
    releases = [
        make_release(execution_id=execution_id, event_id=event_id, data={"n": event_id}) for event_id in event_ids
    ]
    planned = Planner(endpoints, BODIES).plan(releases, {}, clock.now_us())
    await store.write(lambda writer: writer.commit(Commit(Changes(), {}, planned)))
    return planned


@asynccontextmanager
async def delivering(
    store: Store, clock: Clock, *, name: str = "here", concurrency: int = CONCURRENCY, **options: Any
) -> AsyncIterator[Deliverer]:
    """A running deliverer; stopped at the end, giving sends no time. `options` are others of Deliverer."""
    async with open_sender(Targets(LOOPBACK)) as sender:
        deliverer = Deliverer(
            name=name,
            store=store,
            poster=Poster(sender, SEALER),
            clock=clock,
            chance=lambda: 0.5,
            metrics=Metrics(),
            concurrency=concurrency,
            **options,
        )
        running = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            await deliverer.stop(grace_s=0)
            await running


async def rows(store: Store, endpoint: Endpoint) -> list[tuple[DeliveryRow, list[AttemptRow]]]:
    """Deliveries of an endpoint, oldest first, each with its attempts."""
    return await store.read(
        lambda reader: [
            (row, list(reader.attempts(row.id)))
            for row in reversed(reader.deliveries(DeliveryQuery(endpoint.key), 1000))
        ]
    )


async def recorded(
    store: Store, endpoint: Endpoint, *states: str, passing: ManualClock | None = None
) -> list[tuple[DeliveryRow, list[AttemptRow]]]:
    """The rows, once the deliveries are in these states; time passes meanwhile where a clock is given."""
    found: list[Any] = []

    async def are_so() -> bool:
        if passing is not None:
            await let_pass(passing, 5)
        found[:] = await rows(store, endpoint)
        return [row.state for row, _ in found] == list(states)

    await eventually(are_so, what=lambda: str(found))
    return found


async def passing_until(clock: ManualClock, is_so: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Let time pass, second by second, until it is so."""

    async def step() -> bool:
        await let_pass(clock, 1)
        answer = is_so()
        return answer if isinstance(answer, bool) else await answer

    await eventually(step)


async def let_pass(clock: ManualClock, for_s: float) -> None:
    """Let time pass, unless the deliverer is at work: what it does takes none by its clock."""
    await settle()
    if rests(clock):
        await clock.advance(for_s)


def rests(clock: ManualClock) -> bool:
    """Whether the deliverer, alone on its clock, waits for time to pass."""
    return any(not sleeper.done() for *_, sleeper in clock._sleepers)


async def pass_time(clock: ManualClock, deliverer: Deliverer, for_s: float, step_s: float) -> None:
    """Let time pass in steps, in each of which the deliverer does all that it can."""
    for _ in range(round(for_s / step_s)):
        await idle(clock, deliverer)
        leap(clock, step_s)
    await idle(clock, deliverer)


def leap(clock: ManualClock, by_s: float) -> None:
    """Move on at once: whoever sleeps less wakes at the end, as on a machine that was asleep."""
    clock._now_us += round(by_s * 1_000_000)
    while clock._sleepers and clock._sleepers[0][0] <= clock._now_us:
        *_, sleeper = heapq.heappop(clock._sleepers)
        if not sleeper.done():
            sleeper.set_result(None)


async def idle(clock: ManualClock, deliverer: Deliverer) -> None:
    """Return once nothing is in flight, everything is recorded, and the deliverer waits for time to pass."""

    async def is_so() -> bool:
        await settle()
        return deliverer.statistics()[:2] == (0, 0) and rests(clock)

    await eventually(is_so, what=lambda: str(deliverer.statistics()))


async def notices_to(store: Store, hearer: Endpoint) -> list[dict[str, Any]]:
    """Operator events that are owed to it: their data and type, in order."""
    found = [json.loads(row.body) for row, _ in await rows(store, hearer)]
    return [{"type": body["type"], **body["data"]} for body in found]


async def stored(store: Store, endpoint: Endpoint) -> Endpoint:
    """The endpoint as it is now."""
    found = await store.read(lambda reader: reader.endpoint_of(endpoint.key))
    assert found is not None
    return found


def is_signed(request: Request) -> bool:
    """What a receiver checks, written down from the specification."""
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    return request.headers["webhook-signature"].split(" ") == [f"v1,{expected}"]


def claim_as(name: str, clock: Clock) -> Callable[[Writer], Any]:
    """What a deliverer does right before it dies."""
    until_us = clock.now_us() + round(LEASE_S * 1_000_000)
    return lambda writer: writer.claim(now_us=clock.now_us(), lease=f"{name}.1", until_us=until_us, limit=10)


class AdjustableClock(ManualClock):
    """A clock whose wall clock somebody sets; sleepers do not notice."""

    def __init__(self) -> None:
        super().__init__()
        self._adjusted_us = 0

    def now_us(self) -> int:
        """Wall-clock time in microseconds."""
        return super().now_us() + self._adjusted_us

    def adjust(self, by_s: float) -> None:
        """Set the wall clock, forwards or back."""
        self._adjusted_us += round(by_s * 1_000_000)


class FailingStore:
    """A store whose writes fail while it is told to."""

    def __init__(self, inner: Store) -> None:
        self.fails = False
        self.failures = 0
        self.read, self.close, self._write = inner.read, inner.close, inner.write
        self.hints, self.wipe = inner.hints, inner.wipe

    async def write(self, work: Callable[[Writer], Any], *, durable: bool = False, shared: bool = False) -> Any:
        """The inner store's, or StoreUnavailable."""
        if self.fails:
            self.failures += 1
            raise StoreUnavailable
        return await self._write(work, durable=durable, shared=shared)
