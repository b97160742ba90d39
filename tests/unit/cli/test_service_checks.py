"""What is told of a service that runs elsewhere, by what it answers without credentials."""

import json
from collections.abc import Mapping, Sequence

import pytest

from monitor.cli.service_checks import Foreign, clock_findings, metric_findings, readiness_findings, samples_of
from monitor.telemetry.metrics import Metrics
from tests.support.clocks import NOON_US

NOON_S = NOON_US / 1_000_000


def said(status: int, *reasons: str) -> tuple[int, bytes]:
    """An answer of `/readyz`."""
    document = {"status": "ready", "reasons": [{"code": code, "message": "as it is"} for code in reasons]}
    return status, json.dumps(document).encode()


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        (said(200), ["ok"]),
        (said(503, "catching_up"), ["warn"]),
        (said(503, "starting"), ["warn"]),
        (said(503, "halted", "halted"), ["fail", "fail"]),
        (said(503, "something_new"), ["fail"]),
    ],
)
def test_reasons_are_told_with_what_to_do(answer: tuple[int, bytes], states: Sequence[str]) -> None:
    """A start is no failure."""
    findings = list(readiness_findings(*answer))
    assert [it.state for it in findings] == states
    assert [bool(it.cure) for it in findings] == [state != "ok" for state in states]


@pytest.mark.parametrize("answer", [(404, b"{}"), (200, b"<html>"), (200, b"[]"), (500, said(200)[1])])
def test_other_programs_are_told_apart(answer: tuple[int, bytes]) -> None:
    """Whatever they answer."""
    with pytest.raises(Foreign):
        list(readiness_findings(*answer))


def states_of(metrics: Metrics) -> Mapping[str, str]:
    """By subject."""
    return {it.subject: it.state for it in metric_findings(samples_of(metrics.text()))}


def test_metrics_are_judged() -> None:
    """Lag by its age, quarantine and webhooks by what somebody has to look at."""
    metrics = Metrics()
    for partition, (records, age_s) in enumerate([(0, 0.0), (50_000, 12.0), (1, 300.0)]):
        metrics.lag.labels(partition=str(partition)).set(records)
        metrics.lag_seconds.labels(partition=str(partition)).set(age_s)
    metrics.owed.labels(state="pending").set(3)
    healthy = {"partition 0": "ok", "partition 1": "ok", "partition 2": "warn", "webhooks": "ok"}
    assert states_of(metrics) == healthy
    metrics.follower_lag_seconds.set(11)
    assert states_of(metrics) == healthy | {"gateway": "warn"}
    metrics.follower_lag_seconds.set(9)
    metrics.undecided.set(2)
    metrics.oldest_owed.set(1200)
    assert states_of(metrics) == healthy | {"quarantine": "warn", "webhooks": "warn"}
    metrics.oldest_owed.set(1)
    metrics.broken_lanes.set(1)
    assert states_of(metrics)["webhooks"] == "warn"


@pytest.mark.parametrize("body", [b"", b"up 1\n", b"<html>", b"monitor_events_applied_total", b"\xff"])
def test_what_is_no_metrics_of_ours_is_refused(body: bytes) -> None:
    """A proxy in between answers too."""
    with pytest.raises(Foreign):
        samples_of(body)


@pytest.mark.parametrize(
    ("made_s", "states"),
    [
        (None, []),
        (NOON_S, ["ok"]),
        (NOON_S - 3, ["ok"]),
        (NOON_S + 10, ["warn"]),
        (NOON_S - 20, ["warn"]),
        (NOON_S + 600, ["fail"]),
        (NOON_S - 600, ["fail"]),
    ],
)
def test_clocks_are_compared_both_ways(made_s: float | None, states: Sequence[str]) -> None:
    """Whole seconds and the way of the answer are no difference."""
    assert [it.state for it in clock_findings(made_s, NOON_S)] == states
