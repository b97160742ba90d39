"""The store's tables as PostgreSQL has them: made from the same definitions, with what it alone needs beside."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Index, MetaData, text
from sqlalchemy.schema import CreateIndex, CreateTable

from monitor.store.tables import METADATA

KEYS_OF: Final = ("executions", "releases", "deliveries", "delivery_bodies")
"""Tables whose keys whoever writes them takes from a sequence, many at once."""

# Their rows change again and again, no indexed column of them: room on the page keeps the new version beside the old
# one, without a new entry in any index, and what is dead is swept before it is many pages.
_CHANGING: Final[Mapping[str, str]] = {
    "fillfactor": "75",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "500",
    "autovacuum_vacuum_cost_delay": "0",
}
_HOT: Final = ("offsets", "progress", "executions", "lanes", "deliveries", "totals", "statistics", "rollups", "meta")


def sequence_of(table: str) -> str:
    """The name of the sequence that gives a table's keys."""
    return f"{table}_keys"


def make_tables(connection: Connection) -> None:
    """Make every table, index and sequence."""
    for table in METADATA.sorted_tables:
        connection.execute(CreateTable(table))
    for table in METADATA.sorted_tables:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(as_postgres(index)))
    for name in KEYS_OF:
        connection.execute(text(f"CREATE SEQUENCE {sequence_of(name)}"))
    settings = ", ".join(f"{name} = {value}" for name, value in _CHANGING.items())
    for name in _HOT:
        connection.execute(text(f"ALTER TABLE {name} SET ({settings})"))


def as_postgres(index: Index) -> Index:
    """The index, of the rows alone that SQLite's is of: the definition names SQLite's, for that costs its start
    nothing."""
    options: Any = index.dialect_options
    options["postgresql"]["where"] = options["sqlite"]["where"]
    return index


def tables_there(connection: Connection) -> set[str]:
    """The names of the store's tables that the database holds already."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in METADATA.tables)
    return set(found.tables)
