"""Gives every webhook a lane of its own, and tells why deliveries were made and why they failed."""

from typing import Any, Final

import msgspec
from alembic import op
from sqlalchemy import text as sql

from monitor.store.columns import blob, number, serial, text

revision: Final = "2"
down_revision: Final = None

# Each attempt took a step then, once it had ended. What failed was refused for good or had used up its schedule.
_CARRY_DELIVERIES: Final = """
INSERT INTO deliveries ("key", id, endpoint_key, body_key, event_id, event_type, team, execution_id, state, reason,
    "trigger", attempts, step, rank, due_us, planned_us, first_us, lease, lease_until_us)
SELECT d."key", d.id, d.endpoint_key, d.body_key, d.event_id, d.event_type, d.team, d.execution_id, d.state,
    CASE WHEN d.state <> 'failed' THEN NULL WHEN last.error = 'gone' THEN 'gone' ELSE 'exhausted' END,
    'event', d.attempts, d.attempts - (d.state = 'leased'), 0, d.due_us, d.planned_us,
    (SELECT min(started_us) FROM attempts_1 AS a WHERE a.delivery_key = d."key"), d.lease, d.lease_until_us
FROM deliveries_1 AS d LEFT JOIN attempts_1 AS last ON last.delivery_key = d."key" AND last.n = d.attempts
"""
_CARRY_ATTEMPTS: Final = """
INSERT INTO attempts (delivery_key, n, "trigger", started_us, finished_us, status, error, answer)
SELECT delivery_key, n, 'event', started_us, finished_us, status, error, answer FROM attempts_1
"""
_TELL_WHERE: Final = """
UPDATE attempts SET detail = ?
WHERE finished_us IS NOT NULL AND delivery_key IN (SELECT "key" FROM deliveries WHERE endpoint_key = ?)
"""
_CARRY_KEYS: Final = """
INSERT INTO sqlite_sequence (name, seq) SELECT 'endpoints', seq FROM sqlite_sequence WHERE name = 'endpoints_1'
"""
_CARRY_META: Final = """
INSERT INTO meta (id, schema_version, fold_version, incarnation, partitions, endpoints_version)
SELECT id, schema_version, fold_version, incarnation, partitions, endpoints_version + 1 FROM meta_1
"""


def upgrade() -> None:
    """Whoever is registered is served on, and what is owed to them is owed on, at the times that it was."""
    _make_endpoints()
    _make_deliveries()
    _make_replays()
    _carry_endpoints()
    for name in ("endpoints", "deliveries", "attempts"):
        op.drop_table(f"{name}_1")
    op.rename_table("meta", "meta_1")
    op.create_table(
        "meta",
        number("id", key=True),
        number("schema_version"),
        number("fold_version"),
        text("incarnation", null=True),
        number("partitions", null=True),
        number("endpoints_version"),
        # NULL: nobody knows by now which key sealed the secrets.
        blob("key_check", null=True),
        sqlite_strict=True,
    )
    op.execute(_CARRY_META)
    op.drop_table("meta_1")


def _make_endpoints() -> None:
    op.drop_index("endpoints_by_id", "endpoints")
    op.rename_table("endpoints", "endpoints_1")
    op.create_table(
        "endpoints",
        serial(),
        text("id"),
        text("team"),
        blob("body"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("endpoints_by_id", "endpoints", ["team", "id"], unique=True)
    op.create_table(
        "lanes", number("endpoint_key", key=True), number("look_us", null=True), blob("body"), sqlite_strict=True
    )
    op.create_index("lanes_to_look_at", "lanes", ["look_us"], sqlite_where=sql("look_us IS NOT NULL"))


def _make_deliveries() -> None:
    for name in ("by_id", "by_endpoint", "due", "leased"):
        op.drop_index(f"deliveries_{name}", "deliveries")
    op.rename_table("deliveries", "deliveries_1")
    op.rename_table("attempts", "attempts_1")
    op.create_table(
        "deliveries",
        number("key", key=True),
        text("id"),
        number("endpoint_key"),
        number("body_key"),
        text("event_id"),
        text("event_type"),
        text("team"),
        text("execution_id"),
        text("state"),
        text("reason", null=True),
        text("trigger"),
        number("attempts"),
        number("step"),
        number("rank"),
        number("due_us", null=True),
        number("planned_us"),
        number("first_us", null=True),
        text("order_key", null=True),
        number("replay_key", null=True),
        text("lease", null=True),
        number("lease_until_us", null=True),
        sqlite_strict=True,
    )
    op.create_table(
        "attempts",
        number("delivery_key", key=True),
        number("n", key=True),
        text("trigger"),
        number("started_us"),
        number("finished_us", null=True),
        number("status", null=True),
        text("error", null=True),
        blob("answer"),
        blob("detail", null=True),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute(_CARRY_DELIVERIES)
    op.execute(_CARRY_ATTEMPTS)
    pending, leased = sql("state = 'pending'"), sql("state = 'leased'")
    held = sql("(state = 'held' OR reason = 'halted')")
    ordered = sql("order_key IS NOT NULL AND state IN ('pending', 'leased')")
    replayed = sql("replay_key IS NOT NULL AND state = 'pending'")
    op.create_index("deliveries_by_id", "deliveries", ["id"], unique=True)
    op.create_index("deliveries_by_endpoint", "deliveries", ["endpoint_key"])
    op.create_index("deliveries_by_body", "deliveries", ["body_key"])
    op.create_index("deliveries_due", "deliveries", ["endpoint_key", "rank", "due_us"], sqlite_where=pending)
    op.create_index("deliveries_leased", "deliveries", ["endpoint_key"], sqlite_where=leased)
    op.create_index("deliveries_by_lease_end", "deliveries", ["lease_until_us"], sqlite_where=leased)
    op.create_index("deliveries_held", "deliveries", ["endpoint_key"], sqlite_where=held)
    op.create_index("deliveries_in_order", "deliveries", ["endpoint_key", "order_key", "rank"], sqlite_where=ordered)
    op.create_index("deliveries_by_replay", "deliveries", ["replay_key", "first_us"], sqlite_where=replayed)


def _make_replays() -> None:
    op.create_table(
        "replays",
        serial(),
        text("id"),
        number("endpoint_key"),
        text("team"),
        text("state"),
        blob("body"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("replays_by_id", "replays", ["team", "id"], unique=True)
    op.create_index("replays_by_endpoint", "replays", ["endpoint_key"])


def _carry_endpoints() -> None:
    """With a lane each, which is trusted, and looked at as soon as somebody delivers."""
    driver = op.get_bind()
    for key, id_, team, status, body in driver.exec_driver_sql(
        'SELECT "key", id, team, status, body FROM endpoints_1'
    ).all():
        endpoint = _endpoint(msgspec.msgpack.decode(body), status)
        row = (key, id_, team, msgspec.msgpack.encode(endpoint))
        driver.exec_driver_sql('INSERT INTO endpoints ("key", id, team, body) VALUES (?, ?, ?, ?)', row)
        driver.exec_driver_sql(
            "INSERT INTO lanes (endpoint_key, look_us, body) VALUES (?, 0, ?)", (key, msgspec.msgpack.encode({}))
        )
        driver.exec_driver_sql(_TELL_WHERE, (msgspec.msgpack.encode({"url": endpoint["url"]}), key))
    # Keys are never given twice, those of removed ones included.
    driver.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'endpoints'")
    driver.exec_driver_sql(_CARRY_KEYS)


def _endpoint(body: dict[str, Any], status: str) -> dict[str, Any]:
    secret = {"sealed": body.pop("sealed_secret"), "created_us": body["created_us"], "expires_us": None}
    reason = "asked" if status == "disabled" else None
    return body | {"status": status, "reason": reason, "updated_us": body["created_us"], "secrets": [secret]}
