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

_LONG_KEYED: Final = ("tags", "node_names", "run_statistics")
"""Tables whose keys may be longer than the third of a page that an index takes, for they hold texts of strangers: an
index over digests stands for the key."""


def sequence_of(table: str) -> str:
    """The name of the sequence that gives a table's keys."""
    return f"{table}_keys"


def make_tables(connection: Connection) -> None:
    """Make every table, index and sequence."""
    tables = as_postgres().sorted_tables
    for table in tables:
        connection.execute(CreateTable(table))
    for name in _LONG_KEYED:
        connection.execute(text(f"ALTER TABLE {name} DROP CONSTRAINT {name}_pkey"))
    for table in tables:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index))
    for name in KEYS_OF:
        connection.execute(text(f"CREATE SEQUENCE {sequence_of(name)}"))
    settings = ", ".join(f"{name} = {value}" for name, value in _CHANGING.items())
    for name in _HOT:
        connection.execute(text(f"ALTER TABLE {name} SET ({settings})"))


def as_postgres() -> MetaData:
    """The tables with PostgreSQL's indexes.

    Of some rows alone as the definitions say it for SQLite; and ordered to the end as lists and queues go on, to which
    SQLite appends the key by itself. Lists have NULL before all values.
    """
    metadata = MetaData()
    for table in [table.to_metadata(metadata) for table in METADATA.sorted_tables]:
        for index in list(table.indexes):
            where = index.dialect_options["sqlite"]["where"]
            columns: list[Any] = list(index.columns)
            if table.name == "executions":
                columns = [it.nulls_first() if it.nullable else it for it in columns]
            if [it.name for it in table.primary_key] == ["key"] and not index.unique and "key" not in index.columns:
                columns.append(table.c.key)
            table.indexes.discard(index)
            Index(index.name, *columns, unique=index.unique, postgresql_where=where)
    _add_digests(metadata)
    return metadata


def _add_digests(metadata: MetaData) -> None:
    tags, names, runs = (metadata.tables[name].c for name in _LONG_KEYED)
    Index("tags_by_key", tags.key)
    digests = (text("md5(node_id)"), text("md5(name)"))
    Index("node_names_by_digest", names.team, names.workflow_id, *digests, unique=True)
    of_node = (runs.team, runs.hour, runs.workflow_id, text("md5(node_id)"), runs.status, runs.error, runs.bucket)
    Index("run_statistics_by_digest", *of_node, unique=True)


def tables_there(connection: Connection) -> set[str]:
    """The names of the store's tables that the database holds already."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in METADATA.tables)
    return set(found.tables)
