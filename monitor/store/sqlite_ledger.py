"""The ledger's hot path in SQLite: owe, claim and finish, a few statements for each delivery and none for the idle.

Claims go by lane. A lane that may have something to do is in the index `lanes_to_look_at`; claiming visits those that
are due, the one that waited longest first, and notes when to look again: ten thousand idle endpoints cost nothing, and
a dead one with a long queue delays nobody. `sqlite_write` mixes this into its Writer.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from monitor.store.ledger import OPEN, RANKS, LedgerWrites, decode_lane, encode, keyed
from monitor.webhooks.delivery import Claimed, Outcome, Planned, Trigger
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane, begun, room

_KNOWN: Final = """
SELECT d.id FROM json_each(?) AS wanted CROSS JOIN deliveries AS d ON d.id = wanted.value
"""
_ADDRESSEES: Final = """
SELECT e.key FROM json_each(?) AS wanted CROSS JOIN endpoints AS e ON e.key = wanted.value
"""
_IS_WAITED_FOR: Final = f"""
SELECT EXISTS (SELECT 1 FROM deliveries WHERE endpoint_key = ? AND order_key = ? AND rank = 0 AND {OPEN})
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

_INTERRUPTED: Final = """
UPDATE deliveries
SET state = iif("trigger" = 'test', 'failed', 'pending'), reason = iif("trigger" = 'test', 'interrupted', reason),
    due_us = iif("trigger" = 'test', NULL, due_us), lease = NULL, lease_until_us = NULL
WHERE state = 'leased' AND {held}
RETURNING key, endpoint_key, attempts
"""
_INTERRUPT: Final = """
UPDATE attempts SET finished_us = ?, error = 'interrupted' WHERE delivery_key = ? AND n = ? AND finished_us IS NULL
"""

_LANES: Final = """
SELECT l.endpoint_key, l.body, e.body,
    (SELECT count(*) FROM deliveries AS d WHERE d.endpoint_key = l.endpoint_key AND d.state = 'leased')
FROM lanes AS l CROSS JOIN endpoints AS e ON e.key = l.endpoint_key
WHERE l.look_us <= ? ORDER BY l.look_us, l.endpoint_key LIMIT ?
"""
_DUE: Final = """
SELECT key FROM deliveries WHERE endpoint_key = ? AND state = 'pending' AND rank = ? AND due_us <= ?
ORDER BY due_us, key LIMIT ?
"""
_NEXT_DUE: Final = """
SELECT due_us FROM deliveries WHERE endpoint_key = ? AND state = 'pending' AND rank = ? AND due_us IS NOT NULL
ORDER BY due_us LIMIT 1
"""
_LEASE: Final = """
UPDATE deliveries
SET state = 'leased', lease = ?, lease_until_us = ?, attempts = attempts + 1, first_us = coalesce(first_us, ?)
WHERE key = ?
RETURNING id, body_key, attempts, step, "trigger", planned_us, first_us
"""
_START: Final = """
INSERT INTO attempts (delivery_key, n, "trigger", started_us, answer) VALUES (?, ?, ?, ?, x'')
"""

_END: Final = """
UPDATE attempts SET finished_us = ?, status = ?, error = ?, answer = ?, detail = ? WHERE delivery_key = ? AND n = ?
"""
_MOVE_ON: Final = """
UPDATE deliveries
SET state = ?, reason = ?, due_us = ?, step = ?, lease = NULL, lease_until_us = NULL
WHERE key = ? AND lease = ? AND state = 'leased'
RETURNING order_key
"""


class _Visited(NamedTuple):
    """A lane as a claim found it, and what may be sent of it."""

    endpoint: Endpoint
    lane: Lane
    in_flight: int
    is_probe: bool
    due: Sequence[int]


class SQLiteLedger(LedgerWrites):
    """The ledger's part of the Writer port, complete."""

    @property
    def _driver(self) -> sqlite3.Connection:
        """The driver's own connection; there is none once the transaction is over."""
        driver: sqlite3.Connection | None = self._connection.connection.driver_connection
        assert driver is not None
        return driver

    def look(self, endpoint_keys: Iterable[int], at_us: int) -> None:
        self._driver.executemany(_LOOK, [(at_us, key) for key in endpoint_keys])

    # Owed

    def owe(self, planned: Sequence[Planned]) -> None:
        self._owe(planned, "event")

    def _owe(self, planned: Sequence[Planned], trigger: Trigger) -> dict[str, int]:
        """Store what is not there yet, to endpoints that still are, equal bodies of an event once. Returns its keys."""
        known = {row[0] for row in self._driver.execute(_KNOWN, (json.dumps([it.id for it in planned]),))}
        wanted = sorted({it.endpoint_key for it in planned})
        addressees = {row[0] for row in self._driver.execute(_ADDRESSEES, (json.dumps(wanted),))}
        fresh = {it.id: it for it in planned if it.id not in known and it.endpoint_key in addressees}
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
            looks[it.endpoint_key] = min(looks.get(it.endpoint_key, it.due_us), it.due_us)
            named = (key, it.id, it.endpoint_key, bodies[it.event_id, it.body], it.event_id, it.event_type)
            rows.append((*named, it.team, it.execution_id, trigger, due_us, it.due_us, it.order_key))
        self._driver.executemany(_ADD_DELIVERY, rows)
        self._driver.executemany(_LOOK, [(due_us, endpoint_key) for endpoint_key, due_us in looks.items()])
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

    def claim(self, *, now_us: int, lease: str, until_us: int, limit: int) -> list[Claimed]:
        self._take_back("lease_until_us < ?", now_us, now_us)
        claimed: list[Claimed] = []
        while len(claimed) < limit and (lanes := self._visit(now_us, limit - len(claimed))):
            chosen = _in_turns([visited.due for visited in lanes], limit - len(claimed))
            for visited, keys in zip(lanes, chosen, strict=True):
                claimed += [self._lease(key, visited, lease, until_us, now_us) for key in keys]
                self._note_visit(visited, len(keys), now_us)
        return claimed

    def _visit(self, now_us: int, limit: int) -> list[_Visited]:
        found = self._driver.execute(_LANES, (now_us, limit)).fetchall()
        return [self._look_into(keyed(key, body), decode_lane(lane), held, now_us) for key, lane, body, held in found]

    def _look_into(self, endpoint: Endpoint, lane: Lane, in_flight: int, now_us: int) -> _Visited:
        free, _, is_probe = room(lane, endpoint, in_flight, now_us)
        due: list[int] = []
        for rank in RANKS:
            if len(due) < free:
                found = self._driver.execute(_DUE, (endpoint.key, rank, now_us, free - len(due)))
                due += [key for (key,) in found]
        return _Visited(endpoint, lane, in_flight, is_probe, due)

    def _lease(self, key: int, visited: _Visited, lease: str, until_us: int, now_us: int) -> Claimed:
        [(id_, body_key, n, step, trigger, planned_us, first_us)] = self._driver.execute(
            _LEASE, (lease, until_us, now_us, key)
        ).fetchall()
        self._driver.execute(_START, (key, n, trigger, now_us))
        [(body,)] = self._driver.execute("SELECT body FROM delivery_bodies WHERE key = ?", (body_key,))
        place = (key, id_, visited.endpoint, body, n, step, lease, trigger)
        return Claimed(*place, visited.is_probe, planned_us, first_us)

    def _note_visit(self, visited: _Visited, taken: int, now_us: int) -> None:
        """Say when to look into the lane again: what is left is due now, or later, or waits for a send to end."""
        endpoint, lane = visited.endpoint, begun(visited.lane, visited.endpoint, taken, now_us)
        free, look_us, _ = room(lane, endpoint, visited.in_flight + taken, now_us)
        if free:
            look_us = now_us if taken < len(visited.due) else self._next_due_us(endpoint.key)
        self._driver.execute("UPDATE lanes SET look_us = ? WHERE endpoint_key = ?", (look_us, endpoint.key))
        if lane is not visited.lane:
            self._driver.execute("UPDATE lanes SET body = ? WHERE endpoint_key = ?", (encode(lane), endpoint.key))

    def _next_due_us(self, endpoint_key: int) -> int | None:
        found = [self._driver.execute(_NEXT_DUE, (endpoint_key, rank)).fetchone() for rank in RANKS]
        return min((row[0] for row in found if row is not None), default=None)

    def begin(self, planned: Planned, trigger: Trigger, *, now_us: int, lease: str, until_us: int) -> Claimed | None:
        key = self._owe([planned], trigger).get(planned.id)
        endpoint = self.endpoint_of(planned.endpoint_key)
        if key is None or endpoint is None:
            return None
        return self._lease(key, _Visited(endpoint, Lane(), 0, False, ()), lease, until_us, now_us)

    # Ends

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        self._driver.executemany(_END, [_end(it) for it in outcomes])
        held: set[int] = set()
        for it in outcomes:
            values = (it.state, it.reason, it.due_us, it.step, it.key, it.lease)
            moved = self._driver.execute(_MOVE_ON, values).fetchall()
            if moved:
                held.add(it.key)
                if it.state != "pending" and moved[0][0] is not None:
                    self.wake([(it.endpoint_key, moved[0][0])], it.finished_us)
        self.look({it.endpoint_key for it in outcomes}, max((it.finished_us for it in outcomes), default=0))
        return held

    def release_leases(self, lease_prefix: str, now_us: int) -> int:
        return self._take_back("substr(lease, 1, length(?1)) = ?1", lease_prefix, now_us)

    def _take_back(self, held: str, value: str | int, now_us: int) -> int:
        """Leased deliveries wait again, with the due time that they had; their attempts ended without us. Nobody waits
        for a test any more.
        """
        found = self._driver.execute(_INTERRUPTED.format(held=held), (value,)).fetchall()
        self._driver.executemany(_INTERRUPT, [(now_us, key, n) for key, _, n in found])
        self.look({endpoint_key for _, endpoint_key, _ in found}, now_us)
        return len(found)


def _end(it: Outcome) -> tuple[Any, ...]:
    return (it.finished_us, it.status, it.error, it.answer, encode(it.detail), it.key, it.n)


def _in_turns(queues: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
    """The first of every queue, then the second, until `limit` are taken."""
    taken: list[list[int]] = [[] for _ in queues]
    for turn in zip_longest(*queues):
        for place, key in enumerate(turn):
            if key is not None and limit > 0:
                taken[place].append(key)
                limit -= 1
    return taken
