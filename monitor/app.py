"""The only wiring: `open_parts` makes every part from the settings and closes it again, `create_app` joins the routes.

Nobody else constructs anything; tests use the same two doors.
"""

import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.access.decoding import Decoding, decoding_of
from monitor.access.sealing import Sealer
from monitor.api import (
    audit as audits,
)
from monitor.api import (
    bulk,
    changes,
    commands,
    contract,
    data,
    deliveries,
    executions,
    export_jobs,
    exports,
    halts,
    history,
    ingest,
    lineage,
    operations,
    quarantine,
    replays,
    sessions,
    statistics,
    streams,
    tokens,
    topics,
    webhook_messages,
    webhooks,
)
from monitor.api.dialects import n8n, so1, team
from monitor.api.dialects.desk import Desk
from monitor.clock import Clock, SystemClock
from monitor.dashboard import docs, page
from monitor.deliverer import Deliverer
from monitor.engines.base import Engine
from monitor.engines.demo import DemoEngine
from monitor.engines.kafka import open_kafka_engine
from monitor.engines.router import Router
from monitor.eraser import Eraser
from monitor.executions.audit import Audit
from monitor.executions.bulk import Bulk
from monitor.executions.changes import Changes
from monitor.executions.commands import Commands
from monitor.executions.credentials import Credentials
from monitor.executions.deliveries import Deliveries
from monitor.executions.export_files import ExportFiles
from monitor.executions.export_jobs import Bounds, ExportJobs
from monitor.executions.export_work import ExportWork
from monitor.executions.exports import Exports
from monitor.executions.halts import Halts
from monitor.executions.history import History
from monitor.executions.idempotency import Idempotency
from monitor.executions.lookups import Lookups
from monitor.executions.originals import Originals
from monitor.executions.pings import Pings
from monitor.executions.quarantine import Quarantine
from monitor.executions.reads import Found, Reads
from monitor.executions.rehearsal import Rehearsal
from monitor.executions.replays import Replays
from monitor.executions.reveals import Reveals
from monitor.executions.sessions import Sessions
from monitor.executions.statistics import Statistics as CountedStatistics
from monitor.executions.telling import Telling
from monitor.executions.tokens import Tokens
from monitor.executions.waiting import Waiting
from monitor.executions.webhook_secrets import WebhookSecrets
from monitor.executions.webhooks import Webhooks
from monitor.executions.wishes import Wishes
from monitor.expiry import Expiry
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.fanout.standstill import Standstill
from monitor.intake import Intake
from monitor.janitor import Janitor
from monitor.journal.base import Journal
from monitor.judge import Judge
from monitor.observing import observe_streams, observe_webhooks
from monitor.opening import bind, lock_folder, open_journal, open_sealer
from monitor.pipeline import Pipeline
from monitor.projections.bursts import BurstLimits, in_words
from monitor.replayer import Replayer
from monitor.retention import parse_retention
from monitor.settings import Settings
from monitor.store import Store, open_sqlite_store
from monitor.streams.described import described_streams
from monitor.streams.endpoint import Streams
from monitor.streams.spoken import spoken_streams
from monitor.telemetry.health import Concern, Health
from monitor.telemetry.metrics import Metrics
from monitor.web import native
from monitor.web.async_contract import Channel, asyncapi
from monitor.web.auth import Authenticate, Guard, anybody
from monitor.web.contract import Described, described, openapi
from monitor.web.export_rows import form_of
from monitor.web.loopback import LoopbackOnly
from monitor.web.operations import Open, Operation, open_routes, routed
from monitor.web.origins import open_to
from monitor.web.problems import exception_handlers
from monitor.web.rates import Rates, counted
from monitor.web.traffic import CountRequests
from monitor.webhooks.payload import Bodies
from monitor.webhooks.posting import Poster
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets

FACES: Final = (so1.FACE, n8n.FACE, team.FACE)
"""How the API is spelt, beside natively."""


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
        observe_streams(self.hub.statistics(), self.metrics)
        observe_webhooks(self.deliverer.statistics(), self.metrics)
        # In this order: what counts as applied here is, where it is owed to anybody, in the backlog that is read next.
        await self.pipeline.observe()
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


@asynccontextmanager
async def open_parts(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Parts]:
    """Every part, open and fitting together; closed in reverse order when the block ends.

    Raises StartupError with the cure: data folder in use or unusable, journal and store that do not belong together.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        lock_folder(settings.data, opened)
        journal = await open_journal(settings, clock)
        opened.push_async_callback(journal.close)
        store = await open_sqlite_store(settings.data / "store.db")
        opened.push_async_callback(store.close)
        sealer = await open_sealer(settings, store)
        await bind(journal, store)
        sender = await opened.enter_async_context(open_sender(targets := Targets(settings.webhook_allow)))
        position = await store.read(lambda reader: reader.position())
        metrics = Metrics()
        decoding = decoding_of(settings, exclusive=journal.exclusive)
        replay = Replay(journal, store, decoding)
        bodies = Bodies(settings.public_url)
        hub = Hub(
            start=position,
            replay=replay,
            snapshots=Snapshots(store, lambda summary: native.execution(Found(summary)), clock),
            sealer=sealer,
            clock=clock,
            metrics=metrics,
            limits=Limits(connections=settings.streams),
        )
        await hub.refill()
        poster = Poster(sender, sealer, decoding.masking)
        deliverer = Deliverer(
            name=f"{socket.gethostname()}-{settings.data.resolve()}",
            store=store,
            poster=poster,
            clock=clock,
            chance=random.random,
            metrics=metrics,
        )
        intake = Intake(
            journal,
            metrics,
            trust_team=settings.trust_team,
            masking=decoding.masking if settings.mask_ingest else None,
        )
        engines = Router(await _open_engines(settings, intake, clock, opened))
        audit, credentials = Audit(store, clock), Credentials(store, clock)
        credentials.on_revoked(hub.expel)
        replayer = Replayer(store=store, clock=clock, on_due=deliverer.wake)
        pipeline = Pipeline(
            journal=journal,
            store=store,
            hub=hub,
            decoding=decoding,
            bodies=bodies,
            on_deliveries=deliverer.wake,
            clock=clock,
            metrics=metrics,
            bursts=BurstLimits(settings.poison_in_a_row, settings.poison_in_10000),
        )
        telling = Telling(intake, hub, clock)
        commanding = Commands(
            store=store,
            engines=engines,
            telling=telling,
            audit=audit,
            waiting=Waiting(store, hub),
            originals=Originals(History(Reads(store, hub), journal, decoding)),
            random_bytes=secrets.token_bytes,
        )
        changing = Changes(store, telling, audit)
        files = ExportFiles(settings.data / "exports")
        bounds = Bounds(settings.export_jobs, settings.export_bytes, settings.export_keep_s)
        export_work = ExportWork(store=store, files=files, clock=clock, bounds=bounds, form_of=form_of)
        yield Parts(
            settings=settings,
            clock=clock,
            metrics=metrics,
            sealer=sealer,
            journal=journal,
            decoding=decoding,
            store=store,
            hub=hub,
            intake=intake,
            pipeline=pipeline,
            deliverer=deliverer,
            replayer=replayer,
            expiry=Expiry(
                retention=parse_retention(settings.keep),
                store=store,
                journal=journal,
                intake=intake,
                reached=hub.reached,
                clock=clock,
            ),
            eraser=Eraser(journal=journal, store=store, wipe_store=store.wipe, decoding=decoding, clock=clock),
            janitor=Janitor(
                journal=journal,
                store=store,
                clock=clock,
                keep_s=settings.journal_keep_s,
                webhook_keep_s=settings.webhook_keep_s,
                on_due=deliverer.wake,
            ),
            judge=Judge(
                store=store,
                publish=intake.publish,
                bounds=journal.bounds,
                unfolded=pipeline.unfolded,
                is_ready=lambda: pipeline.trouble is None,
                failures=lambda: intake.failures,
                clock=clock,
                metrics=metrics,
            ),
            webhooks=Webhooks(
                store=store,
                journal=journal,
                audit=audit,
                rehearsal=Rehearsal(replay, store, bodies),
                wishes=Wishes(targets, sealer),
                sealer=sealer,
                clock=clock,
                random_bytes=secrets.token_bytes,
                on_due=deliverer.wake,
            ),
            webhook_secrets=WebhookSecrets(
                store=store, audit=audit, sealer=sealer, clock=clock, random_bytes=secrets.token_bytes
            ),
            deliveries=Deliveries(store=store, audit=audit, clock=clock, on_due=deliverer.wake),
            pings=Pings(
                store=store,
                audit=audit,
                poster=poster,
                clock=clock,
                random_bytes=secrets.token_bytes,
                on_due=deliverer.wake,
            ),
            replays=Replays(
                store=store,
                audit=audit,
                clock=clock,
                random_bytes=secrets.token_bytes,
                on_replay=replayer.wake,
                on_due=deliverer.wake,
            ),
            audit=audit,
            credentials=credentials,
            tokens=_tokens(store, audit, credentials, clock),
            sessions=Sessions(
                store=store, credentials=credentials, sealer=sealer, clock=clock, random_bytes=secrets.token_bytes
            ),
            engines=engines,
            commands=commanding,
            changes=changing,
            bulk=Bulk(
                store=store,
                commands=commanding,
                changes=changing,
                audit=audit,
                sealer=sealer,
                clock=clock,
                random_bytes=secrets.token_bytes,
            ),
            export_jobs=ExportJobs(
                store=store,
                files=files,
                clock=clock,
                random_bytes=secrets.token_bytes,
                bounds=bounds,
                on_job=export_work.wake,
            ),
            export_work=export_work,
            idempotency=Idempotency(store, clock),
            halts=Halts(store=store, journal=journal, audit=audit, clock=clock, on_resumed=pipeline.reload),
            quarantine=Quarantine(
                store=store, decoding=decoding, intake=intake, audit=audit, clock=clock, metrics=metrics
            ),
        )


def operations_of(parts: Parts) -> list[Operation]:
    """The route table: every operation that asks for credentials."""
    reads = Reads(parts.store, parts.hub)
    past = History(reads, parts.journal, parts.decoding)
    reveals = Reveals(past, parts.audit)
    sealer, clock = parts.sealer, parts.clock
    return [
        *ingest.operations(intake=parts.intake, sealer=sealer),
        *executions.operations(reads=reads, history=past, clock=clock, sealer=sealer),
        *history.operations(history=past, reveals=reveals, sealer=sealer),
        *exports.operations(exports=Exports(reads), sealer=sealer, clock=clock),
        *statistics.operations(statistics=CountedStatistics(reads), clock=clock, sealer=sealer),
        *data.operations(reads=reads, reveals=reveals, sealer=sealer),
        *lineage.operations(reads=reads, sealer=sealer),
        *webhooks.operations(webhooks=parts.webhooks, secrets=parts.webhook_secrets, sealer=sealer),
        *deliveries.operations(deliveries=parts.deliveries, pings=parts.pings, sealer=sealer),
        *replays.operations(replays=parts.replays, sealer=sealer),
        *streams.operations(hub=parts.hub, sealer=sealer),
        *commands.operations(commands=parts.commands, reads=reads, idempotency=parts.idempotency),
        *changes.operations(changes=parts.changes),
        *bulk.operations(bulk=parts.bulk, idempotency=parts.idempotency),
        *export_jobs.operations(jobs=parts.export_jobs, idempotency=parts.idempotency, clock=clock),
        *tokens.operations(tokens=parts.tokens, sealer=sealer, clock=clock),
        *audits.operations(audit=parts.audit, sealer=sealer),
        *quarantine.operations(quarantine=parts.quarantine, sealer=sealer),
        *halts.operations(halts=parts.halts),
        *sessions.operations(sessions=parts.sessions),
        *so1.operations(desk := _desk(parts, reads)),
        *n8n.operations(desk),
        *team.operations(desk),
    ]


def _desk(parts: Parts, reads: Reads) -> Desk:
    return Desk(
        reads,
        Lookups(reads),
        parts.commands,
        parts.changes,
        parts.bulk,
        Exports(reads),
        parts.sealer,
        parts.clock,
    )


def open_addresses_of(parts: Parts) -> list[Open]:
    """Every address that tells of the service itself, and asks for no credentials."""
    return [
        *operations.addresses(health=parts.health, observe=parts.observe, metrics=parts.metrics),
        *contract.addresses(openapi=lambda: openapi(described_of(parts)), asyncapi=lambda: asyncapi(spoken())),
    ]


def described_of(parts: Parts) -> list[Described]:
    """The whole contract of the REST half."""
    declared: list[Operation | Open] = [*operations_of(parts), *open_addresses_of(parts)]
    return [*(described(it) for it in declared), *described_streams()]


def spoken() -> list[Channel]:
    """The whole contract of topics, streams and webhooks."""
    return [*topics.spoken_topics(), *spoken_streams(), webhook_messages.spoken_webhooks()]


def create_app(parts: Parts) -> ASGIApp:
    """The application: streams in front, so that nothing lies between a frame and its socket; then the routes."""
    sealer, clock = parts.sealer, parts.clock
    is_open = parts.settings.auth == "off"
    authenticate: Authenticate = (
        anybody if is_open else Guard(parts.credentials, parts.sessions, parts.settings.origins, FACES)
    )
    rates = Rates(clock, parts.settings.rate_limit)
    routes = [
        *page.routes(),
        *docs.routes(lambda: openapi(described_of(parts))),
        *open_routes(open_addresses_of(parts)),
        *routed(operations_of(parts), authenticate, rates),
    ]
    web = CountRequests(Starlette(routes=routes, exception_handlers=exception_handlers(clock, FACES)), parts.metrics)
    live = Streams(
        parts.hub,
        sealer=sealer,
        clock=clock,
        authenticate=counted(authenticate, rates),
        chance=random.Random(),  # noqa: S311 - spreads clients in time, guards nothing
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (live if live.serves(scope) else web)(scope, receive, send)

    opened = open_to(app, origins := parts.settings.origins)
    return LoopbackOnly(opened, clock, origins) if is_open else opened


@asynccontextmanager
async def open_tokens(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Tokens]:
    """The tokens in the data folder of a service that is stopped. Raises StartupError."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        lock_folder(settings.data, opened)
        store = await open_sqlite_store(settings.data / "store.db")
        opened.push_async_callback(store.close)
        yield _tokens(store, Audit(store, clock), Credentials(store, clock), clock)


def _tokens(store: Store, audit: Audit, credentials: Credentials, clock: Clock) -> Tokens:
    return Tokens(store=store, audit=audit, credentials=credentials, clock=clock, random_bytes=secrets.token_bytes)


async def _open_engines(settings: Settings, intake: Intake, clock: Clock, opened: AsyncExitStack) -> list[Engine]:
    """Everything that runs workflows here."""

    async def tell(events: Sequence[Mapping[str, Any]], team: str) -> None:
        await intake.publish([{**event, "teamId": team} for event in events], team=team)

    engines: list[Engine] = [DemoEngine(tell, clock, random.Random())] if settings.demo else []  # noqa: S311 - a play
    if settings.commands:
        # The last one: it takes what no other does.
        runners = await open_kafka_engine(settings.commands, clock=clock, create=settings.create_topics)
        opened.push_async_callback(runners.close)
        engines.append(runners)
    return engines
