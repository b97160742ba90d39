"""How PostgreSQL takes the rows of a batch: table by table, in key order. `postgres_write` mixes it in.

Batches of other partitions do the same beside it, and every one goes by the same order of tables and of keys: none
waits for a row while another waits for one of its own.
"""

from collections.abc import Sequence
from typing import Final

from monitor.errors import Fenced
from monitor.projections.commands import Command, merged
from monitor.projections.fold import Changes
from monitor.projections.statistics import rolled_up
from monitor.store import rows
from monitor.store.commands import decode_command, encode_command
from monitor.store.postgres_arrays import Ints, Texts
from monitor.store.postgres_merges import added, changed, inserted, put, removed
from monitor.store.postgres_session import PostgresSession
from monitor.store.sqlite_statistics import changed_rows

_LISTED: Final = (
    "workflow_id workflow_name mode status at_us started_us duration_us stopped_us retry_of parent_id error_type "
    "deleted ended_us trigger error"
)
_PROGRESS: Final = "version updated_us events completed total heard_us registers tail"
_EARLIEST: Final = "ON CONFLICT (key) DO UPDATE SET due_us = least(old.due_us, excluded.due_us)"
_LATEST: Final = """
ON CONFLICT (team, workflow_id) DO UPDATE SET said_us = excluded.said_us, name = excluded.name
WHERE (excluded.said_us, excluded.name) > (old.said_us, old.name)
"""

_UPDATE_PROGRESS: Final = changed("progress", _PROGRESS, guarded="version events")
_INSERT_EXECUTIONS: Final = inserted("executions", f"key team id created_us {_LISTED}")
_INSERT_PROGRESS: Final = inserted("progress", f"key {_PROGRESS}")

# In this order: what is void goes before what replaces it.
_MERGES: Final = (
    ("ended", changed("executions", "status duration_us stopped_us error_type ended_us error")),
    ("relisted", changed("executions", _LISTED)),
    ("unfailed", removed("error_texts", "team key")),
    ("error_texts", put("error_texts", "team key text")),
    # Two nodes may have one name once both were cut short, and other batches tell the same names.
    ("node_names", inserted("node_names", "team workflow_id node_id name text", otherwise="ON CONFLICT DO NOTHING")),
    ("untagged", removed("tags", "key")),
    ("tags", inserted("tags", "key tag")),
    ("seen", inserted("seen", "key chunk entries")),
    ("cleared", removed("nodes", "key")),
    ("cleared", removed("payloads", "key")),
    ("cleared", removed("large_payloads", "key")),
    ("silenced", removed("log_lines", "key")),
    ("silenced", removed("commands", "key")),
    ("nodes", put("nodes", "key node_id iteration attempt body")),
    ("emptied", removed("payloads", "key slot")),
    ("emptied", removed("large_payloads", "key slot")),
    ("payloads", inserted("payloads", "key slot value")),
    ("watches", inserted("watches", "key due_us", otherwise=_EARLIEST)),
)
# One by one: a thousand of them might be a gigabyte.
_ADD_LARGE: Final = "INSERT INTO large_payloads (key, slot, value) VALUES (%s, %s, %s)"
_PUT_LOG_LINES: Final = put("log_lines", "key time_us event_tie place level node_id message data")

_STORED_COMMANDS: Final = """
SELECT c.key, c.body FROM unnest(%s, %s) AS wanted (key, id)
JOIN commands AS c ON c.key = wanted.key AND c.command_id = wanted.id
"""
_PUT_COMMANDS: Final = put("commands", "key command_id state since_us body")

_ADD_TOTALS: Final = added("totals", "team workflow_id status", "count")
_ADD_CELLS: Final = added("statistics", "team hour workflow_id status trigger error bucket", "count total_us")
_ADD_ROLLUPS: Final = added("rollups", "team facet grain at key status bucket", "count total_us")
_ADD_RUNS: Final = added(
    "run_statistics",
    "team hour workflow_id node_id status error bucket",
    "count total_us",
    key="team, hour, workflow_id, md5(node_id), status, error, bucket",
)
_NAME_WORKFLOWS: Final = inserted("workflow_names", "team workflow_id said_us name", otherwise=_LATEST)
_ADD_ERROR_KINDS: Final = inserted("error_kinds", "team fingerprint type pattern", otherwise="ON CONFLICT DO NOTHING")


class Carrying(PostgresSession):
    """Rows of a batch into their tables."""

    def _carry(self, batch: rows.Batch) -> None:
        """All that belongs to executions. Raises Fenced when somebody else was first."""
        from psycopg.errors import UniqueViolation  # noqa: PLC0415 - the driver loads only where it is used

        missing = len(batch.progress) - self._merge(_UPDATE_PROGRESS, batch.progress)
        if missing:
            raise Fenced(f"{missing} executions changed since they were loaded")
        try:
            self._merge(_INSERT_EXECUTIONS, batch.new)
        except UniqueViolation as error:
            raise Fenced(f"an execution was stored by somebody else first: {error}") from error
        self._put_rows(batch)
        self._put_commands(batch.commands)

    def _put_rows(self, batch: rows.Batch) -> None:
        self._merge(_INSERT_PROGRESS, batch.new_progress)
        for name, merge in _MERGES:
            self._merge(merge, getattr(batch, name))
        self._many(_ADD_LARGE, batch.large_payloads)
        # Of lines in one place the last one stays, as if they came one by one.
        self._merge(_PUT_LOG_LINES, list({row[:4]: row for row in batch.log_lines}.values()))

    def _put_commands(self, heard: Sequence[tuple[int, Command]]) -> None:
        """Join facts, each by its execution's key, to their commands."""
        if not heard:
            return
        keys, ids = zip(*sorted({(key, command.id) for key, command in heard}), strict=True)
        stored = self._driver.execute(_STORED_COMMANDS, (Ints(keys), Texts(ids)), binary=True)
        bodies = [(key, decode_command(body)) for key, body in stored]
        commands = {(key, command.id): command for key, command in bodies}
        for key, command in heard:
            commands[key, command.id] = merged(commands.get((key, command.id)), command)
        found = sorted(commands.items())
        self._merge(_PUT_COMMANDS, [(*at, it.state, it.since_us, encode_command(it)) for at, it in found])

    def _add_sums(self, batch: rows.Batch, changes: Changes) -> None:
        """Rows that batches of all partitions add to: late, for others wait for them until this transaction is over."""
        self._merge(_ADD_TOTALS, [(*cell, number) for cell, number in sorted(batch.totals.items()) if number])
        self._merge(_ADD_CELLS, changed_rows(changes.statistics.items()))
        self._merge(_ADD_ROLLUPS, changed_rows(rolled_up(changes.statistics).items()))
        self._merge(_ADD_RUNS, changed_rows(changes.run_statistics.items()))
        self._merge(_NAME_WORKFLOWS, sorted((*key, *said) for key, said in changes.workflow_names.items()))
        kinds = sorted((team, *kind) for (team, _), kind in changes.error_kinds.items())
        self._merge(_ADD_ERROR_KINDS, kinds)
