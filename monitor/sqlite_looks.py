"""Looking into SQLite's files from outside: without changing them, making any, or holding up the service on them."""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

_BUSY_TIMEOUT_S: Final = 5.0


def connect_to_look(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, to a file that is there; somebody may be writing to it meanwhile.

    Raises sqlite3.OperationalError when there is none.
    """
    # Without its log nobody works on the file, and even a reader would make one, in the name of whoever looks.
    is_at_rest = not path.with_name(f"{path.name}-wal").exists()
    how = "immutable=1" if is_at_rest else "mode=ro"
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    driver = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    driver.execute("PRAGMA query_only = ON")
    return driver
