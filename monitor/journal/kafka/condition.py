"""The condition that topics and the consumer group are in: which brokers hold what, under which settings, read by whom.

For reports; nothing is changed, and no topic is made by asking for it.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from monitor.errors import JournalUnavailable
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.metadata import metadata_request
from monitor.journal.kafka.topics import connected


class Seat(NamedTuple):
    """Where one partition lies."""

    partition: int
    # Ids of brokers: who takes what is written (None: nobody), who should hold it, and of those who is up to date.
    leader: int | None
    replicas: Sequence[int]
    in_sync: Sequence[int]


class Condition(NamedTuple):
    """A topic as it is now."""

    seats: Sequence[Seat]
    # All of the topic's, those of the cluster where it has none of its own.
    settings: Mapping[str, str]
    # How many brokers there are.
    brokers: int

    @property
    def partitions(self) -> int:
        """How many it has."""
        return len(self.seats)

    @property
    def replication(self) -> int:
        """Replicas of the partition that has the fewest."""
        return min((len(seat.replicas) for seat in self.seats), default=0)


class Member(NamedTuple):
    """A process of a consumer group."""

    client: str
    host: str
    partitions: Sequence[int]


class Group(NamedTuple):
    """A consumer group: `state` is Kafka's word, such as Stable or Empty."""

    state: str
    members: Sequence[Member]


async def condition_of(address: Address) -> Condition | None:
    """The topic as it is now; None when there is none. Raises JournalUnavailable."""
    with _translated(address):
        async with connected(address.brokers) as client:
            answer = await client.send(client.get_random_node(), metadata_request()(address.topic))
            brokers = len(answer.brokers)
        [(_, _, _, _, partitions, _, _)] = answer.topics
        if not partitions:
            return None
        seats = [
            Seat(partition, leader if leader >= 0 else None, tuple(replicas), tuple(in_sync))
            for _, partition, leader, _, replicas, in_sync, *_ in partitions
        ]
        return Condition(sorted(seats), await _settings_of(address), brokers)


async def group_of(address: Address, group: str) -> Group:
    """Who shares the topic's partitions in `group`. Raises JournalUnavailable."""
    from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment  # noqa: PLC0415 - as everywhere
    from aiokafka.errors import GroupCoordinatorNotAvailableError  # noqa: PLC0415

    def partitions_of(assignment: bytes) -> list[int]:
        shares = ConsumerProtocolMemberAssignment.decode(assignment).assignment if assignment else ()
        return sorted(it for topic, partitions in shares if topic == address.topic for it in partitions)

    with _translated(address):
        try:
            async with _admin(address) as admin:
                [answer] = await admin.describe_consumer_groups([group])
        except GroupCoordinatorNotAvailableError:
            # A cluster that never had a group has nobody to ask, or looks for somebody.
            return Group("unknown", ())
    [(_, _, state, _, _, members, *_)] = answer.groups
    return Group(state, [Member(it[1], it[2].strip("/"), partitions_of(it[4])) for it in members])


async def _settings_of(address: Address) -> Mapping[str, str]:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: PLC0415

    async with _admin(address) as admin:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, address.topic)])
    [(_, _, _, _, entries)] = answer.resources
    return {name: value for name, value, *_ in entries}


@asynccontextmanager
async def _admin(address: Address) -> AsyncIterator[Any]:
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    admin = AIOKafkaAdminClient(**address.brokers.client_settings())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@contextmanager
def _translated(address: Address) -> Iterator[None]:
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - the driver loads only where it is used

    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise JournalUnavailable(f"Kafka at {address.brokers} does not answer: {error!r}.") from error
