"""`backup` and `restore`: both files of a data folder as they stood at one moment, copied beside a running service.

Promises: the journal's copy holds everything that the store's was folded from, and is checked to; a folder is a backup
once its `backup.json` is there, which is written last. What comes back has a new incarnation: positions of before name
records that may be gone, and whoever shows one is told so instead of missing something.
"""

import asyncio
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from monitor import __version__
from monitor.anchors import check_anchors
from monitor.clock import Clock, SystemClock
from monitor.errors import JournalMismatch, StartupError
from monitor.events.codec import format_time
from monitor.events.position import INCARNATION_BYTES
from monitor.journal import open_sqlite_journal
from monitor.opening import lock_folder, need_own_store
from monitor.settings import Settings
from monitor.store import open_sqlite_store
from monitor.store.copying import PART, Course, copy_pages, flush, make_private, size_bytes

STORE: Final = "store.db"
JOURNAL: Final = "journal.db"
KEY: Final = "key"
MANIFEST: Final = "backup.json"

_FORMAT: Final = 1
_BUSY_TIMEOUT_S: Final = 5.0
_BYTES_AT_ONCE: Final = 1 << 20

# In this order a service that is started in between says what is missing.
_RETURNED: Final = (KEY, STORE, JOURNAL)


class Backup(NamedTuple):
    """What a backup holds."""

    folder: Path
    document: Mapping[str, Any]

    @property
    def has_key(self) -> bool:
        """Whether the key that opens the store's secrets is among the files."""
        return KEY in self.document["files"]


# --- there -----------------------------------------------------------------------------------------------------------


async def back_up(
    settings: Settings, folder: Path, course: Course, *, with_key: bool = False, clock: Clock | None = None
) -> Backup:
    """Copy the data folder to `folder`, which must be empty or missing, while a service may be running.

    `with_key`: the key as well, with which the copy opens every secret. Raises StartupError with the cure.
    """
    need_own_store(settings, "copy that database with pg_dump, at any moment; the journal is the topic")
    clock = clock or SystemClock()
    names = (STORE,) if settings.journal else (STORE, JOURNAL)
    for name in names:
        if not (settings.data / name).exists():
            raise StartupError(f"{settings.data / name} is missing: there is nothing to back up; see MONITOR_DATA")
    key = settings.data / KEY
    if with_key and not key.exists():
        raise StartupError(f"{key} is missing; keep the key that MONITOR_KEY holds, and leave --with-key away")
    with _files(f"cannot back up to {folder}; choose another folder, or see that its disk has room"):
        _make_empty(folder)
        made_us = clock.now_us()
        try:
            await asyncio.to_thread(
                _copy_at_one_moment, [(settings.data / name, folder / name) for name in names], course
            )
            if with_key:
                await asyncio.to_thread(_copy_file, key, folder / KEY, _ignored)
            offsets = await _checked(folder, clock)
            files = await asyncio.to_thread(_described, folder)
            document = {
                "format": _FORMAT,
                "madeAt": format_time(made_us),
                "monitor": __version__,
                "journal": "kafka" if settings.journal else "embedded",
                "offsets": offsets,
                "files": files,
            }
            await asyncio.to_thread(_write, folder / MANIFEST, json.dumps(document, indent=1).encode())
        except BaseException:
            for name in (*names, KEY, MANIFEST):
                for path in (folder / name, folder / f"{name}{PART}"):
                    path.unlink(missing_ok=True)
            raise
    return Backup(folder, document)


def _make_empty(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise StartupError(f"{folder} is not empty; a backup takes a folder of its own")


def _copy_at_one_moment(files: Sequence[tuple[Path, Path]], course: Course) -> None:
    """Copy databases as they are now: all of them are looked at before the first page of one is copied.

    In this order: the later ones are never behind what the earlier ones know of them.
    """
    with ExitStack() as opened:
        sources = [opened.enter_context(_snapshot(source)) for source, _ in files]
        with course("Copying", sum(size_bytes(source) for source in sources), "bytes") as advance:
            for source, (_, target) in zip(sources, files, strict=True):
                copy_pages(source, target, advance)


@contextmanager
def _snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that goes on seeing the file as it is now."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield connection


async def _checked(folder: Path, clock: Clock, *, migrate: bool = False) -> dict[str, int]:
    """How far each partition of a copy is folded, once it opens as a service opens it. Raises StartupError."""
    async with AsyncExitStack() as opened:
        store = await open_sqlite_store(folder / STORE, migrate=migrate)
        opened.push_async_callback(store.close)
        position = await store.read(lambda reader: reader.position())
        if (folder / JOURNAL).exists():
            journal = await open_sqlite_journal(folder / JOURNAL, clock=clock)
            opened.push_async_callback(journal.close)
            if position.incarnation not in ("", journal.incarnation):
                raise JournalMismatch(f"{JOURNAL} is not the journal that {STORE} was folded from")
            await check_anchors(journal, store)
        return {str(partition): offset for partition, offset in enumerate(position.offsets)}


# --- and back --------------------------------------------------------------------------------------------------------


async def restore(settings: Settings, folder: Path, course: Course, *, clock: Clock | None = None) -> Backup:
    """Put the backup in `folder` into the data folder, which must be empty but for its key.

    Raises StartupError with the cure: what is no whole backup, or would overwrite something, changes nothing.
    """
    need_own_store(settings, "bring a copy of that database back with pg_restore, and start the processes again")
    document = _read_manifest(folder)
    files: Mapping[str, Mapping[str, Any]] = document["files"]
    with _files(f"cannot restore to {settings.data}; see that this user may write there, and that its disk has room"):
        async with AsyncExitStack() as opened:
            lock_folder(settings.data, opened)
            _refuse_to_overwrite(settings.data, folder)
            await asyncio.to_thread(_copy_back, settings.data, folder, files, course)
            if JOURNAL in files:
                await asyncio.to_thread(_renew, settings.data)
            await _return(settings.data, clock or SystemClock(), list(files))
    return Backup(folder, document)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_bytes())
        is_known = document["format"] == _FORMAT and {STORE} <= set(document["files"]) <= set(_RETURNED)
    except FileNotFoundError:
        raise StartupError(
            f"{path} is missing: {folder} is no backup, or one that was not finished; use another"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StartupError(f"{path} cannot be read ({error}); use another backup") from None
    if not is_known:
        raise StartupError(f"{path} was written by another version of this program; restore it with that one")
    return dict(document)


def _refuse_to_overwrite(data: Path, folder: Path) -> None:
    there = {path.name for path in data.iterdir() if not path.name.endswith(PART)} - {"lock", KEY}
    if there:
        raise StartupError(
            f"{data} is not empty ({', '.join(sorted(there))}); move its files away, or name an empty folder with "
            "MONITOR_DATA"
        )
    if (data / KEY).exists() and (folder / KEY).exists() and (data / KEY).read_bytes() != (folder / KEY).read_bytes():
        raise StartupError(f"{data / KEY} is not the key of this backup; move it away")


def _copy_back(data: Path, folder: Path, files: Mapping[str, Mapping[str, Any]], course: Course) -> None:
    with course("Restoring", sum(said["bytes"] for said in files.values()), "bytes") as advance:
        for name, said in files.items():
            found = _copy_file(folder / name, data / f"{name}{PART}", advance)
            if found != said:
                raise StartupError(f"{folder / name} is not as it was backed up; use another backup")


def _renew(data: Path) -> None:
    """A new life of the journal, for both that know of it: what followed the backup may be told differently."""
    incarnation = secrets.token_hex(INCARNATION_BYTES)
    for name, statement in (
        (JOURNAL, "UPDATE meta SET value = ? WHERE name = 'incarnation'"),
        (STORE, "UPDATE meta SET incarnation = ?"),
    ):
        path = data / f"{name}{PART}"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement, (incarnation,))
        flush(path)


async def _return(data: Path, clock: Clock, names: Sequence[str]) -> None:
    for name in _RETURNED:
        if name in names:
            (data / f"{name}{PART}").replace(data / name)
    flush(data)
    await _checked(data, clock, migrate=True)


# --- files -----------------------------------------------------------------------------------------------------------


@contextmanager
def _files(cannot: str) -> Iterator[None]:
    """Say in one line what a system's or SQLite's error means."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StartupError(f"{cannot} ({error})") from error


def _copy_file(source: Path, target: Path, advance: Callable[[int], None]) -> dict[str, Any]:
    """Copy a file, for its owner alone; returns what `_described_file` says of it."""
    digest, size_bytes = hashlib.sha256(), 0
    make_private(target)
    with source.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(_BYTES_AT_ONCE):
            written.write(chunk)
            digest.update(chunk)
            size_bytes += len(chunk)
            advance(len(chunk))
    flush(target)
    return {"bytes": size_bytes, "sha256": digest.hexdigest()}


def _described(folder: Path) -> dict[str, Any]:
    return {path.name: _described_file(path) for path in sorted(folder.iterdir())}


def _described_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}{PART}")
    make_private(part)
    part.write_bytes(content)
    flush(part)
    part.replace(path)
    flush(path.parent)


def _ignored(_: int) -> None:
    """Nobody watches it."""
