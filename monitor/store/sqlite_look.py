"""The embedded store as an onlooker sees it: reads alone, beside a service or without one. For reports and checks."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, StaticPool
from sqlalchemy.exc import DBAPIError

from monitor.errors import StoreUnavailable
from monitor.projections.fold import FOLD_VERSION
from monitor.sqlite_errors import unusable
from monitor.sqlite_looks import connect_to_look
from monitor.store.base import Reader
from monitor.store.queries import Queries
from monitor.store.sqlite import ANEW, check_layout, driver_error, engine_over
from monitor.store.tables import SCHEMA_VERSION

T = TypeVar("T")


class SQLiteLook:
    """What of the Store port reads; made by `look_at_sqlite_store`. One caller at a time."""

    def __init__(self, driver: sqlite3.Connection, engine: Engine, fold_version: int) -> None:
        self._driver, self._engine, self._fold_version = driver, engine, fold_version

    @property
    def description(self) -> str:
        """What it is and in which version."""
        return f"SQLite, layout {SCHEMA_VERSION}, folded by rules {self._fold_version}"

    @property
    def is_current(self) -> bool:
        """Whether this version goes on with it as it is."""
        return self._fold_version == FOLD_VERSION

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on a snapshot. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._read, work)

    async def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._engine.dispose()
        self._driver.close()

    def _read(self, work: Callable[[Reader], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(Queries(connection))
        except (sqlite3.Error, DBAPIError) as error:
            raise StoreUnavailable(f"The store cannot be read now: {driver_error(error)}.") from error


async def look_at_sqlite_store(path: Path) -> SQLiteLook:
    """The store in the file at `path`.

    Raises StartupError, naming the cure, when it is missing, damaged, foreign or of another layout.
    """
    return await asyncio.to_thread(_look, path)


def _look(path: Path) -> SQLiteLook:
    driver = None
    try:
        driver = connect_to_look(path)
        engine = engine_over("BEGIN", poolclass=StaticPool, creator=lambda: driver)
        with engine.begin() as connection:
            fold_version = check_layout(connection, path)
    except BaseException as error:
        if driver:
            driver.close()
        if isinstance(error, sqlite3.Error | DBAPIError):
            raise unusable(path, driver_error(error), kind="store", way_out=ANEW) from error
        raise
    return SQLiteLook(driver, engine, fold_version)
