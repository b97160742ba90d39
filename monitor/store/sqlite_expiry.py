"""How SQLite finds and forgets executions; `queries` and `sqlite_write` mix it in."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, select

from monitor.store import rows, tables
from monitor.store.kinds import tables_of

_E: Final = tables.executions.c
_T: Final = tables.totals.c

_TOMBSTONES: Final = """
SELECT e.key, p.tail, p.version FROM executions AS e CROSS JOIN progress AS p ON p.key = e.key
WHERE e.deleted = 1 AND e.key > ? ORDER BY e.key LIMIT ?
"""


class ExpiryReads:
    """Implements ExpiryReader over `_connection`."""

    _connection: Connection

    def lists(self) -> Mapping[tuple[str, str, str], int]:
        found = self._connection.execute(select(_T.team, _T.workflow_id, _T.status, _T.count).where(_T.count > 0))
        return {(row.team, row.workflow_id, row.status): int(row[3]) for row in found}

    def ended_before(self, of: tuple[str, str, str], before_us: int, without_tag: str, limit: int) -> Sequence[str]:
        team, workflow_id, status = of
        wanted = (
            select(_E.id)
            .where(_E.team == team, _E.workflow_id == workflow_id, _E.status == status, tables.LISTED)
            # Whatever ended before also began before, which the index knows.
            .where(_E.at_us < before_us, _ended_us() < before_us)
            .where(_E.key.not_in(select(tables.tags.c.key).where(tables.tags.c.key == _E.key, _is_tag(without_tag))))
            .order_by(_E.at_us)
            .limit(limit)
        )
        return list(self._connection.scalars(wanted))


def _ended_us() -> ColumnElement[int]:
    changed_us = select(tables.progress.c.updated_us).where(tables.progress.c.key == _E.key).scalar_subquery()
    return func.coalesce(_E.ended_us, changed_us)


def _is_tag(tag: str) -> ColumnElement[bool]:
    return tables.tags.c.tag == tag


class ExpiryWrites:
    """Implements ExpiryWriter over the driver's connection."""

    @property
    def _driver(self) -> sqlite3.Connection:
        raise NotImplementedError

    def forget_tombstones(self, starts: Mapping[int, int], after_key: int, limit: int) -> tuple[int, int]:
        found = self._driver.execute(_TOMBSTONES, (after_key, limit)).fetchall()
        # Most are too young, which their version tells without a look at each record.
        latest = max(starts.values(), default=0)
        old = [key for key, tail, version in found if version <= latest and self._is_gone(key, tail, starts)]
        for name in reversed(tables_of("executions")):
            self._driver.executemany(f"DELETE FROM {name} WHERE key = ?", [(key,) for key in old])  # noqa: S608 - a table
        return len(old), found[-1][0] if len(found) == limit else 0

    def _is_gone(self, key: int, tail: bytes, starts: Mapping[int, int]) -> bool:
        chunks = self._driver.execute("SELECT entries FROM seen WHERE key = ? ORDER BY chunk", (key,))
        places = rows.unpack_places([*(entries for (entries,) in chunks), tail])
        return all(offset < starts[partition] for partition, offset in places)
