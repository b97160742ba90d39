"""The ledger: endpoints, their lanes, and the deliveries that are owed to them, in SQL that both databases share.

What people ask and decide stands here; what runs for every delivery (owe, claim, finish) is tuned per driver beside it.
Mixed into the Reader and Writer of the drivers; always inside a transaction.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.sql.elements import TextClause

from monitor.store import delivery_tables, tables
from monitor.store.delivery_port import REDELIVERABLE, AttemptRow, Backlog, DeliveryQuery, DeliveryRow, Replay
from monitor.store.delivery_tables import HELD, LEASED, PENDING
from monitor.webhooks.delivery import AttemptDetail, DeliveryState, Trigger
from monitor.webhooks.endpoint import Endpoint
from monitor.webhooks.lane import Lane, set_back

_A: Final = delivery_tables.attempts.c
_B: Final = delivery_tables.delivery_bodies.c
_D: Final = delivery_tables.deliveries.c
_E: Final = delivery_tables.endpoints.c
_L: Final = delivery_tables.lanes.c
_R: Final = delivery_tables.replays.c

LARGEST_IN: Final = 5_000
"""Values in one statement; SQLite as distributed takes 32,766."""

SHED_FIRST: Final = ("node.*", "log.*", "execution.progress", "execution.heartbeat")
"""What an overflowing lane sets aside. What tells that an execution began, waits or ended stays."""

ENDED: Final = ("delivered", "failed", "cancelled")
"""States of deliveries that may be forgotten."""

decode_endpoint: Final = msgspec.msgpack.Decoder(Endpoint).decode
decode_lane: Final = msgspec.msgpack.Decoder(Lane).decode
encode: Final = msgspec.msgpack.Encoder().encode
_decode_detail: Final = msgspec.msgpack.Decoder(AttemptDetail).decode
_decode_replay: Final = msgspec.msgpack.Decoder(Replay).decode

_DELIVERY: Final = (
    *(_D.key, _D.id, _D.endpoint_key, _D.team, _D.event_id, _D.event_type, _D.execution_id),
    *(_D.state, _D.reason, _D.trigger, _D.attempts, _D.step, _D.due_us, _D.planned_us, _B.body),
)


class LedgerReads:
    """The ledger's part of the Reader port."""

    _connection: Connection

    def endpoints(self, team: str | None, *, after_key: int = 0, limit: int | None = None) -> Sequence[Endpoint]:
        wanted = select(_E.key, _E.body).where(_E.key > after_key).order_by(_E.key).limit(limit)
        if team is not None:
            wanted = wanted.where(_E.team == team)
        return [keyed(key, body) for key, body in self._connection.execute(wanted)]

    def endpoint_count(self, team: str) -> int:
        return self._connection.scalars(
            select(func.count()).select_from(delivery_tables.endpoints).where(_E.team == team)
        ).one()

    def endpoint(self, team: str, endpoint_id: str) -> Endpoint | None:
        wanted = select(_E.key, _E.body).where(_E.team == team, _E.id == endpoint_id)
        found = self._connection.execute(wanted).one_or_none()
        return None if found is None else keyed(found.key, found.body)

    def endpoint_of(self, key: int) -> Endpoint | None:
        body = self._connection.scalars(select(_E.body).where(_E.key == key)).one_or_none()
        return None if body is None else keyed(key, body)

    def lane(self, endpoint_key: int) -> Lane:
        body = self._connection.scalars(select(_L.body).where(_L.endpoint_key == endpoint_key)).one_or_none()
        return Lane() if body is None else decode_lane(body)

    def deliveries(self, query: DeliveryQuery, limit: int) -> Sequence[DeliveryRow]:
        found = self._connection.execute(_rows().where(*_tests(query)).order_by(_D.key.desc()).limit(limit))
        return [DeliveryRow(*row) for row in found]

    def delivery_count(self, query: DeliveryQuery) -> int:
        wanted = select(func.count()).select_from(delivery_tables.deliveries).where(*_tests(query))
        return self._connection.scalars(wanted).one()

    def delivery(self, team: str, delivery_id: str) -> DeliveryRow | None:
        found = self._connection.execute(_rows().where(_D.id == delivery_id, _D.team == team)).one_or_none()
        return None if found is None else DeliveryRow(*found)

    def attempts(self, delivery_id: str) -> Sequence[AttemptRow]:
        wanted = (
            select(_A.n, _A.trigger, _A.started_us, _A.finished_us, _A.status, _A.error, _A.answer, _A.detail)
            .join_from(delivery_tables.attempts, delivery_tables.deliveries, _A.delivery_key == _D.key)
            .where(_D.id == delivery_id)
            .order_by(_A.n)
        )
        return [_attempt(*row) for row in self._connection.execute(wanted)]

    def backlog(self, endpoint_key: int | None) -> Backlog:
        of = () if endpoint_key is None else (_D.endpoint_key == endpoint_key,)

        def count(*tests: ColumnElement[bool] | TextClause) -> int:
            wanted = select(func.count()).select_from(delivery_tables.deliveries).where(*tests, *of)
            return self._connection.scalars(wanted).one()

        # Every pending one has a rank: naming it leads to the index of those that are due, past all that have ended.
        pending = (PENDING, _D.rank.in_(RANKS))
        counts = {
            "pending": count(*pending) - count(HELD, PENDING),
            "leased": count(LEASED),
            "held": count(HELD),
        }
        oldest = select(func.min(_D.planned_us)).where(*pending, *of)
        return Backlog(counts, self._connection.scalars(oldest).one())

    def next_look_us(self) -> int | None:
        look_us = self._connection.scalars(select(func.min(_L.look_us)).where(_L.look_us.is_not(None))).one()
        lease_us = self._connection.scalars(select(func.min(_D.lease_until_us)).where(LEASED)).one()
        return min((at_us for at_us in (look_us, lease_us) if at_us is not None), default=None)

    def replay(self, team: str, replay_id: str) -> Replay | None:
        wanted = select(_R.key, _R.body).where(_R.team == team, _R.id == replay_id)
        found = self._connection.execute(wanted).one_or_none()
        return None if found is None else _replay(found.key, found.body)

    def replays(self, endpoint_key: int | None) -> Sequence[Replay]:
        wanted = select(_R.key, _R.body).order_by(_R.key.desc())
        wanted = wanted.where(_R.state == "running" if endpoint_key is None else _R.endpoint_key == endpoint_key)
        return [_replay(key, body) for key, body in self._connection.execute(wanted)]

    def untried(self, replay_key: int) -> int:
        wanted = select(func.count()).where(_D.replay_key == replay_key, PENDING, _D.first_us.is_(None))
        return self._connection.scalars(wanted).one()

    def key_check(self) -> bytes | None:
        sealed: bytes | None = self._connection.scalars(select(tables.meta.c.key_check)).one()
        return sealed

    def keys_of(self, query: DeliveryQuery, after_key: int, limit: int) -> Sequence[int]:
        wanted = select(_D.key).where(_D.key > after_key, *_tests(query)).order_by(_D.key).limit(limit)
        return self._connection.scalars(wanted).all()


class LedgerWrites(LedgerReads, ABC):
    """The ledger's part of the Writer port, but for what is tuned per driver."""

    def set_key_check(self, sealed: bytes) -> None:
        self._connection.execute(update(tables.meta).values(key_check=sealed))

    # Endpoints and their lanes

    def endpoints_version(self) -> int:
        return int(self._connection.scalars(select(tables.meta.c.endpoints_version)).one())

    def add_endpoint(self, endpoint: Endpoint) -> Endpoint:
        row = {"id": endpoint.id, "team": endpoint.team, "body": encode(endpoint)}
        key = self._connection.scalars(insert(delivery_tables.endpoints).values(row).returning(_E.key)).one()
        self._connection.execute(
            insert(delivery_tables.lanes).values(endpoint_key=key, look_us=None, body=encode(Lane()))
        )
        self._raise_version()
        return msgspec.structs.replace(endpoint, key=key)

    def update_endpoint(self, endpoint: Endpoint) -> None:
        self._connection.execute(
            update(delivery_tables.endpoints).where(_E.key == endpoint.key).values(body=encode(endpoint))
        )
        self.look([endpoint.key], 0)
        self._raise_version()

    def remove_endpoint(self, team: str, endpoint_id: str) -> int | None:
        gone = delete(delivery_tables.endpoints).where(_E.team == team, _E.id == endpoint_id).returning(_E.key)
        key = self._connection.scalars(gone).one_or_none()
        if key is None:
            return None
        self._connection.execute(delete(delivery_tables.lanes).where(_L.endpoint_key == key))
        count = 0
        # Each by the index of its own: together they would be looked for among all that has ended.
        for is_owed in ((PENDING, _D.rank.in_(RANKS)), (LEASED,), (HELD, _D.state == "held")):
            cancelled = update(delivery_tables.deliveries).where(_D.endpoint_key == key, *is_owed)
            cancelled = cancelled.values(state="cancelled", reason="removed", **_NOTHING_DUE)
            count += self._connection.execute(cancelled).rowcount
        self._raise_version()
        return count

    def _raise_version(self) -> None:
        version = tables.meta.c.endpoints_version
        self._connection.execute(update(tables.meta).values({version: version + 1}))

    # What people decide

    def redeliver(
        self,
        keys: Sequence[int],
        trigger: Trigger,
        *,
        due_us: int,
        rank: int = 0,
        replay_key: int | None = None,
        states: Collection[DeliveryState] = REDELIVERABLE,
    ) -> int:
        anew = {
            "state": "pending",
            "reason": None,
            "trigger": trigger,
            "rank": rank,
            "replay_key": replay_key,
            "step": 0,
            "first_us": None,
            # Where an order is kept, it is due when its turn comes.
            "due_us": case((_D.order_key.is_(None), due_us), else_=None),
        }
        heads = self._heads(keys, rank)
        is_served = exists().where(_E.key == _D.endpoint_key)
        moved = self._moved(keys, and_(_is_in(states), is_served), anew)
        self.stand_back(heads)
        self._follow(moved, due_us)
        return len(moved)

    def cancel(self, keys: Sequence[int], reason: str, now_us: int) -> int:
        is_open = _D.state.in_(("pending", "leased", "held"))
        moved = self._moved(keys, is_open, {"state": "cancelled", "reason": reason, **_NOTHING_DUE})
        self._follow(moved, now_us)
        return len(moved)

    def hold_overflow(self, limit: int, now_us: int, most: int) -> Mapping[int, int]:
        count = func.count()
        full = select(_D.endpoint_key, count).where(PENDING).group_by(_D.endpoint_key).having(count > limit)
        lanes = self._connection.execute(full).all()
        held = {key: self._hold(key, min(waiting - limit, most), now_us) for key, waiting in lanes}
        return {key: count for key, count in held.items() if count}

    def _hold(self, endpoint_key: int, excess: int, now_us: int) -> int:
        # Who is halted is held already, and would let others pass.
        sheddable = (PENDING, _D.reason.is_(None), or_(*map(_is_of_type, SHED_FIRST)))
        oldest = select(_D.key).where(_D.endpoint_key == endpoint_key, *sheddable)
        keys = self._connection.scalars(oldest.order_by(_D.key).limit(excess)).all()
        moved = self._moved(keys, PENDING, {"state": "held", "reason": "overflow", "due_us": None})
        self._follow(moved, now_us)
        return len(moved)

    def end_replayed(self, replay_key: int, now_us: int) -> int:
        accepted = exists().where(_A.delivery_key == _D.key, _A.error.is_(None), _A.finished_us.is_not(None))
        keys = self._connection.scalars(select(_D.key).where(_D.replay_key == replay_key, PENDING)).all()
        taken: list[tuple[int, str | None]] = []
        for state, reason, is_so in (("delivered", None, accepted), ("failed", "replay_cancelled", not_(accepted))):
            values = {"state": state, "reason": reason, "rank": 0, "replay_key": None, "due_us": None}
            taken += self._moved(keys, and_(PENDING, is_so), values)
        self._follow(taken, now_us)
        return len(taken)

    def put_replay(self, replay: Replay) -> Replay:
        row = {
            "id": replay.id,
            "endpoint_key": replay.endpoint_key,
            "team": replay.team,
            "state": replay.state,
            "body": encode(replay),
        }
        if replay.key:
            self._connection.execute(update(delivery_tables.replays).where(_R.key == replay.key).values(row))
            return replay
        key = self._connection.scalars(insert(delivery_tables.replays).values(row).returning(_R.key)).one()
        return msgspec.structs.replace(replay, key=key)

    def forget_deliveries(self, before_us: int, after_key: int, limit: int) -> tuple[int, int]:
        looked_at = select(_D.key, _D.body_key, _D.state, _D.planned_us).where(_D.key > after_key)
        found = self._connection.execute(looked_at.order_by(_D.key).limit(limit)).all()
        # The latest one stays: its key tells which comes next, and none is given twice.
        latest = self._connection.scalars(select(func.max(_D.key))).one()
        gone = [row for row in found if row.planned_us < before_us and row.state in ENDED and row.key != latest]
        self._delete(delivery_tables.deliveries, _D.key, [row.key for row in gone])
        self._delete(delivery_tables.attempts, _A.delivery_key, [row.key for row in gone])
        orphans = ~exists().where(_D.body_key == _B.key)
        self._delete(delivery_tables.delivery_bodies, _B.key, sorted({row.body_key for row in gone}), orphans)
        # Deliveries are planned in order of their keys: behind one that is young enough all are.
        is_end = len(found) < limit or found[-1].planned_us >= before_us
        return len(gone), 0 if is_end else found[-1].key

    def _delete(self, table: Table, column: ColumnElement[int], keys: Sequence[int], *tests: Any) -> None:
        for some in _portions(keys):
            self._connection.execute(delete(table).where(column.in_(some), *tests))

    # The clock

    def set_back(self, by_us: int) -> None:
        deliveries, lanes = update(delivery_tables.deliveries), update(delivery_tables.lanes)
        earlier: dict[str, Any] = {"due_us": _D.due_us - by_us, "lease_until_us": _D.lease_until_us - by_us}
        for is_open in (PENDING, LEASED):
            self._connection.execute(deliveries.where(is_open).values(earlier))
        self._connection.execute(lanes.where(_L.look_us.is_not(None)).values(look_us=_L.look_us - by_us))
        for key, body in self._connection.execute(select(_L.endpoint_key, _L.body)).all():
            self.put_lane(key, set_back(decode_lane(body), by_us))

    # Steps

    def _moved(
        self, keys: Sequence[int], test: ColumnElement[bool], values: Mapping[str, Any]
    ) -> list[tuple[int, str | None]]:
        """Change those of `keys` that pass; returns the endpoint and the order of each."""
        moved: list[tuple[int, str | None]] = []
        for some in _portions(keys):
            change = update(delivery_tables.deliveries).where(_D.key.in_(some), test).values(values)
            found = self._connection.execute(change.returning(_D.endpoint_key, _D.order_key))
            moved += [(row.endpoint_key, row.order_key) for row in found]
        return moved

    def _heads(self, keys: Sequence[int], rank: int) -> list[int]:
        """The first open delivery of a rank in each order that one of `keys` belongs to."""
        heads: list[int] = []
        for some in _portions(keys):
            orders = select(_D.endpoint_key, _D.order_key).where(_D.key.in_(some), _D.order_key.is_not(None))
            order = orders.distinct().subquery()
            same = (_D.endpoint_key == order.c.endpoint_key, _D.order_key == order.c.order_key, _D.rank == rank)
            first = select(func.min(_D.key)).where(*same, text(OPEN)).correlate(order).scalar_subquery()
            heads += [key for key in self._connection.scalars(select(first).select_from(order)) if key is not None]
        return heads

    def _follow(self, moved: Collection[tuple[int, str | None]], now_us: int) -> None:
        """Let lanes go on after deliveries, named by endpoint and order, that were moved."""
        self.wake(moved, now_us)
        self.look({endpoint_key for endpoint_key, _ in moved}, now_us)

    @abstractmethod
    def put_lane(self, endpoint_key: int, lane: Lane) -> None: ...

    @abstractmethod
    def look(self, endpoint_keys: Iterable[int], at_us: int) -> None:
        """See whether these lanes have something to do, at `at_us` at the latest."""

    @abstractmethod
    def wake(self, moved: Iterable[tuple[int, str | None]], now_us: int) -> None:
        """Make due who comes first in these orders, of each rank, and has waited for that."""

    @abstractmethod
    def stand_back(self, keys: Iterable[int]) -> None:
        """Let those of `keys` wait that are pending and have others before them in their order."""


OPEN: Final = "state IN ('pending', 'leased')"
"""What an ordered delivery of its rank waits for; in the words of the index."""

RANKS: Final = (0, 1)
"""Live before replayed."""

_NOTHING_DUE: Final[Mapping[str, None]] = {"due_us": None, "lease": None, "lease_until_us": None}


_KEPT: Final[dict[int, tuple[bytes, Endpoint]]] = {}
_MOST_KEPT: Final = 20_000


def keyed(key: int, body: bytes) -> Endpoint:
    """A stored endpoint; the same object for the same bytes, which every claim reads again, and every planner all of.

    Of an endpoint the latest version is kept: they may be large, and their owners may change them without end.
    """
    kept = _KEPT.get(key)
    if kept is not None and kept[0] == body:
        return kept[1]
    endpoint = msgspec.structs.replace(decode_endpoint(body), key=key)
    if len(_KEPT) >= _MOST_KEPT:
        _KEPT.clear()
    _KEPT[key] = body, endpoint
    return endpoint


def _attempt(*columns: Any) -> AttemptRow:
    row = AttemptRow(*columns)
    return row if columns[-1] is None else row._replace(detail=_decode_detail(columns[-1]))


def _replay(key: int, body: bytes) -> Replay:
    return msgspec.structs.replace(_decode_replay(body), key=key)


def _rows() -> Select[Any]:
    return select(*_DELIVERY).join_from(
        delivery_tables.deliveries, delivery_tables.delivery_bodies, _D.body_key == _B.key
    )


def _tests(query: DeliveryQuery) -> list[ColumnElement[bool]]:
    tests = [_D.endpoint_key == query.endpoint_key]
    if query.states is not None:
        tests.append(_is_in(query.states))
    if query.event_types is not None:
        tests.append(or_(*map(_is_of_type, query.event_types)))
    if query.execution_id is not None:
        tests.append(_D.execution_id == query.execution_id)
    if query.since_us is not None:
        tests.append(_D.planned_us >= query.since_us)
    if query.until_us is not None:
        tests.append(_D.planned_us < query.until_us)
    if query.before_key is not None:
        tests.append(_D.key < query.before_key)
    if query.triggers is not None:
        tests.append(_D.trigger.in_(query.triggers))
    return tests


def _is_in(states: Collection[DeliveryState]) -> ColumnElement[bool]:
    """As people see them: who is halted is held."""
    waits = and_(PENDING, or_(_D.reason.is_(None), _D.reason != "halted"))
    special: dict[str, Any] = {"held": HELD, "pending": waits}
    return or_(false(), *(special.get(state, _D.state == state) for state in states))


def _is_of_type(name: str) -> ColumnElement[bool]:
    if not name.endswith("*"):
        return _D.event_type == name
    # LIKE would let upper and lower case pass for one another.
    return func.substr(_D.event_type, 1, len(name) - 1) == name[:-1]


def _portions(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    return (keys[at : at + LARGEST_IN] for at in range(0, len(keys), LARGEST_IN))
