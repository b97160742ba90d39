"""What webhooks are made of."""

import random
import secrets
import socket

from monitor.app.ground import Ground
from monitor.deliverer import LONGEST_REST_S, MOST_IN_FLIGHT, SHARED_PORTION, SHARED_REST_S, Deliverer
from monitor.executions.pings import Pings
from monitor.executions.rehearsal import Rehearsal
from monitor.executions.replays import Replays
from monitor.executions.webhook_secrets import WebhookSecrets
from monitor.executions.webhooks import Webhooks
from monitor.executions.wishes import Wishes
from monitor.replayer import Replayer
from monitor.webhooks.posting import Poster


def deliverer_of(ground: Ground, poster: Poster, name: str) -> Deliverer:
    """The loop that sends them; `name` is this process's."""
    # Who has the folder for itself takes back at once what it held before; of many none knows which it was.
    alone = f"{socket.gethostname()}-{ground.settings.data.resolve()}"
    is_shared = ground.settings.shares_store
    return Deliverer(
        name=name if is_shared else alone,
        portion=SHARED_PORTION if is_shared else MOST_IN_FLIGHT,
        longest_rest_s=SHARED_REST_S if is_shared else LONGEST_REST_S,
        store=ground.store,
        poster=poster,
        clock=ground.clock,
        chance=random.random,
        metrics=ground.metrics,
    )


def webhooks_of(ground: Ground, deliverer: Deliverer) -> Webhooks:
    """The desk where endpoints are registered."""
    return Webhooks(
        store=ground.store,
        journal=ground.journal,
        audit=ground.audit,
        rehearsal=Rehearsal(ground.replay, ground.store, ground.bodies),
        wishes=Wishes(ground.targets, ground.sealer),
        sealer=ground.sealer,
        clock=ground.clock,
        random_bytes=secrets.token_bytes,
        on_due=deliverer.wake,
    )


def webhook_secrets_of(ground: Ground) -> WebhookSecrets:
    """The desk for their secrets."""
    return WebhookSecrets(
        store=ground.store,
        audit=ground.audit,
        sealer=ground.sealer,
        clock=ground.clock,
        random_bytes=secrets.token_bytes,
    )


def pings_of(ground: Ground, poster: Poster, deliverer: Deliverer) -> Pings:
    """The desk that tries an endpoint."""
    return Pings(
        store=ground.store,
        audit=ground.audit,
        poster=poster,
        clock=ground.clock,
        random_bytes=secrets.token_bytes,
        on_due=deliverer.wake,
    )


def replays_of(ground: Ground, replayer: Replayer, deliverer: Deliverer) -> Replays:
    """The desk that sends what was sent before."""
    return Replays(
        store=ground.store,
        audit=ground.audit,
        clock=ground.clock,
        random_bytes=secrets.token_bytes,
        on_replay=replayer.wake,
        on_due=deliverer.wake,
    )
