"""The webhook routes over a house's store and journal, and the loop that delivers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import Any

import httpx
from starlette.applications import Starlette

from monitor.access.teams import team_rule
from monitor.api import deliveries, replays, webhooks
from monitor.clock import Clock, SystemClock
from monitor.deliverer import Deliverer
from monitor.executions.audit import Audit
from monitor.executions.deliveries import Deliveries
from monitor.executions.pings import Pings
from monitor.executions.rehearsal import Rehearsal
from monitor.executions.replays import Replays
from monitor.executions.webhook_secrets import WebhookSecrets
from monitor.executions.webhooks import Webhooks
from monitor.executions.wishes import Wishes
from monitor.fanout.replay import Replay
from monitor.web.operations import routed
from monitor.web.problems import exception_handlers
from monitor.webhooks.posting import Poster
from monitor.webhooks.sender import open_sender
from monitor.webhooks.targets import Targets
from tests.support.contract.checked import CHECKED
from tests.support.decoding import usual
from tests.support.house import SEALER, TEAM_HEADER, House, principal
from tests.support.receiver import LOOPBACK
from tests.support.webhooks import BODIES

WISH: dict[str, Any] = {
    "url": "https://your-app.com/n8n-webhooks",
    "events": ["execution.failed", "execution.completed"],
    "filters": {"workflowId": "wf_abcdef123456"},
}
"""The documented example."""


@asynccontextmanager
async def client_of(
    house: House,
    team: str = "acme",
    *,
    allowed: tuple[str, ...] = (),
    clock: Clock | None = None,
    on_due: Callable[[], None] = lambda: None,
    on_replay: Callable[[], None] = lambda: None,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a team; webhooks may go to public addresses and the `allowed` networks."""
    clock = clock or SystemClock()
    replay = Replay(house.journal, house.store, usual(team_rule(exclusive=True, trust_body=False)))
    audit = Audit(house.store, clock)
    desk = Webhooks(
        store=house.store,
        journal=house.journal,
        audit=audit,
        rehearsal=Rehearsal(replay, house.store, BODIES),
        wishes=Wishes(Targets(allowed), SEALER),
        sealer=SEALER,
        clock=clock,
        random_bytes=token_bytes,
        on_due=on_due,
    )
    secrets = WebhookSecrets(store=house.store, audit=audit, sealer=SEALER, clock=clock, random_bytes=token_bytes)
    owed = Deliveries(store=house.store, audit=audit, clock=clock, on_due=on_due)
    again = Replays(
        store=house.store,
        audit=audit,
        clock=clock,
        random_bytes=token_bytes,
        on_replay=on_replay,
        on_due=on_due,
    )
    async with open_sender(Targets(allowed)) as sender:
        poster = Poster(sender, SEALER)
        pings = Pings(
            store=house.store,
            audit=audit,
            poster=poster,
            clock=clock,
            random_bytes=token_bytes,
            on_due=on_due,
        )
        operations = [
            *webhooks.operations(webhooks=desk, secrets=secrets, sealer=SEALER),
            *deliveries.operations(deliveries=owed, pings=pings, sealer=SEALER),
            *replays.operations(replays=again, sealer=SEALER),
        ]
        application = Starlette(routes=routed(operations, principal), exception_handlers=exception_handlers(clock))
        transport, headers = httpx.ASGITransport(application), {TEAM_HEADER.decode(): team}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://monitor", headers=headers, event_hooks=CHECKED
        ) as opened:
            yield opened


async def register(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """A webhook as the documented example asks for it, but for `changes`."""
    answer = await client.post("/v1/webhooks", json=WISH | changes)
    assert answer.status_code == 201, answer.text
    registered: dict[str, Any] = answer.json()
    return registered


@asynccontextmanager
async def delivering(house: House, clock: Clock | None = None) -> AsyncIterator[Deliverer]:
    """The loop at work; it may send to this machine."""
    async with open_sender(Targets(LOOPBACK)) as sender:
        deliverer = Deliverer(
            name="here",
            store=house.store,
            poster=Poster(sender, SEALER),
            clock=clock or SystemClock(),
            chance=lambda: 0.5,
            metrics=house.metrics,
        )
        running = asyncio.create_task(deliverer.run())
        try:
            yield deliverer
        finally:
            await deliverer.stop()
            await running


def failed(execution_id: str, **changes: Any) -> dict[str, Any]:
    """An event as a producer sends it: an execution that the documented example wants to hear of."""
    return {
        "type": "execution.failed",
        "executionId": execution_id,
        "workflowId": "wf_abcdef123456",
        "timestamp": "2026-11-22T10:30:15Z",
        "id": f"ev_{execution_id}",
        "data": {"error": {"type": "ConnectionError"}, "duration": 15.2},
        **changes,
    }
