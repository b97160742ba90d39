"""Following a consumer group's assignment, with the store's offsets and not the group's.

aiokafka changes assignments, positions and buffers in the background and does not say so in time. What keeps the port's
promises is one map, `_readings`: the expected offset of each partition that was assigned and sought. Every record is
held against it in `poll`, where nothing runs in between. The rest repairs: `_settle` after a rebalance, `_examine` when
a batch begins elsewhere, `_attend` beside it all when the client has silently stopped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from monitor.clock import Clock
from monitor.errors import JournalError, JournalUnavailable, RetentionCut
from monitor.events.model import Record
from monitor.journal.base import FindOffsets, Turnover
from monitor.journal.kafka import lifetime
from monitor.journal.kafka.membership import REBALANCE_LIMIT_S, SILENCE_LIMIT_S, Membership
from monitor.journal.kafka.reader import KafkaReader, to_records
from monitor.journal.kafka.reading import Reading, Trust

_log = structlog.get_logger(__name__)

# One wait for records; between two the assignment is looked at, so that a rebalance is settled at once.
_SLICE_S: Final = 0.1

_COMMIT_LIMIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long trouble may last, in seconds."""

    # Records are there and none arrives: the client is rebuilt.
    stalled_s: float = 30.0
    # Kafka does not answer or does not let us in: `poll` says so.
    lost_s: float = 30.0
    # Between two looks, and between two commits of group offsets, which feed lag dashboards only.
    look_s: float = 1.0
    # Between two questions whether the topic is still the same one: when it was recreated under a running consumer and
    # has outgrown its offset, nothing but its id shows it.
    life_s: float = 10.0
    # A member of the group that says nothing for so long is taken for dead, and its partitions are given to others.
    silence_s: float = SILENCE_LIMIT_S


class KafkaConsumer:
    """Implements the Consumer port; made by the journal. `check_life` raises IncarnationChanged."""

    def __init__(
        self,
        topic: str,
        membership: Membership,
        reader: KafkaReader,
        find_offsets: FindOffsets,
        check_life: Callable[[], Awaitable[None]],
        *,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._topic = topic
        self._membership = membership
        self._reader = reader
        self._find_offsets = find_offsets
        self._check_life = check_life
        self._clock = clock
        self._patience = patience
        self._readings: dict[int, Reading] = {}
        # The membership's generation that `_readings` belong to.
        self._generation = -1
        # Partitions whose last batch did not begin where it should.
        self._elsewhere: set[int] = set()
        # Offsets below which the caller has come back for more, for the group's lag.
        self._done: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._commit: asyncio.Task[None] | None = None
        self._progress_s = self._polled_s = self._life_checked_s = clock.monotonic_s()
        self._trouble: Exception | None = None
        self._trouble_since_s = 0.0
        self._failed = asyncio.Event()
        self._closed = False
        self._attendant = asyncio.create_task(self._attend(), name="kafka consumer attendant")

    # Reading

    async def poll(self, max_records: int, wait_s: float) -> Sequence[Record]:
        self._membership.has(in_hand=False)
        self._done = {partition: reading.expected for partition, reading in self._readings.items()}
        now_s = self._clock.monotonic_s()
        if now_s - self._polled_s > self._patience.look_s:
            self._progress_s = now_s  # whoever did not ask has not starved
        deadline_s = now_s + wait_s
        while not self._closed:
            lifetime.heed_cancellation()
            if self._attendant.done():
                self._attendant.result()  # raises what it ended with: the topic is another one
            self._polled_s = self._clock.monotonic_s()
            remaining_s = max(0.0, deadline_s - self._polled_s)
            records = await self._poll_once(max_records, min(remaining_s, _SLICE_S))
            if records:
                self._membership.has(in_hand=True)
                return records
            self._raise_lasting_trouble()
            if not remaining_s:
                break
        return []

    async def _poll_once(self, max_records: int, wait_s: float) -> Sequence[Record]:
        from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError  # noqa: PLC0415

        client = self._membership.client
        if client is None:
            await asyncio.sleep(wait_s)
            return []
        try:
            await self._settle(client)
            await self._examine(client)
            # A limit of our own, for during a rebalance `getmany` waits without one.
            async with asyncio.timeout(wait_s + _SLICE_S):
                fetched = await client.getmany(timeout_ms=int(wait_s * 1000), max_records=max_records)
        except (TimeoutError, NoOffsetForPartitionError):
            return []  # the group's own offsets are not used, so it does not matter that there are none
        except OffsetOutOfRangeError as error:
            self._elsewhere |= {place.partition for place in error.args[0]}
            return []
        except JournalUnavailable as error:
            self._note_trouble(error)
            await asyncio.sleep(wait_s)
            return []
        except KafkaError as error:
            self._fail(error)
            return []
        lifetime.heed_cancellation()
        return self._accept(fetched)

    def _accept(self, fetched: Mapping[Any, Sequence[Any]]) -> list[Record]:
        """What of the fetched records is expected. No await from here to the caller: cancelled, nothing has moved."""
        records: list[Record] = []
        if self._generation != self._membership.generation:
            return records  # fetched before a rebalance that has just happened
        for place, found in fetched.items():
            reading = self._readings.get(place.partition)
            if reading is None:
                continue
            if reading.accepts(found[0].offset):
                records += to_records(place.partition, found)
                reading.went_on_to(found[-1].offset + 1)
            elif reading.trust is not Trust.CUT:
                self._elsewhere.add(place.partition)
        if records:
            self._note_progress()
        return records

    # Standing in the right place

    async def _settle(self, client: Any) -> None:
        """After a change of the assignment: ask the store where to go on, and go there."""
        while self._generation != (generation := self._membership.generation):
            partitions = self._membership.assigned
            self._readings.clear()
            self._elsewhere.clear()
            if self._membership.is_settled:
                await self._check_life()
                offsets = await self._find_offsets(partitions)
                if generation != self._membership.generation:
                    continue
                for partition in partitions - offsets.keys():
                    self._leave_out(client, partition)
                for partition, offset in offsets.items():
                    self._go_to(client, partition, offset)
            self._generation = generation

    async def _examine(self, client: Any) -> None:
        """Find out why batches do not begin where they should: a cut, another log, or a seek that was overtaken."""
        if not self._elsewhere:
            return
        bounds = await self._reader.bounds()
        while self._elsewhere:
            partition = self._elsewhere.pop()
            reading = self._readings.get(partition)
            # What was fetched before it stood still may say so once more.
            if reading and reading.trust is not Trust.CUT:
                start, end = bounds[partition]
                if reading.expected < start:
                    self._stand_still(client, partition)
                    raise RetentionCut(partition, reading.expected, start)
                if reading.expected > end:
                    self._elsewhere.add(partition)
                    await self._explain_missing_end(partition, reading.expected, end)
                self._go_to(client, partition, reading.expected, Trust.SOUGHT_AGAIN)

    async def _explain_missing_end(self, partition: int, expected: int, end: int) -> None:
        await self._check_life()
        raise JournalError(
            f"partition {partition} of topic {self._topic} ends at {end}, but records up to {expected - 1} were read: "
            "the topic was truncated (an unclean leader election, or a broker restored from an older copy)"
        )

    def _go_to(self, client: Any, partition: int, offset: int, trust: Trust = Trust.SOUGHT) -> None:
        from aiokafka import TopicPartition  # noqa: PLC0415
        from aiokafka.errors import IllegalStateError  # noqa: PLC0415

        place = TopicPartition(self._topic, partition)
        try:
            client.seek(place, offset)
            client.resume(place)
        except IllegalStateError:
            return  # lost meanwhile; whoever has it now settles it
        self._readings[partition] = Reading(offset, trust)

    def _stand_still(self, client: Any, partition: int) -> None:
        from aiokafka import TopicPartition  # noqa: PLC0415

        self._readings[partition].trust = Trust.CUT
        if partition in self._membership.assigned:
            client.pause(TopicPartition(self._topic, partition))

    def _leave_out(self, client: Any, partition: int) -> None:
        """Read nothing of a partition until the next reload: it was not said where to go on."""
        from aiokafka import TopicPartition  # noqa: PLC0415

        if partition in self._membership.assigned:
            place = TopicPartition(self._topic, partition)
            # Somewhere a client must stand, or it asks the group where.
            client.seek(place, 0)
            client.pause(place)

    async def reload(self) -> None:
        self._membership.has(in_hand=False)
        self._generation = -1
        if self._membership.client:
            await self._settle(self._membership.client)

    @property
    def assigned(self) -> frozenset[int]:
        return self._membership.assigned

    @property
    def reached(self) -> Mapping[int, int]:
        return {partition: reading.reached for partition, reading in self._readings.items()}

    @property
    def turnover(self) -> Turnover:
        return Turnover(self._membership.rebalances, self._membership.rebuilds)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        tasks = [task for task in (self._attendant, self._commit) if task]
        for task in tasks:
            task.cancel()
        # The attendant may have ended with what `poll` raised, or was about to.
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._membership.leave()

    # Beside it all

    async def _attend(self) -> None:
        """Keep a client in the group, look after it, and let the group know how far we are."""
        from aiokafka.errors import KafkaError  # noqa: PLC0415

        while not self._closed:
            try:
                if self._membership.client is None:
                    await self._membership.join()
                    self._progress_s = self._clock.monotonic_s()
                await self._wait_for_look()
                self._commit_group_offsets()
                await self._look()
            except (KafkaError, JournalUnavailable, TimeoutError) as error:
                self._note_trouble(error)

    async def _wait_for_look(self) -> None:
        try:
            async with asyncio.timeout(self._patience.look_s):
                await self._failed.wait()
        except TimeoutError:
            return
        self._failed.clear()

    async def _look(self) -> None:
        """Rebuild a client that has stopped working; notice a topic that is another one now."""
        now_s = self._clock.monotonic_s()
        if now_s - self._life_checked_s > self._patience.life_s:
            await self._check_life()
            self._life_checked_s = now_s
        client = self._membership.client
        if client is None or now_s - self._polled_s > 2 * self._patience.look_s:
            return  # nobody asks for records, so none is missed
        starving_s = now_s - self._progress_s
        if not self._membership.is_settled:
            if starving_s > self._patience.stalled_s + REBALANCE_LIMIT_S:
                self._fail(TimeoutError("the group does not assign anything"))
        elif not await self._is_behind(client):
            self._note_progress()
        elif starving_s > self._patience.stalled_s:
            self._fail(TimeoutError("records are there and none arrives"))

    async def _is_behind(self, client: Any) -> bool:
        """Whether records are there that the client has not given us; markers at the end are none."""
        from aiokafka import TopicPartition  # noqa: PLC0415

        bounds = await self._reader.bounds()
        for partition, reading in list(self._readings.items()):
            if reading.trust is not Trust.CUT:
                async with asyncio.timeout(self._patience.look_s):
                    reading.position = await client.position(TopicPartition(self._topic, partition))
                if reading.position < bounds[partition].end:
                    return True
        return False

    def _commit_group_offsets(self) -> None:
        """Begin to tell the group how far we are, unless it is still being told; nobody waits for it."""
        client = self._membership.client if self._membership.group and not self._trouble else None
        if client is not None and self._done != self._committed and (self._commit is None or self._commit.done()):
            self._commit = asyncio.create_task(self._commit_done(client), name="kafka consumer commits")

    async def _commit_done(self, client: Any) -> None:
        from aiokafka import TopicPartition  # noqa: PLC0415
        from aiokafka.errors import KafkaError  # noqa: PLC0415

        done = self._done
        try:
            # A limit of our own, for the client tries again without one, and says so each time.
            async with asyncio.timeout(_COMMIT_LIMIT_S):
                await client.commit({TopicPartition(self._topic, partition): done[partition] for partition in done})
        except (KafkaError, TimeoutError) as error:
            # Usually a rebalance came first. The truth is in the store, so nothing hangs on it.
            _log.debug("group offsets not committed", topic=self._topic, error=repr(error))
        else:
            self._committed = done

    # Trouble

    def _note_progress(self) -> None:
        self._progress_s = self._clock.monotonic_s()
        self._trouble = None
        self._membership.works()

    def _note_trouble(self, error: Exception) -> None:
        if self._trouble is None:
            self._trouble_since_s = self._clock.monotonic_s()
        self._trouble = error

    def _fail(self, error: Exception) -> None:
        """The present client is of no use any more; the attendant brings another."""
        _log.warning("kafka consumer failed and is rebuilt", topic=self._topic, error=repr(error))
        self._note_trouble(error)
        self._membership.abandon()
        self._failed.set()

    def _raise_lasting_trouble(self) -> None:
        if self._trouble and self._clock.monotonic_s() - self._trouble_since_s > self._patience.lost_s:
            raise JournalUnavailable(
                f"Kafka has not been of use for {self._patience.lost_s:g} s: {self._trouble!r}."
            ) from self._trouble
