"""The embedded store: one SQLite file in WAL mode, one thread that writes, a few that read.

`open_sqlite_store` makes the file when it is missing, can bring one of an earlier layout to this version's, and refuses
one that it does not understand, naming the cure. Work runs inside a transaction on one of the store's own threads;
SQLite's errors come out as StoreUnavailable, all undone.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from monitor.errors import MonitorError, StartupError, StoreUnavailable
from monitor.projections.fold import FOLD_VERSION
from monitor.sqlite_errors import may_pass, unusable
from monitor.sqlite_traces import leave_none, wipe
from monitor.store.base import Reader, Writer
from monitor.store.hints import Hint, Hints
from monitor.store.queries import Queries
from monitor.store.searching import NodeNames
from monitor.store.sqlite_write import SQLiteWriter
from monitor.store.tables import SCHEMA_VERSION, make_tables, meta

T = TypeVar("T")

# Lists and exports side by side; more would only contend for the interpreter lock.
_READERS: Final = 3

_BUSY_TIMEOUT_S: Final = 5.0

# The batch path comes back to the same upper pages of ten B-trees; a reader passes through.
_WRITER_CACHE_KIB: Final = 64 * 1024
_READER_CACHE_KIB: Final = 4 * 1024

# 16 MiB of log between checkpoints: a page that changes in every batch is copied into the file once for many batches.
_CHECKPOINT_PAGES: Final = 4_000

FIRST_LAYOUT: Final = 1

ANEW: Final = "build the store anew from the journal, without the registered webhooks and what is owed to them"


class SQLiteStore:
    """Implements the Store port; made by `open_sqlite_store`."""

    def __init__(self, driver: sqlite3.Connection, writer: Engine, readers: Engine) -> None:
        self._driver, self._writer, self._readers = driver, writer, readers
        self._write_thread = ThreadPoolExecutor(1, "store-write")
        self._read_threads = ThreadPoolExecutor(_READERS, "store-read")
        self._names = NodeNames()
        self._hints = Hints()
        self._closed = False

    @property
    def hints(self) -> Hints:
        return self._hints

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:
        written: tuple[T, Collection[Hint]] = await self._run(self._write_thread, self._write, work, durable, shared)
        self._hints.give(written[1])
        return written[0]

    async def read(self, work: Callable[[Reader], T]) -> T:
        return await self._run(self._read_threads, self._read, work)

    async def wipe(self) -> bool:
        return await self._run(self._write_thread, self._wipe)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._release)

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[..., T], *args: object) -> T:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        # Shielded: cancelling the caller must not take a transaction off the queue.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(threads, call, *args))

    def _write(self, work: Callable[[Writer], T], durable: bool, shared: bool) -> tuple[T, Collection[Hint]]:
        try:
            with _translated(), _synchronous(self._driver, durable), self._writer.begin() as connection:
                writer = SQLiteWriter(connection, self._names, shared=shared)
                return work(writer), writer.hinted
        except BaseException:
            self._names.clear()
            raise

    def _read(self, work: Callable[[Reader], T]) -> T:
        with _translated(), self._readers.begin() as connection:
            return work(Queries(connection))

    def _wipe(self) -> bool:
        with _translated():
            return wipe(self._driver)

    def _release(self) -> None:
        self._write_thread.shutdown()
        self._read_threads.shutdown()
        self._readers.dispose()
        self._writer.dispose()
        self._driver.close()  # last, for the last connection merges the WAL into the file


async def open_sqlite_store(path: Path, *, migrate: bool = False) -> SQLiteStore:
    """The store in the file at `path`, which is made when it is missing.

    `migrate`: one of an earlier layout is brought to this version's first, which the log tells; a copy stays beside it.
    Only for whoever has the file for itself. Raises StartupError, naming the cure, when the file is damaged, foreign,
    of another layout or folded by other rules, and DataFolderUnusable when it cannot be written.
    """
    return await asyncio.to_thread(_open, path, migrate)


def _open(path: Path, migrate: bool) -> SQLiteStore:
    driver = None
    try:
        driver = connect(path, _WRITER_CACHE_KIB)
        driver.execute("PRAGMA journal_mode = WAL")
        driver.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        driver.execute("PRAGMA synchronous = NORMAL")
        if migrate and _is_earlier(driver, path):
            _migrate(path)
        writer = engine_over("BEGIN IMMEDIATE", poolclass=StaticPool, creator=lambda: driver)
        with writer.begin() as connection:
            _prepare(connection, path)
    except BaseException as error:
        if driver:
            driver.close()
        if isinstance(error, sqlite3.Error | DBAPIError):
            raise unusable(path, driver_error(error), kind="store", way_out=ANEW) from error
        raise
    readers = engine_over(
        "BEGIN", poolclass=QueuePool, pool_size=_READERS, max_overflow=0, creator=lambda: _connect_reader(path)
    )
    return SQLiteStore(driver, writer, readers)


# --- connections -----------------------------------------------------------------------------------------------------


def connect(path: Path, cache_kib: int) -> sqlite3.Connection:
    """A connection to a store's file as all of them are."""
    # Each connection is used by one thread at a time, though not always by the same one.
    driver = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    driver.execute(f"PRAGMA cache_size = -{cache_kib}")
    driver.execute("PRAGMA temp_store = MEMORY")
    leave_none(driver)
    return driver


def _connect_reader(path: Path) -> sqlite3.Connection:
    driver = connect(path, _READER_CACHE_KIB)
    driver.execute("PRAGMA query_only = ON")
    return driver


def engine_over(begin: str, **options: Any) -> Engine:
    """SQLAlchemy over the driver's connections, whose transactions begin with `begin`."""
    engine = create_engine("sqlite://", **options)

    # The driver leaves transactions to us (isolation_level=None): SQLAlchemy says when one begins.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _synchronous(driver: sqlite3.Connection, durable: bool) -> Iterator[None]:
    """Let the commit inside wait for the disk when it is to survive a loss of power."""
    if not durable:
        yield
        return
    driver.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        driver.execute("PRAGMA synchronous = NORMAL")


# --- errors ----------------------------------------------------------------------------------------------------------


@contextmanager
def _translated() -> Iterator[None]:
    """Say the driver's errors in the store's words; the transaction inside is undone by then.

    What no later try will cure (damage, missing tables, an error of this program) is not `StoreUnavailable`: whoever
    works on would try it for ever.
    """
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        found = driver_error(error)
        if may_pass(found):
            raise StoreUnavailable(f"The store cannot be used now: {found}.") from error
        raise MonitorError(f"The store cannot go on: {found}.") from error


def driver_error(error: BaseException) -> BaseException:
    """SQLite's own error, without the statement that SQLAlchemy quotes."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


# --- layouts ---------------------------------------------------------------------------------------------------------


def _prepare(connection: Connection, path: Path) -> None:
    """Make the tables of a new file; refuse one that is not this version's."""
    if not inspect(connection).get_table_names():
        make_tables(connection)
        versions = {"schema_version": SCHEMA_VERSION, "fold_version": FOLD_VERSION}
        connection.execute(insert(meta).values(id=1, endpoints_version=0, tokens_version=0, **versions))
        return
    fold_version = check_layout(connection, path)
    if fold_version != FOLD_VERSION:
        raise StartupError(
            f"{path} was folded by other rules (version {fold_version}, these are {FOLD_VERSION}); fold it anew with "
            "`monitor rebuild`, which keeps webhooks and what is owed to them, or start the version that folded it."
        )


def check_layout(connection: Connection, path: Path) -> int:
    """The version of the rules by which a store was folded. Raises StartupError for what is no store of this layout."""
    driver: Any = connection.connection.driver_connection
    if (layout := read_layout(driver, path)) < SCHEMA_VERSION:
        raise StartupError(
            f"{path} was written by an earlier version of this program (layout {layout}, this one reads "
            f"{SCHEMA_VERSION}); bring it here with `monitor migrate`, which keeps a copy, or start that version."
        )
    return int(connection.scalars(select(meta.c.fold_version)).one())


def read_layout(driver: sqlite3.Connection, path: Path) -> int:
    """The layout of a store, this version's or an earlier one. Raises StartupError for any other, and for no store."""
    tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables >= {"meta", "offsets", "executions"}:
        raise StartupError(
            f"{path} is not a store but another program's database; move it away, or name another folder."
        )
    [(layout,)] = driver.execute("SELECT schema_version FROM meta")
    if not FIRST_LAYOUT <= layout <= SCHEMA_VERSION:
        raise StartupError(
            f"{path} was written by a later version of this program (layout {layout}, this one reads up to "
            f"{SCHEMA_VERSION}); start that version, restore a backup, or move the file away to {ANEW}."
        )
    return int(layout)


def _is_earlier(driver: sqlite3.Connection, path: Path) -> bool:
    is_new = driver.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
    return not is_new and read_layout(driver, path) < SCHEMA_VERSION


def _migrate(path: Path) -> None:
    from monitor.store.migrations.sqlite_file import migrate  # noqa: PLC0415 - Alembic, which few starts need

    done = migrate(path, _logged)
    structlog.get_logger("store").info(
        "migrated", layout=done.now, was=done.before, copy=str(done.copy), steps=[step.says for step in done.steps]
    )


@contextmanager
def _logged(doing: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """The course of a migration at a start."""
    structlog.get_logger("store").info(doing, total=total, unit=unit)
    yield lambda _: None
