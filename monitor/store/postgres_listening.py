"""Hints that travel between processes: PostgreSQL's NOTIFY, heard on a connection of its own.

They are no promise. Whoever was cut off hears all hints once when it listens again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, get_args

import structlog

from monitor.clock import Clock
from monitor.store.hints import Hint, Hints
from monitor.store.postgres_connections import options_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

_ALL: Final[frozenset[Hint]] = frozenset(get_args(Hint))

_log = structlog.get_logger()


def told(hints: Collection[Hint], name: str) -> str:
    """What a process of this name tells others."""
    return f"{name} {' '.join(sorted(hints))}"


class Listening:
    """Gives what other processes tell to `hints`, until it is closed. Made by `listen`."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.hints = Hints()
        # So that what this process told itself already is not heard twice.
        self.name = uuid.uuid4().hex[:12]
        self._url, self._clock = url, clock
        self._connection: AsyncConnection[Any] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hear what is told from now on. Raises psycopg's errors."""
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._run(self._connection), name="store-listen")

    async def close(self) -> None:
        """Hear nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def _run(self, connection: AsyncConnection[Any]) -> None:
        from psycopg import Error  # noqa: PLC0415 - the driver loads only where it is used

        while True:
            try:
                async for notify in connection.notifies():
                    self._hear(notify.payload)
            except (Error, OSError) as error:
                _log.info("the store's hints are not heard for a while", reason=str(error).strip())
            await connection.close()
            self._connection = connection = await self._connect_again()
            self.hints.give(_ALL)

    async def _connect_again(self) -> AsyncConnection[Any]:
        from psycopg import Error  # noqa: PLC0415

        pause_s = _FIRST_PAUSE_S
        while True:
            await self._clock.sleep(pause_s)
            try:
                return await self._connect()
            except (Error, OSError):
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _connect(self) -> AsyncConnection[Any]:
        import psycopg  # noqa: PLC0415

        connection = await psycopg.AsyncConnection.connect(**options_of(self._url), autocommit=True)
        try:
            await connection.execute("LISTEN monitor")
        except BaseException:
            await connection.close()
            raise
        return connection

    def _hear(self, said: str) -> None:
        name, *hints = said.split(" ")
        if name != self.name:
            self.hints.give({hint for hint in _ALL if hint in hints})
