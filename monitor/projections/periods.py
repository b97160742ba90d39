"""Ranges of time that statistics are asked for, and the buckets in which they are shown, in UTC. Weeks begin on Monday.

A range covers whole hours, or whole minutes where minutes are shown: a period reaches back at least as far as it says,
from the beginning of that hour to the end of the current one. Buckets are whole: the first may begin before the range,
and counts only what lies in it. Pure.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, get_args

from monitor.errors import InvalidRequest
from monitor.projections.statistics import HOUR_US, MINUTE_US

Granularity = Literal["minute", "hour", "day", "week"]
GRANULARITIES: Final[tuple[Granularity, ...]] = get_args(Granularity)

DAY_US: Final = 24 * HOUR_US
PERIODS: Final = {"1h": HOUR_US, "24h": DAY_US, "7d": 7 * DAY_US, "30d": 30 * DAY_US}
DEFAULT_PERIOD: Final = "24h"
CUSTOM: Final = "custom"

MAX_BUCKETS: Final = 2_000
"""Twelve weeks of hours, or five years of days."""

_BUCKET_US: Final[dict[Granularity, int]] = {
    "minute": MINUTE_US,
    "hour": HOUR_US,
    "day": DAY_US,
    "week": 7 * DAY_US,
}
_FIRST_MONDAY_US: Final = 4 * DAY_US
"""1970 began on a Thursday."""

# What is shown where nothing is said: about as many buckets as fit a small picture.
_SHOWN_UP_TO_US: Final[tuple[tuple[int, Granularity], ...]] = (
    (2 * HOUR_US, "minute"),
    (3 * DAY_US, "hour"),
    (400 * DAY_US, "day"),
)


class Range(NamedTuple):
    """From `start_us` up to, not including, `end_us`: whole hours, or whole minutes where these are the buckets."""

    # A word of PERIODS, or CUSTOM.
    period: str
    granularity: Granularity
    start_us: int
    end_us: int

    @property
    def unit_us(self) -> int:
        """Of what it is whole."""
        return MINUTE_US if self.granularity == "minute" else HOUR_US

    def buckets_us(self) -> Iterator[int]:
        """When each bucket begins, in order."""
        step_us = _BUCKET_US[self.granularity]
        return iter(range(self.bucket_us(self.start_us), self.end_us, step_us))

    def bucket_us(self, at_us: int) -> int:
        """When the bucket begins in which a time lies. The week of 1 January 1970 began before time."""
        step_us = _BUCKET_US[self.granularity]
        shift_us = _FIRST_MONDAY_US if self.granularity == "week" else 0
        return (at_us - shift_us) // step_us * step_us + shift_us


def range_of(
    *, period: str | None, from_us: int | None, to_us: int | None, granularity: Granularity | None, now_us: int
) -> Range:
    """The range of a question: a period that ends now, or a time and another, which is now where nothing is said.

    Raises InvalidRequest naming the parameter.
    """
    if from_us is None:
        if to_us is not None:
            raise InvalidRequest("'to' needs 'from': say when the range begins", field="to")
        begin_us, end_us = now_us - PERIODS[period or DEFAULT_PERIOD], now_us
    elif period is not None:
        raise InvalidRequest("'period' and 'from' exclude each other; leave one of them out", field="period")
    else:
        begin_us, end_us = from_us, now_us if to_us is None else to_us
        if begin_us >= end_us:
            raise InvalidRequest(f"'from' is not before {'now' if to_us is None else 'to'!r}", field="from")
    found = _whole(period or (DEFAULT_PERIOD if from_us is None else CUSTOM), granularity, begin_us, end_us, now_us)
    step_us = _BUCKET_US[found.granularity]
    if (found.end_us - found.start_us) // step_us > MAX_BUCKETS:
        coarser = "narrow the range" if found.granularity == "week" else "choose a coarser one, or narrow the range"
        message = f"these are more than {MAX_BUCKETS} buckets of 'granularity' {found.granularity}; {coarser}"
        raise InvalidRequest(message, field="granularity")
    return found


def _whole(period: str, granularity: Granularity | None, begin_us: int, end_us: int, now_us: int) -> Range:
    is_recent = begin_us >= now_us - DAY_US
    if granularity == "minute" and not is_recent:
        message = "'granularity' minute is for the last 24 hours; choose hour for what is older"
        raise InvalidRequest(message, field="granularity")
    shown = granularity or _shown(end_us - begin_us, is_recent)
    unit_us = MINUTE_US if shown == "minute" else HOUR_US
    return Range(period, shown, max(0, begin_us // unit_us * unit_us), -(-end_us // unit_us) * unit_us)


def _shown(length_us: int, is_recent: bool) -> Granularity:
    fitting = [word for longest_us, word in _SHOWN_UP_TO_US if length_us <= longest_us]
    return next((word for word in fitting if word != "minute" or is_recent), "week")
