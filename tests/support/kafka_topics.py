"""What tests do to topics of a real Kafka: read them as a journal, write as strangers, cut and recreate them."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from monitor.clock import SystemClock
from monitor.journal import open_kafka_journal
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.consumer import Patience
from monitor.journal.kafka.journal import KafkaJournal
from monitor.journal.kafka.topics import describe_topic
from tests.support.kafka import Kafka

QUICK = Patience(stalled_s=0.5, look_s=0.1, life_s=0.5)
"""Trouble shows within a second."""

DEADLINE_S = 120.0


@asynccontextmanager
async def opened(
    kafka: Kafka, topic: str, *, group: str | None = None, patience: Patience = QUICK
) -> AsyncIterator[KafkaJournal]:
    """The journal in `topic`, for as long as the block runs; its group is called like it unless it is said."""
    url = f"kafka://{kafka.bootstrap}/{topic}"
    journal = await open_kafka_journal(url, clock=SystemClock(), group=group or topic, create=False, patience=patience)
    try:
        yield journal
    finally:
        await journal.close()


@asynccontextmanager
async def raw_producer(kafka: Kafka, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Another program that writes to the topic, in its own way."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, **settings) as producer:
        yield producer


async def commit_offset(kafka: Kafka, topic: str, *, group: str, offset: int) -> None:
    """Leave an offset of the group in Kafka, as another consumer would."""
    place = TopicPartition(topic, 0)
    client = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
    async with client:
        client.assign([place])
        await client.commit({place: offset})


async def delete_before(kafka: Kafka, topic: str, offset: int) -> None:
    """Cut the first partition of the topic as retention does."""
    async with kafka.admin() as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(offset)})


async def recreate(kafka: Kafka, topic: str, *, partitions: int) -> None:
    """Delete the topic and make another one of the same name."""
    async with kafka.admin() as admin:
        await admin.delete_topics([topic])
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            answer = await admin.create_topics([NewTopic(topic, partitions, 1)])
            if answer.topic_errors[0][1] == 0:
                break
            assert time.monotonic() < deadline_s, answer
    while await describe_topic(Brokers(kafka.bootstrap), topic) is None:
        assert time.monotonic() < deadline_s
