"""Statistics as people look at them: pictures that hold what the figures say."""

import itertools
from typing import Any

import pytest

from monitor.cli.stats import bar, picture, told

DOCUMENT: dict[str, Any] = {
    "period": "24h",
    "granularity": "hour",
    "from": "2023-12-05T16:00:00.000Z",
    "to": "2023-12-06T17:00:00.000Z",
    "totalExecutions": 4,
    "failedExecutions": 1,
    "successRate": 0.75,
    "averageExecutionTime": 0.25,
    "percentiles": {"p50": 0.2, "p90": 2.5, "p95": 12.0, "p99": 4000.0},
    "inFlight": 2,
    "data": [
        {"executions": 4, "failures": 1, "avgTime": 0.25},
        {"executions": 0, "failures": 0, "avgTime": 0.0},
        {"executions": 2, "failures": 0, "avgTime": 0.125},
    ],
    "byStatus": {"success": 3, "failed": 1, "timeout": 0, "cancelled": 0},
    "byWorkflow": [
        {"workflowId": "wf_1", "workflowName": "Orders", "executions": 3, "successRate": 1.0, "avgTime": 0.2},
        {"workflowId": "wf_2\x1b[2J", "workflowName": None, "executions": 1, "successRate": 0.0, "avgTime": 0.4},
    ],
    "byError": [{"fingerprint": "ab12", "type": "E", "message": "no \x1b[31manswer", "executions": 1}],
}


def test_figures_and_pictures() -> None:
    """Totals, a picture over time, shares by status and workflow, and errors, free of control characters."""
    lines = [line.plain for line in told(DOCUMENT)]
    assert lines[:6] == [
        "2023-12-05T16:00 to 2023-12-06T17:00 UTC, by hour",
        "4 ended, 1 failed, 75.0% succeeded, 2 in flight",
        "mean 250 ms, p50 200 ms, p90 2.5 s, p95 12 s, p99 4000 s",
        "executions  █ ▄  at most 4",
        "failures    █    at most 1",
        "mean time   █ ▄  at most 250 ms",
    ]
    assert lines[6] == f"success     {'█' * 15}{'·' * 5}  3"
    assert "  Orders" in lines[11]
    assert not any("\x1b" in line for line in lines)


def test_nothing_is_told_in_two_words() -> None:
    """No figures of nothing."""
    empty = {
        **DOCUMENT,
        "totalExecutions": 0,
        "failedExecutions": 0,
        "successRate": None,
        "inFlight": 0,
        "percentiles": dict.fromkeys(DOCUMENT["percentiles"]),
        "data": [{"executions": 0, "failures": 0, "avgTime": 0.0}],
        "byStatus": {"success": 0},
        "byWorkflow": [],
        "byError": [],
    }
    lines = [line.plain for line in told(empty)]
    assert lines[1] == "0 ended, 0 failed, nothing ended, 0 in flight"
    assert len(lines) == 5


@pytest.mark.parametrize("count", [0, 1, 25, 59, 60, 61, 1440])
def test_a_picture_fits_a_line_and_keeps_the_highest(count: int) -> None:
    """However many buckets there are."""
    shown = picture([*itertools.repeat(1, max(count - 1, 0)), *([100] if count else [])])
    assert len(shown) <= 60
    assert ("█" in shown) is (count > 0)


def test_a_bar_shows_the_least() -> None:
    """A share that is not zero is seen."""
    assert bar(0.001).startswith("█·")
    assert bar(0.0) == "·" * 20
    assert bar(1.0) == "█" * 20
