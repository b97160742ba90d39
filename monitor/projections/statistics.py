"""Additive statistics: each execution counts in exactly one row, and a correction moves it from one row to another.

A row is (team, workflow, hour of the end, status, duration bucket) -> count and sum of durations. Buckets grow by a
constant factor, so that any percentile read from them is off by at most `RELATIVE_ERROR` (the DDSketch argument:
Masson, Rim and Lee, VLDB 2019), and unlike a t-digest they can be decremented, which late corrections need.
"""

import math
from typing import Final, NamedTuple

from monitor.projections.execution import Contribution, Execution

RELATIVE_ERROR: Final = 0.02
_GROWTH: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GROWTH: Final = math.log(_GROWTH)
_HOUR_US: Final = 3_600_000_000

IN_FLIGHT_HOUR: Final = -1
"""Executions that have not ended stand in a row of their own, outside of time."""

NO_DURATION: Final = -1
"""Bucket of ends whose duration is unknown."""


class Cell(NamedTuple):
    """Key of a statistics row."""

    team: str
    workflow_id: str
    hour: int
    status: str
    bucket: int


def bucket_of(duration_us: int | None) -> int:
    """The bucket of a duration in microseconds: 0 holds zero, `NO_DURATION` the unknown."""
    if duration_us is None:
        return NO_DURATION
    return 0 if duration_us < 1 else 1 + math.floor(math.log(duration_us) / _LOG_GROWTH)


def bucket_duration_us(bucket: int) -> float:
    """The duration that stands for a bucket: off by at most RELATIVE_ERROR from every duration in it."""
    return 0.0 if bucket <= 0 else 2 * _GROWTH**bucket / (_GROWTH + 1)


def contribution(execution: Execution) -> Contribution | None:
    """What `execution` adds to the statistics now. Deleted, it still counts where it ended, but not as in flight."""
    if execution.ended_us is None:
        if execution.registers.deleted:
            return None
        return Contribution(execution.workflow_id, IN_FLIGHT_HOUR, execution.status, NO_DURATION, 0)
    hour, duration_us = execution.ended_us // _HOUR_US, execution.duration_us
    return Contribution(execution.workflow_id, hour, execution.status, bucket_of(duration_us), duration_us or 0)


def cell(team: str, counted: Contribution) -> Cell:
    """The row in which a contribution counts."""
    return Cell(team, counted.workflow_id, counted.hour, counted.status, counted.bucket)
