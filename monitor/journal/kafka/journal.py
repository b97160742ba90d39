"""The journal on a Kafka topic: the port's verbs, each handed to the part that does it."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final
from weakref import WeakSet

from monitor.clock import Clock
from monitor.errors import IncarnationChanged, JournalUnavailable, StartupError
from monitor.events.model import Entry, Place, Record
from monitor.journal.base import Bounds, FindOffsets
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.consumer import KafkaConsumer, Patience
from monitor.journal.kafka.membership import Membership
from monitor.journal.kafka.producer import KafkaProducer
from monitor.journal.kafka.reader import KafkaReader
from monitor.journal.kafka.topics import Topic, describe_topic, ensure_topic
from monitor.kafka_security import PLAINTEXT, KafkaSecurity

# Longer than the restart of a broker (3 to 5 s), shorter than the patience of those who post events.
CONFIRM_S: Final = 15.0


class KafkaJournal:
    """Implements the Journal port; made by `open_kafka_journal`."""

    # Whoever reaches the brokers can append, so headers are not believed.
    exclusive = False

    def __init__(
        self,
        address: Address,
        topic: Topic,
        *,
        clock: Clock,
        group: str,
        alone: bool,
        confirm_s: float,
        patience: Patience,
        chance: Callable[[], float],
    ) -> None:
        self.incarnation, self.partitions = topic.incarnation, topic.partitions
        self._address = address
        self._clock = clock
        self._group = group
        self._taken = frozenset(range(topic.partitions)) if alone else None
        self._patience = patience
        self._chance = chance
        self._reader = KafkaReader(*address, topic.partitions)
        self._producer = KafkaProducer(*address, topic.partitions, confirm_s=confirm_s)
        self._consumers: WeakSet[KafkaConsumer] = WeakSet()

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        return await self._producer.append(entries)

    async def bounds(self) -> Mapping[int, Bounds]:
        return await self._reader.bounds()

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        return await self._reader.read(partition, start, end, max_records)

    async def pick(self, partition: int, offsets: Sequence[int]) -> Sequence[Record]:
        return await self._reader.pick(partition, offsets)

    async def consumer(self, find_offsets: FindOffsets) -> KafkaConsumer:
        return self._consume(find_offsets, self._group, self._taken)

    async def tail(self, find_offsets: FindOffsets) -> KafkaConsumer:
        return self._consume(find_offsets, None, frozenset(range(self.partitions)))

    def _consume(self, find_offsets: FindOffsets, group: str | None, taken: frozenset[int] | None) -> KafkaConsumer:
        membership = Membership(
            *self._address,
            group,
            taken=taken,
            clock=self._clock,
            chance=self._chance,
            silence_s=self._patience.silence_s,
        )
        consumer = KafkaConsumer(
            self._address.topic,
            membership,
            self._reader,
            find_offsets,
            self.check_life,
            clock=self._clock,
            patience=self._patience,
        )
        self._consumers.add(consumer)
        return consumer

    async def trim(self, partition: int, before: int) -> None:
        """Nothing: the topic's retention decides."""

    async def find(self, partition: int, start: int, end: int, keys: Collection[bytes]) -> Sequence[int]:  # noqa: ARG002 - as ever
        """None: what is found could not be blanked."""
        return ()

    async def blank(self, blanks: Sequence[Record]) -> None:
        """Nothing: what a topic holds goes by its retention, or with a tombstone where it is compacted."""

    async def wipe(self) -> bool:
        """Nothing to do."""
        return True

    async def close(self) -> None:
        for consumer in list(self._consumers):
            await consumer.close()
        await self._producer.close()
        await self._reader.close()

    async def check_life(self) -> None:
        """Raises IncarnationChanged when the topic is not the one that was opened."""
        from aiokafka.errors import KafkaError  # noqa: PLC0415 - the driver loads only where it is used

        brokers, name = self._address
        try:
            topic = await describe_topic(brokers, name)
        except KafkaError as error:
            raise JournalUnavailable(f"Kafka at {brokers} does not answer: {error!r}.") from error
        if topic is None:
            raise JournalUnavailable(f"Topic {name} does not exist any more.")
        if topic.partitions != self.partitions:
            raise IncarnationChanged(
                f"topic {name} has {topic.partitions} partitions now, not {self.partitions}: keys have moved"
            )
        if topic.incarnation != self.incarnation:
            raise IncarnationChanged(f"topic {name} was deleted and created again: its records are other ones")


async def open_kafka_journal(
    url: str,
    *,
    clock: Clock,
    group: str,
    alone: bool = False,
    security: KafkaSecurity = PLAINTEXT,
    create: bool = True,
    partitions: int = 12,
    replication: int | None = None,
    confirm_s: float = CONFIRM_S,
    patience: Patience | None = None,
    chance: Callable[[], float] = random.random,
) -> KafkaJournal:
    """The journal in the topic at `kafka://host:port,host:port/topic`, created when missing if `create`.

    `partitions` and `replication` (None: three, or one per broker) hold for a topic that is created; one that exists
    keeps its own. `group` is the consumer group that shares the partitions; with `alone` nobody shares them, so that a
    consumer reads all at once, and the group only hears how far it is. `security` is what the brokers ask for.
    `confirm_s` bounds an append.

    Raises StartupError with the cure when the address, the topic or the installation is not fit for it, and
    JournalUnavailable when Kafka does not answer.
    """
    address = Address.parse(url, security)
    try:
        import aiokafka  # noqa: F401, PLC0415 - the driver loads only where it is used
    except ImportError as error:
        raise StartupError("A Kafka journal needs the extra `kafka`: install execution-monitor[kafka].") from error
    topic = await ensure_topic(*address, partitions, replication, create, clock=clock)
    return KafkaJournal(
        address,
        topic,
        clock=clock,
        group=group,
        alone=alone,
        confirm_s=confirm_s,
        patience=patience or Patience(),
        chance=chance,
    )
