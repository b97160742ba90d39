"""One filter grammar for lists, streams and webhooks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InvalidFilter
from monitor.projections.filter import FIELDS, MAX_VALUES, Condition, Filter, matches, parse_json, parse_query, to_json
from monitor.projections.status import STATUSES
from monitor.projections.view import Summary
from tests.support.clocks import NOON_US
from tests.support.folding import Run

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def query(**pairs: str) -> Filter:
    """`status="failed"` as `filter[status]=failed`, `duration__gte="5"` as `filter[duration][gte]=5`."""
    spelled = {f"filter[{name.replace('__', '][')}]": value for name, value in pairs.items()}
    return parse_query(spelled.items(), NOON_US)


def some_view() -> Summary:
    """A failed execution of three seconds."""
    run = Run()
    run.tell("execution.started", 1, workflowId="wf_1", data={"mode": "webhook", "tags": ["red", "blue"]})
    run.tell("execution.failed", 4)
    return run.view


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, True),
        ({"status": "failed"}, True),
        ({"status": ["success", "failed"]}, True),
        ({"status": {"ne": "failed"}}, False),
        ({"status": "failed", "mode": "manual"}, False),
        ({"id": "exec_1"}, True),
        ({"workflowId": {"ne": ["wf_2", "wf_3"]}}, True),
        ({"workflowName": "Orders"}, False),
        ({"workflowName": {"ne": "Orders"}}, True),
        ({"tag": "red"}, True),
        ({"tag": {"ne": "red"}}, False),
        ({"tag": {"ne": "green"}}, True),
        ({"duration": {"gte": 3, "lte": 3}}, True),
        ({"duration": {"gt": 3}}, False),
        ({"duration": {"lt": 3}}, False),
        ({"duration": 3.0}, True),
        ({"startedAt": {"gte": "2026-11-22T10:30:01Z"}}, True),
        ({"startedAt": {"lt": "2026-11-22"}}, False),
    ],
)
def test_a_filter_is_all_of_its_tests(document: dict[str, Any], expected: bool) -> None:
    """Any of the values of each."""
    assert matches(parse_json(document), some_view()) is expected


def test_what_is_missing_passes_only_ne() -> None:
    """A run without an end has no duration."""
    run = Run()
    run.tell("execution.queued")
    passed = [
        op for op in ("eq", "ne", "gt", "gte", "lt", "lte") if matches(parse_json({"duration": {op: 1}}), run.view)
    ]
    assert passed == ["ne"]


def test_queries_and_json_say_the_same() -> None:
    """Other parameters are somebody else's."""
    assert query(status="failed,timeout", duration__gte="5") == parse_json(
        {"duration": {"gte": 5}, "status": ["timeout", "failed"]}
    )
    assert parse_query([("limit", "5"), ("sort", "-startedAt")], NOON_US) == Filter()


def test_equal_filters_are_equal_however_they_are_spelled() -> None:
    """So that streams evaluate each once."""
    assert parse_json({"status": ["failed", "timeout", "failed"], "mode": "manual"}) == parse_json(
        {"mode": ["manual"], "status": {"eq": ["timeout", "failed"]}}
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"dateRange": "7d"}, [("gte", NOON_US - 7 * DAY_US)]),
        ({"dateRange": "custom", "startDate": "2026-11-22"}, [("gte", NOON_US - 10 * HOUR_US - HOUR_US // 2)]),
        ({"startDate": "2026-11-22T10:30:00Z"}, [("gte", NOON_US)]),
        ({"endDate": "2026-11-22T10:30:00Z"}, [("lte", NOON_US)]),
        ({"endDate": "2026-11-21"}, [("lt", NOON_US - 10 * HOUR_US - HOUR_US // 2)]),
    ],
)
def test_date_ranges_are_tests_on_the_start(said: dict[str, str], expected: list[tuple[str, int]]) -> None:
    """A bare end date means the whole of its day."""
    assert [(test.op, *test.values) for test in query(**said).tests] == expected


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"statu": "failed"}, r"unknown filter field 'statu'; did you mean 'status'\?"),
        ({"x" * 10_000: "failed"}, "unknown filter field"),
        ({"status": "faild"}, r"did you mean 'failed'\?"),
        ({"status": ""}, "takes text"),
        ({"status__gt": "failed"}, "does not take 'gt'"),
        ({"duration__gte": "long"}, "takes seconds"),
        ({"duration__gte": "nan"}, "takes seconds"),
        ({"duration__gte": "1e400"}, "takes seconds"),
        ({"duration__gte": "1,2"}, "one with 'gte'"),
        ({"startedAt__gte": "yesterday"}, "RFC 3339"),
        ({"mode": "a\x00b"}, "takes text"),
        ({"id": ",".join(["x"] * (MAX_VALUES + 1))}, "1 to 100 values"),
        ({"dateRange": "2d"}, "does not know '2d'"),
        ({"dateRange": "custom"}, "needs startDate or endDate"),
        ({"dateRange": "7d", "startDate": "2026-11-22"}, "need dateRange=custom"),
        ({"startDate": "soon"}, "'startDate' is not"),
        ({"startDate": "2026-11-22,2026-11-23"}, "takes one value"),
    ],
)
def test_what_is_wrong_is_named(said: dict[str, str], sentence: str) -> None:
    """With the nearest word that is known."""
    with pytest.raises(InvalidFilter, match=sentence):
        query(**said)


@pytest.mark.parametrize("key", ["filter", "filter[status", "filter[status][gte][lte]", "filters[status]"])
def test_misspelled_parameters_are_refused(key: str) -> None:
    """Rather than read as no filter at all."""
    with pytest.raises(InvalidFilter, match="is not a filter"):
        parse_query([(key, "failed")], NOON_US)


def test_a_parameter_given_twice_is_refused() -> None:
    """Nobody can tell which was meant."""
    with pytest.raises(InvalidFilter, match="given twice"):
        parse_query([("filter[status]", "failed"), ("filter[status][eq]", "success")], NOON_US)


@pytest.mark.parametrize(
    "document",
    [
        {"status": None},
        {"status": 5},
        {"status": []},
        {"status": {}},
        {"status": {"eq": {}}},
        {"status": [["failed"]]},
        {"duration": True},
        {"duration": 10**400},
        {"duration": -1},
        {"duration": [[]]},
        {"startedAt": 5},
        {"dateRange": "7d"},
    ],
)
def test_json_of_other_types_is_refused(document: dict[str, Any]) -> None:
    """By the one error that faces know."""
    with pytest.raises(InvalidFilter):
        parse_json(document)


WORDS = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=5)
TIMES_US = st.integers(0, 4_102_444_799_999_999)
ORDERED = st.sampled_from(("gt", "gte", "lt", "lte"))


def _tests() -> st.SearchStrategy[Condition]:
    def several(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Condition]:
        sets = st.sets(values, min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
        return st.builds(Condition, st.just(field), st.sampled_from(("eq", "ne")), sets)

    durations_us = st.integers(0, 10**15)
    return st.one_of(
        several("status", st.sampled_from(STATUSES)),
        several("workflowName", WORDS),
        several("tag", WORDS),
        several("startedAt", TIMES_US),
        st.builds(Condition, st.just("startedAt"), ORDERED, st.tuples(TIMES_US)),
        st.builds(Condition, st.just("duration"), ORDERED, st.tuples(durations_us)),
    )


@given(st.lists(_tests(), max_size=4, unique_by=lambda test: test[:2]))
def test_shown_filters_read_back(tests: list[Condition]) -> None:
    """To the microsecond."""
    found = Filter(tuple(sorted(tests)))
    assert parse_json(to_json(found)) == found


def test_every_field_is_an_attribute_of_what_is_filtered() -> None:
    """Views and releases alike."""
    run = Run()
    [release] = run.tell("execution.started").releases
    for field in FIELDS.values():
        assert hasattr(release, field.attribute)
        assert hasattr(run.view, field.attribute)
