"""The store port's part for commands: what engines were asked for, by execution, by id, and what nobody answered."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from monitor.projections.commands import Command


class CommandRow(NamedTuple):
    """A command and the execution that it was asked for."""

    team: str
    execution_id: str
    workflow_id: str
    command: Command
    # The execution's integer key.
    key: int

    @property
    def spot(self) -> "CommandSpot":
        """Its place among those that nobody has answered."""
        return self.command.since_us, self.key, self.command.id


CommandSpot = tuple[int, int, str]
"""When a command was asked for, the key of its execution, and its id: the order of those that nobody has answered."""


class CommandReader(Protocol):
    """Questions about commands. Those of deleted executions are gone."""

    def commands(self, key: int) -> Sequence[Command]:
        """Every command of an execution, in the order in which they were asked for."""
        ...

    def command(self, team: str, command_id: str) -> CommandRow | None:
        """One of a team's; where several executions were asked under one id, that of the first."""
        ...

    def open_commands(self, before_us: int, limit: int, after: CommandSpot | None = None) -> Sequence[CommandRow]:
        """Commands, of every team, that were asked for before and that nobody has answered; the oldest first, or those
        that follow `after`.
        """
        ...
