"""Reading a Kafka topic without a group: replays, checks and the ends of partitions.

A few clients are kept for it and lent out one at a time; a client that failed is not used again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from monitor.errors import JournalUnavailable, RetentionCut
from monitor.events.model import Record
from monitor.journal.base import Bounds
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.topics import REQUEST_TIMEOUT_MS

# Replays at the same time; each client is a connection per broker and up to 1 MiB per partition.
_CLIENTS: Final = 4

# How long the broker may hold a fetch back. A read never asks beyond the end, so this is waited at most once.
_FETCH_WAIT_MS: Final = 20

# What one read brings into memory at most, however many records were asked for, and how long it may take.
_READ_BYTES: Final = 16 << 20
_READ_LIMIT_S: Final = 15.0

# Records that are sooner read than sought past: about what a fetch brings anyway.
_NEIGHBOURS: Final = 500


class KafkaReader:
    """Reads ranges of one topic and asks for its bounds."""

    def __init__(self, brokers: Brokers, topic: str, partitions: int) -> None:
        self._brokers = brokers
        self._topic = topic
        self._partitions = partitions
        self._idle: list[Any] = []
        self._slots = asyncio.Semaphore(_CLIENTS)
        self._closed = False

    async def bounds(self) -> Mapping[int, Bounds]:
        """First and next offset of every partition, as seen by who reads committed records only."""
        async with self._client() as client:
            return await self._bounds(client, range(self._partitions))

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        """The records of a range, as the port promises them."""
        async with self._client() as client:
            first, stop = (await self._bounds(client, [partition]))[partition]
            end = min(end, stop)
            records = await self._fetch(client, partition, start, end, max_records) if first <= start < end else []
        if start < first:
            raise RetentionCut(partition, start, first)
        return records

    async def pick(self, partition: int, offsets: Sequence[int]) -> Sequence[Record]:
        """The records at these offsets, as the port promises them: neighbours are read in one go."""
        picked: list[Record] = []
        size_bytes = 0
        async with self._client() as client, asyncio.timeout(_READ_LIMIT_S):
            first, stop = (await self._bounds(client, [partition]))[partition]
            for run in _runs([offset for offset in offsets if first <= offset < stop]):
                wanted = set(run)
                at = run[0]
                while at <= run[-1] and size_bytes < _READ_BYTES:
                    found = await self._fetch(client, partition, at, run[-1] + 1, _NEIGHBOURS)
                    at = found[-1].offset + 1 if found else run[-1] + 1
                    some = [record for record in found if record.offset in wanted]
                    picked += some
                    size_bytes += sum(len(record.value or b"") for record in some)
        return picked

    async def close(self) -> None:
        """Release the clients that nobody uses; the others are released as they come back."""
        self._closed = True
        while self._idle:
            await lifetime.stop(self._idle.pop())

    async def _fetch(self, client: Any, partition: int, start: int, end: int, max_records: int) -> list[Record]:
        from aiokafka import TopicPartition  # noqa: PLC0415

        place = TopicPartition(self._topic, partition)
        client.assign([place])
        client.seek(place, start)
        records: list[Record] = []
        size_bytes = 0
        async with asyncio.timeout(_READ_LIMIT_S):
            # The position also passes what is no record: transaction markers and what compaction removed.
            while await client.position(place) < end and len(records) < max_records and size_bytes < _READ_BYTES:
                fetched = await client.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=max_records - len(records))
                found = to_records(partition, fetched.get(place, ()))
                records += found
                size_bytes += sum(len(record.value or b"") for record in found)
        client.unsubscribe()  # or it would fetch on
        return [record for record in records if record.offset < end]

    async def _bounds(self, client: Any, partitions: Iterable[int]) -> dict[int, Bounds]:
        from aiokafka import TopicPartition  # noqa: PLC0415

        places = [TopicPartition(self._topic, partition) for partition in partitions]
        starts = await client.beginning_offsets(places)
        ends = await client.end_offsets(places)
        return {place.partition: Bounds(starts[place], ends[place]) for place in places}

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Any]:
        from aiokafka.errors import KafkaError  # noqa: PLC0415

        if self._closed:
            raise JournalUnavailable("The journal is closed.")
        async with self._slots:
            try:
                client = self._idle.pop() if self._idle else await self._new_client()
                try:
                    yield client
                except BaseException:
                    await lifetime.stop(client)
                    raise
            except (KafkaError, TimeoutError) as error:
                raise JournalUnavailable(f"Kafka at {self._brokers} does not answer: {error!r}.") from error
            if self._closed:
                await lifetime.stop(client)
            else:
                self._idle.append(client)
        lifetime.heed_cancellation()

    async def _new_client(self) -> Any:
        from aiokafka import AIOKafkaConsumer  # noqa: PLC0415

        client = AIOKafkaConsumer(**read_settings(self._brokers), fetch_max_wait_ms=_FETCH_WAIT_MS)
        try:
            await lifetime.start(client.start())
        except BaseException:
            await lifetime.stop(client)
            raise
        return client


def _runs(offsets: Sequence[int]) -> Iterator[Sequence[int]]:
    """Growing offsets, split where it is cheaper to seek than to read what lies between."""
    begin = 0
    for index in range(1, len(offsets) + 1):
        if index == len(offsets) or offsets[index] - offsets[index - 1] > _NEIGHBOURS:
            yield offsets[begin:index]
            begin = index


def read_settings(brokers: Brokers) -> dict[str, Any]:
    """What every client that reads has in common; no deserialisers, for one that raises would block its partition."""
    return {
        **brokers.client_settings(),
        "enable_auto_commit": False,
        # What is gone must be reported; any other value jumps over it in silence.
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "max_partition_fetch_bytes": 1 << 20,
        "fetch_max_bytes": 16 << 20,
    }


def to_records(partition: int, fetched: Iterable[Any]) -> list[Record]:
    """Our records for aiokafka's; in the hot path."""
    return [
        Record(
            partition,
            found.offset,
            found.key,
            found.value,
            _headers(found.headers) if found.headers else (),
            found.timestamp * 1000,
        )
        for found in fetched
    ]


def _headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes], ...]:
    """Kafka's headers, whose values may be null."""
    return tuple((name, value or b"") for name, value in headers)
