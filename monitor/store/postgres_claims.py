"""Claims in PostgreSQL: several deliverers take what is due side by side, and none waits for another.

A lane that may have something to do is in the index `lanes_to_look_at`; claiming locks those that are due and free, the
one that waited longest first, and notes when to look again. Idle endpoints cost nothing, and a dead one with a long
queue delays nobody. What a lane has under way is counted over all deliverers. `postgres_ledger` mixes this in.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from monitor.store.claiming import Found, Visit, in_turns, left, visit
from monitor.store.ledger import RANKS, decode_lane, encode, keyed
from monitor.store.postgres_lanes import PostgresLanes
from monitor.webhooks.delivery import Claimed
from monitor.webhooks.endpoint import MOST_IN_FLIGHT, Endpoint

_LOCK_DUE: Final = """
SELECT endpoint_key FROM lanes WHERE look_us <= %s ORDER BY look_us, endpoint_key LIMIT %s FOR UPDATE SKIP LOCKED
"""
_LANES: Final = """
SELECT l.endpoint_key, l.body, e.body,
    (SELECT count(*) FROM deliveries AS d WHERE d.endpoint_key = l.endpoint_key AND d.state = 'leased')
FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted (key, place)
JOIN lanes AS l ON l.endpoint_key = wanted.key
JOIN endpoints AS e ON e.key = wanted.key
ORDER BY wanted.place
"""
_QUEUE: Final = """(
    SELECT d.key, d.due_us, d.rank FROM deliveries AS d
    WHERE d.endpoint_key = wanted.key AND d.state = 'pending' AND d.rank = {rank} AND d.due_us IS NOT NULL
    ORDER BY d.due_us, d.key LIMIT wanted.most
)"""
_QUEUES: Final = f"""
SELECT wanted.key, next.key, next.due_us
FROM unnest(%s::bigint[], %s::bigint[]) AS wanted (key, most)
CROSS JOIN LATERAL ({" UNION ALL ".join(_QUEUE.format(rank=rank) for rank in RANKS)}) AS next
ORDER BY next.rank, next.due_us, next.key
"""  # noqa: S608 - constants
_LEASE: Final = """
WITH wanted AS (SELECT * FROM unnest(%(keys)s::bigint[]) WITH ORDINALITY AS wanted (key, place)),
leased AS (
    UPDATE deliveries AS d
    SET state = 'leased', lease = %(lease)s, lease_until_us = %(until)s, attempts = d.attempts + 1,
        first_us = coalesce(d.first_us, %(now)s)
    FROM wanted WHERE d.key = wanted.key
    RETURNING d.key, d.id, d.attempts, d.step, d."trigger", d.planned_us, d.first_us, d.body_key, wanted.place
),
begun AS (
    INSERT INTO attempts (delivery_key, n, "trigger", started_us, answer)
    SELECT key, attempts, "trigger", %(now)s, ''::bytea FROM leased
)
SELECT l.key, l.id, l.attempts, l.step, l."trigger", l.planned_us, l.first_us, b.body
FROM leased AS l JOIN delivery_bodies AS b ON b.key = l.body_key ORDER BY l.place
"""
_NOTE_VISITS: Final = """
UPDATE lanes AS l SET look_us = noted.look_us
FROM unnest(%s::bigint[], %s::bigint[]) AS noted (key, look_us) WHERE l.endpoint_key = noted.key
"""
_NOTE_LANE: Final = "UPDATE lanes SET body = %s WHERE endpoint_key = %s"

_INTERRUPTED_LANES: Final = "SELECT DISTINCT endpoint_key FROM deliveries WHERE state = 'leased' AND {which}"
_TAKE_BACK: Final = """
WITH taken AS (
    UPDATE deliveries
    SET state = CASE "trigger" WHEN 'test' THEN 'failed' ELSE 'pending' END,
        reason = CASE "trigger" WHEN 'test' THEN 'interrupted' ELSE reason END,
        due_us = CASE
            WHEN "trigger" = 'test' OR (lease = %(nobody)s AND order_key IS NOT NULL) THEN NULL ELSE due_us
        END,
        lease = NULL, lease_until_us = NULL
    WHERE state = 'leased' AND {which} AND endpoint_key = ANY(%(lanes)s)
    RETURNING key, endpoint_key, order_key, attempts, "trigger"
),
interrupted AS (
    UPDATE attempts AS a SET finished_us = %(now)s, error = 'interrupted'
    FROM taken AS t WHERE a.delivery_key = t.key AND a.n = t.attempts AND a.finished_us IS NULL
)
SELECT key, endpoint_key, order_key, "trigger" FROM taken
"""
NOBODY: Final = ""
"""The lease of what was owed to a lane that somebody else had locked: it ends at once, and whoever claims next puts the
delivery into its lane. Who has locked lanes must not wait for more.
"""

_ENDED: Final = "lease_until_us <= %(value)s"
_OF_NAME: Final = "starts_with(lease, %(value)s)"


class PostgresClaims(PostgresLanes):
    """What a deliverer takes, and what is taken from one that is gone."""

    def claim(
        self, *, now_us: int, lease: str, until_us: int, limit: int, share: int = MOST_IN_FLIGHT
    ) -> list[Claimed]:
        self._read = None
        self._take_back(_ENDED, now_us, now_us)
        claimed: list[Claimed] = []
        while len(claimed) < limit and (visits := self._visit(now_us, limit - len(claimed), share)):
            chosen = in_turns([it.due for it in visits], limit - len(claimed))
            pairs = [(key, it) for it, keys in zip(visits, chosen, strict=True) for key in keys]
            claimed += self._lease(
                [(key, it.found.endpoint, it.is_probe) for key, it in pairs], lease, until_us, now_us
            )
            self._note_visits(visits, [len(keys) for keys in chosen], now_us, share)
        return claimed

    def _visit(self, now_us: int, limit: int, share: int) -> list[Visit]:
        # Read by a statement of its own, which sees what was done in a lane until it was locked.
        keys = [key for (key,) in self._driver.execute(_LOCK_DUE, (now_us, limit))]
        self._locked |= set(keys)
        rows = self._driver.execute(_LANES, (keys,)).fetchall() if keys else []
        found = [Found(keyed(key, body), decode_lane(lane), held) for key, lane, body, held in rows]
        queued = self._queued(found, now_us, share)
        return [visit(it, queued[it.endpoint.key], now_us, share) for it in found]

    def _queued(self, found: Sequence[Found], now_us: int, share: int) -> Mapping[int, list[tuple[int, int]]]:
        """The next deliveries of each lane, one more than it has room for."""
        most = {it.endpoint.key: free + 1 for it in found if (free := it.free(now_us, share))}
        queued: dict[int, list[tuple[int, int]]] = defaultdict(list)
        if most:
            for of, key, due_us in self._driver.execute(_QUEUES.encode(), (list(most), list(most.values()))):
                queued[of].append((key, due_us))
        return queued

    def _lease(
        self, chosen: Sequence[tuple[int, Endpoint, bool]], lease: str, until_us: int, now_us: int
    ) -> list[Claimed]:
        """Lease deliveries of endpoints, each of which may be a probe."""
        if not chosen:
            return []
        keys = [key for key, _, _ in chosen]
        found = self._driver.execute(_LEASE, {"keys": keys, "lease": lease, "until": until_us, "now": now_us})
        return [
            Claimed(key, id_, endpoint, body, n, step, lease, trigger, is_probe, planned_us, first_us)
            for (key, id_, n, step, trigger, planned_us, first_us, body), (_, endpoint, is_probe) in zip(
                found, chosen, strict=True
            )
        ]

    def _note_visits(self, visits: Sequence[Visit], taken: Sequence[int], now_us: int, share: int) -> None:
        keys, looks, lanes = list[int](), list[int | None](), list[tuple[bytes, int]]()
        for it, count in zip(visits, taken, strict=True):
            lane, look_us = left(it, count, now_us, share)
            keys.append(it.found.endpoint.key)
            looks.append(look_us)
            if lane is not it.found.lane:
                lanes.append((encode(lane), it.found.endpoint.key))
        self._driver.execute(_NOTE_VISITS, (keys, looks))
        self._many(_NOTE_LANE, lanes)

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        return self._take_back(_OF_NAME, lease_prefix, now_us)

    def _take_back(self, which: str, value: str | int, now_us: int) -> int:
        """Leased deliveries wait again, with the due time that they had; their attempts ended without us. Nobody waits
        for a test any more. Lanes that somebody else has keep theirs until the next claim.
        """
        found = self._driver.execute(_INTERRUPTED_LANES.format(which=which).encode(), {"value": value}).fetchall()
        lanes = {key for (key,) in found}
        self._lock_free(lanes)
        if not (held := lanes & self._locked):
            return 0
        values = {"value": value, "lanes": list(held), "now": now_us, "nobody": NOBODY}
        taken = self._driver.execute(_TAKE_BACK.format(which=which).encode(), values).fetchall()
        self.stand_back(key for key, _, _, trigger in taken if trigger != "test")
        # Keys are taken before a lane is locked: an earlier one of an order may be stored later, and wait for this one.
        self._wake_idle([(of, order_key) for _, of, order_key, _ in taken], now_us)
        self.look(held, now_us)
        return len(taken)
