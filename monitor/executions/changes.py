"""Changes at the desk that need no engine: delete an execution, note something about it.

Each is one event of the monitor's own, answered once it is visible. Every question is a principal's and sees its team
alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from monitor.access.principal import Principal
from monitor.errors import CannotDeleteExecution, PositionNotReached
from monitor.executions.audit import Audit
from monitor.executions.finding import find_execution, has_ended
from monitor.executions.telling import Telling
from monitor.projections.view import Summary
from monitor.store.base import Reader, Store, Writer

_DONE: Final = {"execution.deleted": "delete", "execution.annotated": "annotate"}
"""What the audit calls it."""


class Changes:
    """The use cases. Every method raises ExecutionNotFound, StoreUnavailable and JournalUnavailable, and
    PositionNotReached when a change is durable but not visible in time.
    """

    def __init__(self, store: Store, telling: Telling, audit: Audit) -> None:
        self._store, self._telling, self._audit = store, telling, audit

    async def delete(self, who: Principal, execution_id: str, *, force: bool = False) -> None:
        """Remove an execution with everything that is kept of it. One that has not ended goes by `force` alone, which
        does not stop it. Raises CannotDeleteExecution.
        """
        summary = await self._find(who, execution_id)
        if not force and not has_ended(summary):
            raise CannotDeleteExecution(executionId=execution_id, status=summary.status)
        await self._tell(who, [summary], "execution.deleted", {"actor": who.name})

    async def delete_all(self, who: Principal, execution_ids: Sequence[str]) -> None:
        """Remove these executions, or none of them. Raises CannotDeleteExecution for one that has not ended."""

        def work(reader: Reader) -> list[Summary]:
            return [find_execution(reader, who, it)[0] for it in dict.fromkeys(execution_ids)]

        rows = await self._store.read(work)
        if running := next((row for row in rows if not has_ended(row)), None):
            raise CannotDeleteExecution(executionId=running.id, status=running.status)
        await self._tell(who, rows, "execution.deleted", {"actor": who.name})

    async def annotate(self, who: Principal, execution_id: str, noted: Mapping[str, Any]) -> Summary:
        """Replace the members of `noted` (tags, vote, note) in its annotation; None removes one."""
        summary = await self._find(who, execution_id)
        await self._tell(who, [summary], "execution.annotated", {**noted, "actor": who.name})
        return await self._find(who, execution_id)

    async def _find(self, who: Principal, execution_id: str) -> Summary:
        summary, _ = await self._store.read(lambda reader: find_execution(reader, who, execution_id))
        return summary

    async def _tell(self, who: Principal, rows: Sequence[Summary], kind: str, data: Mapping[str, Any]) -> None:
        events = [self._telling.event(kind, row.id, row.workflow_id, data) for row in rows]
        position = await self._telling.tell(who.team, *events)
        await self._store.write(lambda writer: self._note(writer, who, rows, kind), durable=True)
        if not await self._telling.shown(position):
            raise PositionNotReached("The change is durable, but not visible yet; look again.")

    def _note(self, writer: Writer, who: Principal, rows: Sequence[Summary], kind: str) -> None:
        for row in rows:
            self._audit.note(writer, who, f"execution.{_DONE[kind]}", row.id)
