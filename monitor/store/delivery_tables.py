"""The tables of endpoints and what is owed to them. Ledger, never rebuilt."""

from typing import Final

from sqlalchemy import Index, and_, literal_column, text

from monitor.store.columns import blob as _bytes
from monitor.store.columns import keyed as _keyed
from monitor.store.columns import number as _int
from monitor.store.columns import serial as _serial
from monitor.store.columns import table as _table
from monitor.store.columns import text as _text

endpoints = _table(
    "endpoints",
    _serial(),
    _text("id"),
    _text("team"),
    # The Endpoint in MessagePack.
    _bytes("body"),
    sqlite_autoincrement=True,  # a key is never used again: deliveries outlive their endpoint
)
Index("endpoints_by_id", endpoints.c.team, endpoints.c.id, unique=True)

lanes = _table(
    "lanes",
    _int("endpoint_key", key=True),
    # When to look at it next; NULL: when something happens. Never later than there is something to do.
    _int("look_us", null=True),
    # The Lane in MessagePack.
    _bytes("body"),
)
Index("lanes_to_look_at", lanes.c.look_us, sqlite_where=lanes.c.look_us.is_not(None))

delivery_bodies = _table("delivery_bodies", _int("key", key=True), _bytes("body"))

deliveries = _table(
    "deliveries",
    _int("key", key=True),
    _text("id"),
    _int("endpoint_key"),
    _int("body_key"),
    _text("event_id"),
    _text("event_type"),
    _text("team"),
    _text("execution_id"),
    _text("state"),
    _text("reason", null=True),
    _text("trigger"),
    _int("attempts"),
    # Of the schedule.
    _int("step"),
    # 0 = live, 1 = replayed: served when nothing live is due.
    _int("rank"),
    # NULL with `pending`: it waits for an earlier one of its order, or for somebody.
    _int("due_us", null=True),
    _int("planned_us"),
    # When the first attempt began.
    _int("first_us", null=True),
    _text("order_key", null=True),
    # The replay that queued it last.
    _int("replay_key", null=True),
    _text("lease", null=True),
    _int("lease_until_us", null=True),
)

PENDING: Final = deliveries.c.state == literal_column("'pending'")

LEASED: Final = deliveries.c.state == literal_column("'leased'")

HELD: Final = text("(state = 'held' OR reason = 'halted')")
Index("deliveries_by_id", deliveries.c.id, unique=True)
Index("deliveries_by_endpoint", deliveries.c.endpoint_key)
Index("deliveries_by_body", deliveries.c.body_key)
Index("deliveries_due", deliveries.c.endpoint_key, deliveries.c.rank, deliveries.c.due_us, sqlite_where=PENDING)
Index("deliveries_leased", deliveries.c.endpoint_key, sqlite_where=LEASED)
Index("deliveries_by_lease_end", deliveries.c.lease_until_us, sqlite_where=LEASED)
Index("deliveries_held", deliveries.c.endpoint_key, sqlite_where=HELD)
Index(
    "deliveries_in_order",
    deliveries.c.endpoint_key,
    deliveries.c.order_key,
    deliveries.c.rank,
    sqlite_where=text("order_key IS NOT NULL AND state IN ('pending', 'leased')"),
)
Index(
    "deliveries_by_replay",
    deliveries.c.replay_key,
    deliveries.c.first_us,
    sqlite_where=and_(deliveries.c.replay_key.is_not(None), PENDING),
)

attempts = _keyed(
    "attempts",
    _int("delivery_key", key=True),
    _int("n", key=True),
    _text("trigger"),
    _int("started_us"),
    _int("finished_us", null=True),
    _int("status", null=True),
    _text("error", null=True),
    _bytes("answer"),
    # The AttemptDetail in MessagePack; NULL while it runs.
    _bytes("detail", null=True),
)

replays = _table(
    "replays",
    _serial(),
    _text("id"),
    _int("endpoint_key"),
    _text("team"),
    _text("state"),
    # The Replay in MessagePack.
    _bytes("body"),
    sqlite_autoincrement=True,
)
Index("replays_by_id", replays.c.team, replays.c.id, unique=True)
Index("replays_by_endpoint", replays.c.endpoint_key)
