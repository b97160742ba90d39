"""What a topic is and whether it is still the same one.

A topic that is deleted and made again has the same name and other records; Kafka gives it a new id. That id and the
number of partitions name the journal's life. Called by the journal when it opens and, from time to time, by consumers.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import structlog

from monitor.clock import Clock
from monitor.errors import JournalUnavailable, StartupError
from monitor.events.model import MAX_EVENT_BYTES
from monitor.events.position import INCARNATION_BYTES
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.metadata import metadata_request
from monitor.journal.kafka.refusal import refusal

_log = structlog.get_logger(__name__)

# Key and headers beside the largest event, and the batch around them.
MAX_RECORD_BYTES: Final = MAX_EVENT_BYTES + (64 << 10)

# One hung broker costs one such time; aiokafka's 40 s would stop the healthy partitions as well.
REQUEST_TIMEOUT_MS: Final = 5_000

# Three replicas survive one broker and a second one's upgrade; fewer only where there are fewer brokers.
_REPLICATION: Final = 3

KEEP_DAYS: Final = 7

# How long leaders may take to be elected after a topic was made.
_CREATION_LIMIT_S: Final = 15.0
_CREATION_RECHECK_S: Final = 0.05

_UNKNOWN_TOPIC: Final = 3
_TOPIC_EXISTS: Final = 36


class Topic(NamedTuple):
    """A topic as its cluster describes it now."""

    # Kafka's id of it, 32 hexadecimal digits.
    id: str
    partitions: int
    # Replicas of the partition that has the fewest.
    replication: int
    # Whether every partition has a leader, and so can be used.
    is_led: bool

    @property
    def incarnation(self) -> str:
        """Names this life of the topic: another id or another number of partitions is another life."""
        digest = hashlib.sha256(f"{self.id}/{self.partitions}".encode())
        return digest.hexdigest()[: 2 * INCARNATION_BYTES]


async def describe_topic(brokers: Brokers, topic: str) -> Topic | None:
    """The topic as it is now, None when there is none. Raises aiokafka's KafkaError when nobody answers."""
    async with connected(brokers) as client:
        return await _describe(client, topic)


async def ensure_topic(
    brokers: Brokers,
    topic: str,
    partitions: int = 12,
    replication: int | None = None,
    create: bool = True,
    *,
    clock: Clock,
    keep_days: int = KEEP_DAYS,
) -> Topic:
    """The topic, made when it is missing; one that exists is taken with the partitions that it has.

    `replication` None means three, or as many as there are brokers; `keep_days` is its retention. Raises StartupError,
    naming the cure, when the topic is missing and `create` is False, or Kafka refuses it or lets this service not in;
    JournalUnavailable when Kafka does not answer.
    """
    from aiokafka.errors import (  # noqa: PLC0415 - the driver loads only where it is used
        KafkaError,
        TopicAuthorizationFailedError,
    )

    try:
        async with connected(brokers) as client:
            found = await _describe(client, topic)
            if found is None and not create:
                raise StartupError(
                    f"Kafka at {brokers} has no topic {topic}, and creating topics is switched off; create it "
                    f"with {partitions} partitions, or allow it to be created."
                )
            if found is None:
                replication = replication or min(_REPLICATION, len(client.cluster.brokers()))
                await _create(client, topic, partitions, replication, keep_days)
            found = await _await_leaders(client, topic, clock)
    except TopicAuthorizationFailedError as error:
        raise StartupError(f"Kafka at {brokers} does not let this user see topic {topic}; allow it to.") from error
    except KafkaError as error:
        if refused := await refusal(brokers):
            raise refused from error
        raise JournalUnavailable(f"Kafka at {brokers} does not answer: {error!r}.") from error
    if found.replication == 1:
        _log.warning("topic has one replica: losing its broker loses events", topic=topic, brokers=str(brokers))
    return found


async def _await_leaders(client: Any, topic: str, clock: Clock) -> Topic:
    deadline_s = clock.monotonic_s() + _CREATION_LIMIT_S
    while True:
        found = await _describe(client, topic)
        if found and found.is_led:
            return found
        if clock.monotonic_s() > deadline_s:
            raise JournalUnavailable(f"Topic {topic} has partitions without a leader.")
        await clock.sleep(_CREATION_RECHECK_S)


async def _create(client: Any, topic: str, partitions: int, replication: int, keep_days: int) -> None:
    from aiokafka.errors import for_code  # noqa: PLC0415
    from aiokafka.protocol.admin import CreateTopicsRequest  # noqa: PLC0415

    settings = list(_topic_settings(replication, keep_days).items())
    anywhere: list[object] = []  # Kafka chooses the brokers
    wanted = (topic, partitions, replication, anywhere, settings)
    request = CreateTopicsRequest(create_topic_requests=[wanted], timeout=REQUEST_TIMEOUT_MS, validate_only=False)
    answer = await client.send(client.cluster.controller.nodeId, request)
    [(_, code, reason)] = answer.topic_errors
    if code not in {0, _TOPIC_EXISTS}:  # another process may have been first
        raise StartupError(
            f"Kafka refuses to create topic {topic} with {partitions} partitions and replication {replication}: "
            f"{reason or for_code(code).__name__}; create it yourself, or allow this user to."
        )
    _log.info("topic created", topic=topic, partitions=partitions, replication=replication)


def _topic_settings(replication: int, keep_days: int) -> Mapping[str, str]:
    """Everything that comes, each at least on a second broker before it is acknowledged, where there is one."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(keep_days * 24 * 3600 * 1000),
        "segment.ms": str(24 * 3600 * 1000),
        "compression.type": "producer",
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "CreateTime",
        "min.insync.replicas": str(min(2, replication)),
    }


@asynccontextmanager
async def connected(brokers: Brokers) -> AsyncIterator[Any]:
    """A connection for a few requests. A new one each time: an old one would not leave a broker that died."""
    from aiokafka.client import AIOKafkaClient  # noqa: PLC0415

    client = AIOKafkaClient(**brokers.client_settings(), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await lifetime.start(client.bootstrap())
        yield client
    finally:
        await client.close()


async def _describe(client: Any, topic: str) -> Topic | None:
    from aiokafka.errors import IncompatibleBrokerVersion, for_code  # noqa: PLC0415

    try:
        answer = await client.send(client.get_random_node(), metadata_request()(topic))
    except (IncompatibleBrokerVersion, NotImplementedError) as error:
        raise StartupError("Kafka 2.8 or newer is needed: older ones do not tell topics apart.") from error
    [(code, _, topic_id, _, partitions, _, _)] = answer.topics
    if code == _UNKNOWN_TOPIC:
        return None
    if code:
        raise for_code(code)(topic)
    return Topic(
        id=topic_id.hex(),
        partitions=len(partitions),
        replication=min((len(replicas) for _, _, _, _, replicas, *_ in partitions), default=0),
        is_led=bool(partitions) and all(not error and leader >= 0 for error, _, leader, *_ in partitions),
    )
