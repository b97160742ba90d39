"""Revealing: what an execution carried as its producers wrote it, not masked, for those who may see that.

The audit is told before anything is answered, of what was refused as well; where it cannot be told nothing is revealed.
Values come from the journal, which alone holds them. Methods take what those of `Reads` and `History` take.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeVar

from monitor.access.principal import Principal
from monitor.access.roles import Scope
from monitor.errors import ClientError, InsufficientPermissions
from monitor.events.model import MAX_ID_CHARACTERS, Place
from monitor.events.position import Position
from monitor.executions.audit import Audit
from monitor.executions.contents import MAX_DATA_BYTES, Contents, Data, NodeRuns, data_of, runs_of
from monitor.executions.history import History, Passage
from monitor.executions.reads import Reading

T = TypeVar("T")

SCOPE: Final[Scope] = "executions:reveal"
ACTION: Final = "execution.reveal"


class Reveals:
    """Reads without masks. Every method raises InsufficientPermissions, ExecutionNotFound, TooLarge and Unavailable."""

    def __init__(self, history: History, audit: Audit) -> None:
        self._history, self._audit = history, audit

    async def data(self, who: Principal, execution_id: str, at_least: Position | None) -> Reading[Data]:
        """The payloads of an execution and of its nodes, as many as fit one answer. Raises HistoryGone."""

        async def answer() -> Reading[Data]:
            return await self._history.revealed(
                who, execution_id, at_least, lambda contents: data_of(contents, 0, None, MAX_DATA_BYTES)
            )

        return await self._told(who, execution_id, answer, of="data")

    async def node(
        self,
        who: Principal,
        execution_id: str,
        node_id: str,
        at_least: Position | None,
        *,
        iteration: int | None = None,
        attempt: int | None = None,
    ) -> Reading[NodeRuns]:
        """The latest run of one node that fits. Raises HistoryGone, and NotFound where that node has not run so."""

        def work(contents: Contents) -> NodeRuns:
            return runs_of(contents, 0, execution_id, node_id, iteration=iteration, attempt=attempt)

        async def answer() -> Reading[NodeRuns]:
            return await self._history.revealed(who, execution_id, at_least, work)

        return await self._told(who, execution_id, answer, of="node", nodeId=_short(node_id))

    async def events(
        self,
        who: Principal,
        execution_id: str,
        at_least: Position | None,
        *,
        types: Collection[str] | None,
        start: Place | None,
        backwards: bool,
        limit: int,
    ) -> Reading[Passage]:
        """A page of the history, of what the journal still holds of it. Raises InvalidCursor."""

        async def answer() -> Reading[Passage]:
            return await self._history.events(
                who,
                execution_id,
                at_least,
                types=types,
                start=start,
                backwards=backwards,
                limit=limit,
                revealed=True,
            )

        return await self._told(who, execution_id, answer, of="events")

    async def refused(self, who: Principal, execution_id: str, code: str, **detail: Any) -> None:
        """Tell the audit of somebody who is refused before it is asked here."""
        await self._audit.record(who, ACTION, _short(execution_id), outcome="refused", code=code, **detail)

    async def _told(self, who: Principal, execution_id: str, answer: Callable[[], Awaitable[T]], **detail: Any) -> T:
        try:
            if not who.may(SCOPE):
                message = f"'reveal' needs the scope '{SCOPE}'; ask an administrator of your team for it"
                raise InsufficientPermissions(message, requiredPermission=SCOPE)
            found = await answer()
        except ClientError as error:
            await self.refused(who, execution_id, error.code, **detail)
            raise
        await self._audit.record(who, ACTION, execution_id, **detail)
        return found


def _short(id_: str) -> str:
    """An id as far as it could be one: strangers name what they like."""
    return (id_ if id_.isprintable() else ascii(id_))[:MAX_ID_CHARACTERS]
