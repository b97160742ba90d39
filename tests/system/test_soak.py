"""Soak: five hundred clients that stall, change their minds and lose their connections, while the service is restarted.

Everything is counted: what each client was told is held against the journal, event by event.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from monitor.access.positions import open_position
from monitor.access.sealing import Sealer, load_key
from monitor.clock import SystemClock
from monitor.events.model import Entry
from monitor.journal import open_kafka_journal, open_sqlite_journal
from monitor.journal.base import Journal
from tests.support.kafka import Kafka
from tests.support.kafka_topics import opened
from tests.support.service import Service, eventually
from tests.support.soak.agenda import Act, Agenda, misbehaviour
from tests.support.soak.asking import every_execution, lines_left_out
from tests.support.soak.client import Client
from tests.support.soak.crowd import crowd
from tests.support.soak.judgement import Judge, Verdict
from tests.support.soak.telling import Told, batches, closing
from tests.support.soak.truth import read_truth

SEED = 20261122


class Size(NamedTuple):
    """How much is soaked."""

    clients: int
    events: int
    # Clean restarts of the service, and as many kills.
    restarts: int


FULL, LONG = Size(500, 22_000, 1), Size(500, 1_000_000, 10)
"""The journal of the smaller one is just long enough that somebody who slept is told of a gap."""

FEWER = Size(150, 8000, 1)
"""Enough to meet every order of three partitions; what more of everything shows is shown without Kafka."""

SLEEPERS = 5
"""Clients that go away early and come back so late that the journal is too long for them."""

PACE_BATCHES = 10
"""After so many the service must have everything; without it, a restart would be over before it is noticed."""

PAUSE_S = 0.3
"""Between two batches while clients come back."""

SETTLED_WITHIN_S = 180.0
SHOWN = 20
"""Of the complaints of a run that failed."""

# A million events take a while.
pytestmark = pytest.mark.timeout(7200)

Feed = Callable[[list[Entry]], Awaitable[Any]]


async def test_five_hundred_clients_miss_nothing(tmp_path: Path, long_form: bool) -> None:
    """No lifecycle event is missed, comes twice or out of order, unless a frame says so; each view ends as REST's."""
    service = Service(tmp_path / "data")
    async with service.client() as client:
        soak = Soak(service, posting(client), LONG if long_form else FULL)
        await soak.run()
    journal = await open_sqlite_journal(service.data / "journal.db", clock=SystemClock())
    await soak.judge(journal)


async def test_clients_of_a_service_on_kafka_miss_nothing(tmp_path: Path, kafka: Kafka, long_form: bool) -> None:
    """The same over three partitions, whose records come in another order after each start."""
    topic = await kafka.create_topic(partitions=3)
    url = f"kafka://{kafka.bootstrap}/{topic}"
    service = Service(tmp_path / "data", journal=url)
    async with opened(kafka, topic, group="load") as load:
        soak = Soak(service, keeping_pace(load.append, service), LONG if long_form else FEWER)
        await soak.run()
    await soak.judge(await open_kafka_journal(url, clock=SystemClock(), group="check"))


class Soak:
    """One run, and what is to be said about it."""

    def __init__(self, service: Service, feed: Feed, size: Size) -> None:
        self.service, self._feed, self._size = service, feed, size
        self.told = Told()
        self._clients = crowd([service.port], self.told, size.clients, SEED)
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._lines_at: dict[str, set[int]] = {}
        self._settled = 0
        self._restarts: list[asyncio.Task[None]] = []
        self._turn, self._all_are_back = asyncio.Lock(), asyncio.Event()
        self._all_are_back.set()

    async def run(self) -> None:
        """Tell everything, and let every client read to the end."""
        self.service.launch()
        try:
            await self.service.ready()
            for client in self._clients:
                client.connect()
            await self._all(lambda client: client.is_settled, "connected")
            await self._load()
            await self._close()
            await self._ask()
            await self._leave()
            assert await self.service.stop() == 0
        finally:
            await self._leave()
            self.service.close()

    async def _leave(self) -> None:
        await asyncio.gather(*(client.leave() for client in self._clients))

    async def _load(self) -> None:
        events, chance = self._size.events, random.Random(SEED)
        density = events // FULL.events or 1
        agenda = Agenda([*misbehaviour(self._clients[SLEEPERS:], events, density, chance), *self._plan(events)])
        for batch in batches(SEED, self.told, events):
            agenda.perform(self.told.count)
            await self._feed(batch)
            await self._breathe()
        agenda.perform()
        await asyncio.gather(*self._restarts)
        print(f"acts: {counted(agenda.counts)}")

    def _plan(self, events: int) -> Iterator[Act]:
        """The service's own part, and that of the sleepers, who miss more than anybody may read in the end."""
        for client in self._clients[:SLEEPERS]:
            yield Act(events // 100, 0, "sleep", client.go_away)
            yield Act(events * 98 // 100, 0, "", client.connect)
        number = self._size.restarts
        for restart in range(number):
            begin = events * restart // number
            yield Act(begin + events * 40 // 100 // number, 0, "clean restart", lambda: self._restart(drained))
            yield Act(begin + events * 96 // 100 // number, 0, "kill", lambda: self._restart(killed))

    def _restart(self, how: Callable[[Service], Awaitable[None]]) -> None:
        self._restarts.append(asyncio.create_task(self._restarted(how)))

    async def _restarted(self, how: Callable[[Service], Awaitable[None]]) -> None:
        async with self._turn:
            self._all_are_back.clear()
            await how(self.service)
            await self._all(lambda client: client.is_settled or client.is_away or client.is_stalled, "back")
            self._all_are_back.set()

    async def _breathe(self) -> None:
        """While clients come back after a restart, tell less: at full speed they would only fall further behind."""
        try:
            async with asyncio.timeout(PAUSE_S):
                await self._all_are_back.wait()
        except TimeoutError:
            pass

    async def _close(self) -> None:
        """Once everybody is connected again and everything released, tell the last event of each workflow."""
        await self.service.caught_up(SETTLED_WITHIN_S)
        await self._all(lambda client: client.is_settled, "settled")
        self._settled = self.told.count
        await self._feed(closing(self.told))
        await self._all(lambda client: client.has_closed, "at the end")

    async def _all(self, is_so: Callable[[Client], bool], what: str) -> None:
        """Return when it was so of each client; some lose their connections again while others come back."""
        left = list(self._clients)

        async def holds() -> bool:
            left[:] = [client for client in left if not is_so(client)]
            return not left

        def others() -> str:
            return f"{len(left)} clients are not {what} (seed {SEED}), such as {left[:3]}"

        await eventually(holds, within_s=SETTLED_WITHIN_S, what=others)

    async def _ask(self) -> None:
        """Ask REST how everything ended, and for the log lines that streams left out."""
        async with self.service.client() as client:
            self._answers = await every_execution(client)
            self._lines_at = await lines_left_out(client, self._clients, self.told)

    async def judge(self, journal: Journal) -> None:
        """Hold every client against the journal, which is closed in the end."""
        try:
            truth = await read_truth(journal, self.told)
        finally:
            await journal.close()
        assert truth.never_stored == []
        sealer = Sealer(load_key(self.service.data / "key"))
        judge = Judge(
            truth,
            lambda token: open_position(sealer, token),
            lines_at=self._lines_at,
            answers=self._answers,
            end=truth.end_of(self._settled, journal.incarnation, journal.partitions),
        )
        verdict = Verdict()
        for client in self._clients:
            verdict += judge.judge(client)
        print(f"{self.told.count} events, {len(self._answers)} executions, {len(self._clients)} clients")
        print(counted(verdict.counts))
        told = "\n".join(verdict.complaints[:SHOWN])
        assert not verdict.complaints, f"seed {SEED}: {len(verdict.complaints)} complaints\n{told}"


# --- parts -----------------------------------------------------------------------------------------------------------


async def drained(service: Service) -> None:
    """SIGTERM, and a new start."""
    assert await service.stop() == 0
    service.launch()
    await service.ready()


async def killed(service: Service) -> None:
    """SIGKILL, and a new start."""
    service.kill()
    service.launch()
    await service.ready()


def posting(client: httpx.AsyncClient) -> Feed:
    """Posts a batch until it is acknowledged, as a careful producer does."""

    async def post(batch: list[Entry]) -> None:
        body = b"\n".join(entry.value for entry in batch)

        async def is_acknowledged() -> bool:
            try:
                answer = await client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
            except httpx.TransportError:
                return False
            return answer.status_code == 200

        await eventually(is_acknowledged, within_s=SETTLED_WITHIN_S)

    return post


def keeping_pace(append: Feed, service: Service) -> Feed:
    """Appends to a journal of others, which takes everything at once, no faster than the service follows."""
    batches = count(1)

    async def feed(batch: list[Entry]) -> None:
        await append(batch)
        if next(batches) % PACE_BATCHES == 0:
            await service.caught_up()

    return feed


def counted(counts: Counter[str]) -> str:
    """For people."""
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()) if name and number)
