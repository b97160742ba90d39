"""One consumer's place in the group: its client, and which partitions it was given, or took where it is alone.

A client that has failed is left behind and replaced by a new one, after a jittered pause. Used by the consumer alone.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from monitor.clock import Clock
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.reader import read_settings

# First pause before a new client, and the longest after repeated failures.
_BACKOFF_S: Final = 0.2
_BACKOFF_LIMIT_S: Final = 10.0

# Members may take this long to answer a rebalance, so joining may take as long without anything being wrong.
REBALANCE_LIMIT_S: Final = 60.0

# Waited for when records run dry; a seek takes effect after it at the latest.
_FETCH_WAIT_MS: Final = 100


class Membership:
    """Joins, rejoins and leaves. Read `generation` before acting on `assigned`, and compare it afterwards."""

    def __init__(
        self,
        brokers: Brokers,
        topic: str,
        group: str | None,
        *,
        taken: frozenset[int] | None,
        clock: Clock,
        chance: Callable[[], float],
    ) -> None:
        """`taken`: partitions that are ours without asking, since nobody shares them; None = the group decides.
        `group` None: it hears nothing of us either.

        A group would wait for a killed predecessor until its session ends, 45 s, before it gives anything to us.
        """
        self._brokers = brokers
        self._topic = topic
        self.group = group
        self._taken = taken
        self._clock = clock
        self._chance = chance
        self.client: Any = None
        self.assigned: frozenset[int] = frozenset()
        # Counts the changes of `assigned`: equal before and after means that nothing happened in between.
        self.generation = 0
        # Whether the group has told us our partitions, be they none.
        self.is_settled = False
        # Since it began: times that partitions were given to us, and clients that were replaced.
        self.rebalances = self.rebuilds = 0
        self._has_joined = False
        self._failures = 0
        self._leaving: set[asyncio.Task[None]] = set()

    async def join(self) -> None:
        """Bring a new client into the group. Raises KafkaError; the next call then waits longer before it tries."""
        from aiokafka import AIOKafkaConsumer  # noqa: PLC0415

        if self._failures:
            pause_s = min(_BACKOFF_LIMIT_S, _BACKOFF_S * 2**self._failures)
            await self._clock.sleep(pause_s * (0.5 + self._chance() / 2))
        self._failures += 1
        client = AIOKafkaConsumer(
            **read_settings(self._brokers),
            group_id=self.group,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            session_timeout_ms=45_000,
            # Others learn of a rebalance by their heartbeat: seconds of silence saved for one small request each.
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=int(REBALANCE_LIMIT_S * 1000),
            # How often the caller comes for records is its own affair: a slow store must not cost the membership.
            max_poll_interval_ms=24 * 3600 * 1000,
        )
        try:
            await lifetime.start(client.start())
        except BaseException:
            await lifetime.stop(client)
            raise
        self.rebuilds += self._has_joined
        self._has_joined = True
        self.client = client
        if self._taken is None:
            self._ask_the_group(client)
        else:
            self._take(client, self._taken)

    def _take(self, client: Any, partitions: frozenset[int]) -> None:
        from aiokafka import TopicPartition  # noqa: PLC0415

        places = [TopicPartition(self._topic, partition) for partition in partitions]
        client.assign(places)
        client.pause(*places)  # until the store's offsets are sought
        self.change(partitions, is_settled=True)

    def _ask_the_group(self, client: Any) -> None:
        from aiokafka import ConsumerRebalanceListener  # noqa: PLC0415

        # The listener need not be one of aiokafka's classes, only pass for one.
        ConsumerRebalanceListener.register(_Listener)
        # After `start`, which would wait for the assignment if it knew the topic.
        client.subscribe([self._topic], listener=_Listener(self, client))

    def works(self) -> None:
        """Note that the client does its duty: the next failure is a first one."""
        self._failures = 0

    def abandon(self) -> None:
        """Leave the present client behind; it ends by itself, watched by `leave`."""
        client, self.client = self.client, None
        self.change(frozenset(), is_settled=False)
        if client is not None:
            task = asyncio.create_task(lifetime.stop(client), name="kafka consumer leaves")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def leave(self) -> None:
        """Leave the group, so that others take over at once."""
        self.abandon()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def change(self, assigned: frozenset[int], *, is_settled: bool) -> None:
        """Note what the group decided."""
        self.assigned = assigned
        self.is_settled = is_settled
        self.generation += 1


class _Listener:
    """Hears of the group's decisions. It awaits nothing and raises nothing: aiokafka would only log it."""

    def __init__(self, membership: Membership, client: Any) -> None:
        self._membership = membership
        self._client = client

    def on_partitions_revoked(self, _revoked: Collection[Any]) -> None:
        if self._client is self._membership.client:
            self._membership.change(frozenset(), is_settled=False)

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        # First, for the client fetches from the group's offsets until it is told the store's.
        self._client.pause(*assigned)
        if self._client is self._membership.client:
            self._membership.rebalances += 1
            self._membership.change(frozenset(place.partition for place in assigned), is_settled=True)
