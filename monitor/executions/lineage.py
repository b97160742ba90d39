"""Where an execution comes from and what came of it: what it retries, its retries, its parent and its children.

Every question is a principal's: what is deleted or another team's is absent. Part of the desk.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.errors import ExecutionNotFound
from monitor.events.position import Position
from monitor.executions.finding import find_execution
from monitor.executions.pages import Listed, list_page
from monitor.executions.reads import Reading, Reads
from monitor.projections.filter import Condition, Filter
from monitor.projections.status import STATUSES
from monitor.projections.view import Summary
from monitor.store.base import Reader
from monitor.store.execution_port import ListQuery

MOST_KIN: Final = 100
"""Executions that are shown above, and below; producers may tell of rings, and of chains without an end."""


class Lineage(NamedTuple):
    """The kin of an execution."""

    # What it retries, the nearest first.
    above: list[Summary]
    # Its retries and theirs, by generation and start.
    below: list[Summary]
    more_above: bool
    more_below: bool
    parent: Summary | None
    children: Listed
    # How many children there are in each status, where there are any; up to 10,000 each are counted.
    by_status: Mapping[str, int]


async def lineage(
    reads: Reads,
    who: Principal,
    execution_id: str,
    at_least: Position | None,
    *,
    limit: int,
    after: tuple[int | None, int] | None,
    backwards: bool,
) -> Reading[Lineage]:
    """The kin of an execution, its children in pages as lists have them.

    Raises ExecutionNotFound and PositionNotReached.
    """

    def work(reader: Reader) -> Lineage:
        row, _ = find_execution(reader, who, execution_id)
        above = [it for it, _ in zip(_above(reader, who, row), range(MOST_KIN + 1), strict=False)]
        below = [it for it, _ in zip(_below(reader, who, row), range(MOST_KIN + 1), strict=False)]
        its = Condition("parent", "eq", (row.id,))
        counts = {status: _count(reader, who, its, status) for status in STATUSES}
        children = ListQuery(who.team, Filter((its,)), "startedAt", limit, after, backwards)
        return Lineage(
            above[:MOST_KIN],
            below[:MOST_KIN],
            len(above) > MOST_KIN,
            len(below) > MOST_KIN,
            _known(reader, who, row.parent_id),
            list_page(reader, children),
            {status: count for status, count in counts.items() if count},
        )

    return await reads.read(at_least, work)


def _above(reader: Reader, who: Principal, row: Summary) -> Iterator[Summary]:
    met, above = {row.id}, _known(reader, who, row.retry_of)
    while above is not None and above.id not in met:
        yield above
        met.add(above.id)
        above = _known(reader, who, above.retry_of)


def _below(reader: Reader, who: Principal, row: Summary) -> Iterator[Summary]:
    met, generation = {row.id}, [row.id]
    while generation:
        retries = Filter((Condition("retryOf", "eq", tuple(generation)),))
        # Those met before may be among them.
        page, _ = reader.executions(ListQuery(who.team, retries, "startedAt", MOST_KIN + 2))
        found = [it for it in page.rows if it.id not in met]
        yield from found
        generation = [it.id for it in found]
        met.update(generation)


def _known(reader: Reader, who: Principal, execution_id: str | None) -> Summary | None:
    try:
        return None if execution_id is None else find_execution(reader, who, execution_id)[0]
    except ExecutionNotFound:
        return None


def _count(reader: Reader, who: Principal, its: Condition, status: str) -> int:
    some = ListQuery(who.team, Filter((its, Condition("status", "eq", (status,)))), "startedAt", 1)
    return reader.executions(some)[0].total
