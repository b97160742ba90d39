"""The catalogue of metrics is closed: what the table names exists, and nothing else does."""

from prometheus_client.parser import text_string_to_metric_families

from monitor.telemetry.metrics import CATALOGUE, Metrics


def test_every_row_is_an_attribute_and_the_other_way_round() -> None:
    """The table and the typed attributes never drift apart."""
    assert {row.attribute for row in CATALOGUE} == set(Metrics.__annotations__)


def test_the_text_tells_every_row() -> None:
    """A reader of the exposition finds name, kind and meaning of each row."""
    told = {
        (family.name, family.type, family.documentation)
        for family in text_string_to_metric_families(Metrics().text().decode())
    }
    assert told == {(row.name, row.kind, row.meaning) for row in CATALOGUE}


def test_counting_shows() -> None:
    """Counters and labelled gauges appear with their values."""
    metrics = Metrics()
    metrics.applied.inc(3)
    metrics.lag.labels(partition="0").set(7)
    metrics.seconds.observe(0.002)
    lines = metrics.text().decode().splitlines()
    assert "monitor_events_applied_total 3.0" in lines
    assert 'monitor_lag_records{partition="0"} 7.0' in lines
    assert "monitor_batch_seconds_count 1.0" in lines


def test_two_services_in_one_process_do_not_mix() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.gaps.inc()
    assert b"monitor_stream_gaps_total 0.0" in second.text()
