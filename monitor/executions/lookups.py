"""What APIs of other habits tell beside executions: which retry made good, how many run, where one stands in a list.

One question to the store each, however many executions it is about. Every question is a principal's and sees its team
alone. Part of the desk.
"""

from collections.abc import Collection
from typing import NamedTuple

from monitor.access.principal import Principal
from monitor.executions.finding import find_execution
from monitor.executions.reads import Reads
from monitor.projections.execution import Node
from monitor.projections.filter import MAX_VALUES, Condition, Filter
from monitor.store.base import Reader
from monitor.store.execution_port import ListQuery

_MOST_RETRIES = 1000
"""Successful ones of a page of executions; whoever retries one that often gets to know some of them."""


class Label(NamedTuple):
    """What people call a node."""

    # Its id where it has no name.
    name: str
    # Empty where nobody said it.
    type: str


class Lookups:
    """Answers. Every method raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def made_good(self, who: Principal, execution_ids: Collection[str]) -> dict[str, str]:
        """Of each execution that was retried with success: its earliest such retry."""
        ids = sorted(execution_ids)
        some = [tuple(ids[at : at + MAX_VALUES]) for at in range(0, len(ids), MAX_VALUES)]

        def work(reader: Reader) -> dict[str, str]:
            found: dict[str, str] = {}
            for asked in some:
                good = Filter((Condition("retryOf", "eq", asked), Condition("status", "eq", ("success",))))
                page, _ = reader.executions(ListQuery(who.team, good, "startedAt", _MOST_RETRIES, counted=(0, False)))
                for row in page.rows:
                    found.setdefault(row.retry_of or "", row.id)
            return found

        return (await self._reads.read(None, work)).value

    async def running(self, who: Principal) -> int:
        """How many executions of the team run now."""
        run = ListQuery(who.team, Filter((Condition("status", "eq", ("running",)),)), "-startedAt", 1)
        return (await self._reads.read(None, lambda reader: reader.executions(run)[0].total)).value

    async def labels(self, who: Principal, execution_id: str) -> dict[str, Label]:
        """The nodes of an execution, by id. Raises ExecutionNotFound."""

        def work(reader: Reader) -> dict[str, Label]:
            _, key = find_execution(reader, who, execution_id)
            return {run[0]: _label(run[0], node) for run, node in sorted(reader.nodes(key).items())}

        return (await self._reads.read(None, work)).value

    async def spot(self, who: Principal, execution_id: str) -> tuple[int | None, int]:
        """Where a list by start goes on behind an execution, as `Asked.after`. Raises ExecutionNotFound."""

        def work(reader: Reader) -> tuple[int | None, int]:
            summary, key = find_execution(reader, who, execution_id)
            return summary.at_us, key

        return (await self._reads.read(None, work)).value


def _label(node_id: str, node: Node) -> Label:
    _, _, name, kind = node.label or (0, 0, "", "")
    return Label(name or node_id, kind)
