"""The one filter grammar of lists, streams and webhooks: `matches` decides in memory, the store compiles the tree.

A filter is a conjunction of tests `field op values`; several values mean any of them. On the query string it is
`filter[status]=failed,timeout`, `filter[duration][gte]=5`; in JSON `{"status": ["failed"], "duration": {"gte": 5}}`.
`dateRange` with `startDate` and `endDate` is the seed API's spelling of tests on `startedAt`.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from monitor.errors import InvalidFilter
from monitor.events.codec import format_time, parse_time_us
from monitor.projections.status import STATUSES

Op = Literal["eq", "ne", "gt", "gte", "lt", "lte"]
Value = str | int

MAX_VALUES: Final = 100
"""Values of one test; more would be a join in disguise."""

_DAY_US: Final = 86_400_000_000
RANGES: Final = {"1d": _DAY_US, "7d": 7 * _DAY_US, "30d": 30 * _DAY_US}
_KEY: Final = re.compile(r"filter\[(\w+)\](?:\[(\w+)\])?")


class Field(NamedTuple):
    """A field that can be asked for: the attribute behind it and what its values are."""

    attribute: str
    kind: Literal["text", "status", "time", "seconds", "tags"]


FIELDS: Final = {
    "id": Field("id", "text"),
    "workflowId": Field("workflow_id", "text"),
    "workflowName": Field("workflow_name", "text"),
    "status": Field("status", "status"),
    "mode": Field("mode", "text"),
    "startedAt": Field("started_us", "time"),
    "duration": Field("duration_us", "seconds"),
    "tag": Field("tags", "tags"),
    "trigger": Field("trigger_type", "text"),
    "retryOf": Field("retry_of", "text"),
    "parent": Field("parent_id", "text"),
    "errorType": Field("error_type", "text"),
    "stoppedAt": Field("stopped_us", "time"),
    "createdAt": Field("created_us", "time"),
}

_OPS: Final[dict[str, tuple[Op, ...]]] = {
    "text": ("eq", "ne"),
    "status": ("eq", "ne"),
    "tags": ("eq", "ne"),
    "time": ("eq", "ne", "gt", "gte", "lt", "lte"),
    "seconds": ("eq", "ne", "gt", "gte", "lt", "lte"),
}


def operators(field: str) -> Sequence[Op]:
    """What a field can be asked with."""
    return _OPS[FIELDS[field].kind]


class Condition(NamedTuple):
    """`field op any of values`. Times and durations are microseconds here."""

    field: str
    op: Op
    values: tuple[Value, ...]


class Filter(NamedTuple):
    """All of `tests`; the empty filter lets everything pass. Hashable: equal filters are evaluated once."""

    tests: tuple[Condition, ...] = ()


class Filterable(Protocol):
    """What can be filtered: `Summary` and `Release` both have these."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def workflow_name(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def mode(self) -> str | None: ...
    @property
    def started_us(self) -> int | None: ...
    @property
    def duration_us(self) -> int | None: ...
    @property
    def tags(self) -> list[str]: ...
    @property
    def trigger_type(self) -> str: ...
    @property
    def retry_of(self) -> str | None: ...
    @property
    def parent_id(self) -> str | None: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def stopped_us(self) -> int | None: ...
    @property
    def created_us(self) -> int: ...
    @property
    def id(self) -> str: ...


def parse_query(pairs: Iterable[tuple[str, str]], now_us: int) -> Filter:
    """The filter in a query string's `filter[...]` parameters; other parameters are left to the caller.

    Raises InvalidFilter naming the nearest known field, operator or value.
    """
    said: dict[str, Any] = {}
    for key, value in pairs:
        if not key.startswith("filter"):
            continue
        found = _KEY.fullmatch(key)
        if found is None:
            raise InvalidFilter(f"'{key}' is not a filter; write filter[status]=failed", field=key)
        field, op = found.group(1), found.group(2) or "eq"
        ops = said.setdefault(field, {})
        if op in ops:
            raise InvalidFilter(f"'{key}' is given twice; separate several values by commas", field=key)
        ops[op] = value.split(",")
    return _build(said, now_us)


def parse_json(document: Mapping[str, Any], now_us: int | None = None) -> Filter:
    """The filter in a JSON object, as webhooks and subscriptions carry it. Relative date ranges mean nothing there, but
    where `now_us` tells from when.

    Raises InvalidFilter as `parse_query` does.
    """
    said = {}
    for field, value in document.items():
        ops = value if isinstance(value, Mapping) else {"eq": value}
        if not ops:
            raise InvalidFilter(f"'{field}' names no test", field=f"filter[{field}]")
        said[field] = {op: values if isinstance(values, list) else [values] for op, values in ops.items()}
    return _build(said, now_us)


def to_json(found: Filter) -> dict[str, Any]:
    """The inverse of `parse_json`, in its shortest spelling."""
    document: dict[str, Any] = {}
    for field, op, values in found.tests:
        shown = [_shown(field, value) for value in values]
        document.setdefault(field, {})[op] = shown[0] if len(shown) == 1 else shown
    return {field: ops["eq"] if set(ops) == {"eq"} else ops for field, ops in document.items()}


def matches(found: Filter, subject: Filterable) -> bool:
    """Whether `subject` passes every test. A missing value passes only `ne`."""
    return all(_passes(test, getattr(subject, FIELDS[test.field].attribute)) for test in found.tests)


def _passes(test: Condition, value: Any) -> bool:
    op, values = test.op, test.values
    if isinstance(value, list):
        return any(item in values for item in value) is (op == "eq")
    if op == "eq":
        return value in values
    if op == "ne":
        return value not in values
    if value is None:
        return False
    limit: Any = values[0]
    if op == "gte":
        return bool(value >= limit)
    if op == "gt":
        return bool(value > limit)
    return bool(value <= limit) if op == "lte" else bool(value < limit)


def _build(said: dict[str, Any], now_us: int | None) -> Filter:
    tests = _date_tests(said, now_us) if now_us is not None else []
    for field, ops in said.items():
        if field not in FIELDS:
            raise InvalidFilter(f"unknown filter field '{field}'{_nearest(field, FIELDS)}", field=f"filter[{field}]")
        tests += [_test(field, op, values) for op, values in ops.items()]
    return Filter(tuple(sorted(tests)))


def _test(field: str, op: str, values: list[Any]) -> Condition:
    known = _OPS[FIELDS[field].kind]
    for candidate in known:
        if candidate == op:
            break
    else:
        raise InvalidFilter(f"'{field}' does not take '{op}'{_nearest(op, known)}", field=f"filter[{field}]")
    if not 0 < len(values) <= MAX_VALUES or (op not in ("eq", "ne") and len(values) > 1):
        raise InvalidFilter(f"'{field}' takes 1 to {MAX_VALUES} values, and one with '{op}'", field=f"filter[{field}]")
    # In one order and once each, so that equal filters are equal.
    return Condition(field, candidate, tuple(sorted({_value(field, value) for value in values})))


def _value(field: str, said: Any) -> Value:
    kind = FIELDS[field].kind
    try:
        if kind == "seconds":
            return _seconds_us(said)
        if not isinstance(said, str) or not said or not said.isprintable():
            raise ValueError("takes text")
        if kind == "time":
            return parse_time_us(said if len(said) > 10 else f"{said}T00:00:00Z")
        if kind == "status" and said not in STATUSES:
            raise ValueError(f"does not know '{said}'{_nearest(said, STATUSES)}; it takes {', '.join(STATUSES)}")
    except ValueError as error:
        raise InvalidFilter(f"'{field}' {error}", field=f"filter[{field}]") from None
    return said


def _seconds_us(said: Any) -> int:
    try:
        seconds = float(said) if not isinstance(said, bool) else -1.0
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < 1e10:
        raise ValueError("takes seconds from 0")
    return round(seconds * 1_000_000)


def _date_tests(said: dict[str, Any], now_us: int) -> list[Condition]:
    """Take `dateRange`, `startDate` and `endDate` out of `said`."""
    words = {name: _single(name, said.pop(name)) for name in ("dateRange", "startDate", "endDate") if name in said}
    word = words.get("dateRange", "custom")
    if word in RANGES:
        if len(words) > 1:
            raise InvalidFilter("startDate and endDate need dateRange=custom", field="filter[dateRange]")
        return [Condition("startedAt", "gte", (now_us - RANGES[word],))]
    if word != "custom":
        raise InvalidFilter(
            f"'dateRange' does not know '{word}'; it takes 1d, 7d, 30d or custom", field="filter[dateRange]"
        )
    if words == {"dateRange": "custom"}:
        raise InvalidFilter("dateRange=custom needs startDate or endDate", field="filter[dateRange]")
    tests = []
    if "startDate" in words:
        tests.append(Condition("startedAt", "gte", (_date("startDate", words["startDate"]),)))
    if "endDate" in words:
        end = words["endDate"]
        # A bare date means the whole day.
        whole_day = len(end) <= 10
        tests.append(
            Condition("startedAt", "lt" if whole_day else "lte", (_date("endDate", end) + whole_day * _DAY_US,))
        )
    # A whole day ends where the next one begins, which is out of it.
    if len(tests) == 2 and (tests[0].values, tests[1].op == "lt") > (tests[1].values, False):
        raise InvalidFilter("'startDate' is later than 'endDate'", field="filter[startDate]")
    return tests


def _single(name: str, ops: dict[str, list[Any]]) -> str:
    if set(ops) != {"eq"} or len(ops["eq"]) != 1 or not isinstance(ops["eq"][0], str):
        raise InvalidFilter(f"'{name}' takes one value", field=f"filter[{name}]")
    said: str = ops["eq"][0]
    return said


def _date(name: str, said: str) -> int:
    try:
        return parse_time_us(said if len(said) > 10 else f"{said}T00:00:00Z")
    except ValueError as error:
        raise InvalidFilter(f"'{name}' {error}", field=f"filter[{name}]") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:40], list(known), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _shown(field: str, value: Value) -> Any:
    kind = FIELDS[field].kind
    if kind == "seconds" and isinstance(value, int):
        return value / 1_000_000
    if kind == "time" and isinstance(value, int):
        # Answers carry milliseconds; a filter keeps the microseconds that it was given.
        return f"{format_time(value)[:-1]}{value % 1000:03d}Z"
    return value
