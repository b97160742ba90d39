"""Appending to a Kafka topic: in order, without loss or repetition, and never waiting without end.

The producer is idempotent, so a broker that is killed in the middle loses nothing and doubles nothing. Entries reach it
from one caller at a time, for only then does aiokafka keep their order; what they wait for is awaited side by side.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog

from monitor.errors import JournalError, JournalUnavailable
from monitor.events.model import Entry, Place
from monitor.journal.backlog import Backlog
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.topics import MAX_RECORD_BYTES, REQUEST_TIMEOUT_MS
from monitor.journal.partitioner import partition_for

_log = structlog.get_logger(__name__)

# From so many entries for one partition on, a batch built here is cheaper than single sends (six times at 500).
_BATCH_FROM_ENTRIES: Final = 16

_BATCH_BYTES: Final = 256 << 10

# Waits for company without being felt; a full batch goes at once.
_LINGER_MS: Final = 5

_STOP_LIMIT_S: Final = 5.0


class _HandedOver(NamedTuple):
    """Entries, by their index in the append, that stand side by side; `confirmation` tells the first one's place."""

    indexes: Sequence[int]
    confirmation: Awaitable[Any]


class KafkaProducer:
    """Appends entries to one topic. `confirm_s`: how long an append may wait for Kafka's acknowledgement."""

    def __init__(self, brokers: Brokers, topic: str, partitions: int, *, confirm_s: float) -> None:
        self._brokers = brokers
        self._topic = topic
        self._partitions = partitions
        self._confirm_s = confirm_s
        self._backlog = Backlog()
        # Held while entries are handed to the client, fair by asyncio's promise: first come, first served.
        self._turn = asyncio.Lock()
        self._client: Any = None
        self._closed = False

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        """Places of `entries`, when all in-sync replicas have them.

        Raises JournalUnavailable when that is not known in time: they may or may not be there. Cancelled, the same
        holds. Raises JournalError when Kafka will never take them.
        """
        from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError  # noqa: PLC0415

        client: Any = None
        try:
            with self._backlog.admit(entries):
                async with asyncio.timeout(self._confirm_s):
                    async with self._turn:
                        client = await self._connected()
                        handed_over = await self._hand_over(client, entries)
                    return await _confirmed(handed_over)
        except MessageSizeTooLargeError as error:
            raise JournalError(
                f"Kafka refuses a record as too large; raise max.message.bytes of topic {self._topic} "
                f"to {MAX_RECORD_BYTES}."
            ) from error
        except (TimeoutError, KafkaTimeoutError) as error:
            raise JournalUnavailable(
                f"Kafka has not confirmed the append within {self._confirm_s:g} s: it may or may not be there."
            ) from error
        except KafkaError as error:
            await self._replace(client, error)
            raise JournalUnavailable(f"Kafka has not confirmed the append ({error!r}): it may be there.") from error

    async def close(self) -> None:
        """Send what was handed in, for a moment at most, and leave."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await _stop(client)

    async def _hand_over(self, client: Any, entries: Sequence[Entry]) -> list[_HandedOver]:
        """Give the client all entries, those of each partition in their order."""
        handed_over: list[_HandedOver] = []
        for partition, indexes in _by_partition(entries, self._partitions).items():
            if len(indexes) < _BATCH_FROM_ENTRIES:
                handed_over += [
                    _HandedOver([index], await self._send(client, entries[index], partition)) for index in indexes
                ]
            else:
                handed_over += await self._send_batches(client, entries, partition, indexes)
        return handed_over

    async def _send(self, client: Any, entry: Entry, partition: int) -> Awaitable[Any]:
        key, value, headers, stored_us = entry
        offer = partial(
            client.send,
            self._topic,
            value,
            key,
            partition=partition,
            timestamp_ms=_in_ms(stored_us),
            headers=list(headers),
        )
        return await _taken(offer)

    async def _send_batches(
        self, client: Any, entries: Sequence[Entry], partition: int, indexes: Sequence[int]
    ) -> list[_HandedOver]:
        handed_over = []
        rest = indexes
        while rest:
            batch = client.create_batch()
            count = _fill(batch, (entries[index] for index in rest))
            confirmation = await _taken(partial(client.send_batch, batch, self._topic, partition=partition))
            handed_over.append(_HandedOver(rest[:count], confirmation))
            rest = rest[count:]
        return handed_over

    async def _connected(self) -> Any:
        if self._closed:
            raise JournalUnavailable("The journal is closed.")
        if self._client is None:
            self._client = await self._connect()
        return self._client

    async def _connect(self) -> Any:
        from aiokafka import AIOKafkaProducer  # noqa: PLC0415

        client = AIOKafkaProducer(
            **self._brokers.client_settings(),
            enable_idempotence=True,
            acks="all",
            compression_type="zstd",
            linger_ms=_LINGER_MS,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await lifetime.start(client.start())
        except BaseException:
            await _stop(client)
            raise
        return client

    async def _replace(self, client: Any, error: Exception) -> None:
        """Drop a client that has failed, for it fails for ever; the next append makes a new one."""
        if client is not None and client is self._client:
            _log.warning("kafka producer failed and is replaced", topic=self._topic, error=repr(error))
            self._client = None
            await _stop(client)


async def _taken(offer: Callable[[], Awaitable[Awaitable[Any]]]) -> Awaitable[Any]:
    """What the client answers once there is room for what it is offered.

    The client gives up on its own: after REQUEST_TIMEOUT_MS, and with a batch far sooner, for it counts the same wait
    again whenever the batch before is tried again (`add_batch`). It has taken nothing then, and how long an append may
    last is `append`'s to say.
    """
    from aiokafka.errors import KafkaTimeoutError  # noqa: PLC0415

    while True:
        try:
            return await offer()
        except KafkaTimeoutError:
            continue


def _by_partition(entries: Sequence[Entry], partitions: int) -> dict[int, list[int]]:
    """The indexes of the entries that go to each partition, in their order."""
    indexes: dict[int, list[int]] = {}
    for index, entry in enumerate(entries):
        indexes.setdefault(partition_for(entry.key, partitions), []).append(index)
    return indexes


def _fill(batch: Any, entries: Iterable[Entry]) -> int:
    """Put as many entries into the batch as fit, at least one, and say how many it were."""
    count = 0
    for key, value, headers, stored_us in entries:
        if batch.append(timestamp=_in_ms(stored_us), key=key, value=value, headers=list(headers)) is None:
            break
        count += 1
    # A closed batch goes at once; an open one would linger for company.
    batch.close()
    return count


def _in_ms(time_us: int | None) -> int | None:
    """As Kafka counts times; None is now."""
    return None if time_us is None else time_us // 1000


async def _confirmed(handed_over: Sequence[_HandedOver]) -> list[Place]:
    """The place of each entry, in the order of the append, once all are acknowledged."""
    confirmations = await asyncio.gather(*(group.confirmation for group in handed_over))
    places = {
        index: Place(first.partition, first.offset + step)
        for group, first in zip(handed_over, confirmations, strict=True)
        for step, index in enumerate(group.indexes)
    }
    return [places[index] for index in range(len(places))]


async def _stop(client: Any) -> None:
    """Stop a client, with a moment for what it still holds: left alone, it waits as long as the broker is away."""
    try:
        async with asyncio.timeout(_STOP_LIMIT_S):
            await client.stop()
    except TimeoutError:
        _log.warning("kafka producer left with appends that nobody confirmed")
        # There is no public way to give up; whoever waited for these appends has been told.
        await client._sender.close()  # noqa: SLF001
        await client.client.close()
