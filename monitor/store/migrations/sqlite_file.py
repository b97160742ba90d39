"""Migrates a store's file: a copy of it is left beside it, and everything happens in one transaction.

Promises: killed at any instruction, the file is of the layout of before or of this version's, whole; what stood in its
way is named, and the file is as it was. Memory does not grow with the file. Nobody else may be using it.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import StaticPool
from sqlalchemy.exc import DBAPIError

from monitor.errors import StartupError
from monitor.store.copying import Course, copy_pages, flush, size_bytes
from monitor.store.migrations import steps
from monitor.store.migrations.steps import Migrated
from monitor.store.sqlite import ANEW, connect, driver_error, engine_over, read_layout
from monitor.store.tables import SCHEMA_VERSION

_CACHE_KIB: Final = 64 * 1024

_SPARE_BYTES: Final = 64 << 20
"""For the file's log until it is brought into the file, whatever else the disk is for."""


def look(path: Path) -> Migrated:
    """What a migration of the store at `path` would do. Raises StartupError for what is no store, or a later one."""
    with closing(connect(path, _CACHE_KIB)) as driver:
        layout = read_layout(driver, path)
        [(fold_version,)] = driver.execute("SELECT fold_version FROM meta")
    return steps.ahead(layout, fold_version)


def migrate(path: Path, course: Course) -> Migrated:
    """Bring the store at `path` to this version's layout; nothing happens to one that is there.

    Raises StartupError with the cure.
    """
    try:
        found = look(path)
        if not found.steps:
            return found
        with closing(connect(path, _CACHE_KIB)) as driver:
            copy = _keep_copy(driver, path, found.before, course)
            _run(driver, found, course)
            # Or the next to open the file would find all of it in the log.
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except (OSError, sqlite3.Error, DBAPIError) as error:
        raise StartupError(
            f"{path} cannot be brought to layout {SCHEMA_VERSION} ({driver_error(error)}); it is as it was. See that "
            f"its folder can be written and the disk has room. If it is damaged, restore a backup, or move it away to "
            f"{ANEW}."
        ) from error
    return found._replace(copy=copy)


def _keep_copy(driver: sqlite3.Connection, path: Path, layout: int, course: Course) -> Path:
    copy = path.with_name(f"{path.name}.layout-{layout}")
    needed = 2 * size_bytes(driver) + _SPARE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StartupError(
            f"{path} needs {needed >> 20} MiB of free disk to be brought to layout {SCHEMA_VERSION}, for a copy and "
            f"for what changes, and {path.parent} has {free >> 20}; make room."
        )
    with course("Copying the store as it is", size_bytes(driver), "bytes") as advance:
        copy_pages(driver, copy, advance)
    flush(path.parent)
    return copy


def _run(driver: sqlite3.Connection, found: Migrated, course: Course) -> None:
    driver.execute("PRAGMA synchronous = FULL")
    # What a statement would undo by itself is as large as what it changes.
    driver.execute("PRAGMA temp_store = FILE")
    engine = engine_over("BEGIN IMMEDIATE", poolclass=StaticPool, creator=lambda: driver)
    doing = f"Migrating the store from layout {found.before} to {found.now}"
    with course(doing, len(found.steps), "steps") as advance, engine.begin() as connection:
        steps.run(connection, found.steps, advance)
