"""Reads of statistics that both databases share, in SQLAlchemy Core: sums that the database makes.

What is asked of everything, or of some statuses, is read from the rollups, whole days at once; what is asked of a
workflow, a trigger, an error or a node from the cells themselves, within their hours. For `queries`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal, select, union_all

from monitor.projections.fingerprint import ErrorKind
from monitor.projections.statistics import (
    ALL,
    BY_DAY,
    BY_ERROR,
    BY_HOUR,
    BY_TRIGGER,
    BY_WORKFLOW,
    HOURS_OF_A_DAY,
    IN_FLIGHT_HOUR,
    MINUTE_US,
    NO_DURATION,
    Amount,
    Cell,
    RunCell,
    spans,
)
from monitor.projections.tally import Moment, NodeRuns, Row, Sum, Tally, tally
from monitor.store import tables
from monitor.store.counting import Sought

_SOUGHT_HOURS: Final = 2_000
"""Up to so many hours, twelve weeks, are sought one by one for a workflow; beyond, the range is walked through."""

Piece = Callable[[int], Select[Any]]
"""Rows (at, key, status, bucket, count, total_us) of the sought executions; the key is the facet's."""


class CountReads:
    """Implements the Counts part of the Reader port."""

    _connection: Connection

    def statistics(self, team: str) -> Mapping[Cell, Amount]:
        columns = tables.statistics.c
        found = self._connection.execute(select(tables.statistics).where(columns.team == team, columns.count != 0))
        return {Cell(*row[:-2]): (row[-2], row[-1]) for row in found}

    def run_statistics(self, team: str) -> Mapping[RunCell, Amount]:
        columns = tables.run_statistics.c
        found = self._connection.execute(select(tables.run_statistics).where(columns.team == team, columns.count != 0))
        return {RunCell(*row[:-2]): (row[-2], row[-1]) for row in found}

    def counted(self, sought: Sought) -> Tally:
        if sought.unit == "minute":
            return tally(Row(*row) for row in self._connection.execute(_ended(sought)))
        piece = _piece(sought)
        return Tally(
            self._moments(piece(ALL) if sought.by_day or not _is_rolled_up(sought) else _rollups(sought, ALL, BY_HOUR)),
            self._durations(piece(ALL)),
            self._sums(piece(BY_WORKFLOW)),
            self._sums(piece(BY_TRIGGER)),
            {key: found for key, found in self._sums(piece(BY_ERROR)).items() if key[0]},
        )

    def in_flight(self, sought: Sought) -> Mapping[str, int]:
        if sought.error is not None or sought.node_id is not None:
            return {}
        columns = tables.statistics.c
        asked = select(columns.status, func.sum(columns.count)).where(
            columns.team == sought.team, columns.hour == IN_FLIGHT_HOUR, columns.count != 0, *_tests(sought, columns)
        )
        return {status: int(count) for status, count in self._connection.execute(asked.group_by(columns.status))}

    def nodes_counted(self, sought: Sought) -> Sequence[NodeRuns]:
        columns = tables.run_statistics.c
        key = (columns.workflow_id, columns.node_id, columns.status, columns.bucket)
        asked = select(*key, func.sum(columns.count), func.sum(columns.total_us)).where(*_hours(sought, columns))
        if sought.node_id is not None:
            asked = asked.where(columns.node_id == sought.node_id)
        return _nodes(self._connection.execute(asked.group_by(*key).order_by(*key)))

    def workflow_names(self, team: str) -> Mapping[str, str]:
        columns = tables.workflow_names.c
        found = self._connection.execute(select(columns.workflow_id, columns.name).where(columns.team == team))
        return {row.workflow_id: row.name for row in found}

    def error_kinds(self, team: str, fingerprints: Sequence[str]) -> Mapping[str, ErrorKind]:
        columns = tables.error_kinds.c
        asked = select(columns.fingerprint, columns.type, columns.pattern)
        asked = asked.where(columns.team == team, columns.fingerprint.in_(fingerprints))
        return {row.fingerprint: ErrorKind(*row) for row in self._connection.execute(asked)}

    def _moments(self, piece: Select[Any]) -> Mapping[tuple[int, str], Moment]:
        rows = piece.subquery("rows").c
        mean_us = case((rows.bucket >= 0, rows.total_us * 1.0 / rows.count))
        asked = _summed(rows).add_columns(func.min(mean_us), func.max(mean_us), rows.at, rows.status)
        found = self._connection.execute(asked.group_by(rows.at, rows.status))
        return {(row[5], row[6]): Moment(Sum(*map(int, row[:3])), row[3], row[4]) for row in found}

    def _durations(self, piece: Select[Any]) -> Mapping[tuple[str, int], Amount]:
        rows = piece.subquery("rows").c
        asked = select(rows.status, rows.bucket, func.sum(rows.count), func.sum(rows.total_us))
        found = self._connection.execute(asked.where(rows.bucket >= 0).group_by(rows.status, rows.bucket))
        return {(status, bucket): (int(count), int(total_us)) for status, bucket, count, total_us in found}

    def _sums(self, piece: Select[Any]) -> Mapping[tuple[str, str], Sum]:
        rows = piece.subquery("rows").c
        asked = _summed(rows).add_columns(rows.key, rows.status).group_by(rows.key, rows.status)
        return {(row.key, row.status): Sum(*map(int, row[:3])) for row in self._connection.execute(asked)}


def _summed(rows: Any) -> Select[Any]:
    known = func.sum(case((rows.bucket >= 0, rows.count), else_=0))
    return select(func.sum(rows.count), known, func.sum(rows.total_us))


def _piece(sought: Sought) -> Piece:
    if sought.node_id is not None:
        return lambda facet: _run_cells(sought, facet)
    if _is_rolled_up(sought):
        return lambda facet: _rollups(sought, facet)
    return lambda facet: _cells(sought, facet)


def _is_rolled_up(sought: Sought) -> bool:
    tests = (sought.workflow_id, sought.trigger, sought.error, sought.node_id)
    return all(test is None for test in tests)


def _rollups(sought: Sought, facet: int, coarsest: int = BY_DAY) -> Select[Any]:
    columns = tables.rollups.c
    parts = []
    hours = (BY_HOUR, sought.start, sought.end)
    for grain, start, end in spans(sought.start, sought.end) if coarsest == BY_DAY else [hours]:
        at = columns.at * HOURS_OF_A_DAY if grain == BY_DAY else columns.at
        rows = select(at.label("at"), columns.key, columns.status, columns.bucket, columns.count, columns.total_us)
        here = (columns.team == sought.team, columns.facet == facet, columns.grain == grain)
        parts.append(rows.where(*here, columns.at >= start, columns.at < end, columns.count != 0))
    if sought.statuses is not None:
        parts = [part.where(columns.status.in_(sought.statuses)) for part in parts]
    return parts[0] if len(parts) == 1 else select(union_all(*parts).subquery())


def _cells(sought: Sought, facet: int) -> Select[Any]:
    columns = tables.statistics.c
    keys = {ALL: literal(""), BY_WORKFLOW: columns.workflow_id, BY_TRIGGER: columns.trigger, BY_ERROR: columns.error}
    return _rows(columns, keys[facet]).where(*_hours(sought, columns))


def _run_cells(sought: Sought, facet: int) -> Select[Any]:
    columns = tables.run_statistics.c
    nothing: ColumnElement[str] = literal("")
    keys = {ALL: nothing, BY_WORKFLOW: columns.workflow_id, BY_TRIGGER: nothing, BY_ERROR: columns.error}
    return _rows(columns, keys[facet]).where(*_hours(sought, columns), columns.node_id == sought.node_id)


def _rows(columns: Any, key: ColumnElement[str]) -> Select[Any]:
    named = (columns.hour.label("at"), key.label("key"))
    return select(*named, columns.status, columns.bucket, columns.count, columns.total_us)


def _hours(sought: Sought, columns: Any) -> Sequence[ColumnElement[bool]]:
    """Within the range, which cells are sorted by: of one workflow each hour is sought by itself."""
    if sought.workflow_id is not None and sought.end - sought.start <= _SOUGHT_HOURS:
        within = columns.hour.in_(list(range(sought.start, sought.end)))
    else:
        within = and_(columns.hour >= sought.start, columns.hour < sought.end)
    return [columns.team == sought.team, within, columns.count != 0, *_tests(sought, columns)]


def _tests(sought: Sought, columns: Any) -> Sequence[ColumnElement[bool]]:
    asked = {"workflow_id": sought.workflow_id, "trigger": sought.trigger, "error": sought.error}
    tests = [columns[name] == value for name, value in asked.items() if value is not None]
    return tests if sought.statuses is None else [*tests, columns.status.in_(sought.statuses)]


def _ended(sought: Sought) -> Select[Any]:
    """What ended in these minutes, a row of each; its duration itself is the bucket."""
    columns = tables.executions.c
    duration_us = columns.duration_us
    measured = (func.coalesce(duration_us, NO_DURATION), literal(1), func.coalesce(duration_us, 0))
    words = (columns.workflow_id, columns.status, columns.trigger, columns.error)
    return select(columns.ended_us // MINUTE_US, *words, *measured).where(
        tables.ENDED,
        columns.team == sought.team,
        columns.ended_us >= sought.start * MINUTE_US,
        columns.ended_us < sought.end * MINUTE_US,
        *_tests(sought, columns),
    )


def _nodes(rows: Any) -> list[NodeRuns]:
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
