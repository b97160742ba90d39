"""The shared store as an onlooker sees it: reads alone, on one connection of its own. For reports and checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import Engine, StaticPool, create_engine

from monitor.projections.fold import FOLD_VERSION
from monitor.store.base import Reader
from monitor.store.postgres_connections import MOST, connect
from monitor.store.postgres_errors import translated
from monitor.store.postgres_layout import check_layout
from monitor.store.queries import Queries
from monitor.store.tables import SCHEMA_VERSION

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")


class Connections(NamedTuple):
    """What the server allows ordinary users, and how many of it are taken, whoever has them."""

    used: int
    most: int
    # What one process of ours takes at most.
    each: int


_CONNECTIONS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
"""
_NOW_US = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


class PostgresLook:
    """What of the Store port reads; made by `look_at_postgres_store`. One caller at a time."""

    def __init__(self, driver: psycopg.Connection[Any], engine: Engine, fold_version: int) -> None:
        self._driver, self._engine, self._fold_version = driver, engine, fold_version

    @property
    def description(self) -> str:
        """What it is and in which version."""
        version = self._driver.info.server_version // 10_000
        return f"PostgreSQL {version}, layout {SCHEMA_VERSION}, folded by rules {self._fold_version}"

    @property
    def is_current(self) -> bool:
        """Whether this version goes on with it as it is."""
        return self._fold_version == FOLD_VERSION

    async def read(self, work: Callable[[Reader], T]) -> T:
        """Run `work` on a snapshot. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._read, work)

    async def now_us(self) -> int:
        """The time by the database's clock, in microseconds since 1970. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._now_us)

    async def connections(self) -> Connections:
        """How many there are room for. Raises StoreUnavailable."""
        return await asyncio.to_thread(self._connections)

    async def close(self) -> None:
        """Leave the database. Safe to call twice."""
        self._engine.dispose()
        self._driver.close()

    def _read(self, work: Callable[[Reader], T]) -> T:
        with translated(), self._engine.begin() as connection:
            return work(Queries(connection))

    def _connections(self) -> Connections:
        with translated(), self._engine.begin() as connection:
            used, most = connection.exec_driver_sql(_CONNECTIONS).one()
        return Connections(used, most, MOST)

    def _now_us(self) -> int:
        with translated(), self._engine.begin() as connection:
            return int(connection.exec_driver_sql(_NOW_US).scalar_one())


async def look_at_postgres_store(url: str) -> PostgresLook | None:
    """The store in the database at `url`; None where it has none yet.

    Raises StoreUnavailable when the database cannot be reached, StartupError when it is of another layout.
    """
    return await asyncio.to_thread(_look, url)


def _look(url: str) -> PostgresLook | None:
    with translated():
        driver = connect(url, reads_only=True)
        look = None
        try:
            look = _looked_into(driver)
        finally:
            if look is None:
                driver.close()
    return look


def _looked_into(driver: psycopg.Connection[Any]) -> PostgresLook | None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: driver, poolclass=StaticPool, use_native_hstore=False
    )
    with engine.begin() as connection:
        fold_version = check_layout(connection)
    return None if fold_version is None else PostgresLook(driver, engine, fold_version)
