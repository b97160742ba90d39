"""Lanes in PostgreSQL, where several write side by side: a lane's row is the lock of all that is owed to its endpoint.

Whoever changes what is pending or leased in a lane, or decides by it, locks its row before and reads after: so nobody
overlooks what another has just done. Lanes are locked in order of their keys, once in a transaction, and that one may
wait; whatever is locked later goes without those that somebody else has. So nobody waits in a circle.
"""

from collections.abc import Collection, Iterable
from typing import Final

from monitor.store.ledger import OPEN, LedgerWrites, decode_lane, encode, keyed
from monitor.store.postgres_session import PostgresSession
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane

_LOCK: Final = "SELECT endpoint_key FROM lanes WHERE endpoint_key = ANY(%s) ORDER BY endpoint_key FOR UPDATE"
_LOCK_FREE: Final = f"{_LOCK} SKIP LOCKED"

_READ: Final = """
SELECT l.endpoint_key, e.body, l.body FROM lanes AS l JOIN endpoints AS e ON e.key = l.endpoint_key
WHERE l.endpoint_key = ANY(%s)
"""
_NOTE_LANE: Final = "UPDATE lanes SET body = %s WHERE endpoint_key = %s"
_LOOK: Final = """
UPDATE lanes SET look_us = %(at)s WHERE endpoint_key = ANY(%(of)s) AND (look_us IS NULL OR look_us > %(at)s)
"""
_NEXT_LOOK: Final = """
SELECT
    (SELECT min(look_us) FROM lanes WHERE look_us IS NOT NULL),
    (SELECT min(lease_until_us) FROM deliveries WHERE state = 'leased')
"""


def first_open(endpoint_key: str, order_key: str, rank: str) -> str:
    """The first open delivery of an order, as a subquery.

    A range of ranks and not one of them: else the planner may think of going through all keys, from the oldest on.
    """
    return f"""(
        SELECT open.key FROM deliveries AS open
        WHERE open.endpoint_key = {endpoint_key} AND open.order_key = {order_key}
            AND open.rank BETWEEN {rank} AND {rank} AND open.{OPEN}
        ORDER BY open.rank, open.key LIMIT 1
    )"""  # noqa: S608 - constants


# The state is asked for in words that fit no index: without statistics that of what is pending looks as good as keys.
_WAKE: Final = f"""
UPDATE deliveries SET due_us = %s
WHERE key = ANY (ARRAY (
    SELECT {first_open("of.endpoint_key", "of.order_key", "ranks.rank")}
    FROM unnest(%s::bigint[], %s::text[]) AS of (endpoint_key, order_key) CROSS JOIN (VALUES (0), (1)) AS ranks (rank)
    {{where}}
)) AND state || '' = 'pending' AND due_us IS NULL AND reason IS NULL
"""  # noqa: S608 - constants
_NOBODY_GOES: Final = f"""
WHERE NOT EXISTS (
    SELECT FROM deliveries AS other
    WHERE other.endpoint_key = of.endpoint_key AND other.order_key = of.order_key
        AND other.rank BETWEEN ranks.rank AND ranks.rank AND other.{OPEN}
        AND (other.state || '' = 'leased' OR other.due_us IS NOT NULL)
)
"""
_STAND_BACK: Final = f"""
UPDATE deliveries AS d SET due_us = NULL
WHERE d.key = ANY(%s) AND d.state || '' = 'pending' AND d.order_key IS NOT NULL
    AND {first_open("d.endpoint_key", "d.order_key", "d.rank")} < d.key
"""  # noqa: S608 - constants


class PostgresLanes(PostgresSession, LedgerWrites):
    """Locks on lanes, and what is asked and said of a lane."""

    # Lanes that this transaction has locked; and endpoints and lanes as they are since, of some of them.
    _locked: frozenset[int] = frozenset()
    _read: dict[int, tuple[Endpoint, Lane]] | None = None

    def _lock(self, endpoint_keys: Collection[int]) -> None:
        """Lock lanes, whoever has them now. Those that are gone are nobody's."""
        found = self._driver.execute(_LOCK, (sorted(endpoint_keys),)).fetchall()
        self._locked |= {key for (key,) in found}

    def _lock_free(self, endpoint_keys: Collection[int]) -> None:
        """Lock lanes, but for those that somebody else has."""
        if wanted := set(endpoint_keys) - self._locked:
            found = self._driver.execute(_LOCK_FREE, (sorted(wanted),)).fetchall()
            self._locked |= {key for (key,) in found}

    def _read_lanes(self, endpoint_keys: Collection[int]) -> None:
        """Read locked lanes at once that will be asked for one by one."""
        found = self._driver.execute(_READ, (list(endpoint_keys),)).fetchall()
        self._read = {key: (keyed(key, body), decode_lane(lane)) for key, body, lane in found}

    def endpoint_of(self, key: int) -> Endpoint | None:
        if self._read is not None and key in self._read:
            return self._read[key][0]
        found = self._driver.execute("SELECT body FROM endpoints WHERE key = %s", (key,)).fetchone()
        return None if found is None else keyed(key, found[0])

    def lane(self, endpoint_key: int) -> Lane:
        if self._read is not None and endpoint_key in self._read:
            return self._read[endpoint_key][1]
        found = self._driver.execute("SELECT body FROM lanes WHERE endpoint_key = %s", (endpoint_key,)).fetchone()
        return Lane() if found is None else decode_lane(found[0])

    def put_lane(self, endpoint_key: int, lane: Lane) -> None:
        self._forget(endpoint_key)
        self._driver.execute(_NOTE_LANE, (encode(lane), endpoint_key))

    def update_endpoint(self, endpoint: Endpoint) -> None:
        self._forget(endpoint.key)
        super().update_endpoint(endpoint)

    def remove_endpoint(self, team: str, endpoint_id: str) -> int | None:
        self._read = None
        return super().remove_endpoint(team, endpoint_id)

    def _forget(self, endpoint_key: int) -> None:
        if self._read is not None:
            self._read.pop(endpoint_key, None)

    def next_look_us(self) -> int | None:
        [(look_us, lease_us)] = self._driver.execute(_NEXT_LOOK)
        return min((at_us for at_us in (look_us, lease_us) if at_us is not None), default=None)

    def look(self, endpoint_keys: Iterable[int], at_us: int) -> None:
        if keys := sorted(endpoint_keys):
            self._driver.execute(_LOOK, {"at": at_us, "of": keys})

    def wake(self, moved: Iterable[tuple[int, str | None]], now_us: int) -> None:
        self._wake(moved, now_us, "")

    def _wake_idle(self, moved: Iterable[tuple[int, str | None]], now_us: int) -> None:
        """As `wake`, in those orders alone of which nothing is due or under way."""
        self._wake(moved, now_us, _NOBODY_GOES)

    def _wake(self, moved: Iterable[tuple[int, str | None]], now_us: int, where: str) -> None:
        orders = {(key, order_key) for key, order_key in moved if order_key is not None}
        if orders:
            keys, order_keys = zip(*orders, strict=True)
            self._driver.execute(_WAKE.format(where=where).encode(), (now_us, list(keys), list(order_keys)))

    def stand_back(self, keys: Iterable[int]) -> None:
        if wanted := list(keys):
            self._driver.execute(_STAND_BACK.encode(), (wanted,))
