"""The ledger's hot path in SQLite: owe, claim and finish, a few statements for each batch and none for the idle.

Claims go by lane. A lane that may have something to do is in the index `lanes_to_look_at`; claiming visits those that
are due, the one that waited longest first, and notes when to look again: ten thousand idle endpoints cost nothing, and
a dead one with a long queue delays nobody. `sqlite_write` mixes this into its Writer.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from monitor.store.claiming import Found, Visit, in_turns, left, visit
from monitor.store.ledger import OPEN, RANKS, LedgerWrites, decode_lane, encode, keyed
from monitor.webhooks.delivery import Claimed, Outcome, Planned, Trigger
from monitor.webhooks.endpoint import MOST_IN_FLIGHT, Endpoint
from monitor.webhooks.lane import Lane

_KNOWN: Final = """
SELECT d.id FROM json_each(?) AS wanted CROSS JOIN deliveries AS d ON d.id = wanted.value
"""
_ADDRESSEES: Final = """
SELECT e.key FROM json_each(?) AS wanted CROSS JOIN endpoints AS e ON e.key = wanted.value
"""
_IS_WAITED_FOR: Final = f"""
SELECT EXISTS (
    SELECT 1 FROM deliveries INDEXED BY deliveries_in_order
    WHERE endpoint_key = ? AND order_key = ? AND rank = 0 AND {OPEN}
)
"""  # noqa: S608 - a constant
_ADD_DELIVERY: Final = """
INSERT INTO deliveries (
    key, id, endpoint_key, body_key, event_id, event_type, team, execution_id, state, "trigger", attempts, step, rank,
    due_us, planned_us, order_key
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, 0, 0, 0, ?, ?, ?)
"""
_LOOK: Final = """
UPDATE lanes SET look_us = ?1 WHERE endpoint_key = ?2 AND (look_us IS NULL OR look_us > ?1)
"""

# Indexes are named where another one would do for few rows and be ruinous for many.

_INTERRUPTED: Final = """
SELECT key, endpoint_key, attempts, "trigger" = 'test' FROM deliveries INDEXED BY deliveries_by_lease_end
WHERE state = 'leased' AND {held}
"""
_TAKE_BACK: Final = """
UPDATE deliveries SET state = 'pending', lease = NULL, lease_until_us = NULL WHERE key = ?
"""
_DROP_TEST: Final = """
UPDATE deliveries
SET state = 'failed', reason = 'interrupted', due_us = NULL, lease = NULL, lease_until_us = NULL
WHERE key = ?
"""
_INTERRUPT: Final = """
UPDATE attempts SET finished_us = ?, error = 'interrupted' WHERE delivery_key = ? AND n = ? AND finished_us IS NULL
"""

_LANES: Final = """
SELECT l.endpoint_key, l.body, e.body,
    (SELECT count(*) FROM deliveries AS d INDEXED BY deliveries_leased
     WHERE d.endpoint_key = l.endpoint_key AND d.state = 'leased')
FROM lanes AS l INDEXED BY lanes_to_look_at CROSS JOIN endpoints AS e ON e.key = l.endpoint_key
WHERE l.look_us <= ? ORDER BY l.look_us, l.endpoint_key LIMIT ?
"""
_QUEUE: Final = """
SELECT key, due_us FROM deliveries INDEXED BY deliveries_due
WHERE endpoint_key = ?1 AND state = 'pending' AND rank = {rank} AND due_us IS NOT NULL
ORDER BY due_us, key LIMIT ?2
"""
_QUEUES: Final = "UNION ALL".join(f" SELECT * FROM ({_QUEUE.format(rank=rank)}) " for rank in RANKS)  # noqa: S608
_TO_LEASE: Final = """
SELECT d.key, d.id, d.attempts + 1, d.step, d."trigger", d.planned_us, coalesce(d.first_us, ?1), b.body
FROM json_each(?2) AS wanted
CROSS JOIN deliveries AS d ON d.key = wanted.value
CROSS JOIN delivery_bodies AS b ON b.key = d.body_key
"""
_LEASE: Final = """
UPDATE deliveries SET state = 'leased', lease = ?, lease_until_us = ?, attempts = ?, first_us = ? WHERE key = ?
"""
_START: Final = """
INSERT INTO attempts (delivery_key, n, "trigger", started_us, answer) VALUES (?, ?, ?, ?, x'')
"""
_NOTE_LOOK: Final = "UPDATE lanes SET look_us = ? WHERE endpoint_key = ?"
_NOTE_LANE: Final = "UPDATE lanes SET body = ? WHERE endpoint_key = ?"

_NEXT_LOOK: Final = """
SELECT
    (SELECT min(look_us) FROM lanes INDEXED BY lanes_to_look_at WHERE look_us IS NOT NULL),
    (SELECT min(lease_until_us) FROM deliveries INDEXED BY deliveries_by_lease_end WHERE state = 'leased')
"""

_HELD: Final = """
SELECT d.key, d.lease, d.order_key
FROM json_each(?) AS wanted CROSS JOIN deliveries AS d ON d.key = wanted.value
WHERE d.state = 'leased'
"""
_END: Final = """
UPDATE attempts SET finished_us = ?, status = ?, error = ?, answer = ?, detail = ? WHERE delivery_key = ? AND n = ?
"""
_MOVE_ON: Final = """
UPDATE deliveries SET state = ?, reason = ?, due_us = ?, step = ?, lease = NULL, lease_until_us = NULL WHERE key = ?
"""
_FIRST_OF_ORDER: Final = f"""
SELECT min(key) FROM deliveries INDEXED BY deliveries_in_order
WHERE endpoint_key = ?2 AND order_key = ?3 AND rank = {{rank}} AND {OPEN}
"""  # noqa: S608 - a constant
_FIRSTS: Final = ", ".join(f"({_FIRST_OF_ORDER.format(rank=rank)})" for rank in RANKS)
_WAKE: Final = f"""
UPDATE deliveries SET due_us = ?1
WHERE key IN ({_FIRSTS}) AND state = 'pending' AND due_us IS NULL AND reason IS NULL
"""  # noqa: S608 - a constant
_STAND_BACK: Final = f"""
UPDATE deliveries SET due_us = NULL
WHERE key = ? AND state = 'pending' AND order_key IS NOT NULL AND EXISTS (
    SELECT 1 FROM deliveries AS earlier INDEXED BY deliveries_in_order
    WHERE earlier.endpoint_key = deliveries.endpoint_key AND earlier.order_key = deliveries.order_key
        AND earlier.rank = deliveries.rank AND earlier.{OPEN} AND earlier.key < deliveries.key
)
"""  # noqa: S608 - a constant


class SQLiteLedger(LedgerWrites):
    """The ledger's part of the Writer port, complete."""

    @property
    def _driver(self) -> sqlite3.Connection:
        """The driver's own connection; there is none once the transaction is over."""
        driver: sqlite3.Connection | None = self._connection.connection.driver_connection
        assert driver is not None
        return driver

    # Asked for every lane that a deliverer settles

    def endpoint_of(self, key: int) -> Endpoint | None:
        found = self._driver.execute("SELECT body FROM endpoints WHERE key = ?", (key,)).fetchone()
        return None if found is None else keyed(key, found[0])

    def lane(self, endpoint_key: int) -> Lane:
        found = self._driver.execute("SELECT body FROM lanes WHERE endpoint_key = ?", (endpoint_key,)).fetchone()
        return Lane() if found is None else decode_lane(found[0])

    def put_lane(self, endpoint_key: int, lane: Lane) -> None:
        self._driver.execute(_NOTE_LANE, (encode(lane), endpoint_key))

    def next_look_us(self) -> int | None:
        [(look_us, lease_us)] = self._driver.execute(_NEXT_LOOK)
        return min((at_us for at_us in (look_us, lease_us) if at_us is not None), default=None)

    def look(self, endpoint_keys: Iterable[int], at_us: int) -> None:
        self._driver.executemany(_LOOK, [(at_us, key) for key in endpoint_keys])

    def wake(self, ended: Iterable[tuple[int, str | None]], now_us: int) -> None:
        orders = {(key, order_key) for key, order_key in ended if order_key is not None}
        self._driver.executemany(_WAKE, [(now_us, *order) for order in sorted(orders)])

    def stand_back(self, keys: Iterable[int]) -> None:
        self._driver.executemany(_STAND_BACK, [(key,) for key in keys])

    # Owed

    def owe(self, planned: Sequence[Planned]) -> None:
        self._owe(planned, "event")

    def _owe(self, planned: Sequence[Planned], trigger: Trigger) -> dict[str, int]:
        """Store what is not there yet, to endpoints that still are, equal bodies of an event once. Returns its keys."""
        known = {row[0] for row in self._driver.execute(_KNOWN, (json.dumps([it.id for it in planned]),))}
        wanted = sorted({it.endpoint_key for it in planned})
        addressees = {row[0] for row in self._driver.execute(_ADDRESSEES, (json.dumps(wanted),))}
        fresh: dict[str, Planned] = {}
        for it in planned:
            if it.id not in known and it.endpoint_key in addressees:
                fresh.setdefault(it.id, it)
        if not fresh:
            return {}
        bodies = self._add_bodies(dict.fromkeys((it.event_id, it.body) for it in fresh.values()))
        key = self._highest("deliveries")
        waited_for: set[tuple[int, str]] = set()
        rows, looks, keys = list[tuple[Any, ...]](), dict[int, int](), dict[str, int]()
        for it in fresh.values():
            key += 1
            due_us = None if it.order_key is not None and self._waits(it, waited_for) else it.due_us
            keys[it.id] = key
            if due_us is not None:
                looks[it.endpoint_key] = min(looks.get(it.endpoint_key, due_us), due_us)
            named = (key, it.id, it.endpoint_key, bodies[it.event_id, it.body], it.event_id, it.event_type)
            rows.append((*named, it.team, it.execution_id, trigger, due_us, it.due_us, it.order_key))
        self._driver.executemany(_ADD_DELIVERY, rows)
        self._driver.executemany(_LOOK, [(at_us, endpoint_key) for endpoint_key, at_us in looks.items()])
        return keys

    def _add_bodies(self, bodies: Iterable[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], int]:
        keys = {body: key for key, body in enumerate(bodies, self._highest("delivery_bodies") + 1)}
        self._driver.executemany(
            "INSERT INTO delivery_bodies (key, body) VALUES (?, ?)", [(key, body) for (_, body), key in keys.items()]
        )
        return keys

    def _highest(self, table: str) -> int:
        [(key,)] = self._driver.execute(f"SELECT max(key) FROM {table}")  # noqa: S608 - a constant
        return key or 0

    def _waits(self, it: Planned, waited_for: set[tuple[int, str]]) -> bool:
        """Whether an earlier delivery of its order is still open; from now on it is one itself."""
        order = (it.endpoint_key, it.order_key or "")
        if order in waited_for:
            return True
        waited_for.add(order)
        [(waits,)] = self._driver.execute(_IS_WAITED_FOR, order)
        return bool(waits)

    # Claims

    def claim(
        self, *, now_us: int, lease: str, until_us: int, limit: int, share: int = MOST_IN_FLIGHT
    ) -> list[Claimed]:
        self._take_back("lease_until_us <= ?", now_us, now_us)
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
        rows = self._driver.execute(_LANES, (now_us, limit)).fetchall()
        found = [Found(keyed(key, body), decode_lane(lane), held) for key, lane, body, held in rows]
        return [visit(it, self._queued(it, now_us, share), now_us, share) for it in found]

    def _queued(self, it: Found, now_us: int, share: int) -> list[tuple[int, int]]:
        """Its next deliveries, one more than it has room for."""
        free = it.free(now_us, share)
        return self._driver.execute(_QUEUES, (it.endpoint.key, free + 1)).fetchall() if free else []

    def _lease(
        self, chosen: Sequence[tuple[int, Endpoint, bool]], lease: str, until_us: int, now_us: int
    ) -> list[Claimed]:
        """Lease deliveries of endpoints, each of which may be a probe."""
        if not chosen:
            return []
        found = self._driver.execute(_TO_LEASE, (now_us, json.dumps([key for key, _, _ in chosen]))).fetchall()
        leases = [(lease, until_us, n, first_us, key) for key, _, n, _, _, _, first_us, _ in found]
        self._driver.executemany(_LEASE, leases)
        self._driver.executemany(_START, [(key, n, trigger, now_us) for key, _, n, _, trigger, *_ in found])
        return [
            Claimed(key, id_, endpoint, body, n, step, lease, trigger, is_probe, planned_us, first_us)
            for (key, id_, n, step, trigger, planned_us, first_us, body), (_, endpoint, is_probe) in zip(
                found, chosen, strict=True
            )
        ]

    def _note_visits(self, visits: Sequence[Visit], taken: Sequence[int], now_us: int, share: int) -> None:
        looks, lanes = list[tuple[int | None, int]](), list[tuple[bytes, int]]()
        for it, count in zip(visits, taken, strict=True):
            lane, look_us = left(it, count, now_us, share)
            looks.append((look_us, it.found.endpoint.key))
            if lane is not it.found.lane:
                lanes.append((encode(lane), it.found.endpoint.key))
        self._driver.executemany(_NOTE_LOOK, looks)
        self._driver.executemany(_NOTE_LANE, lanes)

    def begin(self, planned: Planned, trigger: Trigger, *, now_us: int, lease: str, until_us: int) -> Claimed | None:
        key = self._owe([planned], trigger).get(planned.id)
        endpoint = self.endpoint_of(planned.endpoint_key)
        if key is None or endpoint is None:
            return None
        [claimed] = self._lease([(key, endpoint, False)], lease, until_us, now_us)
        return claimed

    # Ends

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        if not outcomes:
            return set()
        self._driver.executemany(_END, [_end(it) for it in outcomes])
        found = self._driver.execute(_HELD, (json.dumps([it.key for it in outcomes]),)).fetchall()
        leases = {key: (lease, order_key) for key, lease, order_key in found}
        held = list[tuple[Outcome, str | None]]()
        for it in outcomes:
            lease, order_key = leases.get(it.key, (None, None))
            if lease == it.lease:
                held.append((it, order_key))
                del leases[it.key]  # a second outcome of the same lease comes too late
        self._driver.executemany(_MOVE_ON, [(it.state, it.reason, it.due_us, it.step, it.key) for it, _ in held])
        latest_us = max(it.finished_us for it in outcomes)
        ordered = [(it, order_key) for it, order_key in held if order_key is not None]
        self.stand_back(it.key for it, _ in ordered if it.state == "pending")
        self.wake([(it.endpoint_key, order_key) for it, order_key in ordered], latest_us)
        self.look({it.endpoint_key for it in outcomes}, latest_us)
        return {it.key for it, _ in held}

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        return self._take_back("substr(lease, 1, length(?1)) = ?1", lease_prefix, now_us)

    def _take_back(self, held: str, value: str | int, now_us: int) -> int:
        """Leased deliveries wait again, with the due time that they had; their attempts ended without us. Nobody waits
        for a test any more.
        """
        found = self._driver.execute(_INTERRUPTED.format(held=held), (value,)).fetchall()
        if found:
            waiting = [key for key, _, _, is_test in found if not is_test]
            self._driver.executemany(_TAKE_BACK, [(key,) for key in waiting])
            self._driver.executemany(_DROP_TEST, [(key,) for key, _, _, is_test in found if is_test])
            self._driver.executemany(_INTERRUPT, [(now_us, key, n) for key, _, n, _ in found])
            self.stand_back(waiting)
            self.look({endpoint_key for _, endpoint_key, _, _ in found}, now_us)
        return len(found)


def _end(it: Outcome) -> tuple[Any, ...]:
    return (it.finished_us, it.status, it.error, it.answer, encode(it.detail), it.key, it.n)
