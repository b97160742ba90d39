"""Which executions make a page: the filter tree compiled to ranges of indexes, read by keyset. For `queries`.

A page starts where the last one ended, so that page 1000 costs what page 1 does. `filter.matches` decides in memory
what is compiled here; the suite of stores holds the two equal.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql import operators

from monitor.projections.filter import FIELDS, Condition, Filter
from monitor.projections.status import STATUSES
from monitor.store import count_tables, tables
from monitor.store.execution_port import ListQuery
from monitor.store.searching import MOST_ERRORS, MOST_NODES

COUNTED_ROWS: Final = 10_000
"""How far a list without a rollup is counted: some 10 ms of index walking."""

_FEW_ROWS: Final = 8_000
"""So few matches among a million are sooner found and sorted than met by walking along the sort's index."""

_MAX_RANGES: Final = 400
"""Index ranges of one list: fifty workflows in all eight statuses. SQLite merges 500 at most."""

_HELD: Final = 128
"""Kinds of lists whose statements are held: to make them takes longer than to read a page, and pages ask them again."""

_HELD_VALUES: Final = 8
"""Statements of more values in their filter take too much memory to be held, and too long to run to matter."""

_E: Final = tables.executions.c

Conditions = Sequence[ColumnElement[bool]]

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "gt": operators.gt,
    "gte": operators.ge,
    "lt": operators.lt,
    "lte": operators.le,
}


def total(connection: Connection, query: ListQuery, found: Conditions) -> tuple[int, bool]:
    """Number of executions in the list, over all pages, and whether there are more.

    `found` is what the text search asks for, see `search`.
    """
    count = int(connection.scalars(_made(_held_count, query, found)).one())
    if _is_rolled_up(query, found):
        return count, False
    most = _most_counted(query)
    return min(count, most), count > most


def _most_counted(query: ListQuery) -> int:
    return query.most_counted or COUNTED_ROWS


def _is_rolled_up(query: ListQuery, found: Conditions) -> bool:
    is_plain = not found and query.created_until_us is None
    return is_plain and {test.field for test in query.filter.tests} <= {"status", "workflowId"}


def _count(query: ListQuery, found: Conditions) -> Select[tuple[int]]:
    if _is_rolled_up(query, found):
        columns = count_tables.totals.c
        matching = (_condition(test, columns[FIELDS[test.field].attribute]) for test in query.filter.tests)
        return select(func.coalesce(func.sum(columns.count), 0)).where(columns.team == query.team, *matching)
    some = select(literal(1)).where(*_listed(query), *found, *_plain(query.filter)).limit(_most_counted(query) + 1)
    return select(func.count()).select_from(some.subquery())


def keys(connection: Connection, query: ListQuery, found: Conditions, total: int) -> list[int]:
    """Keys of the page and, where there is one, of the row behind it, in the page's direction; `total` as counted."""
    place = {} if query.after is None else {"after_value": query.after[0], "after_key": query.after[1]}
    page: list[int] = []
    for statement in _made(_held_few_pages if _is_few(query, total) else _held_pages, query, found):
        missing = query.limit + 1 - len(page)
        if missing:
            page += connection.scalars(statement, {**place, "most": missing}).all()
    return page


def _pages(query: ListQuery, found: Conditions, *, is_few: bool = False) -> list[Select[tuple[int]]]:
    """Statements that follow each other until the page is full; of the place where it starts only its form counts."""
    column = _E.at_us if _by_time(query) else _E.duration_us
    # Few matches are found by whatever index the database likes, as long as it is not the one of the sort.
    value, ranges = (column + 0, [_plain(query.filter)]) if is_few else (column, _ranges(query))
    return [_next_keys(query, value, [[*it, *found, *after] for it in ranges]) for after in _after(query, value)]


_held_count = lru_cache(_HELD)(_count)
_held_pages = lru_cache(_HELD)(_pages)
_held_few_pages = lru_cache(_HELD)(partial(_pages, is_few=True))


def _made(make: Any, query: ListQuery, found: Conditions) -> Any:
    """What `make` makes of the question, of whose place only the form counts; held where it is short and usual."""
    shape = query._replace(limit=0, after=query.after and (query.after[0] and 0, 0), counted=None)
    is_usual = not found and query.created_until_us is None
    is_held = is_usual and sum(len(test.values) for test in query.filter.tests) <= _HELD_VALUES
    return (make if is_held else make.__wrapped__)(shape, tuple(found))


def _next_keys(query: ListQuery, value: Any, ranges: Sequence[Conditions]) -> Select[tuple[int]]:
    """The first keys of all ranges by (value, key)."""
    limit: BindParameter[int] = bindparam("most", type_=BigInteger)
    base = select(_E.key, value.label("value")).where(*_listed(query)).order_by(*_order(query, value, _E.key))
    parts = (base.where(*range_).limit(query.skip + limit).subquery() for range_ in ranges)
    merged = union_all(*(select(part) for part in parts)).subquery().c
    return select(merged.key).order_by(*_order(query, merged.value, merged.key)).offset(query.skip).limit(limit)


def _is_few(query: ListQuery, total: int) -> bool:
    """Whether it pays to find all matches and to sort them."""
    in_order = _by_time(query) and {test.field for test in query.filter.tests} <= {"status", "workflowId"}
    return total <= _FEW_ROWS and not in_order


def _is_falling(query: ListQuery) -> bool:
    """Whether values fall along the page's own direction."""
    return query.sort.startswith("-") is not query.backwards


def _by_time(query: ListQuery) -> bool:
    return query.sort.endswith("startedAt")


def _listed(query: ListQuery) -> Conditions:
    listed = [_E.team == query.team, tables.LISTED]
    return listed if query.created_until_us is None else [*listed, _E.created_us <= query.created_until_us]


def _order(query: ListQuery, value: Any, key: Any) -> Sequence[ColumnElement[Any]]:
    """By (value, key). A missing duration is smaller than any, in both databases."""
    nullable = not _by_time(query)
    if _is_falling(query):
        return (value.desc().nulls_last() if nullable else value.desc(), key.desc())
    return (value.asc().nulls_first() if nullable else value.asc(), key.asc())


def _after(query: ListQuery, column: Any) -> Sequence[Conditions]:
    """What lies behind the page's starting point, in parts that follow each other; each is sought in the index."""
    if query.after is None:
        return [[]]
    key = bindparam("after_key", type_=BigInteger)
    value = None if query.after[0] is None else bindparam("after_value", type_=BigInteger)
    beyond = operators.lt if _is_falling(query) else operators.gt
    parts: list[Conditions] = [[column.is_(None) if value is None else column == value, beyond(_E.key, key)]]
    if value is not None:
        parts.append([beyond(column, value)])
    if not _by_time(query) and _is_falling(query) is (value is not None):
        parts.append([column.is_(None) if _is_falling(query) else column.is_not(None)])
    return parts


# --- the text search ------------------------------------------------------------------------------------------------


def search(connection: Connection, query: ListQuery) -> Conditions:
    """What the text search asks for: an error that has the text, or a run of a node that has it in its name or id."""
    if query.text is None:
        return []
    errors, names = tables.error_texts.c, tables.node_names.c
    latest = select(errors.key, errors.text).where(errors.team == query.team).order_by(errors.key.desc())
    some = latest.limit(MOST_ERRORS).subquery().c
    failed = _E.key.in_(select(some.key).where(some.text.contains(query.text, autoescape=True)))
    named = select(names.workflow_id, names.node_id).distinct()
    named = named.where(names.team == query.team, names.text.contains(query.text, autoescape=True))
    by_workflow: dict[str, list[str]] = {}
    for workflow_id, node_id in connection.execute(named.limit(MOST_NODES)):
        by_workflow.setdefault(workflow_id, []).append(node_id)
    runs = tables.nodes.c
    ran = (
        and_(
            _E.workflow_id.concat("") == workflow_id,
            select(literal(1)).where(runs.key == _E.key, runs.node_id.in_(node_ids)).exists(),
        )
        for workflow_id, node_ids in by_workflow.items()
    )
    return [or_(failed, *ran)]


# --- the filter tree -------------------------------------------------------------------------------------------------


def _ranges(query: ListQuery) -> Sequence[Conditions]:
    """Sets of conditions that together are the filter, each read along an index that has the order of the list.

    By time, every wanted (workflow, status) is a range of its own in an index that ends in time. By duration, or when
    there are too many ranges, the list walks along the sort's own index and passes by what does not match.
    """
    tests = query.filter.tests
    statuses, workflows = _wanted_statuses(query.filter), _wanted_workflows(query.filter)
    rest = [_walked(test) for test in tests if test.field not in ("status", "workflowId")]
    if _by_time(query) and workflows and statuses and len(workflows) * len(statuses) <= _MAX_RANGES:
        return [[_E.workflow_id == w, _E.status == s, *rest] for w, s in product(workflows, statuses)]
    if _by_time(query) and 0 < len(statuses) < len(STATUSES):
        others = [_walked(test) for test in tests if test.field == "workflowId"]
        return [[_E.status == status, *others, *rest] for status in statuses]
    return [[_walked(test) for test in tests]]


def _wanted_statuses(found: Filter) -> list[str]:
    tests = [test for test in found.tests if test.field == "status"]
    return [status for status in STATUSES if all((status in test.values) is (test.op == "eq") for test in tests)]


def _wanted_workflows(found: Filter) -> set[Any] | None:
    """Those that every test lets pass; None when no test names what is wanted."""
    tests = [test for test in found.tests if test.field == "workflowId"]
    named = [set(test.values) for test in tests if test.op == "eq"]
    refused = {value for test in tests if test.op == "ne" for value in test.values}
    return set.intersection(*named) - refused if named else None


def _plain(found: Filter) -> Conditions:
    return [_condition(test, _column(test)) if test.field != "tag" else _tagged(test) for test in found.tests]


def _column(test: Condition) -> Any:
    attribute = FIELDS[test.field].attribute
    return _E.trigger if attribute == "trigger_type" else _E[attribute]


def _walked(test: Condition) -> ColumnElement[bool]:
    """The test on a column under which no index is found, so that the database walks along the sort's: `|| ''` and
    `+ 0` change no value."""
    field = FIELDS[test.field]
    if field.kind in ("tags", "time"):
        return _plain(Filter((test,)))[0]
    column = _column(test)
    return _condition(test, column + 0 if field.kind == "seconds" else column.concat(""))


def _condition(test: Condition, column: Any) -> ColumnElement[bool]:
    """The test on a column. As in `matches`, NULL passes `ne` alone."""
    if test.op == "eq":
        passed: ColumnElement[bool] = column.in_(test.values)
        return passed
    if test.op == "ne":
        return or_(column.not_in(test.values), column.is_(None))
    compare = _COMPARE[test.op]
    passed = compare(column, test.values[0])
    # What has started is listed at its start: this lets the list's index bound the range.
    return passed & compare(_E.at_us, test.values[0]) if column is _E.started_us else passed


def _tagged(test: Condition) -> ColumnElement[bool]:
    tags = tables.tags.c
    tagged = select(literal(1)).where(tags.key == _E.key, tags.tag.in_(test.values)).exists()
    return tagged if test.op == "eq" else ~tagged
