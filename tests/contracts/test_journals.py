"""Every journal driver keeps the promises of the port."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.journal import Journal, MemoryJournal, open_sqlite_journal
from tests.contracts.journal_contract import DurableJournalContract, Forget, JournalContract, Reopen


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
