"""What is told of a topic: every way in which it may lose events or refuse them, each with the command that helps."""

from collections.abc import Sequence

import pytest

from monitor.cli.topic_checks import Use, group_finding, topic_findings, twin_findings, worst
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.brokers import Brokers
from monitor.journal.kafka.condition import Condition, Group, Member, Seat, condition_of
from tests.support.kafka import Kafka

SOUND = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "1114112",
    "min.insync.replicas": "2",
    "message.timestamp.type": "CreateTime",
    "unclean.leader.election.enable": "false",
}
ALL = (1, 2, 3)


def condition(
    *,
    replicas: Sequence[int] = ALL,
    in_sync: Sequence[int] | None = None,
    leader: int | None = 1,
    partitions: int = 2,
    brokers: int = 3,
    **settings: str,
) -> Condition:
    """A topic, sound but for what is said; only its last partition is in another condition."""
    told = SOUND | {name.replace("_", "."): value for name, value in settings.items()}
    healthy = [Seat(number, replicas[0], replicas, replicas) for number in range(partitions - 1)]
    last = Seat(partitions - 1, leader, replicas, replicas if in_sync is None else in_sync)
    return Condition([*healthy, last], told, brokers)


def test_sound_topic_is_well() -> None:
    """One line, and nothing to do."""
    [finding] = topic_findings("events", "t", condition())
    assert (finding.state, finding.subject, finding.cure) == ("ok", "t", "")
    assert finding.text == "2 partition(s), replication 3"


@pytest.mark.parametrize(
    ("found", "state", "told", "cure"),
    [
        (condition(leader=None, in_sync=()), "fail", "1 without a leader", "start broker(s) 1, 2, 3"),
        (condition(in_sync=(1,)), "fail", "writes are refused", "start broker(s) 2, 3"),
        (condition(in_sync=(1, 3)), "warn", "under-replicated: broker(s) 2", "start broker(s) 2"),
        (condition(replicas=(1,), min_insync_replicas="1"), "warn", "one replica", "kafka-reassign-partitions.sh"),
        (condition(min_insync_replicas="1"), "warn", "may lie on one broker", "min.insync.replicas=2"),
        (condition(min_insync_replicas="3"), "warn", "one broker down refuses", "min.insync.replicas=2"),
        (condition(replicas=(1, 2), min_insync_replicas="1"), "warn", "2 replicas on 3 brokers", "three"),
        (condition(min_insync_replicas="4"), "fail", "no write is ever taken", "min.insync.replicas=2"),
        (condition(cleanup_policy="compact,delete"), "fail", "compaction removes", "cleanup.policy=delete"),
        (condition(retention_ms="3600000"), "fail", "0.0417 days", "retention.ms=604800000"),
        (condition(retention_ms="172800000"), "warn", "2 days", "retention.ms=604800000"),
        (condition(retention_bytes="1000000"), "warn", "before their time", "retention.bytes=-1"),
        (condition(max_message_bytes="1000000"), "warn", "largest events are refused", "max.message.bytes=1114112"),
        (condition(unclean_leader_election_enable="true"), "warn", "may come to lead", "enable=false"),
        (condition(message_timestamp_type="LogAppendTime"), "warn", "when brokers took them", "type=CreateTime"),
    ],
)
def test_topic_that_may_lose_or_refuse_events_is_told(found: Condition, state: str, told: str, cure: str) -> None:
    """Each weakness with its place and its cure."""
    findings = topic_findings("events", "t", found)
    matching = [it for it in findings if told in it.text]
    assert [(it.state, cure in it.cure) for it in matching] == [(state, True)]
    assert worst(findings) == state


@pytest.mark.parametrize(
    ("use", "found"),
    [
        ("events", condition(retention_ms="-1")),
        ("commands", condition(retention_ms="86400000", message_timestamp_type="LogAppendTime")),
        ("dead letters", condition(retention_ms="2592000000")),
        ("events", condition(replicas=(1, 2, 3, 4), in_sync=(2, 1, 4, 3), brokers=5, min_insync_replicas="3")),
    ],
)
def test_what_is_no_weakness_is_well(use: Use, found: Condition) -> None:
    """Commands are short-lived, and more of everything is no harm."""
    assert [it.state for it in topic_findings(use, "t", found)] == ["ok"]


def test_dead_letters_have_as_many_partitions_as_events() -> None:
    """A record goes to the partition that it came from."""
    events = condition(partitions=6)
    assert list(twin_findings("t", events, "t.dlq", condition(partitions=6))) == []
    [finding] = twin_findings("t", events, "t.dlq", condition(partitions=3))
    assert (finding.state, finding.subject) == ("fail", "t.dlq")


@pytest.mark.parametrize(
    ("members", "state", "told"),
    [
        ([], "warn", "0 member(s)"),
        ([(0, 1), (2,)], "ok", "2 at host-0, 1 at host-1"),
        ([(0, 1), ()], "warn", "1 partition(s) belong to nobody"),
    ],
)
def test_partitions_that_nobody_folds_are_told(members: Sequence[Sequence[int]], state: str, told: str) -> None:
    """Of those that the group shares."""
    group = Group("Stable", [Member("m", f"host-{index}", taken) for index, taken in enumerate(members)])
    finding = group_finding("g", group, 3)
    assert (finding.state, told in finding.text) == (state, True)


async def test_real_topic_is_looked_at(kafka: Kafka) -> None:
    """One broker leads everything, and its defaults are not those of a journal; asking makes no topic."""
    topic = await kafka.create_topic(partitions=3)
    found = await condition_of(Address(Brokers(kafka.bootstrap), topic))
    assert found
    assert (found.partitions, found.replication, found.brokers) == (3, 1, 1)
    assert [(seat.partition, seat.leader) for seat in found.seats] == [(0, 1), (1, 1), (2, 1)]
    told = {it.text.split(":")[0].split("=")[0] for it in topic_findings("events", topic, found)}
    assert told == {"one replica", "max.message.bytes"}
    assert await condition_of(Address(Brokers(kafka.bootstrap), f"{topic}-none")) is None
    assert await condition_of(Address(Brokers(kafka.bootstrap), f"{topic}-none")) is None
