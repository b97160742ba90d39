"""Several brokers that are one Kafka, each a process of its own: three replicas, of which two must have a record.

Ready in about three seconds. What a test did to the brokers, `mend` takes back, so that the next may have them too.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support.kafka import PORT_CONFLICT, READY_LIMIT_S, Broker, BrokerEnded, Kafka, seats
from tests.support.kafka_jars import KafkaJars, KafkaUnavailable
from tests.support.service import eventually

NODES: Final = 3

HEALED_WITHIN_S: Final = 120.0

_REPLICATED: Final[Mapping[str, object]] = {
    "default.replication.factor": NODES,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": NODES,
    "transaction.state.log.replication.factor": NODES,
    "transaction.state.log.min.isr": 2,
    "share.coordinator.state.topic.replication.factor": NODES,
    "share.coordinator.state.topic.min.isr": 2,
}


class Cluster(Kafka):
    """Three brokers, numbered from 1. Call what starts one from the main thread: it dies with that."""

    def __init__(self, jars: KafkaJars) -> None:
        self._jars = jars
        self._brokers: Mapping[int, Broker] = {}
        super().__init__("", frozenset({"admin", "kill", "pause"}))

    def __enter__(self) -> Self:
        for _ in range(3):
            self._brokers = {
                seat.node_id: Broker(self._jars, properties=_REPLICATED, seat=seat) for seat in seats(NODES)
            }
            self.bootstrap = ",".join(broker.bootstrap for broker in self._brokers.values())
            try:
                self._start()
            except BrokerEnded as error:
                self.close()
                if PORT_CONFLICT not in str(error):
                    raise
            except BaseException:
                self.close()
                raise
            else:
                return self
        raise KafkaUnavailable("three sets of ports in a row were taken")

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def nodes(self) -> Sequence[int]:
        """The numbers of all brokers."""
        return list(self._brokers)

    def broker(self, node: int) -> Broker:
        """To be killed, paused or stopped; `launch` starts it again."""
        return self._brokers[node]

    def kill(self, *nodes: int) -> None:
        """SIGKILL to those, or to all at once."""
        for node in nodes or self.nodes:
            self._brokers[node].kill()

    async def launch(self, *nodes: int) -> None:
        """Start those that do not run, or of all whoever does not, and return when they answer."""
        started = [broker for broker in map(self.broker, nodes or self.nodes) if not broker.is_running]
        for broker in started:
            broker.launch()
        await asyncio.gather(*(asyncio.to_thread(broker.wait_ready) for broker in started))

    async def mend(self) -> None:
        """Every broker runs, and every replica of every topic is in sync again."""
        for broker in self._brokers.values():
            broker.resume()
        await self.launch()
        await self.healed()

    async def healed(self) -> None:
        """Return when every replica of every topic is in sync."""
        lagging: list[str] = []

        async def is_healed() -> bool:
            try:
                topics = await self._topics()
            except (KafkaError, NodeNotReadyError, OSError) as error:
                lagging[:] = [repr(error)]
                return False
            lagging[:] = [
                f"{topic['topic']}/{it['partition']}"
                for topic in topics
                for it in topic["partitions"]
                if it["leader"] < 0 or len(it["isr"]) < len(it["replicas"])
            ]
            return not lagging

        await eventually(is_healed, within_s=HEALED_WITHIN_S, what=lambda: f"not in sync: {lagging}")

    # --- topics ------------------------------------------------------------------------------------------------------

    async def make_topic(self, name: str, partitions: int, *, min_in_sync: int = 2) -> None:
        """A topic on every broker."""
        topic = NewTopic(
            name, partitions, NODES, topic_configs={"min.insync.replicas": str(min_in_sync), "retention.ms": "-1"}
        )
        async with self.admin() as admin:
            answer = await admin.create_topics([topic])
        for _, code, message in answer.topic_errors:
            if code:
                raise for_code(code)(message)
        await self.healed()

    async def drop_topic(self, name: str) -> None:
        """Delete a topic, and return when nobody knows it any more."""
        async with self.admin() as admin:
            await admin.delete_topics([name])

        async def is_gone() -> bool:
            return name not in {topic["topic"] for topic in await self._topics()}

        await eventually(is_gone, within_s=HEALED_WITHIN_S)

    async def add_partitions(self, name: str, total: int) -> None:
        """Raise the number of a topic's partitions."""
        async with self.admin() as admin:
            await admin.create_partitions({name: NewPartitions(total)})
        await self.healed()

    async def require_in_sync(self, name: str, replicas: int) -> None:
        """From now on so many must have a record before it is acknowledged."""
        wanted = ConfigResource(ConfigResourceType.TOPIC, name, {"min.insync.replicas": str(replicas)})
        async with self.admin() as admin:
            await admin.alter_configs([wanted])

    async def leaders(self, name: str) -> Mapping[int, int]:
        """The node that leads each partition."""
        [topic] = [topic for topic in await self._topics() if topic["topic"] == name]
        return {it["partition"]: it["leader"] for it in topic["partitions"]}

    async def move_leaders(self, name: str) -> None:
        """Let the next replica lead each partition, while all brokers run, as an administrator does."""
        before = await self.leaders(name)
        orders = [(partition, [*range(node, NODES + 1), *range(1, node)]) for partition, node in before.items()]
        moved: Any = [(partition, [*order[1:], order[0]], {}) for partition, order in orders]
        async with self.admin() as admin:
            request = AlterPartitionReassignmentsRequest(30_000, [(name, moved, {})], {})
            answer = await admin._send_to_controller(request)
        assert not answer.error_code, answer
        await asyncio.to_thread(self._elect, name, list(before))

        async def have_moved() -> bool:
            now = await self.leaders(name)
            return all(now[partition] == order[0] for partition, order, _ in moved)

        await eventually(have_moved, within_s=HEALED_WITHIN_S)

    def close(self) -> None:
        """End all of them, and remove their folders."""
        for broker in self._brokers.values():
            broker.close()

    def _start(self) -> None:
        for broker in self._brokers.values():
            broker.launch()
        for broker in self._brokers.values():
            broker.wait_ready(timeout_s=READY_LIMIT_S)

    async def _topics(self) -> Sequence[Any]:
        async with self.admin() as admin:
            return list(await admin.describe_topics())

    def _elect(self, name: str, partitions: Sequence[int]) -> None:
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        places = [TopicPartition(name, partition) for partition in partitions]
        client.elect_leaders(ElectionType.PREFERRED, places).result(timeout=HEALED_WITHIN_S)
