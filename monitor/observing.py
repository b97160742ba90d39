"""Metrics that are measured by looking: what hub, deliverer and pipeline hold now, and how far behind folding is."""

from monitor.clock import Clock
from monitor.deliverer import Statistics as Sending
from monitor.fanout.feed import Tally
from monitor.fanout.hub import Statistics
from monitor.journal.base import Bounds, Journal
from monitor.journal.waiting import waiting_since_us
from monitor.pipeline import Pipeline
from monitor.telemetry.metrics import Metrics


def observe_pipeline(pipeline: Pipeline, metrics: Metrics) -> None:
    """How the pipeline itself is."""
    now = pipeline.statistics()
    metrics.commit_age.set(now.commit_age_s)
    metrics.assigned.set(now.assigned)
    metrics.raise_to(metrics.rebalances, now.turnover.rebalances)
    metrics.raise_to(metrics.rebuilds, now.turnover.rebuilds)


async def observe_lag(pipeline: Pipeline, journal: Journal, clock: Clock, metrics: Metrics) -> None:
    """What the journal holds and the store does not know, in records and in seconds. Raises Unavailable.

    One record is read of each partition that is behind, and none of the others.
    """
    ends = await journal.bounds()
    for partition, records in (await pipeline.unfolded(ends)).items():
        unread = Bounds(ends[partition].end - records, ends[partition].end)
        since_us = await waiting_since_us(journal, partition, unread)
        waiting_s = 0.0 if since_us is None else max(0, clock.now_us() - since_us) / 1_000_000
        metrics.lag.labels(partition=str(partition)).set(records)
        metrics.lag_seconds.labels(partition=str(partition)).set(waiting_s)


def observe_webhooks(now: Sending, metrics: Metrics) -> None:
    """What the deliverer holds."""
    metrics.in_flight.set(now.in_flight)
    metrics.broken_lanes.set(now.broken_lanes)


def observe_streams(now: Statistics, metrics: Metrics) -> None:
    """Who is connected, and how it went so far."""
    for transport in ("websocket", "sse", "ndjson"):
        metrics.subscribers.labels(transport=transport).set(now.transports[transport])
    for reason, count in now.departures.items():
        metrics.raise_to(metrics.departures.labels(reason=reason), count)
    tally = now.tally
    served = {"memory": tally.resumed, "journal": tally.replayed, "gap": tally.gaps, "reset": tally.resets}
    for outcome, count in served.items():
        metrics.raise_to(metrics.resumes.labels(outcome=outcome), count)
    for name in ("full", "groups", "ring_bytes", "backlog_bytes"):
        getattr(metrics, name).set(getattr(now, name))
    for name in Tally.__slots__:
        if hasattr(metrics, name):
            metrics.raise_to(getattr(metrics, name), getattr(tally, name))
