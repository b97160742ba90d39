"""Additive statistics: each execution counts in exactly one cell, each finished run of a node in one of its own.

A cell is (team, hour of the end, workflow, status, trigger, error, bucket of the duration) -> count and sum of
durations; a late correction moves an execution from one cell to another, so sums stay exact. A bucket is at most
`RELATIVE_ERROR` wide and stands for the mean of what is in it, so that any percentile, and the least and the greatest
duration, are off by at most that much, and exact where a bucket holds one duration (the DDSketch argument: Masson, Rim
and Lee, VLDB 2019); unlike a t-digest, buckets can be decremented. `tally` adds cells up.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from monitor.projections.execution import Contribution, Execution, Node, NodeKey, RunContribution
from monitor.projections.fingerprint import kind_of

RELATIVE_ERROR: Final = 0.02
_LOG_GROWTH: Final = math.log1p(RELATIVE_ERROR)
MINUTE_US: Final = 60_000_000
HOUR_US: Final = 3_600_000_000
HOURS_OF_A_DAY: Final = 24

IN_FLIGHT_HOUR: Final = -1
"""Executions that have not ended stand in cells of their own, outside of time."""

NO_DURATION: Final = -1
"""Bucket of ends whose duration is unknown."""

Amount = tuple[int, int]
"""Count, and sum of durations in microseconds."""


class Cell(NamedTuple):
    """Where executions are counted."""

    team: str
    hour: int
    workflow_id: str
    status: str
    # Type of the trigger; empty where nobody said it.
    trigger: str
    # Fingerprint of the error that it ended with; empty without one.
    error: str
    bucket: int


class RunCell(NamedTuple):
    """Where finished runs of nodes are counted."""

    team: str
    hour: int
    workflow_id: str
    node_id: str
    status: str
    error: str
    bucket: int


RunKey = tuple[str, int, str, str, str, str, int]
"""A RunCell as the fold writes it, for every finished run: a bare tuple is made in a third of the time."""


def bucket_of(duration_us: int | None) -> int:
    """The bucket of a duration in microseconds: 0 holds zero, `NO_DURATION` the unknown."""
    if duration_us is None:
        return NO_DURATION
    return 0 if duration_us < 1 else 1 + math.floor(math.log(duration_us) / _LOG_GROWTH)


def contribution(execution: Execution) -> Contribution | None:
    """What `execution` adds to the statistics now. Deleted, it still counts where it ended, but not as in flight."""
    words = (execution.status, execution.trigger)
    if execution.ended_us is None:
        if execution.registers.deleted:
            return None
        return Contribution(execution.workflow_id, IN_FLIGHT_HOUR, *words, "", NO_DURATION, 0)
    hour, duration_us = execution.ended_us // HOUR_US, execution.duration_us
    bucket = bucket_of(duration_us)
    return Contribution(execution.workflow_id, hour, *words, execution.fingerprint, bucket, duration_us or 0)


def run_contributions(execution: Execution) -> dict[NodeKey, RunContribution]:
    """What the finished runs of its nodes add."""
    ended = ((key, node) for key, node in execution.nodes.items() if node.end is not None)
    return {key: run_contribution(execution.workflow_id, key, node) for key, node in ended}


def run_contribution(workflow_id: str, key: NodeKey, node: Node) -> RunContribution:
    """What one run of a node that has ended adds, under the hour of its end."""
    assert node.end is not None
    ended_us, duration_us = node.end[0], node.duration_us
    if duration_us is None and node.started_us is not None:
        duration_us = max(0, ended_us - node.started_us)
    error = kind_of(node.error).fingerprint if node.error is not None else ""
    return (workflow_id, key[0], ended_us // HOUR_US, node.end[3], error, bucket_of(duration_us), duration_us or 0)


def cell(team: str, counted: Contribution) -> Cell:
    """The cell in which a contribution counts."""
    workflow_id, hour, status, trigger, error, bucket, _ = counted
    return Cell(team, hour, workflow_id, status, trigger, error, bucket)


# --- sums of cells ---------------------------------------------------------------------------------------------------

ALL: Final = 0
BY_WORKFLOW: Final = 1
BY_TRIGGER: Final = 2
BY_ERROR: Final = 3
"""What a rollup leaves of a cell's key beside status; only the first tells buckets of known durations apart."""

BY_HOUR: Final = 0
BY_DAY: Final = 1


class Rollup(NamedTuple):
    """A sum of cells: a question about everything adds up a few thousand of these, not a cell per execution."""

    team: str
    facet: int
    grain: int
    # Hours or days since 1970.
    at: int
    key: str
    status: str
    bucket: int


def rolled_up(cells: Mapping[Cell, Amount]) -> dict[Rollup, Amount]:
    """What changes of ended executions' cells come to in every rollup."""
    sums: dict[Rollup, Amount] = {}
    for (team, hour, workflow_id, status, trigger, error, bucket), (count, total_us) in cells.items():
        if hour == IN_FLIGHT_HOUR:
            continue
        known = min(bucket, 0)
        for grain, at in ((BY_HOUR, hour), (BY_DAY, hour // HOURS_OF_A_DAY)):
            keys = [
                Rollup(team, ALL, grain, at, "", status, bucket),
                Rollup(team, BY_WORKFLOW, grain, at, workflow_id, status, known),
                Rollup(team, BY_TRIGGER, grain, at, trigger, status, known),
            ]
            if error:
                keys.append(Rollup(team, BY_ERROR, grain, at, error, status, known))
            for key in keys:
                held = sums.get(key)
                sums[key] = (count, total_us) if held is None else (held[0] + count, held[1] + total_us)
    return sums


def spans(start_hour: int, end_hour: int) -> Iterator[tuple[int, int, int]]:
    """(grain, start, end) that together are the hours from `start_hour` up to, not including, `end_hour`: whole days
    by day, the rest by hour.
    """
    first_day, last_day = -(-start_hour // HOURS_OF_A_DAY), end_hour // HOURS_OF_A_DAY
    if first_day >= last_day:
        yield BY_HOUR, start_hour, end_hour
        return
    if start_hour < first_day * HOURS_OF_A_DAY:
        yield BY_HOUR, start_hour, first_day * HOURS_OF_A_DAY
    yield BY_DAY, first_day, last_day
    if last_day * HOURS_OF_A_DAY < end_hour:
        yield BY_HOUR, last_day * HOURS_OF_A_DAY, end_hour
