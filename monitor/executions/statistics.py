"""Reading statistics: what ended in a range of time, from one snapshot together with the words for it.

Every question is a principal's and counts its team alone. Called by the native face and the command line's `stats`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from monitor.access.principal import Principal
from monitor.events.position import Position
from monitor.executions.reads import Reading, Reads
from monitor.projections.fingerprint import ErrorKind
from monitor.projections.periods import Range
from monitor.projections.tally import NodeRuns, Sum, Tally
from monitor.store.base import Reader
from monitor.store.counting import Sought

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
    workflow_names: Mapping[str, str]
    error_kinds: Mapping[str, ErrorKind]


class NodesCounted(NamedTuple):
    """Nodes, and the words for their workflows."""

    nodes: Sequence[NodeRuns]
    workflow_names: Mapping[str, str]


class Statistics:
    """The counting half of the desk. Raises PositionNotReached, InvalidPosition and StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def counted(self, who: Principal, asked: Range, tests: Tests, at_least: Position | None) -> Reading[Counted]:
        """What ended in the range."""
        sought = _sought(who, asked, tests)

        def work(reader: Reader) -> Counted:
            tally = reader.counted(sought)
            return Counted(
                tally,
                reader.in_flight(sought._replace(statuses=None)),
                reader.workflow_names(who.team),
                reader.error_kinds(who.team, [key for key, _ in largest(tally.errors)]),
            )

        return await self._reads.read(at_least, work)

    async def nodes(
        self, who: Principal, asked: Range, tests: Tests, at_least: Position | None
    ) -> Reading[NodesCounted]:
        """The finished runs of each node in the range, which is of whole hours."""
        sought = _sought(who, asked, tests)
        return await self._reads.read(
            at_least, lambda reader: NodesCounted(reader.nodes_counted(sought), reader.workflow_names(who.team))
        )


def largest(sums: Mapping[tuple[str, str], Sum]) -> list[tuple[str, dict[str, Sum]]]:
    """Of sums by key and status: for each key its sums by status, those with the most executions first."""
    found: dict[str, dict[str, Sum]] = {}
    for (key, status), one in sums.items():
        found.setdefault(key, {})[status] = one
    ordered = sorted(found.items(), key=lambda item: (-sum(one.ended for one in item[1].values()), item[0]))
    return ordered[:MOST_ENTRIES]


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
