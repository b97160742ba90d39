"""What is to be said about a topic: whether it keeps what is written to it, and takes it while a broker is away.

Used by `monitor topics` and `monitor doctor`. Each finding names the command that helps.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from monitor.cli.findings import Finding, State
from monitor.journal.kafka.condition import Condition, Group, Seat
from monitor.journal.kafka.topics import MAX_RECORD_BYTES

Use = Literal["events", "commands", "dead letters"]

_HOUR_MS: Final = 3600 * 1000

_LEAST_RETENTION_MS: Final[dict[Use, int]] = {
    # A service that is down for longer than the topic remembers has lost events, and one bad night is a day.
    "events": 24 * _HOUR_MS,
    # A command that nobody took within 30 s is given up; runners that restart look back for some minutes.
    "commands": _HOUR_MS,
    "dead letters": 24 * _HOUR_MS,
}

_REBUILD_MS: Final = 7 * 24 * _HOUR_MS
"""How far back `monitor rebuild`, replays of webhooks and `position=earliest` should reach: what a new topic keeps."""

_ENOUGH_REPLICAS: Final = 3


def topic_findings(use: Use, topic: str, found: Condition) -> list[Finding]:
    """Everything about one topic; a single finding that it is well where nothing is wrong."""
    findings = [*_seats(topic, found), *_replicas(topic, found), *_settings(use, topic, found)]
    return findings or [Finding("ok", topic, f"{found.partitions} partition(s), replication {found.replication}")]


def twin_findings(topic: str, found: Condition, twin: str, of_twin: Condition) -> Iterator[Finding]:
    """Whether `twin`, which takes records of `topic` to the same partition, has as many."""
    if of_twin.partitions != found.partitions:
        text = f"{of_twin.partitions} partition(s), and {topic} has {found.partitions}: records keep their partition"
        yield Finding("fail", twin, text, f"delete {twin} once it is read, and have it made by `monitor topics --dlq`")


def group_finding(name: str, group: Group, partitions: int) -> Finding:
    """Who folds what, where several processes share the partitions."""
    shares = ", ".join(f"{len(it.partitions)} at {it.host}" for it in group.members)
    taken = {partition for it in group.members for partition in it.partitions}
    text = f"{name} is {group.state.lower()}, {len(group.members)} member(s)" + (shares and f": {shares}")
    if not group.members:
        return Finding("warn", "group", text, "start a projector: nobody folds")
    if len(taken) < partitions:
        cure = "wait until it is Stable; if it stays so, restart the member that does not answer"
        return Finding("warn", "group", f"{text}; {partitions - len(taken)} partition(s) belong to nobody", cure)
    return Finding("ok", "group", text)


def _seats(topic: str, found: Condition) -> Iterator[Finding]:
    """Who leads, and who is behind."""
    wanted = int(found.settings.get("min.insync.replicas", "1"))
    if leaderless := [seat for seat in found.seats if seat.leader is None]:
        text = f"{_named(leaderless)} without a leader: nobody reads or writes there"
        yield Finding("fail", topic, text, f"start {_brokers(_missing(leaderless))}")
    led = [seat for seat in found.seats if seat.leader is not None]
    refusing = [seat for seat in led if len(seat.in_sync) < min(wanted, len(seat.replicas))]
    if refusing:
        text = f"{_named(refusing)} with fewer than min.insync.replicas={wanted} brokers in sync: writes are refused"
        yield Finding("fail", topic, text, f"start {_brokers(_missing(refusing))}")
    behind = [seat for seat in led if len(seat.in_sync) < len(seat.replicas) and seat not in refusing]
    if behind:
        text = f"{_named(behind)} under-replicated: {_brokers(_missing(behind))} not in sync"
        yield Finding("warn", topic, text, f"start {_brokers(_missing(behind))}, or wait until caught up")


def _replicas(topic: str, found: Condition) -> Iterator[Finding]:
    """How many brokers may be lost."""
    wanted, replication = int(found.settings.get("min.insync.replicas", "1")), found.replication
    if replication == 1:
        cure = "give each partition more with kafka-reassign-partitions.sh, on at least three brokers"
        yield Finding("warn", topic, "one replica: losing its broker loses events", cure)
    elif wanted < 2:
        text = f"min.insync.replicas={wanted}: what is acknowledged may lie on one broker alone"
        yield Finding("warn", topic, text, _alter(topic, "min.insync.replicas=2"))
    if wanted > replication:
        text = f"min.insync.replicas={wanted} is more than the {replication} replica(s): no write is ever taken"
        yield Finding("fail", topic, text, _alter(topic, f"min.insync.replicas={max(1, replication - 1)}"))
    elif wanted == replication > 1:
        text = f"min.insync.replicas={wanted} of {replication} replicas: one broker down refuses every write"
        yield Finding("warn", topic, text, _alter(topic, f"min.insync.replicas={replication - 1}"))
    if 1 < replication < min(_ENOUGH_REPLICAS, found.brokers):
        text = f"{replication} replicas on {found.brokers} brokers: an upgrade and a failure at once stop it"
        yield Finding("warn", topic, text, "give each partition three with kafka-reassign-partitions.sh")


def _settings(use: Use, topic: str, found: Condition) -> Iterator[Finding]:
    """What is removed, and what is refused."""
    retention_ms = int(found.settings.get("retention.ms", "-1"))
    largest_bytes = int(found.settings.get("max.message.bytes", MAX_RECORD_BYTES))
    days = f"{retention_ms / (24 * _HOUR_MS):.3g} days"
    if "compact" in found.settings.get("cleanup.policy", "delete"):
        text = (
            f"cleanup.policy={found.settings['cleanup.policy']}: compaction removes all but an execution's last event"
        )
        yield Finding("fail", topic, text, _alter(topic, "cleanup.policy=delete"))
    if 0 <= retention_ms < _LEAST_RETENTION_MS[use]:
        text = f"retention.ms={retention_ms} ({days}): an outage that lasts longer loses what it holds"
        yield Finding("fail", topic, text, _alter(topic, f"retention.ms={_REBUILD_MS}"))
    elif use == "events" and 0 <= retention_ms < _REBUILD_MS:
        text = f"retention.ms={retention_ms} ({days}): `monitor rebuild` and replays reach back no further"
        yield Finding("warn", topic, text, _alter(topic, f"retention.ms={_REBUILD_MS}"))
    if (most_bytes := int(found.settings.get("retention.bytes", "-1"))) >= 0:
        text = f"retention.bytes={most_bytes}: a burst removes records before their time"
        yield Finding("warn", topic, text, _alter(topic, "retention.bytes=-1"))
    if largest_bytes < MAX_RECORD_BYTES:
        text = f"max.message.bytes={largest_bytes} is below {MAX_RECORD_BYTES}, so that the largest events are refused"
        yield Finding("warn", topic, text, _alter(topic, f"max.message.bytes={MAX_RECORD_BYTES}"))
    if found.settings.get("unclean.leader.election.enable") == "true":
        text = "unclean.leader.election.enable=true: a broker that lacks acknowledged records may come to lead"
        yield Finding("warn", topic, text, _alter(topic, "unclean.leader.election.enable=false"))
    if use == "events" and found.settings.get("message.timestamp.type") == "LogAppendTime":
        # Harmless for state, which goes by what events say themselves; but imports of history look new to retention.
        text = "message.timestamp.type=LogAppendTime: records tell when brokers took them, not when they were sent"
        yield Finding("warn", topic, text, _alter(topic, "message.timestamp.type=CreateTime"))


def _alter(topic: str, setting: str) -> str:
    name = topic if len(topic) <= 60 else "TOPIC"
    return f"kafka-configs.sh --bootstrap-server HOST:PORT --alter --topic {name} --add-config {setting}"


def _missing(seats: Sequence[Seat]) -> list[int]:
    """Brokers that should hold these partitions and do not, or not all of it."""
    return sorted({broker for seat in seats for broker in seat.replicas if broker not in seat.in_sync})


def _named(seats: Sequence[Seat]) -> str:
    return "partition(s) " + ", ".join(str(seat.partition) for seat in seats)


def _brokers(ids: Sequence[int]) -> str:
    return f"broker(s) {', '.join(map(str, ids))}" if ids else "its brokers"


def worst(findings: Sequence[Finding]) -> State:
    """The state that the table shows."""
    states = {finding.state for finding in findings}
    return "fail" if "fail" in states else "warn" if "warn" in states else "ok"
