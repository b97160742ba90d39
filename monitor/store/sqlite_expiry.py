"""How SQLite finds and forgets executions; `queries` and `sqlite_write` mix it in."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, select, tuple_

from monitor.projections.fold import Changes
from monitor.store import count_tables, rows, tables
from monitor.store.expiry import Erasure, Sweep
from monitor.store.kinds import tables_of
from monitor.store.releases import blanked_release

_E: Final = tables.executions.c
_T: Final = count_tables.totals.c
_X: Final = tables.erasures.c

_TOMBSTONES: Final = """
SELECT e.key, p.tail, p.version FROM executions AS e CROSS JOIN progress AS p ON p.key = e.key
WHERE e.deleted = 1 AND coalesce(e.ended_us, 0) < ? AND e.key > ? ORDER BY e.key LIMIT ?
"""


_ERASE: Final = """
INSERT INTO erasures (key, first, last) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)
"""
_RELEASE: Final = "SELECT key, next, body FROM releases WHERE partition = ? AND next > ? ORDER BY next LIMIT 1"
_FIRST_CHUNK: Final = tables.seen.c.chunk == 0


class ExpiryReads:
    """Implements ExpiryReader over `_connection`."""

    _connection: Connection

    def lists(self) -> Mapping[tuple[str, str, str], int]:
        found = self._connection.execute(select(_T.team, _T.workflow_id, _T.status, _T.count).where(_T.count > 0))
        return {(row.team, row.workflow_id, row.status): int(row[3]) for row in found}

    def ended_before(
        self, of: tuple[str, str, str], before_us: int, without_tag: str, page: Sweep
    ) -> tuple[Sequence[str], Sweep | None]:
        team, workflow_id, status = of
        is_kept = select(tables.tags.c.key).where(tables.tags.c.key == _E.key, _is_tag(without_tag)).exists()
        wanted = (
            select(_E.id, _E.at_us, _E.key, and_(_ended_us() < before_us, ~is_kept))
            .where(_E.team == team, _E.workflow_id == workflow_id, _E.status == status, tables.LISTED)
            # Whatever ended before also began before, which the index knows.
            .where(_E.at_us < before_us, tuple_(_E.at_us, _E.key) > page.after)
            .order_by(_E.at_us, _E.key)
            .limit(page.looked_at)
        )
        ids: list[str] = []
        looked_at = 0
        for looked_at, (id_, at_us, key, is_old) in enumerate(self._connection.execute(wanted), 1):
            if is_old:
                ids.append(id_)
            if len(ids) == page.most or looked_at == page.looked_at:
                return ids, page._replace(after=(at_us, key))
        return ids, None

    def erasures(self, limit: int) -> Sequence[Erasure]:
        joined = tables.erasures.join(tables.executions, _X.key == _E.key)
        joined = joined.join(tables.progress, _X.key == tables.progress.c.key)
        joined = joined.outerjoin(tables.seen, and_(_X.key == tables.seen.c.key, _FIRST_CHUNK))
        wanted = select(_X.key, _E.team, _E.id, _X.first, _X.last, tables.seen.c.entries, tables.progress.c.tail)
        found = self._connection.execute(wanted.select_from(joined).order_by(_X.key).limit(limit))
        return [
            Erasure(key, team, id_, begins.partition, max(first, begins.offset), last)
            for key, team, id_, first, last, chunk, tail in found
            for begins in rows.unpack_places([chunk or tail])[:1]
        ]


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

    def forget_tombstones(
        self, starts: Mapping[int, int], ended_before_us: int, after_key: int, limit: int
    ) -> tuple[int, int]:
        found = self._driver.execute(_TOMBSTONES, (ended_before_us, after_key, limit)).fetchall()
        # Most are too young, which their version tells without a look at each record.
        latest = max(starts.values(), default=0)
        old = [key for key, tail, version in found if version <= latest and self._is_gone(key, tail, starts)]
        for name in reversed(tables_of("executions")):
            self._driver.executemany(f"DELETE FROM {name} WHERE key = ?", [(key,) for key in old])  # noqa: S608 - a table
        return len(old), found[-1][0] if len(found) == limit else 0

    def blank_releases(self, partition: int, offsets: Sequence[int]) -> None:
        blanked, reached = set(offsets), -1
        for offset in sorted(blanked):
            found = self._driver.execute(_RELEASE, (partition, offset)).fetchone() if offset >= reached else None
            if found is not None:
                key, reached, body = found
                releases = [blanked_release(it) if it.offset in blanked else it for it in rows.unpack_releases(body)]
                self._driver.execute("UPDATE releases SET body = ? WHERE key = ?", (rows.pack_stored(releases), key))

    def erased(self, erasures: Sequence[Erasure]) -> None:
        done = [(it.last, it.key) for it in erasures]
        self._driver.executemany("DELETE FROM erasures WHERE last <= ? AND key = ?", done)
        self._driver.executemany("UPDATE erasures SET first = max(first, ? + 1) WHERE key = ?", done)

    def _add_erasures(self, changes: Changes) -> None:
        erasures = [(execution.key, first, last) for execution, first, last in changes.erasures.values()]
        self._driver.executemany(_ERASE, erasures)

    def _is_gone(self, key: int, tail: bytes, starts: Mapping[int, int]) -> bool:
        chunks = self._driver.execute("SELECT entries FROM seen WHERE key = ? ORDER BY chunk", (key,))
        places = rows.unpack_places([*(entries for (entries,) in chunks), tail])
        return all(offset < starts[partition] for partition, offset in places)
