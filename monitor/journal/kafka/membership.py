"""One consumer's place in the group: its client, and which partitions it was given, or took where it is alone.

A client that has failed is left behind and replaced by a new one, after a jittered pause. Used by the consumer alone.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

import structlog

from monitor.clock import Clock
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.reader import read_settings

_log = structlog.get_logger(__name__)

# First pause before a new client, and the longest after repeated failures.
_BACKOFF_S: Final = 0.2
_BACKOFF_LIMIT_S: Final = 10.0

# A member that is silent for so long is taken for dead. Whoever takes its partitions over does no harm if it lives, for
# the store decides; so this is short: a stall of the process or of the network fits in, and little else.
SILENCE_LIMIT_S: Final = 10.0

# Others learn of a rebalance by their heartbeat, so all stand still for about as long: with three members and twelve
# partitions records waited 0.3 to 0.8 s when one joined, 0.3 s when one left. aiokafka spares nobody, whatever he
# keeps; its sticky assignor stops them as long as the default, which deals partitions out in turn.
_HEARTBEAT_S: Final = 0.5

# Members may take this long to answer a rebalance, so joining may take as long without anything being wrong.
REBALANCE_LIMIT_S: Final = 30.0

# What of it a batch in hand may take: the others of the group stand still meanwhile.
_FINISH_LIMIT_S: Final = 10.0

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
        silence_s: float = SILENCE_LIMIT_S,
    ) -> None:
        """`taken`: partitions that are ours without asking, since nobody shares them; None = the group decides.
        `group` None: it hears nothing of us either.

        A group would wait for a killed predecessor until its session ends, `silence_s`, before it gives anything to us.
        """
        self._brokers = brokers
        self._topic = topic
        self.group = group
        self._taken = taken
        self._clock = clock
        self._chance = chance
        self._silence_s = silence_s
        self.client: Any = None
        self.assigned: frozenset[int] = frozenset()
        # Counts the changes of `assigned`: equal before and after means that nothing happened in between.
        self.generation = 0
        # Whether the group has told us our partitions, be they none.
        self.is_settled = False
        # Since it began: times that partitions were given to us, and clients that were replaced.
        self.rebalances = self.rebuilds = 0
        self._has_joined = False
        # Unset while the caller works on records that it was given.
        self._hands_free = asyncio.Event()
        self._hands_free.set()
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
            session_timeout_ms=int(self._silence_s * 1000),
            heartbeat_interval_ms=int(_HEARTBEAT_S * 1000),
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

    def has(self, *, in_hand: bool) -> None:
        """Note whether the caller works on records that it was given, or has come back for more."""
        if in_hand:
            self._hands_free.clear()
        else:
            self._hands_free.set()

    async def finish(self) -> None:
        """Return when nothing is in hand, or it takes too long: whoever has it next then waits no longer."""
        try:
            async with asyncio.timeout(_FINISH_LIMIT_S):
                await self._hands_free.wait()
        except TimeoutError:
            _log.warning("partitions are given away with a batch in hand", topic=self._topic, seconds=_FINISH_LIMIT_S)

    def abandon(self) -> None:
        """Leave the present client behind; it ends by itself, watched by `leave`, and finishes nothing."""
        client, self.client = self.client, None
        waited_for, self._hands_free = self._hands_free, asyncio.Event()
        self.has(in_hand=not waited_for.is_set())
        waited_for.set()
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
    """Hears of the group's decisions. It raises nothing: aiokafka would only log it."""

    def __init__(self, membership: Membership, client: Any) -> None:
        self._membership = membership
        self._client = client

    async def on_partitions_revoked(self, _revoked: Collection[Any]) -> None:
        if self._client is self._membership.client:
            # First, so that nothing more is handed out; the client has stopped fetching, and still sends heartbeats.
            self._membership.change(frozenset(), is_settled=False)
            # Whoever reads on then begins behind what we have done. If not, the store refuses one of us.
            await self._membership.finish()

    def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        # First, for the client fetches from the group's offsets until it is told the store's.
        self._client.pause(*assigned)
        if self._client is self._membership.client:
            self._membership.rebalances += 1
            self._membership.change(frozenset(place.partition for place in assigned), is_settled=True)
