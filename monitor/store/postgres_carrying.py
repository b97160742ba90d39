"""How PostgreSQL takes the rows of a batch: table by table, in key order. `postgres_write` mixes it in.

Batches of other partitions do the same beside it, and every one goes by the same order of tables and of keys: none
waits for a row while another waits for one of its own.
"""

from collections.abc import Sequence
from typing import Any, Final

from monitor.errors import Fenced
from monitor.projections.commands import Command, merged
from monitor.projections.fold import Changes
from monitor.projections.statistics import rolled_up
from monitor.store import rows
from monitor.store.commands import decode_command, encode_command
from monitor.store.postgres_session import PostgresSession
from monitor.store.sqlite_statistics import changed_rows

_UPDATE_PROGRESS: Final = """
UPDATE progress SET version = %s, updated_us = %s, events = %s, completed = %s, total = %s, heard_us = %s,
    registers = %s, tail = %s
WHERE key = %s AND version = %s AND events = %s
"""
_INSERT_EXECUTIONS: Final = """
INSERT INTO executions (
    key, team, id, created_us, workflow_id, workflow_name, mode, status, at_us, started_us, duration_us,
    stopped_us, retry_of, parent_id, error_type, deleted, ended_us, "trigger", error
) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_INSERT_PROGRESS: Final = """
INSERT INTO progress (key, version, updated_us, events, completed, total, heard_us, registers, tail)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_RELIST: Final = """
UPDATE executions
SET workflow_id = %s, workflow_name = %s, mode = %s, status = %s, at_us = %s, started_us = %s, duration_us = %s,
    stopped_us = %s, retry_of = %s, parent_id = %s, error_type = %s, deleted = %s, ended_us = %s, "trigger" = %s,
    error = %s
WHERE key = %s
"""
_END: Final = """
UPDATE executions SET status = %s, duration_us = %s, stopped_us = %s, error_type = %s, ended_us = %s, error = %s
WHERE key = %s
"""
_PUT_ERROR_TEXTS: Final = """
INSERT INTO error_texts (team, key, text) VALUES (%s, %s, %s)
ON CONFLICT (team, key) DO UPDATE SET text = excluded.text
"""
_ADD_NAMES: Final = """
INSERT INTO node_names (team, workflow_id, node_id, name, text) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_PUT_NODES: Final = """
INSERT INTO nodes (key, node_id, iteration, attempt, body) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (key, node_id, iteration, attempt) DO UPDATE SET body = excluded.body
"""
_PUT_LOG_LINES: Final = """
INSERT INTO log_lines (key, time_us, event_tie, place, level, node_id, message, data)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key, time_us, event_tie, place) DO UPDATE
SET level = excluded.level, node_id = excluded.node_id, message = excluded.message, data = excluded.data
"""
_WATCH: Final = """
INSERT INTO watches (key, due_us) VALUES (%s, %s)
ON CONFLICT (key) DO UPDATE SET due_us = least(watches.due_us, excluded.due_us)
"""

# In this order: what is void goes before what replaces it.
_STATEMENTS: Final = (
    ("ended", _END),
    ("relisted", _RELIST),
    ("unfailed", "DELETE FROM error_texts WHERE team = %s AND key = %s"),
    ("error_texts", _PUT_ERROR_TEXTS),
    ("node_names", _ADD_NAMES),
    ("untagged", "DELETE FROM tags WHERE key = %s"),
    ("tags", "INSERT INTO tags (key, tag) VALUES (%s, %s)"),
    ("seen", "INSERT INTO seen (key, chunk, entries) VALUES (%s, %s, %s)"),
    ("cleared", "DELETE FROM nodes WHERE key = %s"),
    ("cleared", "DELETE FROM payloads WHERE key = %s"),
    ("cleared", "DELETE FROM large_payloads WHERE key = %s"),
    ("silenced", "DELETE FROM log_lines WHERE key = %s"),
    ("silenced", "DELETE FROM commands WHERE key = %s"),
    ("nodes", _PUT_NODES),
    ("emptied", "DELETE FROM payloads WHERE key = %s AND slot = %s"),
    ("emptied", "DELETE FROM large_payloads WHERE key = %s AND slot = %s"),
    ("payloads", "INSERT INTO payloads (key, slot, value) VALUES (%s, %s, %s)"),
    ("large_payloads", "INSERT INTO large_payloads (key, slot, value) VALUES (%s, %s, %s)"),
    ("log_lines", _PUT_LOG_LINES),
    ("watches", _WATCH),
)

_STORED_COMMANDS: Final = """
SELECT c.key, c.body FROM unnest(%s::bigint[], %s::text[]) AS wanted (key, id)
JOIN commands AS c ON c.key = wanted.key AND c.command_id = wanted.id
"""
_PUT_COMMANDS: Final = """
INSERT INTO commands (key, command_id, state, since_us, body) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (key, command_id) DO UPDATE
SET state = excluded.state, since_us = excluded.since_us, body = excluded.body
"""

_ADD_TOTALS: Final = """
INSERT INTO totals AS t (team, workflow_id, status, count) VALUES (%s, %s, %s, %s)
ON CONFLICT (team, workflow_id, status) DO UPDATE SET count = t.count + excluded.count
"""
_ADD_CELLS: Final = """
INSERT INTO statistics AS s (team, hour, workflow_id, status, "trigger", error, bucket, count, total_us)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (team, hour, workflow_id, status, "trigger", error, bucket) DO UPDATE
SET count = s.count + excluded.count, total_us = s.total_us + excluded.total_us
"""
_ADD_ROLLUPS: Final = """
INSERT INTO rollups AS s (team, facet, grain, at, key, status, bucket, count, total_us)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (team, facet, grain, at, key, status, bucket) DO UPDATE
SET count = s.count + excluded.count, total_us = s.total_us + excluded.total_us
"""
_ADD_RUNS: Final = """
INSERT INTO run_statistics AS s (team, hour, workflow_id, node_id, status, error, bucket, count, total_us)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (team, hour, workflow_id, node_id, status, error, bucket) DO UPDATE
SET count = s.count + excluded.count, total_us = s.total_us + excluded.total_us
"""
_NAME_WORKFLOWS: Final = """
INSERT INTO workflow_names AS n (team, workflow_id, said_us, name) VALUES (%s, %s, %s, %s)
ON CONFLICT (team, workflow_id) DO UPDATE SET said_us = excluded.said_us, name = excluded.name
WHERE (excluded.said_us, excluded.name) > (n.said_us, n.name)
"""
_ADD_ERROR_KINDS: Final = """
INSERT INTO error_kinds (team, fingerprint, type, pattern) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""


class Carrying(PostgresSession):
    """Rows of a batch into their tables."""

    def _carry(self, batch: rows.Batch) -> None:
        updated = self._many(_UPDATE_PROGRESS, batch.progress)
        if updated != len(batch.progress):
            raise Fenced(f"{len(batch.progress) - updated} executions changed since they were loaded")
        self._many(_INSERT_EXECUTIONS, [_plain(row) for row in batch.new])
        self._many(_INSERT_PROGRESS, batch.new_progress)
        for name, statement in _STATEMENTS:
            self._many(statement, [_plain(row) for row in getattr(batch, name)])
        self._put_commands(batch.commands)
        self._many(_ADD_TOTALS, [(*cell, number) for cell, number in sorted(batch.totals.items()) if number])

    def _put_commands(self, heard: Sequence[tuple[int, Command]]) -> None:
        """Join facts, each by its execution's key, to their commands."""
        if not heard:
            return
        keys, ids = zip(*sorted({(key, command.id) for key, command in heard}), strict=True)
        stored = self._driver.execute(_STORED_COMMANDS, (list(keys), list(ids)))
        bodies = [(key, decode_command(body)) for key, body in stored]
        commands = {(key, command.id): command for key, command in bodies}
        for key, command in heard:
            commands[key, command.id] = merged(commands.get((key, command.id)), command)
        self._many(
            _PUT_COMMANDS,
            [(*at, it.state, it.since_us, encode_command(it)) for at, it in sorted(commands.items())],
        )

    def _add_sums(self, changes: Changes) -> None:
        self._many(_ADD_CELLS, changed_rows(changes.statistics.items()))
        self._many(_ADD_ROLLUPS, changed_rows(rolled_up(changes.statistics).items()))
        self._many(_ADD_RUNS, changed_rows(changes.run_statistics.items()))
        self._many(_NAME_WORKFLOWS, sorted((*key, *said) for key, said in changes.workflow_names.items()))
        kinds = sorted((team, *kind) for (team, _), kind in changes.error_kinds.items())
        self._many(_ADD_ERROR_KINDS, kinds)


def _plain(row: rows.Row) -> tuple[Any, ...]:
    """With numbers for truth values, as SQLite has them."""
    return tuple(int(value) if value is True or value is False else value for value in row)
