"""Of which layout the store in a PostgreSQL database is, and whether this version goes on with it."""

from typing import Final

from sqlalchemy import Connection, select

from monitor.errors import StartupError
from monitor.store.postgres_tables import tables_there
from monitor.store.tables import SCHEMA_VERSION, meta

FIRST_LAYOUT: Final = 6
"""No store of an earlier layout has ever been in PostgreSQL."""

LOCK: Final = 0x6D6F6E69746F72
"""The store's advisory lock: one monitor has a database for itself. (`monitor` in ASCII.)"""

ALONE: Final = f"SELECT pg_advisory_xact_lock({LOCK})"
"""Waits until nobody else writes, and keeps everybody from it until the transaction ends."""


def read_layout(connection: Connection) -> tuple[int, int] | None:
    """The store's layout, this version's or an earlier one, and the rules by which it was folded; None: no store yet.

    Raises StartupError for one of a later layout, and for another program's database.
    """
    there = tables_there(connection)
    if not there:
        return None
    if "meta" not in there or "offsets" not in there:
        raise StartupError(
            f"The database of MONITOR_STORE holds another program's tables ({', '.join(sorted(there))}); give this "
            "service a database, or a schema, of its own."
        )
    layout, fold_version = connection.execute(select(meta.c.schema_version, meta.c.fold_version)).one()
    if not FIRST_LAYOUT <= layout <= SCHEMA_VERSION:
        which = "a later" if layout > SCHEMA_VERSION else "another"
        raise StartupError(
            f"The database of MONITOR_STORE was written by {which} version of this program (layout {layout}, this one "
            f"reads {FIRST_LAYOUT} to {SCHEMA_VERSION}); start that version, restore a dump of before, or name an "
            "empty database to fold the journal anew."
        )
    return layout, fold_version


def check_layout(connection: Connection) -> int | None:
    """The rules by which the store was folded; None: no store yet. Raises StartupError for one of another layout."""
    found = read_layout(connection)
    if found is None:
        return None
    layout, fold_version = found
    if layout < SCHEMA_VERSION:
        raise StartupError(
            f"The database of MONITOR_STORE was written by an earlier version of this program (layout {layout}, this "
            f"one reads {SCHEMA_VERSION}); bring it here with `monitor migrate`, beside which processes of that "
            "version may go on, or start that version."
        )
    return fold_version
