"""A whole service without a server: journal, store, pipeline and hub, and the native routes over ASGI."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.types import Scope

from monitor.access.principal import Principal
from monitor.access.sealing import KEY_BYTES, Sealer
from monitor.access.teams import team_rule
from monitor.api import data, executions, exports, history, ingest, lineage, operations, statistics
from monitor.clock import Clock, SystemClock
from monitor.events.position import beginning
from monitor.executions.audit import Audit
from monitor.executions.contents import Found
from monitor.executions.exports import Exports
from monitor.executions.history import History
from monitor.executions.reads import Reads
from monitor.executions.reveals import Reveals
from monitor.executions.statistics import Statistics
from monitor.fanout.hub import Hub
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.intake import Intake
from monitor.journal.memory import MemoryJournal
from monitor.observing import observe_lag, observe_pipeline
from monitor.pipeline import Pipeline
from monitor.store.base import Store
from monitor.store.memory import MemoryStore
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics
from monitor.web import native
from monitor.web.operations import open_routes, routed
from monitor.web.problems import exception_handlers
from monitor.web.traffic import CountRequests
from tests.support.contract.checked import CHECKED
from tests.support.decoding import usual
from tests.support.webhooks import BODIES

SEALER = Sealer(b"k" * KEY_BYTES)
TEAM_HEADER = b"x-team"
"""Tests say with it who asks; nobody else can."""

JSON = {"content-type": "application/json"}


class House:
    """Made by `open_house`. Events that were posted are applied by `settle`."""

    def __init__(self, store: Store, partitions: int, clock: Clock) -> None:
        decoding = usual(team_rule(exclusive=True, trust_body=False))
        self.metrics, self.store, self.health, self.clock = Metrics(), store, Health(), clock
        self.journal = MemoryJournal(partitions, clock=clock)
        replay = Replay(self.journal, store, decoding)
        start = beginning(self.journal.incarnation, partitions)
        snapshots = Snapshots(store, lambda summary: native.execution(Found(summary)), clock)
        self.hub = Hub(start=start, replay=replay, snapshots=snapshots, sealer=SEALER, clock=clock)
        self.intake = Intake(self.journal, self.metrics)
        self.pipeline = Pipeline(
            journal=self.journal,
            store=store,
            hub=self.hub,
            decoding=decoding,
            bodies=BODIES,
            on_deliveries=lambda: None,
            clock=clock,
            metrics=self.metrics,
        )
        self.reads = reads = Reads(store, self.hub)
        self.history = past = History(reads, self.journal, decoding)
        reveals = Reveals(past, Audit(store, clock))
        asked = [
            *ingest.operations(intake=self.intake, sealer=SEALER),
            *data.operations(reads=reads, reveals=reveals, sealer=SEALER),
            *lineage.operations(reads=reads, sealer=SEALER),
            *statistics.operations(statistics=Statistics(reads), sealer=SEALER, clock=clock),
            *executions.operations(reads=reads, history=past, sealer=SEALER, clock=clock),
            *history.operations(history=past, reveals=reveals, sealer=SEALER),
            *exports.operations(exports=Exports(reads), sealer=SEALER, clock=clock),
        ]
        addresses = operations.addresses(health=lambda: self.health, observe=self.observe, metrics=self.metrics)
        routes = [
            *open_routes(addresses),
            *routed(asked, principal),
        ]
        application = Starlette(routes=routes, exception_handlers=exception_handlers(clock))
        self.application = CountRequests(application, self.metrics)

    async def observe(self) -> None:
        """Measure what is measured by looking."""
        observe_pipeline(self.pipeline, self.metrics)
        await observe_lag(self.pipeline, self.journal, self.clock, self.metrics)

    async def settle(self) -> None:
        """Apply everything that the journal holds."""
        await self.pipeline.catch_up()

    async def tell(self, *events: Mapping[str, Any], team: str = "acme") -> None:
        """Take in canonical events, and apply them."""
        receipt = await self.intake.accept([msgspec.json.encode(event) for event in events], team=team)
        assert [result.fault for result in receipt.results if result.fault] == []
        await self.settle()

    @asynccontextmanager
    async def client(self, team: str = "acme") -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client of a team."""
        transport = httpx.ASGITransport(self.application)
        headers = {TEAM_HEADER.decode(): team}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://monitor", headers=headers, event_hooks=CHECKED
        ) as client:
            yield client


async def principal(scope: Scope) -> Principal:
    """Whom the test's header names."""
    team = next((value.decode() for name, value in scope["headers"] if name == TEAM_HEADER), "acme")
    return Principal(team=team, name="tester", role="admin")


async def open_house(store: Store | None = None, partitions: int = 1, clock: Clock | None = None) -> House:
    """A house over `store`, in memory where none is given."""
    house = House(store or MemoryStore(), partitions, clock or SystemClock())
    starts = [0] * partitions
    await house.store.write(lambda writer: writer.bind(house.journal.incarnation, starts))
    return house
