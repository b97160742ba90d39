"""The launcher of a real Kafka: what the tests that lean on it may take for granted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidConfigurationError

from tests.support.kafka import Broker, Kafka
from tests.support.service import eventually


@asynccontextmanager
async def producing(kafka: Kafka) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer that asks again quickly while the broker is away."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        enable_idempotence=True,
        request_timeout_ms=5000,
        retry_backoff_ms=50,
    ) as producer:
        yield producer


async def read_all(kafka: Kafka, topic: str, *, partition: int = 0) -> list[bytes | None]:
    """The values of every record that the partition holds now."""
    place = TopicPartition(topic, partition)
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=50,
    ) as consumer:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        consumer.seek(place, 0)
        values: list[bytes | None] = []
        while await consumer.position(place) < end:
            values += [record.value for record in (await consumer.getmany(timeout_ms=1000)).get(place, [])]
        return values


async def test_record_is_read_back_as_it_was_written(kafka: Kafka) -> None:
    """A shared broker takes a record and gives it back."""
    topic = await kafka.create_topic(partitions=2)
    async with producing(kafka) as producer:
        written = await producer.send_and_wait(topic, b"hello", partition=1)
    assert written.offset == 0
    assert await read_all(kafka, topic, partition=1) == [b"hello"]
    assert await read_all(kafka, topic, partition=0) == []


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_makes_the_round_trip(kafka: Kafka, codec: str) -> None:
    """The compression that producers may choose can be read with what is installed."""
    topic = await kafka.create_topic()
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=codec) as producer:
        await producer.send_and_wait(topic, b"x" * 10_000)
    assert await read_all(kafka, topic) == [b"x" * 10_000]


async def test_topics_of_two_tests_never_meet(kafka: Kafka) -> None:
    """Every topic has a name of its own and the settings that were asked for."""
    names = [await kafka.create_topic(partitions=3, config={"retention.ms": "1000"}) for _ in range(2)]
    assert len(set(names)) == 2
    async with kafka.admin() as admin:

        async def are_described() -> bool:
            """A broker hears of a topic a moment after its controller has made it."""
            described = await admin.describe_topics(names)
            return [len(topic["partitions"]) for topic in described] == [3, 3]

        await eventually(are_described)


async def test_refused_topic_is_an_error(kafka: Kafka) -> None:
    """A topic with a setting that Kafka does not know is refused loudly."""
    with pytest.raises(InvalidConfigurationError):
        await kafka.create_topic(config={"no.such.setting": "1"})


async def test_acknowledged_record_survives_kill_and_start(own_kafka: Broker) -> None:
    """A killed broker comes back on the same port with its data, and a connected producer goes on."""
    bootstrap, pid = own_kafka.bootstrap, own_kafka.pid
    topic = await own_kafka.create_topic()
    async with producing(own_kafka) as producer:
        await producer.send_and_wait(topic, b"before")
        own_kafka.kill()
        own_kafka.launch()
        await asyncio.to_thread(own_kafka.wait_ready)
        await producer.send_and_wait(topic, b"after")
    assert own_kafka.bootstrap == bootstrap
    assert own_kafka.pid != pid
    assert await read_all(own_kafka, topic) == [b"before", b"after"]


async def test_acknowledged_record_survives_stop_and_start(own_kafka: Broker) -> None:
    """A stopped broker comes back with its data."""
    topic = await own_kafka.create_topic()
    async with producing(own_kafka) as producer:
        await producer.send_and_wait(topic, b"kept")
    own_kafka.stop()
    own_kafka.start()
    assert await read_all(own_kafka, topic) == [b"kept"]


async def test_paused_broker_answers_only_when_resumed(own_kafka: Broker) -> None:
    """A paused broker leaves a send unanswered; resumed, it acknowledges that very send, once."""
    topic = await own_kafka.create_topic()
    async with producing(own_kafka) as producer:
        await producer.send_and_wait(topic, b"before")
        own_kafka.pause()
        pending = await producer.send(topic, b"during")
        answered, _ = await asyncio.wait([pending], timeout=0.5)
        assert answered == set()
        own_kafka.resume()
        assert (await pending).offset == 1
    assert await read_all(own_kafka, topic) == [b"before", b"during"]


def test_close_leaves_nothing_behind(own_kafka: Broker) -> None:
    """Closing removes the folder and may be repeated; the abilities of an own broker are complete."""
    assert own_kafka.can == {"admin", "kill", "pause"}
    folder = own_kafka._folder
    assert folder.exists()
    own_kafka.close()
    own_kafka.close()
    assert not folder.exists()
