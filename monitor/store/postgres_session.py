"""What the parts of PostgreSQL's Writer share: the driver's own connection, and rows for one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection

from monitor.store.postgres_merges import MOST_ROWS, Merge

if TYPE_CHECKING:
    import psycopg


class PostgresSession:
    """One transaction, from its beginning to its end."""

    _connection: Connection

    @property
    def _driver(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The driver's own connection; there is none once the transaction is over."""
        return cast("psycopg.Connection[tuple[Any, ...]]", self._connection.connection.driver_connection)

    def _many(self, statement: str, values: Sequence[Sequence[Any] | Mapping[str, Any]]) -> int:
        """Run a statement once for each of these few; returns how many rows changed."""
        if not values:
            return 0
        with self._driver.cursor() as cursor:
            cursor.executemany(statement.encode(), values)
            return cursor.rowcount

    def _merge(self, merge: Merge, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement that takes many rows at once; returns how many changed."""
        portions = (rows[at : at + MOST_ROWS] for at in range(0, len(rows), MOST_ROWS))
        return sum(self._driver.execute(merge.statement, merge.columns(some)).rowcount for some in portions)
