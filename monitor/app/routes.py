"""The faces of a service: every address with what answers it, and the contract that says so."""

import random
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

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
from monitor.app.parts import Parts
from monitor.dashboard import docs, page
from monitor.executions.exports import Exports
from monitor.executions.history import History
from monitor.executions.lookups import Lookups
from monitor.executions.reads import Reads
from monitor.executions.reveals import Reveals
from monitor.executions.statistics import Statistics as CountedStatistics
from monitor.streams.described import described_streams
from monitor.streams.endpoint import Streams
from monitor.streams.spoken import spoken_streams
from monitor.web.async_contract import Channel, asyncapi
from monitor.web.auth import Authenticate, Guard, anybody
from monitor.web.contract import Described, described, openapi
from monitor.web.loopback import LoopbackOnly
from monitor.web.operations import Open, Operation, open_routes, routed
from monitor.web.origins import open_to
from monitor.web.problems import exception_handlers
from monitor.web.rates import Rates, counted
from monitor.web.traffic import CountRequests

FACES: Final = (so1.FACE, n8n.FACE, team.FACE)
"""How the API is spelt, beside natively."""


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
        *_health_of(parts),
        *contract.addresses(openapi=lambda: openapi(described_of(parts)), asyncapi=lambda: asyncapi(spoken())),
    ]


def _health_of(parts: Parts) -> list[Open]:
    return operations.addresses(health=parts.health, observe=parts.observe, metrics=parts.metrics)


def described_of(parts: Parts) -> list[Described]:
    """The whole contract of the REST half."""
    declared: list[Operation | Open] = [*operations_of(parts), *open_addresses_of(parts)]
    return [*(described(it) for it in declared), *described_streams()]


def spoken() -> list[Channel]:
    """The whole contract of topics, streams and webhooks."""
    return [*topics.spoken_topics(), *spoken_streams(), webhook_messages.spoken_webhooks()]


def create_app(parts: Parts) -> ASGIApp:
    """The application: streams in front, so that nothing lies between a frame and its socket; then the routes.

    A process that serves no clients only says how it is.
    """
    if not parts.settings.serves_clients:
        return Starlette(routes=open_routes(_health_of(parts)), exception_handlers=exception_handlers(parts.clock, ()))
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
