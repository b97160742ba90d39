"""Adding statistics up: what was counted in a range of time, by time, status, workflow, trigger and error.

Formulas: a percentile is the duration at rank ceil(p * n) of n known ones in order (nearest rank; Hyndman and Fan,
"Sample quantiles in statistical packages", 1996, definition 1); a bucket of durations stands for their mean, so that
least <= mean <= greatest always. Times are in units of the question: hours, or minutes, since 1970. Pure.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from monitor.projections.statistics import Amount

PERCENTS: Final = (50, 90, 95, 99)


class Pile(NamedTuple):
    """The executions of one bucket."""

    bucket: int
    size: int
    total_us: int

    @property
    def mean_us(self) -> float:
        """The duration that stands for all of them."""
        return self.total_us / self.size


class Sum(NamedTuple):
    """Executions that ended, those among them whose duration is known, and the sum of these."""

    ended: int = 0
    known: int = 0
    total_us: int = 0

    def __add__(self, other: object) -> "Sum":
        assert isinstance(other, Sum)
        return Sum(self.ended + other.ended, self.known + other.known, self.total_us + other.total_us)

    @property
    def mean_us(self) -> float:
        """The mean of the known durations; 0 where there is none."""
        return self.total_us / self.known if self.known else 0.0


class Moment(NamedTuple):
    """What ended in one unit of time."""

    sum: Sum = Sum()
    # The least and the greatest of the known durations, as their buckets tell them; None where none is known.
    low_us: float | None = None
    high_us: float | None = None

    def joined(self, other: "Moment") -> "Moment":
        """Both together."""
        lows = [it for it in (self.low_us, other.low_us) if it is not None]
        highs = [it for it in (self.high_us, other.high_us) if it is not None]
        return Moment(self.sum + other.sum, min(lows, default=None), max(highs, default=None))


class Row(NamedTuple):
    """What some executions that ended in the same unit of time have in common."""

    at: int
    workflow_id: str
    status: str
    trigger: str
    error: str
    # Below 0 = the duration is unknown.
    bucket: int
    size: int
    total_us: int


class Tally(NamedTuple):
    """What was counted."""

    # By unit of time and status.
    moments: Mapping[tuple[int, str], Moment]
    # Known durations, by status and bucket.
    durations: Mapping[tuple[str, int], Amount]
    # Each by its key and status.
    workflows: Mapping[tuple[str, str], Sum]
    triggers: Mapping[tuple[str, str], Sum]
    errors: Mapping[tuple[str, str], Sum]


class NodeRuns(NamedTuple):
    """The finished runs of one node: its known durations are by bucket."""

    workflow_id: str
    node_id: str
    by_status: Mapping[str, Sum]
    durations: Mapping[int, Amount]


def tally(rows: Iterable[Row]) -> Tally:
    """The rows added up."""
    found = Tally({}, {}, {}, {}, {})
    moments, durations = dict(found.moments), dict(found.durations)
    workflows, triggers, errors = dict(found.workflows), dict(found.triggers), dict(found.errors)
    for row in rows:
        is_known = row.bucket >= 0
        one = Sum(row.size, row.size if is_known else 0, row.total_us)
        mean_us = row.total_us / row.size if is_known else None
        at = (row.at, row.status)
        moments[at] = moments.get(at, Moment()).joined(Moment(one, mean_us, mean_us))
        if is_known:
            count, total_us = durations.get((row.status, row.bucket), (0, 0))
            durations[row.status, row.bucket] = (count + row.size, total_us + row.total_us)
        for sums, key in ((workflows, row.workflow_id), (triggers, row.trigger), (errors, row.error)):
            if key or sums is not errors:
                sums[key, row.status] = sums.get((key, row.status), Sum()) + one
    return Tally(moments, durations, workflows, triggers, errors)


def percentiles_us(durations: Mapping[int, Amount]) -> dict[int, float]:
    """The duration at each of PERCENTS, of durations by bucket; empty where none is known."""
    ordered = [Pile(bucket, *amount) for bucket, amount in sorted(durations.items())]
    total = sum(pile.size for pile in ordered)
    found: dict[int, float] = {}
    seen = 0
    for pile in ordered:
        seen += pile.size
        for percent in PERCENTS:
            if percent not in found and seen >= math.ceil(total * percent / 100):
                found[percent] = pile.mean_us
    return found


def by_bucket(durations: Mapping[tuple[str, int], Amount]) -> dict[int, Amount]:
    """Durations of all statuses."""
    found: dict[int, Amount] = {}
    for (_, bucket), (count, total_us) in durations.items():
        held = found.get(bucket, (0, 0))
        found[bucket] = (held[0] + count, held[1] + total_us)
    return found
