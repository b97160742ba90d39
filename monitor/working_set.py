"""Executions that a fold goes on with, kept in memory from batch to batch."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from monitor.events.model import Event, Poison
from monitor.projections.execution import Execution
from monitor.projections.fold import ExecutionId
from monitor.store.base import Writer

CACHED_EXECUTIONS: Final = 10_000
"""About 40 MB of executions that were touched last; the rest is loaded again when an event names it."""


class WorkingSet:
    """Executions in memory across batches, the least recently touched ones dropped first. Used by one thread at a
    time.
    """

    def __init__(self, limit: int = CACHED_EXECUTIONS) -> None:
        self._limit = limit
        self._kept: OrderedDict[ExecutionId, Execution] = OrderedDict()

    def take(self, writer: Writer, events: Sequence[Event | Poison]) -> dict[ExecutionId, Execution]:
        """Every execution that `events` name: kept, else stored, else new."""
        ids = {(event.team, event.execution_id) for event in events if isinstance(event, Event)}
        missing = [id_ for id_ in ids if id_ not in self._kept]
        stored = writer.load(missing) if missing else {}
        taken = {}
        for id_ in ids:
            execution = self._kept.get(id_) or stored.get(id_)
            taken[id_] = execution if execution is not None else Execution(*id_)
        return taken

    def keep(self, executions: Mapping[ExecutionId, Execution]) -> None:
        """Remember what was committed."""
        for id_, execution in executions.items():
            self._kept[id_] = execution
            self._kept.move_to_end(id_)
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: the store knows better."""
        self._kept.clear()
