"""Replays at the desk: have a range of a webhook's deliveries sent once more, watch it, call it off.

Every question is a principal's and sees its team alone. What was answered as done survives a loss of power. `replayer`
does the work; called by the native face, which does the spelling.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from monitor.access.principal import Principal
from monitor.clock import Clock
from monitor.errors import CannotCancelReplay, ReplayNotFound, ReplayRunning
from monitor.executions.audit import Audit
from monitor.executions.deliveries import Wanted, query_of
from monitor.executions.webhooks import find_endpoint
from monitor.store.base import Reader, Store, Writer
from monitor.store.delivery_port import DeliveryQuery, Replay

REPLAYABLE: Final = ("delivered", "failed", "held")
"""What can be sent once more: nobody is at it, and nobody has called it off."""

MISSED: Final = ("failed", "held")
"""What is replayed unless somebody asks for more."""

_ID_BYTES: Final = 12


class Progress(NamedTuple):
    """A replay and how far it is."""

    replay: Replay
    # None when the webhook is removed.
    endpoint_id: str | None
    # Of those that it queued: how many nobody has sent yet.
    untried: int

    @property
    def sent(self) -> int:
        """How many were sent, whatever was answered."""
        return self.replay.queued - self.untried

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        if self.replay.state == "done":
            return 1.0
        # Some may have failed since they were counted.
        return self.sent / max(self.replay.matched, self.replay.queued, 1)


class ReplayPage(NamedTuple):
    """Replays, the newest first."""

    rows: Sequence[Progress]
    has_more: bool


class Replays:
    """The use cases of replays. Every method raises StoreUnavailable."""

    def __init__(
        self,
        *,
        store: Store,
        audit: Audit,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        on_replay: Callable[[], None],
        on_due: Callable[[], None],
    ) -> None:
        """`on_replay` wakes who replays, `on_due` who delivers."""
        self._store, self._audit, self._clock, self._random_bytes = store, audit, clock, random_bytes
        self._on_replay, self._on_due = on_replay, on_due

    async def matched(self, who: Principal, endpoint_id: str, wanted: Wanted) -> int:
        """How many deliveries `start` would send. Raises WebhookNotFound."""

        def work(reader: Reader) -> int:
            return reader.delivery_count(self._query(reader, who, endpoint_id, wanted))

        return await self._store.read(work)

    async def start(self, who: Principal, endpoint_id: str, wanted: Wanted) -> Progress:
        """A job that sends what is `wanted` and was planned before now, behind everything live.

        Raises WebhookNotFound, and ReplayRunning when the webhook has one.
        """
        now_us, id_ = self._clock.now_us(), f"rp_{self._random_bytes(_ID_BYTES).hex()}"

        def draft(reader: Reader) -> Replay:
            query = self._query(reader, who, endpoint_id, wanted)
            matched = reader.delivery_count(query)
            # Looking for the first one may take long, and is done outside of any transaction that others wait for.
            cursor = next((key - 1 for key in reader.keys_of(query, 0, 1)), 0)
            return Replay(
                id=id_,
                team=who.team,
                endpoint_key=query.endpoint_key,
                query=query,
                created_us=now_us,
                matched=matched,
                cursor=cursor,
            )

        drafted = await self._store.read(draft)

        def store(writer: Writer) -> Replay:
            endpoint = find_endpoint(writer, who, endpoint_id)
            if running := [it for it in writer.replays(endpoint.key) if it.state == "running"]:
                raise ReplayRunning(replayId=running[0].id)
            self._audit.note(writer, who, "replay.start", id_, webhookId=endpoint_id, matched=drafted.matched)
            return writer.put_replay(drafted)

        started = await self._store.write(store, durable=True)
        self._on_replay()
        return Progress(started, endpoint_id, 0)

    async def listed(self, who: Principal, endpoint_id: str, limit: int, before_key: int | None) -> ReplayPage:
        """The latest `limit` replays of a webhook before the one with `before_key`. Raises WebhookNotFound."""

        def work(reader: Reader) -> ReplayPage:
            endpoint = find_endpoint(reader, who, endpoint_id)
            found = [it for it in reader.replays(endpoint.key) if before_key is None or it.key < before_key]
            rows = [Progress(it, endpoint.id, reader.untried(it.key)) for it in found[:limit]]
            return ReplayPage(rows, len(found) > limit)

        return await self._store.read(work)

    async def single(self, who: Principal, replay_id: str) -> Progress:
        """One replay. Raises ReplayNotFound."""
        return await self._store.read(lambda reader: _find(reader, who, replay_id))

    async def cancel(self, who: Principal, replay_id: str) -> Progress:
        """Queue no more of it, and take back what waits. Raises ReplayNotFound and CannotCancelReplay."""

        def work(writer: Writer) -> Progress:
            replay = _find(writer, who, replay_id).replay
            if replay.state != "running":
                raise CannotCancelReplay(f"The replay is {replay.state}", replayId=replay_id, status=replay.state)
            now_us = self._clock.now_us()
            queued = replay.queued - writer.end_replayed(replay.key, now_us)
            self._audit.note(writer, who, "replay.cancel", replay_id)
            writer.put_replay(replace(replay, state="cancelled", finished_us=now_us, queued=queued))
            return _find(writer, who, replay_id)

        cancelled = await self._store.write(work, durable=True)
        self._on_due()
        return cancelled

    def _query(self, reader: Reader, who: Principal, endpoint_id: str, wanted: Wanted) -> DeliveryQuery:
        endpoint, now_us = find_endpoint(reader, who, endpoint_id), self._clock.now_us()
        return query_of(endpoint, wanted)._replace(
            # Also of a webhook that is paused: what only waits for it is sent anyway.
            states=tuple(state for state in REPLAYABLE if state in wanted.statuses),
            # What is planned from now on is nobody's past.
            until_us=now_us if wanted.until_us is None else min(wanted.until_us, now_us),
            triggers=("event", "retry", "replay"),
        )


def _find(reader: Reader, who: Principal, replay_id: str) -> Progress:
    replay = reader.replay(who.team, replay_id)
    if replay is None:
        raise ReplayNotFound(f"Replay with ID '{replay_id}' not found", replayId=replay_id)
    endpoint = reader.endpoint_of(replay.endpoint_key)
    return Progress(replay, None if endpoint is None else endpoint.id, reader.untried(replay.key))
