"""The closed catalogue of metrics: one table says what exists, `Metrics` holds one live instrument for each row.

Every part is given the one `Metrics` of its process; `/metrics` writes it out. Nothing is registered anywhere else, and
labels take words from small fixed sets only, never ids, so the number of series stays small.
"""

from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The Prometheus text format that `Metrics.text` writes."""

_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""From a commit of one event on a fast disk to one that users feel."""

_BUCKETS_RECORDS: Final = (1, 3, 10, 30, 100, 300, 1000, 2000)
"""From an idle service to one whose every batch is as large as it may be."""


class Metric(NamedTuple):
    """One row of the catalogue."""

    # Name of the attribute of `Metrics`.
    attribute: str
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    # Of a histogram.
    buckets: tuple[float, ...] = _BUCKETS_S


CATALOGUE: Final = (
    Metric("ready", "monitor_ready", "gauge", "1 while work may be sent here, as /readyz says, else 0."),
    Metric("appended", "monitor_events_appended", "counter", "Events that intake put into the journal."),
    Metric("refused", "monitor_events_refused", "counter", "Items that intake rejected."),
    Metric("applied", "monitor_events_applied", "counter", "Events that changed the state."),
    Metric("duplicates", "monitor_events_duplicate", "counter", "Events that had been applied before."),
    Metric("quarantined", "monitor_records_quarantined", "counter", "Records that hold no usable event."),
    Metric("undecided", "monitor_quarantine_undecided", "gauge", "Quarantined records that nobody has decided about."),
    Metric(
        "decisions",
        "monitor_quarantine_decisions",
        "counter",
        "Decisions about quarantined records: accepted, replayed.",
        ("decision",),
    ),
    Metric("halted", "monitor_partitions_halted", "gauge", "Partitions that stand still: too many hold no event."),
    Metric("lost", "monitor_records_lost", "counter", "Records that retention removed before they were read."),
    Metric("batches", "monitor_commit_batches", "counter", "Transactions of the pipeline."),
    Metric("fenced", "monitor_commits_fenced", "counter", "Transactions refused since somebody else moved the state."),
    Metric("verdicts", "monitor_verdicts", "counter", "Verdicts on executions: late, stalled, crashed.", ("kind",)),
    Metric("seconds", "monitor_batch_seconds", "histogram", "Time of a batch from its records to its commit."),
    Metric("batch_records", "monitor_batch_records", "histogram", "Records of a batch.", buckets=_BUCKETS_RECORDS),
    Metric("commit_age", "monitor_commit_age_seconds", "gauge", "Time since the last commit of a batch, or the start."),
    Metric("lag", "monitor_lag_records", "gauge", "Records in the journal that are not applied yet.", ("partition",)),
    Metric(
        "lag_seconds",
        "monitor_lag_seconds",
        "gauge",
        "Age of the oldest record that is not applied yet; 0 where all are.",
        ("partition",),
    ),
    Metric("assigned", "monitor_partitions_assigned", "gauge", "Partitions that this process folds."),
    Metric("rebalances", "monitor_consumer_rebalances", "counter", "Times that the group gave out its partitions."),
    Metric("rebuilds", "monitor_consumer_rebuilds", "counter", "Kafka clients that failed and were replaced."),
    Metric(
        "follower_lag",
        "monitor_follower_lag_records",
        "gauge",
        "Records that are applied and that this process has not told its streams of.",
        ("partition",),
    ),
    Metric(
        "follower_lag_seconds",
        "monitor_follower_lag_seconds",
        "gauge",
        "For how long something is applied that this process has not told its streams of.",
    ),
    Metric("subscribers", "monitor_stream_connections", "gauge", "Open streams.", ("transport",)),
    Metric("departures", "monitor_stream_disconnects", "counter", "Streams that ended, by reason.", ("reason",)),
    Metric("shed", "monitor_stream_shed", "counter", "Subscribers sent away since there were too many."),
    Metric("published", "monitor_stream_events", "counter", "Events released to streams."),
    Metric("delivered", "monitor_stream_delivered", "counter", "Frames handed to subscribers."),
    Metric("chunks", "monitor_stream_chunks", "counter", "Chunks of frames made for subscribers."),
    Metric("merged", "monitor_stream_merged", "counter", "Frames that a later one stands for: progress, log events."),
    Metric("omitted_lines", "monitor_stream_log_lines_omitted", "counter", "Log lines told only by their number."),
    Metric("flush_seconds", "monitor_stream_flush_seconds", "histogram", "Work of handing out what was pending."),
    Metric("delivery_lag", "monitor_stream_lag_seconds", "histogram", "Time from the journal to the sockets."),
    Metric(
        "resumes",
        "monitor_stream_resumes",
        "counter",
        "Subscribers that came with a position, by what served them: memory, journal, gap, reset.",
        ("outcome",),
    ),
    Metric("pages", "monitor_stream_pages", "counter", "Pages of the journal read again for subscribers."),
    Metric("snapshots", "monitor_stream_snapshots", "counter", "Snapshots sent."),
    Metric("gaps", "monitor_stream_gaps", "counter", "Times a subscriber was told that it missed something."),
    Metric("resets", "monitor_stream_resets", "counter", "Times a subscriber's position was of no use."),
    Metric("fallen", "monitor_stream_fallen", "counter", "Times a subscriber was too slow and fell off its ring."),
    Metric("slow", "monitor_stream_slow", "counter", "Times a subscriber was told that it is slow."),
    Metric("stuck", "monitor_stream_stuck", "counter", "Sockets closed since they took nothing."),
    Metric("full", "monitor_stream_full", "gauge", "Sockets that hold as much as they may."),
    Metric("groups", "monitor_stream_groups", "gauge", "Different selections that are listened to."),
    Metric("ring_bytes", "monitor_stream_ring_bytes", "gauge", "Frames kept for readers that are not up to date."),
    Metric("backlog_bytes", "monitor_stream_backlog_bytes", "gauge", "Events kept for those who come back."),
    Metric(
        "deliveries",
        "monitor_webhook_deliveries",
        "counter",
        "Webhook attempts by outcome: delivered, retried, given_up.",
        ("outcome",),
    ),
    Metric(
        "attempts",
        "monitor_webhook_attempts",
        "counter",
        "Webhook attempts by what was wrong: none, status, redirect, throttled, gone, timeout, connect, tls, ...",
        ("error",),
    ),
    Metric(
        "first_attempt",
        "monitor_webhook_first_attempt_seconds",
        "histogram",
        "Time from the commit of an event to its first attempt.",
    ),
    Metric("lost_leases", "monitor_webhook_leases_lost", "counter", "Attempts whose lease ended before they did."),
    Metric("in_flight", "monitor_webhook_in_flight", "gauge", "Webhook attempts under way."),
    Metric("owed", "monitor_webhook_backlog", "gauge", "Deliveries by state: pending, leased, held.", ("state",)),
    Metric("oldest_owed", "monitor_webhook_backlog_age_seconds", "gauge", "Age of the oldest pending delivery."),
    Metric("broken_lanes", "monitor_webhook_open_breakers", "gauge", "Endpoints whose circuit breaker is open."),
    Metric("requests", "monitor_http_requests", "counter", "HTTP requests answered.", ("method", "status")),
)


class Metrics:
    """One instrument per row of CATALOGUE, in a registry of its own."""

    ready: Gauge
    appended: Counter
    refused: Counter
    applied: Counter
    duplicates: Counter
    quarantined: Counter
    undecided: Gauge
    halted: Gauge
    decisions: Counter
    lost: Counter
    batches: Counter
    fenced: Counter
    verdicts: Counter
    seconds: Histogram
    batch_records: Histogram
    commit_age: Gauge
    lag: Gauge
    lag_seconds: Gauge
    assigned: Gauge
    rebalances: Counter
    rebuilds: Counter
    follower_lag: Gauge
    follower_lag_seconds: Gauge
    subscribers: Gauge
    departures: Counter
    shed: Counter
    published: Counter
    delivered: Counter
    chunks: Counter
    merged: Counter
    omitted_lines: Counter
    flush_seconds: Histogram
    delivery_lag: Histogram
    resumes: Counter
    pages: Counter
    snapshots: Counter
    gaps: Counter
    resets: Counter
    fallen: Counter
    slow: Counter
    stuck: Counter
    full: Gauge
    groups: Gauge
    ring_bytes: Gauge
    backlog_bytes: Gauge
    deliveries: Counter
    attempts: Counter
    first_attempt: Histogram
    lost_leases: Counter
    in_flight: Gauge
    owed: Gauge
    oldest_owed: Gauge
    broken_lanes: Gauge
    requests: Counter

    def __init__(self) -> None:
        # The library adds a series with the time of creation to each counter: twice the text, and nobody asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        for row in CATALOGUE:
            setattr(self, row.attribute, self._instrument(row))
        self._totals: dict[Counter, int] = {}

    def raise_to(self, counter: Counter, total: int) -> None:
        """Bring up to date a counter whose events are counted elsewhere, where they happen."""
        counter.inc(total - self._totals.get(counter, 0))
        self._totals[counter] = total

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def _instrument(self, row: Metric) -> Counter | Gauge | Histogram:
        if row.kind == "histogram":
            return Histogram(row.name, row.meaning, row.labels, registry=self._registry, buckets=row.buckets)
        kind = Counter if row.kind == "counter" else Gauge
        return kind(row.name, row.meaning, row.labels, registry=self._registry)
