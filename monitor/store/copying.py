"""Whole copies of SQLite files, made page by page, and what long work tells of itself meanwhile."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Final

from monitor.errors import StartupError

Course = Callable[[str, int | None, str], AbstractContextManager[Callable[[int], None]]]
"""Hears how the work goes: what is being done, of how many (None: nobody knows) units; then of every few that are."""

PART: Final = ".part"
"""At the end of a name: it is not whole yet."""

_PAGES_AT_ONCE: Final = 256


def size_bytes(connection: sqlite3.Connection) -> int:
    """How large the database is that the connection sees."""
    [(found,)] = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    return int(found)


def copy_pages(source: sqlite3.Connection, target: Path, advance: Callable[[int], None]) -> None:
    """Copy what a connection sees to the file `target`, checked and on the disk; it is there whole or not at all.

    `advance` hears of bytes. Raises StartupError when the copy is damaged, and what SQLite and the system raise.
    """
    [(page_bytes,)] = source.execute("PRAGMA page_size")
    done = 0

    def told(_: int, remaining: int, total: int) -> None:
        nonlocal done
        advance((total - remaining - done) * page_bytes)
        done = total - remaining

    part = target.with_name(f"{target.name}{PART}")
    make_private(part)
    with closing(sqlite3.connect(part)) as copy:
        copy.execute("PRAGMA synchronous = OFF")  # it is flushed as a whole
        source.backup(copy, pages=_PAGES_AT_ONCE, progress=told)
        [(verdict,)] = copy.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise StartupError(f"the copy of {target.name} is damaged ({verdict}); so is the original, or the disk")
    flush(part)
    part.replace(target)


def make_private(path: Path) -> None:
    """Make an empty file that its owner alone can read."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))


def flush(path: Path) -> None:
    """Wait until the disk has it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
