"""What a running service consists of, what runs in it beside the server, and how it is."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

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
from monitor.intake import Intake
from monitor.janitor import Janitor
from monitor.journal.base import Journal
from monitor.judge import Judge
from monitor.observing import observe_lag, observe_pipeline, observe_streams, observe_webhooks
from monitor.pipeline import Pipeline
from monitor.projections.bursts import in_words
from monitor.replayer import Replayer
from monitor.settings import Settings
from monitor.store import Store
from monitor.telemetry.health import Concern, Health
from monitor.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a running service consists of."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    sealer: Sealer
    journal: Journal
    decoding: Decoding
    store: Store
    hub: Hub
    intake: Intake
    pipeline: Pipeline
    deliverer: Deliverer
    replayer: Replayer
    janitor: Janitor
    expiry: Expiry
    eraser: Eraser
    judge: Judge
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
    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside the server, by name."""
        return {
            "hub": self.hub.run,
            "standstill": Standstill(self.hub, self.pipeline.lag, self.clock).run,
            "pipeline": self.pipeline.run,
            "deliverer": self.deliverer.run,
            "replayer": self.replayer.run,
            "janitor": self.janitor.run,
            "expiry": self.expiry.run,
            "eraser": self.eraser.run,
            "credentials": self.credentials.run,
            "judge": self.judge.run,
            "engines": self.engines.run,
            "bulk": self.bulk.run,
            "exports": self.export_work.run,
        }

    async def observe(self) -> None:
        """Bring those metrics up to date that are measured by looking. Raises Unavailable."""
        self.metrics.ready.set(self.health().ready)
        observe_pipeline(self.pipeline, self.metrics)
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
        standing = [Concern("halted", in_words(at, halt)) for at, halt in sorted(self.pipeline.halts.items())]
        return Health((*([self.pipeline.trouble] if self.pipeline.trouble else []), *standing))
