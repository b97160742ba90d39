"""Connections to PostgreSQL as all of the store's are: bounded in what they hold up, and soon found dead."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DisconnectionError, InvalidRequestError

from monitor.errors import StoreUnavailable
from monitor.store import postgres_arrays, postgres_text

if TYPE_CHECKING:
    import psycopg

READERS: Final = 4
"""Lists and exports side by side; more would only contend for the interpreter lock."""

SHARED_WRITERS: Final = 3
"""A process that projects has one batch on its way, one that delivers a claim and what it settles."""

MOST: Final = READERS + SHARED_WRITERS + 2
"""Of a process: there is also one who writes alone, and one who listens."""

# What a frozen or unreachable process can hold up, in milliseconds. Whoever waits for its locks waits a little longer
# than they are held.
_SERVER: Final = {
    "idle_in_transaction_session_timeout": 15_000,
    "lock_timeout": 20_000,
    "statement_timeout": 60_000,
    "tcp_user_timeout": 15_000,
    "client_min_messages": "error",
    # What is asked of the store lies in memory or on disks without heads: indexes are cheap.
    "random_page_cost": 1.1,
}

# A connection that was cut without a word surfaces in seconds.
_CLIENT: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "execution-monitor",
}


def options_of(url: str) -> dict[str, Any]:
    """What a connection is made with; what the address itself says goes before."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - the driver loads only where it is used

    given: dict[str, Any] = conninfo_to_dict(url)
    ours = " ".join(f"-c {name}={value}" for name, value in _SERVER.items())
    return {**_CLIENT, **given, "options": f"{ours} {given.get('options') or ''}".strip()}


def connect(url: str, *, reads_only: bool = False) -> psycopg.Connection[Any]:
    """A connection whose transactions are snapshots, where it only reads. Raises psycopg's errors."""
    import psycopg  # noqa: PLC0415

    connection: psycopg.Connection[Any] = psycopg.connect(**options_of(url))
    connection.cursor_factory = _cursor()
    postgres_text.adapt(connection)
    postgres_arrays.adapt(connection)
    if reads_only:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
    return connection


@cache
def _cursor() -> type[psycopg.Cursor[Any]]:
    """A cursor whose `executemany` waits for each answer.

    What psycopg sends in a pipeline leaves the server without the limit for idle transactions: it starts when an answer
    is complete, and the pipeline's last message has none. A process that is frozen then would hold its locks for ever.
    """
    import psycopg  # noqa: PLC0415

    class Waiting(psycopg.Cursor[Any]):
        def executemany(self, query: Any, params_seq: Iterable[Any], *, returning: bool = False) -> None:
            with self._conn.lock:
                self._conn.wait(self._executemany_gen_no_pipeline(query, params_seq, returning))

    return Waiting


def drop_if_gone(driver: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has ended meanwhile: then something waits to be read."""
    if driver.closed or driver.pgconn.socket < 0 or _has_something(driver.pgconn.socket):
        raise DisconnectionError


def _has_something(socket: int) -> bool:
    # `select` takes no socket beyond the thousandth, and a gateway's streams have the first ten thousand.
    waiting = select.poll()
    waiting.register(socket, select.POLLIN)
    return bool(waiting.poll(0))


@contextmanager
def begun(engine: Engine) -> Iterator[Connection]:
    """A transaction; done when the block ends, undone when it raises. Raises StoreUnavailable."""
    try:
        connection = engine.connect()
    except InvalidRequestError as error:
        # What the pool had was gone, and so was what it made instead.
        raise StoreUnavailable("The store cannot be used now: its connections are being ended.") from error
    with connection, connection.begin():
        yield connection
