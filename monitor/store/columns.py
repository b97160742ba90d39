"""What the tables of the store are made of: columns of the four kinds, tables of the two."""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.schema import SchemaItem

METADATA: Final = MetaData()

# STRICT tables of SQLite know INTEGER only, which holds 64 bits there.
INT: Final = BigInteger().with_variant(Integer, "sqlite")

# In the order of its characters everywhere, as SQLite and Python have it.
_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")


def number(name: str, *, null: bool = False, key: bool = False) -> Column[int]:
    """Of 64 bits."""
    return Column(name, INT, nullable=null, primary_key=key, autoincrement=False)


def text(name: str, *, null: bool = False, key: bool = False) -> Column[str]:
    """Of any length."""
    return Column(name, _TEXT, nullable=null, primary_key=key)


def blob(name: str, *, null: bool = False) -> Column[bytes]:
    """Bytes."""
    return Column(name, LargeBinary, nullable=null)


def serial(name: str = "key") -> Column[int]:
    """A table's own integer key, given by the database; with `sqlite_autoincrement` none is given twice."""
    return Column(name, INT, primary_key=True, autoincrement=True)


def table(name: str, *items: SchemaItem, **options: Any) -> Table:
    """A table whose columns keep to their types."""
    return Table(name, METADATA, *items, sqlite_strict=True, **options)


def keyed(name: str, *items: SchemaItem) -> Table:
    """A table of short rows that are stored in their key itself."""
    return table(name, *items, sqlite_with_rowid=False)
