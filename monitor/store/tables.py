"""The tables of the store, for SQLite and PostgreSQL alike, and the two versions that a store is stamped with.

Executions have an integer key in order of first arrival, and every table of projections is keyed by it. What changes
with every event stands in the narrow `progress`, what lists are filtered and sorted by in `executions`; the view of an
execution is made from the registers in `progress`, so that it is stored once. Columns in `_us` are microseconds.
"""

from typing import Final

from sqlalchemy import Connection, Index, and_, literal_column
from sqlalchemy.schema import CreateIndex, CreateTable

from monitor.store import columns
from monitor.store.columns import blob as _bytes
from monitor.store.columns import keyed as _keyed
from monitor.store.columns import number as _int
from monitor.store.columns import table as _table
from monitor.store.columns import text as _text

SCHEMA_VERSION: Final = 7

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
