"""How long an append may wait is said by the journal, not by a client that loses patience."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from monitor.errors import JournalUnavailable
from monitor.events.model import Entry, Place
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.producer import KafkaProducer


class Batch:
    """Takes everything."""

    def append(self, **_: Any) -> object:
        return self

    def close(self) -> None:
        pass


class Impatient:
    """A client that gives up so many times before it has room, as aiokafka's does while a broker is away."""

    def __init__(self, refusals: float) -> None:
        self.refusals = refusals
        self.create_batch = Batch

    async def send(self, *_: Any, partition: int, **__: Any) -> asyncio.Future[Any]:
        await asyncio.sleep(0)
        if self.refusals:
            self.refusals -= 1
            raise KafkaTimeoutError
        confirmation = asyncio.get_running_loop().create_future()
        confirmation.set_result(SimpleNamespace(partition=partition, offset=7))
        return confirmation

    send_batch = send


@pytest.mark.parametrize("count", [1, 100])
async def test_client_that_gives_up_is_asked_again(count: int) -> None:
    """Alone or in a batch: it had taken nothing, so nothing comes twice."""
    producer = KafkaProducer(Brokers("nowhere:1"), "events", 1, confirm_s=60.0)
    producer._client = Impatient(3)
    assert await producer.append([Entry(b"k", b"v")] * count) == [Place(0, 7 + n) for n in range(count)]


async def test_asking_again_ends_in_time() -> None:
    """After as long as the journal allows."""
    producer = KafkaProducer(Brokers("nowhere:1"), "events", 1, confirm_s=0.05)
    producer._client = Impatient(float("inf"))
    with pytest.raises(JournalUnavailable, match=r"within 0\.05 s"):
        await producer.append([Entry(b"k", b"v")])
