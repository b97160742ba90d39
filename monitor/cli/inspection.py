"""What `monitor doctor` tells of journal and store: their life, how far one is behind the other, what was quarantined.

Embedded files are opened as the service opens them, which is harmless beside it, but only when they are there. Of a
Kafka topic it also tells the settings that decide whether events are kept.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Final

from monitor.anchors import check_anchors
from monitor.cli.checks import Finding
from monitor.clock import SystemClock
from monitor.errors import JournalMismatch, MonitorError, Unavailable
from monitor.journal import open_sqlite_journal
from monitor.journal.base import Bounds, Journal
from monitor.journal.kafka import open_kafka_journal
from monitor.journal.kafka.address import Address
from monitor.journal.kafka.topics import MAX_RECORD_BYTES, describe_topic
from monitor.projections.bursts import in_words
from monitor.settings import Settings
from monitor.store.base import OffsetRow, Reader, Store
from monitor.store.quarantine_port import QuarantineQuery
from monitor.store.sqlite import open_sqlite_store

_SHORT_RETENTION_MS: Final = 24 * 3600 * 1000
"""A service that is down for longer than the topic remembers has lost events, and one bad night is a day."""

_NOTABLE_LAG: Final = 10_000
"""Half a second's work; more, while a service runs, is worth a look."""


async def inspect_journal_and_store(settings: Settings) -> AsyncIterator[Finding]:
    """What is to be said about both, each by itself and how they fit together."""
    async with AsyncExitStack() as opened:
        journal, store = None, None
        try:
            journal = await _open_journal(settings, opened)
            yield _journal_finding(journal)
            if settings.journal:
                yield await inspect_topic(Address.parse(settings.journal, settings.kafka))
        except MonitorError as error:
            cure = "see that it runs, and that MONITOR_JOURNAL names it" if isinstance(error, Unavailable) else ""
            yield Finding("fail", "journal", error.message, cure)
        try:
            store = await _open_store(settings, opened)
            yield await _store_finding(store)
            for finding in await _halt_findings(store):
                yield finding
        except MonitorError as error:
            yield Finding("fail", "store", error.message)
        if journal and store:
            async for finding in _compare(journal, store):
                yield finding


async def _open_journal(settings: Settings, opened: AsyncExitStack) -> Journal | None:
    """The journal; None when there is none yet."""
    journal: Journal
    if settings.journal:
        journal = await open_kafka_journal(
            settings.journal, clock=SystemClock(), group="monitor-doctor", security=settings.kafka, create=False
        )
    elif (path := settings.data / "journal.db").exists():
        journal = await open_sqlite_journal(path, clock=SystemClock())
    else:
        return None
    opened.push_async_callback(journal.close)
    return journal


async def _open_store(settings: Settings, opened: AsyncExitStack) -> Store | None:
    """The store; None when there is none yet."""
    if not (path := settings.data / "store.db").exists():
        return None
    store = await open_sqlite_store(path)
    opened.push_async_callback(store.close)
    return store


def _journal_finding(journal: Journal | None) -> Finding:
    if journal is None:
        return Finding("ok", "journal", "none yet; the first start makes it")
    return Finding("ok", "journal", f"incarnation {journal.incarnation}, {journal.partitions} partition(s)")


async def _store_finding(store: Store | None) -> Finding:
    if store is None:
        return Finding("ok", "store", "none yet; the first start makes it")
    return await store.read(_quarantine_finding)


async def _halt_findings(store: Store | None) -> list[Finding]:
    """Partitions that stand still."""
    halts = await store.read(lambda reader: reader.halts()) if store else {}
    return [Finding("fail", "store", in_words(at, row.halt)) for at, row in sorted(halts.items()) if row.stands]


def _quarantine_finding(reader: Reader) -> Finding:
    latest = reader.quarantine(1, QuarantineQuery(is_decided=False))
    if not latest:
        return Finding("ok", "store", "nothing in quarantine that nobody has decided about")
    [row] = latest
    return Finding(
        "warn",
        "store",
        f"{reader.undecided()} record(s) in quarantine, the latest at partition {row.partition}, offset {row.offset}: "
        f"{row.message}",
        "correct whoever sends them; `monitor quarantine ls` shows them",
    )


async def _compare(journal: Journal, store: Store) -> AsyncIterator[Finding]:
    """Whether the store was folded from this journal, and how far."""
    position = await store.read(lambda reader: reader.position())
    if position.incarnation and position.incarnation != journal.incarnation:
        text = f"the store was folded from the journal {position.incarnation}, this one is {journal.incarnation}"
        yield Finding("fail", "anchors", text, "bring back that journal, or begin with a new data folder")
        return
    try:
        await check_anchors(journal, store)
        yield Finding("ok", "anchors", "the store was folded from this journal")
    except JournalMismatch as mismatch:
        yield Finding("fail", "anchors", mismatch.message)
    rows = await store.read(lambda reader: reader.offsets())
    for finding in lag_findings(rows, await journal.bounds()):
        yield finding


def lag_findings(rows: Mapping[int, OffsetRow], bounds: Mapping[int, Bounds]) -> Iterator[Finding]:
    """How far each partition is folded, and what it holds."""
    for partition, held in sorted(bounds.items()):
        folded = rows[partition].next if partition in rows else held.start
        lag = held.end - folded
        text = f"holds offsets {held.start} to {held.end}, folded up to {folded}, lag {lag}"
        if folded < held.start:
            text += f"; {held.start - folded} records were removed before they were folded"
            yield Finding("fail", f"partition {partition}", text, "lengthen the topic's retention; see the quarantine")
        elif lag > _NOTABLE_LAG:
            yield Finding("warn", f"partition {partition}", text, "start the service, or see whether it keeps up")
        else:
            yield Finding("ok", f"partition {partition}", text)


# --- Kafka -----------------------------------------------------------------------------------------------------------


async def inspect_topic(address: Address) -> Finding:
    """Whether the topic keeps what is written to it. Raises MonitorError when Kafka does not answer."""
    topic = await describe_topic(*address)
    assert topic is not None, "it was opened a moment ago"
    weaknesses = topic_weaknesses(topic.replication, await _topic_settings(address))
    text = f"{address.topic}: {topic.partitions} partition(s), replication {topic.replication}"
    if weaknesses:
        return Finding("warn", "topic", f"{text}; {'; '.join(weaknesses)}", "change it with kafka-configs.sh")
    return Finding("ok", "topic", text)


def topic_weaknesses(replication: int, settings: Mapping[str, str]) -> list[str]:
    """What may lose events, by the topic's settings."""
    retention_ms = int(settings["retention.ms"])
    rules = {
        "one replica: losing its broker loses events": replication == 1,
        "it is compacted, which removes events": "compact" in settings["cleanup.policy"],
        f"retention.ms={retention_ms} is less than a day": 0 <= retention_ms < _SHORT_RETENTION_MS,
        f"max.message.bytes is below {MAX_RECORD_BYTES}, so that the largest events are refused": (
            int(settings["max.message.bytes"]) < MAX_RECORD_BYTES
        ),
    }
    return [weakness for weakness, holds in rules.items() if holds]


async def _topic_settings(address: Address) -> Mapping[str, str]:
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415 - the driver loads only where it is used
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: PLC0415

    admin = AIOKafkaAdminClient(**address.brokers.client_settings())
    await admin.start()
    try:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, address.topic)])
    finally:
        await admin.close()
    [(_, _, _, _, entries)] = answer.resources
    return {name: value for name, value, *_ in entries}
