"""What every part stands on, and what else must be opened and closed, each made in the order that they need."""

import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from monitor.access.decoding import Decoding, decoding_of
from monitor.access.sealing import Sealer
from monitor.clock import Clock, SteeredClock
from monitor.engines.base import Engine
from monitor.engines.demo import DemoEngine
from monitor.engines.kafka import open_kafka_engine
from monitor.executions.audit import Audit
from monitor.executions.contents import Found
from monitor.fanout.feed import Limits
from monitor.fanout.hub import Hub
from monitor.fanout.replay import Replay
from monitor.fanout.snapshots import Snapshots
from monitor.intake import Intake
from monitor.journal.base import Journal
from monitor.opening import bind, claim_folder, open_journal, open_sealer, open_store
from monitor.settings import Settings
from monitor.steering import Steering
from monitor.store import Store
from monitor.store.postgres import PostgresStore
from monitor.telemetry.metrics import Metrics
from monitor.web import native
from monitor.webhooks.payload import Bodies
from monitor.webhooks.posting import Poster
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets


class Ground(NamedTuple):
    """What everything else stands on."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    journal: Journal
    store: Store
    # Of a process that shares the store with others, and goes by its clock.
    steering: Steering | None
    sealer: Sealer
    decoding: Decoding
    audit: Audit
    replay: Replay
    bodies: Bodies
    targets: Targets


async def open_ground(settings: Settings, clock: Clock, opened: AsyncExitStack) -> Ground:
    """The folder locked, journal and store open and bound to each other. Raises StartupError."""
    claim_folder(settings, opened)
    journal = await open_journal(settings, clock)
    opened.push_async_callback(journal.close)
    store, clock, steering = await open_timed_store(settings, clock, opened)
    sealer = await open_sealer(settings, store)
    await bind(journal, store)
    decoding = decoding_of(settings, exclusive=journal.exclusive)
    return Ground(
        settings=settings,
        clock=clock,
        metrics=Metrics(),
        journal=journal,
        store=store,
        steering=steering,
        sealer=sealer,
        decoding=decoding,
        audit=Audit(store, clock),
        replay=Replay(journal, store, decoding),
        bodies=Bodies(settings.public_url),
        targets=Targets(settings.webhook_allow),
    )


async def open_timed_store(
    settings: Settings, clock: Clock, opened: AsyncExitStack
) -> tuple[Store, Clock, Steering | None]:
    """The store, and the clock that everybody goes by who works on it: its own where it is shared."""
    store = await open_store(settings)
    opened.push_async_callback(store.close)
    if not isinstance(store, PostgresStore):
        return store, clock, None
    steered = SteeredClock(clock)
    steering = Steering(steered, store.time)
    await steering.look()
    return store, steered, steering


async def open_poster(ground: Ground, opened: AsyncExitStack) -> Poster:
    """What sends webhooks."""
    sender = await opened.enter_async_context(open_sender(ground.targets))
    return Poster(sender, ground.sealer, ground.decoding.masking)


async def filled_hub(ground: Ground) -> Hub:
    """The hub, which remembers what was released last where clients are served."""
    hub = Hub(
        start=await ground.store.read(lambda reader: reader.position()),
        replay=ground.replay,
        snapshots=Snapshots(ground.store, lambda summary: native.execution(Found(summary)), ground.clock),
        sealer=ground.sealer,
        clock=ground.clock,
        metrics=ground.metrics,
        limits=Limits(connections=ground.settings.streams),
    )
    if ground.settings.serves_clients:
        await hub.refill()
    return hub


async def open_engines(settings: Settings, intake: Intake, clock: Clock, opened: AsyncExitStack) -> list[Engine]:
    """Everything that runs workflows here."""

    async def tell(events: Sequence[Mapping[str, Any]], team: str) -> None:
        await intake.publish([{**event, "teamId": team} for event in events], team=team)

    plays = settings.demo and not settings.shares_store
    engines: list[Engine] = [DemoEngine(tell, clock, random.Random())] if plays else []  # noqa: S311 - a play
    if settings.commands and settings.serves_clients:
        # The last one: it takes what no other does.
        runners = await open_kafka_engine(
            settings.commands, clock=clock, security=settings.kafka, create=settings.create_topics
        )
        opened.push_async_callback(runners.close)
        engines.append(runners)
    return engines
