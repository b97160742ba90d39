"""The tables of the store, for SQLite and PostgreSQL alike, and the two versions that a store is stamped with.

Executions have an integer key in order of first arrival, and every table of projections is keyed by it. What changes
with every event stands in the narrow `progress`, what lists are filtered and sorted by in `executions`; the view of an
execution is made from the registers in `progress`, so that it is stored once. Columns in `_us` are microseconds.
"""

from typing import Final

from sqlalchemy import Connection, Index, and_, literal_column, text
from sqlalchemy.schema import CreateIndex, CreateTable

from monitor.store import columns
from monitor.store.columns import blob as _bytes
from monitor.store.columns import keyed as _keyed
from monitor.store.columns import number as _int
from monitor.store.columns import serial as _serial
from monitor.store.columns import table as _table
from monitor.store.columns import text as _text

SCHEMA_VERSION: Final = 6

SEEN_CHUNK: Final = 64
"""Entries of a full chunk of `seen`: a long execution rewrites at most this many with an event."""

LARGE_PAYLOAD_BYTES: Final = 64 * 1024
"""A payload above it stands in its own table, which keeps the pages of the small ones dense."""

METADATA: Final = columns.METADATA

# --- the store itself ------------------------------------------------------------------------------------------------

meta = _table(
    "meta",
    _int("id", key=True),  # always 1
    _int("schema_version"),
    _int("fold_version"),
    # The journal that the store belongs to; NULL until it is tied to one.
    _text("incarnation", null=True),
    _int("partitions", null=True),
    _int("endpoints_version"),
    _int("tokens_version"),
    # A constant, sealed: opens under the key that sealed the secrets; NULL until a key was used.
    _bytes("key_check", null=True),
)

offsets = _table("offsets", _int("partition", key=True), _int("next"), _int("planned"), _bytes("anchor"))

# --- projections -----------------------------------------------------------------------------------------------------

executions = _table(
    "executions",
    _int("key", key=True),
    _text("team"),
    _text("id"),
    _int("created_us"),
    _text("workflow_id"),
    _text("workflow_name", null=True),
    _text("mode", null=True),
    _text("status"),
    # Order of lists: started, else queued, else first evidence.
    _int("at_us"),
    _int("started_us", null=True),
    _int("duration_us", null=True),
    # What else one may ask for; of most executions the last three are NULL.
    _int("stopped_us", null=True),
    _text("retry_of", null=True),
    _text("parent_id", null=True),
    _text("error_type", null=True),
    # 1 = a tombstone, which absorbs late events and is never shown.
    _int("deleted"),
    # By which it is counted: when it ended, its trigger's type, its error's fingerprint (empty without one).
    _int("ended_us", null=True),
    _text("trigger"),
    _text("error"),
)

# Written as SQL in queries too: the planner takes a partial index only for the very same words. Of partial indexes only
# SQLite's are named here: naming PostgreSQL's loads all of its dialects, a twentieth of the start.
LISTED: Final = executions.c.deleted == literal_column("0")


def _listing(name: str, *columns: str, given: str | None = None) -> Index:
    """An index of what can be listed, of rows alone that have the column `given` where one is named.

    SQLite appends the key to it; tombstones cost lists nothing.
    """
    where = LISTED if given is None else and_(LISTED, executions.c[given].is_not(None))
    return Index(name, *(executions.c[column] for column in columns), sqlite_where=where)


by_id = Index("executions_by_id", executions.c.team, executions.c.id, unique=True)
by_time = _listing("executions_by_time", "team", "at_us")
by_status = _listing("executions_by_status", "team", "status", "at_us")
by_workflow = _listing("executions_by_workflow", "team", "workflow_id", "status", "at_us")
by_duration = _listing("executions_by_duration", "team", "duration_us")
# Tombstones among them: statistics count on.
ENDED: Final = executions.c.ended_us.is_not(None)
by_end = Index("executions_by_end", executions.c.team, executions.c.ended_us, sqlite_where=ENDED)
by_retry = _listing("executions_by_retry", "team", "retry_of", given="retry_of")
by_parent = _listing("executions_by_parent", "team", "parent_id", "status", given="parent_id")
by_error = _listing("executions_by_error", "team", "error_type", "at_us", given="error_type")

# What the text search looks through, in lower case: errors as `type: message`, and the names and ids of nodes.
error_texts = _keyed("error_texts", _text("team", key=True), _int("key", key=True), _text("text"))
node_names = _keyed(
    "node_names",
    _text("team", key=True),
    _text("workflow_id", key=True),
    _text("node_id", key=True),
    _text("name", key=True),
    _text("text"),
)

progress = _table(
    "progress",
    _int("key", key=True),
    _int("version"),
    _int("updated_us"),
    # Events applied so far: grows with every write, and so guards it; tells how many chunks `seen` has.
    _int("events"),
    _int("completed"),
    _int("total"),
    # When an engine was last heard of it; 0 = never.
    _int("heard_us"),
    # Registers in MessagePack.
    _bytes("registers"),
    # The entries of `seen` that fill no chunk yet: digest, checksum and place in the journal each.
    _bytes("tail"),
)

# Executions that promised something, and when to look whether they keep it. A row is moved by whoever looks.
watches = _keyed("watches", _int("key", key=True), _int("due_us"))
Index("watches_by_due", watches.c.due_us)

# Deleted executions of which the journal may still hold bytes: those of their records from `first` to `last`.
erasures = _keyed("erasures", _int("key", key=True), _int("first"), _int("last"))

seen = _keyed("seen", _int("key", key=True), _int("chunk", key=True), _bytes("entries"))

tags = _keyed("tags", _int("key", key=True), _text("tag", key=True))

nodes = _keyed(
    "nodes",
    _int("key", key=True),
    _text("node_id", key=True),
    _int("iteration", key=True),
    _int("attempt", key=True),
    _bytes("body"),
)

# A value of NULL says: see `large_payloads`.
payloads = _table("payloads", _int("key"), _text("slot"), _bytes("value", null=True))
Index("payloads_by_slot", payloads.c.key, payloads.c.slot, unique=True)

large_payloads = _table("large_payloads", _int("key"), _text("slot"), _bytes("value"))
Index("large_payloads_by_slot", large_payloads.c.key, large_payloads.c.slot, unique=True)

log_lines = _keyed(
    "log_lines",
    _int("key", key=True),
    _int("time_us", key=True),
    _int("event_tie", key=True),
    _int("place", key=True),
    _text("level"),
    _text("node_id", null=True),
    _text("message"),
    _bytes("data", null=True),
)

commands = _keyed(
    "commands",
    _int("key", key=True),
    _text("command_id", key=True),
    _text("state"),
    _int("since_us"),
    # The Command in MessagePack.
    _bytes("body"),
)
UNANSWERED: Final = commands.c.state == literal_column("'requested'")
Index("commands_by_id", commands.c.command_id)
Index("commands_unanswered", commands.c.since_us, sqlite_where=UNANSWERED)

# Cells of `projections.statistics`, in order of time: what ends now is written side by side.
statistics = _keyed(
    "statistics",
    _text("team", key=True),
    _int("hour", key=True),
    _text("workflow_id", key=True),
    _text("status", key=True),
    _text("trigger", key=True),
    _text("error", key=True),
    _int("bucket", key=True),
    _int("count"),
    _int("total_us"),
)

# Sums of them, by which questions about everything are answered.
rollups = _keyed(
    "rollups",
    _text("team", key=True),
    _int("facet", key=True),
    _int("grain", key=True),
    _int("at", key=True),
    _text("key", key=True),
    _text("status", key=True),
    _int("bucket", key=True),
    _int("count"),
    _int("total_us"),
)

run_statistics = _keyed(
    "run_statistics",
    _text("team", key=True),
    _int("hour", key=True),
    _text("workflow_id", key=True),
    _text("node_id", key=True),
    _text("status", key=True),
    _text("error", key=True),
    _int("bucket", key=True),
    _int("count"),
    _int("total_us"),
)

# The words for what is counted, which outlive the executions that told them.
workflow_names = _keyed(
    "workflow_names",
    _text("team", key=True),
    _text("workflow_id", key=True),
    _int("said_us"),
    _text("name"),
)

error_kinds = _keyed(
    "error_kinds",
    _text("team", key=True),
    _text("fingerprint", key=True),
    _text("type"),
    _text("pattern"),
)

# How many executions a list has: unlike the statistics, without deleted ones.
totals = _keyed(
    "totals",
    _text("team", key=True),
    _text("workflow_id", key=True),
    _text("status", key=True),
    _int("count"),
)

# --- history ---------------------------------------------------------------------------------------------------------

# One row for a partition's part of a batch: offsets `first` up to, not including, `next`.
releases = _table(
    "releases",
    _int("key", key=True),
    _int("partition"),
    _int("first"),
    _int("next"),
    _bytes("body"),
)
Index("releases_by_offset", releases.c.partition, releases.c.next)

# --- ledger ----------------------------------------------------------------------------------------------------------

quarantine = _table(
    "quarantine",
    _serial("id"),
    _text("team"),
    _int("partition"),
    _int("offset"),
    _int("stored_us"),
    _text("reason"),
    _text("field", null=True),
    _text("message"),
    # NULL while nobody has decided.
    _text("decision", null=True),
    _int("decided_us", null=True),
    _text("decided_by", null=True),
    _bytes("key", null=True),
    _bytes("value", null=True),
    # Names and values in MessagePack.
    _bytes("headers"),
)
UNDECIDED: Final = quarantine.c.decision.is_(None)
Index("quarantine_by_team", quarantine.c.team)
Index("quarantine_undecided", quarantine.c.partition, quarantine.c.offset, sqlite_where=UNDECIDED)

halts = _table(
    "halts",
    _int("partition", key=True),
    _int("offset"),
    _int("first"),
    _int("records"),
    _text("reason"),
    _int("halted_us"),
    # NULL while it stands still.
    _int("until", null=True),
    _int("resumed_us", null=True),
    _text("resumed_by", null=True),
)

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


tokens = _table(
    "tokens",
    _serial(),
    _text("id"),
    _text("team"),
    # The Token in MessagePack.
    _bytes("body"),
    # `tokens_version` when it was made or revoked.
    _int("changed"),
    _int("last_used_us", null=True),
    sqlite_autoincrement=True,
)
Index("tokens_by_id", tokens.c.id, unique=True)
Index("tokens_by_team", tokens.c.team)
Index("tokens_by_change", tokens.c.changed)

# What is kept of each is the SHA-256 of what is shown.
tickets = _table("tickets", _bytes("digest"), _text("token_id"), _int("expires_us"))
Index("tickets_by_digest", tickets.c.digest, unique=True)
Index("tickets_by_end", tickets.c.expires_us)

audit = _table(
    "audit",
    _serial(),
    _text("team"),
    _text("action"),
    _text("principal"),
    _text("object"),
    # The AuditEntry in MessagePack.
    _bytes("body"),
    sqlite_autoincrement=True,
)
Index("audit_by_team", audit.c.team)
Index("audit_by_action", audit.c.team, audit.c.action)
Index("audit_by_principal", audit.c.team, audit.c.principal)
Index("audit_by_object", audit.c.team, audit.c.object)

idempotent_requests = _keyed(
    "idempotent_requests",
    _text("team", key=True),
    _text("principal", key=True),
    _text("key", key=True),
    _bytes("fingerprint"),
    _int("created_us"),
    # NULL while it is being carried out.
    _bytes("answer", null=True),
)
Index("idempotent_requests_by_time", idempotent_requests.c.created_us)
# Those of a team are counted here, without their answers.
Index("idempotent_requests_by_team", idempotent_requests.c.team)

bulk_jobs = _table(
    "bulk_jobs",
    _serial(),
    _text("id"),
    _text("team"),
    _int("created_us"),
    _int("running"),
    # The BulkJob in MessagePack.
    _bytes("body"),
    sqlite_autoincrement=True,
)
RUNNING_BULK: Final = bulk_jobs.c.running == literal_column("1")
Index("bulk_jobs_by_id", bulk_jobs.c.team, bulk_jobs.c.id, unique=True)
Index("bulk_jobs_running", bulk_jobs.c.key, sqlite_where=RUNNING_BULK)

bulk_items = _keyed(
    "bulk_items",
    _int("job_key", key=True),
    _int("place", key=True),
    # The BulkItem in MessagePack.
    _bytes("body"),
)

# --- making them -----------------------------------------------------------------------------------------------------


def make_tables(connection: Connection) -> None:
    """Make every table, and then the indexes, those of some rows alone last.

    Of two indexes that seem to serve equally well SQLite takes the one that was made last, and without its statistics
    one of a hundred rows seems as good as one of a million. `METADATA.create_all` makes them in random order.
    """
    for table in METADATA.sorted_tables:
        connection.execute(CreateTable(table))
    for index in sorted((index for table in METADATA.sorted_tables for index in table.indexes), key=_place):
        connection.execute(CreateIndex(index))


def _place(index: Index) -> tuple[bool, str]:
    return index.dialect_options["sqlite"]["where"] is not None, str(index.name)
