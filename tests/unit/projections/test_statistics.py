"""Buckets of durations: any percentile read from them is close."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.projections.statistics import NO_DURATION, RELATIVE_ERROR, bucket_duration_us, bucket_of

DURATIONS_US = st.integers(1, 10**16)


@given(DURATIONS_US)
def test_a_bucket_stands_for_what_is_in_it(duration_us: int) -> None:
    """Off by at most the promised error (and the rounding of floats)."""
    shown_us = bucket_duration_us(bucket_of(duration_us))
    assert shown_us == pytest.approx(duration_us, rel=RELATIVE_ERROR * (1 + 1e-9))


@given(DURATIONS_US, DURATIONS_US)
def test_buckets_keep_order(a_us: int, b_us: int) -> None:
    """So that a rank among buckets is a rank among durations."""
    assert (bucket_of(a_us) <= bucket_of(b_us)) or a_us > b_us


@given(st.lists(DURATIONS_US, min_size=1, max_size=300), st.integers(0, 100))
def test_percentiles_are_close(durations_us: list[int], percent: int) -> None:
    """The bucket at a rank stands for the duration at that rank."""
    rank = (len(durations_us) - 1) * percent // 100
    shown_us = bucket_duration_us(sorted(map(bucket_of, durations_us))[rank])
    assert shown_us == pytest.approx(sorted(durations_us)[rank], rel=RELATIVE_ERROR * (1 + 1e-9))


def test_zero_and_unknown_have_buckets_of_their_own() -> None:
    """Below every other."""
    assert (bucket_of(None), bucket_of(0), bucket_of(1)) == (NO_DURATION, 0, 1)
    assert bucket_duration_us(0) == bucket_duration_us(NO_DURATION) == 0.0
