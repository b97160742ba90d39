"""The batch write path of PostgreSQL: a Writer whose hot statements take many rows at once.

One statement per table and thousand rows, in key order, nothing per event. `rows.pack` decided what is written; here it
is carried to the tables, behind the fences. Used by `postgres` only, inside a transaction that holds the store's lock.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
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
from monitor.store.postgres_arrays import Ints, Texts
from monitor.store.postgres_carrying import Carrying
from monitor.store.postgres_expiry import PostgresExpiry
from monitor.store.postgres_ledger import PostgresLedger
from monitor.store.postgres_merges import changed, removed
from monitor.store.postgres_tables import sequence_of
from monitor.store.quarantine_rows import QuarantineWrites
from monitor.store.queries import Queries
from monitor.store.rows import StoredExecution
from monitor.store.searching import Known, NodeNames
from monitor.store.tables import SEEN_CHUNK
from monitor.store.watch_queries import WatchWrites

_LOAD: Final = """
SELECT
    e.key, e.team, e.id, e.created_us,
    p.version, p.updated_us, p.completed, p.total, p.registers, p.tail, p.heard_us, p.events
FROM unnest(%s, %s) AS wanted (team, id)
JOIN executions AS e ON e.team = wanted.team AND e.id = wanted.id
JOIN progress AS p ON p.key = e.key
"""
_LOAD_NODES: Final = "SELECT key, node_id, iteration, attempt, body FROM nodes WHERE key = ANY(%s)"
_LOAD_SEEN: Final = "SELECT key, entries FROM seen WHERE key = ANY(%s) ORDER BY key, chunk"
_LOAD_NAMES: Final = "SELECT node_id, name FROM node_names WHERE team = %s AND workflow_id = %s"

_MOVE: Final = """
UPDATE offsets SET next = %s, anchor = %s, planned = greatest(planned, %s) WHERE partition = %s AND next = %s
AND NOT EXISTS (SELECT 1 FROM halts WHERE halts.partition = offsets.partition AND halts.until IS NULL)
"""
_ADD_RELEASES: Final = """
INSERT INTO releases (key, partition, first, next, body) VALUES (nextval('releases_keys'), %s, %s, %s, %s)
"""
_FORGET_RELEASES: Final = """
DELETE FROM releases WHERE key = ANY (ARRAY (
    SELECT key FROM releases WHERE partition = %s AND next <= %s ORDER BY next LIMIT %s
))
"""
_KEYS: Final = "SELECT nextval(%s::text::regclass) FROM generate_series(1, %s) ORDER BY 1"

_LOOK_AGAIN: Final = changed("watches", "due_us")
_LOOK_NO_MORE: Final = removed("watches", "key")


class PostgresWriter(
    PostgresLedger,
    PostgresExpiry,
    Carrying,
    AccessWrites,
    OrderWrites,
    ExportWrites,
    QuarantineWrites,
    WatchWrites,
    LeaseWrites,
    Queries,
):
    """Implements the Writer port over a connection inside of a transaction."""

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
        teams, names = zip(*ids, strict=True)
        found = self._driver.execute(_LOAD, (Texts(teams), Texts(names)), binary=True).fetchall()
        nodes = self._nodes_of([row[0] for row in found])
        chunks = self._chunks_of([row[0] for row in found if row[-1] >= SEEN_CHUNK])
        loaded = (rows.unpack(StoredExecution(*row[:-1]), nodes[row[0]], chunks[row[0]]) for row in found)
        return {(execution.team, execution.id): execution for execution in loaded}

    def _nodes_of(self, keys: Sequence[int]) -> Mapping[int, dict[NodeKey, Node]]:
        nodes: dict[int, dict[NodeKey, Node]] = defaultdict(dict)
        if keys:
            for key, node_id, iteration, attempt, body in self._driver.execute(_LOAD_NODES, (Ints(keys),), binary=True):
                nodes[key][node_id, iteration, attempt] = rows.unpack_node(body)
        return nodes

    def _chunks_of(self, keys: Sequence[int]) -> Mapping[int, list[bytes]]:
        chunks: dict[int, list[bytes]] = defaultdict(list)
        if keys:
            for key, entries in self._driver.execute(_LOAD_SEEN, (Ints(keys),), binary=True):
                chunks[key].append(entries)
        return chunks

    def commit(self, commit: Commit) -> None:
        for partition, moved in sorted(commit.moved.items()):
            self._move(partition, moved)
        for partition, halt in sorted(commit.halts.items()):
            self._halt(partition, halt)
        changes = commit.changes
        self._add_quarantine(changes.poison)
        batch = rows.pack(changes, self._new_keys(changes), self._names)
        if changes.erasures:
            self._add_erasures(changes)
        self._carry(batch)
        self._many(_ADD_RELEASES, _releases(changes.releases, commit.moved))
        self._add_sums(batch, changes)
        if commit.deliveries:
            self.owe(commit.deliveries)
        self.hinted |= hints_of(commit)

    def _move(self, partition: int, moved: Moved) -> None:
        values = (moved.next, moved.anchor, moved.next, partition, moved.expected)
        if not self._driver.execute(_MOVE, values).rowcount:
            raise Fenced(f"partition {partition} is halted, or does not stand at {moved.expected} any more")

    def _load_names(self, team: str, workflow_id: str) -> Known:
        return {(node_id, name) for node_id, name in self._driver.execute(_LOAD_NAMES, (team, workflow_id))}

    def _new_keys(self, changes: Changes) -> Iterable[int]:
        """Keys for the new executions of a batch, in order."""
        count = sum(not touched.execution.key for touched in changes.touched.values())
        found = self._driver.execute(_KEYS, (sequence_of("executions"), count)) if count else ()
        return [key for (key,) in found]

    def watch_again(self, looks: Mapping[int, int | None]) -> None:
        ordered = sorted(looks.items())
        self._merge(_LOOK_AGAIN, [(look_us, key) for key, look_us in ordered if look_us is not None])
        self._merge(_LOOK_NO_MORE, [(key,) for key, look_us in ordered if look_us is None])

    # The journal's place

    def bind(self, incarnation: str, starts: Sequence[int]) -> None:
        [bound] = self._driver.execute("SELECT incarnation, partitions FROM meta FOR UPDATE").fetchall()
        asked = (incarnation, len(starts))
        if bound == (None, None):
            self._driver.execute("UPDATE meta SET incarnation = %s, partitions = %s", asked)
            starting = [(partition, start, start, b"") for partition, start in enumerate(starts)]
            self._many("INSERT INTO offsets (partition, next, planned, anchor) VALUES (%s, %s, %s, %s)", starting)
        elif bound != asked:
            raise journal_mismatch(bound, asked)

    def pass_cut(self, partition: int, expected: int, next_offset: int) -> None:
        self._move(partition, Moved(expected, next_offset, b""))
        self._add_quarantine([cut_away(partition, expected, next_offset)])
        self._many(_ADD_RELEASES, [(partition, expected, next_offset, rows.pack_stored(()))])

    def forget_releases(self, partition: int, before: int, limit: int) -> int:
        return self._driver.execute(_FORGET_RELEASES, (partition, before, limit)).rowcount


def _releases(releases: Iterable[Release], moved: Mapping[int, Moved]) -> list[rows.Row]:
    """One row of each partition."""
    packed = rows.pack_releases(releases)
    return [(at, moved[at].expected, moved[at].next, body) for at, body in sorted(packed.items())]
