"""Every journal driver keeps the promises of the port."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from monitor.clock import SystemClock
from monitor.journal import Journal, MemoryJournal, open_kafka_journal, open_sqlite_journal
from tests.contracts.journal_contract import DurableJournalContract, Forget, JournalContract, Reopen
from tests.support.kafka import Kafka


@pytest.fixture(params=[1, 3], ids=["one partition", "three partitions"])
def partitions(request: pytest.FixtureRequest) -> int:
    """Both shapes of a log."""
    return int(request.param)


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def journal(self, partitions: int) -> MemoryJournal:
        return MemoryJournal(partitions, clock=SystemClock())

    @pytest.fixture
    def forget(self, journal: Journal) -> Forget:
        return journal.trim

    def test_it_believes_its_own_headers(self, journal: Journal) -> None:
        """Nobody else can append to it."""
        assert journal.exclusive is True


class TestSQLiteJournal(DurableJournalContract):
    @pytest.fixture
    async def journal(self, tmp_path: Path, partitions: int) -> AsyncIterator[Journal]:
        journal = await open_sqlite_journal(tmp_path / "journal.db", clock=SystemClock(), partitions=partitions)
        yield journal
        await journal.close()

    @pytest.fixture
    def forget(self, journal: Journal) -> Forget:
        return journal.trim

    @pytest.fixture
    async def reopen(self, tmp_path: Path, partitions: int) -> AsyncIterator[Reopen]:
        reopened: list[Journal] = []

        async def reopen() -> Journal:
            path = tmp_path / "journal.db"
            reopened.append(await open_sqlite_journal(path, clock=SystemClock(), partitions=partitions))
            return reopened[-1]

        yield reopen
        for journal in reopened:
            await journal.close()

    def test_it_believes_its_own_headers(self, journal: Journal) -> None:
        """Nobody else can append to it."""
        assert journal.exclusive is True


class TestKafkaJournal(DurableJournalContract):
    @pytest.fixture
    async def url(self, kafka: Kafka) -> str:
        return f"kafka://{kafka.bootstrap}/test-{uuid.uuid4().hex}"

    @pytest.fixture
    def group(self, url: str) -> str:
        """As nobody else's."""
        return url.rpartition("/")[2]

    @pytest.fixture
    async def journal(self, url: str, group: str, partitions: int) -> AsyncIterator[Journal]:
        journal = await open_kafka_journal(url, clock=SystemClock(), group=group, partitions=partitions)
        yield journal
        await journal.close()

    @pytest.fixture
    def forget(self, kafka: Kafka, url: str) -> Forget:
        async def forget(partition: int, before: int) -> None:
            place = TopicPartition(url.rpartition("/")[2], partition)
            async with kafka.admin() as admin:
                await admin.delete_records({place: RecordsToDelete(before)})

        return forget

    @pytest.fixture
    async def reopen(self, url: str, group: str) -> AsyncIterator[Reopen]:
        reopened: list[Journal] = []

        async def reopen() -> Journal:
            reopened.append(await open_kafka_journal(url, clock=SystemClock(), group=group, create=False))
            return reopened[-1]

        yield reopen
        for journal in reopened:
            await journal.close()

    def test_it_does_not_believe_headers(self, journal: Journal) -> None:
        """Whoever reaches the brokers can write them."""
        assert journal.exclusive is False
