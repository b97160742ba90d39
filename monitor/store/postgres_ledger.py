"""The ledger's hot path in PostgreSQL: what is owed, and how sends end, a few statements for each batch.

Batches of several projectors and several deliverers run side by side; `postgres_lanes` says what keeps them apart.
`postgres_write` mixes this into its Writer.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from monitor.store.ledger import encode
from monitor.store.postgres_arrays import Blobs, Ints, Texts
from monitor.store.postgres_claims import NOBODY, PostgresClaims
from monitor.store.postgres_lanes import first_open
from monitor.store.postgres_merges import Merge, inserted
from monitor.store.postgres_tables import sequence_of
from monitor.webhooks.delivery import Claimed, Outcome, Planned, Trigger

_KNOWN: Final = "SELECT id FROM deliveries WHERE id = ANY(%s)"
_ADDRESSEES: Final = "SELECT key FROM endpoints WHERE key = ANY(%s)"
_KEYS: Final = "SELECT nextval(%s::text::regclass) FROM generate_series(1, %s) ORDER BY 1"
_WAITED_FOR: Final = f"""
SELECT of.endpoint_key, of.order_key FROM unnest(%s::bigint[], %s::text[]) AS of (endpoint_key, order_key)
WHERE {first_open("of.endpoint_key", "of.order_key", "0")} IS NOT NULL
"""  # noqa: S608 - constants
_ADD_BODIES: Final = inserted("delivery_bodies", "key body")
_ADD_DELIVERIES: Final = inserted(
    "deliveries",
    "key id endpoint_key body_key event_id event_type team execution_id trigger state due_us planned_us order_key "
    "lease lease_until_us attempts step rank",
    otherwise="ON CONFLICT (id) DO NOTHING",
)
_LOOK: Final = """
UPDATE lanes AS l SET look_us = due.look_us FROM unnest(%s::bigint[], %s::bigint[]) AS due (key, look_us)
WHERE l.endpoint_key = due.key AND (l.look_us IS NULL OR l.look_us > due.look_us)
"""
_END: Final = Merge(
    b"""
    UPDATE attempts AS a
    SET finished_us = now.finished_us, status = now.status, error = now.error, answer = now.answer, detail = now.detail
    FROM unnest(%s, %s, %s, %s, %s, %s, %s) AS now (delivery_key, n, finished_us, status, error, answer, detail)
    WHERE a.delivery_key = now.delivery_key AND a.n = now.n
    """,
    (Ints, Ints, Ints, Ints, Texts, Blobs, Blobs),
)
_LEASED: Final = "SELECT key, lease, order_key FROM deliveries WHERE key = ANY(%s) AND state = 'leased'"
_MOVE_ON: Final = """
UPDATE deliveries AS d
SET state = now.state, reason = now.reason, due_us = now.due_us, step = now.step, lease = NULL, lease_until_us = NULL
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS now (key, state, reason, due_us, step)
WHERE d.key = now.key
"""

_Place = tuple[int, int, Planned]
"""The keys of a delivery and of its body, and it."""


class PostgresLedger(PostgresClaims):
    """The ledger's part of the Writer port, complete."""

    # Owed

    def owe(self, planned: Sequence[Planned]) -> None:
        self._owe(planned, "event")

    def _owe(self, planned: Sequence[Planned], trigger: Trigger) -> dict[str, int]:
        """Store what is not there yet, to endpoints that still are, equal bodies of an event once. Returns its keys."""
        fresh = self._fresh(planned)
        if not fresh:
            return {}
        lanes = {it.endpoint_key for it in fresh}
        bodies = self._add_bodies(dict.fromkeys((it.event_id, it.body) for it in fresh))
        keys = dict(zip((it.id for it in fresh), self._keys("deliveries", len(fresh)), strict=True))
        places = [(keys[it.id], bodies[it.event_id, it.body], it) for it in fresh]
        free, ordered = _by_order(places)
        if self._locked:
            self._lock_free(lanes)
            self._add(free, trigger, self._locked)
        else:
            # Before its lanes are locked, for others claim from them meanwhile.
            self._add(free, trigger, lanes)
            self._lock(lanes)
        waiting = self._waiting(ordered)
        self._add(ordered, trigger, self._locked, waiting)
        self._look_at([it for _, _, it in places if it.id not in waiting and it.endpoint_key in self._locked])
        return keys

    def _fresh(self, planned: Sequence[Planned]) -> list[Planned]:
        known = {id_ for (id_,) in self._driver.execute(_KNOWN, ([it.id for it in planned],))}
        addressees = {key for (key,) in self._driver.execute(_ADDRESSEES, (list({it.endpoint_key for it in planned}),))}
        fresh: dict[str, Planned] = {}
        for it in planned:
            if it.id not in known and it.endpoint_key in addressees:
                fresh.setdefault(it.id, it)
        return list(fresh.values())

    def _add_bodies(self, bodies: Collection[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], int]:
        keys = dict(zip(bodies, self._keys("delivery_bodies", len(bodies)), strict=True))
        self._merge(_ADD_BODIES, [(key, body) for (_, body), key in keys.items()])
        return keys

    def _keys(self, table: str, count: int) -> list[int]:
        return [key for (key,) in self._driver.execute(_KEYS, (sequence_of(table), count))]

    def _waiting(self, ordered: Sequence[_Place]) -> set[str]:
        """Ids of those that wait for an earlier one of their order, be it stored or among them."""
        orders = dict.fromkeys((it.endpoint_key, it.order_key or "") for _, _, it in ordered)
        if not orders:
            return set()
        of, order_keys = zip(*orders, strict=True)
        open_ = set(self._driver.execute(_WAITED_FOR.encode(), (list(of), list(order_keys))))
        waiting: set[str] = set()
        for _, _, it in ordered:
            order = (it.endpoint_key, it.order_key or "")
            if order in open_:
                waiting.add(it.id)
            open_.add(order)
        return waiting

    def _add(
        self,
        places: Sequence[_Place],
        trigger: Trigger,
        lanes: Collection[int],
        waiting: Collection[str] = frozenset(),
    ) -> None:
        """Store deliveries: pending, those in one of `lanes`; leased by nobody the others."""
        rows = [_row(place, trigger, place[2].endpoint_key in lanes, place[2].id in waiting) for place in places]
        self._merge(_ADD_DELIVERIES, rows)

    def _look_at(self, due: Iterable[Planned]) -> None:
        """See whether lanes have something to do when these are due."""
        looks: dict[int, int] = {}
        for it in due:
            looks[it.endpoint_key] = min(looks.get(it.endpoint_key, it.due_us), it.due_us)
        if looks:
            self._driver.execute(_LOOK, (list(looks), list(looks.values())))

    def begin(self, planned: Planned, trigger: Trigger, *, now_us: int, lease: str, until_us: int) -> Claimed | None:
        key = self._owe([planned], trigger).get(planned.id)
        endpoint = self.endpoint_of(planned.endpoint_key)
        if key is None or endpoint is None:
            return None
        [claimed] = self._lease([(key, endpoint, False)], lease, until_us, now_us)
        return claimed

    # Ends

    def finish(self, outcomes: Sequence[Outcome]) -> set[int]:
        """The port's. Lanes are locked here: call it before anything else."""
        if not outcomes:
            return set()
        lanes = {it.endpoint_key for it in outcomes}
        self._lock(lanes)
        # Of two outcomes of one attempt the later one stays, as if they came one by one.
        self._merge(_END, list({row[:2]: row for row in map(_end, outcomes)}.values()))
        found = self._driver.execute(_LEASED, ([it.key for it in outcomes],)).fetchall()
        leases = {key: (lease, order_key) for key, lease, order_key in found}
        held = list[tuple[Outcome, str | None]]()
        for it in outcomes:
            lease, order_key = leases.get(it.key, (None, None))
            if lease == it.lease:
                held.append((it, order_key))
                del leases[it.key]  # a second outcome of the same lease comes too late
        self._move_on([it for it, _ in held])
        latest_us = max(it.finished_us for it in outcomes)
        ordered = [(it, order_key) for it, order_key in held if order_key is not None]
        self.stand_back(it.key for it, _ in ordered if it.state == "pending")
        self.wake([(it.endpoint_key, order_key) for it, order_key in ordered], latest_us)
        self.look(lanes, latest_us)
        self._read_lanes(lanes)
        return {it.key for it, _ in held}

    def _move_on(self, ended: Sequence[Outcome]) -> None:
        if ended:
            rows = [(it.key, it.state, it.reason, it.due_us, it.step) for it in ended]
            self._driver.execute(_MOVE_ON, [list(column) for column in zip(*rows, strict=True)])


def _by_order(places: Sequence[_Place]) -> tuple[list[_Place], list[_Place]]:
    """Those that wait for nobody, and those that keep an order."""
    free = [place for place in places if place[2].order_key is None]
    return free, [place for place in places if place[2].order_key is not None]


def _row(place: _Place, trigger: Trigger, is_held: bool, waits: bool) -> tuple[Any, ...]:
    key, body_key, it = place
    about = (key, it.id, it.endpoint_key, body_key, it.event_id, it.event_type, it.team, it.execution_id, trigger)
    times = (None if waits else it.due_us, it.due_us, it.order_key)
    state = ("pending", *times, None, None) if is_held else ("leased", *times, NOBODY, it.due_us)
    return (*about, *state, 0, 0, 0)


def _end(it: Outcome) -> tuple[Any, ...]:
    return (it.key, it.n, it.finished_us, it.status, it.error, it.answer, encode(it.detail))
