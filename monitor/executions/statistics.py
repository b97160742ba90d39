"""Reading statistics: what ended in a range of time, from one snapshot together with the words for it.

Every question is a principal's and counts its team alone. Called by the native face and the command line's `stats`.
"""

from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from typing import Final, NamedTuple, TypeVar

from monitor.access.principal import Principal
from monitor.events.position import Position
from monitor.executions.reads import Reading, Reads
from monitor.projections.fingerprint import ErrorKind
from monitor.projections.periods import Range
from monitor.projections.tally import NodeRuns, Sum, Tally
from monitor.store.base import Reader
from monitor.store.counting import Sought

T = TypeVar("T")

Shares = Sequence[tuple[str, Mapping[str, Sum]]]
"""Keys, and of each its sums by status."""

MOST_ENTRIES: Final = 100
"""Workflows, errors and nodes that are told one by one, those with the most executions first."""


class Tests(NamedTuple):
    """Which executions are counted; None lets all of them through, as in `Sought`."""

    workflow_id: str | None = None
    statuses: tuple[str, ...] | None = None
    trigger: str | None = None
    error: str | None = None
    node_id: str | None = None


class Counted(NamedTuple):
    """What was counted, and the words for it."""

    tally: Tally
    # By status; of all statuses, whatever was asked for.
    in_flight: Mapping[str, int]
    # The largest of the tally's.
    workflows: Shares
    errors: Shares
    workflow_names: Mapping[str, str]
    error_kinds: Mapping[str, ErrorKind]


class NodesCounted(NamedTuple):
    """The nodes that ran most often, and the words for their workflows."""

    busiest: Sequence[NodeRuns]
    # How many others there are.
    more: int
    workflow_names: Mapping[str, str]


class Statistics:
    """The counting half of the desk. Raises PositionNotReached, InvalidPosition and StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def counted(
        self, who: Principal, asked: Range, tests: Tests, at_least: Position | None, shown: Callable[[Counted], T]
    ) -> Reading[T]:
        """What `shown` makes of what ended in the range, on the store's thread: thousands of buckets are no work for
        the loop.
        """
        sought = _sought(who, asked, tests)
        return await self._reads.read(at_least, lambda reader: shown(_counted(reader, sought)))

    async def nodes(
        self, who: Principal, asked: Range, tests: Tests, at_least: Position | None, shown: Callable[[NodesCounted], T]
    ) -> Reading[T]:
        """The same of the finished runs of each node in the range, which is of whole hours."""
        sought = _sought(who, asked, tests)
        return await self._reads.read(at_least, lambda reader: shown(_nodes_counted(reader, sought)))


def _counted(reader: Reader, sought: Sought) -> Counted:
    tally = reader.counted(sought)
    workflows, errors = largest(tally.workflows), largest(tally.errors)
    return Counted(
        tally,
        reader.in_flight(sought._replace(statuses=None)),
        workflows,
        errors,
        reader.workflow_names(sought.team, [key for key, _ in workflows]),
        reader.error_kinds(sought.team, [key for key, _ in errors]),
    )


def _nodes_counted(reader: Reader, sought: Sought) -> NodesCounted:
    nodes = reader.nodes_counted(sought)
    busiest = nsmallest(MOST_ENTRIES, nodes, key=_ease)
    names = reader.workflow_names(sought.team, sorted({node.workflow_id for node in busiest}))
    return NodesCounted(busiest, len(nodes) - len(busiest), names)


def _ease(node: NodeRuns) -> tuple[int, str, str]:
    """Smallest for the node that ran most often."""
    return -sum(one.ended for one in node.by_status.values()), node.workflow_id, node.node_id


def largest(sums: Mapping[tuple[str, str], Sum]) -> Shares:
    """Of sums by key and status: for each key its sums by status, those with the most executions first."""
    found: dict[str, dict[str, Sum]] = {}
    for (key, status), one in sums.items():
        found.setdefault(key, {})[status] = one
    return nsmallest(MOST_ENTRIES, found.items(), key=lambda it: (-sum(one.ended for one in it[1].values()), it[0]))


def _sought(who: Principal, asked: Range, tests: Tests) -> Sought:
    unit_us = asked.unit_us
    return Sought(
        who.team,
        "minute" if asked.granularity == "minute" else "hour",
        asked.start_us // unit_us,
        asked.end_us // unit_us,
        *tests,
        by_day=asked.granularity in ("day", "week"),
    )
