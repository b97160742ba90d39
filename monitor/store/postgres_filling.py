"""An empty PostgreSQL database filled with what an embedded store holds, for a journal whose records were moved too.

Promises: one transaction, so that killed at any instruction everything is there or nothing; nobody else writes
meanwhile. Keys stay what they were, and none is given twice. Blocking: `keeping.move` calls it in a thread.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from msgspec.structs import replace
from sqlalchemy import Connection, StaticPool, create_engine, exists, func, insert, select, update

from monitor.access.audit import AuditEntry, AuditQuery
from monitor.errors import MonitorError, StartupError
from monitor.events.model import NOWHERE, Place
from monitor.store import rows
from monitor.store.access_rows import AccessWrites
from monitor.store.base import Binding
from monitor.store.ledger import decode_endpoint, encode
from monitor.store.postgres import prepare
from monitor.store.postgres_connections import connect
from monitor.store.postgres_errors import translated
from monitor.store.postgres_layout import ALONE, check_layout
from monitor.store.postgres_merges import MOST_ROWS, inserted
from monitor.store.postgres_session import PostgresSession
from monitor.store.postgres_tables import KEYS_OF, sequence_of
from monitor.store.releases import StoredRelease
from monitor.store.tables import METADATA, meta, offsets

Way = Literal["copied", "placed", "written", "left"]
"""What becomes of a table:

- copied: row by row, as it is.
- placed: the same, but for the places of records in the journal, which are others now.
- written: anew, for it says which journal is folded how far.
- left: it is nothing to whoever goes on, for the reason that stands beside it.
"""

WAYS: Final[Mapping[str, Way]] = {
    "meta": "written",
    "offsets": "written",
    "halts": "left",  # where a partition stood still its records are folded by the cluster, which halts again
    "executions": "copied",
    "progress": "placed",
    "seen": "placed",
    "tags": "copied",
    "nodes": "copied",
    "payloads": "copied",
    "large_payloads": "copied",
    "log_lines": "copied",
    "commands": "copied",
    "watches": "copied",
    "erasures": "left",  # nobody blanks a topic: its retention erases
    "error_texts": "copied",
    "statistics": "copied",
    "rollups": "copied",
    "run_statistics": "copied",
    "workflow_names": "copied",
    "error_kinds": "copied",
    "node_names": "copied",
    "totals": "copied",
    "releases": "placed",
    "quarantine": "placed",
    "endpoints": "placed",
    "lanes": "copied",
    "delivery_bodies": "copied",
    "deliveries": "copied",  # what is leased is taken back when the lease ends, as after a crash
    "attempts": "copied",
    "replays": "copied",
    "tokens": "copied",
    "tickets": "copied",  # sessions that were ended stay so
    "audit": "copied",
    "idempotent_requests": "copied",
    "bulk_jobs": "copied",
    "bulk_items": "copied",
    "export_jobs": "left",  # their files lie in the folder
    "leases": "left",  # of processes that run no more
}
"""What becomes of every table, by its name."""

Row = Sequence[Any]

_PORTION_BYTES: Final = 4 << 20
"""What one statement carries, so that a thousand large payloads are no gigabyte."""

_TEAMS: Final = "SELECT team FROM executions UNION SELECT team FROM tokens UNION SELECT team FROM endpoints"

_NO_LIMIT: Final = "SET LOCAL statement_timeout = 0"


# --- from there ------------------------------------------------------------------------------------------------------


def count_rows(source: sqlite3.Connection) -> int:
    """How many rows are read to fill a database."""
    names = [name for name, way in WAYS.items() if way in ("copied", "placed")]
    return sum(source.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names)  # noqa: S608 - a table


def teams_in(source: sqlite3.Connection) -> set[str]:
    """The teams that have something."""
    return {team for (team,) in source.execute(_TEAMS)}


def _columns(name: str) -> list[str]:
    return [column.name for column in METADATA.tables[name].columns]


def _read(source: sqlite3.Connection, name: str, columns: Sequence[str]) -> Iterator[Row]:
    listed = ", ".join(f'"{column}"' for column in columns)
    return source.execute(f"SELECT {listed} FROM {name}")  # noqa: S608 - a table


# --- to there --------------------------------------------------------------------------------------------------------


def is_filled(url: str, mark: AuditQuery) -> bool:
    """Whether the database at `url` holds a store whose audit has `mark`; False where it holds nothing.

    Raises StartupError when it holds anything else, or cannot be used.
    """
    with _connected(url, reads_only=True) as connection:
        if check_layout(connection) is None:
            return False
        filling = _Filling(connection)
        if filling.audit(mark, 1):
            return True
        filling.check_empty()
        return False


def fill(
    url: str, source: sqlite3.Connection, binding: Binding, mark: AuditEntry, advance: Callable[[int], None]
) -> Mapping[str, int]:
    """Fill the database at `url`; returns how many rows each table got. `advance` hears of rows of `source`.

    `mark` is noted in its audit, in the same transaction. Raises StartupError when it is not empty, or cannot be used.
    """
    with _connected(url) as connection:
        connection.exec_driver_sql(ALONE)
        connection.exec_driver_sql(_NO_LIMIT)
        prepare(connection)
        filling = _Filling(connection)
        filling.check_empty()
        counts = {name: filling.take(source, name, binding, advance) for name in WAYS}
        filling.bind(source, binding)
        filling.set_sequences(source)
        filling.note(mark)
        # Or the planner would take a million rows for a few until the database has looked by itself.
        connection.exec_driver_sql("ANALYZE")
        return counts


class _Filling(PostgresSession, AccessWrites):
    """A transaction over a connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_empty(self) -> None:
        """Raise StartupError where somebody has stored something."""
        held = [name for name in WAYS if name != "meta" and self._has_rows(name)]
        if held:
            raise StartupError(
                f"The database of MONITOR_STORE is in use already (there are {', '.join(held)}), and nothing is mixed "
                "into it; name an empty one, on which no process was started"
            )

    def _has_rows(self, name: str) -> bool:
        wanted = select(exists(select(1).select_from(METADATA.tables[name])))
        return bool(self._connection.scalars(wanted).one())

    def take(self, source: sqlite3.Connection, name: str, binding: Binding, advance: Callable[[int], None]) -> int:
        """Fill a table; returns with how many rows."""
        if WAYS[name] not in ("copied", "placed"):
            return 0
        columns, count = _columns(name), 0
        merge = inserted(name, " ".join(columns))
        found = _told(_read(source, name, columns), advance)
        for portion in _portions(_placed(name, found, binding)):
            self._merge(merge, portion)
            count += len(portion)
        return count

    def bind(self, source: sqlite3.Connection, binding: Binding) -> None:
        """Say which journal is folded how far; the key that sealed the secrets stays the one."""
        kept = ("endpoints_version", "tokens_version", "key_check")
        [values] = _read(source, "meta", kept)
        tied = {"incarnation": binding.incarnation, "partitions": len(binding.offsets)}
        self._connection.execute(update(meta).values(**dict(zip(kept, values, strict=True)), **tied))
        starting = [{"partition": at, **row._asdict()} for at, row in sorted(binding.offsets.items())]
        self._connection.execute(insert(offsets), starting)

    def set_sequences(self, source: sqlite3.Connection) -> None:
        """Have new rows get keys that no row ever had."""
        given = dict(source.execute("SELECT name, seq FROM sqlite_sequence"))
        for table in METADATA.sorted_tables:
            column = table.autoincrement_column
            if column is not None:
                sequence = select(func.pg_get_serial_sequence(table.name, column.name))
                self._set_sequence(self._connection.scalars(sequence).one(), table.name, column.name, given)
        for name in KEYS_OF:
            self._set_sequence(sequence_of(name), name, "key", given)

    def _set_sequence(self, sequence: str, name: str, column: str, given: Mapping[str, int]) -> None:
        highest = self._connection.scalars(select(func.max(METADATA.tables[name].c[column]))).one() or 0
        if last := max(highest, given.get(name, 0)):
            self._connection.execute(select(func.setval(sequence, last)))


@contextmanager
def _connected(url: str, *, reads_only: bool = False) -> Iterator[Connection]:
    """A transaction in the database at `url`. Raises StartupError, with the cure."""
    try:
        with translated():
            driver = connect(url, reads_only=reads_only)
            engine = create_engine(
                "postgresql+psycopg://", creator=lambda: driver, poolclass=StaticPool, use_native_hstore=False
            )
            try:
                with engine.begin() as connection:
                    yield connection
            finally:
                driver.close()
    except StartupError:
        raise
    except MonitorError as error:
        raise StartupError(
            f"The database of MONITOR_STORE cannot be filled: {error} It is as it was. See that it runs, that this "
            "user may make tables in it, and that address and password are right."
        ) from error


def _told(found: Iterable[Row], advance: Callable[[int], None]) -> Iterator[Row]:
    number = 0
    for number, row in enumerate(found, 1):
        yield row
        if number % MOST_ROWS == 0:
            advance(MOST_ROWS)
    advance(number % MOST_ROWS)


def _portions(found: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows for one statement each."""
    portion: list[Row] = []
    size_bytes = 0
    for row in found:
        portion.append(row)
        size_bytes += sum(len(value) for value in row if isinstance(value, bytes | str))
        if len(portion) == MOST_ROWS or size_bytes >= _PORTION_BYTES:
            yield portion
            portion, size_bytes = [], 0
    if portion:
        yield portion


# --- places ----------------------------------------------------------------------------------------------------------

Named = dict[str, Any]
"""A row by its columns."""


def _placed_seen(row: Named, binding: Binding) -> Iterator[Named]:
    yield row | {"entries": rows.moved_entries(row["entries"], binding.of)}


def _placed_progress(row: Named, binding: Binding) -> Iterator[Named]:
    yield row | {"tail": rows.moved_entries(row["tail"], binding.of)}


def _placed_quarantine(row: Named, binding: Binding) -> Iterator[Named]:
    yield row | binding.of(Place(row["partition"], row["offset"]))._asdict()


def _placed_endpoint(row: Named, binding: Binding) -> Iterator[Named]:
    endpoint = decode_endpoint(row["body"])
    yield row | {"body": encode(replace(endpoint, since=binding.since(endpoint.since)))}


def _placed_releases(row: Named, binding: Binding) -> Iterator[Named]:
    """What a batch released, of each partition a row."""
    by_partition: dict[int, list[StoredRelease]] = defaultdict(list)
    for release in rows.unpack_releases(row["body"]):
        partition, offset = binding.of(Place(row["partition"], release.offset))
        if offset != NOWHERE:
            by_partition[partition].append(replace(release, offset=offset))
    for partition, released in by_partition.items():
        # As many keys for each of before as there are partitions.
        key = row["key"] * len(binding.offsets) + partition
        span = {"first": released[0].offset, "next": released[-1].offset + 1}
        yield {"key": key, "partition": partition, **span, "body": rows.pack_stored(released)}


PLACED: Final[Mapping[str, Callable[[Named, Binding], Iterator[Named]]]] = {
    "seen": _placed_seen,
    "progress": _placed_progress,
    "quarantine": _placed_quarantine,
    "endpoints": _placed_endpoint,
    "releases": _placed_releases,
}
"""How the rows of each table are placed that names records."""


def _placed(name: str, found: Iterable[Row], binding: Binding) -> Iterable[Row]:
    """The rows of a table, with the places that records have now."""
    if WAYS[name] == "copied":
        return found
    place, columns = PLACED[name], _columns(name)
    named = (dict(zip(columns, row, strict=True)) for row in found)
    return (tuple(placed[column] for column in columns) for row in named for placed in place(row, binding))
