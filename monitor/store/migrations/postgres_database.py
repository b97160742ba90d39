"""Migrates the store in a PostgreSQL database: in one transaction, while nobody else writes.

Promises: killed at any instruction, the database is of the layout of before or of this version's. Of several that begin
at once one migrates, and the others find it done. Processes of the version before wait meanwhile, and go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, StaticPool, create_engine
from sqlalchemy.exc import DBAPIError

from monitor.errors import MonitorError, StartupError
from monitor.store.copying import Course
from monitor.store.migrations import steps
from monitor.store.migrations.steps import Migrated
from monitor.store.postgres_connections import connect
from monitor.store.postgres_errors import code_of, driver_error, translated
from monitor.store.postgres_layout import ALONE, read_layout
from monitor.store.tables import SCHEMA_VERSION

# Whoever waits for a table keeps all others from it that come later: not for long, and then once more.
_PATIENCE: Final = "SET LOCAL lock_timeout = '3s'"
_TRIES: Final = 10
_LOCK_NOT_AVAILABLE: Final = "55P03"

# For the store's lock, as long as another migration may take; an index takes as long as it takes.
_NO_LIMITS: Final = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"


def look(url: str) -> Migrated:
    """What a migration of the store at `url` would do. Raises StartupError."""
    with _connected(url, reads_only=True) as driver:
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: driver, poolclass=StaticPool, use_native_hstore=False
        )
        with engine.begin() as connection:
            return _ahead(connection)


def migrate(url: str, course: Course) -> Migrated:
    """Bring the store at `url` to this version's layout; nothing happens to one that is there. Raises StartupError."""
    for _ in range(_TRIES):
        with _connected(url) as driver:
            try:
                return _migrate(driver, course)
            except DBAPIError as error:
                if code_of(driver_error(error)) != _LOCK_NOT_AVAILABLE:
                    raise
    raise StartupError(
        "The database of MONITOR_STORE is as it was: for half a minute somebody kept its tables from being changed. "
        "End long queries and dumps of it, which pg_stat_activity shows, and try again."
    )


def _migrate(driver: Any, course: Course) -> Migrated:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: driver, poolclass=StaticPool, use_native_hstore=False
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(_NO_LIMITS)
        connection.exec_driver_sql(ALONE)
        found = _ahead(connection)
        if found.steps:
            connection.exec_driver_sql(_PATIENCE)
            doing = f"Migrating the store from layout {found.before} to {found.now}"
            with course(doing, len(found.steps), "steps") as advance:
                steps.run(connection, found.steps, advance)
    return found


def _ahead(connection: Connection) -> Migrated:
    there = read_layout(connection)
    if there is None:
        raise StartupError(
            "The database of MONITOR_STORE holds no store: there is nothing to migrate; the first start makes one"
        )
    return steps.ahead(*there)


@contextmanager
def _connected(url: str, *, reads_only: bool = False) -> Iterator[Any]:
    try:
        with translated():
            driver = connect(url, reads_only=reads_only)
            try:
                yield driver
            finally:
                driver.close()
    except StartupError:
        raise
    except MonitorError as error:
        raise StartupError(
            f"The database of MONITOR_STORE cannot be brought to layout {SCHEMA_VERSION}: {error} It is as it was. See "
            "that it runs, and that this user owns its tables."
        ) from error
