"""What the parts of PostgreSQL's Writer share: the driver's own connection, and rows for one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection

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
        """Run a statement once for each of these, without a wait between them; returns how many rows changed."""
        if not values:
            return 0
        with self._driver.cursor() as cursor:
            cursor.executemany(statement.encode(), values)
            return cursor.rowcount
