"""Statements for statistics, made once for each kind of question, then held: making one takes longer than running it.

What tells questions of one kind apart are values, which `values` gives to whatever statement needs them. What is asked
of everything, or of some statuses, is read from the rollups, whole days at once; what is asked of a workflow, a
trigger, an error or a node from the cells themselves, within their hours. For `count_queries`. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
    union_all,
)

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
    spans,
)
from monitor.store import count_tables, tables
from monitor.store.counting import Sought

_SOUGHT_HOURS: Final = 2_000
"""Up to so many hours, twelve weeks, are sought one by one for a workflow; beyond, the range is walked through."""


class Shape(NamedTuple):
    """What of a question a statement depends on."""

    # What is told apart beside status.
    facet: int
    # Those of `Sought` that are not None.
    tests: frozenset[str]
    # Of each span of rollups; empty = cells are read.
    grains: tuple[int, ...]
    # Hours are sought one by one.
    by_hours: bool


def shape(sought: Sought, facet: int = ALL, coarsest: int = BY_DAY) -> Shape:
    """The shape of a question; of rollups no coarser ones are read than `coarsest`."""
    told = {"workflow_id", "statuses", "trigger", "error", "node_id"}
    tests = frozenset(name for name in told if getattr(sought, name) is not None)
    grains = tuple(grain for grain, _, _ in _spans(sought, coarsest)) if tests <= {"statuses"} else ()
    by_hours = "workflow_id" in tests and sought.end - sought.start <= _SOUGHT_HOURS
    return Shape(facet, tests, grains, by_hours)


def values(sought: Sought, coarsest: int = BY_DAY) -> dict[str, Any]:
    """What statements of this question's shapes take."""
    asked = sought._asdict()
    if sought.workflow_id is not None and sought.end - sought.start <= _SOUGHT_HOURS:
        asked["hours"] = range(sought.start, sought.end)
    for place, (_, start, end) in enumerate(_spans(sought, coarsest)):
        asked |= {f"start{place}": start, f"end{place}": end}
    return asked


def _spans(sought: Sought, coarsest: int) -> Iterable[tuple[int, int, int]]:
    return spans(sought.start, sought.end) if coarsest == BY_DAY else [(BY_HOUR, sought.start, sought.end)]


# --- what is asked ---------------------------------------------------------------------------------------------------


@cache
def moments(of: Shape) -> Select[Any]:
    """(at, status, ended, known, sum of durations, least, greatest) of each unit of time and status."""
    if of.grains:
        # Spans hold other times each, and each is added up in the order of the table, which spares a sort.
        rollups = count_tables.rollups.c
        by = (rollups.at, rollups.key, rollups.status)
        parts = (_moment(at, rollups).where(*here).group_by(*by) for at, here in _spans_of(of))
        return select(union_all(*parts).subquery())
    rows = _piece(of).subquery("rows").c
    return _moment(rows.at, rows).group_by(rows.at, rows.status)


@cache
def durations(of: Shape) -> Select[Any]:
    """(status, bucket, count, sum) of the known durations."""
    rows = _piece(of).subquery("rows").c
    asked = select(rows.status, rows.bucket, func.sum(rows.count), func.sum(rows.total_us))
    return asked.where(rows.bucket >= 0).group_by(rows.status, rows.bucket)


@cache
def shares(of: Shape) -> Select[Any]:
    """(key, status, ended, known, sum of durations) of each key of the facet and status."""
    rows = _piece(of).subquery("rows").c
    return select(rows.key, rows.status, *_sums(rows)).group_by(rows.key, rows.status)


@cache
def ended(tests: frozenset[str]) -> Select[Any]:
    """What ended in these minutes, a row of each; its duration itself is the bucket."""
    columns = tables.executions.c
    bucket, duration_us = func.coalesce(columns.duration_us, NO_DURATION), func.coalesce(columns.duration_us, 0)
    measured: tuple[ColumnElement[int], ...] = (bucket, literal_column("1"), duration_us)
    words = (columns.workflow_id, columns.status, columns.trigger, columns.error)
    return select(columns.ended_us // MINUTE_US, *words, *measured).where(
        tables.ENDED,
        columns.team == bindparam("team"),
        columns.ended_us >= bindparam("start", type_=BigInteger) * MINUTE_US,
        columns.ended_us < bindparam("end", type_=BigInteger) * MINUTE_US,
        *_tests(tests, columns),
    )


@cache
def in_flight(tests: frozenset[str]) -> Select[Any]:
    """(status, count) of what has not ended."""
    columns = count_tables.statistics.c
    here = (columns.team == bindparam("team"), columns.hour == IN_FLIGHT_HOUR, columns.count != 0)
    asked = select(columns.status, func.sum(columns.count)).where(*here, *_tests(tests, columns))
    return asked.group_by(columns.status)


@cache
def nodes(of: Shape) -> Select[Any]:
    """(workflow, node, status, bucket, count, sum of durations), those of a node side by side."""
    columns = count_tables.run_statistics.c
    key = (columns.workflow_id, columns.node_id, columns.status, columns.bucket)
    asked = select(*key, func.sum(columns.count), func.sum(columns.total_us)).where(*_hours(of, columns))
    return asked.group_by(*key).order_by(*key)


WORKFLOW_NAMES: Final = select(count_tables.workflow_names.c.workflow_id, count_tables.workflow_names.c.name).where(
    count_tables.workflow_names.c.team == bindparam("team"),
    count_tables.workflow_names.c.workflow_id.in_(bindparam("workflow_ids", expanding=True)),
)

ERROR_KINDS: Final = select(
    count_tables.error_kinds.c.fingerprint, count_tables.error_kinds.c.type, count_tables.error_kinds.c.pattern
).where(
    count_tables.error_kinds.c.team == bindparam("team"),
    count_tables.error_kinds.c.fingerprint.in_(bindparam("fingerprints", expanding=True)),
)


# --- rows (at, key, status, bucket, count, total_us) of the sought executions; the key is the facet's ----------------


def _moment(at: Any, rows: Any) -> Select[Any]:
    mean_us = case((rows.bucket >= 0, rows.total_us * 1.0 / rows.count))
    return select(at.label("at"), rows.status, *_sums(rows), func.min(mean_us), func.max(mean_us))


def _sums(rows: Any) -> Sequence[ColumnElement[Any]]:
    known = func.sum(case((rows.bucket >= 0, rows.count), else_=0))
    return func.sum(rows.count), known, func.sum(rows.total_us)


def _piece(of: Shape) -> Select[Any]:
    if "node_id" in of.tests:
        return _run_cells(of)
    return _rollups(of) if of.grains else _cells(of)


def _rollups(of: Shape) -> Select[Any]:
    columns = count_tables.rollups.c
    told = (columns.key, columns.status, columns.bucket, columns.count, columns.total_us)
    parts = [select(at.label("at"), *told).where(*here) for at, here in _spans_of(of)]
    return parts[0] if len(parts) == 1 else select(union_all(*parts).subquery())


def _spans_of(of: Shape) -> Iterator[tuple[ColumnElement[int], Sequence[ColumnElement[bool]]]]:
    """The time of a rollup, in hours, and what rollups of the span are found by."""
    columns = count_tables.rollups.c
    for place, grain in enumerate(of.grains):
        within = (columns.at >= bindparam(f"start{place}"), columns.at < bindparam(f"end{place}"))
        here = (columns.team == bindparam("team"), columns.facet == of.facet, columns.grain == grain, *within)
        at = columns.at * HOURS_OF_A_DAY if grain == BY_DAY else columns.at
        yield at, [*here, columns.count != 0, *_tests(of.tests, columns)]


def _cells(of: Shape) -> Select[Any]:
    columns = count_tables.statistics.c
    keys = {ALL: literal(""), BY_WORKFLOW: columns.workflow_id, BY_TRIGGER: columns.trigger, BY_ERROR: columns.error}
    return _rows(columns, keys[of.facet]).where(*_hours(of, columns))


def _run_cells(of: Shape) -> Select[Any]:
    columns = count_tables.run_statistics.c
    nothing: ColumnElement[str] = literal("")
    keys = {ALL: nothing, BY_WORKFLOW: columns.workflow_id, BY_TRIGGER: nothing, BY_ERROR: columns.error}
    return _rows(columns, keys[of.facet]).where(*_hours(of, columns))


def _rows(columns: Any, key: ColumnElement[str]) -> Select[Any]:
    named = (columns.hour.label("at"), key.label("key"))
    return select(*named, columns.status, columns.bucket, columns.count, columns.total_us)


def _hours(of: Shape, columns: Any) -> Sequence[ColumnElement[bool]]:
    """Within the range, which cells are sorted by: of one workflow each hour is sought by itself."""
    if of.by_hours:
        within = columns.hour.in_(_several("hours"))
    else:
        within = and_(columns.hour >= bindparam("start"), columns.hour < bindparam("end"))
    return [columns.team == bindparam("team"), within, columns.count != 0, *_tests(of.tests, columns)]


def _tests(names: frozenset[str], columns: Any) -> Sequence[ColumnElement[bool]]:
    tests = [columns[name] == bindparam(name) for name in sorted(names - {"statuses"})]
    return [*tests, columns.status.in_(_several("statuses"))] if "statuses" in names else tests


def _several(name: str) -> BindParameter[Any]:
    return bindparam(name, expanding=True)
