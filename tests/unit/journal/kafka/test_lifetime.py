"""Clients of Kafka that do not hear that they are to stop: nobody waits for them for ever, nor goes on for them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.consumer import KafkaConsumer, Patience


class Deaf:
    """A client that goes on whenever it is cancelled, until it is let go."""

    def __init__(self) -> None:
        self.closed, self.cancelled, self.asked, self.let_go = 0, 0, asyncio.Event(), asyncio.Event()
        self._client = SimpleNamespace(close=self._close)

    async def stop(self) -> None:
        """Never ends by being asked to."""
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1

    async def getmany(self, **_: Any) -> Mapping[Any, Any]:
        """Nothing, and that at once when it is cancelled."""
        self.asked.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
        return {}

    async def _close(self) -> None:
        self.closed += 1


@pytest.fixture
async def deaf() -> AsyncIterator[Deaf]:
    """Gone when the test is."""
    client = Deaf()
    yield client
    client.let_go.set()
    await asyncio.sleep(0)


async def test_client_that_does_not_stop_is_left_behind(deaf: Deaf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sockets are closed, and whoever stops it goes on."""
    monkeypatch.setattr(lifetime, "_STOP_LIMIT_S", 0.0)
    monkeypatch.setattr(lifetime, "_CANCEL_LIMIT_S", 0.0)
    await lifetime.stop(deaf)
    await lifetime.stop(deaf)
    assert (deaf.closed, deaf.cancelled) == (2, 2)


async def test_start_that_does_not_end_holds_nobody_up(deaf: Deaf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gave it up hears of his own cancellation."""
    monkeypatch.setattr(lifetime, "_START_GRACE_S", 0.0)
    monkeypatch.setattr(lifetime, "_CANCEL_LIMIT_S", 0.0)
    starting = asyncio.create_task(lifetime.start(deaf.stop()))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_cancellation_that_a_client_keeps_to_itself_ends_a_poll(deaf: Deaf) -> None:
    """Else a service that is told to stop would fold on."""
    consumer = consumer_of(deaf)
    polling = asyncio.create_task(consumer.poll(10, 60.0))
    await deaf.asked.wait()
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert deaf.cancelled == 1
    await consumer.close()


async def test_nothing_is_heeded_by_whom_nobody_cancelled() -> None:
    """Nor by one whose time was up, and who goes on."""
    lifetime.heed_cancellation()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    lifetime.heed_cancellation()


def consumer_of(client: Any) -> KafkaConsumer:
    """One with this client, which is assigned nothing yet."""

    async def nothing(*_: Any) -> Any:
        return {}

    async def find_offsets(_: Collection[int]) -> Mapping[int, int]:
        return {}

    membership: Any = SimpleNamespace(
        client=client,
        generation=0,
        assigned=frozenset(),
        is_settled=False,
        group=None,
        has=lambda **_: None,
        works=lambda: None,
        leave=nothing,
    )
    reader: Any = SimpleNamespace(bounds=nothing)
    return KafkaConsumer("topic", membership, reader, find_offsets, nothing, clock=SystemClock(), patience=Patience())
