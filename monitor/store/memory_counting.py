"""Statistics in memory: every cell is looked at for every question. The reference of what databases do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.projections.changes import Changes
from monitor.projections.execution import Execution
from monitor.projections.fingerprint import ErrorKind
from monitor.projections.statistics import IN_FLIGHT_HOUR, MINUTE_US, NO_DURATION, Amount, Cell, RunCell
from monitor.projections.tally import NodeRuns, Row, Tally, by_bucket, tally
from monitor.store.counting import Sought


@dataclass(slots=True)
class CountingTables:
    """What is counted."""

    cells: dict[Cell, Amount] = field(default_factory=dict)
    runs: dict[RunCell, Amount] = field(default_factory=dict)
    names: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    kinds: dict[tuple[str, str], ErrorKind] = field(default_factory=dict)

    def copy(self) -> "CountingTables":
        """Tables of their own that share the rows."""
        return CountingTables(dict(self.cells), dict(self.runs), dict(self.names), dict(self.kinds))

    def add(self, changes: Changes) -> None:
        """Take what a batch adds."""
        for cell, amount in changes.statistics.items():
            self.cells[cell] = _added(self.cells.get(cell), amount)
        for run, amount in changes.run_statistics.items():
            self.runs[RunCell(*run)] = _added(self.runs.get(RunCell(*run)), amount)
        for key, said in changes.workflow_names.items():
            self.names[key] = max(self.names.get(key, said), said)
        self.kinds = {**changes.error_kinds, **self.kinds}


class MemoryCounts:
    """The Counts part of a session."""

    _counting: CountingTables
    _counted_executions: Mapping[tuple[str, str], Execution]

    def statistics(self, team: str) -> Mapping[Cell, Amount]:
        return {cell: amount for cell, amount in self._counting.cells.items() if cell.team == team and amount[0]}

    def run_statistics(self, team: str) -> Mapping[RunCell, Amount]:
        return {cell: amount for cell, amount in self._counting.runs.items() if cell.team == team and amount[0]}

    def counted(self, sought: Sought) -> Tally:
        if sought.unit == "minute":
            rows = _ended_rows(it for it in self._counted_executions.values() if it.team == sought.team)
        elif sought.node_id is not None:
            rows = _run_rows(self.run_statistics(sought.team), sought.node_id)
        else:
            rows = _cell_rows(self.statistics(sought.team))
        return tally(row for row in rows if sought.start <= row.at < sought.end and _passes(row, sought))

    def in_flight(self, sought: Sought) -> Mapping[str, int]:
        found: dict[str, int] = {}
        if sought.error is None and sought.node_id is None:
            for row in _cell_rows(self.statistics(sought.team)):
                if row.at == IN_FLIGHT_HOUR and _passes(row, sought):
                    found[row.status] = found.get(row.status, 0) + row.size
        return found

    def nodes_counted(self, sought: Sought) -> Sequence[NodeRuns]:
        nodes: dict[tuple[str, str], list[Row]] = {}
        for cell in self.run_statistics(sought.team):
            nodes.setdefault((cell.workflow_id, cell.node_id), [])
        found = []
        for workflow_id, node_id in sorted(nodes):
            asked = sought._replace(workflow_id=workflow_id, node_id=node_id)
            sums = self.counted(asked) if _may_be(asked, sought) else tally([])
            if sums.moments:
                by_status = {status: total for (_, status), total in sums.workflows.items()}
                found.append(NodeRuns(workflow_id, node_id, by_status, by_bucket(sums.durations)))
        return found

    def workflow_names(self, team: str, workflow_ids: Sequence[str]) -> Mapping[str, str]:
        names = self._counting.names
        return {it: names[team, it][1] for it in workflow_ids if (team, it) in names}

    def error_kinds(self, team: str, fingerprints: Sequence[str]) -> Mapping[str, ErrorKind]:
        kinds = self._counting.kinds
        return {it: kinds[team, it] for it in fingerprints if (team, it) in kinds}


def _added(held: Amount | None, amount: Amount) -> Amount:
    return amount if held is None else (held[0] + amount[0], held[1] + amount[1])


def _may_be(asked: Sought, sought: Sought) -> bool:
    is_workflow = sought.workflow_id in (None, asked.workflow_id)
    return is_workflow and sought.node_id in (None, asked.node_id)


def _passes(row: Row, sought: Sought) -> bool:
    return (
        sought.workflow_id in (None, row.workflow_id)
        and (sought.statuses is None or row.status in sought.statuses)
        and sought.trigger in (None, row.trigger)
        and sought.error in (None, row.error)
    )


def _cell_rows(cells: Mapping[Cell, Amount]) -> Iterator[Row]:
    for cell, amount in cells.items():
        yield Row(cell.hour, cell.workflow_id, cell.status, cell.trigger, cell.error, cell.bucket, *amount)


def _run_rows(cells: Mapping[RunCell, Amount], node_id: str) -> Iterator[Row]:
    for cell, amount in cells.items():
        if cell.node_id == node_id:
            yield Row(cell.hour, cell.workflow_id, cell.status, "", cell.error, cell.bucket, *amount)


def _ended_rows(executions: Iterable[Execution]) -> Iterator[Row]:
    """One of each that has ended; its duration itself is the bucket."""
    for it in executions:
        if it.ended_us is not None:
            bucket = NO_DURATION if it.duration_us is None else it.duration_us
            words = (it.workflow_id, it.status, it.trigger, it.fingerprint)
            yield Row(it.ended_us // MINUTE_US, *words, bucket, 1, it.duration_us or 0)
