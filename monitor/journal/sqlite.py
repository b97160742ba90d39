"""The embedded journal: an append-only log in one SQLite file, durable before it is acknowledged.

One thread writes (WAL, synchronous=FULL), a few read. Appends that arrive while a commit runs share the next one, so
the number of fsyncs follows the disk and not the number of callers. The file's layout is `journal/sqlite_file.py`.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeVar

from monitor.clock import Clock
from monitor.errors import JournalError, JournalUnavailable, RetentionCut
from monitor.events.model import Entry, Place, Record
from monitor.journal import sqlite_file
from monitor.journal.backlog import Backlog
from monitor.journal.base import Bounds, FindOffsets
from monitor.journal.embedded import EmbeddedConsumer, Growth
from monitor.sqlite_errors import may_pass
from monitor.sqlite_traces import wipe

_T = TypeVar("_T")

# One for the projector and one for replays; more would only contend for the interpreter lock.
_READERS: Final = 2

# Entries per commit: 10 ms of insertion, so that the first to arrive does not wait for a crowd behind it.
_COMMIT_ENTRIES: Final = 10_000

# Records deleted at a time, so that appends get their turn during a large trim.
_TRIM_RECORDS: Final = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class _Append:
    """Entries of one caller and where to tell it their places."""

    entries: Sequence[Entry]
    places: asyncio.Future[list[Place]]


class SQLiteJournal:
    """Implements the Journal port; made by `open_sqlite_journal`."""

    exclusive = True

    def __init__(self, writer: sqlite3.Connection, readers: Sequence[sqlite3.Connection], clock: Clock) -> None:
        identity = sqlite_file.identity(writer)
        self.incarnation, self.partitions = identity.incarnation, identity.partitions
        self.growth = Growth()
        self._clock = clock
        self._writer = writer
        self._readers = readers
        self._idle_readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for reader in readers:
            self._idle_readers.put(reader)
        self._write_thread = ThreadPoolExecutor(1, "journal-write")
        self._read_threads = ThreadPoolExecutor(len(readers), "journal-read")
        self._backlog = Backlog()
        self._waiting: list[_Append] = []
        self._committing: asyncio.Task[None] | None = None
        self._closed = False

    async def append(self, entries: Sequence[Entry]) -> list[Place]:
        # Shielded: what a caller leaves behind counts as waiting until it is written.
        return await asyncio.shield(self._append(entries))

    async def _append(self, entries: Sequence[Entry]) -> list[Place]:
        self._check_open()
        with self._backlog.admit(entries):
            request = _Append(entries, asyncio.get_running_loop().create_future())
            self._waiting.append(request)
            if self._committing is None:
                self._committing = asyncio.create_task(self._commit_all(), name="journal commit")
            return await request.places

    async def bounds(self) -> dict[int, Bounds]:
        return await self._reading(lambda reader: sqlite_file.bounds(reader, self.partitions))

    async def read(self, partition: int, start: int, end: int, max_records: int) -> Sequence[Record]:
        def read(reader: sqlite3.Connection) -> list[Record]:
            # Records first: what a trim takes between the two statements is then reported, never skipped.
            records = sqlite_file.read(reader, partition, start, end, max_records)
            first = sqlite_file.start_of(reader, partition)
            if start < first:
                raise RetentionCut(partition, start, first)
            return records

        return await self._reading(read)

    async def pick(self, partition: int, offsets: Sequence[int]) -> Sequence[Record]:
        return await self._reading(lambda reader: sqlite_file.pick(reader, partition, offsets))

    async def consumer(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
        consumer = EmbeddedConsumer(self, find_offsets, self._clock)
        await consumer.reload()
        return consumer

    async def tail(self, find_offsets: FindOffsets) -> EmbeddedConsumer:
        return await self.consumer(find_offsets)

    async def trim(self, partition: int, before: int) -> None:
        self._check_open()
        await self._writing(lambda writer: sqlite_file.raise_start(writer, partition, before))
        while await self._writing(lambda writer: sqlite_file.delete_some(writer, partition, _TRIM_RECORDS)):
            pass

    async def find(self, partition: int, start: int, end: int, keys: Collection[bytes]) -> Sequence[int]:
        return await self._reading(lambda reader: sqlite_file.find(reader, partition, start, end, keys))

    async def blank(self, blanks: Sequence[Record]) -> None:
        self._check_open()
        await self._writing(lambda writer: sqlite_file.blank(writer, blanks))

    async def wipe(self) -> bool:
        self._check_open()
        return await self._writing(wipe)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._committing:
            await self._committing
        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        for reader in self._readers:
            reader.close()
        self._writer.close()  # last, for the last connection merges the WAL into the file

    async def _commit_all(self) -> None:
        """Commit group after group until nobody waits. Its caller's cancellation does not reach it."""
        try:
            while self._waiting:
                group = self._next_group()
                try:
                    places = await self._writing(partial(self._commit, group))
                except Exception as error:  # noqa: BLE001 - the rim: whatever went wrong is the callers' to know
                    _fail(group, error)
                else:
                    _resolve(group, places)
                    self.growth.announce()
        finally:
            self._committing = None

    def _next_group(self) -> list[_Append]:
        """Take from the front of the queue what shares one commit: at least one append."""
        count = entries = 0
        while count < len(self._waiting) and (not count or entries < _COMMIT_ENTRIES):
            entries += len(self._waiting[count].entries)
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _commit(self, group: list[_Append], writer: sqlite3.Connection) -> list[Place]:
        entries = [entry for request in group for entry in request.entries]
        return sqlite_file.append(writer, entries, self.partitions, self._clock.now_us())

    async def _writing(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        async with _translated():
            return await asyncio.get_running_loop().run_in_executor(self._write_thread, work, self._writer)

    async def _reading(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        self._check_open()

        def run() -> _T:
            reader = self._idle_readers.get()  # never waits: there are as many readers as threads
            try:
                return work(reader)
            finally:
                self._idle_readers.put(reader)

        async with _translated():
            return await asyncio.get_running_loop().run_in_executor(self._read_threads, run)

    def _check_open(self) -> None:
        if self._closed:
            raise JournalUnavailable("The journal is closed.")


async def open_sqlite_journal(path: Path, *, clock: Clock, partitions: int = 1) -> SQLiteJournal:
    """The journal in the file at `path`, which is made, with `partitions`, when it is missing.

    Raises StartupError, naming the cure, when the file is damaged, foreign, of another version or of another number of
    partitions, and DataFolderUnusable when its folder cannot be written.
    """

    def open_connections() -> tuple[sqlite3.Connection, list[sqlite3.Connection]]:
        writer = sqlite_file.open_writer(path, partitions)
        return writer, [sqlite_file.open_reader(path) for _ in range(_READERS)]

    return SQLiteJournal(*await asyncio.to_thread(open_connections), clock)


async def look_at_sqlite_journal(path: Path, *, clock: Clock) -> SQLiteJournal:
    """The journal in the file at `path` for who only looks, beside a service or without one: it changes nothing.

    Raises StartupError, naming the cure, when the file is missing, damaged, foreign or of another version.
    """

    def open_connections() -> tuple[sqlite3.Connection, list[sqlite3.Connection]]:
        return sqlite_file.open_onlooker(path), [sqlite_file.open_onlooker(path)]

    return SQLiteJournal(*await asyncio.to_thread(open_connections), clock)


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Say SQLite's errors in the journal's words."""
    try:
        yield
    except sqlite3.Error as error:
        if may_pass(error):
            raise JournalUnavailable(f"The journal cannot be used now: {error}.") from error
        raise JournalError(f"The journal cannot go on: {error}. If its file is damaged, restore a backup.") from error


def _resolve(group: list[_Append], places: list[Place]) -> None:
    at = 0
    for request in group:
        if not request.places.done():  # its caller may have been cancelled meanwhile
            request.places.set_result(places[at : at + len(request.entries)])
        at += len(request.entries)


def _fail(group: list[_Append], error: Exception) -> None:
    for request in group:
        if not request.places.done():
            request.places.set_exception(error)
