"""What the store knows of executions that somebody has to look at: part of the `Reader` and `Writer` ports."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from monitor.projections.execution import Execution


class WatchReader(Protocol):
    """Questions about what is watched."""

    def next_watch_us(self) -> int | None:
        """When the first execution is to be looked at; None = nothing is watched."""
        ...

    def due_watches(self, now_us: int, limit: int) -> Sequence[Execution]:
        """The first executions that are to be looked at by now, the longest due first: their registers and what follows
        from these alone, without nodes.
        """
        ...


class WatchWriter(WatchReader, Protocol):
    """Decisions about it. A commit watches executions as well (`Touched.look_us`), for the earliest time asked."""

    def watch_again(self, looks: Mapping[int, int | None]) -> None:
        """By key, when to look next at executions that `due_watches` named in this transaction; None = not again."""
        ...
