"""Opening what lies in the data folder: its lock, the journal, the key, and whether journal and store fit together.

Every error names what to do. Used by `app`, and by what works on the folder while no service runs.
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from monitor.access.sealing import Sealer, load_key
from monitor.anchors import check_anchors
from monitor.clock import Clock, SystemClock
from monitor.errors import DataFolderBusy, DataFolderUnusable, JournalMismatch, SettingsInvalid, StartupError
from monitor.journal import open_sqlite_journal
from monitor.journal.base import Journal
from monitor.journal.kafka import open_kafka_journal
from monitor.settings import Settings
from monitor.store import Store, Writer, open_sqlite_store


@asynccontextmanager
async def open_folder(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Journal]:
    """The data folder's lock and the journal, for work on the store's file while no service runs.

    Raises StartupError with the cure: data folder in use or unusable, journal missing or unusable.
    """
    async with AsyncExitStack() as opened:
        lock_folder(settings.data, opened)
        journal = await open_journal(settings, clock or SystemClock())
        opened.push_async_callback(journal.close)
        yield journal


async def open_journal(settings: Settings, clock: Clock) -> Journal:
    """The journal that the settings name. Raises JournalMismatch for an embedded one that is gone from its store."""
    if settings.journal:
        return await open_kafka_journal(
            settings.journal,
            clock=clock,
            group=settings.kafka_group,
            # Whoever has the store for itself, under the data folder's lock, shares the partitions with nobody.
            alone=not settings.shares_store,
            security=settings.kafka,
            create=settings.create_topics,
        )
    path = settings.data / "journal.db"
    if not path.exists() and (settings.data / "store.db").exists():
        # A new one would not be that of the store.
        raise JournalMismatch(
            f"{path}, from which the store beside it was folded, is missing; put it back, or restore both from one "
            "backup with `monitor restore` into an empty folder. If it is lost for good, move store.db away as well to "
            "begin anew, without executions and webhooks."
        )
    return await open_sqlite_journal(path, clock=clock)


async def open_store(settings: Settings) -> Store:
    """The store that the settings name; one of an earlier layout is migrated in the data folder, whose lock is held.

    Raises StartupError. A store that is shared is migrated when its operator says so.
    """
    if not settings.shares_store:
        return await open_sqlite_store(settings.data / "store.db", migrate=True)
    from monitor.store.postgres import open_postgres_store  # noqa: PLC0415 - its driver is optional

    return await open_postgres_store(settings.store.get_secret_value())


async def open_sealer(settings: Settings, store: Store) -> Sealer:
    """A sealer under the deployment's key: that which sealed the store's secrets, where there are any.

    A new key is made for a new store alone: beside an old one it would open nothing, and hide that the right one is
    missing.
    """
    path, given = settings.data / "key", settings.key_bytes
    if settings.shares_store and given is None and not path.exists():
        raise SettingsInvalid(
            "MONITOR_KEY: every process that shares a store needs the same key: make one with `openssl rand -base64 32`"
            " and give it to all of them, in MONITOR_KEY or as a file named by MONITOR_KEY_FILE"
        )
    proof = await store.read(lambda reader: reader.key_check())
    if proof is None:
        first = Sealer(given or load_key(path)).proof()
        proof = await store.write(lambda writer: _first_proof(writer, first), durable=True)
    return proven_sealer(settings, proof)


def proven_sealer(settings: Settings, proof: bytes) -> Sealer:
    """A sealer under the key that the settings or the data folder give, which must be the one that made `proof`.

    Raises StartupError with the cure.
    """
    path, given = settings.data / "key", settings.key_bytes
    cure = (
        "restore it from a backup, or set MONITOR_KEY to the key that sealed them. If that is lost, move the store "
        "away: a new one is folded from the journal, without the registered webhooks."
    )
    if given is None and not path.exists():
        raise DataFolderUnusable(f"{path}, which opens the secrets of the store, is missing; {cure}")
    sealer = Sealer(given or load_key(path))
    if proof != sealer.proof():
        if given is None:
            raise DataFolderUnusable(f"{path} does not open the secrets of the store; {cure}")
        raise SettingsInvalid(
            "MONITOR_KEY: does not open the secrets of the store; set the key that sealed them, or none if that is "
            f"the one in {path}"
        )
    return sealer


def _first_proof(writer: Writer, proof: bytes) -> bytes:
    """What the store holds from now on: another process may have been first."""
    if (held := writer.key_check()) is not None:
        return held
    writer.set_key_check(proof)
    return proof


async def bind(journal: Journal, store: Store) -> None:
    """Tie a new store to its journal, and make sure that an old one belongs to it."""
    bounds = await journal.bounds()
    starts = [bounds[partition].start for partition in range(journal.partitions)]
    known = await store.read(lambda reader: reader.position())
    if not known.incarnation and any(held.end for held in bounds.values()):
        structlog.get_logger("app").warning(
            "no store beside the journal: it is folded from its beginning, without webhooks and tokens of before"
        )
    await store.write(lambda writer: writer.bind(journal.incarnation, starts), durable=True)
    await check_anchors(journal, store)


def claim_folder(settings: Settings, opened: AsyncExitStack) -> None:
    """Have the data folder, alone where it holds journal or store; raises StartupError."""
    if not settings.shares_store:
        lock_folder(settings.data, opened)
    elif settings.serves_clients:
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(settings.data, error) from error


def need_own_store(settings: Settings, cure: str) -> None:
    """Raise StartupError where the store is not that of the data folder; `cure` says what to do instead."""
    if settings.shares_store:
        raise StartupError(f"this works on the store of a data folder, and MONITOR_STORE names a shared one: {cure}")


def lock_folder(folder: Path, opened: AsyncExitStack) -> None:
    """Make the data folder and hold its lock: the system takes it back however the process ends."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = opened.enter_context((folder / "lock").open("a+"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except BlockingIOError:
        raise DataFolderBusy(
            f"process {(folder / 'lock').read_text().strip() or 'unknown'} works on {folder.absolute()}; stop it, "
            "or name another folder with MONITOR_DATA"
        ) from None
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> DataFolderUnusable:
    return DataFolderUnusable(
        f"cannot use the data folder {folder.absolute()}: {error.strerror}; name another one with MONITOR_DATA"
    )
