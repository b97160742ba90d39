"""What the store is asked about statistics: a range of time, tests on what is counted, and the sums that answer.

A part of the Reader port, held by the same suite. Whole hours are read from the statistics, which outlive executions;
minutes from the executions that ended in them, tombstones among them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from monitor.projections.fingerprint import ErrorKind
from monitor.projections.statistics import Amount, Cell, RunCell
from monitor.projections.tally import NodeRuns, Tally

Unit = Literal["hour", "minute"]


class Sought(NamedTuple):
    """Which executions are counted; every test that is None lets all of them through."""

    team: str
    unit: Unit
    # Units since 1970: from `start` up to, not including, `end`.
    start: int
    end: int
    workflow_id: str | None = None
    # Any of these.
    statuses: tuple[str, ...] | None = None
    # Type of the trigger; empty = nobody said it.
    trigger: str | None = None
    # Fingerprint of the error.
    error: str | None = None
    # Finished runs of this node instead of executions: hours only, and without `trigger`.
    node_id: str | None = None
    # Whole days may stand as one, each at its first hour.
    by_day: bool = False


class Counts(Protocol):
    """Questions about statistics, on one consistent snapshot."""

    def statistics(self, team: str) -> Mapping[Cell, Amount]:
        """Every cell of a team that is not empty."""
        ...

    def run_statistics(self, team: str) -> Mapping[RunCell, Amount]:
        """The same of its nodes' runs."""
        ...

    def counted(self, sought: Sought) -> Tally:
        """What ended in the range, at times in its unit."""
        ...

    def in_flight(self, sought: Sought) -> Mapping[str, int]:
        """Executions that have not ended, by status, whatever the range; a crash or a failure among them is one that
        the monitor presumes. Empty where an error or a node is asked for.
        """
        ...

    def nodes_counted(self, sought: Sought) -> Sequence[NodeRuns]:
        """Finished runs by workflow and node, in hours."""
        ...

    def workflow_names(self, team: str, workflow_ids: Sequence[str]) -> Mapping[str, str]:
        """The names of these workflows, as they were said last; those without one are missing."""
        ...

    def error_kinds(self, team: str, fingerprints: Sequence[str]) -> Mapping[str, ErrorKind]:
        """What is behind these fingerprints."""
        ...
