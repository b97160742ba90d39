"""What SQLite's errors mean to a service: the same for the files of journal and store, whose drivers ask."""

import sqlite3
from pathlib import Path
from typing import Final

from monitor.errors import DataFolderUnusable, StartupError

# Trouble that may pass while the process runs: a full or failing disk, another process on the file, no memory.
_PASSING: Final = frozenset(
    (
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    )
)


def may_pass(error: BaseException) -> bool:
    """Whether a later try may succeed. Damage, missing tables and errors of this program stay: who tries on, tries on
    for ever.
    """
    return _code(error) in _PASSING


def unusable(path: Path, error: BaseException, *, kind: str, way_out: str) -> StartupError:
    """Why the file at `path`, which should be a `kind`, cannot be opened, with the cure.

    `way_out`: what moving a damaged file away is good for.
    """
    match _code(error):
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return StartupError(
                f"{path} is damaged or no {kind} at all ({error}); restore a backup with `monitor restore` into an "
                f"empty folder, or move it away to {way_out}."
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return DataFolderUnusable(
                f"{path} cannot be written ({error}); make its folder writable for this user, or name another one."
            )
        case _:
            return StartupError(
                f"{path} cannot be opened ({error}); see that no other program holds it and the disk has room."
            )


def _code(error: BaseException) -> int:
    """The primary code, which the extended ones carry in their lowest byte; 0 for an error of the driver itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
