"""Reads of statistics that both databases share: sums that the database makes, by `count_statements`. For `queries`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from monitor.projections.fingerprint import ErrorKind
from monitor.projections.statistics import BY_DAY, BY_ERROR, BY_HOUR, BY_TRIGGER, BY_WORKFLOW, Amount, Cell, RunCell
from monitor.projections.tally import Moment, NodeRuns, Row, Sum, Tally, tally
from monitor.store import count_statements as statements
from monitor.store import count_tables
from monitor.store.count_statements import shape, values
from monitor.store.counting import Sought


class CountReads:
    """Implements the Counts part of the Reader port."""

    _connection: Connection

    def statistics(self, team: str) -> Mapping[Cell, Amount]:
        columns = count_tables.statistics.c
        found = self._connection.execute(
            select(count_tables.statistics).where(columns.team == team, columns.count != 0)
        )
        return {Cell(*row[:-2]): (row[-2], row[-1]) for row in found}

    def run_statistics(self, team: str) -> Mapping[RunCell, Amount]:
        columns = count_tables.run_statistics.c
        found = self._connection.execute(
            select(count_tables.run_statistics).where(columns.team == team, columns.count != 0)
        )
        return {RunCell(*row[:-2]): (row[-2], row[-1]) for row in found}

    def counted(self, sought: Sought) -> Tally:
        if sought.unit == "minute":
            return tally(Row(*row) for row in self._all(statements.ended(shape(sought).tests), values(sought)))
        return Tally(
            self._moments(sought),
            self._durations(sought),
            self._shares(sought, BY_WORKFLOW),
            self._shares(sought, BY_TRIGGER),
            {key: found for key, found in self._shares(sought, BY_ERROR).items() if key[0]},
        )

    def in_flight(self, sought: Sought) -> Mapping[str, int]:
        if sought.error is not None or sought.node_id is not None:
            return {}
        found = self._all(statements.in_flight(shape(sought).tests), values(sought))
        return {status: int(count) for status, count in found}

    def nodes_counted(self, sought: Sought) -> Sequence[NodeRuns]:
        return _nodes(self._all(statements.nodes(shape(sought)), values(sought)))

    def workflow_names(self, team: str, workflow_ids: Sequence[str]) -> Mapping[str, str]:
        asked = {"team": team, "workflow_ids": workflow_ids}
        return dict(self._all(statements.WORKFLOW_NAMES, asked))

    def error_kinds(self, team: str, fingerprints: Sequence[str]) -> Mapping[str, ErrorKind]:
        asked = {"team": team, "fingerprints": fingerprints}
        return {row[0]: ErrorKind(*row) for row in self._all(statements.ERROR_KINDS, asked)}

    def _moments(self, sought: Sought) -> Mapping[tuple[int, str], Moment]:
        coarsest = BY_DAY if sought.by_day else BY_HOUR
        found = self._all(statements.moments(shape(sought, coarsest=coarsest)), values(sought, coarsest))
        return {
            (at, status): Moment(Sum(int(ended), int(known), int(total_us)), low_us, high_us)
            for at, status, ended, known, total_us, low_us, high_us in found
        }

    def _durations(self, sought: Sought) -> Mapping[tuple[str, int], Amount]:
        found = self._all(statements.durations(shape(sought)), values(sought))
        return {(status, bucket): (int(count), int(total_us)) for status, bucket, count, total_us in found}

    def _shares(self, sought: Sought, facet: int) -> Mapping[tuple[str, str], Sum]:
        found = self._all(statements.shares(shape(sought, facet)), values(sought))
        return {
            (key, status): Sum(int(ended), int(known), int(total_us)) for key, status, ended, known, total_us in found
        }

    def _all(self, statement: Any, asked: Mapping[str, Any]) -> Sequence[Any]:
        return self._connection.execute(statement, asked).all()


def _nodes(rows: Iterable[Any]) -> list[NodeRuns]:
    """Of rows (workflow, node, status, bucket, count, sum of durations) in their order."""
    found: dict[tuple[str, str], tuple[dict[str, Sum], dict[int, Amount]]] = {}
    for workflow_id, node_id, status, bucket, count, total_us in rows:
        by_status, durations = found.setdefault((workflow_id, node_id), ({}, {}))
        is_known = bucket >= 0
        by_status[status] = by_status.get(status, Sum()) + Sum(count, count if is_known else 0, total_us)
        if is_known:
            held = durations.get(bucket, (0, 0))
            durations[bucket] = (held[0] + count, held[1] + total_us)
    return [NodeRuns(*key, *sums) for key, sums in found.items()]
