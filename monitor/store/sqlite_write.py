"""The batch write path of SQLite: a Writer whose hot statements are written by hand and run by `executemany`.

One statement per table and batch, rows in key order, nothing per event. `rows.pack` decided what is written; here it is
carried to the tables, behind the fences. Used by `sqlite` only, inside a transaction that began as the only writer.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Final

from sqlalchemy import Connection

from monitor.errors import Fenced
from monitor.projections.execution import Execution, Node, NodeKey
from monitor.projections.fold import Changes, ExecutionId, Release
from monitor.store import rows
from monitor.store.access_rows import AccessWrites
from monitor.store.base import Commit, Moved, cut_away, hints_of, journal_mismatch
from monitor.store.exports import ExportWrites
from monitor.store.hints import Hint
from monitor.store.leases import LeaseWrites
from monitor.store.orders import OrderWrites
from monitor.store.quarantine_rows import QuarantineWrites
from monitor.store.queries import Queries
from monitor.store.rows import StoredExecution
from monitor.store.searching import Known, NodeNames
from monitor.store.sqlite_commands import write_commands
from monitor.store.sqlite_expiry import ExpiryWrites
from monitor.store.sqlite_ledger import SQLiteLedger
from monitor.store.sqlite_statistics import statistics_rows
from monitor.store.tables import SEEN_CHUNK
from monitor.store.watch_queries import WatchWrites

# CROSS JOIN keeps SQLite from turning the join round and scanning the table for a handful of ids.
_LOAD: Final = """
SELECT
    e.key, e.team, e.id, e.created_us,
    p.version, p.updated_us, p.completed, p.total, p.registers, p.tail, p.heard_us, p.events
FROM json_each(?) AS wanted
CROSS JOIN executions AS e ON e.team = wanted.value ->> 0 AND e.id = wanted.value ->> 1
CROSS JOIN progress AS p ON p.key = e.key
"""
_LOAD_NODES: Final = """
SELECT n.key, n.node_id, n.iteration, n.attempt, n.body
FROM json_each(?) AS wanted CROSS JOIN nodes AS n ON n.key = wanted.value
"""
_LOAD_SEEN: Final = """
SELECT s.key, s.entries FROM json_each(?) AS wanted CROSS JOIN seen AS s ON s.key = wanted.value ORDER BY s.key, s.chunk
"""

_LOAD_NAMES: Final = "SELECT node_id, name FROM node_names WHERE team = ? AND workflow_id = ?"

_MOVE: Final = """
UPDATE offsets SET next = ?, anchor = ?, planned = max(planned, ?) WHERE partition = ? AND next = ?
AND NOT EXISTS (SELECT 1 FROM halts WHERE halts.partition = offsets.partition AND halts.until IS NULL)
"""

_UPDATE_PROGRESS: Final = """
UPDATE progress
SET version = ?, updated_us = ?, events = ?, completed = ?, total = ?, heard_us = ?, registers = ?, tail = ?
WHERE key = ? AND version = ? AND events = ?
"""

_INSERT_EXECUTIONS: Final = """
INSERT INTO executions (
    key, team, id, created_us, workflow_id, workflow_name, mode, status, at_us, started_us, duration_us,
    stopped_us, retry_of, parent_id, error_type, deleted, ended_us, "trigger", error
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_PROGRESS: Final = """
INSERT INTO progress (key, version, updated_us, events, completed, total, heard_us, registers, tail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_RELIST: Final = """
UPDATE executions
SET workflow_id = ?, workflow_name = ?, mode = ?, status = ?, at_us = ?, started_us = ?, duration_us = ?,
    stopped_us = ?, retry_of = ?, parent_id = ?, error_type = ?, deleted = ?, ended_us = ?, "trigger" = ?, error = ?
WHERE key = ?
"""
_ADD_LOG_LINES: Final = """
REPLACE INTO log_lines (key, time_us, event_tie, place, level, node_id, message, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

_WATCH: Final = """
INSERT INTO watches (key, due_us) VALUES (?, ?) ON CONFLICT DO UPDATE SET due_us = min(due_us, excluded.due_us)
"""

_END: Final = """
UPDATE executions SET status = ?, duration_us = ?, stopped_us = ?, error_type = ?, ended_us = ?, error = ? WHERE key = ?
"""

# In this order: what is void goes before what replaces it.
_STATEMENTS: Final = (
    ("ended", _END),
    ("relisted", _RELIST),
    ("unfailed", "DELETE FROM error_texts WHERE team = ? AND key = ?"),
    ("error_texts", "REPLACE INTO error_texts (team, key, text) VALUES (?, ?, ?)"),
    # Two nodes may have one name once both were cut short.
    ("node_names", "INSERT OR IGNORE INTO node_names (team, workflow_id, node_id, name, text) VALUES (?, ?, ?, ?, ?)"),
    ("untagged", "DELETE FROM tags WHERE key = ?"),
    ("tags", "INSERT INTO tags (key, tag) VALUES (?, ?)"),
    ("seen", "INSERT INTO seen (key, chunk, entries) VALUES (?, ?, ?)"),
    ("cleared", "DELETE FROM nodes WHERE key = ?"),
    ("cleared", "DELETE FROM payloads WHERE key = ?"),
    ("cleared", "DELETE FROM large_payloads WHERE key = ?"),
    ("silenced", "DELETE FROM log_lines WHERE key = ?"),
    ("silenced", "DELETE FROM commands WHERE key = ?"),
    ("nodes", "REPLACE INTO nodes (key, node_id, iteration, attempt, body) VALUES (?, ?, ?, ?, ?)"),
    ("emptied", "DELETE FROM payloads WHERE key = ? AND slot = ?"),
    ("emptied", "DELETE FROM large_payloads WHERE key = ? AND slot = ?"),
    ("payloads", "INSERT INTO payloads (key, slot, value) VALUES (?, ?, ?)"),
    ("large_payloads", "INSERT INTO large_payloads (key, slot, value) VALUES (?, ?, ?)"),
    ("log_lines", _ADD_LOG_LINES),
    ("watches", _WATCH),
)

_ADD_TOTALS: Final = """
INSERT INTO totals (team, workflow_id, status, count) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET count = count + excluded.count
"""
_ADD_RELEASES: Final = "INSERT INTO releases (partition, first, next, body) VALUES (?, ?, ?, ?)"
_FORGET_RELEASES: Final = """
DELETE FROM releases WHERE key IN (
    SELECT key FROM releases WHERE partition = ? AND next <= ? ORDER BY next LIMIT ?
)
"""


class SQLiteWriter(
    SQLiteLedger,
    ExpiryWrites,
    AccessWrites,
    OrderWrites,
    ExportWrites,
    QuarantineWrites,
    WatchWrites,
    LeaseWrites,
    Queries,
):
    """Implements the Writer port over the one connection that writes."""

    def __init__(self, connection: Connection, names: NodeNames | None = None, *, shared: bool = False) -> None:
        """`names`, which outlives the transaction, spares it from asking what names of nodes are stored."""
        super().__init__(connection)
        # Of what others hear once this is committed.
        self.hinted: set[Hint] = set() if shared else {"desk"}
        self._names = names or NodeNames()
        self._names.load = self._load_names

    # The batch

    def load(self, ids: Collection[ExecutionId]) -> dict[ExecutionId, Execution]:
        if not ids:
            return {}
        found = self._driver.execute(_LOAD, (json.dumps(list(ids)),)).fetchall()
        nodes = self._nodes_of([row[0] for row in found])
        chunks = self._chunks_of([row[0] for row in found if row[-1] >= SEEN_CHUNK])
        loaded = (rows.unpack(StoredExecution(*row[:-1]), nodes[row[0]], chunks[row[0]]) for row in found)
        return {(execution.team, execution.id): execution for execution in loaded}

    def _nodes_of(self, keys: Sequence[int]) -> Mapping[int, dict[NodeKey, Node]]:
        nodes: dict[int, dict[NodeKey, Node]] = defaultdict(dict)
        for key, node_id, iteration, attempt, body in self._driver.execute(_LOAD_NODES, (json.dumps(keys),)):
            nodes[key][node_id, iteration, attempt] = rows.unpack_node(body)
        return nodes

    def _chunks_of(self, keys: Sequence[int]) -> Mapping[int, list[bytes]]:
        chunks: dict[int, list[bytes]] = defaultdict(list)
        if keys:
            for key, entries in self._driver.execute(_LOAD_SEEN, (json.dumps(keys),)):
                chunks[key].append(entries)
        return chunks

    def commit(self, commit: Commit) -> None:
        for partition, moved in commit.moved.items():
            self._move(partition, moved)
        for partition, halt in commit.halts.items():
            self._halt(partition, halt)
        changes = commit.changes
        self._write_executions(rows.pack(changes, self._new_keys(changes), self._names))
        if changes.erasures:
            self._add_erasures(changes)
        self._add_statistics(changes)
        self._add_releases(changes.releases, commit.moved)
        self._add_quarantine(changes.poison)
        if commit.deliveries:
            self.owe(commit.deliveries)
        self.hinted |= hints_of(commit)

    def _move(self, partition: int, moved: Moved) -> None:
        values = (moved.next, moved.anchor, moved.next, partition, moved.expected)
        if not self._driver.execute(_MOVE, values).rowcount:
            raise Fenced(f"partition {partition} is halted, or does not stand at {moved.expected} any more")

    def _load_names(self, team: str, workflow_id: str) -> Known:
        return set(self._driver.execute(_LOAD_NAMES, (team, workflow_id)))

    def _new_keys(self, changes: Changes) -> Iterable[int]:  # noqa: ARG002 - a rebuild goes by it
        """Keys for the new executions of a batch, in order."""
        [(highest,)] = self._driver.execute("SELECT max(key) FROM executions")
        return count((highest or 0) + 1)

    def _write_executions(self, batch: rows.Batch) -> None:
        updated = self._many(_UPDATE_PROGRESS, batch.progress)
        if updated != len(batch.progress):
            raise Fenced(f"{len(batch.progress) - updated} executions changed since they were loaded")
        try:
            self._many(_INSERT_EXECUTIONS, batch.new)
            self._many(_INSERT_PROGRESS, batch.new_progress)
        except sqlite3.IntegrityError as error:
            raise Fenced(f"an execution was stored by somebody else first: {error}") from error
        for name, statement in _STATEMENTS:
            self._many(statement, getattr(batch, name))
        write_commands(self._driver, batch.commands)
        self._many(_ADD_TOTALS, [(*cell, number) for cell, number in sorted(batch.totals.items()) if number])

    def _many(self, statement: str, values: Sequence[rows.Row]) -> int:
        return self._driver.executemany(statement, values).rowcount if values else 0

    def _add_statistics(self, changes: Changes) -> None:
        for statement, values in statistics_rows(changes):
            self._many(statement, values)

    def _add_releases(self, releases: Iterable[Release], moved: Mapping[int, Moved]) -> None:
        packed = rows.pack_releases(releases)
        self._many(_ADD_RELEASES, [(at, moved[at].expected, moved[at].next, body) for at, body in packed.items()])

    # The journal's place

    def bind(self, incarnation: str, starts: Sequence[int]) -> None:
        bound = self._driver.execute("SELECT incarnation, partitions FROM meta").fetchone()
        asked = (incarnation, len(starts))
        if bound == (None, None):
            self._driver.execute("UPDATE meta SET incarnation = ?, partitions = ?", asked)
            starting = [(partition, start, start, b"") for partition, start in enumerate(starts)]
            self._many("INSERT INTO offsets (partition, next, planned, anchor) VALUES (?, ?, ?, ?)", starting)
        elif bound != asked:
            raise journal_mismatch(bound, asked)

    def pass_cut(self, partition: int, expected: int, next_offset: int) -> None:
        self._move(partition, Moved(expected, next_offset, b""))
        self._add_quarantine([cut_away(partition, expected, next_offset)])
        self._many(_ADD_RELEASES, [(partition, expected, next_offset, rows.pack_stored(()))])

    def forget_releases(self, partition: int, before: int, limit: int) -> int:
        return self._driver.execute(_FORGET_RELEASES, (partition, before, limit)).rowcount
