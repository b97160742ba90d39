"""Buckets of durations: whatever is read from them is close; and the days and hours by which sums are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.projections.statistics import (
    ALL,
    BY_DAY,
    BY_HOUR,
    NO_DURATION,
    RELATIVE_ERROR,
    Cell,
    bucket_of,
    rolled_up,
    spans,
)
from monitor.projections.tally import PERCENTS, Moment, Row, Sum, by_bucket, percentiles_us, tally

DURATIONS_US = st.integers(1, 10**16)
CLOSE = RELATIVE_ERROR * (1 + 1e-9)


def row(duration_us: int, at: int = 0, status: str = "success") -> Row:
    """One execution."""
    return Row(at, "wf", status, "", "", bucket_of(duration_us), 1, duration_us)


@given(DURATIONS_US, st.floats(1, 1 + RELATIVE_ERROR))
def test_what_shares_a_bucket_is_close(duration_us: int, factor: float) -> None:
    """Within the promised error (and the rounding of floats)."""
    other_us = int(duration_us * factor)
    assert bucket_of(other_us) - bucket_of(duration_us) in (0, 1)
    assert bucket_of(int(duration_us * 1.0405)) > bucket_of(duration_us) or duration_us < 100


@given(DURATIONS_US, DURATIONS_US)
def test_buckets_keep_order(a_us: int, b_us: int) -> None:
    """So that a rank among buckets is a rank among durations."""
    assert (bucket_of(a_us) <= bucket_of(b_us)) or a_us > b_us


@given(st.lists(DURATIONS_US, min_size=1, max_size=300))
def test_percentiles_are_close(durations_us: list[int]) -> None:
    """Each is within the error of the duration at its rank: at least so many percent are not longer."""
    found = percentiles_us(by_bucket(tally(map(row, durations_us)).durations))
    ordered = sorted(durations_us)
    for percent in PERCENTS:
        exact_us = next(it for place, it in enumerate(ordered, 1) if place * 100 >= percent * len(ordered))
        assert found[percent] == pytest.approx(exact_us, rel=CLOSE)


@given(st.lists(DURATIONS_US, min_size=1, max_size=100))
def test_least_and_greatest_are_close_and_never_cross_the_mean(durations_us: list[int]) -> None:
    """Whatever the buckets hold."""
    [moment] = tally(map(row, durations_us)).moments.values()
    assert moment.low_us is not None
    assert moment.high_us is not None
    assert moment.low_us == pytest.approx(min(durations_us), rel=CLOSE)
    assert moment.high_us == pytest.approx(max(durations_us), rel=CLOSE)
    assert moment.low_us <= moment.sum.mean_us * (1 + 1e-12) <= moment.high_us * (1 + 1e-11)


def test_equal_durations_are_exact() -> None:
    """A bucket stands for the mean of what is in it."""
    found = tally([row(1_500_000)] * 3)
    assert percentiles_us(by_bucket(found.durations)) == dict.fromkeys(PERCENTS, 1_500_000.0)
    assert percentiles_us({}) == {}


def test_moments_join_whatever_their_order() -> None:
    """The outermost stay."""
    one, other = Moment(Sum(1, 1, 5), 5.0, 5.0), Moment(Sum(2, 1, 50), 50.0, 50.0)
    assert one.joined(other) == other.joined(one) == Moment(Sum(3, 2, 55), 5.0, 50.0)
    assert Moment().joined(one) == one


def test_zero_and_unknown_have_buckets_of_their_own() -> None:
    """Below every other."""
    assert (bucket_of(None), bucket_of(0), bucket_of(1)) == (NO_DURATION, 0, 1)


@given(st.integers(0, 500_000), st.integers(1, 2000))
def test_spans_are_the_range(start: int, length: int) -> None:
    """Every hour once, whole days by day."""
    hours: list[int] = []
    for grain, first, end in spans(start, start + length):
        factor = 24 if grain == BY_DAY else 1
        hours += range(first * factor, end * factor)
    assert hours == list(range(start, start + length))
    assert sum(grain == BY_HOUR for grain, _, _ in spans(start, start + length)) <= 2


def test_rollups_are_sums_of_cells() -> None:
    """By hour and by day; what is in flight is in none."""
    cells = {
        Cell("t", 24, "a", "success", "cron", "", 5): (1, 7),
        Cell("t", 47, "b", "success", "", "", 5): (2, 9),
        Cell("t", -1, "b", "running", "", "", NO_DURATION): (1, 0),
    }
    sums = rolled_up(cells)
    assert {key: amount for key, amount in sums.items() if key.facet == ALL and key.grain == BY_DAY} == {
        ("t", ALL, BY_DAY, 1, "", "success", 5): (3, 16)
    }
    assert sum(key.grain == BY_HOUR for key in sums) == 6
    assert all(key.bucket == 0 for key in sums if key.facet != ALL)
