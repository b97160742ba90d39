"""The shared store: one PostgreSQL database, for as many processes as need it.

`open_postgres_store` makes the tables in an empty database and refuses one that it does not understand, naming the
cure. Work runs inside a transaction on one of the store's own threads; the driver's errors come out as StoreUnavailable
or Fenced, all undone. Nobody writes beside an ordinary `write`: it holds the store's lock alone, and those that say
`shared=True` hold it together and go by the locks of their rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, insert

from monitor.clock import Clock, SystemClock
from monitor.errors import MonitorError, StartupError, StoreUnavailable
from monitor.projections.fold import FOLD_VERSION
from monitor.store.base import Reader, Writer
from monitor.store.hints import Hint, Hints
from monitor.store.postgres_connections import READERS, SHARED_WRITERS, begun, connect, drop_if_gone
from monitor.store.postgres_errors import translated
from monitor.store.postgres_layout import ALONE, LOCK, check_layout
from monitor.store.postgres_listening import Listening, told
from monitor.store.postgres_tables import make_tables
from monitor.store.postgres_write import PostgresWriter
from monitor.store.queries import Queries
from monitor.store.searching import NodeNames
from monitor.store.tables import SCHEMA_VERSION, meta

T = TypeVar("T")

_PATIENCE_S: Final = 3.0
"""What a close leaves to statements that run; most take milliseconds."""

_AGAIN_S: Final = 0.5

_TOGETHER: Final = f"SELECT pg_advisory_xact_lock_shared({LOCK})"
_NOW: Final = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TELL: Final = "SELECT pg_notify('monitor', %s)"


class PostgresStore:
    """Implements the Store port; made by `open_postgres_store`."""

    def __init__(self, writers: Engine, readers: Engine, listening: Listening) -> None:
        self._writers, self._readers, self._listening = writers, readers, listening
        # One thread keeps those in order that nobody else may write beside.
        self._alone_thread = ThreadPoolExecutor(1, "store-write")
        self._shared_threads = ThreadPoolExecutor(SHARED_WRITERS, "store-write-shared")
        self._read_threads = ThreadPoolExecutor(READERS, "store-read")
        # Names that are known to be stored; each serves one transaction at a time.
        self._names = list[NodeNames]()
        # Connections of transactions that run now.
        self._busy = set[Any]()
        self._closed = self._is_over = False

    @property
    def hints(self) -> Hints:
        return self._listening.hints

    async def write(self, work: Callable[[Writer], T], *, durable: bool = False, shared: bool = False) -> T:  # noqa: ARG002 - every commit is
        threads = self._shared_threads if shared else self._alone_thread
        written: tuple[T, Collection[Hint]] = await self._run(threads, self._write, work, shared)
        self.hints.give(written[1])
        return written[0]

    async def read(self, work: Callable[[Reader], T]) -> T:
        return await self._run(self._read_threads, self._read, work)

    async def time(self, monotonic_s: Callable[[], float]) -> tuple[int, float]:
        """What the database's clock shows, in microseconds, and what `monotonic_s` said then, in the middle of the
        question's way: it is called in a thread, where no wait for a turn counts. Raises StoreUnavailable.
        """
        return await self._run(self._read_threads, self._time, monotonic_s)

    async def wipe(self) -> bool:
        """Whether what was deleted is gone from the files: that is the database's own affair."""
        return True

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._listening.close()
        await asyncio.to_thread(self._release)

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[..., T], *args: object) -> T:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        # Shielded: cancelling the caller must not take a transaction off the queue.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(threads, call, *args))

    def _write(self, work: Callable[[Writer], T], shared: bool) -> tuple[T, Collection[Hint]]:
        names = self._spare_names()
        with self._transaction(self._writers) as connection:
            connection.exec_driver_sql(_TOGETHER if shared else ALONE)
            writer = PostgresWriter(connection, names, shared=shared)
            answer = work(writer)
            if writer.hinted:
                connection.exec_driver_sql(_TELL, (told(writer.hinted, self._listening.name),))
        self._names.append(names)  # of a transaction that failed they are not
        return answer, writer.hinted

    def _spare_names(self) -> NodeNames:
        try:
            return self._names.pop()
        except IndexError:
            return NodeNames()

    def _read(self, work: Callable[[Reader], T]) -> T:
        with self._transaction(self._readers) as connection:
            return work(Queries(connection))

    def _time(self, monotonic_s: Callable[[], float]) -> tuple[int, float]:
        with self._transaction(self._readers) as connection:
            connection.exec_driver_sql("SELECT 1")  # so that the transaction has begun
            asked_s = monotonic_s()
            now_us = int(connection.exec_driver_sql(_NOW).scalar_one())
            return now_us, (asked_s + monotonic_s()) / 2

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        if self._is_over:
            raise StoreUnavailable("The store is closed.")
        with translated(), begun(engine) as connection:
            driver = connection.connection.driver_connection
            self._busy.add(driver)
            try:
                yield connection
            finally:
                self._busy.discard(driver)

    def _release(self) -> None:
        ended = Event()
        Thread(target=self._hurry, args=(ended,), name="store-close", daemon=True).start()
        for threads in (self._alone_thread, self._shared_threads, self._read_threads):
            threads.shutdown()
        ended.set()
        self._readers.dispose()
        self._writers.dispose()

    def _hurry(self, ended: Event) -> None:
        """Break off what takes longer than a process has that is to end: nobody waits for its answer any more."""
        if ended.wait(_PATIENCE_S):
            return
        self._is_over = True
        while not ended.wait(_AGAIN_S):
            for driver in tuple(self._busy):
                with suppress(Exception):  # it may end by itself meanwhile, or its server be gone
                    driver.cancel_safe(timeout=_AGAIN_S)


async def open_postgres_store(url: str, *, clock: Clock | None = None) -> PostgresStore:
    """The store in the database at `url` (`postgresql://...`), whose tables are made when there are none.

    Raises StartupError, naming the cure, when it cannot be reached, is foreign, of another layout or folded by other
    rules. `clock` paces how it connects again.
    """
    writers, readers = await asyncio.to_thread(_open, url)
    listening = Listening(url, clock or SystemClock())
    with translated():
        await listening.start()
    return PostgresStore(writers, readers, listening)


def _open(url: str) -> tuple[Engine, Engine]:
    writers = _engine_over(lambda: connect(url), 1 + SHARED_WRITERS)
    try:
        with translated(), begun(writers) as connection:
            connection.exec_driver_sql(ALONE)
            prepare(connection)
    except BaseException as error:
        writers.dispose()
        if isinstance(error, MonitorError) and not isinstance(error, StartupError):
            raise StartupError(
                f"The database of MONITOR_STORE cannot be used: {error} See that it runs, that this user may make "
                "tables in it, and that address and password are right."
            ) from error
        raise
    return writers, _engine_over(lambda: connect(url, reads_only=True), READERS)


def _engine_over(creator: Callable[[], Any], size: int) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        use_native_hstore=False,
    )
    # Many new rows in one statement, which otherwise would be sent one by one.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    event.listen(engine, "checkout", drop_if_gone)
    return engine


def prepare(connection: Connection) -> None:
    """Make the tables of an empty database; refuse one that is not this version's. The lock is held."""
    fold_version = check_layout(connection)
    if fold_version is None:
        make_tables(connection)
        versions = {"schema_version": SCHEMA_VERSION, "fold_version": FOLD_VERSION}
        connection.execute(insert(meta).values(id=1, endpoints_version=0, tokens_version=0, **versions))
        return
    if fold_version != FOLD_VERSION:
        raise StartupError(
            f"The database of MONITOR_STORE was folded by other rules (version {fold_version}, these are "
            f"{FOLD_VERSION}); start the version that folded it, or name an empty database to fold the journal anew."
        )
