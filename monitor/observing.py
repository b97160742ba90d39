"""Metrics that are measured by looking: what the hub and the deliverer hold now, told to Prometheus."""

from monitor.deliverer import Statistics as Sending
from monitor.fanout.feed import Tally
from monitor.fanout.hub import Statistics
from monitor.telemetry.metrics import Metrics


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
