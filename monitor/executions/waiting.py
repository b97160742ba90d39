"""Waiting for what becomes of a command: until its execution has started or ended, or its engine has refused.

One read of the store before, for what has happened already, and one after, for the answer; between them the releases
tell. A watch is opened before the command is submitted, so that nothing is missed.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.engines.base import Command
from monitor.errors import CommandRefused, EngineUnavailable
from monitor.executions.finding import has_ended
from monitor.fanout.hub import Hub
from monitor.fanout.watches import Watch
from monitor.projections.status import is_final
from monitor.projections.view import Summary
from monitor.store.base import Reader, Store
from monitor.store.command_port import CommandRow


class Goal(NamedTuple):
    """What is waited for, as the view shows it, and as a release may announce it."""

    shows: Callable[[Summary], bool]
    tells: Callable[[str], bool]


ENDED: Final = Goal(has_ended, is_final)
STARTED: Final = Goal(lambda summary: summary.status != "queued", lambda status: status != "queued")


class Commanded(NamedTuple):
    """What became of a command so far."""

    command_id: str
    execution_id: str
    # The execution as it is visible now; None while nothing of it is.
    summary: Summary | None
    # Whether what was waited for has come.
    is_done: bool


class Waiting:
    """Waits for executions and commands."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store, self._hub = store, hub

    def watch(self, who: Principal, execution_id: str) -> AbstractContextManager[Watch]:
        """Hear of an execution while the block runs. Raises TooManyWaiting."""
        return self._hub.watches.open((who.team, execution_id))

    async def outcome(self, who: Principal, command: Command, watch: Watch, goal: Goal, wait_s: float) -> Commanded:
        """What the command has come to, now or within `wait_s` seconds.

        Raises CommandRefused, and EngineUnavailable when it failed for want of an answer.
        """
        found = await self._look(who, command, goal)
        if not found.is_done and wait_s > 0:
            await watch.until(lambda heard: self._is_settled(heard, command, goal), wait_s)
            found = await self._look(who, command, goal)
        return found

    def _is_settled(self, watch: Watch, command: Command, goal: Goal) -> bool:
        is_vain = watch.has_heard(command.command_id, "command.refused", "command.failed")
        return is_vain or (watch.status is not None and goal.tells(watch.status))

    async def _look(self, who: Principal, command: Command, goal: Goal) -> Commanded:
        def work(reader: Reader) -> tuple[Summary | None, CommandRow | None]:
            found = reader.execution(who.team, command.execution_id)
            return None if found is None else found[0], reader.command(who.team, command.command_id)

        summary, row = await self._store.read(work)
        if row is not None:
            _check(row, command)
        is_done = summary is not None and goal.shows(summary)
        return Commanded(command.command_id, command.execution_id, summary, is_done)


def _check(row: CommandRow, command: Command) -> None:
    """Raise what stands against the command."""
    ids = {"commandId": command.command_id, "executionId": command.execution_id}
    message = (row.command.error or {}).get("message")
    said = message if isinstance(message, str) else None
    if row.command.state == "refused":
        raise CommandRefused(said, **ids)
    if row.command.state == "failed":
        raise EngineUnavailable(said, **ids)
