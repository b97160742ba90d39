"""The doctor's look at journal and topic: lag, cuts and settings that lose events are told."""

import pytest

from monitor.cli.inspection import inspect_topic, lag_findings, topic_weaknesses
from monitor.journal.base import Bounds
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.brokers import Brokers
from monitor.store.base import OffsetRow
from tests.support.kafka import Kafka

SOUND = {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "1114112"}


def row(next_offset: int) -> OffsetRow:
    """A partition that is folded up to there."""
    return OffsetRow(next_offset, 0, b"")


@pytest.mark.parametrize(
    ("folded", "held", "state", "told"),
    [
        (7, Bounds(2, 7), "ok", "lag 0"),
        (3, Bounds(0, 7), "ok", "lag 4"),
        (3, Bounds(0, 20_000), "warn", "lag 19997"),
        (3, Bounds(5, 7), "fail", "2 records were removed before they were folded"),
    ],
)
def test_partition_is_told_by_what_it_holds_and_how_far_it_is_folded(
    folded: int, held: Bounds, state: str, told: str
) -> None:
    """Being behind is normal for a stopped service, a cut is not."""
    [finding] = lag_findings({0: row(folded)}, {0: held})
    assert (finding.state, finding.subject) == (state, "partition 0")
    assert told in finding.text


def test_partition_that_was_never_folded_stands_at_its_begin() -> None:
    """A store that was just made knows no partitions."""
    [finding] = lag_findings({}, {3: Bounds(10, 12)})
    assert finding.text == "holds offsets 10 to 12, folded up to 10, lag 2"


@pytest.mark.parametrize(
    ("change", "replication", "told"),
    [
        ({}, 3, []),
        ({"retention.ms": "-1"}, 3, []),
        ({}, 1, ["one replica"]),
        ({"cleanup.policy": "compact,delete"}, 2, ["compacted"]),
        ({"retention.ms": "3600000"}, 2, ["less than a day"]),
        ({"max.message.bytes": "1000000"}, 2, ["largest events are refused"]),
    ],
)
def test_topic_that_may_lose_events_is_told(change: dict[str, str], replication: int, told: list[str]) -> None:
    """Each weakness by itself."""
    weaknesses = topic_weaknesses(replication, SOUND | change)
    assert len(weaknesses) == len(told)
    for weakness, words in zip(weaknesses, told, strict=True):
        assert words in weakness


async def test_real_topic_is_read(kafka: Kafka) -> None:
    """One broker has one replica, which is worth a warning, and its default record size is too small."""
    topic = await kafka.create_topic(partitions=3)
    finding = await inspect_topic(Address(Brokers(kafka.bootstrap), topic))
    assert finding.state == "warn"
    assert finding.text.startswith(f"{topic}: 3 partition(s), replication 1; one replica")
