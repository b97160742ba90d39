"""What deleted rows leave in SQLite's files: nothing, once `leave_none` was said before and `wipe` after. For journal
and store alike.
"""

import sqlite3
from typing import Final

_WAIT_MS: Final = 100
"""For readers who still look at what was there before: no writer waits longer for it."""


def leave_none(connection: sqlite3.Connection) -> None:
    """Have what this connection deletes or replaces written over with zeros, not only given free."""
    connection.execute("PRAGMA secure_delete = ON")


def wipe(connection: sqlite3.Connection) -> bool:
    """Bring everything into the file and empty the log beside it, which holds pages as they were.

    False when a reader stands in the way: ask again later.
    """
    [(waits_ms,)] = connection.execute("PRAGMA busy_timeout")
    connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
    try:
        [(is_busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {waits_ms}")
    return not is_busy
