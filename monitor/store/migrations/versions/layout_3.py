"""Adds tokens, commands, searches and more to count, and has executions folded anew by `monitor rebuild`.

Executions did not know then where their events stand in the journal. They are made of it again; of those whose records
it has removed meanwhile only the rest is known, or nothing.
"""

from typing import Any, Final

from alembic import op
from sqlalchemy import text as sql

from monitor.store.columns import blob, number, serial, text

revision: Final = "3"
down_revision: Final = "2"

REFOLDS: Final = True

_FOLDED: Final = (
    *("executions", "progress", "seen", "tags", "nodes", "payloads", "large_payloads", "log_lines"),
    *("statistics", "totals", "releases"),
)
_STRICT: Final[dict[str, Any]] = {"sqlite_strict": True}
_KEYED: Final[dict[str, Any]] = {"sqlite_strict": True, "sqlite_with_rowid": False}
_SERIAL: Final[dict[str, Any]] = {"sqlite_strict": True, "sqlite_autoincrement": True}

_CARRY_META: Final = """
INSERT INTO meta
    (id, schema_version, fold_version, incarnation, partitions, endpoints_version, tokens_version, key_check)
SELECT id, schema_version, fold_version, incarnation, partitions, endpoints_version, 0, key_check FROM meta_2
"""


def upgrade() -> None:
    """Webhooks and what is owed to them stay, and how far each partition is folded."""
    for name in _FOLDED:
        op.drop_table(name)
    _make_executions()
    _make_contents()
    _make_sums()
    _make_access()
    _make_orders()
    op.rename_table("meta", "meta_2")
    op.create_table(
        "meta",
        number("id", key=True),
        number("schema_version"),
        number("fold_version"),
        text("incarnation", null=True),
        number("partitions", null=True),
        number("endpoints_version"),
        number("tokens_version"),
        blob("key_check", null=True),
        **_STRICT,
    )
    op.execute(_CARRY_META)
    op.drop_table("meta_2")


def _make_executions() -> None:
    op.create_table(
        "executions",
        number("key", key=True),
        text("team"),
        text("id"),
        number("created_us"),
        text("workflow_id"),
        text("workflow_name", null=True),
        text("mode", null=True),
        text("status"),
        number("at_us"),
        number("started_us", null=True),
        number("duration_us", null=True),
        number("stopped_us", null=True),
        text("retry_of", null=True),
        text("parent_id", null=True),
        text("error_type", null=True),
        number("deleted"),
        number("ended_us", null=True),
        text("trigger"),
        text("error"),
        **_STRICT,
    )
    op.create_index("executions_by_id", "executions", ["team", "id"], unique=True)
    for name, columns, given in (
        ("duration", ("duration_us",), None),
        ("error", ("error_type", "at_us"), "error_type"),
        ("parent", ("parent_id", "status"), "parent_id"),
        ("retry", ("retry_of",), "retry_of"),
        ("status", ("status", "at_us"), None),
        ("time", ("at_us",), None),
        ("workflow", ("workflow_id", "status", "at_us"), None),
    ):
        where = sql("deleted = 0" if given is None else f"deleted = 0 AND {given} IS NOT NULL")
        op.create_index(f"executions_by_{name}", "executions", ["team", *columns], sqlite_where=where)
    op.create_index("executions_by_end", "executions", ["team", "ended_us"], sqlite_where=sql("ended_us IS NOT NULL"))
    op.create_table(
        "progress",
        number("key", key=True),
        number("version"),
        number("updated_us"),
        number("events"),
        number("completed"),
        number("total"),
        number("heard_us"),
        blob("registers"),
        blob("tail"),
        **_STRICT,
    )
    op.create_table("error_texts", text("team", key=True), number("key", key=True), text("text"), **_KEYED)
    op.create_table("watches", number("key", key=True), number("due_us"), **_KEYED)
    op.create_index("watches_by_due", "watches", ["due_us"])


def _make_contents() -> None:
    op.create_table("seen", number("key", key=True), number("chunk", key=True), blob("entries"), **_KEYED)
    op.create_table("tags", number("key", key=True), text("tag", key=True), **_KEYED)
    op.create_table(
        "nodes",
        number("key", key=True),
        text("node_id", key=True),
        number("iteration", key=True),
        number("attempt", key=True),
        blob("body"),
        **_KEYED,
    )
    op.create_table("payloads", number("key"), text("slot"), blob("value", null=True), **_STRICT)
    op.create_table("large_payloads", number("key"), text("slot"), blob("value"), **_STRICT)
    for name in ("payloads", "large_payloads"):
        op.create_index(f"{name}_by_slot", name, ["key", "slot"], unique=True)
    op.create_table(
        "log_lines",
        number("key", key=True),
        number("time_us", key=True),
        number("event_tie", key=True),
        number("place", key=True),
        text("level"),
        text("node_id", null=True),
        text("message"),
        blob("data", null=True),
        **_KEYED,
    )
    op.create_table(
        "commands",
        number("key", key=True),
        text("command_id", key=True),
        text("state"),
        number("since_us"),
        blob("body"),
        **_KEYED,
    )
    op.create_index("commands_by_id", "commands", ["command_id"])
    op.create_index("commands_unanswered", "commands", ["since_us"], sqlite_where=sql("state = 'requested'"))
    op.create_table(
        "releases",
        number("key", key=True),
        number("partition"),
        number("first"),
        number("next"),
        blob("body"),
        **_STRICT,
    )
    op.create_index("releases_by_offset", "releases", ["partition", "next"])


def _make_sums() -> None:
    counted = ("count", "total_us")
    for name, keys in (
        ("statistics", ("team", "#hour", "workflow_id", "status", "trigger", "error", "#bucket")),
        ("rollups", ("team", "#facet", "#grain", "#at", "key", "status", "#bucket")),
        ("run_statistics", ("team", "#hour", "workflow_id", "node_id", "status", "error", "#bucket")),
    ):
        parts = (number(key[1:], key=True) if key[0] == "#" else text(key, key=True) for key in keys)
        op.create_table(name, *parts, *map(number, counted), **_KEYED)
    op.create_table(
        "totals",
        text("team", key=True),
        text("workflow_id", key=True),
        text("status", key=True),
        number("count"),
        **_KEYED,
    )
    op.create_table(
        "workflow_names",
        text("team", key=True),
        text("workflow_id", key=True),
        number("said_us"),
        text("name"),
        **_KEYED,
    )
    op.create_table(
        "error_kinds",
        text("team", key=True),
        text("fingerprint", key=True),
        text("type"),
        text("pattern"),
        **_KEYED,
    )
    op.create_table(
        "node_names",
        text("team", key=True),
        text("workflow_id", key=True),
        text("node_id", key=True),
        text("name", key=True),
        text("text"),
        **_KEYED,
    )


def _make_access() -> None:
    op.create_table(
        "tokens",
        serial(),
        text("id"),
        text("team"),
        blob("body"),
        number("changed"),
        number("last_used_us", null=True),
        **_SERIAL,
    )
    op.create_index("tokens_by_id", "tokens", ["id"], unique=True)
    op.create_index("tokens_by_team", "tokens", ["team"])
    op.create_index("tokens_by_change", "tokens", ["changed"])
    op.create_table("tickets", blob("digest"), text("token_id"), number("expires_us"), **_STRICT)
    op.create_index("tickets_by_digest", "tickets", ["digest"], unique=True)
    op.create_index("tickets_by_end", "tickets", ["expires_us"])
    op.create_table(
        "audit",
        serial(),
        text("team"),
        text("action"),
        text("principal"),
        text("object"),
        blob("body"),
        **_SERIAL,
    )
    op.create_index("audit_by_team", "audit", ["team"])
    for name in ("action", "principal", "object"):
        op.create_index(f"audit_by_{name}", "audit", ["team", name])


def _make_orders() -> None:
    op.create_table(
        "idempotent_requests",
        text("team", key=True),
        text("principal", key=True),
        text("key", key=True),
        blob("fingerprint"),
        number("created_us"),
        blob("answer", null=True),
        **_KEYED,
    )
    op.create_index("idempotent_requests_by_time", "idempotent_requests", ["created_us"])
    op.create_table(
        "bulk_jobs",
        serial(),
        text("id"),
        text("team"),
        number("created_us"),
        number("running"),
        blob("body"),
        **_SERIAL,
    )
    op.create_index("bulk_jobs_by_id", "bulk_jobs", ["team", "id"], unique=True)
    op.create_index("bulk_jobs_running", "bulk_jobs", ["key"], sqlite_where=sql("running = 1"))
    op.create_table("bulk_items", number("job_key", key=True), number("place", key=True), blob("body"), **_KEYED)
