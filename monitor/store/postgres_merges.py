"""Statements that take many rows of a table at once, made from its definition. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import LargeBinary, Table, Text

from monitor.store import access_tables, count_tables, delivery_tables, order_tables, quarantine_tables, tables
from monitor.store.postgres_arrays import Blobs, Ints, Texts

_TABLES: Final = {
    table.name: table
    for of in (tables, count_tables, delivery_tables, access_tables, order_tables, quarantine_tables)
    for table in vars(of).values()
    if isinstance(table, Table)
}

MOST_ROWS: Final = 1_000
"""Of one statement. Beyond it costs no less per row, and the database plans as if they were few."""


class Merge(NamedTuple):
    """A statement and what its columns are."""

    statement: bytes
    kinds: Sequence[type[list[Any]]]

    def columns(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """What the statement takes for these rows, which must not be none."""
        return [kind(column) for kind, column in zip(self.kinds, zip(*rows, strict=True), strict=True)]


def inserted(table: str, columns: str, *, otherwise: str = "") -> Merge:
    """New rows, of `columns`, whose names stand apart by spaces."""
    names = columns.split()
    into = f"INSERT INTO {table} AS old ({_listed(names)}) SELECT * FROM {_given(names)} {otherwise}"  # noqa: S608 - constants
    return Merge(into.encode(), _kinds(table, names))


def put(table: str, columns: str) -> Merge:
    """Rows that take the place of those with the same key."""
    changed = [name for name in columns.split() if name not in _key(table)]
    values = ", ".join(f'"{name}" = excluded."{name}"' for name in changed)
    return inserted(table, columns, otherwise=f"ON CONFLICT ({_listed(_key(table))}) DO UPDATE SET {values}")


def added(table: str, columns: str, sums: str, key: str | None = None) -> Merge:
    """Rows whose `sums` are added to those of the row with the same key, the table's unless it is given."""
    values = ", ".join(f'"{name}" = old."{name}" + excluded."{name}"' for name in sums.split())
    otherwise = f"ON CONFLICT ({key or _listed(_key(table))}) DO UPDATE SET {values}"
    return inserted(table, f"{columns} {sums}", otherwise=otherwise)


def changed(table: str, columns: str, guarded: str = "") -> Merge:
    """New values of `columns` for the row with the key that comes after them, if what `guarded` names is as last given.

    As many rows change as passed.
    """
    names, guards = columns.split(), guarded.split()
    values = ", ".join(f'"{name}" = new."{name}"' for name in names)
    tests = "".join(f' AND old."{name}" = new."{name}_before"' for name in guards)
    given = _given([*names, "key", *(f"{name}_before" for name in guards)])
    update = f"UPDATE {table} AS old SET {values} FROM {given} WHERE old.key = new.key{tests}"  # noqa: S608 - constants
    return Merge(update.encode(), _kinds(table, [*names, "key", *guards]))


def removed(table: str, columns: str) -> Merge:
    """Every row that has one of these values."""
    names = columns.split()
    tests = " AND ".join(f'old."{name}" = new."{name}"' for name in names)
    delete = f"DELETE FROM {table} AS old USING {_given(names)} WHERE {tests}"  # noqa: S608 - constants
    return Merge(delete.encode(), _kinds(table, names))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _given(names: Sequence[str]) -> str:
    return f"unnest({', '.join(['%s'] * len(names))}) AS new ({_listed(names)})"


def _key(table: str) -> list[str]:
    return [column.name for column in _TABLES[table].primary_key]


def _kinds(table: str, names: Sequence[str]) -> Sequence[type[list[Any]]]:
    return [_kind(_TABLES[table].c[name].type) for name in names]


def _kind(type_: object) -> type[list[Any]]:
    return Texts if isinstance(type_, Text) else Blobs if isinstance(type_, LargeBinary) else Ints
