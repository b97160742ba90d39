"""The SQLite journal shares commits, keeps its file whole and says clearly what is wrong with it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.errors import DataFolderUnusable, JournalError, JournalMismatch, JournalUnavailable, StartupError
from monitor.events.model import Entry
from monitor.journal import Bounds, Journal, open_sqlite_journal
from monitor.journal.sqlite import SQLiteJournal
from tests.contracts.journal_contract import numbered, read_all
from tests.support.server import until


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SQLiteJournal]:
    """A new journal on disk."""
    journal = await open_sqlite_journal(tmp_path / "journal.db", clock=SystemClock())
    yield journal
    await journal.close()


async def open_at(path: Path, partitions: int = 1) -> Journal:
    """The journal at `path`; the errors of opening are under test."""
    return await open_sqlite_journal(path, clock=SystemClock(), partitions=partitions)


async def test_appends_of_the_moment_share_a_commit(journal: SQLiteJournal) -> None:
    """A thousand concurrent appends take a few commits: the first, and those that gathered meanwhile."""
    statements: list[str] = []
    journal._writer.set_trace_callback(statements.append)
    await asyncio.gather(*(journal.append([entry]) for entry in numbered(1000)))
    assert 1 <= statements.count("COMMIT") <= 5
    assert (await journal.bounds())[0] == Bounds(0, 1000)


async def test_append_is_synced_before_it_is_acknowledged(journal: SQLiteJournal) -> None:
    """WAL with synchronous=FULL: the fsync belongs to the commit."""
    assert journal._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._writer.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_people_can_read_the_table(journal: SQLiteJournal, tmp_path: Path) -> None:
    """Partition and offset are columns of their own for whoever looks with a shell."""
    await journal.append(numbered(3))
    connection = sqlite3.connect(tmp_path / "journal.db")
    rows = connection.execute('SELECT partition, "offset", key, value FROM records').fetchall()
    connection.close()
    assert rows[2] == (0, 2, b"exec_2", b'{"n":2}')


async def test_full_disk_is_unavailable_and_leaves_nothing_half_done(journal: SQLiteJournal) -> None:
    """The append that does not fit is refused whole; what was there stays, and room makes it work again."""
    await journal.append(numbered(10))
    [(pages,)] = journal._writer.execute("PRAGMA page_count").fetchall()
    journal._writer.execute(f"PRAGMA max_page_count = {pages + 8}").fetchall()
    large = [Entry(b"k", b"x" * 20_000) for _ in range(20)]
    with pytest.raises(JournalUnavailable, match="full"):
        await journal.append(large)
    assert (await journal.bounds())[0] == Bounds(0, 10)
    assert len(await read_all(journal)) == 10
    journal._writer.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert [place.offset for place in await journal.append(large)] == list(range(10, 30))


async def test_too_much_at_once_is_refused(journal: SQLiteJournal) -> None:
    """Beyond 64 MiB waiting, the answer is to try again, and what was taken is stored."""
    calls = [asyncio.create_task(journal.append([Entry(b"k", b"x" * (8 << 20))])) for _ in range(12)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, JournalUnavailable)]
    assert len(refused) in range(4, 12)
    assert (await journal.bounds())[0] == Bounds(0, 12 - len(refused))


async def test_cancelled_append_counts_until_it_is_written(journal: SQLiteJournal) -> None:
    """Callers who give up while the disk hangs leave their bytes behind: the bound holds for those, too."""
    disk_answers = threading.Event()
    journal._write_thread.submit(disk_answers.wait)
    large = [Entry(b"k", b"x" * (40 << 20))]
    given_up = asyncio.create_task(journal.append(large))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    try:
        async with asyncio.timeout(60):
            with pytest.raises(JournalUnavailable, match="waiting to be written"):
                await journal.append(large)
    finally:
        disk_answers.set()
    await until(lambda: not journal._backlog.waiting_bytes)
    assert len(await journal.append(large)) == 1


async def test_large_reads_are_cut_by_bytes(journal: SQLiteJournal) -> None:
    """However many records are asked for, some 16 MiB come at a time."""
    await journal.append([Entry(b"k", b"x" * (1 << 20)) for _ in range(20)])
    first = await journal.read(0, 0, 20, 20)
    assert len(first) == 16
    assert [record.offset for record in await journal.read(0, 16, 20, 20)] == [16, 17, 18, 19]


async def test_trimming_much_lets_appends_through(journal: SQLiteJournal) -> None:
    """A trim of many records and appends beside it both come to their end."""
    await journal.append(numbered(20_000))
    trimming = asyncio.create_task(journal.trim(0, 20_000))
    await journal.append(numbered(1))
    await trimming
    assert (await journal.bounds())[0] == Bounds(20_000, 20_001)
    assert journal._writer.execute("SELECT count(*) FROM records").fetchone() == (1,)


async def test_trim_goes_neither_back_nor_beyond_the_end(journal: SQLiteJournal) -> None:
    """The start only rises, up to the end."""
    await journal.append(numbered(10))
    await journal.trim(0, 6)
    await journal.trim(0, 2)
    assert (await journal.bounds())[0] == Bounds(6, 10)
    await journal.trim(0, 1000)
    assert (await journal.bounds())[0] == Bounds(10, 10)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look" * 100, b"SQLite format 3\x00junk" * 200]
)
async def test_damaged_file_is_refused_with_the_cure(tmp_path: Path, content: bytes) -> None:
    """Garbage in place of the journal is named, and the file is left as it is."""
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    with pytest.raises(StartupError, match=r"journal\.db is damaged or no journal.*monitor restore.*move it away"):
        await open_at(path)
    assert path.read_bytes() == content


async def test_foreign_database_is_refused(tmp_path: Path) -> None:
    """Another program's database is not written into."""
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StartupError, match=r"another program's database"):
        await open_at(path)


async def test_other_version_is_refused(tmp_path: Path) -> None:
    """A file of a later layout is not guessed at."""
    path = tmp_path / "journal.db"
    await (await open_at(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    connection.commit()
    connection.close()
    with pytest.raises(StartupError, match="layout 99, this one reads 1"):
        await open_at(path)


async def test_other_number_of_partitions_is_refused(tmp_path: Path) -> None:
    """Keys would move, so the number is part of the log's life."""
    path = tmp_path / "journal.db"
    await (await open_at(path, partitions=3)).close()
    with pytest.raises(JournalMismatch, match="has 3 partition"):
        await open_at(path, partitions=4)


@pytest.mark.parametrize("folder", ["missing", "a-file", "/proc"])
async def test_folder_that_cannot_be_written_is_refused(tmp_path: Path, folder: str) -> None:
    """Not there, not a folder, not writable even for root."""
    (tmp_path / "a-file").touch()
    with pytest.raises(DataFolderUnusable, match="cannot be written"):
        await open_at(tmp_path / folder / "journal.db")


async def test_damage_found_later_is_a_journal_error(journal: SQLiteJournal, tmp_path: Path) -> None:
    """A file that turns bad under the running service is not a reason to try again."""
    await journal.append([Entry(b"k", b"x" * 4000) for _ in range(500)])
    journal._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with (tmp_path / "journal.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xde\xad\xbe\xef" * 100_000)
    for reader in journal._readers:
        reader.execute("PRAGMA shrink_memory")
    with pytest.raises(JournalError, match="malformed"):
        await read_all(journal)


async def test_journal_without_its_table_is_not_tried_again(journal: SQLiteJournal) -> None:
    """Somebody else's hands in the file: whoever waited for it to pass would wait for ever."""
    journal._writer.execute("DROP TABLE records")
    with pytest.raises(JournalError, match="no such table"):
        await journal.append([Entry(b"k", b"x")])
    with pytest.raises(JournalError, match="no such table"):
        await journal.read(0, 0, 1, 1)
