"""What a running service consists of, what runs in it beside the server, and how it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.access.decoding import Decoding
from monitor.access.sealing import Sealer
from monitor.clock import Clock
from monitor.deliverer import Deliverer
from monitor.engines.router import Router
from monitor.eraser import Eraser
from monitor.executions.audit import Audit
from monitor.executions.bulk import Bulk
from monitor.executions.changes import Changes
from monitor.executions.commands import Commands
from monitor.executions.credentials import Credentials
from monitor.executions.deliveries import Deliveries
from monitor.executions.export_jobs import ExportJobs
from monitor.executions.export_work import ExportWork
from monitor.executions.halts import Halts
from monitor.executions.idempotency import Idempotency
from monitor.executions.pings import Pings
from monitor.executions.quarantine import Quarantine
from monitor.executions.replays import Replays
from monitor.executions.sessions import Sessions
from monitor.executions.tokens import Tokens
from monitor.executions.webhook_secrets import WebhookSecrets
from monitor.executions.webhooks import Webhooks
from monitor.expiry import Expiry
from monitor.fanout.hub import Hub
from monitor.fanout.standstill import Standstill
from monitor.follower import Follower
from monitor.intake import Intake
from monitor.janitor import Janitor
from monitor.journal.base import Journal
from monitor.judge import Judge
from monitor.keepers import Keepers, Loop
from monitor.mishaps import Mishaps
from monitor.observing import observe_lag, observe_pipeline, observe_streams, observe_webhooks
from monitor.pipeline import Pipeline
from monitor.projections.bursts import in_words
from monitor.replayer import Replayer
from monitor.settings import Settings
from monitor.steering import Steering
from monitor.store import Store
from monitor.store.hints import remind
from monitor.telemetry.health import Concern, Health
from monitor.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a running service consists of."""

    settings: Settings
    # Of this process, as no other is called.
    name: str
    clock: Clock
    metrics: Metrics
    sealer: Sealer
    journal: Journal
    decoding: Decoding
    store: Store
    # Of who shares the store with others.
    steering: Steering | None
    hub: Hub
    intake: Intake
    pipeline: Pipeline
    # Of who shares the store with others: tells the hub what any of them committed.
    follower: Follower | None
    deliverer: Deliverer
    replayer: Replayer
    janitor: Janitor
    expiry: Expiry
    eraser: Eraser
    judge: Judge
    mishaps: Mishaps
    webhooks: Webhooks
    webhook_secrets: WebhookSecrets
    deliveries: Deliveries
    pings: Pings
    replays: Replays
    audit: Audit
    credentials: Credentials
    tokens: Tokens
    sessions: Sessions
    engines: Router
    commands: Commands
    changes: Changes
    bulk: Bulk
    export_jobs: ExportJobs
    export_work: ExportWork
    idempotency: Idempotency
    quarantine: Quarantine
    halts: Halts

    @property
    def loops(self) -> Mapping[str, Loop]:
        """What runs beside the server, by name: what the process's role asks for."""
        loops = dict[str, Loop]()
        if self.settings.serves_clients:
            loops |= self._serving | ({"keepers": self._keepers.run} if self.follower else self._keeping)
        if self.settings.folds:
            loops["pipeline"] = self.pipeline.run
        if self.settings.delivers:
            loops["deliverer"] = self.deliverer.run
        if self.steering is not None:
            loops |= {"clock": self.steering.run, "hints": self._remind}
        return loops

    @property
    def _serving(self) -> dict[str, Loop]:
        """For the clients of this process."""
        lag = (self.follower or self.pipeline).lag
        following: dict[str, Loop] = {}
        if self.follower:
            following = {"follower": self.follower.run, "mishaps": self.mishaps.run}
        return following | {
            "hub": self.hub.run,
            "standstill": Standstill(self.hub, lag, self.clock).run,
            "credentials": self.credentials.run,
            "engines": self.engines.run,
        }

    @property
    def _keeping(self) -> dict[str, Loop]:
        """For everybody: one process does it."""
        return {
            "replayer": self.replayer.run,
            "janitor": self.janitor.run,
            "expiry": self.expiry.run,
            "eraser": self.eraser.run,
            "judge": self.judge.run,
            "bulk": self.bulk.run,
            "exports": self.export_work.run,
        }

    @property
    def _keepers(self) -> Keepers:
        return Keepers(store=self.store, clock=self.clock, holder=self.name, loops=self._keeping)

    async def _remind(self) -> None:
        await remind(self.store.hints, self.clock)

    async def observe(self) -> None:
        """Bring those metrics up to date that are measured by looking. Raises Unavailable."""
        self.metrics.ready.set(self.health().ready)
        if self.settings.folds:
            observe_pipeline(self.pipeline, self.metrics)
        if self.follower and self.settings.serves_clients:
            self.follower.observe()
        observe_streams(self.hub.statistics(), self.metrics)
        observe_webhooks(self.deliverer.statistics(), self.metrics)
        # In this order: what counts as applied here is, where it is owed to anybody, in the backlog that is read next.
        await observe_lag(self.pipeline, self.journal, self.clock, self.metrics)
        backlog = await self.store.read(lambda reader: reader.backlog(None))
        self.metrics.undecided.set(await self.store.read(lambda reader: reader.undecided()))
        for state, count in backlog.counts.items():
            self.metrics.owed.labels(state=state).set(count)
        oldest_us = self.clock.now_us() if backlog.oldest_us is None else backlog.oldest_us
        self.metrics.oldest_owed.set(max(0, self.clock.now_us() - oldest_us) / 1_000_000)

    def health(self) -> Health:
        """Whether work may be sent here."""
        told = (self.pipeline.trouble if self.settings.folds else None, self._follower_trouble)
        standing = [Concern("halted", in_words(at, halt)) for at, halt in sorted(self.pipeline.halts.items())]
        return Health((*filter(None, told), *standing))

    @property
    def _follower_trouble(self) -> Concern | None:
        return self.follower.trouble if self.follower and self.settings.serves_clients else None
