"""Makes every part from the settings: what is opened first, then by duty what stands on it."""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from monitor.app.ground import Ground, filled_hub, open_engines, open_ground, open_poster, open_timed_store
from monitor.app.parts import Parts
from monitor.app.sending import deliverer_of, pings_of, replays_of, webhook_secrets_of, webhooks_of
from monitor.clock import Clock, SystemClock
from monitor.deliverer import Deliverer
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
from monitor.executions.halts import Halts
from monitor.executions.history import History
from monitor.executions.idempotency import Idempotency
from monitor.executions.originals import Originals
from monitor.executions.quarantine import Quarantine
from monitor.executions.reads import Reads
from monitor.executions.sessions import Sessions
from monitor.executions.telling import Telling
from monitor.executions.tokens import Tokens
from monitor.executions.waiting import Waiting
from monitor.expiry import Expiry
from monitor.fanout.hub import Hub
from monitor.follower import Follower
from monitor.intake import Intake
from monitor.janitor import Janitor
from monitor.judge import Judge
from monitor.mishaps import Mishaps
from monitor.opening import claim_folder
from monitor.pipeline import Outlet, Pipeline, Unheard
from monitor.projections.bursts import BurstLimits
from monitor.replayer import Replayer
from monitor.retention import parse_retention
from monitor.settings import Settings
from monitor.store import Store
from monitor.web.export_rows import form_of
from monitor.webhooks.posting import Poster


@asynccontextmanager
async def open_parts(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Parts]:
    """Every part, open and fitting together; closed in reverse order when the block ends.

    Raises StartupError with the cure: data folder in use or unusable, journal and store that do not belong together.
    """
    async with AsyncExitStack() as opened:
        ground = await open_ground(settings, clock or SystemClock(), opened)
        poster = await open_poster(ground, opened)
        hub = await filled_hub(ground)
        intake = _intake(ground)
        engines = Router(await open_engines(settings, intake, ground.clock, opened))
        yield _parts(ground, poster, hub, intake, engines)


@asynccontextmanager
async def open_tokens(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Tokens]:
    """The tokens in the store: a shared one, or that in the data folder of a service that is stopped.

    Raises StartupError.
    """
    async with AsyncExitStack() as opened:
        claim_folder(settings, opened)
        store, clock, _ = await open_timed_store(settings, clock or SystemClock(), opened)
        yield _tokens(store, Audit(store, clock), Credentials(store, clock), clock)


def _parts(ground: Ground, poster: Poster, hub: Hub, intake: Intake, engines: Router) -> Parts:
    store, clock, audit = ground.store, ground.clock, ground.audit
    credentials = Credentials(store, clock)
    credentials.on_revoked(hub.expel)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    deliverer = deliverer_of(ground, poster, name)
    mishaps = Mishaps(store=store, intake=intake, clock=clock, holder=name)
    replayer = Replayer(store=store, clock=clock, on_due=deliverer.wake)
    follower = _follower(ground, hub) if ground.settings.shares_store else None
    pipeline = _pipeline(ground, Unheard() if follower else hub, deliverer)
    telling = Telling(intake, hub, clock)
    commands, changes = _commands(ground, hub, engines, telling), Changes(store, telling, audit)
    jobs, work = _exports(ground)
    parts = Parts(
        name=name,
        settings=ground.settings,
        clock=clock,
        metrics=ground.metrics,
        sealer=ground.sealer,
        journal=ground.journal,
        decoding=ground.decoding,
        store=store,
        steering=ground.steering,
        hub=hub,
        intake=intake,
        pipeline=pipeline,
        follower=follower,
        deliverer=deliverer,
        replayer=replayer,
        janitor=_janitor(ground, deliverer),
        expiry=_expiry(ground, hub, intake),
        eraser=_eraser(ground),
        judge=_judge(ground, intake, mishaps, pipeline, follower),
        mishaps=mishaps,
        webhooks=webhooks_of(ground, deliverer),
        webhook_secrets=webhook_secrets_of(ground),
        deliveries=Deliveries(store=store, audit=audit, clock=clock, on_due=deliverer.wake),
        pings=pings_of(ground, poster, deliverer),
        replays=replays_of(ground, replayer, deliverer),
        audit=audit,
        credentials=credentials,
        tokens=_tokens(store, audit, credentials, clock),
        sessions=_sessions(ground, credentials),
        engines=engines,
        commands=commands,
        changes=changes,
        bulk=_bulk(ground, commands, changes),
        export_jobs=jobs,
        export_work=work,
        idempotency=Idempotency(store, clock, shared_as=name if ground.settings.shares_store else None),
        halts=_halts(ground, pipeline),
        quarantine=_quarantine(ground, intake),
    )
    _listen(parts)
    return parts


def _listen(parts: Parts) -> None:
    """Have those look at once who wait for what another process decided."""
    if parts.settings.shares_store:
        hints = parts.store.hints
        hints.listen("deliveries", parts.deliverer.wake)
        for wake in (
            parts.deliverer.wake,
            parts.pipeline.doubt_halts,
            parts.replayer.wake,
            parts.bulk.wake,
            parts.export_work.wake,
        ):
            hints.listen("desk", wake)


# Events: in, folded, judged, and gone when their time has come


def _intake(ground: Ground) -> Intake:
    masking = ground.decoding.masking if ground.settings.mask_ingest else None
    return Intake(ground.journal, ground.metrics, trust_team=ground.settings.trust_team, masking=masking)


def _pipeline(ground: Ground, hub: Outlet, deliverer: Deliverer) -> Pipeline:
    settings = ground.settings
    return Pipeline(
        journal=ground.journal,
        store=ground.store,
        hub=hub,
        decoding=ground.decoding,
        bodies=ground.bodies,
        on_deliveries=deliverer.wake,
        clock=ground.clock,
        metrics=ground.metrics,
        bursts=BurstLimits(settings.poison_in_a_row, settings.poison_in_10000),
    )


def _follower(ground: Ground, hub: Hub) -> Follower:
    return Follower(
        journal=ground.journal,
        store=ground.store,
        hub=hub,
        decoding=ground.decoding,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _judge(ground: Ground, intake: Intake, mishaps: Mishaps, pipeline: Pipeline, follower: Follower | None) -> Judge:
    return Judge(
        store=ground.store,
        publish=intake.publish,
        bounds=ground.journal.bounds,
        unfolded=follower.untold if follower else pipeline.unfolded,
        is_ready=lambda: (follower or pipeline).trouble is None,
        mishaps=mishaps.any_since,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _quarantine(ground: Ground, intake: Intake) -> Quarantine:
    return Quarantine(
        store=ground.store,
        decoding=ground.decoding,
        intake=intake,
        audit=ground.audit,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _halts(ground: Ground, pipeline: Pipeline) -> Halts:
    return Halts(
        store=ground.store,
        journal=ground.journal,
        audit=ground.audit,
        clock=ground.clock,
        on_resumed=pipeline.reload,
    )


def _expiry(ground: Ground, hub: Hub, intake: Intake) -> Expiry:
    return Expiry(
        retention=parse_retention(ground.settings.keep),
        store=ground.store,
        journal=ground.journal,
        intake=intake,
        reached=hub.reached,
        clock=ground.clock,
    )


def _eraser(ground: Ground) -> Eraser:
    return Eraser(
        journal=ground.journal,
        store=ground.store,
        wipe_store=ground.store.wipe,
        decoding=ground.decoding,
        clock=ground.clock,
    )


def _janitor(ground: Ground, deliverer: Deliverer) -> Janitor:
    return Janitor(
        journal=ground.journal,
        store=ground.store,
        clock=ground.clock,
        keep_s=ground.settings.journal_keep_s,
        webhook_keep_s=ground.settings.webhook_keep_s,
        on_due=deliverer.wake,
    )


# Who may come in


def _tokens(store: Store, audit: Audit, credentials: Credentials, clock: Clock) -> Tokens:
    return Tokens(store=store, audit=audit, credentials=credentials, clock=clock, random_bytes=secrets.token_bytes)


def _sessions(ground: Ground, credentials: Credentials) -> Sessions:
    return Sessions(
        store=ground.store,
        credentials=credentials,
        sealer=ground.sealer,
        clock=ground.clock,
        random_bytes=secrets.token_bytes,
    )


# Executions


def _commands(ground: Ground, hub: Hub, engines: Router, telling: Telling) -> Commands:
    past = History(Reads(ground.store, hub), ground.journal, ground.decoding)
    return Commands(
        store=ground.store,
        engines=engines,
        telling=telling,
        audit=ground.audit,
        waiting=Waiting(ground.store, hub),
        originals=Originals(past),
        random_bytes=secrets.token_bytes,
    )


def _bulk(ground: Ground, commands: Commands, changes: Changes) -> Bulk:
    return Bulk(
        store=ground.store,
        commands=commands,
        changes=changes,
        audit=ground.audit,
        sealer=ground.sealer,
        clock=ground.clock,
        random_bytes=secrets.token_bytes,
    )


def _exports(ground: Ground) -> tuple[ExportJobs, ExportWork]:
    settings, store, clock = ground.settings, ground.store, ground.clock
    files = ExportFiles(settings.data / "exports")
    bounds = Bounds(settings.export_jobs, settings.export_bytes, settings.export_keep_s)
    work = ExportWork(
        store=store, files=files, clock=clock, bounds=bounds, form_of=form_of, random_bytes=secrets.token_bytes
    )
    jobs = ExportJobs(
        store=store,
        files=files,
        clock=clock,
        random_bytes=secrets.token_bytes,
        bounds=bounds,
        on_job=work.wake,
        where=str(settings.data / "exports") if settings.shares_store else None,
    )
    return jobs, work
