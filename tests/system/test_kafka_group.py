"""Processes that share a topic: they join, leave, die and come back as zombies, and every record counts once.

What decides is compare-and-set in the store; how the group behaves only spares it work, and everybody time.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

from monitor.events.model import Entry
from monitor.journal import Consumer, Journal, Place
from monitor.journal.kafka import consumer as kafka_consumer
from monitor.journal.kafka import membership
from tests.contracts.journal_contract import from_the_start, numbered, places, poll_until
from tests.support.kafka import Kafka
from tests.support.kafka_members import Ledger, Member, Taken
from tests.support.kafka_topics import QUICK, opened
from tests.support.service import eventually

PARTITIONS = 6

SILENCE_S = 4.0
"""Shorter than in earnest, and longer than what holds a process up on a busy machine."""


class Group:
    """A topic under load, the members that share it, and their ledger."""

    def __init__(self, journal: Journal, url: str, ledger: Ledger, members: ExitStack) -> None:
        self.journal, self.ledger = journal, ledger
        self.appended: list[Place] = []
        self._url, self._members = url, members
        self._name = uuid.uuid4().hex
        self.is_fed = True

    def member(self, name: str, silence_s: float = SILENCE_S) -> Member:
        """A new process, running."""
        return self._members.enter_context(Member(self._url, self._name, self.ledger, name, silence_s=silence_s))

    async def feed(self) -> None:
        """Append until told to stop, in portions of any size."""
        chance = random.Random(7)
        while self.is_fed:
            entries = numbered(chance.randint(1, 40), first=len(self.appended))
            self.appended += await self.journal.append(entries)
            await asyncio.sleep(0.01)  # the pace of the load

    async def until_they_read(self, *names: str) -> None:
        """Return when exactly these members share what comes in from now on."""
        begun_us = time.time_ns() // 1000

        async def they_do() -> bool:
            nonlocal begun_us
            fresh = [it for it in await asyncio.to_thread(self.ledger.taken) if it.taken_us > begun_us]
            readers = {it.member for it in fresh}
            if readers - set(names):
                begun_us = time.time_ns() // 1000
            return readers == set(names) and {it.place.partition for it in fresh} == set(range(PARTITIONS))

        await eventually(they_do, what=lambda: f"{names} do not share the partitions")

    async def settled(self) -> list[Taken]:
        """Everything that was taken, once that is everything."""

        async def is_all() -> bool:
            return sum(self.ledger.offsets().values()) == len(self.appended)

        await eventually(is_all)
        taken = self.ledger.taken()
        assert [it.place for it in taken] == sorted(self.appended)
        return taken


@asynccontextmanager
async def group(kafka: Kafka, folder: Path) -> AsyncIterator[Group]:
    """A group without members; the load ends with the block, and all of it must have been taken once."""
    topic = await kafka.create_topic(partitions=PARTITIONS)
    url = f"kafka://{kafka.bootstrap}/{topic}"
    with ExitStack() as members:
        async with opened(kafka, topic) as journal:
            here = Group(journal, url, Ledger.made(folder / "ledger.db", PARTITIONS), members)
            feeding = asyncio.create_task(here.feed())
            try:
                yield here
            finally:
                here.is_fed = False
                await feeding
            await here.settled()


async def test_members_come_and_go(kafka: Kafka, tmp_path: Path) -> None:
    """One, two, three, two, one: each takes its share, and nobody works in vain, for what is in hand is finished."""
    async with group(kafka, tmp_path) as here:
        members = {}
        for name in ("a", "b", "c"):
            members[name] = here.member(name, silence_s=60.0)  # nobody dies
            await here.until_they_read(*members)
        for name in ("b", "a"):
            assert await members.pop(name).leave() == 0
            await here.until_they_read(*members)
    assert here.ledger.refused() == {}


async def test_dead_member_is_replaced_when_it_has_been_silent(kafka: Kafka, tmp_path: Path) -> None:
    """SIGKILL, twice: its partitions stand still for the time of silence, and not for a minute."""
    async with group(kafka, tmp_path) as here:
        here.member("survivor")
        for name in ("first", "second"):
            member = here.member(name)
            await here.until_they_read("survivor", name)
            member.kill()
            await here.until_they_read("survivor")


async def test_zombie_changes_nothing(kafka: Kafka, tmp_path: Path) -> None:
    """Frozen until others have its partitions, then thawed in the middle of its work: it finds out, and joins again."""
    async with group(kafka, tmp_path) as here:
        here.member("survivor")
        zombies = [here.member("zombie 1"), here.member("zombie 2")]
        for _ in range(2):
            await here.until_they_read("survivor", "zombie 1", "zombie 2")
            with here.ledger.hanging():  # whoever froze inside a transaction would take the ledger along
                for zombie in zombies:
                    zombie.pause()
            await here.until_they_read("survivor")
            for zombie in zombies:
                zombie.resume()
        await here.until_they_read("survivor", "zombie 1", "zombie 2")


async def test_store_that_hangs_costs_neither_membership_nor_memory(kafka: Kafka, tmp_path: Path) -> None:
    """For longer than anybody may be silent, while much comes in: afterwards all go on with what they had in hand."""
    async with group(kafka, tmp_path) as here:
        members = [here.member("a"), here.member("b")]
        await here.until_they_read("a", "b")
        before = [member.resident_bytes for member in members]
        with here.ledger.hanging():
            begun_s = time.monotonic()
            chance = random.Random(7)
            for _ in range(16):
                large = [Entry(b"exec_%d" % number, chance.randbytes(100_000)) for number in range(100)]
                here.appended += await here.journal.append(large)
            await eventually(lambda: asyncio.sleep(0, time.monotonic() - begun_s > 2 * SILENCE_S))
            grown = [member.resident_bytes - was for member, was in zip(members, before, strict=True)]
        # A fetch from a broker is 16 MiB at most; half of what came in is 80 MB.
        assert max(grown) < 60_000_000
        await here.until_they_read("a", "b")
    assert here.ledger.refused() == {}


# --- one process -----------------------------------------------------------------------------------------------------


class Worker:
    """A caller of a consumer that takes records as long as it is told to."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.taken: list[Place] = []
        self._working: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._working = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._working
        self._working.cancel()
        await asyncio.wait([self._working])
        assert self._working.cancelled(), self._working.exception()

    async def _work(self) -> None:
        while True:
            self.taken += places(await self.consumer.poll(100, 0.2))


async def test_batch_in_hand_is_finished_before_its_partitions_go(kafka: Kafka) -> None:
    """A newcomer asks the store where to begin when that has all that was read before."""
    topic = await kafka.create_topic(partitions=2)
    stored, asked = {0: 0, 1: 0}, asyncio.Event()

    async def find_offsets(partitions: Collection[int]) -> Mapping[int, int]:
        if partitions:
            asked.set()
        return {partition: stored[partition] for partition in partitions}

    async with opened(kafka, topic) as first, opened(kafka, topic) as second:
        appended = await first.append(numbered(100))
        one = await first.consumer(find_offsets)
        in_hand = await poll_until(one, 100)
        asked.clear()
        async with Worker(await second.consumer(find_offsets)) as two:
            await until(lambda: not one.assigned)
            with pytest.raises(TimeoutError):  # it is not given anything
                await asyncio.wait_for(asked.wait(), 2.0)
            stored |= {place.partition: place.offset + 1 for place in sorted(places(in_hand))}
            async with Worker(one) as again:
                await until(lambda: len(one.assigned) == len(two.consumer.assigned) == 1)
                appended += await first.append(numbered(100, first=100))
                await until(lambda: len(two.taken) + len(again.taken) >= 100)
            assert sorted(places(in_hand) + two.taken + again.taken) == sorted(appended)


async def test_batch_that_is_never_finished_holds_nobody_up_for_long(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that hangs: the others go on, and what decides about its batch is the store."""
    monkeypatch.setattr(membership, "_FINISH_LIMIT_S", 1.0)
    topic = await kafka.create_topic(partitions=2)
    async with opened(kafka, topic) as first, opened(kafka, topic) as second:
        appended = await first.append(numbered(100))
        one = await first.consumer(from_the_start)
        await poll_until(one, 100)
        async with Worker(await second.consumer(from_the_start)) as two:
            await until(lambda: len(one.assigned) == len(two.consumer.assigned) == 1)
            mine = [place for place in appended if place.partition in two.consumer.assigned]
            await until(lambda: len(two.taken) >= len(mine))
            assert sorted(two.taken) == sorted(mine)


async def test_slow_store_costs_no_membership(kafka: Kafka) -> None:
    """A batch that takes three times as long as silence may last: the group hears of life, and leaves all as it is."""
    topic = await kafka.create_topic(partitions=2)
    patience = replace(QUICK, silence_s=3.0)
    async with (
        opened(kafka, topic, patience=patience) as first,
        opened(kafka, topic, patience=patience) as second,
        Worker(await second.consumer(from_the_start)) as two,
    ):
        one = await first.consumer(from_the_start)
        while not len(one.assigned) == len(two.consumer.assigned) == 1:
            await one.poll(100, 0.2)
        await first.append(numbered(40))
        await poll_until(one, 1)
        before = one.assigned, one.turnover, two.consumer.turnover
        begun_s = time.monotonic()
        written = 40
        while time.monotonic() - begun_s < 3 * patience.silence_s:
            await first.append(numbered(10, first=written))
            written += 10
            await asyncio.sleep(0.02)  # the pace of the load
        assert (one.assigned, one.turnover, two.consumer.turnover) == before
        [partition] = one.assigned
        async with Worker(one) as again:
            await until(lambda: one.reached[partition] >= len(again.taken) > 0)
        assert len(again.taken) == len(set(again.taken))


async def test_member_that_is_given_nothing_comes_anew(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody in the group never answers: whoever waits for it is rebuilt, and reads when that one is gone."""
    monkeypatch.setattr(kafka_consumer, "REBALANCE_LIMIT_S", 1.0)
    topic, name = await kafka.create_topic(partitions=2), uuid.uuid4().hex
    never = asyncio.Event()

    class Deaf(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
        async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
            if revoked:
                await never.wait()

        async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
            pass

    deaf = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=name, rebalance_timeout_ms=600_000)
    async with opened(kafka, topic, group=name, patience=replace(QUICK, look_s=0.5)) as journal, deaf:
        deaf.subscribe([topic], listener=Deaf())
        await until(lambda: len(deaf.assignment()) == 2)
        appended = await journal.append(numbered(20))
        async with Worker(await journal.consumer(from_the_start)) as worker:
            await until(lambda: worker.consumer.turnover.rebuilds >= 1)
            assert worker.taken == []
            never.set()
            await deaf.stop()
            await until(lambda: len(worker.taken) >= 20)
            assert set(worker.taken) == set(appended)  # again after each change, for nobody stores how far it is


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""

    async def it_does() -> bool:
        return condition()

    await eventually(it_does)
