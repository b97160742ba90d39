"""The ledger: endpoints, and the deliveries that are owed to them, in SQL that both databases share.

Claims go by lane: each endpoint with due work gets its turn, the one that waited longest first, so that a dead endpoint
with a long queue delays nobody. Called by `queries` to read and by the drivers' writers, always inside a transaction.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from monitor.store.base import AttemptRow, DeliveryRow
from monitor.store.tables import LEASED, PENDING
from monitor.store.tables import attempts as attempts_table
from monitor.store.tables import deliveries as deliveries_table
from monitor.store.tables import delivery_bodies as bodies_table
from monitor.store.tables import endpoints as endpoints_table
from monitor.store.tables import meta as meta_table
from monitor.webhooks.delivery import Claimed, Outcome, Planned
from monitor.webhooks.endpoint import Endpoint

_A: Final = attempts_table.c
_B: Final = bodies_table.c
_D: Final = deliveries_table.c
_E: Final = endpoints_table.c

_VALUES: Final = 5_000
"""Values in one statement; SQLite as distributed takes 32,766."""

_decode_endpoint: Final = msgspec.msgpack.Decoder(Endpoint).decode

# --- endpoints -------------------------------------------------------------------------------------------------------


def endpoints(connection: Connection, team: str | None) -> list[Endpoint]:
    """Those of a team, or of all, in order of registration."""
    wanted = select(_E.key, _E.body).order_by(_E.key)
    if team is not None:
        wanted = wanted.where(_E.team == team)
    return [_endpoint(key, body) for key, body in connection.execute(wanted)]


def endpoints_version(connection: Connection) -> int:
    """Changes with every change of an endpoint."""
    return int(connection.scalars(select(meta_table.c.endpoints_version)).one())


def add_endpoint(connection: Connection, endpoint: Endpoint) -> Endpoint:
    """Store it and return it with its key."""
    row = {
        "id": endpoint.id,
        "team": endpoint.team,
        "status": endpoint.status,
        "served_us": 0,
        "body": msgspec.msgpack.encode(endpoint),
    }
    [key] = connection.execute(insert(endpoints_table).values(row).returning(_E.key)).one()
    _raise_version(connection)
    return msgspec.structs.replace(endpoint, key=key)


def remove_endpoint(connection: Connection, team: str, endpoint_id: str) -> bool:
    """Remove it and cancel what is owed to it; what is under way ends without effect. False when there is none."""
    gone = delete(endpoints_table).where(_E.team == team, _E.id == endpoint_id).returning(_E.key)
    key = connection.scalars(gone).one_or_none()
    if key is None:
        return False
    for owed in (PENDING, LEASED):
        connection.execute(
            update(deliveries_table)
            .where(_D.endpoint_key == key, owed)
            .values(state="cancelled", due_us=None, lease=None, lease_until_us=None)
        )
    _raise_version(connection)
    return True


def _endpoint(key: int, body: bytes) -> Endpoint:
    return msgspec.structs.replace(_decode_endpoint(body), key=key)


def _raise_version(connection: Connection) -> None:
    version = meta_table.c.endpoints_version
    connection.execute(update(meta_table).values({version: version + 1}))


# --- what is owed ----------------------------------------------------------------------------------------------------


def plan(connection: Connection, planned: Sequence[Planned]) -> None:
    """Store deliveries that are not there yet, to endpoints that still are; equal bodies of an event once."""
    known = _known(connection, [delivery.id for delivery in planned])
    addressees = set(connection.scalars(select(_E.key)))
    fresh = {
        delivery.id: delivery
        for delivery in planned
        if delivery.id not in known and delivery.endpoint_key in addressees
    }
    if not fresh:
        return
    first_body = connection.scalars(select(func.coalesce(func.max(_B.key), 0) + 1)).one()
    bodies = dict.fromkeys((delivery.event_id, delivery.body) for delivery in fresh.values())
    body_keys = {body: first_body + place for place, body in enumerate(bodies)}
    connection.execute(insert(bodies_table), [{"key": key, "body": body} for (_, body), key in body_keys.items()])
    first = connection.scalars(select(func.coalesce(func.max(_D.key), 0) + 1)).one()
    connection.execute(
        insert(deliveries_table),
        [
            _delivery_row(first + place, delivery, body_keys[delivery.event_id, delivery.body])
            for place, delivery in enumerate(fresh.values())
        ],
    )


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that are stored, asked for in portions, since a statement takes only so many values."""
    portions = (ids[at : at + _VALUES] for at in range(0, len(ids), _VALUES))
    return {id_ for portion in portions for id_ in connection.scalars(select(_D.id).where(_D.id.in_(portion)))}


def _delivery_row(key: int, delivery: Planned, body_key: int) -> dict[str, Any]:
    return {
        "key": key,
        "id": delivery.id,
        "endpoint_key": delivery.endpoint_key,
        "body_key": body_key,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "team": delivery.team,
        "execution_id": delivery.execution_id,
        "state": "pending",
        "attempts": 0,
        "due_us": delivery.due_us,
        "planned_us": delivery.due_us,
    }


def deliveries(connection: Connection, endpoint_key: int, limit: int) -> list[DeliveryRow]:
    """The latest deliveries of an endpoint, newest first."""
    wanted = (
        select(
            *(_D.id, _D.endpoint_key, _D.event_id, _D.event_type, _D.execution_id),
            *(_D.state, _D.attempts, _D.due_us, _D.planned_us, _B.body),
        )
        .join_from(deliveries_table, bodies_table, _D.body_key == _B.key)
        .where(_D.endpoint_key == endpoint_key)
        .order_by(_D.key.desc())
        .limit(limit)
    )
    return [DeliveryRow(*row) for row in connection.execute(wanted)]


def attempts(connection: Connection, delivery_id: str) -> list[AttemptRow]:
    """Every attempt of a delivery, in order."""
    wanted = (
        select(_A.n, _A.started_us, _A.finished_us, _A.status, _A.error, _A.answer)
        .join_from(attempts_table, deliveries_table, _A.delivery_key == _D.key)
        .where(_D.id == delivery_id)
        .order_by(_A.n)
    )
    return [AttemptRow(*row) for row in connection.execute(wanted)]


def next_due_us(connection: Connection) -> int | None:
    """When something of an active endpoint is due next, or a lease ends."""
    due = select(func.min(_D.due_us)).where(_D.endpoint_key == _E.key, PENDING).scalar_subquery()
    first_due_us = connection.scalars(select(func.min(due)).where(_E.status == "active")).one()
    first_end_us = connection.scalars(select(func.min(_D.lease_until_us)).where(LEASED)).one()
    return min((at for at in (first_due_us, first_end_us) if at is not None), default=None)


# --- claims ----------------------------------------------------------------------------------------------------------


def claim(
    connection: Connection, *, now_us: int, lease: str, until_us: int, limit: int, lane_cap: int
) -> list[Claimed]:
    """Lease due deliveries under `lease` until `until_us` and note each attempt as started."""
    _take_back(connection, LEASED, _D.lease_until_us < now_us)
    room = _rooms(connection, now_us, lane_cap)
    found = [row for key, share in _shares(room, limit).items() for row in connection.execute(_due(key, now_us, share))]
    if not found:
        return []
    connection.execute(
        update(deliveries_table)
        .where(_D.key == bindparam("at"))
        .values(state="leased", lease=lease, lease_until_us=until_us, attempts=_D.attempts + 1),
        [{"at": row.key} for row in found],
    )
    connection.execute(
        insert(attempts_table),
        [{"delivery_key": row.key, "n": row.attempts + 1, "started_us": now_us, "answer": b""} for row in found],
    )
    served = {row.endpoint_key: _endpoint(row.endpoint_key, row.endpoint) for row in found}
    connection.execute(update(endpoints_table).where(_E.key.in_(served)).values(served_us=now_us))
    return [_claimed(row, served[row.endpoint_key], lease) for row in found]


def _rooms(connection: Connection, now_us: int, lane_cap: int) -> dict[int, int]:
    """How many more each lane with due work may have in flight; the lane that waited longest first."""
    due = select(_D.key).where(_D.endpoint_key == _E.key, PENDING, _D.due_us <= now_us).exists()
    in_flight = select(func.count()).where(_D.endpoint_key == _E.key, LEASED).scalar_subquery()
    lanes = connection.execute(
        select(_E.key, in_flight).where(_E.status == "active", due).order_by(_E.served_us, _E.key)
    )
    return {key: lane_cap - count for key, count in lanes if count < lane_cap}


def _shares(room: dict[int, int], limit: int) -> dict[int, int]:
    """How many each lane gets when they take turns, one at a time, until `limit` is given out or no lane has room."""
    shares = dict.fromkeys(room, 0)
    while limit > 0 and (open_lanes := [key for key in room if shares[key] < room[key]]):
        for key in open_lanes[:limit]:
            shares[key] += 1
        limit -= len(open_lanes)
    return {key: share for key, share in shares.items() if share}


def _due(endpoint_key: int, now_us: int, share: int) -> Select[Any]:
    return (
        select(
            *(_D.key, _D.id, _D.endpoint_key, _D.attempts),
            *(_B.body, _E.body.label("endpoint")),
        )
        .join_from(deliveries_table, bodies_table, _D.body_key == _B.key)
        .join(endpoints_table, _D.endpoint_key == _E.key)
        .where(_D.endpoint_key == endpoint_key, PENDING, _D.due_us <= now_us)
        .order_by(_D.due_us, _D.key)
        .limit(share)
    )


def _claimed(row: Any, endpoint: Endpoint, lease: str) -> Claimed:
    return Claimed(
        id=row.id,
        endpoint_key=row.endpoint_key,
        url=endpoint.url,
        sealed_secret=endpoint.sealed_secret,
        body=row.body,
        n=row.attempts + 1,
        lease=lease,
    )


_END_ATTEMPT: Final = (
    update(attempts_table)
    .where(_A.delivery_key == select(_D.key).where(_D.id == bindparam("of")).scalar_subquery(), _A.n == bindparam("at"))
    .values({name: bindparam(name) for name in ("finished_us", "status", "error", "answer")})
)
_MOVE_ON: Final = (
    update(deliveries_table)
    .where(_D.id == bindparam("of"), _D.lease == bindparam("under"), LEASED)
    .values(state=bindparam("state"), due_us=bindparam("due_us"), lease=None, lease_until_us=None)
)


def finish(connection: Connection, outcomes: Sequence[Outcome]) -> int:
    """Record ended attempts; a delivery moves on only where its lease still holds. Returns how many held."""
    if not outcomes:
        return 0
    connection.execute(
        _END_ATTEMPT,
        [
            {
                "of": it.delivery_id,
                "at": it.n,
                "finished_us": it.finished_us,
                "status": it.status,
                "error": it.error,
                "answer": it.answer,
            }
            for it in outcomes
        ],
    )
    moves = [{"of": it.delivery_id, "under": it.lease, "state": it.state, "due_us": it.due_us} for it in outcomes]
    return connection.execute(_MOVE_ON, moves).rowcount


def release_leases(connection: Connection, lease_prefix: str) -> int:
    """Make what is leased under such a name due again; returns how many."""
    return _take_back(connection, LEASED, func.substr(_D.lease, 1, len(lease_prefix)) == lease_prefix)


def _take_back(connection: Connection, *held: Any) -> int:
    """Leased deliveries wait again, with the due time that they had."""
    waiting = update(deliveries_table).where(*held).values(state="pending", lease=None, lease_until_us=None)
    return connection.execute(waiting).rowcount
