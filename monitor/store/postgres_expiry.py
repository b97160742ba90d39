"""How PostgreSQL forgets executions; `postgres_write` mixes it in."""

from collections.abc import Mapping, Sequence
from typing import Final

from monitor.projections.fold import Changes
from monitor.store import rows
from monitor.store.expiry import Erasure
from monitor.store.kinds import tables_of
from monitor.store.postgres_session import PostgresSession
from monitor.store.releases import blanked_release

_TOMBSTONES: Final = """
SELECT e.key, p.tail, p.version FROM executions AS e JOIN progress AS p ON p.key = e.key
WHERE e.deleted = 1 AND coalesce(e.ended_us, 0) < %s AND e.key > %s ORDER BY e.key LIMIT %s
"""


_ERASE: Final = """
INSERT INTO erasures (key, first, last) VALUES (%s, %s, %s)
ON CONFLICT (key) DO UPDATE
SET first = least(erasures.first, excluded.first), last = greatest(erasures.last, excluded.last)
"""
_RELEASE: Final = "SELECT key, next, body FROM releases WHERE partition = %s AND next > %s ORDER BY next LIMIT 1"


class PostgresExpiry(PostgresSession):
    """Implements ExpiryWriter over the driver's connection."""

    def forget_tombstones(
        self, starts: Mapping[int, int], ended_before_us: int, after_key: int, limit: int
    ) -> tuple[int, int]:
        found = self._driver.execute(_TOMBSTONES, (ended_before_us, after_key, limit)).fetchall()
        # Most are too young, which their version tells without a look at each record.
        latest = max(starts.values(), default=0)
        old = [key for key, tail, version in found if version <= latest and self._is_gone(key, tail, starts)]
        for name in reversed(tables_of("executions")):
            self._many(f"DELETE FROM {name} WHERE key = %s", [(key,) for key in old])  # noqa: S608 - a table
        return len(old), found[-1][0] if len(found) == limit else 0

    def blank_releases(self, partition: int, offsets: Sequence[int]) -> None:
        blanked, reached = set(offsets), -1
        for offset in sorted(blanked):
            found = self._driver.execute(_RELEASE, (partition, offset)).fetchone() if offset >= reached else None
            if found is not None:
                key, reached, body = found
                releases = [blanked_release(it) if it.offset in blanked else it for it in rows.unpack_releases(body)]
                self._driver.execute("UPDATE releases SET body = %s WHERE key = %s", (rows.pack_stored(releases), key))

    def erased(self, erasures: Sequence[Erasure]) -> None:
        done = [(it.last, it.key) for it in erasures]
        self._many("DELETE FROM erasures WHERE last <= %s AND key = %s", done)
        self._many("UPDATE erasures SET first = greatest(first, %s + 1) WHERE key = %s", done)

    def _add_erasures(self, changes: Changes) -> None:
        erasures = [(execution.key, first, last) for execution, first, last in changes.erasures.values()]
        self._many(_ERASE, erasures)

    def _is_gone(self, key: int, tail: bytes, starts: Mapping[int, int]) -> bool:
        chunks = self._driver.execute("SELECT entries FROM seen WHERE key = %s ORDER BY chunk", (key,))
        places = rows.unpack_places([*(entries for (entries,) in chunks), tail])
        return all(offset < starts[partition] for partition, offset in places)
