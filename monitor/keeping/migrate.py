"""`migrate`: the store of an earlier version brought to this one's layout, in one step.

An embedded one while its service is stopped; one that is shared beside processes of the version before.
"""

import asyncio
from contextlib import AsyncExitStack

from monitor.errors import DataFolderBusy, StartupError
from monitor.opening import lock_folder
from monitor.settings import Settings
from monitor.store.copying import Course
from monitor.store.migrations.sqlite_file import look
from monitor.store.migrations.sqlite_file import migrate as migrate_file
from monitor.store.migrations.steps import Migrated


async def migrate(settings: Settings, course: Course, *, check: bool = False) -> Migrated:
    """Migrate the store that the settings name; with `check` say which steps that takes, and change nothing.

    Raises StartupError, naming the cure, when it cannot be done.
    """
    if settings.shares_store:
        return await asyncio.to_thread(_migrate_shared, settings.store.get_secret_value(), course, check)
    path = settings.data / "store.db"
    if not path.exists():
        raise StartupError(f"{path} is missing: there is nothing to migrate; the next start makes a store")
    if check:
        return await asyncio.to_thread(look, path)
    try:
        async with AsyncExitStack() as opened:
            lock_folder(settings.data, opened)
            return await asyncio.to_thread(migrate_file, path, course)
    except DataFolderBusy as busy:
        raise DataFolderBusy(f"{busy.message}; a store is migrated while its service is stopped") from None


def _migrate_shared(url: str, course: Course, check: bool) -> Migrated:
    from monitor.store.migrations import postgres_database  # noqa: PLC0415 - its driver is optional

    return postgres_database.look(url) if check else postgres_database.migrate(url, course)
